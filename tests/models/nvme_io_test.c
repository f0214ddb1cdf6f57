/* SPDX-License-Identifier: BSD-3-Clause */
/* nvme: what I/O commands do to a drive, and what they answer when something is wrong with them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_kit.h"

enum {
	FLUSH = 0x00,
	WRITE = 0x01,
	READ = 0x02,
	COMPARE = 0x05,
	ZEROES = 0x08,
	DATASET = 0x09,
	VERIFY = 0x0c,

	ROUNDS = 200,
	BLOCKS = (64 << 20) / 512,
	MAX_DATA = 512 << 10,
};

static void fill_random(struct kit *kit, uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i += 4)
		ob_put_le32(bytes + i, kit_random(kit, UINT32_MAX));
}

/* Guest memory is never given back: a test that goes on for long starts over with it. */
static uint64_t memory_mark(struct nk *nk)
{
	return nk->kit->next;
}

/* Random data */

struct area {
	uint32_t nsid, size;
	uint64_t start, blocks; /* in bytes, on the drive; in blocks */
};

static void describe(struct nk *nk, struct sqe *sqe, const struct buffer *b, bool sgl)
{
	if (sgl)
		nk_sgl(nk, sqe, b, 1 + kit_random(nk->kit, 300));
	else
		nk_prp(nk, sqe, b);
}

/* Random blocks are written and read back, beside what the drive must hold. */
static void write_and_read(struct nk *nk, const struct area *area, bool sgl, uint8_t *bytes,
                           uint8_t *back)
{
	struct kit *kit = nk->kit;
	uint32_t max = kit_random(kit, 8) ? 16 : MAX_DATA / area->size;
	uint32_t count = 1 + kit_random(kit, max), length = count * area->size;
	uint64_t lba = kit_random(kit, (uint32_t)(area->blocks - count + 1));
	struct buffer b = nk_buffer(nk, kit_random(kit, PAGE / 4) * 4, length);
	struct sqe sqe = nk_rw(WRITE, area->nsid, lba, count);

	fill_random(kit, bytes, length);
	nk_buffer_write(nk, &b, bytes);
	describe(nk, &sqe, &b, sgl);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_memory_equal(nk->drive->data + area->start + lba * area->size, bytes, length);

	memset(back, 0, length);
	nk_buffer_write(nk, &b, back);
	sqe.dw[0] = (sqe.dw[0] & 0xff00) | READ;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	nk_buffer_read(nk, &b, back);
	assert_memory_equal(back, bytes, length);
}

static void random_area(struct nk *nk, const struct area *area, bool sgl)
{
	uint8_t *bytes = malloc(MAX_DATA), *back = malloc(MAX_DATA);
	uint64_t mark = memory_mark(nk);

	for (unsigned i = 0; i < ROUNDS; i++) {
		nk->kit->next = mark;
		nk->drive->later = i & 1;
		write_and_read(nk, area, sgl, bytes, back);
	}
	free(bytes);
	free(back);
}

static void random_blocks_by_prp(void **state)
{
	const struct area all = {1, 512, 0, BLOCKS};

	random_area(*state, &all, false);
}

static void random_blocks_by_sgl(void **state)
{
	const struct area all = {1, 512, 0, BLOCKS};

	random_area(*state, &all, true);
}

static void *setup_parts(enum kit_mode mode)
{
	struct nk *nk = nk_new(mode);

	nk_start(nk, "drive=d0,namespaces=3,block-size=4096,num-queues=2");
	nk_enable(nk);
	nk_create_io(nk);
	return nk;
}

static void namespaces_are_parts_of_the_drive(void **state)
{
	struct nk *nk = *state;
	uint64_t size = (64 << 20) / 3 / 4096 * 4096;

	for (uint32_t i = 0; i < 3; i++) {
		struct area area = {i + 1, 4096, i * size, size / 4096};

		random_area(nk, &area, i & 1);
	}
	/* The end of one is not the start of the next. */
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 1, size / 4096 - 1, 1)), 0);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 1, size / 4096 - 1, 2)), 0x80);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 4, 0, 1)), 0x0b);
}

static void many_in_flight(void **state)
{
	struct nk *nk = *state;
	uint8_t bytes[512];
	struct buffer b[48];

	nk->drive->hold = true;
	for (unsigned i = 0; i < 48; i++) {
		struct sqe sqe = nk_rw(WRITE, 1, i, 1);

		b[i] = nk_buffer(nk, 0, 512);
		memset(bytes, (int)i + 1, sizeof(bytes));
		nk_buffer_write(nk, &b[i], bytes);
		nk_prp(nk, &sqe, &b[i]);
		nk_submit(nk, &nk->io, sqe);
	}
	kit_settle(nk->kit);
	assert_int_equal(kit_drive_held(nk->drive), 48);
	assert_false(nk_has(nk, &nk->io));
	kit_drive_release(nk->kit, nk->drive);
	for (unsigned i = 0; i < 48; i++)
		assert_int_equal(nk_wait(nk, &nk->io).status, 0);
	for (unsigned i = 0; i < 48; i++)
		assert_int_equal(nk->drive->data[i * 512], i + 1);
}

/* Commands without data */

static void flush_reaches_the_drive(void **state)
{
	struct nk *nk = *state;

	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_FLUSH), 1);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 0xffffffff)), 0);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_FLUSH), 2);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 0)), 0x0b);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 2)), 0x0b);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_FLUSH), 2);
}

static void flush_of_all_reaches_each_drive(void **state)
{
	struct nk *nk = *state;
	struct kit_drive *second = &nk->kit->drives[1];

	second->later = true;
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 0xffffffff)), 0);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_FLUSH), 1);
	assert_int_equal(kit_drive_count(second, OB_BLOCK_FLUSH), 1);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 4)), 0);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_FLUSH), 1);
	assert_int_equal(kit_drive_count(second, OB_BLOCK_FLUSH), 2);
}

static void *setup_two_drives(enum kit_mode mode)
{
	struct nk *nk = nk_new(mode);

	kit_add_drive(nk->kit, "d1", 1 << 20);
	nk_start(nk, "drive=d0,drive=d1,namespaces=2");
	nk_enable(nk);
	nk_create_io(nk);
	return nk;
}

static const struct kit_call *last_call(const struct nk *nk)
{
	return &nk->drive->calls[nk->drive->call_count - 1];
}

static void write_zeroes_says_what_it_may(void **state)
{
	struct nk *nk = *state;
	struct sqe sqe = nk_rw(ZEROES, 1, 8, 16);

	memset(nk->drive->data, 0xee, 64 * 512);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_int_equal(last_call(nk)->op, OB_BLOCK_WRITE_ZEROES);
	assert_int_equal(last_call(nk)->flags, 0);
	assert_int_equal(nk->drive->data[8 * 512 - 1], 0xee);
	for (unsigned i = 8 * 512; i < 24 * 512; i++)
		assert_int_equal(nk->drive->data[i], 0);
	assert_int_equal(nk->drive->data[24 * 512], 0xee);
	sqe.dw[12] |= 1u << 25; /* deallocate */
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_int_equal(last_call(nk)->flags, OB_BLOCK_UNMAP);
	sqe.dw[12] |= 1u << 30; /* force unit access */
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_int_equal(last_call(nk)->flags, OB_BLOCK_UNMAP | OB_BLOCK_FUA);
	sqe = nk_rw(ZEROES, 1, BLOCKS - 1, 2);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x80);
	/* The largest there is goes far past the largest transfer. */
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(ZEROES, 1, 0, 65536)), 0);
}

/* The limits of CNS 06h, and a command at each and over it. */
static void limits_are_told_and_hold(void **state)
{
	struct nk *nk = *state;
	struct sqe sqe = nk_sqe(0x80, 1);
	uint8_t limits[PAGE];

	assert_int_equal(nk_identify(nk, 6, 0, limits), 0);
	assert_int_equal(limits[0], 0);  /* VSL: no limit */
	assert_int_equal(limits[1], 13); /* WZSL: 2 ** 13 pages */
	for (unsigned i = 2; i < PAGE; i++)
		assert_int_equal(limits[i], 0); /* WUSL, DMRL, DMRSL, DMSL: none */
	/* With blocks of 512 bytes the field ends where the limit is. */
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(ZEROES, 1, 0, 65536)), 0);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 1, 0, 65536)), 0);
	sqe.dw[10] = 1; /* blocks of 4096 bytes */
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0);
	memset(nk->drive->data, 0xee, 64 << 20);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(ZEROES, 1, 0, 8193)), 0x02);
	assert_false(nk->last.retry);
	assert_int_equal(nk->drive->data[0], 0xee);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(ZEROES, 1, 0, 8192)), 0);
	assert_int_equal(nk->drive->data[(32 << 20) - 1], 0);
	assert_int_equal(nk->drive->data[32 << 20], 0xee);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 1, 0, 16384)), 0);
	/* A range that is out of bounds is that, however long. */
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(ZEROES, 1, 8192, 8193)), 0x80);
}

static void writes_are_durable_when_asked(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, 512);
	struct sqe sqe = nk_rw(WRITE, 1, 0, 1);

	nk_prp(nk, &sqe, &b);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_int_equal(last_call(nk)->flags, 0);
	sqe.dw[12] |= 1u << 30;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_int_equal(last_call(nk)->flags, OB_BLOCK_FUA);
	/* With the write cache off, all are. */
	sqe.dw[12] &= ~(1u << 30);
	assert_int_equal(nk_set_feature(nk, 0x06, 0, NULL), 0);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_int_equal(last_call(nk)->flags, OB_BLOCK_FUA);
}

/* Dataset Management */

static struct sqe dataset(struct nk *nk, unsigned count, const uint64_t lbas[],
                          const uint32_t blocks[])
{
	uint8_t *ranges = calloc(count, 16);
	struct buffer b = nk_buffer(nk, kit_random(nk->kit, 1024) * 4, count * 16);
	struct sqe sqe = nk_sqe(DATASET, 1);

	for (unsigned i = 0; i < count; i++) {
		ob_put_le32(ranges + (size_t)i * 16 + 4, blocks[i]);
		ob_put_le64(ranges + (size_t)i * 16 + 8, lbas[i]);
	}
	nk_buffer_write(nk, &b, ranges);
	nk_prp(nk, &sqe, &b);
	sqe.dw[10] = count - 1;
	sqe.dw[11] = 1 << 2;
	free(ranges);
	return sqe;
}

static void deallocate_reaches_the_drive(void **state)
{
	struct nk *nk = *state;
	uint64_t lbas[256];
	uint32_t blocks[256];

	memset(nk->drive->data, 0xee, 4096 * 512);
	for (unsigned i = 0; i < 256; i++) {
		lbas[i] = i * 4;
		blocks[i] = i % 3; /* none, one, two */
	}
	nk->drive->later = true;
	assert_int_equal(nk_run(nk, &nk->io, dataset(nk, 256, lbas, blocks)), 0);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(nk->drive->data[i * 512], i % 4 < i / 4 % 3 ? 0 : 0xee);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_DISCARD), 170);
}

/* What a drive does on the spot is cut, so that others have their turns. */
static void long_deallocations_are_cut(void **state)
{
	enum { CHUNK = 64 << 20, SIZE = 2 * CHUNK + 8192 };
	const uint64_t lbas[] = {0, 8, 0};
	const uint32_t blocks[] = {SIZE / 512, CHUNK / 512, 0};
	struct nk *nk = *state;
	enum kit_mode mode = nk->kit->mode;
	struct kit_drive *drive;
	uint64_t total = 0;

	nk_free(nk);
	*state = nk = nk_new(mode);
	drive = kit_add_drive(nk->kit, "big", SIZE);
	nk_start(nk, "drive=big");
	nk_enable(nk);
	nk_create_io(nk);
	nk_submit(nk, &nk->io, dataset(nk, 3, lbas, blocks));
	for (unsigned seen = 0; !nk_has(nk, &nk->io); seen = drive->call_count) {
		kit_turn(nk->kit);
		assert_in_range(drive->call_count - seen, 0, 2);
	}
	assert_int_equal(nk_wait(nk, &nk->io).status, 0);
	assert_int_equal(drive->call_count, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(drive->calls[i].op, OB_BLOCK_DISCARD);
		assert_true(drive->calls[i].offset == (i < 3 ? total : 4096));
		assert_in_range(drive->calls[i].length, 1, CHUNK);
		total += drive->calls[i].length;
	}
	assert_true(total == SIZE + (uint64_t)CHUNK);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
}

static void a_bad_range_deallocates_nothing(void **state)
{
	struct nk *nk = *state;
	const uint64_t lbas[] = {0, BLOCKS};
	const uint32_t blocks[] = {8, 1};
	struct sqe sqe = dataset(nk, 2, lbas, blocks);

	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x80);
	assert_int_equal(nk->drive->call_count, 0);
	/* Hints alone do nothing, and need no data. */
	sqe.dw[11] = 3;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_int_equal(nk->drive->call_count, 0);
	/* A drive that cannot: that is no error. */
	nk->drive->block.info.discard = false;
	assert_int_equal(nk_run(nk, &nk->io, dataset(nk, 1, lbas, blocks)), 0);
	assert_int_equal(nk->drive->call_count, 0);
}

/* Compare and Verify */

static void compare_tells_a_difference(void **state)
{
	struct nk *nk = *state;
	uint8_t bytes[8192];
	struct buffer b = nk_buffer(nk, 1000, sizeof(bytes));
	struct sqe sqe = nk_rw(COMPARE, 1, 3, 16);

	fill_random(nk->kit, bytes, sizeof(bytes));
	nk_buffer_write(nk, &b, bytes);
	nk_prp(nk, &sqe, &b);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x285);
	memcpy(nk->drive->data + 3 * 512, bytes, sizeof(bytes));
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	nk->drive->data[3 * 512 + 8191] ^= 1;
	nk->drive->later = true;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x285);
	nk->drive->fail[OB_BLOCK_READ] = -EIO;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x281);
}

static void verify_reads_everything(void **state)
{
	struct nk *nk = *state;

	nk->drive->fail[OB_BLOCK_READ] = -EIO;
	nk->drive->fail_offset = 5000 * 512;
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 1, 0, 5000)), 0);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 1, 0, 5001)), 0x281);
	nk->drive->later = true;
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 1, 0, 65536)), 0x281);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(VERIFY, 1, 6000, 65536)), 0);
}

/* Errors of drives */

static void errors_of_drives_have_their_status(void **state)
{
	static const struct {
		int error;
		uint16_t write, read;
		bool retry;
	} cases[] = {
		{-EIO, 0x280, 0x281, true},
		{-ENOSPC, 0x81, 0x81, true},
		{-EROFS, 0x182, 0x182, false},
		{-ENOMEM, 0x06, 0x06, true},
	};
	struct nk *nk = *state;
	uint8_t bytes[4096] = {0};

	for (unsigned i = 0; i < 8; i++) {
		unsigned c = i / 2;

		nk->drive->later = i & 1;
		memset(nk->drive->fail, 0, sizeof(nk->drive->fail));
		nk->drive->fail[OB_BLOCK_WRITE] = cases[c].error;
		nk->drive->fail[OB_BLOCK_READ] = cases[c].error;
		nk->drive->fail[OB_BLOCK_FLUSH] = cases[c].error;
		nk->drive->fail[OB_BLOCK_WRITE_ZEROES] = cases[c].error;
		assert_int_equal(nk_write(nk, 1, 0, bytes, 8, 512), cases[c].write);
		assert_int_equal(nk->last.retry, cases[c].retry);
		assert_int_equal(nk_read(nk, 1, 0, bytes, 8, 512), cases[c].read);
		assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), cases[c].write);
		assert_int_equal(nk_run(nk, &nk->io, nk_rw(ZEROES, 1, 0, 1)), cases[c].write);
	}
}

static void a_read_that_fails_changes_no_guest_memory_by_message(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, 4096);
	struct sqe sqe = nk_rw(READ, 1, 0, 8);
	uint8_t bytes[4096];

	memset(bytes, 0x77, sizeof(bytes));
	nk_buffer_write(nk, &b, bytes);
	nk_prp(nk, &sqe, &b);
	nk->drive->fail[OB_BLOCK_READ] = -EIO;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x281);
	nk_buffer_read(nk, &b, bytes);
	assert_int_equal(bytes[0], 0x77);
}

static void a_read_only_drive_refuses_writes(void **state)
{
	struct nk *nk = *state;
	const uint64_t lba = 0;
	const uint32_t one = 1;
	uint8_t bytes[PAGE] = {0};

	nk->drive->block.info.read_only = true;
	assert_int_equal(nk_write(nk, 1, 0, bytes, 1, 512), 0x20);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(ZEROES, 1, 0, 1)), 0x20);
	assert_int_equal(nk_run(nk, &nk->io, dataset(nk, 1, &lba, &one)), 0x20);
	assert_int_equal(nk_read(nk, 1, 0, bytes, 1, 512), 0);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	assert_int_equal(nk_identify(nk, 0, 1, bytes), 0);
	assert_int_equal(bytes[99], 1);
}

/* Malformed commands */

static void ranges_are_checked(void **state)
{
	static const uint8_t opcodes[] = {WRITE, READ, COMPARE, ZEROES, VERIFY};
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, 8192);

	for (unsigned i = 0; i < sizeof(opcodes); i++) {
		const struct {
			uint64_t lba;
			uint32_t blocks;
			uint16_t status;
		} cases[] = {
			{BLOCKS - 16, 16, 0},      {BLOCKS - 15, 16, 0x80},
			{BLOCKS, 1, 0x80},         {UINT64_MAX, 1, 0x80},
			{UINT64_MAX - 1, 4, 0x80}, {UINT64_C(1) << 55, 1, 0x80},
		};

		for (unsigned c = 0; c < 6; c++) {
			struct sqe sqe = nk_rw(opcodes[i], 1, cases[c].lba, cases[c].blocks);

			nk_prp(nk, &sqe, &b);
			assert_int_equal(nk_run(nk, &nk->io, sqe), cases[c].status);
			assert_false(cases[c].status && nk->last.retry);
		}
	}
}

static void namespaces_and_opcodes_are_checked(void **state)
{
	struct nk *nk = *state;
	struct sqe fused = nk_rw(VERIFY, 1, 0, 1);

	assert_int_equal(nk_run(nk, &nk->io, nk_rw(READ, 0, 0, 1)), 0x0b);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(READ, 2, 0, 1)), 0x0b);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(READ, 0xffffffff, 0, 1)), 0x0b);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x04, 1, 0, 1)), 0x01);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x7f, 1, 0, 1)), 0x01);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0xff, 1, 0, 1)), 0x01);
	fused.dw[0] |= 1 << 8;
	assert_int_equal(nk_run(nk, &nk->io, fused), 0x02);
}

static uint16_t try_prp(struct nk *nk, uint32_t blocks, uint64_t prp1, uint64_t prp2)
{
	struct sqe sqe = nk_rw(READ, 1, 0, blocks);

	sqe.dw[6] = (uint32_t)prp1;
	sqe.dw[7] = (uint32_t)(prp1 >> 32);
	sqe.dw[8] = (uint32_t)prp2;
	sqe.dw[9] = (uint32_t)(prp2 >> 32);
	return nk_run(nk, &nk->io, sqe);
}

static void prps_are_checked(void **state)
{
	struct nk *nk = *state;
	uint64_t page = kit_alloc(nk->kit, 4 * PAGE, PAGE), list = kit_alloc(nk->kit, PAGE, PAGE);
	uint8_t *entries = kit_at(nk->kit, list);

	for (unsigned i = 0; i < 512; i++)
		ob_put_le64(entries + (size_t)i * 8, page);
	assert_int_equal(try_prp(nk, 1, page + 2, 0), 0x13);
	assert_int_equal(try_prp(nk, 1, page + 4, 1), 0); /* PRP 2 is not used */
	assert_int_equal(try_prp(nk, 8, page + 4, page + PAGE), 0);
	assert_int_equal(try_prp(nk, 8, page + 4, page + PAGE + 4), 0x13);
	assert_int_equal(try_prp(nk, 16, page, page + 512), 0x13);
	assert_int_equal(try_prp(nk, 24, page, list), 0);
	assert_int_equal(try_prp(nk, 24, page, list + 4), 0x13);
	assert_int_equal(try_prp(nk, 24, page, list + 8), 0);
	/* The last entry of a list page leads on, and must be a page. */
	ob_put_le64(entries + 511 * 8, list);
	assert_int_equal(try_prp(nk, 24, page, list + 511 * 8), 0);
	ob_put_le64(entries + 511 * 8, list + 8);
	assert_int_equal(try_prp(nk, 24, page, list + 511 * 8), 0x13);
	ob_put_le64(entries + 8, page + 4);
	assert_int_equal(try_prp(nk, 24, page, list), 0x13);
	/* Memory that is not there. */
	assert_int_equal(try_prp(nk, 1, 0, 0), 0x04);
	assert_true(nk->last.retry);
	assert_int_equal(try_prp(nk, 16, page, 0), 0x04);
	assert_int_equal(try_prp(nk, 24, page, KIT_BASE - PAGE), 0x04);
	assert_int_equal(try_prp(nk, 24, page, UINT64_MAX - 7), 0x04);
	assert_int_equal(try_prp(nk, 1, UINT64_MAX - 3, 0), 0x04);
	assert_int_equal(try_prp(nk, 1025, page, list), 0x02); /* more than MDTS */
	/* By messages, memory that is not there is found only when the data goes there. */
	assert_int_equal(nk->drive->call_count, nk->kit->mode == KIT_SHARED ? 5 : 6);
}

/* SGL */

struct sgl_case {
	uint8_t type1; /* of the descriptor in the command; 0x20 and 0x30 lead to the list */
	struct {
		uint8_t type;
		uint32_t length;
	} list[4]; /* of a segment; types 0x20 and 0x30 lead to a second segment with one block */
	unsigned count;
	uint16_t status;
};

static uint16_t try_sgl(struct nk *nk, const struct sgl_case *c, uint64_t data)
{
	uint64_t first = kit_alloc(nk->kit, 128, 16), second = kit_alloc(nk->kit, 128, 16);
	struct sqe sqe = nk_rw(READ, 1, 0, 2);

	for (unsigned i = 0; i < c->count; i++) {
		bool leads = c->list[i].type == 0x20 || c->list[i].type == 0x30;

		nk_descriptor(nk, first, i, c->list[i].type, leads ? second : data,
		              c->list[i].length);
	}
	nk_descriptor(nk, second, 0, 0x00, data, 512);
	if (c->type1 == 0x20 || c->type1 == 0x30)
		nk_sgl1(&sqe, c->type1, first, c->count * 16);
	else
		nk_sgl1(&sqe, c->type1, data, c->count ? c->list[0].length : 1024);
	return nk_run(nk, &nk->io, sqe);
}

static void sgls_are_checked(void **state)
{
	static const struct sgl_case cases[] = {
		{0x00, {{0}}, 0, 0},
		{0x00, {{0, 1023}}, 1, 0x0f},
		{0x00, {{0, 1025}}, 1, 0x0f},
		{0x01, {{0}}, 0, 0x11}, /* an offset */
		{0x40, {{0}}, 0, 0x11}, /* keyed */
		{0x50, {{0}}, 0, 0x11}, /* transport */
		{0xf0, {{0}}, 0, 0x11}, /* vendor's */
		{0x30, {{0x00, 1024}}, 1, 0},
		{0x30, {{0x00, 512}, {0x00, 0}, {0x00, 512}}, 3, 0},
		{0x30, {{0x00, 512}}, 1, 0x0f},
		{0x30, {{0x00, 512}, {0x00, 513}}, 2, 0x0f},
		{0x20, {{0x00, 512}, {0x30, 16}}, 2, 0},
		{0x20, {{0x00, 512}, {0x20, 16}}, 2, 0},
		{0x20, {{0x00, 513}, {0x30, 16}}, 2, 0x0f},
		{0x20, {{0x00, 512}, {0x30, 16}, {0x00, 512}}, 3, 0x0e},
		{0x30, {{0x00, 512}, {0x30, 16}}, 2, 0x0d},
		{0x30, {{0x00, 512}, {0x20, 16}}, 2, 0x0d},
		{0x20, {{0x00, 512}, {0x30, 0}}, 2, 0x0d},
		{0x20, {{0x00, 512}, {0x30, 20}}, 2, 0x0d},
		{0x20, {{0x00, 512}, {0x41, 16}}, 2, 0x11},
		{0x30, {{0x10, 1024}}, 1, 0},
		{0x30, {{0x00, 512}, {0x10, 512}}, 2, 0},
		{0x30, {{0x00, 512}, {0x10, 1024}}, 2, 0x0f},
		{0x30, {}, 0, 0x0d},
	};
	struct nk *nk = *state;
	uint64_t data = kit_alloc(nk->kit, 4 * PAGE, PAGE);
	struct sqe sqe = nk_rw(READ, 1, 0, 2);

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(try_sgl(nk, &cases[i], data), cases[i].status);
	/* A segment at an odd address, one that is not there, both kinds of SGL, neither. */
	nk_sgl1(&sqe, 0x30, data + 4, 16);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x0d);
	sqe = nk_rw(READ, 1, 0, 2);
	nk_sgl1(&sqe, 0x30, 0x1000, 16);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x04);
	sqe = nk_rw(READ, 1, 0, 2);
	nk_sgl1(&sqe, 0x00, data, 1024);
	sqe.dw[0] ^= 3 << 14;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	sqe.dw[0] |= 3 << 14;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x02);
}

static void a_segment_that_leads_to_itself_ends(void **state)
{
	struct nk *nk = *state;
	uint64_t at = kit_alloc(nk->kit, PAGE, PAGE);
	struct sqe sqe = nk_rw(READ, 1, 0, 2);

	nk_descriptor(nk, at, 0, 0x00, at, 0);
	for (unsigned i = 0; i < 255; i++)
		nk_descriptor(nk, at, i, 0x00, at, 0);
	nk_descriptor(nk, at, 255, 0x20, at, PAGE);
	nk_sgl1(&sqe, 0x20, at, PAGE);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0x0e);
	/* More pieces than a transfer may have: descriptors that touch are one piece. */
	for (unsigned i = 0; i < 256; i++)
		nk_descriptor(nk, at, i, 0x00, KIT_BASE + (1 << 20) + i * 4, 4);
	sqe.dw[9] = 0x30u << 24;
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
}

static void bit_buckets_swallow_what_is_read(void **state)
{
	static const uint32_t lengths[] = {100, 412, 4, 508};
	static const uint8_t types[] = {0x10, 0x00, 0x10, 0x00};
	struct nk *nk = *state;
	uint64_t list = kit_alloc(nk->kit, 64, 16), data = kit_alloc(nk->kit, PAGE, PAGE);
	struct sqe sqe = nk_rw(READ, 1, 7, 2);
	uint8_t *there = nk->drive->data + 7 * 512;

	fill_random(nk->kit, there, 1024);
	for (unsigned i = 0; i < 4; i++)
		nk_descriptor(nk, list, i, types[i], types[i] ? 0 : data + i * 1024, lengths[i]);
	nk_sgl1(&sqe, 0x30, list, 64);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_memory_equal(kit_at(nk->kit, data + 1024), there + 100, 412);
	assert_memory_equal(kit_at(nk->kit, data + 3 * 1024), there + 516, 508);
	/* A write passes over them: they are no part of its data. */
	nk_descriptor(nk, list, 1, 0x00, data + 1024, 512);
	nk_descriptor(nk, list, 3, 0x00, data + 2048, 512);
	sqe = nk_rw(WRITE, 1, 100, 2);
	nk_sgl1(&sqe, 0x30, list, 64);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
	assert_memory_equal(kit_at(nk->kit, data + 1024), nk->drive->data + 100 * 512, 1024);
}

/* Turns of the loop until a command has completed. */
static unsigned turns_until(struct nk *nk, struct nq *q, uint16_t cid)
{
	unsigned turns = 0;
	struct cqe cqe;

	while (!nk_take(nk, q, &cqe, true)) {
		kit_turn(nk->kit);
		turns++;
	}
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.status, 0);
	return turns;
}

/* A chain of 16 pages of bit buckets of a byte, and 1040 bytes of data at the end: 10 blocks. */
enum { CHAIN = 16, CHAIN_DATA = 10 * 512 - CHAIN * 255 };

static struct sqe long_chain(struct nk *nk, uint64_t data)
{
	struct sqe sqe = nk_rw(READ, 1, 7, 10);
	uint64_t at = 0, next;

	for (unsigned page = CHAIN; page-- > 0; at = next) {
		next = kit_alloc(nk->kit, PAGE, PAGE);
		for (unsigned i = 0; i < 255; i++)
			nk_descriptor(nk, next, i, 0x10, 0, 1);
		if (page == CHAIN - 1)
			nk_descriptor(nk, next, 255, 0x00, data, CHAIN_DATA);
		else
			nk_descriptor(nk, next, 255, page == CHAIN - 2 ? 0x30 : 0x20, at, PAGE);
	}
	nk_sgl1(&sqe, 0x20, at, PAGE);
	return sqe;
}

/* What takes long does so in turns, in which other queues have theirs. */
static void a_long_list_leaves_time_to_others(void **state)
{
	struct nk *nk = *state;
	uint64_t data = kit_alloc(nk->kit, PAGE, PAGE);
	struct sqe sqe = long_chain(nk, data), get_feature = nk_sqe(0x0a, 0);
	uint8_t *there = nk->drive->data + 7 * 512;
	uint16_t slow, fast;

	get_feature.dw[10] = 0x07;
	fill_random(nk->kit, there, 10 * 512);
	loop_set_share(nk->kit->loop, 0);
	slow = nk_submit(nk, &nk->io, sqe);
	for (unsigned i = 0; i < 3; i++) {
		fast = nk_submit(nk, &nk->admin, get_feature);
		turns_until(nk, &nk->admin, fast);
		assert_false(nk_has(nk, &nk->io));
	}
	assert_true(turns_until(nk, &nk->io, slow) >= 3);
	assert_memory_equal(kit_at(nk->kit, data), there + CHAIN * 255, CHAIN_DATA);
	loop_set_share(nk->kit->loop, UINT64_MAX);
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
}

static void pages_of_other_sizes(void **state)
{
	struct nk *nk = *state;
	uint64_t data = kit_alloc(nk->kit, 1 << 20, 1 << 16), list = kit_alloc(nk->kit, PAGE, PAGE);
	uint8_t *entries = kit_at(nk->kit, list);

	nk_disable(nk);
	nk->admin.sq = kit_alloc(nk->kit, ADMIN_ENTRIES * 64, 1 << 16);
	nk->admin.cq = kit_alloc(nk->kit, ADMIN_ENTRIES * 16, 1 << 16);
	nk->admin.head = nk->admin.tail = 0;
	nk->admin.phase = true;
	kit_write(nk->kit, 0, REG_ASQ, nk->admin.sq, 8);
	kit_write(nk->kit, 0, REG_ACQ, nk->admin.cq, 8);
	nk_set(nk, REG_CC, CC_ON | 4 << 7); /* 64 KiB */
	assert_int_equal(nk_reg(nk, REG_CSTS), 1);
	nk_queue(nk, &nk->io, 1, 64);
	nk->io.sq = kit_alloc(nk->kit, 64 * 64, 1 << 16);
	nk->io.cq = kit_alloc(nk->kit, 64 * 16, 1 << 16);
	assert_int_equal(nk_create_cq(nk, &nk->io, 0), 0);
	assert_int_equal(nk_create_sq(nk, &nk->io, 1), 0);
	for (unsigned i = 0; i < 8; i++)
		ob_put_le64(entries + (size_t)i * 8, data + (i + 1) * 65536);
	fill_random(nk->kit, nk->drive->data, MAX_DATA);
	assert_int_equal(try_prp(nk, 1024, data + 4096, list), 0);
	assert_memory_equal(kit_at(nk->kit, data + 4096), nk->drive->data, MAX_DATA);
	assert_int_equal(try_prp(nk, 256, data + 4096, data + 4096), 0x13);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(random_blocks_by_prp),
		KIT_TEST(random_blocks_by_sgl),
		KIT_TEST(many_in_flight),
		KIT_TEST(flush_reaches_the_drive),
		KIT_TEST(write_zeroes_says_what_it_may),
		KIT_TEST(limits_are_told_and_hold),
		KIT_TEST(writes_are_durable_when_asked),
		KIT_TEST(deallocate_reaches_the_drive),
		KIT_TEST(long_deallocations_are_cut),
		KIT_TEST(a_bad_range_deallocates_nothing),
		KIT_TEST(compare_tells_a_difference),
		KIT_TEST(verify_reads_everything),
		KIT_TEST(errors_of_drives_have_their_status),
		KIT_TEST(a_read_that_fails_changes_no_guest_memory_by_message),
		KIT_TEST(a_read_only_drive_refuses_writes),
		KIT_TEST(ranges_are_checked),
		KIT_TEST(namespaces_and_opcodes_are_checked),
		KIT_TEST(prps_are_checked),
		KIT_TEST(sgls_are_checked),
		KIT_TEST(a_segment_that_leads_to_itself_ends),
		KIT_TEST(bit_buckets_swallow_what_is_read),
		KIT_TEST(a_long_list_leaves_time_to_others),
		KIT_TEST(pages_of_other_sizes),
	};
	static const struct kit_test parts[] = {
		KIT_TEST(namespaces_are_parts_of_the_drive),
	};
	static const struct kit_test drives[] = {
		KIT_TEST(flush_of_all_reaches_each_drive),
	};

	return KIT_RUN("nvme_io", tests, nk_setup, nk_free) +
	       KIT_RUN("nvme_io parts", parts, setup_parts, nk_free) +
	       KIT_RUN("nvme_io drives", drives, setup_two_drives, nk_free);
}
