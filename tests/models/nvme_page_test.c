/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme with mmap-doorbells=on: doorbells that a client writes in the page it has mapped, which
 * nothing tells the device of. Alone, beside messages, and as the rings of shadow doorbells; with
 * every kind of polling.
 */
#include <stdlib.h>
#include <string.h>

#include "nvme_kit.h"

enum { FLUSH = 0x00, ASYNC_EVENT = 0x0c, DELETE_SQ = 0x00, DELETE_CQ = 0x04 };

static const char *const polling[] = {"poll=adaptive", "poll=adaptive,poll-max-us=1",
                                      "poll=adaptive,poll-max-us=0", "poll=off", "poll=on"};

enum { KINDS = sizeof(polling) / sizeof(*polling) };

/* A driver that has mapped the page. */
struct mapper {
	struct nk *nk;
	uint32_t *page, *shadow, *events; /* shadow: NULL without */
};

static struct mapper begin(void **state, const char *options)
{
	struct nk *nk = *state;
	enum kit_mode mode = nk->kit->mode;
	char all[128];

	nk_free(nk);
	*state = nk = nk_new(mode);
	snprintf(all, sizeof(all), "drive=d0,mmap-doorbells=on,idle-poll-us=100,%s", options);
	nk_start(nk, all);
	nk_enable(nk);
	nk_create_io(nk);
	kit_use_msix(nk->kit, 16);
	return (struct mapper){.nk = nk, .page = ob_dev_memory(nk->kit->dev, 0, 0x1000)};
}

static void start_shadow(struct mapper *m)
{
	nk_start_shadow(m->nk);
	m->shadow = kit_at(m->nk->kit, m->nk->shadow);
	m->events = kit_at(m->nk->kit, m->nk->events);
}

/* As a driver does it, the page being its register. */
static void ring(const struct mapper *m, const struct nq *q, bool completion)
{
	unsigned place = q->id * 2 + completion;
	uint16_t value = (uint16_t)(completion ? q->head : q->tail);

	if (m->shadow && q->id) {
		uint16_t old = (uint16_t)m->shadow[place];

		m->shadow[place] = value;
		if ((uint16_t)(value - (uint16_t)m->events[place] - 1) >= (uint16_t)(value - old))
			return;
	}
	m->page[place] = value;
}

static struct cqe take(const struct mapper *m, struct nq *q)
{
	struct cqe cqe;

	for (unsigned i = 0; i < 2000; i++) {
		if (nk_take(m->nk, q, &cqe, false)) {
			ring(m, q, true);
			return cqe;
		}
		kit_wait(m->nk->kit, 1);
	}
	fail_msg("no completion");
	abort();
}

/* Nothing but the page tells of a command: whether it looks just now or sleeps, it is found. */
static void the_page_is_enough(void **state)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct mapper m = begin(state, polling[kind]);
		struct nk *nk = m.nk;

		for (unsigned round = 0; round < 200; round++) {
			struct nq *q = round % 10 == 0 ? &nk->admin : &nk->io;
			unsigned count = round % 10 == 0 ? 1 : 1 + round % 40;

			for (unsigned i = 0; i < count; i++)
				nk_put(nk, q, q == &nk->io ? nk_sqe(FLUSH, 1) : nk_sqe(0x0a, 0));
			ring(&m, q, false);
			for (unsigned i = 0; i < count; i++)
				take(&m, q);
			if (round % 7 == 0)
				kit_wait(nk->kit, 1);
			assert_false(nk_has(nk, q));
		}
	}
}

/* A driver that has mapped the page never sends a doorbell: from its first command on. */
static void the_first_command_is_found(void **state)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct mapper m = begin(state, polling[kind]);
		struct nk *nk = m.nk;

		for (unsigned round = 0; round < 5; round++) {
			nk_disable(nk);
			kit_settle(nk->kit);
			nk_enable(nk);
			kit_settle(nk->kit);
			nk_put(nk, &nk->admin, nk_sqe(0x0a, 0));
			ring(&m, &nk->admin, false);
			take(&m, &nk->admin);
		}
	}
}

static void page_and_messages_may_alternate(void **state)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct mapper m = begin(state, polling[kind]);
		struct nk *nk = m.nk;
		struct cqe cqe;

		for (unsigned round = 0; round < 300; round++) {
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			if (kit_random(nk->kit, 2))
				ring(&m, &nk->io, false);
			else
				nk_ring(nk, &nk->io);
			for (unsigned i = 0; !nk_take(nk, &nk->io, &cqe, false); i++) {
				assert_true(i < 2000);
				kit_wait(nk->kit, 1);
			}
			assert_int_equal(cqe.status, 0);
			if (kit_random(nk->kit, 2))
				ring(&m, &nk->io, true);
			else
				nk_doorbell(nk, 1, true, nk->io.head);
		}
	}
}

/*
 * Rings that say what the last one said, one lap of the queue later, are rings; and none is lost
 * while the device goes to sleep.
 */
static void the_page_rings_for_shadows(void **state)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct mapper m = begin(state, polling[kind]);
		struct nk *nk = m.nk;
		unsigned put = 0, done = 0;
		struct cqe cqe;

		start_shadow(&m);
		for (unsigned turns = 0; done < 1500; turns++) {
			unsigned batch = 1 + kit_random(nk->kit, 40);

			assert_true(turns < 100000);
			for (unsigned i = 0; i < batch && put < 1500 && put - done < 60; i++, put++)
				nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			ring(&m, &nk->io, false);
			if (kit_random(nk->kit, 4))
				kit_turn(nk->kit);
			else
				kit_wait(nk->kit, 1);
			while (nk_take(nk, &nk->io, &cqe, false)) {
				assert_int_equal(cqe.status, 0);
				done++;
			}
			ring(&m, &nk->io, true);
		}
	}
}

static unsigned errors_logged(struct nk *nk)
{
	uint8_t log[64];

	assert_int_equal(nk_log(nk, 1, true, 0, log, sizeof(log)), 0);
	return (unsigned)ob_get_le64(log);
}

/* However often it is looked at, a wrong value is one error. */
static void a_wrong_value_is_one_error(void **state)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct mapper m = begin(state, polling[kind]);
		struct nk *nk = m.nk;

		m.page[2] = 64; /* as many as there are entries */
		for (unsigned i = 0; errors_logged(nk) == 0; i++) {
			assert_true(i < 1000);
			kit_wait(nk->kit, 1);
		}
		for (unsigned i = 0; i < 20; i++) {
			assert_int_equal(nk_feature(nk, 7, 0, 0, NULL), 0);
			kit_wait(nk->kit, 1);
		}
		/* And what is right is not taken for old. */
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		ring(&m, &nk->io, false);
		assert_int_equal(take(&m, &nk->io).status, 0);
		start_shadow(&m);
		m.shadow[2] = 0xfffff;
		nk_doorbell(nk, 1, false, 0);
		kit_settle(nk->kit);
		for (unsigned i = 0; i < 20; i++) {
			assert_int_equal(nk_feature(nk, 7, 0, 0, NULL), 0);
			kit_wait(nk->kit, 1);
		}
		m.shadow[2] = 1;
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		ring(&m, &nk->io, false);
		assert_int_equal(take(&m, &nk->io).status, 0);
		assert_int_equal(errors_logged(nk), 2);
	}
}

/* What an older queue of that number left in the page and in the shadow means nothing to a new one.
 */
static void queues_are_made_again(void **state)
{
	for (unsigned round = 0; round < 4 * KINDS; round++) {
		struct mapper m = begin(state, polling[round / 4]);
		struct nk *nk = m.nk;

		if (round & 1)
			start_shadow(&m);
		for (unsigned i = 0; i < 10; i++) {
			for (unsigned c = 0; c < 7; c++) {
				nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
				ring(&m, &nk->io, false);
				assert_int_equal(take(&m, &nk->io).status, 0);
			}
			assert_int_equal(nk_delete(nk, DELETE_SQ, 1), 0);
			assert_int_equal(nk_delete(nk, DELETE_CQ, 1), 0);
			if (m.shadow && round & 2)
				memset(m.shadow, 0, PAGE);
			nk_create_io(nk);
			kit_settle(nk->kit);
			assert_false(nk_has(nk, &nk->io));
		}
		assert_int_equal(errors_logged(nk), 0);
	}
}

/* Completions that have no room go on when the page says that there is some. */
static void a_full_queue_sees_the_head(void **state)
{
	for (unsigned round = 0; round < 2 * KINDS; round++) {
		struct mapper m = begin(state, polling[round / 2]);
		struct nk *nk = m.nk;
		struct nq q;

		if (round & 1)
			start_shadow(&m);
		nk_queue(nk, &q, 2, 64);
		q.entries = 4;
		assert_int_equal(nk_create_cq(nk, &q, 2), 0);
		q.entries = 64;
		assert_int_equal(nk_create_sq(nk, &q, 2), 0);
		for (unsigned i = 0; i < 40; i++)
			nk_put(nk, &q, nk_sqe(FLUSH, 1));
		ring(&m, &q, false);
		q.entries = 4;
		for (unsigned i = 0; i < 40; i++) {
			if (kit_random(nk->kit, 10) == 0)
				kit_settle(nk->kit);
			assert_int_equal(take(&m, &q).status, 0);
		}
	}
}

static void what_was_written_while_quiet_is_found(void **state)
{
	for (unsigned round = 0; round < 2 * KINDS; round++) {
		struct mapper m = begin(state, polling[round / 2]);
		struct nk *nk = m.nk;

		if (round & 1)
			start_shadow(&m);
		for (unsigned turns = 0; turns < 20; turns++) {
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			ring(&m, &nk->io, false);
			for (unsigned i = 0; i < turns; i++)
				kit_turn(nk->kit);
			assert_true(kit_quiesce(nk->kit));
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			ring(&m, &nk->io, false);
			kit_resume(nk->kit);
			for (unsigned i = 0; i < 2; i++)
				assert_int_equal(take(&m, &nk->io).status, 0);
		}
		kit_reset(nk->kit);
		nk_enable(nk);
		m.shadow = NULL;
		nk_create_io(nk);
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		ring(&m, &nk->io, false);
		assert_int_equal(take(&m, &nk->io).status, 0);
	}
}

/* The last completion is followed by an interrupt, polling or not. */
static void interrupts_come(void **state)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct mapper m = begin(state, polling[kind]);
		struct nk *nk = m.nk;

		for (unsigned round = 0; round < 100; round++) {
			unsigned seen = kit_signals(nk->kit, PCI_IRQ_MSIX, 1),
				 count = 1 + round % 5;

			for (unsigned i = 0; i < count; i++)
				nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			ring(&m, &nk->io, false);
			for (unsigned i = 0; i < count;) {
				for (unsigned turns = 0;
				     kit_signals(nk->kit, PCI_IRQ_MSIX, 1) == seen; turns++) {
					assert_true(turns < 2000000);
					kit_turn(nk->kit);
				}
				seen = kit_signals(nk->kit, PCI_IRQ_MSIX, 1);
				for (; nk_has(nk, &nk->io); i++)
					take(&m, &nk->io);
			}
		}
	}
}

/*
 * When nothing comes before the drive is done, polling rests meanwhile: at once, the guest is asked
 * to ring. When the drive is done, it is not any more. And if something does come, it is found.
 */
static void a_drive_is_waited_for_asleep(void **state)
{
	struct mapper m = begin(state, "poll=adaptive,poll-max-us=1000");
	struct nk *nk = m.nk;
	struct kit_drive *drive = &nk->kit->drives[0];
	bool looks = nk->kit->mode == KIT_SHARED;
	unsigned rested = 0, woken = 0;

	start_shadow(&m);
	for (unsigned round = 0; round < 100; round++) {
		const uint32_t *event = &m.events[(size_t)2 * nk->io.id];
		unsigned count = round % 25 == 24 ? 2 : 1;
		bool rests;

		drive->hold = true;
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		ring(&m, &nk->io, false);
		for (unsigned i = 0; !drive->held; i++) {
			assert_true(i < 2000000);
			kit_turn(nk->kit);
		}
		rests = looks && *event == nk->io.tail;
		rested += rests;
		if (count == 2) {
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			ring(&m, &nk->io, false);
			for (unsigned i = 0; !drive->held->next; i++) {
				assert_true(i < 2000);
				kit_wait(nk->kit, 1);
			}
		}
		kit_drive_release(nk->kit, drive);
		for (unsigned i = 0; i < count; i++)
			assert_int_equal(take(&m, &nk->io).status, 0);
		woken += rests && count == 1 && *event != nk->io.tail;
	}
	if (looks)
		assert_in_range(rested, 20, 100);
	if (looks)
		assert_in_range(woken, 1, rested);
}

/* A full completion queue turns out to have room again, after the last look for commands. */
static void room_is_used_before_it_sleeps(void **state)
{
	struct mapper m = begin(state, "poll=adaptive");
	struct nk *nk = m.nk;
	struct kit_drive *drive = &nk->kit->drives[0];

	/* So that it goes to sleep when it has no completions to post. */
	for (unsigned round = 0; round < 20; round++) {
		drive->hold = true;
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		ring(&m, &nk->io, false);
		for (unsigned i = 0; !drive->held; i++) {
			assert_true(i < 2000);
			kit_wait(nk->kit, 1);
		}
		kit_drive_release(nk->kit, drive);
		assert_int_equal(take(&m, &nk->io).status, 0);
	}
	for (unsigned i = 0; i < 20 * 64; i++) {
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		ring(&m, &nk->io, false);
		assert_int_equal(take(&m, &nk->io).status, 0);
	}
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(the_page_is_enough),
		KIT_TEST(the_first_command_is_found),
		KIT_TEST(page_and_messages_may_alternate),
		KIT_TEST(the_page_rings_for_shadows),
		KIT_TEST(a_wrong_value_is_one_error),
		KIT_TEST(queues_are_made_again),
		KIT_TEST(a_full_queue_sees_the_head),
		KIT_TEST(what_was_written_while_quiet_is_found),
		KIT_TEST(interrupts_come),
		KIT_TEST(a_drive_is_waited_for_asleep),
		KIT_TEST(room_is_used_before_it_sleeps),
	};

	return KIT_RUN("nvme_page", tests, nk_setup, nk_free);
}
