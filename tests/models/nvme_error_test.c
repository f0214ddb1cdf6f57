/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme: what becomes of commands whose drive fails, by rerror and werror: of those that end at
 * once and of those that end later. Where the machine stops, a test is the machine: it quiesces the
 * device and has it go on.
 */
#include <errno.h>
#include <string.h>

#include "nvme_kit.h"

enum {
	FORMAT = 0x80,
	FLUSH = 0x00,
	WRITE = 0x01,
	READ = 0x02,
	COMPARE = 0x05,
	ZEROES = 0x08,
	DATASET = 0x09,
	VERIFY = 0x0c,

	WRITE_FAULT = 0x280,
	READ_ERROR = 0x281,

	LENGTH = 8192,
};

static void *setup(enum kit_mode mode)
{
	return nk_new(mode);
}

static void begin(struct nk *nk, const char *more)
{
	char options[128];

	snprintf(options, sizeof(options), "drive=d0,serial=kit%s", more);
	nk_start(nk, options);
	kit_use_msix(nk->kit, 16);
	nk_enable(nk);
	nk_create_io(nk);
}

static void fail_all(struct nk *nk, int error)
{
	for (unsigned op = 0; op <= OB_BLOCK_WRITE_ZEROES; op++)
		nk->drive->fail[op] = error;
}

/* A command of each kind, with its data at b. */
static struct sqe command(struct nk *nk, uint8_t opcode, const struct buffer *b)
{
	struct sqe sqe = nk_rw(opcode, 1, 16, LENGTH / 512);
	uint8_t range[16] = {0};

	if (opcode == FLUSH)
		sqe = nk_sqe(FLUSH, 1);
	if (opcode == DATASET) {
		sqe = nk_sqe(DATASET, 1);
		sqe.dw[11] = 4;
		range[4] = LENGTH / 512;
		range[8] = 16;
		memcpy(kit_at(nk->kit, b->pages[0]), range, sizeof(range));
	}
	if (opcode != FLUSH && opcode != ZEROES && opcode != VERIFY)
		nk_prp(nk, &sqe, b);
	return sqe;
}

static const uint8_t opcodes[] = {FLUSH, WRITE, READ, COMPARE, ZEROES, DATASET, VERIFY};

static bool reads(uint8_t opcode)
{
	return opcode == READ || opcode == COMPARE || opcode == VERIFY;
}

/* Each kind of command, on a drive that ends requests at once, and on one that does later. */
static void each(struct nk *nk, void (*test)(struct nk *nk, uint8_t opcode, struct buffer *b))
{
	struct buffer b = nk_buffer(nk, 0, LENGTH);
	uint8_t zeroes[LENGTH] = {0};

	for (unsigned i = 0; i < 2 * sizeof(opcodes); i++) {
		nk->drive->later = i % 2;
		nk->kit->errors = 0;
		nk_buffer_write(nk, &b, zeroes);
		memset(nk->drive->data, 0, 1 << 20);
		test(nk, opcodes[i / 2], &b);
	}
}

static void is_reported(struct nk *nk, uint8_t opcode, struct buffer *b)
{
	fail_all(nk, -EIO);
	assert_int_equal(nk_run(nk, &nk->io, command(nk, opcode, b)),
	                 reads(opcode) ? READ_ERROR : WRITE_FAULT);
	assert_int_equal(nk->kit->errors, 1);
	assert_int_equal(nk->kit->last_error.action, OB_ERROR_REPORT);
	assert_int_equal(nk->kit->last_error.write, !reads(opcode));
	assert_int_equal(nk->kit->last_error.error, -EIO);
}

static void errors_are_reported(void **state)
{
	begin(*state, "");
	each(*state, is_reported);
}

static void errors_are_reported_as_told(void **state)
{
	struct nk *nk = *state;

	/* The node's opinion is not asked. */
	nk->drive->block.info.rerror = nk->drive->block.info.werror = OB_ON_ERROR_STOP;
	begin(nk, ",rerror=report,werror=report");
	each(nk, is_reported);
}

static void is_ignored(struct nk *nk, uint8_t opcode, struct buffer *b)
{
	uint8_t before[LENGTH], after[LENGTH];

	memset(before, 0x5a, sizeof(before));
	if (reads(opcode))
		nk_buffer_write(nk, b, before);
	fail_all(nk, -EIO);
	assert_int_equal(nk_run(nk, &nk->io, command(nk, opcode, b)), 0);
	assert_int_equal(nk->kit->errors, 1);
	assert_int_equal(nk->kit->last_error.action, OB_ERROR_IGNORE);
	/* Nothing of ours is in the guest's memory that it did not ask for. */
	nk_buffer_read(nk, b, after);
	if (reads(opcode))
		assert_memory_equal(after, before, sizeof(before));
}

static void errors_are_ignored(void **state)
{
	begin(*state, ",rerror=ignore,werror=ignore");
	each(*state, is_ignored);
}

/* The machine stops: nothing is completed until it goes on. */
static void stop(struct nk *nk)
{
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->io));
	assert_int_equal(nk->kit->last_error.action, OB_ERROR_STOP);
	assert_true(kit_quiesce(nk->kit));
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->io));
}

/* A flush is told as it failed, though the machine stops: docs/data.md. */
static void flush_fails(struct nk *nk, const struct buffer *b)
{
	assert_int_equal(nk_run(nk, &nk->io, command(nk, FLUSH, b)), WRITE_FAULT);
	assert_int_equal(nk->kit->errors, 1);
	assert_int_equal(nk->kit->last_error.action, OB_ERROR_STOP);
	assert_int_equal(kit_drive_count(nk->drive, OB_BLOCK_FLUSH), 1);
}

static void is_done_again(struct nk *nk, uint8_t opcode, struct buffer *b)
{
	uint8_t data[LENGTH], back[LENGTH];

	nk->drive->call_count = 0;
	memset(data, 0x77, sizeof(data));
	fail_all(nk, -EIO);
	if (opcode == FLUSH) {
		flush_fails(nk, b);
		return;
	}
	if (opcode == WRITE || opcode == COMPARE)
		nk_buffer_write(nk, b, data);
	if (opcode == READ || opcode == COMPARE)
		memset(nk->drive->data + 8192, 0x77, LENGTH);
	nk_submit(nk, &nk->io, command(nk, opcode, b));
	stop(nk);
	assert_int_equal(nk->kit->errors, 1);
	/* Still broken: the same once more. */
	kit_resume(nk->kit);
	stop(nk);
	assert_int_equal(nk->kit->errors, 2);
	fail_all(nk, 0);
	kit_resume(nk->kit);
	assert_int_equal(nk_wait(nk, &nk->io).status, 0);
	assert_int_equal(nk->kit->errors, 2);
	assert_int_equal(nk->drive->call_count, 3);
	nk_buffer_read(nk, b, back);
	if (opcode == READ)
		assert_memory_equal(back, data, LENGTH);
	if (opcode == WRITE)
		assert_memory_equal(nk->drive->data + 8192, data, LENGTH);
}

static void what_stopped_is_done_again(void **state)
{
	begin(*state, ",rerror=stop,werror=stop");
	each(*state, is_done_again);
}

static void the_node_says_what_the_device_does_not(void **state)
{
	struct nk *nk = *state;

	nk->drive->block.info.rerror = nk->drive->block.info.werror = OB_ON_ERROR_STOP;
	begin(nk, "");
	each(nk, is_done_again);
}

static void only_no_room_stops(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, LENGTH);

	begin(nk, ",werror=enospc");
	fail_all(nk, -EIO);
	assert_int_equal(nk_run(nk, &nk->io, command(nk, WRITE, &b)), WRITE_FAULT);
	fail_all(nk, -ENOSPC);
	nk_submit(nk, &nk->io, command(nk, WRITE, &b));
	stop(nk);
	fail_all(nk, 0);
	kit_resume(nk->kit);
	assert_int_equal(nk_wait(nk, &nk->io).status, 0);
}

/* What a client, or a change of ours, has made wrong is no error of the storage. */
static void errors_of_the_request_stop_nothing(void **state)
{
	static const int errors[] = {-EFAULT, -EINVAL, -EROFS, -EPERM};
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, LENGTH);

	begin(nk, ",rerror=stop,werror=stop");
	for (unsigned i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		fail_all(nk, errors[i]);
		assert_int_not_equal(nk_run(nk, &nk->io, command(nk, WRITE, &b)), 0);
		assert_int_not_equal(nk_run(nk, &nk->io, command(nk, READ, &b)), 0);
	}
	assert_int_equal(nk->kit->errors, 0);
}

static void a_reset_drops_what_stopped(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, LENGTH);

	begin(nk, ",werror=stop");
	for (unsigned later = 0; later < 2; later++) {
		nk->drive->later = later;
		fail_all(nk, -ENOSPC);
		nk_submit(nk, &nk->io, command(nk, WRITE, &b));
		stop(nk);
		/* The guest's driver has no patience: CC.EN off and on, while all is stopped. */
		nk_set(nk, REG_CC, CC_ON & ~1u);
		fail_all(nk, 0);
		kit_resume(nk->kit);
		nk->drive->call_count = 0;
		nk_disable(nk);
		nk_enable(nk);
		nk_create_io(nk);
		kit_settle(nk->kit);
		assert_int_equal(nk->drive->call_count, 0);
		assert_int_equal(nk_run(nk, &nk->io, command(nk, WRITE, &b)), 0);
	}
}

static void what_stopped_moves(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, LENGTH);
	uint8_t data[LENGTH];

	begin(nk, ",werror=stop");
	memset(data, 0x31, sizeof(data));
	nk_buffer_write(nk, &b, data);
	fail_all(nk, -EIO);
	for (unsigned i = 0; i < 3; i++)
		nk_submit(nk, &nk->io, command(nk, WRITE, &b));
	stop(nk);
	kit_resume(nk->kit);
	fail_all(nk, 0);
	kit_migrate(nk->kit);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(nk_wait(nk, &nk->io).status, 0);
	assert_memory_equal(nk->drive->data + 8192, data, LENGTH);
}

/* All that were under way are kept, each is done once more, in whatever order. */
static void many_stop(void **state)
{
	enum { MANY = 24 };
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, LENGTH);
	unsigned done = 0;

	begin(nk, ",rerror=stop");
	nk->drive->hold = true;
	for (unsigned i = 0; i < MANY; i++)
		nk_submit(nk, &nk->io, command(nk, READ, &b));
	kit_settle(nk->kit);
	fail_all(nk, -EIO);
	kit_drive_release(nk->kit, nk->drive);
	stop(nk);
	assert_int_equal(nk->kit->errors, MANY);
	fail_all(nk, 0);
	nk->drive->call_count = 0;
	kit_resume(nk->kit);
	for (; done < MANY; done++)
		assert_int_equal(nk_wait(nk, &nk->io).status, 0);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->io));
	assert_int_equal(nk->drive->call_count, MANY);
}

/* A Format begins again; until then others for its namespace are as before. */
static void a_format_stops(void **state)
{
	struct nk *nk = *state;
	struct sqe format = nk_sqe(FORMAT, 1);
	uint8_t page[4096];

	begin(nk, ",werror=stop");
	format.dw[10] = 1;
	fail_all(nk, -EIO);
	nk_submit(nk, &nk->admin, format);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->admin));
	assert_true(kit_quiesce(nk->kit));
	fail_all(nk, 0);
	kit_resume(nk->kit);
	assert_int_equal(nk_wait(nk, &nk->admin).status, 0);
	assert_int_equal(nk_identify(nk, 0, 1, page), 0);
	assert_int_equal(page[26] & 15, 1);
}

static void a_shutdown_ends_all_the_same(void **state)
{
	struct nk *nk = *state;

	begin(nk, ",werror=stop");
	fail_all(nk, -EIO);
	nk_set(nk, REG_CC, CC_ON | 1 << 14);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS) >> 2 & 3, 2);
	assert_int_equal(nk->kit->errors, 1);
}

static void policies_are_checked(void **state)
{
	static const char *const wrong[] = {"rerror=enospc", "werror=halt"};
	struct nk *nk = *state;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct ob_error err = {""};
		char options[128];

		snprintf(options, sizeof(options), "drive=d0,%s", wrong[i]);
		assert_false(kit_try_start(nk->kit, "nvme", options, &err));
		assert_non_null(strstr(err.message, "report, ignore, stop"));
	}
	begin(nk, "");
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(errors_are_reported),
		KIT_TEST(errors_are_reported_as_told),
		KIT_TEST(errors_are_ignored),
		KIT_TEST(what_stopped_is_done_again),
		KIT_TEST(the_node_says_what_the_device_does_not),
		KIT_TEST(only_no_room_stops),
		KIT_TEST(errors_of_the_request_stop_nothing),
		KIT_TEST(a_reset_drops_what_stopped),
		KIT_TEST(what_stopped_moves),
		KIT_TEST(many_stop),
		KIT_TEST(a_format_stops),
		KIT_TEST(a_shutdown_ends_all_the_same),
		KIT_TEST(policies_are_checked),
	};

	return KIT_RUN("nvme_error", tests, setup, nk_free);
}
