/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme: Abort. Whatever is aborted, in whatever state and how often: each command completes once,
 * and none is lost that uses the same slot or identifier later.
 */
#include <stdlib.h>
#include <string.h>

#include "nvme_kit.h"

enum { ABORTED = 0x07, DELETED = 0x08, ENTRIES = 16, QUEUES = 3, STEPS = 6000 };

/* A submission queue of ENTRIES entries, and its completion queue of fewer. */
struct pair {
	struct nq sq, cq;
	unsigned head; /* of sq, as the last completion has it */
};

static struct sqe abort_of(unsigned sqid, uint16_t cid)
{
	struct sqe sqe = nk_sqe(0x08, 0);

	sqe.dw[10] = sqid | (uint32_t)cid << 16;
	return sqe;
}

static void abort_of_what_is_not_there(void **state)
{
	struct nk *nk = *state;

	assert_int_equal(nk_run(nk, &nk->admin, abort_of(0, 0x7777)), 0);
	assert_int_equal(nk->last.result, 1);
	assert_int_equal(nk_run(nk, &nk->admin, abort_of(1, 0x7777)), 0);
	assert_int_equal(nk->last.result, 1);
	assert_int_equal(nk_run(nk, &nk->admin, abort_of(9, 1)), 0);
	assert_int_equal(nk->last.result, 1);
	assert_int_equal(nk_run(nk, &nk->admin, abort_of(0xffff, 1)), 0);
	assert_int_equal(nk->last.result, 1);
}

static void abort_of_an_event_request(void **state)
{
	struct nk *nk = *state;
	uint16_t cid = nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0)), aborter;
	struct cqe one;

	kit_settle(nk->kit);
	aborter = nk_submit(nk, &nk->admin, abort_of(0, cid));
	one = nk_wait(nk, &nk->admin);
	assert_int_equal(one.cid, cid);
	assert_int_equal(one.status, 0x07);
	one = nk_wait(nk, &nk->admin);
	assert_int_equal(one.cid, aborter);
	assert_int_equal(one.result, 0);
}

static void a_command_on_the_drive_is_not_aborted(void **state)
{
	struct nk *nk = *state;
	uint16_t cid;

	nk->drive->hold = true;
	cid = nk_submit(nk, &nk->io, nk_rw(0x0c, 1, 0, 1));
	kit_settle(nk->kit);
	assert_int_equal(nk_run(nk, &nk->admin, abort_of(1, cid)), 0);
	assert_int_equal(nk->last.result, 1);
	kit_drive_release(nk->kit, nk->drive);
	assert_int_equal(nk_wait(nk, &nk->io).status, 0);
}

/* hold: a part of guest memory that the client does not answer for. */
static void abort_while(struct nk *nk, const struct sqe *sqe, uint64_t hold)
{
	uint16_t cid = nk_submit(nk, &nk->io, *sqe);
	struct cqe cqe;

	nk->kit->hold_dma = true;
	nk->kit->hold_at = hold;
	nk->kit->hold_length = 8;
	kit_settle(nk->kit);
	assert_int_equal(nk->kit->asked_count, 1);
	assert_int_equal(nk_run(nk, &nk->admin, abort_of(1, cid)), 0);
	assert_int_equal(nk->last.result, 0);
	assert_int_equal(nk->kit->asked_count, 0);
	cqe = nk_wait(nk, &nk->io);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.status, 0x07);
	assert_int_equal(nk->drive->call_count, 0);
}

static void a_command_that_waits_for_the_client_is_aborted(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, 65536);
	struct sqe sqe = nk_rw(0x01, 1, 0, 128);

	if (nk->kit->mode == KIT_SHARED)
		return;
	nk_prp(nk, &sqe, &b);
	abort_while(nk, &sqe, sqe.dw[8] | (uint64_t)sqe.dw[9] << 32);
	abort_while(nk, &sqe, b.pages[7]);
}

/* A completion queue of two entries holds one: with it full, nothing is fetched. */
static void open_pair(struct nk *nk, struct pair *pair, unsigned id, unsigned room)
{
	nk_queue(nk, &pair->sq, id, ENTRIES);
	pair->head = 0;
	pair->cq = pair->sq;
	pair->cq.entries = room;
	assert_int_equal(nk_create_cq(nk, &pair->cq, (int)id), 0);
	assert_int_equal(nk_create_sq(nk, &pair->sq, id), 0);
}

/* Has the queue wait for room, with count commands that were not fetched. */
static void fill(struct nk *nk, struct pair *pair, uint16_t cids[], unsigned count)
{
	for (unsigned i = 0; i < 2; i++)
		nk_submit(nk, &pair->sq, nk_sqe(0x00, 1));
	kit_settle(nk->kit);
	for (unsigned i = 0; i < count; i++)
		cids[i] = nk_submit(nk, &pair->sq, nk_rw(0x08, 1, i, 1));
	kit_settle(nk->kit);
}

/* Takes count completions, of which those of cid may say that it was aborted: how many do. */
static unsigned drain(struct nk *nk, struct pair *pair, unsigned count, uint16_t cid)
{
	unsigned aborted = 0;

	while (count--) {
		struct cqe cqe = nk_wait(nk, &pair->cq);

		assert_int_equal(cqe.status, cqe.cid == cid && cqe.status ? ABORTED : 0);
		aborted += cqe.status == ABORTED;
	}
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &pair->cq));
	return aborted;
}

/* Every slot of the queue, several times: each command is done. */
static void use_all_slots(struct nk *nk, struct pair *pair)
{
	for (unsigned i = 0; i < 4 * ENTRIES; i++) {
		uint16_t cid = nk_submit(nk, &pair->sq, nk_sqe(0x00, 1));
		struct cqe cqe = nk_wait(nk, &pair->cq);

		assert_int_equal(cqe.cid, cid);
		assert_int_equal(cqe.status, 0);
	}
}

static unsigned result_of_abort(struct nk *nk, unsigned sqid, uint16_t cid)
{
	assert_int_equal(nk_run(nk, &nk->admin, abort_of(sqid, cid)), 0);
	return nk->last.result;
}

static void a_command_that_was_not_fetched_is_aborted(void **state)
{
	struct nk *nk = *state;
	bool can = nk->kit->mode == KIT_SHARED;
	struct pair pair;
	uint16_t cids[6];

	open_pair(nk, &pair, 2, 2);
	fill(nk, &pair, cids, 6);
	/* By messages the queue cannot be looked into at once. */
	assert_int_equal(result_of_abort(nk, 2, cids[3]), !can);
	assert_int_equal(drain(nk, &pair, 8, cids[3]), can);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_WRITE_ZEROES), can ? 5 : 6);
	use_all_slots(nk, &pair);
}

static void a_command_aborted_again_completes_once(void **state)
{
	struct nk *nk = *state;
	struct pair pair;
	uint16_t cids[6];

	if (nk->kit->mode == KIT_MESSAGES)
		return;
	open_pair(nk, &pair, 2, 2);
	fill(nk, &pair, cids, 6);
	assert_int_equal(result_of_abort(nk, 2, cids[3]), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(result_of_abort(nk, 2, cids[3]), 1);
	assert_int_equal(drain(nk, &pair, 8, cids[3]), 1);
	use_all_slots(nk, &pair);
}

/* Its first command has ended by the time that the second one is sent. */
static void an_identifier_used_again_is_another_command(void **state)
{
	struct nk *nk = *state;
	struct pair pair;
	uint16_t cids[6], next;

	if (nk->kit->mode == KIT_MESSAGES)
		return;
	open_pair(nk, &pair, 2, 2);
	fill(nk, &pair, cids, 6);
	assert_int_equal(result_of_abort(nk, 2, cids[1]), 0);
	next = nk->next_cid;
	nk->next_cid = cids[1];
	nk_submit(nk, &pair.sq, nk_rw(0x08, 1, 100, 1));
	nk->next_cid = next;
	assert_int_equal(result_of_abort(nk, 2, cids[1]), 0);
	assert_int_equal(result_of_abort(nk, 2, cids[1]), 1);
	assert_int_equal(drain(nk, &pair, 9, cids[1]), 2);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_WRITE_ZEROES), 5);
	use_all_slots(nk, &pair);
}

static void aborts_move(void **state)
{
	struct nk *nk = *state;
	struct pair pair;
	uint16_t cids[6];

	if (nk->kit->mode == KIT_MESSAGES)
		return;
	open_pair(nk, &pair, 2, 2);
	fill(nk, &pair, cids, 6);
	assert_int_equal(result_of_abort(nk, 2, cids[3]), 0);
	kit_migrate(nk->kit);
	assert_int_equal(result_of_abort(nk, 2, cids[3]), 1);
	assert_int_equal(drain(nk, &pair, 8, cids[3]), 1);
	use_all_slots(nk, &pair);
}

static void aborts_go_with_their_queue(void **state)
{
	struct nk *nk = *state;
	struct pair pair;
	uint16_t cids[6];

	if (nk->kit->mode == KIT_MESSAGES)
		return;
	open_pair(nk, &pair, 2, 2);
	fill(nk, &pair, cids, 6);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(result_of_abort(nk, 2, cids[i]), 0);
	/* As many as are remembered: there is no room for a fifth. */
	assert_int_equal(result_of_abort(nk, 2, cids[4]), 1);
	assert_int_equal(nk_delete(nk, 0x00, 2), 0);
	assert_int_equal(nk_delete(nk, 0x04, 2), 0);
	open_pair(nk, &pair, 2, 2);
	use_all_slots(nk, &pair);
	fill(nk, &pair, cids, 6);
	assert_int_equal(result_of_abort(nk, 2, cids[4]), 0);
	assert_int_equal(drain(nk, &pair, 8, cids[4]), 1);
}

/* An event request that is aborted again, or was answered, is not there. */
static void an_event_request_ends_once(void **state)
{
	struct nk *nk = *state;
	uint16_t cids[3];

	for (unsigned i = 0; i < 3; i++)
		cids[i] = nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	kit_settle(nk->kit);
	for (unsigned i = 0; i < 3; i++) {
		nk_submit(nk, &nk->admin, abort_of(0, cids[i]));
		assert_int_equal(nk_wait(nk, &nk->admin).cid, cids[i]);
		assert_int_equal(nk_wait(nk, &nk->admin).result, 0);
		assert_int_equal(result_of_abort(nk, 0, cids[i]), 1);
	}
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->admin));
}

/* A driver that aborts whatever it has sent lately, while queues fill, move, go and come back. */
struct chaos {
	struct nk *nk;
	struct pair pairs[QUEUES + 1]; /* by queue; 0: admin */
	struct buffer page;            /* which the client answers for now and then */
	uint16_t first;
	uint8_t queue_of[1 << 16], ends[1 << 16];
	bool gone[1 << 16]; /* with its queue: may have ended or not */
	bool aborted[1 << 16];
};

static void take_all(struct chaos *c, unsigned id)
{
	struct pair *pair = &c->pairs[id];
	struct cqe cqe;

	while (nk_take(c->nk, &pair->cq, &cqe, true)) {
		assert_int_equal(cqe.sqid, id);
		assert_int_equal(c->queue_of[cqe.cid], id);
		assert_int_equal(++c->ends[cqe.cid], 1);
		if (cqe.status == ABORTED)
			assert_true(c->aborted[cqe.cid]);
		else if (cqe.status == DELETED)
			assert_true(id);
		else
			assert_int_equal(cqe.status, 0);
		pair->head = cqe.sq_head;
	}
}

static bool has_slot(const struct pair *pair)
{
	return (pair->sq.tail + 1) % pair->sq.entries != pair->head;
}

static uint16_t send(struct chaos *c, unsigned id, struct sqe sqe)
{
	uint16_t cid;

	for (unsigned i = 0; i < 1000 && !has_slot(&c->pairs[id]); i++) {
		kit_turn(c->nk->kit);
		take_all(c, id);
	}
	assert_true(has_slot(&c->pairs[id]));
	cid = nk_submit(c->nk, &c->pairs[id].sq, sqe);
	c->queue_of[cid] = (uint8_t)id;
	return cid;
}

static void send_some(struct chaos *c)
{
	struct kit *kit = c->nk->kit;
	unsigned id = 1 + kit_random(kit, QUEUES);
	struct sqe sqe = nk_rw(0x08, 1, kit_random(kit, 100), 1);

	if (kit_random(kit, 2)) {
		sqe = nk_rw(0x01, 1, kit_random(kit, 100), 8);
		nk_prp(c->nk, &sqe, &c->page);
	}
	if (has_slot(&c->pairs[id]))
		send(c, id, sqe);
}

static void abort_some(struct chaos *c)
{
	struct kit *kit = c->nk->kit;
	uint16_t sent = (uint16_t)(c->nk->next_cid - c->first);
	uint16_t cid = (uint16_t)(c->nk->next_cid - 1 - kit_random(kit, 24));

	if (sent < 24)
		return;
	c->aborted[cid] = true;
	for (unsigned i = kit_random(kit, 3) + 1; i; i--)
		send(c, 0, abort_of(c->queue_of[cid], cid));
}

static void release(struct chaos *c)
{
	c->nk->kit->hold_dma = false;
	kit_settle(c->nk->kit);
	kit_drive_release(c->nk->kit, c->nk->drive);
}

static void run_admin(struct chaos *c, struct sqe sqe)
{
	uint16_t cid = send(c, 0, sqe);

	for (unsigned i = 0; i < 1000 && !c->ends[cid]; i++) {
		kit_turn(c->nk->kit);
		take_all(c, 0);
	}
	assert_int_equal(c->ends[cid], 1);
}

/* The submission queue goes and comes back; completions stay. */
static void replace_queue(struct chaos *c)
{
	unsigned id = 1 + kit_random(c->nk->kit, QUEUES);
	struct pair *pair = &c->pairs[id];
	struct sqe sqe = nk_sqe(0x00, 0);

	release(c);
	sqe.dw[10] = id;
	run_admin(c, sqe);
	/* What did not find room comes now. */
	for (unsigned i = 0; i < 2 * ENTRIES; i++) {
		take_all(c, id);
		kit_turn(c->nk->kit);
	}
	for (uint16_t cid = c->first; cid != c->nk->next_cid; cid++)
		c->gone[cid] |= c->queue_of[cid] == id && !c->ends[cid];
	pair->head = pair->sq.tail = 0;
	sqe = nk_sqe(0x01, 0);
	sqe.dw[6] = (uint32_t)pair->sq.sq;
	sqe.dw[7] = (uint32_t)(pair->sq.sq >> 32);
	sqe.dw[10] = (ENTRIES - 1) << 16 | id;
	sqe.dw[11] = id << 16 | 1;
	run_admin(c, sqe);
}

static void move(struct chaos *c)
{
	release(c);
	if (kit_random(c->nk->kit, 2)) {
		kit_migrate(c->nk->kit);
	} else {
		assert_true(kit_quiesce(c->nk->kit));
		kit_resume(c->nk->kit);
	}
}

static void step(struct chaos *c)
{
	struct kit *kit = c->nk->kit;

	switch (kit_random(kit, 24)) {
	case 0:
		c->nk->drive->hold = true;
		break;
	case 1:
		release(c);
		break;
	case 2:
		kit->hold_dma = true;
		break;
	case 3:
		if (!kit_random(kit, 8))
			move(c);
		break;
	case 4:
		if (!kit_random(kit, 8))
			replace_queue(c);
		break;
	case 5:
	case 6:
		kit_turn(kit);
		break;
	case 7:
	case 8:
		take_all(c, kit_random(kit, QUEUES + 1));
		break;
	case 9:
	case 10:
	case 11:
	case 12:
		abort_some(c);
		break;
	default:
		send_some(c);
	}
}

static void check_all_ended(struct chaos *c)
{
	release(c);
	for (unsigned i = 0; i < STEPS; i++) {
		kit_turn(c->nk->kit);
		for (unsigned id = 0; id <= QUEUES; id++)
			take_all(c, id);
	}
	for (uint16_t cid = c->first; cid != c->nk->next_cid; cid++)
		assert_true(c->ends[cid] || c->gone[cid]);
}

static void each_command_ends_once_whatever_is_aborted(void **state)
{
	struct nk *nk = *state;
	struct chaos *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->nk = nk;
	c->page = nk_buffer(nk, 0, PAGE);
	nk->kit->hold_at = c->page.pages[0];
	nk->kit->hold_length = 8;
	assert_int_equal(nk_delete(nk, 0x00, 1), 0);
	assert_int_equal(nk_delete(nk, 0x04, 1), 0);
	for (unsigned id = 1; id <= QUEUES; id++)
		open_pair(nk, &c->pairs[id], id, id + 1);
	c->pairs[0].sq = c->pairs[0].cq = nk->admin;
	c->pairs[0].head = nk->admin.tail;
	c->first = nk->next_cid;
	for (unsigned i = 0; i < STEPS; i++)
		step(c);
	check_all_ended(c);
	free(c);
}

/* Who looks for a command in a long queue stops at some point: Abort is best effort. */
static void an_abort_looks_only_so_far(void **state)
{
	enum { LONG = 2048 };
	struct nk *nk = *state;
	uint16_t cids[LONG - 1];
	struct nq small;

	if (nk->kit->mode == KIT_MESSAGES)
		return;
	nk_queue(nk, &small, 2, LONG);
	small.entries = 2;
	assert_int_equal(nk_create_cq(nk, &small, 2), 0);
	small.entries = LONG;
	assert_int_equal(nk_create_sq(nk, &small, 2), 0);
	for (unsigned i = 0; i < 2; i++)
		nk_submit(nk, &small, nk_sqe(0x00, 1));
	kit_settle(nk->kit);
	for (unsigned i = 2; i < LONG - 1; i++)
		cids[i] = nk_put(nk, &small, nk_sqe(0x00, 1));
	nk_ring(nk, &small);
	kit_settle(nk->kit);
	assert_int_equal(nk_run(nk, &nk->admin, abort_of(2, cids[1000])), 0);
	assert_int_equal(nk->last.result, 0);
	assert_int_equal(nk_run(nk, &nk->admin, abort_of(2, cids[1100])), 0);
	assert_int_equal(nk->last.result, 1);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(abort_of_what_is_not_there),
		KIT_TEST(abort_of_an_event_request),
		KIT_TEST(an_event_request_ends_once),
		KIT_TEST(a_command_on_the_drive_is_not_aborted),
		KIT_TEST(a_command_that_waits_for_the_client_is_aborted),
		KIT_TEST(a_command_that_was_not_fetched_is_aborted),
		KIT_TEST(an_abort_looks_only_so_far),
		KIT_TEST(a_command_aborted_again_completes_once),
		KIT_TEST(an_identifier_used_again_is_another_command),
		KIT_TEST(aborts_move),
		KIT_TEST(aborts_go_with_their_queue),
		KIT_TEST(each_command_ends_once_whatever_is_aborted),
	};

	return KIT_RUN("nvme_abort", tests, nk_setup, nk_free);
}
