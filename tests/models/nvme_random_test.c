/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme under a driver that does anything: random commands, doorbells, register writes, resets and
 * quiesces, moves to another device, a client that stops answering or takes its memory away, and a
 * drive that fails. Nothing may crash, hang or be left behind, and afterwards a well-behaved driver
 * must find a working disk.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_kit.h"

enum { STEPS = 20000, QUEUES = 4 };

struct chaos {
	struct nk *nk;
	struct nq q[QUEUES];
	uint64_t pages; /* memory that commands point to */
	uint64_t mark;
};

static uint32_t pick(struct nk *nk, uint32_t below)
{
	return kit_random(nk->kit, below);
}

/* Mostly memory that is there, seldom aligned as it should be, sometimes nonsense. */
static uint64_t some_address(struct chaos *c)
{
	struct nk *nk = c->nk;
	uint64_t page = c->pages + (uint64_t)pick(nk, 64) * PAGE;

	switch (pick(nk, 12)) {
	case 0:
		return page + pick(nk, PAGE);
	case 1:
		return page + pick(nk, PAGE / 8) * 8;
	case 2:
		return pick(nk, UINT32_MAX);
	case 3:
		return UINT64_MAX - pick(nk, 8192);
	case 4:
		return nk->io.sq;
	case 5:
		return nk->admin.cq;
	case 6:
		return KIT_BASE + KIT_MEMORY - pick(nk, 8192);
	default:
		return page;
	}
}

static void put_address(struct sqe *sqe, unsigned dw, uint64_t address)
{
	sqe->dw[dw] = (uint32_t)address;
	sqe->dw[dw + 1] = (uint32_t)(address >> 32);
}

/* Pages full of PRPs, of SGL descriptors, of zeroes: whatever a command finds there. */
static void write_lists(struct chaos *c)
{
	uint8_t *page = kit_at(c->nk->kit, c->pages + (uint64_t)pick(c->nk, 64) * PAGE);
	unsigned kind = pick(c->nk, 3);

	for (unsigned i = 0; i < PAGE / 16; i++) {
		static const uint8_t types[] = {0x00, 0x00, 0x00, 0x10, 0x20, 0x30, 0x40, 0x01};

		ob_put_le64(page + (size_t)i * 16, some_address(c) & ~(kind ? 0 : UINT64_C(4095)));
		if (kind == 0)
			ob_put_le64(page + (size_t)i * 16 + 8,
			            c->pages + (uint64_t)pick(c->nk, 64) * PAGE);
		if (kind == 1)
			ob_put_le64(page + (size_t)i * 16 + 8,
			            (pick(c->nk, 4) + 1) * 512 | (uint64_t)types[pick(c->nk, 8)]
			                                                 << 56);
	}
}

static uint32_t some_dword(struct nk *nk)
{
	static const uint32_t values[] = {0,          1,      2,          7,         15,
	                                  0x10001,    0xffff, 0x00030001, 0xf0002,   0x1000f,
	                                  0xffffffff, 1024,   0x7fffffff, 131071,    0x80000001,
	                                  0x3f0003,   16,     0x400,      0x3ff0001, 4};

	return pick(nk, 4) ? values[pick(nk, sizeof(values) / sizeof(*values))]
	                   : pick(nk, UINT32_MAX);
}

static struct sqe some_command(struct chaos *c, bool io)
{
	static const uint8_t admin[] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 0x7c, 0x80, 0x55};
	static const uint8_t nvm[] = {0, 1, 2, 1, 2, 5, 8, 9, 0x0c, 0x33};
	struct nk *nk = c->nk;
	struct sqe sqe = nk_sqe(io ? nvm[pick(nk, sizeof(nvm))] : admin[pick(nk, sizeof(admin))],
	                        pick(nk, 8) ? 1 : some_dword(nk));

	put_address(&sqe, 6, some_address(c));
	put_address(&sqe, 8, some_address(c));
	for (unsigned i = 10; i < 16; i++)
		sqe.dw[i] = some_dword(nk);
	if (pick(nk, 3)) {
		sqe.dw[10] = io ? pick(nk, 131000) : sqe.dw[10];
		sqe.dw[11] = io ? 0 : sqe.dw[11];
		sqe.dw[12] = io ? pick(nk, 256) : sqe.dw[12];
		sqe.dw[13] = 0;
	}
	if (!pick(nk, 3)) {
		static const uint8_t types[] = {0x00, 0x20, 0x30, 0x10, 0x11, 0x50};

		nk_sgl1(&sqe, types[pick(nk, 6)], some_address(c), (1 + pick(nk, 512)) * 16);
	}
	if (!pick(nk, 40))
		sqe.dw[0] |= pick(nk, 65536);
	return sqe;
}

static void take_everything(struct chaos *c)
{
	struct cqe cqe;

	while (nk_take(c->nk, &c->nk->admin, &cqe, pick(c->nk, 10)))
		;
	for (unsigned i = 1; i < QUEUES; i++) {
		while (nk_take(c->nk, &c->q[i], &cqe, pick(c->nk, 10)))
			;
	}
}

static void bring_up(struct chaos *c)
{
	struct nk *nk = c->nk;

	nk->kit->next = c->mark;
	nk->kit->hold_dma = false;
	nk->drive->later = false;
	memset(nk->drive->fail, 0, sizeof(nk->drive->fail));
	kit_drive_release(nk->kit, nk->drive);
	kit_settle(nk->kit);
	nk_disable(nk);
	nk_enable(nk);
	for (unsigned i = 1; i < QUEUES; i++) {
		nk_queue(nk, &c->q[i], i, 32);
		assert_int_equal(nk_create_cq(nk, &c->q[i], (int)i), 0);
		assert_int_equal(nk_create_sq(nk, &c->q[i], i), 0);
	}
	nk->io = c->q[1];
}

static void do_drive(struct chaos *c)
{
	static const int errors[] = {0, 0, 0, -EIO, -ENOSPC, -EROFS, -ENOMEM};
	struct kit_drive *drive = c->nk->drive;

	drive->call_count = 0;
	drive->later = pick(c->nk, 2);
	drive->fail[pick(c->nk, 5)] = errors[pick(c->nk, 7)];
	if (pick(c->nk, 4) == 0)
		drive->hold = true;
	else
		kit_drive_release(c->nk->kit, drive);
}

static void do_core(struct chaos *c)
{
	struct kit *kit = c->nk->kit;

	if (pick(c->nk, 2)) {
		c->nk->drive->fail[OB_BLOCK_FLUSH] = 0;
		kit_migrate(kit);
		return;
	}
	kit_drive_release(kit, c->nk->drive);
	assert_true(kit_quiesce(kit));
	assert_int_equal(kit->asked_count, 0);
	assert_int_equal(c->nk->drive->block.in_flight, 0);
	if (pick(c->nk, 3) == 0)
		device_reset(kit->dev);
	for (unsigned i = pick(c->nk, 3); i; i--)
		nk_doorbell(c->nk, pick(c->nk, 5), pick(c->nk, 2), pick(c->nk, 33));
	kit_turn(kit);
	kit_resume(kit);
}

static void do_registers(struct chaos *c)
{
	struct nk *nk = c->nk;

	switch (pick(nk, 8)) {
	case 0:
		nk_set(nk, REG_CC, pick(nk, 2) ? CC_ON | pick(nk, 4) << 14 : some_dword(nk));
		break;
	case 1:
		nk_set(nk, pick(nk, 16) * 4, some_dword(nk));
		break;
	case 2:
		nk_set(nk, pick(nk, 2) ? REG_INTMS : REG_INTMC, some_dword(nk));
		break;
	case 3:
		kit_read(nk->kit, 0, pick(nk, 0x2000 / 8) * 8, 8);
		break;
	default:
		nk_doorbell(nk, pick(nk, 6), pick(nk, 2), pick(nk, 40));
	}
}

static void step(struct chaos *c)
{
	struct nk *nk = c->nk;
	unsigned id = 1 + pick(nk, QUEUES - 1);

	switch (pick(nk, 16)) {
	case 0:
		write_lists(c);
		break;
	case 1:
		nk->kit->hold_dma = pick(nk, 3) == 0;
		break;
	case 2:
		do_drive(c);
		break;
	case 3:
		if (pick(nk, 4) == 0)
			do_core(c);
		break;
	case 4:
		if (pick(nk, 3) == 0)
			do_registers(c);
		break;
	case 5:
	case 6:
		nk_submit(nk, &nk->admin, some_command(c, false));
		break;
	case 7:
	case 8:
		take_everything(c);
		break;
	case 9:
	case 10:
	case 11:
		nk_submit(nk, &c->q[id], some_command(c, true));
		break;
	default:
		kit_turn(nk->kit);
	}
}

static void anything_goes(void **state)
{
	struct nk *nk = *state;
	struct chaos c = {.nk = nk};
	const char *seed = getenv("NVME_RANDOM_SEED");

	nk->kit->random += seed ? strtoull(seed, NULL, 0) * 2654435761u : 0;
	c.pages = kit_alloc(nk->kit, 64 * PAGE, PAGE);
	c.mark = nk->kit->next;
	bring_up(&c);
	for (unsigned i = 0; i < STEPS; i++) {
		step(&c);
		/* A controller that is off or broken is dull. */
		if ((nk_reg(nk, REG_CSTS) & 3) != 1 && pick(nk, 16) == 0)
			bring_up(&c);
	}
	bring_up(&c);
	for (unsigned i = 1; i < QUEUES; i++) {
		struct buffer b = nk_buffer(nk, 0, 8192);
		struct sqe sqe = nk_rw(0x02, 1, 0, 2);

		nk_prp(nk, &sqe, &b);
		assert_int_equal(nk_run(nk, &c.q[i], sqe), 0);
	}
}

int main(void)
{
	static const struct kit_test tests[] = {KIT_TEST(anything_goes)};

	return KIT_RUN("nvme_random", tests, nk_setup, nk_free);
}
