/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme: registers, and the controller's life: enable, reset with commands in flight, shutdown,
 * fatal status, and what the core does to a device (quiesce, resume, reset).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_kit.h"

enum { RDY = 1, CFS = 2, SHST_BUSY = 4, SHST_DONE = 8 };

static void *setup_off(enum kit_mode mode)
{
	struct nk *nk = nk_new(mode);

	nk_start(nk, "drive=d0");
	kit_use_msix(nk->kit, 16);
	return nk;
}

static void registers_say_what_there_is(void **state)
{
	struct nk *nk = *state;
	uint64_t cap = kit_read(nk->kit, 0, REG_CAP, 8);

	assert_int_equal(cap & 0xffff, 2047);
	assert_int_equal(cap >> 16 & 1, 1);
	assert_true((cap >> 24 & 0xff) > 0);
	assert_int_equal(cap >> 32 & 0xf, 0);
	assert_int_equal(cap >> 37 & 0xff, 1); /* the NVM command set and nothing else */
	assert_int_equal(cap >> 48 & 0xf, 0);
	assert_int_equal(cap >> 52 & 0xf, 4);
	assert_int_equal(cap >> 56, 0);
	assert_int_equal(nk_reg(nk, REG_CAP), (uint32_t)cap);
	assert_int_equal(nk_reg(nk, REG_CAP + 4), cap >> 32);
	assert_int_equal(nk_reg(nk, REG_VS), 0x10400);
	for (unsigned reg = 0x38; reg < 0x1100; reg += 4)
		assert_int_equal(nk_reg(nk, reg), 0);
	assert_int_equal(nk_reg(nk, 0x18), 0);
	assert_int_equal(nk_reg(nk, 0x20), 0);
}

static void registers_keep_what_they_should(void **state)
{
	struct nk *nk = *state;

	nk_set(nk, REG_AQA, UINT32_MAX);
	assert_int_equal(nk_reg(nk, REG_AQA), 0x0fff0fff);
	kit_write(nk->kit, 0, REG_ASQ, UINT64_C(0x123456789abcdef), 8);
	assert_true(kit_read(nk->kit, 0, REG_ASQ, 8) == UINT64_C(0x123456789abc000));
	nk_set(nk, REG_ACQ + 4, 0x76543210);
	nk_set(nk, REG_ACQ, 0xfedcba98);
	assert_true(kit_read(nk->kit, 0, REG_ACQ, 8) == UINT64_C(0x76543210fedcb000));
	nk_set(nk, REG_INTMS, 5);
	nk_set(nk, REG_INTMS, 8);
	nk_set(nk, REG_INTMC, 1);
	assert_int_equal(nk_reg(nk, REG_INTMS), 12);
	assert_int_equal(nk_reg(nk, REG_INTMC), 12);
	/* Read-only ones, and the bytes between. */
	for (unsigned reg = 0; reg < 0x40; reg += 4) {
		if (reg == REG_CAP || reg == REG_VS || reg == REG_CSTS || reg == 0x18 ||
		    reg >= 0x38) {
			uint32_t before = nk_reg(nk, reg);

			nk_set(nk, reg, ~before);
			assert_int_equal(nk_reg(nk, reg), before);
		}
	}
	/* Smaller than 4 bytes: a part of the register. */
	assert_int_equal(kit_read(nk->kit, 0, REG_VS + 1, 1), 4);
	assert_int_equal(kit_read(nk->kit, 0, REG_VS + 2, 2), 1);
}

static void set_admin_queue(struct nk *nk)
{
	nk_queue(nk, &nk->admin, 0, ADMIN_ENTRIES);
	nk_set(nk, REG_AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	kit_write(nk->kit, 0, REG_ASQ, nk->admin.sq, 8);
	kit_write(nk->kit, 0, REG_ACQ, nk->admin.cq, 8);
}

static void enable_refuses(struct nk *nk, uint32_t cc)
{
	nk_set(nk, REG_CC, cc);
	assert_int_equal(nk_reg(nk, REG_CSTS), CFS);
	nk_set(nk, REG_CC, 0);
	assert_int_equal(nk_reg(nk, REG_CSTS), 0);
}

static void what_is_wrong_at_enable_is_fatal(void **state)
{
	struct nk *nk = *state;

	set_admin_queue(nk);
	enable_refuses(nk, CC_ON | 5 << 7);  /* CC.MPS: 128 KiB */
	enable_refuses(nk, CC_ON | 1 << 4);  /* CC.CSS */
	enable_refuses(nk, CC_ON | 7 << 4);  /* CC.CSS: admin only */
	enable_refuses(nk, CC_ON | 1 << 11); /* CC.AMS */
	enable_refuses(nk, 0x00450001);      /* CC.IOSQES */
	enable_refuses(nk, 0x00560001);      /* CC.IOCQES */
	enable_refuses(nk, CC_ON | 4 << 7);  /* ASQ is not aligned to 64 KiB */
	nk_set(nk, REG_AQA, 0x1f);           /* one completion queue entry */
	enable_refuses(nk, CC_ON);
	nk_set(nk, REG_AQA, 0x1f0000);
	enable_refuses(nk, CC_ON);
	nk_set(nk, REG_AQA, 0x1f001f);
	nk_set(nk, REG_CC, CC_ON);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY);
}

static void queue_entry_sizes_may_be_set_late(void **state)
{
	struct nk *nk = *state;

	set_admin_queue(nk);
	nk_set(nk, REG_CC, 1);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY);
	nk_queue(nk, &nk->io, 1, 16);
	assert_int_equal(nk_create_cq(nk, &nk->io, 1), 0x102);
	nk_set(nk, REG_CC, CC_ON);
	assert_int_equal(nk_create_cq(nk, &nk->io, 1), 0);
	assert_int_equal(nk_create_sq(nk, &nk->io, 1), 0);
}

static void what_is_fixed_while_enabled_stays(void **state)
{
	struct nk *nk = *state;
	uint64_t asq;

	set_admin_queue(nk);
	nk_set(nk, REG_CC, CC_ON);
	asq = kit_read(nk->kit, 0, REG_ASQ, 8);
	nk_set(nk, REG_CC, CC_ON | 1 << 7 | 1 << 4 | 1 << 11);
	assert_int_equal(nk_reg(nk, REG_CC), CC_ON);
	kit_write(nk->kit, 0, REG_ASQ, 0, 8);
	kit_write(nk->kit, 0, REG_ACQ, 0, 8);
	nk_set(nk, REG_AQA, 0);
	assert_true(kit_read(nk->kit, 0, REG_ASQ, 8) == asq);
	assert_int_equal(nk_reg(nk, REG_AQA), 0x1f001f);
	/* A controller reset keeps them too (7.3.2). */
	nk_disable(nk);
	assert_true(kit_read(nk->kit, 0, REG_ASQ, 8) == asq);
	nk_set(nk, REG_CC, CC_ON);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY);
}

static void queues_that_are_not_there_are_fatal(void **state)
{
	struct nk *nk = *state;

	set_admin_queue(nk);
	kit_write(nk->kit, 0, REG_ASQ, 0x1000, 8);
	nk_set(nk, REG_CC, CC_ON);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY);
	nk_doorbell(nk, 0, false, 1);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY | CFS);
	nk_doorbell(nk, 0, false, 2);
	nk_disable(nk);

	kit_write(nk->kit, 0, REG_ASQ, nk->admin.sq, 8);
	kit_write(nk->kit, 0, REG_ACQ, 0x2000, 8);
	nk_set(nk, REG_CC, CC_ON);
	nk_submit(nk, &nk->admin, nk_sqe(0x7f, 0));
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY | CFS);
	nk_disable(nk);
}

/* Windows takes bits 13:4 of the BAR for zeroes, as the specification has them (2.1.10). */
static void bar_0_is_aligned_to_16_kib(void **state)
{
	struct nk *nk = *state;

	kit_write(nk->kit, DEVICE_REGION_CONFIG, 0x10, UINT32_MAX, 4);
	assert_int_equal(kit_read(nk->kit, DEVICE_REGION_CONFIG, 0x10, 4) & 0x3ff0, 0);
	nk_enable(nk);
	/* Behind the doorbells there is nothing. */
	assert_int_equal(kit_read(nk->kit, 0, 0x3ff8, 8), 0);
	kit_write(nk->kit, 0, 0x3ffc, 1, 4);
	assert_int_equal(nk_reg(nk, REG_CSTS), 1);
}

static void doorbells_of_a_controller_that_is_off_do_nothing(void **state)
{
	struct nk *nk = *state;

	set_admin_queue(nk);
	nk_put(nk, &nk->admin, nk_sqe(0x7f, 0));
	nk_ring(nk, &nk->admin);
	nk_set(nk, REG_CC, CC_ON);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->admin));
	nk_ring(nk, &nk->admin);
	assert_int_equal(nk_wait(nk, &nk->admin).status, 0x01);
}

/* With commands in flight */

static void submit_reads(struct nk *nk, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct buffer b = nk_buffer(nk, 0, 16384);
		struct sqe sqe = nk_rw(0x02, 1, i, 32);

		nk_prp(nk, &sqe, &b);
		nk_submit(nk, &nk->io, sqe);
	}
}

static void again(struct nk *nk)
{
	uint8_t bytes[4096], back[4096];

	nk_enable(nk);
	nk_create_io(nk);
	memset(bytes, 0x3c, sizeof(bytes));
	assert_int_equal(nk_write(nk, 1, 77, bytes, 8, 512), 0);
	assert_int_equal(nk_read(nk, 1, 77, back, 8, 512), 0);
	assert_memory_equal(bytes, back, sizeof(bytes));
}

static void reset_waits_for_the_drive(void **state)
{
	struct nk *nk = *state;

	nk->drive->hold = true;
	submit_reads(nk, 20);
	kit_settle(nk->kit);
	assert_int_equal(kit_drive_held(nk->drive), 20);
	nk_set(nk, REG_CC, 0);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY);
	nk_doorbell(nk, 1, false, 5); /* too late: nothing */
	kit_drive_release(nk->kit, nk->drive);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), 0);
	assert_false(nk_has(nk, &nk->io));
	again(nk);
}

static void enable_may_come_before_the_reset_has_ended(void **state)
{
	struct nk *nk = *state;

	nk->drive->hold = true;
	submit_reads(nk, 3);
	kit_settle(nk->kit);
	nk_set(nk, REG_CC, 0);
	set_admin_queue(nk);
	nk_set(nk, REG_CC, CC_ON);
	kit_settle(nk->kit);
	nk_submit(nk, &nk->admin, nk_sqe(0x7f, 0));
	assert_false(nk_has(nk, &nk->admin));
	nk->admin.tail = 0;
	kit_drive_release(nk->kit, nk->drive);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY);
	assert_int_equal(nk_run(nk, &nk->admin, nk_sqe(0x7f, 0)), 0x01);
	nk_disable(nk);
	again(nk);
}

/* At every moment there is: the client answers this many requests, then the reset comes. */
static void reset_at_any_moment(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	uint64_t mark = kit->next;

	for (unsigned turns = 0; turns < 40; turns++) {
		kit->next = mark;
		nk->drive->later = turns & 1;
		submit_reads(nk, 10);
		nk_submit(nk, &nk->admin, nk_sqe(0x06, 1));
		for (unsigned i = 0; i < turns; i++)
			kit_turn(kit);
		nk_disable(nk);
		assert_int_equal(kit->asked_count, 0);
		again(nk);
	}
}

static void a_client_that_never_answers_does_not_hold_a_reset(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;

	kit->hold_dma = true;
	submit_reads(nk, 5);
	kit_settle(kit);
	nk_set(nk, REG_CC, 0);
	assert_int_equal(nk_reg(nk, REG_CSTS), 0);
	assert_int_equal(kit->asked_count, 0);
	kit->hold_dma = false;
	again(nk);
}

static void memory_that_is_unmapped_waits_for_the_drive(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;

	nk->drive->hold = true;
	submit_reads(nk, 5);
	kit_settle(kit);
	kit_unmap(kit);
	kit_settle(kit);
	/* Memory that the drive writes to is held; a bounce buffer is not the client's. */
	assert_int_equal(kit->is_unmapped, kit->mode == KIT_MESSAGES);
	kit_drive_release(kit, nk->drive);
	kit_settle(kit);
	assert_true(kit->is_unmapped);
	/* There is nowhere to complete to. */
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY | CFS);
	kit_map(kit);
	nk_disable(nk);
	again(nk);
}

static void memory_may_be_unmapped_at_any_moment(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	uint64_t mark = kit->next;

	for (unsigned turns = 0; turns < 30; turns++) {
		kit->next = mark;
		nk->drive->later = turns & 1;
		submit_reads(nk, 10);
		for (unsigned i = 0; i < turns / 2; i++)
			kit_turn(kit);
		kit_unmap(kit);
		kit_settle(kit);
		assert_true(kit->is_unmapped);
		assert_int_equal(kit->asked_count, 0);
		kit_map(kit);
		nk_disable(nk);
		again(nk);
	}
}

/* Shutdown */

static void shutdown_flushes(void **state)
{
	struct nk *nk = *state;

	for (uint32_t kind = 1; kind <= 2; kind++) {
		unsigned before = kit_drive_count(nk->drive, OB_BLOCK_FLUSH);

		nk->drive->hold = true;
		nk_set(nk, REG_CC, CC_ON | kind << 14);
		kit_settle(nk->kit);
		assert_int_equal(nk_reg(nk, REG_CSTS), RDY | SHST_BUSY);
		kit_drive_release(nk->kit, nk->drive);
		kit_settle(nk->kit);
		assert_int_equal(nk_reg(nk, REG_CSTS), RDY | SHST_DONE);
		assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_FLUSH), before + 1);
		nk_disable(nk);
		again(nk);
	}
}

static void shutdown_ends_though_the_flush_fails(void **state)
{
	struct nk *nk = *state;

	nk->drive->fail[OB_BLOCK_FLUSH] = -EIO;
	nk_set(nk, REG_CC, CC_ON | 1 << 14);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY | SHST_DONE);
	/* Off with the shutdown still asked for, then on again. */
	nk_set(nk, REG_CC, CC_ON & ~1u);
	assert_int_equal(nk_reg(nk, REG_CSTS), 0);
	nk_set(nk, REG_CC, 0);
	again(nk);
}

static void shutdown_and_reset_at_once(void **state)
{
	struct nk *nk = *state;

	nk->drive->hold = true;
	nk_set(nk, REG_CC, 0x00460000 | 1 << 14);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), SHST_BUSY);
	kit_drive_release(nk->kit, nk->drive);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), SHST_DONE);
	nk_set(nk, REG_CC, 0);
	again(nk);
}

/* What the core does */

static void a_reset_of_the_function_is_power_on(void **state)
{
	struct nk *nk = *state;
	uint8_t bytes[512] = {0};

	assert_int_equal(nk_set_feature(nk, 0x0b, 0x100, NULL), 0);
	assert_int_equal(nk_write(nk, 1, 0, bytes, 1, 512), 0);
	kit_reset(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CC), 0);
	assert_int_equal(nk_reg(nk, REG_CSTS), 0);
	assert_int_equal(nk_reg(nk, REG_AQA), 0);
	assert_true(kit_read(nk->kit, 0, REG_ASQ, 8) == 0);
	again(nk);
	/* What it counted is not forgotten: one unsafe shutdown, two writes. */
	assert_int_equal(nk_log(nk, 2, false, 0, bytes, 512), 0);
	assert_int_equal(ob_get_le64(bytes + 144), 1);
	assert_int_equal(ob_get_le64(bytes + 80), 2);
}

static void quiesce_waits_for_the_drive_only(void **state)
{
	struct nk *nk = *state;

	nk->drive->hold = true;
	submit_reads(nk, 8);
	kit_settle(nk->kit);
	assert_false(kit_quiesce(nk->kit));
	kit_drive_release(nk->kit, nk->drive);
	kit_settle(nk->kit);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(nk_wait(nk, &nk->io).status, 0);
}

/* Commands stopped anywhere are finished after the resume, each once. */
static void nothing_is_lost_by_a_quiesce(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	uint64_t mark = kit->next;
	uint8_t bytes[8192], page[PAGE];

	for (unsigned turns = 0; turns < 60; turns++) {
		struct buffer b[8];
		struct sqe identify = nk_sqe(0x06, 0);

		kit->next = mark;
		nk->drive->later = turns & 1;
		for (unsigned i = 0; i < 8; i++) {
			struct sqe sqe = nk_rw(0x01, 1, i * 16, 16);

			b[i] = nk_buffer(nk, 0, sizeof(bytes));
			memset(bytes, (int)(turns + i), sizeof(bytes));
			nk_buffer_write(nk, &b[i], bytes);
			nk_prp(nk, &sqe, &b[i]);
			nk_put(nk, &nk->io, sqe);
		}
		nk_ring(nk, &nk->io);
		b[0] = nk_buffer(nk, 0, PAGE);
		nk_prp(nk, &identify, &b[0]);
		identify.dw[10] = 1;
		nk_submit(nk, &nk->admin, identify);
		for (unsigned i = 0; i < turns / 2; i++)
			kit_turn(kit);
		assert_true(kit_quiesce(kit));
		assert_int_equal(kit->asked_count, 0);
		assert_int_equal(nk->drive->block.in_flight, 0);
		/* Rung while quiet: kept. */
		nk_submit(nk, &nk->io, nk_sqe(0x00, 1));
		kit_settle(kit);
		kit_resume(kit);
		for (unsigned i = 0; i < 9; i++)
			assert_int_equal(nk_wait(nk, &nk->io).status, 0);
		assert_int_equal(nk_wait(nk, &nk->admin).status, 0);
		nk_buffer_read(nk, &b[0], page);
		assert_int_equal(ob_get_le16(page), 0x1af4);
		kit_settle(kit);
		assert_false(nk_has(nk, &nk->io));
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(nk->drive->data[i * 8192 + 8191], (turns + i) & 0xff);
	}
}

static void a_shutdown_goes_on_after_a_quiesce(void **state)
{
	struct nk *nk = *state;

	nk->drive->hold = true;
	nk_set(nk, REG_CC, CC_ON | 1 << 14);
	assert_false(kit_quiesce(nk->kit));
	kit_drive_release(nk->kit, nk->drive);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), RDY | SHST_DONE);
}

/* Properties */

static void starts(enum kit_mode mode, const char *options)
{
	struct nk *nk = nk_new(mode);

	nk_start(nk, options);
	nk_enable(nk);
	nk_free(nk);
}

static void refuses(enum kit_mode mode, const char *options, const char *why)
{
	struct kit *kit = kit_new(mode);
	struct ob_error err = {""};

	kit_add_drive(kit, "d0", 64 << 10);
	assert_false(kit_try_start(kit, "nvme", options, &err));
	if (!strstr(err.message, why))
		fail_msg("%s: %s", options, err.message);
	kit_free(kit);
}

/* A drive of 64 KiB and a block more, of a size that nobody chose. */
static bool takes_tail(enum kit_mode mode, const char *options, const char *why)
{
	struct kit *kit = kit_new(mode);
	struct ob_error err = {""};
	bool starts;

	kit_add_drive(kit, "d0", (64 << 10) + 512)->block.info.size_given = false;
	starts = kit_try_start(kit, "nvme", options, &err);
	if (!starts && !strstr(err.message, why))
		fail_msg("%s: %s", options, err.message);
	kit_free(kit);
	return starts;
}

static void the_end_of_an_image_is_not_lost_by_chance(void **state)
{
	struct nk *nk = *state;
	enum kit_mode mode = nk->kit->mode;

	assert_true(takes_tail(mode, "drive=d0", ""));
	assert_false(takes_tail(mode, "drive=d0,block-size=4096",
	                        "drive d0: its last 512 bytes would be out of reach, as 66048 is "
	                        "no multiple of 4096"));
	assert_false(takes_tail(mode, "drive=d0,namespaces=3",
	                        "its last 4608 bytes would be out of reach, as 66048 is no "
	                        "multiple of 12288"));
	assert_true(takes_tail(mode, "drive=d0,block-size=4096,tail=leave", ""));
	assert_true(takes_tail(mode, "drive=d0,namespaces=3,tail=leave", ""));
	starts(mode, "drive=d0,namespaces=3,block-size=4096");
}

static void properties_are_checked(void **state)
{
	struct nk *nk = *state;
	enum kit_mode mode = nk->kit->mode;

	starts(mode, "drive=d0,num-queues=1,mdts=1");
	starts(mode, "drive=d0,num-queues=128,msix-vectors=2048,namespaces=256,mdts=9");
	starts(mode, "drive=d0,num-queues=128,msix-vectors=1");
	starts(mode, "drive=d0,interrupts=msi,num-queues=128");
	starts(mode, "drive=d0,interrupts=intx");
	starts(mode, "serial=1"); /* its namespaces may come later: nvme-ns */
	refuses(mode, "drive=d0,interrupts=smoke", "interrupts");
	refuses(mode, "drive=d0,num-queues=0", "num-queues");
	refuses(mode, "drive=d0,num-queues=129", "num-queues");
	refuses(mode, "drive=d0,namespaces=17", "too small");
	refuses(mode, "drive=d0,namespaces=257", "namespaces");
	refuses(mode, "drive=d0,block-size=1024", "block-size");
	refuses(mode, "drive=d0,serial=123456789012345678901", "serial");
	refuses(mode, "drive=d0,mdts=0", "mdts");
}

int main(void)
{
	static const struct kit_test off[] = {
		KIT_TEST(registers_say_what_there_is),
		KIT_TEST(registers_keep_what_they_should),
		KIT_TEST(the_end_of_an_image_is_not_lost_by_chance),
		KIT_TEST(what_is_wrong_at_enable_is_fatal),
		KIT_TEST(queue_entry_sizes_may_be_set_late),
		KIT_TEST(what_is_fixed_while_enabled_stays),
		KIT_TEST(queues_that_are_not_there_are_fatal),
		KIT_TEST(bar_0_is_aligned_to_16_kib),
		KIT_TEST(doorbells_of_a_controller_that_is_off_do_nothing),
		KIT_TEST(properties_are_checked),
	};
	static const struct kit_test on[] = {
		KIT_TEST(reset_waits_for_the_drive),
		KIT_TEST(enable_may_come_before_the_reset_has_ended),
		KIT_TEST(reset_at_any_moment),
		KIT_TEST(a_client_that_never_answers_does_not_hold_a_reset),
		KIT_TEST(memory_that_is_unmapped_waits_for_the_drive),
		KIT_TEST(memory_may_be_unmapped_at_any_moment),
		KIT_TEST(shutdown_flushes),
		KIT_TEST(shutdown_ends_though_the_flush_fails),
		KIT_TEST(shutdown_and_reset_at_once),
		KIT_TEST(a_reset_of_the_function_is_power_on),
		KIT_TEST(quiesce_waits_for_the_drive_only),
		KIT_TEST(nothing_is_lost_by_a_quiesce),
		KIT_TEST(a_shutdown_goes_on_after_a_quiesce),
	};

	return KIT_RUN("nvme_control off", off, setup_off, nk_free) +
	       KIT_RUN("nvme_control", on, nk_setup, nk_free);
}
