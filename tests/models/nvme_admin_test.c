/* SPDX-License-Identifier: BSD-3-Clause */
/* nvme: admin commands: Identify, features, logs, events, Format, and wrong ones. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_kit.h"

/* Identify */

static void identify_controller(void **state)
{
	struct nk *nk = *state;
	uint8_t id[PAGE];

	assert_int_equal(nk_identify(nk, 1, 0, id), 0);
	assert_int_equal(ob_get_le16(id), 0x1af4);
	assert_int_equal(ob_get_le16(id + 2), 0x1af4);
	assert_memory_equal(id + 4, "kit                 ", 20);
	assert_memory_equal(id + 24, "outboard NVMe   ", 16);
	assert_int_equal(id[77], 7); /* MDTS */
	assert_int_equal(ob_get_le32(id + 80), 0x10400);
	assert_int_equal(ob_get_le32(id + 92), 1 << 8); /* OAES */
	assert_int_equal(id[111], 1);                   /* CNTRLTYPE */
	assert_int_equal(ob_get_le16(id + 256), 1 << 1 | 1 << 8);
	assert_int_equal(id[261], 6); /* LPA */
	assert_int_equal(id[512], 0x66);
	assert_int_equal(id[513], 0x44);
	assert_int_equal(ob_get_le32(id + 516), 1); /* NN */
	assert_int_equal(ob_get_le16(id + 520), 0xdd);
	assert_int_equal(id[525], 7); /* VWC */
	assert_int_equal(ob_get_le32(id + 536), 0x10001);
	assert_memory_equal(id + 768, "nqn.2014-08.org.nvmexpress:uuid:", 32);
	assert_int_equal(strlen((char *)id + 768), 32 + 36);
}

static void identify_namespace(void **state)
{
	struct nk *nk = *state;
	uint8_t id[PAGE], other[PAGE];

	assert_int_equal(nk_identify(nk, 0, 1, id), 0);
	assert_true(ob_get_le64(id) == (64 << 20) / 512);
	assert_true(ob_get_le64(id + 8) == (64 << 20) / 512);
	assert_int_equal(id[25], 1);
	assert_int_equal(id[26], 0);
	assert_int_equal(id[33], 9);
	assert_int_equal(ob_get_le16(id + 64), 7); /* 4096 bytes are 8 blocks */
	assert_int_equal(ob_get_le32(id + 128), 9 << 16);
	assert_int_equal(ob_get_le32(id + 132), 12 << 16);
	assert_int_equal(nk_identify(nk, 0, 0, id), 0x0b);
	assert_int_equal(nk_identify(nk, 0, 2, id), 0x0b);
	assert_int_equal(nk_identify(nk, 0, 0xffffffff, id), 0x0b);
	assert_int_equal(nk_identify(nk, 0x11, 1, other), 0);
	assert_int_equal(nk_identify(nk, 0, 1, id), 0);
	assert_memory_equal(id, other, PAGE);
	/* What names it: a UUID of version 8, and nothing else. */
	assert_int_equal(nk_identify(nk, 3, 1, id), 0);
	assert_int_equal(id[0], 3);
	assert_int_equal(id[1], 16);
	assert_int_equal(id[10] >> 4, 8);
	assert_int_equal(id[12] >> 6, 2);
	assert_int_equal(id[20], 0);
	assert_int_equal(nk_identify(nk, 3, 5, id), 0x0b);
}

static void identify_lists(void **state)
{
	struct nk *nk = *state;
	uint8_t id[PAGE];

	assert_int_equal(nk_identify(nk, 2, 0, id), 0);
	assert_int_equal(ob_get_le32(id), 1);
	assert_int_equal(ob_get_le32(id + 4), 0);
	assert_int_equal(nk_identify(nk, 2, 1, id), 0);
	assert_int_equal(ob_get_le32(id), 0);
	assert_int_equal(nk_identify(nk, 2, 0xfffffffe, id), 0x0b);
	assert_int_equal(nk_identify(nk, 0x10, 0, id), 0);
	assert_int_equal(ob_get_le32(id), 1);
	assert_int_equal(nk_identify(nk, 0x13, 0, id), 0);
	assert_int_equal(ob_get_le32(id), 1); /* one controller, number 0 */
	assert_int_equal(nk_identify(nk, 0x12, 1, id), 0);
	assert_int_equal(ob_get_le32(id), 1);
	assert_int_equal(nk_identify(nk, 0x12, 2, id), 0x0b);
	for (uint8_t cns = 5; cns <= 8; cns++)
		assert_int_equal(nk_identify(nk, cns, 1, id), 0);
	assert_int_equal(nk_identify(nk, 0x04, 1, id), 0x02);
	assert_int_equal(nk_identify(nk, 0x14, 1, id), 0x02);
	assert_int_equal(nk_identify(nk, 0xff, 1, id), 0x02);
}

/* Features */

static void features_have_defaults(void **state)
{
	static const struct {
		uint8_t id;
		uint32_t value, set;
	} features[] = {
		{0x01, 7, 0x03020105}, {0x02, 0, 0x20}, {0x04, 343, 400}, {0x06, 1, 0},
		{0x08, 0, 0x0102},     {0x0a, 0, 1},    {0x0b, 0, 0x101},
	};
	struct nk *nk = *state;
	uint32_t value;

	for (unsigned i = 0; i < sizeof(features) / sizeof(*features); i++) {
		uint8_t id = features[i].id;

		assert_int_equal(nk_feature(nk, id, 0, 0, &value), 0);
		assert_int_equal(value, features[i].value);
		assert_int_equal(nk_set_feature(nk, id, features[i].set, NULL), 0);
		assert_int_equal(nk_feature(nk, id, 0, 0, &value), 0);
		assert_int_equal(value, features[i].set);
		assert_int_equal(nk_feature(nk, id, 1, 0, &value), 0);
		assert_int_equal(value, features[i].value);
		assert_int_equal(nk_feature(nk, id, 2, 0, &value), 0);
		assert_int_equal(value, features[i].value);
		assert_int_equal(nk_feature(nk, id, 3, 0, &value), 0);
		assert_int_equal(value, 4);
		assert_int_equal(nk_feature(nk, id, 4, 0, &value), 0x02);
	}
	nk_disable(nk);
	nk_enable(nk);
	assert_int_equal(nk_feature(nk, 0x01, 0, 0, &value), 0);
	assert_int_equal(value, 7);
}

static void queues_are_counted_before_there_are_any(void **state)
{
	struct nk *nk = *state;
	uint32_t value;

	assert_int_equal(nk_set_feature(nk, 0x07, 0x00030003, NULL), 0x0c);
	assert_int_equal(nk_feature(nk, 0x07, 0, 0, &value), 0);
	assert_int_equal(value, 14 << 16 | 14);
	nk_disable(nk);
	nk_enable(nk);
	assert_int_equal(nk_set_feature(nk, 0x07, 0x00030003, &value), 0);
	assert_int_equal(value, 14 << 16 | 14);
	assert_int_equal(nk_set_feature(nk, 0x07, 0xffff0003, NULL), 0x02);
	assert_int_equal(nk_set_feature(nk, 0x07, 0x0003ffff, NULL), 0x02);
}

static void wrong_features_are_refused(void **state)
{
	struct nk *nk = *state;
	struct sqe sqe = nk_sqe(0x09, 0);

	assert_int_equal(nk_feature(nk, 0x00, 0, 0, NULL), 0x02);
	assert_int_equal(nk_feature(nk, 0x0c, 0, 0, NULL), 0x02);
	assert_int_equal(nk_feature(nk, 0xc0, 0, 0, NULL), 0x02);
	assert_int_equal(nk_set_feature(nk, 0x7f, 0, NULL), 0x02);
	assert_int_equal(nk_set_feature(nk, 0x02, 1, NULL), 0x02);
	sqe.dw[10] = 1u << 31 | 0x01; /* save */
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x10d);
	sqe.dw[10] = 0x01;
	sqe.dw[1] = 1; /* not a namespace's */
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x10f);
	sqe.dw[1] = 7;
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x0b);
	sqe.dw[1] = 0xffffffff;
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0);
	assert_int_equal(nk_set_feature(nk, 0x09, 1 << 16 | 16, NULL), 0x02);
	assert_int_equal(nk_feature(nk, 0x09, 0, 16, NULL), 0x02);
	assert_int_equal(nk_set_feature(nk, 0x04, 2 << 20, NULL), 0x02);
	assert_int_equal(nk_set_feature(nk, 0x04, 1 << 16, NULL), 0x02);
}

static void features_of_namespaces_and_vectors(void **state)
{
	struct nk *nk = *state;
	struct sqe get = nk_sqe(0x0a, 1), set = nk_sqe(0x09, 1);
	uint32_t value;

	set.dw[10] = get.dw[10] = 0x05;
	set.dw[11] = 1234;
	assert_int_equal(nk_run(nk, &nk->admin, set), 0);
	assert_int_equal(nk_run(nk, &nk->admin, get), 0);
	assert_int_equal(nk->last.result, 1234);
	get.dw[1] = 0;
	assert_int_equal(nk_run(nk, &nk->admin, get), 0x0b);
	set.dw[1] = 2;
	assert_int_equal(nk_run(nk, &nk->admin, set), 0x0b);
	set.dw[1] = 0xffffffff;
	set.dw[11] = 1 << 16;
	assert_int_equal(nk_run(nk, &nk->admin, set), 0x02);
	assert_int_equal(nk_feature(nk, 0x05, 3, 0, &value), 0);
	assert_int_equal(value, 6);
	assert_int_equal(nk_set_feature(nk, 0x09, 1 << 16 | 3, NULL), 0);
	assert_int_equal(nk_feature(nk, 0x09, 0, 3, &value), 0);
	assert_int_equal(value, 1 << 16 | 3);
	assert_int_equal(nk_feature(nk, 0x09, 0, 4, &value), 0);
	assert_int_equal(value, 4);
}

static void features_in_memory(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 8, 512);
	struct sqe sqe = nk_sqe(0x09, 0);
	uint8_t bytes[512] = {0};
	uint64_t ms;

	ob_put_le64(bytes, UINT64_C(0xabcdef123456));
	nk_buffer_write(nk, &b, bytes);
	nk_prp(nk, &sqe, &b);
	sqe.dw[10] = 0x0e;
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0);
	sqe = nk_sqe(0x0a, 0);
	sqe.dw[10] = 0x0e;
	assert_int_equal(nk_get(nk, sqe, bytes, 8), 0);
	ms = ob_get_le64(bytes);
	assert_int_equal(ms >> 48, 2); /* set by the host */
	ms = (ms & UINT64_C(0xffffffffffff)) - UINT64_C(0xabcdef123456);
	assert_true(ms < 60000);

	memset(bytes, 0, sizeof(bytes));
	bytes[0] = 1;
	nk_buffer_write(nk, &b, bytes);
	sqe = nk_sqe(0x09, 0);
	nk_prp(nk, &sqe, &b);
	sqe.dw[10] = 0x16;
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0);
	sqe = nk_sqe(0x0a, 0);
	sqe.dw[10] = 0x16;
	assert_int_equal(nk_get(nk, sqe, bytes, 512), 0);
	assert_int_equal(bytes[0], 1);
}

static void a_drive_without_a_cache_has_no_feature_for_it(void **state)
{
	struct nk *nk = *state;
	struct nk *other = nk_new(nk->kit->mode);
	uint8_t id[PAGE];

	other->drive->block.info.volatile_cache = false;
	nk_start(other, "drive=d0");
	nk_enable(other);
	assert_int_equal(nk_identify(other, 1, 0, id), 0);
	assert_int_equal(id[525], 6);
	assert_int_equal(nk_feature(other, 0x06, 0, 0, NULL), 0x02);
	assert_int_equal(nk_set_feature(other, 0x06, 1, NULL), 0x02);
	nk_free(other);
}

static void a_write_cache_that_begins_off(void **state)
{
	struct nk *nk = *state;
	struct nk *other = nk_new(nk->kit->mode);
	uint8_t id[PAGE], bytes[512] = {0};
	uint32_t value = 1;

	nk_start(other, "drive=d0,write-cache=off,subnqn=nqn.2014-08.org.example:x");
	nk_enable(other);
	nk_create_io(other);
	assert_int_equal(nk_identify(other, 1, 0, id), 0);
	assert_int_equal(id[525], 7);
	assert_string_equal((char *)id + 768, "nqn.2014-08.org.example:x");
	assert_int_equal(nk_feature(other, 0x06, 0, 0, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(nk_write(other, 1, 0, bytes, 1, 512), 0);
	assert_int_equal(other->drive->calls[other->drive->call_count - 1].flags, OB_BLOCK_FUA);
	assert_int_equal(nk_set_feature(other, 0x06, 1, NULL), 0);
	assert_int_equal(nk_write(other, 1, 0, bytes, 1, 512), 0);
	assert_int_equal(other->drive->calls[other->drive->call_count - 1].flags, 0);
	nk_free(other);
}

/* Logs */

static void health_counts(void **state)
{
	struct nk *nk = *state;
	uint8_t log[512], bytes[4096] = {0};

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(nk_write(nk, 1, 0, bytes, 8, 512), 0);
	assert_int_equal(nk_read(nk, 1, 0, bytes, 8, 512), 0);
	nk->drive->fail[OB_BLOCK_READ] = -EIO;
	assert_int_equal(nk_read(nk, 1, 0, bytes, 8, 512), 0x281);
	assert_int_equal(nk_log(nk, 2, false, 0, log, 512), 0);
	assert_int_equal(log[0], 0);
	assert_int_equal(ob_get_le16(log + 1), 310);
	assert_int_equal(ob_get_le64(log + 32), 1);
	assert_int_equal(ob_get_le64(log + 48), 1);
	assert_int_equal(ob_get_le64(log + 64), 1);
	assert_int_equal(ob_get_le64(log + 80), 3);
	assert_int_equal(ob_get_le64(log + 160), 1);
	assert_int_equal(ob_get_le64(log + 176), 1);
}

static void errors_are_logged(void **state)
{
	struct nk *nk = *state;
	uint8_t log[PAGE];
	uint16_t cid;

	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x0c, 1, 1u << 30, 1)), 0x80);
	cid = nk->last.cid;
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x0c, 9, 0, 1)), 0x0b);
	assert_int_equal(nk_log(nk, 1, false, 0, log, PAGE), 0);
	assert_int_equal(ob_get_le64(log), 2);
	assert_int_equal(ob_get_le32(log + 24), 9);
	assert_int_equal(ob_get_le64(log + 64), 1);
	assert_int_equal(ob_get_le16(log + 64 + 8), 1);
	assert_int_equal(ob_get_le16(log + 64 + 10), cid);
	assert_int_equal(ob_get_le16(log + 64 + 12) >> 1 & 0x7ff, 0x80);
	assert_int_equal(ob_get_le64(log + 64 + 16), 1u << 30);
	assert_int_equal(ob_get_le64(log + 128), 0);
	for (unsigned i = 0; i < 70; i++)
		nk_run(nk, &nk->io, nk_sqe(0x7f, 1));
	assert_int_equal(nk_log(nk, 1, false, 0, log, PAGE), 0);
	assert_int_equal(ob_get_le64(log), 72);
	assert_int_equal(ob_get_le64(log + 63 * 64), 9);
}

static void logs_have_offsets_and_ends(void **state)
{
	struct nk *nk = *state;
	uint8_t log[2 * PAGE];
	struct sqe sqe = nk_sqe(0x02, 1);

	assert_int_equal(nk_log(nk, 3, false, 0, log, 512), 0);
	assert_int_equal(log[0], 1);
	assert_memory_equal(log + 8, "1.0     ", 8);
	assert_int_equal(nk_log(nk, 3, false, 8, log, 8), 0);
	assert_memory_equal(log, "1.0     ", 8);
	assert_int_equal(nk_log(nk, 5, false, 1024, log, 1024), 0);
	assert_int_equal(ob_get_le32(log + 1 * 4), 3);
	assert_int_equal(ob_get_le32(log + 2 * 4), 1);
	assert_int_equal(ob_get_le32(log + 3 * 4), 0);
	/* Past the end there is nothing. */
	memset(log, 0xff, sizeof(log));
	assert_int_equal(nk_log(nk, 2, false, 508, log, 2 * PAGE), 0);
	for (unsigned i = 0; i < sizeof(log); i++)
		assert_int_equal(log[i], 0);
	assert_int_equal(nk_log(nk, 2, false, 512, log, 4), 0);
	assert_int_equal(nk_log(nk, 2, false, 516, log, 4), 0x02);
	assert_int_equal(nk_log(nk, 2, false, 2, log, 4), 0x02);
	assert_int_equal(nk_log(nk, 1, false, UINT64_MAX - 3, log, 4), 0x02);
	assert_int_equal(nk_log(nk, 0x00, false, 0, log, 4), 0x109);
	assert_int_equal(nk_log(nk, 0x06, false, 0, log, 4), 0x109);
	assert_int_equal(nk_log(nk, 0xff, false, 0, log, 4), 0x109);
	sqe.dw[10] = 2 | 127 << 16;
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x02);
	sqe.dw[1] = 2;
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x0b);
	sqe.dw[1] = 0;
	sqe.dw[11] = 0xffff; /* 16 GiB */
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x02);
}

/* Events */

static void events_wait_for_requests_and_for_their_log(void **state)
{
	struct nk *nk = *state;
	uint8_t log[64];
	uint16_t cid;
	struct cqe cqe;

	nk_doorbell(nk, 99, false, 1); /* before there is a request */
	cid = nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	cqe = nk_wait(nk, &nk->admin);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.status, 0);
	assert_int_equal(cqe.result, 0x010000); /* error, invalid register, log page 1 */
	/* Another of the type waits until the log was read, and reading may say no. */
	cid = nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	nk_doorbell(nk, 1, false, 64);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->admin));
	assert_int_equal(nk_log(nk, 1, true, 0, log, 64), 0);
	assert_int_equal(ob_get_le64(log), 2);
	assert_int_equal(ob_get_le16(log + 10), 0xffff);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->admin));
	assert_int_equal(nk_log(nk, 1, false, 0, log, 64), 0);
	cqe = nk_wait(nk, &nk->admin);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.result, 0x010100); /* invalid value */
}

static void event_requests_are_limited_and_gone_with_a_reset(void **state)
{
	struct nk *nk = *state;
	uint16_t first = nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));

	for (unsigned i = 0; i < 7; i++)
		nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	assert_int_equal(nk_run(nk, &nk->admin, nk_sqe(0x0c, 0)), 0x105);
	/* The oldest is answered first. */
	nk_doorbell(nk, 99, true, 0);
	assert_int_equal(nk_wait(nk, &nk->admin).cid, first);
	nk_disable(nk);
	nk_enable(nk);
	nk_doorbell(nk, 99, true, 0);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->admin));
}

static void temperature_event(void **state)
{
	struct nk *nk = *state;
	uint8_t log[512];

	nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	/* Not enabled: a warning, but no event. */
	assert_int_equal(nk_set_feature(nk, 0x04, 300, NULL), 0);
	assert_int_equal(nk_log(nk, 2, false, 0, log, 512), 0);
	assert_int_equal(log[0], 2);
	assert_int_equal(nk_set_feature(nk, 0x0b, 2, NULL), 0);
	/* Its completion may come before or after that of the command that causes it. */
	nk_submit(nk, &nk->admin, nk_sqe(0x7f, 0));
	assert_int_equal(nk_wait(nk, &nk->admin).status, 1);
	struct sqe sqe = nk_sqe(0x09, 0);

	sqe.dw[10] = 0x04;
	sqe.dw[11] = 1 << 20 | 320; /* at or under */
	nk_submit(nk, &nk->admin, sqe);
	assert_int_equal(nk_wait(nk, &nk->admin).result + nk_wait(nk, &nk->admin).result, 0x020101);
}

/* Format NVM */

static uint16_t format(struct nk *nk, uint32_t nsid, uint32_t dw10)
{
	struct sqe sqe = nk_sqe(0x80, nsid);

	sqe.dw[10] = dw10;
	return nk_run(nk, &nk->admin, sqe);
}

static void format_changes_block_size_and_erases(void **state)
{
	struct nk *nk = *state;
	uint8_t id[PAGE];

	memset(nk->drive->data, 0xaa, 64 << 20);
	assert_int_equal(format(nk, 1, 1), 0);
	for (unsigned i = 0; i < 64 << 20; i += 511)
		assert_int_equal(nk->drive->data[i], 0);
	assert_int_equal(nk_identify(nk, 0, 1, id), 0);
	assert_int_equal(id[26], 1);
	assert_true(ob_get_le64(id) == (64 << 20) / 4096);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x0c, 1, (64 << 20) / 4096, 1)), 0x80);
	/* It outlives a reset; and back, erasing without discard. */
	kit_reset(nk->kit);
	nk_enable(nk);
	nk_create_io(nk);
	assert_int_equal(nk_identify(nk, 0, 1, id), 0);
	assert_int_equal(id[26], 1);
	nk->drive->block.info.discard_zeroes = false;
	nk->drive->later = true;
	memset(nk->drive->data, 0xaa, 64 << 20);
	assert_int_equal(format(nk, 0xffffffff, 1 << 9), 0);
	assert_int_equal(nk->drive->data[0], 0);
	assert_int_equal(nk->drive->data[(64 << 20) - 1], 0);
	assert_int_equal(nk_identify(nk, 0, 1, id), 0);
	assert_int_equal(id[26], 0);
}

static void wrong_formats_are_refused(void **state)
{
	struct nk *nk = *state;

	assert_int_equal(format(nk, 1, 2), 0x10a);
	assert_int_equal(format(nk, 1, 1 << 4), 0x10a);
	assert_int_equal(format(nk, 1, 1 << 5), 0x10a);
	assert_int_equal(format(nk, 1, 2 << 9), 0x02);
	assert_int_equal(format(nk, 0, 0), 0x0b);
	assert_int_equal(format(nk, 2, 0), 0x0b);
	nk->drive->fail[OB_BLOCK_DISCARD] = -EIO;
	assert_int_equal(format(nk, 1, 1), 0x280);
	nk->drive->block.info.read_only = true;
	assert_int_equal(format(nk, 1, 0), 0x20);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x0c, 1, (64 << 20) / 512 - 1, 1)), 0);
}

static void others_wait_for_a_format(void **state)
{
	struct nk *nk = *state;
	struct sqe sqe = nk_sqe(0x80, 1);
	uint8_t id[PAGE];

	nk->drive->hold = true;
	sqe.dw[10] = 1;
	nk_submit(nk, &nk->admin, sqe);
	kit_settle(nk->kit);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x0c, 1, 0, 1)), 0x84);
	assert_true(nk->last.retry);
	assert_int_equal(format(nk, 1, 0), 0x84);
	/* It begins again when a quiesce comes between, and ends once. */
	assert_false(kit_quiesce(nk->kit));
	kit_drive_release(nk->kit, nk->drive);
	assert_int_equal(nk_wait(nk, &nk->admin).status, 0);
	assert_int_equal(nk_identify(nk, 0, 1, id), 0);
	assert_int_equal(id[26], 1);
	/* A reset ends it, and lets others in again. */
	nk->drive->hold = true;
	nk_submit(nk, &nk->admin, sqe);
	kit_settle(nk->kit);
	nk_set(nk, REG_CC, 0);
	kit_drive_release(nk->kit, nk->drive);
	kit_settle(nk->kit);
	nk_enable(nk);
	nk_create_io(nk);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x0c, 1, 0, 1)), 0);
}

/* Beside d0 a drive of 8 EiB, and one that is done in pieces of one size: 256 times 64 MiB. */
static void *setup_huge(enum kit_mode mode)
{
	struct nk *nk = nk_new(mode);

	kit_add_drive(nk->kit, "d1", (uint64_t)INT64_MAX & ~UINT64_C(511));
	kit_add_drive(nk->kit, "d2", UINT64_C(16) << 30);
	nk_start(nk, "drive=d0,drive=d1,drive=d2");
	nk_enable(nk);
	return nk;
}

/* What the drive is asked for grows as long as that takes no time, and covers all of it once. */
static void a_format_of_8_eib_ends(void **state)
{
	struct nk *nk = *state;
	struct kit_drive *huge = &nk->kit->drives[1];
	uint64_t at = 0;

	for (unsigned later = 0; later < 2; later++) {
		huge->later = later;
		huge->call_count = 0;
		assert_int_equal(format(nk, 2, 0), 0);
		assert_true(huge->call_count >= 256 && huge->call_count < KIT_CALLS);
		at = 0;
		for (unsigned i = 0; i < huge->call_count; i++) {
			assert_int_equal(huge->calls[i].op, OB_BLOCK_DISCARD);
			assert_true(huge->calls[i].offset == at);
			at += huge->calls[i].length;
		}
		assert_true(at == huge->block.info.size);
	}
}

/* What a drive leaves of a piece is asked for again. */
static void a_format_in_parts(void **state)
{
	struct nk *nk = *state;
	struct kit_drive *drive = nk->drive;

	drive->partly = true;
	for (unsigned later = 0; later < 2; later++) {
		uint64_t at = 0;

		drive->later = later;
		drive->block.info.discard_zeroes = !later;
		drive->call_count = 0;
		memset(drive->data, 0xaa, 64 << 20);
		assert_int_equal(format(nk, 1, 0), 0);
		assert_true(drive->call_count > 16 && drive->call_count < KIT_CALLS);
		for (unsigned i = 0; i < drive->call_count; i++) {
			const struct kit_call *call = &drive->calls[i];

			assert_true(call->flags & OB_BLOCK_PARTLY);
			assert_true(call->offset == at);
			at += call->length - (call->length / 2 & ~UINT64_C(511));
		}
		assert_true(at == 64 << 20);
		for (unsigned i = 0; i < 64 << 20; i += 511)
			assert_int_equal(drive->data[i], 0);
	}
	/* Nobody else gets less than was asked for. */
	drive->data[0] = drive->data[8191] = 0xaa;
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x08, 1, 0, 16)), 0);
	assert_int_equal(drive->data[0] + drive->data[8191], 0);
}

/* Lets one request of a drive end, and has it keep the next one. */
static void release_one(struct nk *nk, struct kit_drive *drive)
{
	unsigned before = drive->call_count;

	kit_drive_release(nk->kit, drive);
	drive->hold = true;
	kit_settle(nk->kit);
	assert_true(drive->call_count <= before + 1);
}

static unsigned fpi(struct nk *nk, uint32_t nsid)
{
	uint8_t id[PAGE];

	assert_int_equal(nk_identify(nk, 0, nsid, id), 0);
	return id[32];
}

static void a_format_shows_its_progress(void **state)
{
	struct nk *nk = *state;
	struct kit_drive *large = &nk->kit->drives[2];
	struct sqe sqe = nk_sqe(0x80, 0xffffffff);
	unsigned left = 100, steps = 0;

	assert_int_equal(fpi(nk, 1), 0x80);
	large->hold = true;
	nk_submit(nk, &nk->admin, sqe);
	while (!large->held)
		kit_turn(nk->kit);
	/* The first is done and waits for the last, which has most of it before it. */
	assert_int_equal(fpi(nk, 1), 0x81);
	assert_int_equal(fpi(nk, 3), 0x80 | 100);
	while (large->held) {
		unsigned now = fpi(nk, 3) & 0x7f;

		assert_true(now >= 1 && now <= left);
		left = now;
		steps++;
		release_one(nk, large);
	}
	assert_int_equal(left, 1);
	assert_true(steps == 256);
	assert_int_equal(nk_wait(nk, &nk->admin).status, 0);
	assert_int_equal(fpi(nk, 1), 0x80);
	assert_int_equal(fpi(nk, 3), 0x80);
	/* A reset in the midst of it ends it with the request that is under way. */
	nk_submit(nk, &nk->admin, sqe);
	while (!large->held)
		kit_turn(nk->kit);
	release_one(nk, large);
	nk_set(nk, REG_CC, 0);
	kit_drive_release(nk->kit, large);
	kit_settle(nk->kit);
	large->call_count = 0;
	nk_enable(nk);
	assert_int_equal(fpi(nk, 3), 0x80);
	assert_int_equal(large->call_count, 0);
}

static void a_format_tells_of_the_change(void **state)
{
	struct nk *nk = *state;
	uint8_t log[PAGE];
	struct sqe sqe = nk_sqe(0x80, 1);

	assert_int_equal(nk_set_feature(nk, 0x0b, 0x100, NULL), 0);
	nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	sqe.dw[10] = 1;
	nk_submit(nk, &nk->admin, sqe);
	assert_int_equal(nk_wait(nk, &nk->admin).result + nk_wait(nk, &nk->admin).result,
	                 0x040002); /* notice, namespace changed, log page 4 */
	assert_int_equal(nk_log(nk, 4, false, 0, log, PAGE), 0);
	assert_int_equal(ob_get_le32(log), 1);
	assert_int_equal(ob_get_le32(log + 4), 0);
	assert_int_equal(nk_log(nk, 4, false, 0, log, PAGE), 0);
	assert_int_equal(ob_get_le32(log), 0);
}

static void a_drive_of_another_size_is_told(void **state)
{
	struct nk *nk = *state;
	struct ob_block *block = &nk->drive->block;
	uint8_t log[PAGE], id[PAGE];
	struct ob_error err;

	assert_int_equal(nk_set_feature(nk, 0x0b, 0x100, NULL), 0);
	nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	assert_int_equal(device_resize_block(nk->kit->dev, block, 32 << 20, &err), 0);
	assert_int_equal(nk_wait(nk, &nk->admin).result, 0x040002);
	assert_int_equal(nk_log(nk, 4, false, 0, log, PAGE), 0);
	assert_int_equal(ob_get_le32(log), 1);
	assert_int_equal(nk_identify(nk, 0, 1, id), 0);
	assert_int_equal(ob_get_le64(id), (32 << 20) / 512);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x08, 1, (32 << 20) / 512, 1)), 0x80);
	assert_int_equal(device_resize_block(nk->kit->dev, block, 4095, &err), -EINVAL);
	/* While it is quiet, the guest's memory is left alone; it learns afterwards. */
	nk_submit(nk, &nk->admin, nk_sqe(0x0c, 0));
	kit_settle(nk->kit);
	assert_true(kit_quiesce(nk->kit));
	assert_int_equal(device_resize_block(nk->kit->dev, block, 64 << 20, &err), 0);
	kit_resume(nk->kit);
	assert_int_equal(nk_wait(nk, &nk->admin).result, 0x040002);
	assert_int_equal(nk_run(nk, &nk->io, nk_rw(0x08, 1, (32 << 20) / 512, 1)), 0);
}

/* Wrong commands */

static void unknown_commands_are_refused(void **state)
{
	static const uint8_t known[] = {0x00, 0x01, 0x02, 0x04, 0x05, 0x06,
	                                0x08, 0x09, 0x0a, 0x0c, 0x7c, 0x80};
	struct nk *nk = *state;

	for (unsigned opcode = 0; opcode < 256; opcode++) {
		if (memchr(known, (int)opcode, sizeof(known)))
			continue;
		assert_int_equal(nk_run(nk, &nk->admin, nk_sqe((uint8_t)opcode, 1)), 0x01);
		assert_false(nk->last.retry);
	}
}

/* nvme-cli's show-regs sends one to find out whether this is a controller over fabrics. */
static void a_fabrics_command_is_no_error_to_remember(void **state)
{
	struct nk *nk = *state;
	uint8_t log[512];

	assert_int_equal(nk_run(nk, &nk->admin, nk_sqe(0x7f, 0)), 0x01);
	assert_false(nk->last.retry);
	assert_int_equal(nk_log(nk, 2, false, 0, log, 512), 0);
	assert_true(ob_get_le64(log + 176) == 0); /* entries of the error log, ever */
	assert_int_equal(nk_run(nk, &nk->admin, nk_sqe(0x7e, 0)), 0x01);
	assert_int_equal(nk_log(nk, 2, false, 0, log, 512), 0);
	assert_true(ob_get_le64(log + 176) == 1);
}

static void admin_commands_use_prps(void **state)
{
	struct nk *nk = *state;
	uint64_t page = kit_alloc(nk->kit, PAGE, PAGE);
	struct sqe sqe = nk_sqe(0x06, 0);

	sqe.dw[10] = 1;
	nk_sgl1(&sqe, 0, page, PAGE);
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x02);
	sqe = nk_sqe(0x06, 0);
	sqe.dw[10] = 1;
	sqe.dw[6] = (uint32_t)page + 4;
	sqe.dw[7] = (uint32_t)(page >> 32);
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x04);
	sqe.dw[6] = (uint32_t)page + 1;
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x13);
	sqe.dw[6] = (uint32_t)page;
	sqe.dw[0] |= 2 << 8; /* fused */
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0x02);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(identify_controller),
		KIT_TEST(identify_namespace),
		KIT_TEST(identify_lists),
		KIT_TEST(features_have_defaults),
		KIT_TEST(queues_are_counted_before_there_are_any),
		KIT_TEST(wrong_features_are_refused),
		KIT_TEST(features_of_namespaces_and_vectors),
		KIT_TEST(features_in_memory),
		KIT_TEST(a_drive_without_a_cache_has_no_feature_for_it),
		KIT_TEST(a_write_cache_that_begins_off),
		KIT_TEST(health_counts),
		KIT_TEST(errors_are_logged),
		KIT_TEST(logs_have_offsets_and_ends),
		KIT_TEST(events_wait_for_requests_and_for_their_log),
		KIT_TEST(event_requests_are_limited_and_gone_with_a_reset),
		KIT_TEST(temperature_event),
		KIT_TEST(format_changes_block_size_and_erases),
		KIT_TEST(wrong_formats_are_refused),
		KIT_TEST(others_wait_for_a_format),
		KIT_TEST(a_format_in_parts),
		KIT_TEST(a_format_tells_of_the_change),
		KIT_TEST(a_drive_of_another_size_is_told),
		KIT_TEST(unknown_commands_are_refused),
		KIT_TEST(a_fabrics_command_is_no_error_to_remember),
		KIT_TEST(admin_commands_use_prps),
	};

	static const struct kit_test large[] = {
		KIT_TEST(a_format_of_8_eib_ends),
		KIT_TEST(a_format_shows_its_progress),
	};

	return KIT_RUN("nvme_admin", tests, nk_setup, nk_free) +
	       KIT_RUN("nvme_admin large drives", large, setup_huge, nk_free);
}
