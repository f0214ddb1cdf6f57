/* SPDX-License-Identifier: BSD-3-Clause */
/* nvme with ioeventfds=on: queues whose doorbells are eventfds, and shadows in the guest's memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "nvme_kit.h"

enum { FLUSH = 0x00, QUEUES = 4, ROUNDS = 200 };

static void *setup(enum kit_mode mode)
{
	struct nk *nk = nk_new(mode);

	nk_start(nk, "drive=d0,ioeventfds=on,num-queues=4");
	nk_enable(nk);
	nk_create_io(nk);
	return nk;
}

/* The eventfd of the submission queue's doorbell, or of the completion queue's. */
static int fd_of(struct nk *nk, unsigned qid, bool completion)
{
	struct device_doorbell list[2 * QUEUES];
	unsigned count = device_doorbells(nk->kit->dev, 0, list, 2 * QUEUES);

	for (unsigned i = 0; i < count; i++) {
		if (list[i].offset == 0x1000 + 8 * qid + 4 * completion)
			return device_doorbell_fd(nk->kit->dev, list[i].index);
	}
	fail_msg("there is no such doorbell");
	abort();
}

static void doorbells_of_submission_come_first(void **state)
{
	struct nk *nk = *state;
	struct device_doorbell list[2 * QUEUES + 1];

	assert_int_equal(device_doorbells(nk->kit->dev, 0, list, 2 * QUEUES + 1), 2 * QUEUES);
	for (unsigned i = 0; i < QUEUES; i++) {
		assert_int_equal(list[i].offset, 0x1000 + 8 * (i + 1));
		assert_int_equal(list[i].size, 4);
		assert_false(list[i].match);
		assert_int_equal(list[QUEUES + i].offset, 0x1000 + 8 * (i + 1) + 4);
	}
}

static void commands_are_found_by_their_shadow(void **state)
{
	struct nk *nk = *state;
	uint32_t *shadow;
	int sq = fd_of(nk, 1, false), cq = fd_of(nk, 1, true);

	nk_start_shadow(nk);
	shadow = kit_at(nk->kit, nk->shadow);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct cqe cqe;

		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		shadow[2] = nk->io.tail;
		assert_int_equal(eventfd_write(sq, 1), 0);
		for (unsigned turns = 0; !nk_take(nk, &nk->io, &cqe, false); turns++) {
			assert_true(turns < 2000);
			kit_turn(nk->kit);
		}
		assert_int_equal(cqe.status, 0);
		shadow[3] = nk->io.head;
		assert_int_equal(eventfd_write(cq, 1), 0);
	}
}

/* Such a guest gets nowhere, and nothing worse happens. */
static void without_shadows_nothing_is_found(void **state)
{
	struct nk *nk = *state;

	nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
	assert_int_equal(eventfd_write(fd_of(nk, 1, false), 1), 0);
	assert_int_equal(eventfd_write(fd_of(nk, 3, true), 1), 0);
	for (unsigned i = 0; i < 10; i++)
		kit_turn(nk->kit);
	assert_false(nk_has(nk, &nk->io));
	nk_ring(nk, &nk->io);
	assert_int_equal(nk_wait(nk, &nk->io).status, 0);
}

static void queues_that_are_not_there(void **state)
{
	struct nk *nk = *state;
	uint8_t page[PAGE];

	nk_start_shadow(nk);
	assert_int_equal(eventfd_write(fd_of(nk, 3, false), 1), 0);
	kit_turn(nk->kit);
	/* The controller goes on. */
	assert_int_equal(nk_identify(nk, 1, 0, page), 0);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(doorbells_of_submission_come_first),
		KIT_TEST(commands_are_found_by_their_shadow),
		KIT_TEST(without_shadows_nothing_is_found),
		KIT_TEST(queues_that_are_not_there),
	};

	return KIT_RUN("nvme_ioeventfd", tests, setup, nk_free);
}
