/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme: queues: how they are made and deleted, doorbells good and bad, full and wrapping queues,
 * interrupts, and shadow doorbells.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nvme_kit.h"

enum {
	DELETE_SQ = 0x00,
	CREATE_SQ = 0x01,
	DELETE_CQ = 0x04,
	CREATE_CQ = 0x05,
	FLUSH = 0x00,
	READ = 0x02,
	VERIFY = 0x0c,
};

static void *setup_intx(enum kit_mode mode)
{
	struct nk *nk = nk_new(mode);

	nk_start(nk, "drive=d0");
	kit_use_intx(nk->kit);
	nk_enable(nk);
	nk_create_io(nk);
	/* What was signalled until now was consumed. */
	kit_intx_again(nk->kit);
	nk->kit->signals[PCI_IRQ_INTX][0] = 0;
	return nk;
}

/* Create and delete */

static uint16_t create(struct nk *nk, uint8_t opcode, uint32_t dw10, uint32_t dw11, uint64_t prp)
{
	struct sqe sqe = nk_sqe(opcode, 0);

	sqe.dw[6] = (uint32_t)prp;
	sqe.dw[7] = (uint32_t)(prp >> 32);
	sqe.dw[10] = dw10;
	sqe.dw[11] = dw11;
	return nk_run(nk, &nk->admin, sqe);
}

static void wrong_completion_queues_are_refused(void **state)
{
	struct nk *nk = *state;
	uint64_t page = kit_alloc(nk->kit, 16 * PAGE, PAGE);

	assert_int_equal(create(nk, CREATE_CQ, 15 << 16 | 0, 1, page), 0x101);
	assert_int_equal(create(nk, CREATE_CQ, 15 << 16 | 1, 1, page), 0x101);
	assert_int_equal(create(nk, CREATE_CQ, 15 << 16 | 16, 1, page), 0x101);
	assert_int_equal(create(nk, CREATE_CQ, 15 << 16 | 0xffff, 1, page), 0x101);
	assert_int_equal(create(nk, CREATE_CQ, 0 << 16 | 2, 1, page), 0x102);
	assert_int_equal(create(nk, CREATE_CQ, 2048u << 16 | 2, 1, page), 0x102);
	assert_int_equal(create(nk, CREATE_CQ, 15 << 16 | 2, 0, page), 0x02);
	assert_int_equal(create(nk, CREATE_CQ, 15 << 16 | 2, 1, page + 16), 0x13);
	assert_int_equal(create(nk, CREATE_CQ, 15 << 16 | 2, 16 << 16 | 3, page), 0x108);
	assert_int_equal(create(nk, CREATE_CQ, 15 << 16 | 2, 0xffffu << 16 | 1, page), 0x108);
	assert_int_equal(create(nk, CREATE_CQ, 2047u << 16 | 2, 15 << 16 | 3, page), 0);
	assert_int_equal(create(nk, CREATE_CQ, 1 << 16 | 15, 1, page), 0);
}

static void wrong_submission_queues_are_refused(void **state)
{
	struct nk *nk = *state;
	uint64_t page = kit_alloc(nk->kit, 64 * PAGE, PAGE);
	const uint32_t cq1 = 1 << 16 | 1;

	assert_int_equal(create(nk, CREATE_SQ, 15 << 16 | 0, cq1, page), 0x101);
	assert_int_equal(create(nk, CREATE_SQ, 15 << 16 | 1, cq1, page), 0x101);
	assert_int_equal(create(nk, CREATE_SQ, 15 << 16 | 16, cq1, page), 0x101);
	assert_int_equal(create(nk, CREATE_SQ, 0 << 16 | 2, cq1, page), 0x102);
	assert_int_equal(create(nk, CREATE_SQ, 2048u << 16 | 2, cq1, page), 0x102);
	assert_int_equal(create(nk, CREATE_SQ, 15 << 16 | 2, 1 << 16, page), 0x02);
	assert_int_equal(create(nk, CREATE_SQ, 15 << 16 | 2, cq1, page + 64), 0x13);
	assert_int_equal(create(nk, CREATE_SQ, 15 << 16 | 2, 0 << 16 | 1, page), 0x101);
	assert_int_equal(create(nk, CREATE_SQ, 15 << 16 | 2, 16 << 16 | 1, page), 0x101);
	assert_int_equal(create(nk, CREATE_SQ, 15 << 16 | 2, 2 << 16 | 1, page), 0x100);
	assert_int_equal(create(nk, CREATE_SQ, 2047u << 16 | 2, cq1, page), 0);
}

static void wrong_deletions_are_refused(void **state)
{
	struct nk *nk = *state;

	assert_int_equal(nk_delete(nk, DELETE_SQ, 0), 0x101);
	assert_int_equal(nk_delete(nk, DELETE_SQ, 2), 0x101);
	assert_int_equal(nk_delete(nk, DELETE_SQ, 0xffff), 0x101);
	assert_int_equal(nk_delete(nk, DELETE_CQ, 0), 0x101);
	assert_int_equal(nk_delete(nk, DELETE_CQ, 2), 0x101);
	assert_int_equal(nk_delete(nk, DELETE_CQ, 0xffff), 0x101);
	assert_int_equal(nk_delete(nk, DELETE_CQ, 1), 0x10c);
	assert_int_equal(nk_delete(nk, DELETE_SQ, 1), 0);
	assert_int_equal(nk_delete(nk, DELETE_SQ, 1), 0x101);
	assert_int_equal(nk_delete(nk, DELETE_CQ, 1), 0);
	nk_create_io(nk);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
}

static void deleting_waits_for_the_drive(void **state)
{
	struct nk *nk = *state;
	struct sqe delete = nk_sqe(DELETE_SQ, 0);

	nk->drive->hold = true;
	for (unsigned i = 0; i < 5; i++)
		nk_submit(nk, &nk->io, nk_rw(0x0c, 1, i, 1));
	kit_settle(nk->kit);
	delete.dw[10] = 1;
	nk_submit(nk, &nk->admin, delete);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->admin));
	/* Once more is too often; and nothing new is fetched. */
	assert_int_equal(nk_run(nk, &nk->admin, delete), 0x101);
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(nk->kit);
	assert_int_equal(kit_drive_held(nk->drive), 5);
	kit_drive_release(nk->kit, nk->drive);
	assert_int_equal(nk_wait(nk, &nk->admin).status, 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(nk_wait(nk, &nk->io).status, 0);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->io));
	assert_int_equal(nk_delete(nk, DELETE_CQ, 1), 0);
}

static void deleting_ends_what_waits_for_the_client(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, 4096);
	struct sqe sqe = nk_rw(0x01, 1, 0, 8);
	struct cqe cqe;

	if (nk->kit->mode == KIT_SHARED)
		return;
	nk_prp(nk, &sqe, &b);
	nk_submit(nk, &nk->io, sqe);
	nk->kit->hold_dma = true;
	nk->kit->hold_at = b.pages[0];
	nk->kit->hold_length = PAGE;
	kit_settle(nk->kit);
	assert_int_equal(nk_delete(nk, DELETE_SQ, 1), 0);
	cqe = nk_wait(nk, &nk->io);
	assert_int_equal(cqe.status, 0x08);
	assert_int_equal(nk->drive->call_count, 0);
}

/* Doorbells */

/* The error log's newest entry; whether the event was what it should be. */
static void expect_event(struct nk *nk, uint32_t result)
{
	uint8_t log[64];
	struct cqe cqe;

	cqe = nk_wait(nk, &nk->admin);
	assert_int_equal(cqe.status, 0);
	assert_int_equal(cqe.result, result);
	assert_int_equal(nk_log(nk, 1, false, 0, log, 64), 0);
	assert_int_equal(ob_get_le16(log + 10), 0xffff);
}

static void bad_doorbells_are_reported_and_ignored(void **state)
{
	static const struct {
		unsigned qid;
		bool completion;
		uint32_t value, result;
	} bad[] = {
		{2, false, 1, 0x010000},  {2, true, 0, 0x010000},   {16, false, 1, 0x010000},
		{500, true, 1, 0x010000}, {1, false, 64, 0x010100}, {1, false, 0xffff, 0x010100},
		{1, true, 64, 0x010100},  {1, true, 1, 0x010100},   {1, true, 63, 0x010100},
	};
	struct nk *nk = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
		nk_doorbell(nk, bad[i].qid, bad[i].completion, bad[i].value);
		expect_event(nk, bad[i].result);
		assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
		/* Consumed once is consumed. */
		nk_delete(nk, DELETE_SQ, 1);
		nk_delete(nk, DELETE_CQ, 1);
		nk_create_io(nk);
	}
}

static void a_queue_is_not_overfilled(void **state)
{
	struct nk *nk = *state;

	nk->kit->hold_dma = true; /* by messages, nothing is fetched meanwhile */
	for (unsigned i = 0; i < 40; i++)
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
	nk_ring(nk, &nk->io);
	nk_doorbell(nk, 1, false, 39); /* 63 more, where 23 fit */
	nk->kit->hold_dma = false;
	nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	expect_event(nk, 0x010100);
	for (unsigned i = 0; i < 40; i++)
		nk_wait(nk, &nk->io);
}

/* Full and wrapping */

static void a_full_completion_queue_holds_back(void **state)
{
	struct nk *nk = *state;
	struct nq q;
	struct cqe cqe;
	uint16_t first;

	nk_queue(nk, &q, 2, 64);
	q.entries = 8;
	assert_int_equal(nk_create_cq(nk, &q, 2), 0);
	q.entries = 64;
	assert_int_equal(nk_create_sq(nk, &q, 2), 0);
	first = nk->next_cid;
	for (unsigned i = 0; i < 50; i++)
		nk_put(nk, &q, nk_sqe(FLUSH, 1));
	nk_ring(nk, &q);
	q.entries = 8;
	for (unsigned i = 0; i < 50; i++) {
		if (i % 5 == 0)
			kit_settle(nk->kit);
		cqe = nk_wait(nk, &q);
		assert_int_equal(cqe.cid, first + i);
		assert_int_equal(cqe.sqid, 2);
		/* 8 entries hold 7. */
		assert_true(kit_drive_count(nk->drive, OB_BLOCK_FLUSH) <= 64);
	}
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &q));
	/* The admin queue works while another is full. */
	q.entries = 64;
	for (unsigned i = 0; i < 20; i++)
		nk_put(nk, &q, nk_sqe(FLUSH, 1));
	nk_ring(nk, &q);
	kit_settle(nk->kit);
	assert_int_equal(nk_run(nk, &nk->admin, nk_sqe(0x7f, 0)), 1);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
}

static void queues_wrap(void **state)
{
	struct nk *nk = *state;

	for (unsigned round = 0; round < 40; round++) {
		unsigned count = 1 + kit_random(nk->kit, 63);
		unsigned tail = nk->io.tail;

		for (unsigned i = 0; i < count; i++)
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		nk_ring(nk, &nk->io);
		for (unsigned i = 0; i < count; i++) {
			struct cqe cqe = nk_wait(nk, &nk->io);

			assert_int_equal(cqe.status, 0);
			/* The head is somewhere behind this command. */
			assert_true((cqe.sq_head + 64 - tail) % 64 > i);
		}
	}
	assert_int_equal(nk->io.head, nk->io.tail);
}

static void several_queues_complete_to_one(void **state)
{
	struct nk *nk = *state;
	struct nq q[8];
	unsigned seen[8] = {0};

	for (unsigned i = 2; i < 8; i++) {
		nk_queue(nk, &q[i], i, 16);
		assert_int_equal(nk_create_sq(nk, &q[i], 1), 0);
		for (unsigned c = 0; c < 10; c++)
			nk_put(nk, &q[i], nk_sqe(FLUSH, 1));
	}
	for (unsigned i = 2; i < 8; i++)
		nk_ring(nk, &q[i]);
	for (unsigned i = 0; i < 60; i++)
		seen[nk_wait(nk, &nk->io).sqid]++;
	for (unsigned i = 2; i < 8; i++)
		assert_int_equal(seen[i], 10);
	assert_int_equal(nk_delete(nk, DELETE_SQ, 1), 0);
	assert_int_equal(nk_delete(nk, DELETE_CQ, 1), 0x10c);
	for (unsigned i = 2; i < 8; i++)
		assert_int_equal(nk_delete(nk, DELETE_SQ, i), 0);
	assert_int_equal(nk_delete(nk, DELETE_CQ, 1), 0);
}

static void no_queue_starves_another(void **state)
{
	struct nk *nk = *state;
	struct nq busy;
	unsigned before;

	nk_queue(nk, &busy, 2, 2048);
	assert_int_equal(nk_create_cq(nk, &busy, 2), 0);
	assert_int_equal(nk_create_sq(nk, &busy, 2), 0);
	for (unsigned i = 0; i < 2047; i++)
		nk_put(nk, &busy, nk_sqe(FLUSH, 1));
	nk_ring(nk, &busy);
	nk_submit(nk, &nk->io, nk_rw(0x0c, 1, 0, 1));
	kit_turn(nk->kit);
	for (unsigned i = 0; i < 30 && !nk_has(nk, &nk->io); i++)
		kit_turn(nk->kit);
	before = kit_drive_count(nk->drive, OB_BLOCK_FLUSH);
	assert_true(nk_has(nk, &nk->io));
	assert_true(before < 1024);
	for (unsigned i = 0; i < 2047; i++)
		assert_int_equal(nk_wait(nk, &busy).status, 0);
}

/* A drive that does things on the spot does not keep the loop from everybody else. */
static void a_turn_moves_so_much(void **state)
{
	enum { LENGTH = 512 << 10, COUNT = 60 };
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, LENGTH);
	bool admin = false;

	for (unsigned i = 0; i < COUNT; i++) {
		struct sqe sqe = nk_rw(READ, 1, 0, LENGTH / 512);

		nk_prp(nk, &sqe, &b);
		nk_put(nk, &nk->io, sqe);
	}
	nk_ring(nk, &nk->io);
	nk_submit(nk, &nk->admin, nk_sqe(0x7f, 0));
	loop_set_share(nk->kit->loop, 0); /* as if each had taken all of the turn's time */
	for (unsigned seen = 0; seen < COUNT; seen = nk->drive->call_count) {
		kit_turn(nk->kit);
		if (nk->kit->mode == KIT_SHARED)
			assert_in_range(nk->drive->call_count - seen, 1, 2);
		if (!admin && nk_has(nk, &nk->admin))
			admin = nk->drive->call_count < COUNT;
	}
	assert_true(admin);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(nk_wait(nk, &nk->io).status, 0);
}

/* Many queues, many commands, a drive that ends them in another order. */
static void everything_at_once(void **state)
{
	struct nk *nk = *state;
	struct nq q[16];
	unsigned left[16], total = 0;

	nk->drive->later = true;
	q[1] = nk->io;
	for (unsigned i = 2; i < 16; i++) {
		nk_queue(nk, &q[i], i, 64);
		assert_int_equal(nk_create_cq(nk, &q[i], (int)i), 0);
		assert_int_equal(nk_create_sq(nk, &q[i], i), 0);
	}
	for (unsigned i = 1; i < 16; i++) {
		struct buffer b = nk_buffer(nk, 0, 3 * PAGE);

		left[i] = 63;
		total += 63;
		for (unsigned c = 0; c < 63; c++) {
			struct sqe sqe = nk_rw(0x02, 1, c, 24);

			nk_prp(nk, &sqe, &b);
			nk_put(nk, &q[i], sqe);
		}
		nk_ring(nk, &q[i]);
	}
	for (unsigned turns = 0; total && turns < 5000; turns++) {
		struct cqe cqe;

		kit_turn(nk->kit);
		for (unsigned i = 1; i < 16; i++) {
			while (nk_take(nk, &q[i], &cqe, true)) {
				assert_int_equal(cqe.status, 0);
				assert_int_equal(cqe.sqid, i);
				assert_true(left[i]--);
				total--;
			}
		}
	}
	assert_int_equal(total, 0);
}

/* Interrupts */

static void messages_come_once_a_batch(void **state)
{
	struct nk *nk = *state;
	struct cqe cqe;

	for (unsigned i = 0; i < 12; i++)
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
	nk_ring(nk, &nk->io);
	kit_settle(nk->kit);
	assert_int_equal(kit_signals(nk->kit, PCI_IRQ_MSIX, 1), 1);
	for (unsigned i = 0; i < 12; i++)
		assert_true(nk_take(nk, &nk->io, &cqe, false));
	nk_doorbell(nk, 1, true, nk->io.head);
	nk_run(nk, &nk->io, nk_sqe(FLUSH, 1));
	assert_int_equal(kit_signals(nk->kit, PCI_IRQ_MSIX, 1), 2);
	/* A queue without interrupts has none; INTMS does nothing here. */
	nk_delete(nk, DELETE_SQ, 1);
	nk_delete(nk, DELETE_CQ, 1);
	nk_queue(nk, &nk->io, 1, 16);
	assert_int_equal(nk_create_cq(nk, &nk->io, -1), 0);
	assert_int_equal(nk_create_sq(nk, &nk->io, 1), 0);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	assert_int_equal(kit_signals(nk->kit, PCI_IRQ_MSIX, 1), 2);
	assert_int_equal(kit_signals(nk->kit, PCI_IRQ_INTX, 0), 0);
}

/* Waits for the interrupts that come by the aggregation time. */
static unsigned signals_after(struct nk *nk, int ms)
{
	uint64_t end = ob_loop_now() + (uint64_t)ms * 1000000;

	while (ob_loop_now() < end)
		kit_wait(nk->kit, 1);
	return kit_signals(nk->kit, PCI_IRQ_MSIX, 1);
}

static void interrupts_are_coalesced(void **state)
{
	struct nk *nk = *state;

	assert_int_equal(nk_set_feature(nk, 0x08, 200 << 8 | 9, NULL), 0); /* 10, or 20 ms */
	for (unsigned i = 0; i < 9; i++)
		nk_run(nk, &nk->io, nk_sqe(FLUSH, 1));
	assert_int_equal(kit_signals(nk->kit, PCI_IRQ_MSIX, 1), 0);
	nk_run(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(nk->kit);
	assert_int_equal(kit_signals(nk->kit, PCI_IRQ_MSIX, 1), 1);
	/* Fewer: when the time is over. Never earlier than that. */
	nk_run(nk, &nk->io, nk_sqe(FLUSH, 1));
	assert_int_equal(signals_after(nk, 60), 2);
	/* Not this vector; no time is no delay. */
	assert_int_equal(nk_set_feature(nk, 0x09, 1 << 16 | 1, NULL), 0);
	nk_run(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(nk->kit);
	assert_int_equal(kit_signals(nk->kit, PCI_IRQ_MSIX, 1), 3);
	assert_int_equal(nk_set_feature(nk, 0x09, 1, NULL), 0);
	assert_int_equal(nk_set_feature(nk, 0x08, 9, NULL), 0);
	nk_run(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(nk->kit);
	assert_int_equal(kit_signals(nk->kit, PCI_IRQ_MSIX, 1), 4);
}

static void the_pin_is_a_level(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	struct cqe cqe;

	for (unsigned i = 0; i < 2; i++)
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
	nk_ring(nk, &nk->io);
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	/* It stays up until all entries of all queues are consumed. */
	assert_true(kit_intx_again(kit));
	assert_true(nk_take(nk, &nk->io, &cqe, true));
	assert_true(kit_intx_again(kit));
	nk_submit(nk, &nk->admin, nk_sqe(0x7f, 0));
	kit_settle(kit);
	assert_true(nk_take(nk, &nk->io, &cqe, true));
	assert_true(kit_intx_again(kit));
	assert_true(nk_take(nk, &nk->admin, &cqe, true));
	assert_false(kit_intx_again(kit));
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	assert_true(nk_take(nk, &nk->io, &cqe, true));
	assert_false(kit_intx_again(kit));
}

static void the_pin_is_masked(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	struct cqe cqe;

	nk_set(nk, REG_INTMS, 1);
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 0);
	nk_set(nk, REG_INTMC, 1);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	assert_true(kit_intx_again(kit));
	nk_set(nk, REG_INTMS, 1);
	assert_false(kit_intx_again(kit));
	nk_set(nk, REG_INTMC, 1);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 3);
	assert_true(nk_take(nk, &nk->io, &cqe, true));
	assert_false(kit_intx_again(kit));
	/* A reset of the controller takes it down. */
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	assert_true(kit_intx_again(kit));
	nk_disable(nk);
	assert_false(kit_intx_again(kit));
}

/* Shadow doorbells (Doorbell Buffer Config) */

static uint32_t *slot(struct nk *nk, uint64_t buffer, unsigned qid, bool completion)
{
	return (uint32_t *)kit_at(nk->kit, buffer) + qid * 2 + completion;
}

/* As a guest's driver does it. True if it rang the register. */
static bool shadow_ring(struct nk *nk, const struct nq *q, bool completion)
{
	uint32_t *shadow = slot(nk, nk->shadow, q->id, completion);
	uint16_t value = (uint16_t)(completion ? q->head : q->tail), old = (uint16_t)*shadow;
	uint16_t event;

	*shadow = value;
	event = (uint16_t)*slot(nk, nk->events, q->id, completion);
	if ((uint16_t)(value - event - 1) >= (uint16_t)(value - old))
		return false;
	nk_doorbell(nk, q->id, completion, value);
	return true;
}

static struct cqe shadow_wait(struct nk *nk, struct nq *q)
{
	struct cqe cqe;

	for (unsigned i = 0; i < 2000; i++) {
		if (nk_take(nk, q, &cqe, false)) {
			shadow_ring(nk, q, true);
			return cqe;
		}
		kit_turn(nk->kit);
	}
	fail_msg("no completion");
	abort();
}

/* Until the device has stopped polling and asks to be rung again. */
static void settle_idle(struct nk *nk)
{
	const uint32_t *event = slot(nk, nk->events, nk->io.id, false);

	kit_settle(nk->kit);
	while (*event != nk->io.tail)
		kit_turn(nk->kit);
	kit_settle(nk->kit);
}

static void a_queue_rings_once_when_it_was_idle(void **state)
{
	struct nk *nk = *state;
	unsigned rung = 0;

	nk_start_shadow(nk);
	for (unsigned round = 0; round < 100; round++) {
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		assert_true(shadow_ring(nk, &nk->io, false));
		/* While it works on that, or before it has, no more rings are needed. */
		for (unsigned i = 0; i < 5; i++) {
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			rung += shadow_ring(nk, &nk->io, false);
		}
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		settle_idle(nk);
		assert_false(nk_has(nk, &nk->io));
	}
	assert_int_equal(rung, 0);
}

/*
 * While commands keep coming they are found without a ring and share interrupts; the last of them
 * is followed by an interrupt all the same.
 */
static void a_busy_queue_is_polled(void **state)
{
	struct nk *nk = *state;
	unsigned rung = 0, signals;

	nk_start_shadow(nk);
	for (unsigned round = 0; round < 50; round++) {
		settle_idle(nk);
		signals = kit_signals(nk->kit, PCI_IRQ_MSIX, 1);
		for (unsigned i = 0; i < 20; i++) {
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			rung += shadow_ring(nk, &nk->io, false);
			while (!nk_has(nk, &nk->io))
				kit_turn(nk->kit);
			assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		}
		settle_idle(nk);
		assert_in_range(kit_signals(nk->kit, PCI_IRQ_MSIX, 1) - signals, 1, 20);
	}
	assert_in_range(rung, 50, nk->kit->mode == KIT_SHARED ? 50 * 20 - 1 : 50 * 20);
}

/* One command for the drive, which holds it. Whether it had to be rung for. */
static bool send_one(struct nk *nk)
{
	struct kit_drive *drive = &nk->kit->drives[0];
	unsigned held = kit_drive_held(drive);
	bool rung;

	drive->hold = true;
	nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
	rung = shadow_ring(nk, &nk->io, false);
	for (unsigned i = 0; kit_drive_held(drive) == held; i++) {
		assert_true(i < 2000000);
		kit_turn(nk->kit);
	}
	return rung;
}

/*
 * A guest that answers each completion with a command is looked for from the moment that a drive is
 * done, and not while the drive works: then it is asked to ring at once.
 */
static void what_a_guest_owes_is_looked_for(void **state)
{
	struct nk *nk = *state;
	bool looks = nk->kit->mode == KIT_SHARED;
	unsigned rung = 0, asked = 0;

	nk_start_shadow(nk);
	send_one(nk);
	for (unsigned round = 0; round < 100; round++) {
		const uint32_t *event = slot(nk, nk->events, nk->io.id, false);

		asked += *event == nk->io.tail;
		kit_drive_release(nk->kit, &nk->kit->drives[0]);
		assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		rung += send_one(nk);
	}
	kit_drive_release(nk->kit, &nk->kit->drives[0]);
	assert_in_range(rung, 0, looks ? 50 : 100);
	assert_in_range(asked, looks ? 50 : 0, 100);
}

/* A guest that sends one after another has to ring for the first ones, and then it is known. */
static void more_is_looked_for_where_it_comes(void **state)
{
	struct nk *nk = *state;
	unsigned first = 0, later = 0;

	nk_start_shadow(nk);
	for (unsigned round = 0; round < 40; round++) {
		/* Nothing comes for a while, and then a burst. */
		for (unsigned i = 0; round < 20 && i < 4; i++) {
			send_one(nk);
			kit_drive_release(nk->kit, &nk->kit->drives[0]);
			assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
			settle_idle(nk);
		}
		for (unsigned i = 0; i < 20; i++)
			*(round < 20 ? &first : &later) += send_one(nk);
		kit_drive_release(nk->kit, &nk->kit->drives[0]);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		settle_idle(nk);
	}
	if (nk->kit->mode == KIT_SHARED) {
		assert_in_range(first, 20, 20 * 20 - 1);
		assert_in_range(later, 20, 20 * 20 / 2);
	}
}

/* One that takes its time is not looked for any more: it is asked to ring at once. */
static void a_slow_guest_is_not_looked_for(void **state)
{
	struct nk *nk = *state;
	unsigned asked = 0;

	nk_start_shadow(nk);
	for (unsigned round = 0; round < 100; round++) {
		const uint32_t *event = slot(nk, nk->events, nk->io.id, false);

		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		shadow_ring(nk, &nk->io, false);
		assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		asked += *event == nk->io.tail;
		settle_idle(nk);
		usleep(200);
	}
	if (nk->kit->mode == KIT_SHARED)
		assert_in_range(asked, 50, 99);
}

/* Completions that wait to share an interrupt do not wait for a drive. */
static void a_drive_holds_no_interrupt(void **state)
{
	struct nk *nk = *state;

	nk_start_shadow(nk);
	for (unsigned round = 0; round < 8; round++) {
		send_one(nk);
		kit_drive_release(nk->kit, &nk->kit->drives[0]);
		assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		settle_idle(nk);
	}
	for (unsigned round = 0; round < 20; round++) {
		unsigned signals;

		for (unsigned i = 0; i < 100; i++) {
			signals = kit_signals(nk->kit, PCI_IRQ_MSIX, 1);
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			shadow_ring(nk, &nk->io, false);
			assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		}
		send_one(nk);
		settle_idle(nk);
		assert_int_not_equal(kit_signals(nk->kit, PCI_IRQ_MSIX, 1), signals);
		kit_drive_release(nk->kit, &nk->kit->drives[0]);
		assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
	}
}

/* A command that takes many turns goes on when the guest is not looked for any more. */
static void a_long_command_goes_on_asleep(void **state)
{
	struct nk *nk = *state;

	nk_start_shadow(nk);
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 20; i++) {
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			shadow_ring(nk, &nk->io, false);
			assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		}
		nk_put(nk, &nk->io, nk_rw(VERIFY, 1, 0, 65536));
		shadow_ring(nk, &nk->io, false);
		assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
	}
}

static void maybe_turn(struct nk *nk)
{
	for (unsigned turns = kit_random(nk->kit, 4); turns; turns--)
		kit_turn(nk->kit);
}

/* The same with a device that does something between the driver's steps. */
static void racing_ring(struct nk *nk, const struct nq *q)
{
	uint32_t *shadow = slot(nk, nk->shadow, q->id, false);
	uint16_t value = (uint16_t)q->tail, old = (uint16_t)*shadow, event;

	*shadow = value;
	maybe_turn(nk);
	event = (uint16_t)*slot(nk, nk->events, q->id, false);
	maybe_turn(nk);
	if ((uint16_t)(value - event - 1) < (uint16_t)(value - old))
		nk_doorbell(nk, q->id, false, value);
}

/* Commands appear at random moments of whatever the device is doing; none may be overlooked. */
static void no_wakeup_is_lost(void **state)
{
	enum { QUEUES = 3, ALL = 5000 };
	struct nk *nk = *state;
	struct nq q[QUEUES];
	unsigned put = 0, done = 0, before = 0;

	nk_start_shadow(nk);
	for (unsigned i = 0; i < QUEUES; i++) {
		nk_queue(nk, &q[i], i + 2, 64);
		assert_int_equal(nk_create_cq(nk, &q[i], (int)i + 2), 0);
		assert_int_equal(nk_create_sq(nk, &q[i], i + 2), 0);
	}
	while (done < ALL) {
		struct cqe cqe;
		unsigned which = kit_random(nk->kit, QUEUES);

		if (put < ALL && put - before < 50 && kit_random(nk->kit, 3)) {
			nk_put(nk, &q[which], nk_sqe(FLUSH, 1));
			racing_ring(nk, &q[which]);
			put++;
		}
		if (kit_random(nk->kit, 2))
			kit_turn(nk->kit);
		if (put < ALL && kit_random(nk->kit, 8))
			continue;
		/* Long enough to stop polling, now and then. */
		for (unsigned i = 0; i < 2000 && done < put; i++) {
			kit_turn(nk->kit);
			for (unsigned j = 0; j < QUEUES; j++) {
				for (; nk_take(nk, &q[j], &cqe, false); done++) {
					assert_int_equal(cqe.status, 0);
					shadow_ring(nk, &q[j], true);
				}
			}
		}
		assert_int_equal(done, put);
		before = done;
		if (kit_random(nk->kit, 4) == 0)
			kit_settle(nk->kit);
	}
}

static void a_full_queue_sees_the_shadow_head(void **state)
{
	struct nk *nk = *state;
	struct nq q;

	nk_start_shadow(nk);
	nk_queue(nk, &q, 2, 64);
	q.entries = 4;
	assert_int_equal(nk_create_cq(nk, &q, 2), 0);
	q.entries = 64;
	assert_int_equal(nk_create_sq(nk, &q, 2), 0);
	for (unsigned round = 0; round < 20; round++) {
		q.entries = 64;
		for (unsigned i = 0; i < 40; i++)
			nk_put(nk, &q, nk_sqe(FLUSH, 1));
		shadow_ring(nk, &q, false);
		q.entries = 4;
		for (unsigned i = 0; i < 40; i++) {
			if (kit_random(nk->kit, 10) == 0)
				kit_settle(nk->kit);
			assert_int_equal(shadow_wait(nk, &q).status, 0);
		}
	}
}

static void the_pin_goes_down_with_the_shadow_head(void **state)
{
	struct nk *nk = *state;

	nk_start_shadow(nk);
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 3; i++)
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		shadow_ring(nk, &nk->io, false);
		kit_settle(nk->kit);
		assert_true(kit_intx_again(nk->kit));
		for (unsigned i = 0; i < 3; i++)
			shadow_wait(nk, &nk->io);
		kit_settle(nk->kit);
		assert_false(kit_intx_again(nk->kit));
	}
}

static void shadow_queues_are_deleted_and_made_again(void **state)
{
	struct nk *nk = *state;

	nk_start_shadow(nk);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 7; i++) {
			nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
			shadow_ring(nk, &nk->io, false);
			assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		}
		assert_int_equal(nk_delete(nk, DELETE_SQ, 1), 0);
		assert_int_equal(nk_delete(nk, DELETE_CQ, 1), 0);
		/* Some drivers begin with a clean shadow, some with what was there. */
		if (round & 1)
			memset(kit_at(nk->kit, nk->shadow), 0, PAGE);
		nk_create_io(nk);
		kit_settle(nk->kit);
	}
}

static void shadow_values_are_checked(void **state)
{
	struct nk *nk = *state;

	nk_start_shadow(nk);
	nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	*slot(nk, nk->shadow, 1, false) = 64;
	nk_doorbell(nk, 1, false, 1);
	expect_event(nk, 0x010100);
	*slot(nk, nk->shadow, 1, false) = 0;
	nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
	shadow_ring(nk, &nk->io, false);
	assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
}

static void wrong_doorbell_buffers_are_refused(void **state)
{
	struct nk *nk = *state;
	uint64_t page = kit_alloc(nk->kit, PAGE, PAGE);

	assert_int_equal(nk_shadow(nk, 0, page), 0x02);
	assert_int_equal(nk_shadow(nk, page, 0), 0x02);
	assert_int_equal(nk_shadow(nk, page + 8, page), 0x02);
	assert_int_equal(nk_shadow(nk, page, page + 2048), 0x02);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	/* A reset ends their use. */
	nk_start_shadow(nk);
	nk_disable(nk);
	nk_enable(nk);
	nk_create_io(nk);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
}

static void shadow_queues_survive_a_quiesce(void **state)
{
	struct nk *nk = *state;

	nk_start_shadow(nk);
	for (unsigned turns = 0; turns < 30; turns++) {
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		shadow_ring(nk, &nk->io, false);
		for (unsigned i = 0; i < turns; i++)
			kit_turn(nk->kit);
		assert_true(kit_quiesce(nk->kit));
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		shadow_ring(nk, &nk->io, false);
		kit_resume(nk->kit);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(shadow_wait(nk, &nk->io).status, 0);
		kit_settle(nk->kit);
		assert_false(nk_has(nk, &nk->io));
	}
}

/* A client may map memory such that a page of the guest's lies anywhere in one of ours. */
static void shadow_buffers_at_odd_places(void **state)
{
	const uint64_t size = 16 * PAGE, at = KIT_BASE + KIT_MEMORY + 2;
	const uint64_t shadow = at - 2 + PAGE, events = shadow + PAGE;
	struct nk *nk = *state;
	uint8_t *memory = nk->kit->memory + KIT_MEMORY - size;

	if (nk->kit->mode != KIT_SHARED)
		return;
	assert_int_equal(dma_map(device_dma(nk->kit->dev), at, size, DMA_READABLE | DMA_WRITEABLE,
	                         dup(nk->kit->fd), KIT_MEMORY - size),
	                 0);
	assert_int_equal(nk_shadow(nk, shadow, events), 0);
	for (unsigned round = 1; round < 50; round++) {
		struct cqe cqe;
		uint32_t event;

		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		memcpy(memory + (shadow - at) + 8, &nk->io.tail, 4);
		nk_doorbell(nk, 1, false, nk->io.tail);
		kit_settle(nk->kit);
		assert_true(nk_take(nk, &nk->io, &cqe, false));
		assert_int_equal(cqe.status, 0);
		do {
			kit_turn(nk->kit);
			memcpy(&event, memory + (events - at) + 8, 4);
		} while (event != nk->io.tail);
	}
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(wrong_completion_queues_are_refused),
		KIT_TEST(wrong_submission_queues_are_refused),
		KIT_TEST(wrong_deletions_are_refused),
		KIT_TEST(deleting_waits_for_the_drive),
		KIT_TEST(deleting_ends_what_waits_for_the_client),
		KIT_TEST(bad_doorbells_are_reported_and_ignored),
		KIT_TEST(a_queue_is_not_overfilled),
		KIT_TEST(a_full_completion_queue_holds_back),
		KIT_TEST(queues_wrap),
		KIT_TEST(several_queues_complete_to_one),
		KIT_TEST(no_queue_starves_another),
		KIT_TEST(a_turn_moves_so_much),
		KIT_TEST(everything_at_once),
		KIT_TEST(messages_come_once_a_batch),
		KIT_TEST(interrupts_are_coalesced),
		KIT_TEST(a_queue_rings_once_when_it_was_idle),
		KIT_TEST(a_busy_queue_is_polled),
		KIT_TEST(what_a_guest_owes_is_looked_for),
		KIT_TEST(more_is_looked_for_where_it_comes),
		KIT_TEST(a_slow_guest_is_not_looked_for),
		KIT_TEST(a_drive_holds_no_interrupt),
		KIT_TEST(a_long_command_goes_on_asleep),
		KIT_TEST(no_wakeup_is_lost),
		KIT_TEST(a_full_queue_sees_the_shadow_head),
		KIT_TEST(shadow_queues_are_deleted_and_made_again),
		KIT_TEST(shadow_values_are_checked),
		KIT_TEST(wrong_doorbell_buffers_are_refused),
		KIT_TEST(shadow_queues_survive_a_quiesce),
		KIT_TEST(shadow_buffers_at_odd_places),
	};
	static const struct kit_test intx[] = {
		KIT_TEST(the_pin_is_a_level),
		KIT_TEST(the_pin_is_masked),
		KIT_TEST(the_pin_goes_down_with_the_shadow_head),
	};

	return KIT_RUN("nvme_queue", tests, nk_setup, nk_free) +
	       KIT_RUN("nvme_queue intx", intx, setup_intx, nk_free);
}
