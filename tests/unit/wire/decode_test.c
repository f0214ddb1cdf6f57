/* SPDX-License-Identifier: BSD-3-Clause */
/* Each command's payload: a good one, and one for each field that can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/list.h"
#include "wire/wire.h"

static const char *why;

#define refused(call, field)                                                                       \
	do {                                                                                       \
		why = NULL;                                                                        \
		assert_int_equal(call, -EINVAL);                                                   \
		assert_non_null(why);                                                              \
		assert_non_null(strstr(why, field));                                               \
	} while (0)

static void header_goes_both_ways(void **state)
{
	uint8_t bytes[16];
	struct wire_header header, request = {.id = 0xabcd, .command = WIRE_RESET, .flags = 0x10};

	wire_encode_command(bytes, 7, WIRE_DMA_READ, 32);
	wire_decode_header(bytes, &header);
	assert_int_equal(header.id, 7);
	assert_int_equal(header.command, WIRE_DMA_READ);
	assert_int_equal(header.size, 32);
	assert_int_equal(header.flags, 0);
	wire_encode_reply(bytes, &request, 20);
	wire_decode_header(bytes, &header);
	assert_int_equal(header.id, 0xabcd);
	assert_int_equal(header.command, WIRE_RESET);
	assert_int_equal(header.size, 20);
	assert_int_equal(header.flags, WIRE_TYPE_REPLY);
	wire_encode_error(bytes, &request, -ENOENT);
	wire_decode_header(bytes, &header);
	assert_int_equal(header.size, 16);
	assert_int_equal(header.flags, WIRE_TYPE_REPLY | WIRE_ERROR);
	assert_int_equal(header.error, ENOENT);
}

static void commands_have_names(void **state)
{
	assert_string_equal(wire_command_name(WIRE_DMA_MAP), "DMA_MAP");
	assert_string_equal(wire_command_name(WIRE_MIG_DATA_WRITE), "MIG_DATA_WRITE");
	assert_string_equal(wire_command_name(0), "unknown command");
	assert_string_equal(wire_command_name(14), "unknown command");
	assert_string_equal(wire_command_name(65535), "unknown command");
}

static void dma_map(void **state)
{
	const struct wire_dma_map good = {32, 3, 4096, 0x1000, 0x2000};
	struct wire_dma_map bad, out;

	assert_int_equal(wire_decode_dma_map(&good, sizeof(good), &out, &why), 0);
	assert_memory_equal(&good, &out, sizeof(good));
	refused(wire_decode_dma_map(&good, 31, &out, &why), "message size");
	refused(wire_decode_dma_map(&good, 33, &out, &why), "message size");
	refused(wire_decode_dma_map(&good, 0, &out, &why), "message size");
	bad = good, bad.argsz = 31;
	refused(wire_decode_dma_map(&bad, sizeof(bad), &out, &why), "argsz");
	bad = good, bad.flags = 4;
	refused(wire_decode_dma_map(&bad, sizeof(bad), &out, &why), "flags");
	bad = good, bad.size = 0;
	refused(wire_decode_dma_map(&bad, sizeof(bad), &out, &why), "size");
	bad = good, bad.address = UINT64_MAX - 0x1000;
	refused(wire_decode_dma_map(&bad, sizeof(bad), &out, &why), "address + size");
	/* The very last byte is fine, and so is a map that may not be accessed. */
	bad = good, bad.address = UINT64_MAX - 0x1fff, bad.flags = 0;
	assert_int_equal(wire_decode_dma_map(&bad, sizeof(bad), &out, &why), 0);
}

static void dma_unmap(void **state)
{
	const struct wire_dma_unmap good = {24, 0, 0x1000, 0x2000};
	struct wire_dma_unmap bad, out;

	assert_int_equal(wire_decode_dma_unmap(&good, sizeof(good), &out, &why), 0);
	assert_memory_equal(&good, &out, sizeof(good));
	refused(wire_decode_dma_unmap(&good, 23, &out, &why), "message size");
	refused(wire_decode_dma_unmap(&good, 32, &out, &why), "message size");
	bad = good, bad.argsz = 23;
	refused(wire_decode_dma_unmap(&bad, sizeof(bad), &out, &why), "argsz");
	bad = good, bad.flags = 1;
	refused(wire_decode_dma_unmap(&bad, sizeof(bad), &out, &why), "flags");
	bad = good, bad.size = 0;
	refused(wire_decode_dma_unmap(&bad, sizeof(bad), &out, &why), "size");
	bad = good, bad.flags = WIRE_DMA_UNMAP_ALL;
	refused(wire_decode_dma_unmap(&bad, sizeof(bad), &out, &why), "address and size");
	bad = (struct wire_dma_unmap){24, WIRE_DMA_UNMAP_ALL, 0, 0};
	assert_int_equal(wire_decode_dma_unmap(&bad, sizeof(bad), &out, &why), 0);
}

static void infos_may_be_longer_than_needed(void **state)
{
	struct {
		uint32_t argsz, flags, index, more[61];
	} big = {.argsz = 256, .index = 3, .more = {0}};
	struct wire_device_info device;
	struct wire_region_info region;
	struct wire_region_io_fds io;
	struct wire_irq_info irq;

	assert_int_equal(wire_decode_get_info(&big, sizeof(big), &device, &why), 0);
	assert_int_equal(wire_decode_get_region_info(&big, sizeof(big), &region, &why), 0);
	assert_int_equal(region.index, 3);
	assert_int_equal(wire_decode_get_region_io_fds(&big, sizeof(big), &io, &why), 0);
	assert_int_equal(wire_decode_get_irq_info(&big, sizeof(big), &irq, &why), 0);
	assert_int_equal(irq.index, 3);
	refused(wire_decode_get_info(&big, 15, &device, &why), "message size");
	refused(wire_decode_get_region_info(&big, 31, &region, &why), "message size");
	refused(wire_decode_get_region_io_fds(&big, 15, &io, &why), "message size");
	refused(wire_decode_get_irq_info(&big, 15, &irq, &why), "message size");
	big.argsz = 31;
	refused(wire_decode_get_region_info(&big, sizeof(big), &region, &why), "argsz");
	big.argsz = 15;
	refused(wire_decode_get_info(&big, sizeof(big), &device, &why), "argsz");
	refused(wire_decode_get_region_io_fds(&big, sizeof(big), &io, &why), "argsz");
	refused(wire_decode_get_irq_info(&big, sizeof(big), &irq, &why), "argsz");
	/* What the server fills in is not looked at, except where the specification says so. */
	big.argsz = 32;
	big.flags = 1;
	assert_int_equal(wire_decode_get_info(&big, sizeof(big), &device, &why), 0);
	assert_int_equal(wire_decode_get_region_info(&big, sizeof(big), &region, &why), 0);
	refused(wire_decode_get_region_io_fds(&big, sizeof(big), &io, &why), "flags");
	big.flags = 0;
	big.more[0] = 1;
	refused(wire_decode_get_region_io_fds(&big, sizeof(big), &io, &why), "count");
}

struct irq_message {
	struct wire_irq_set set;
	uint8_t bools[4];
};

static void set_irqs(void **state)
{
	struct irq_message m = {{24, WIRE_IRQ_DATA_BOOL | WIRE_IRQ_ACTION_MASK, 2, 5, 4},
	                        {1, 0, 1}};
	struct wire_set_irqs out;

	assert_int_equal(wire_decode_set_irqs(&m, sizeof(m), &out, &why), 0);
	assert_int_equal(out.data, WIRE_IRQ_DATA_BOOL);
	assert_int_equal(out.action, WIRE_IRQ_ACTION_MASK);
	assert_int_equal(out.index, 2);
	assert_int_equal(out.start, 5);
	assert_int_equal(out.count, 4);
	assert_false(out.disable_all);
	assert_ptr_equal(out.bools, m.bools);
	refused(wire_decode_set_irqs(&m, 19, &out, &why), "message size");
	refused(wire_decode_set_irqs(&m, 23, &out, &why), "data");
	m.set.argsz = 23;
	refused(wire_decode_set_irqs(&m, sizeof(m), &out, &why), "data");
	m.set.argsz = 19;
	refused(wire_decode_set_irqs(&m, sizeof(m), &out, &why), "argsz");
	m.set.argsz = 24;
	m.set.count = UINT32_MAX;
	refused(wire_decode_set_irqs(&m, sizeof(m), &out, &why), "start + count");
	m.set.start = 0;
	refused(wire_decode_set_irqs(&m, sizeof(m), &out, &why), "data");
}

/* Of all 64 values of the flags, nine are combinations. */
static void set_irqs_flags(void **state)
{
	struct irq_message m = {.set = {.argsz = 24, .count = 1}};
	struct wire_set_irqs out;
	unsigned good = 0;

	for (m.set.flags = 0; m.set.flags < 64; m.set.flags++)
		good += wire_decode_set_irqs(&m, sizeof(m), &out, &why) == 0;
	assert_int_equal(good, 9);
	m.set.flags = 64 | WIRE_IRQ_DATA_NONE | WIRE_IRQ_ACTION_MASK;
	refused(wire_decode_set_irqs(&m, sizeof(m), &out, &why), "flags");
}

static void set_irqs_count_0_disables(void **state)
{
	struct wire_irq_set set = {.argsz = 20};
	struct wire_set_irqs out;
	unsigned good = 0;

	for (set.flags = 0; set.flags < 64; set.flags++) {
		if (wire_decode_set_irqs(&set, sizeof(set), &out, &why) == 0) {
			good++;
			assert_true(out.disable_all);
			assert_int_equal(out.action, WIRE_IRQ_ACTION_TRIGGER);
			assert_int_equal(out.data, WIRE_IRQ_DATA_NONE);
		}
	}
	assert_int_equal(good, 1);
	set.flags = WIRE_IRQ_DATA_NONE | WIRE_IRQ_ACTION_TRIGGER;
	set.start = 1;
	refused(wire_decode_set_irqs(&set, sizeof(set), &out, &why), "count");
}

static void region_read(void **state)
{
	const struct wire_region_access in = {0x10, 7, 64};
	struct wire_region_access out;

	assert_int_equal(wire_decode_region_read(&in, 16, 64, &out, &why), 0);
	assert_memory_equal(&in, &out, sizeof(in));
	refused(wire_decode_region_read(&in, 16, 63, &out, &why), "count");
	refused(wire_decode_region_read(&in, 15, 64, &out, &why), "message size");
	refused(wire_decode_region_read(&in, 17, 64, &out, &why), "message size");
}

static void region_write(void **state)
{
	struct {
		struct wire_region_access access;
		uint8_t data[8];
	} in = {{0x10, 7, 8}, "abcdefg"};
	struct wire_region_access out;
	const uint8_t *data;

	assert_int_equal(wire_decode_region_write(&in, 24, 8, &out, &data, &why), 0);
	assert_memory_equal(&in.access, &out, sizeof(out));
	assert_ptr_equal(data, in.data);
	refused(wire_decode_region_write(&in, 24, 7, &out, &data, &why), "count");
	refused(wire_decode_region_write(&in, 23, 8, &out, &data, &why), "message size");
	refused(wire_decode_region_write(&in, 15, 8, &out, &data, &why), "message size");
	in.access.count = UINT32_MAX;
	refused(wire_decode_region_write(&in, 24, UINT32_MAX, &out, &data, &why), "message size");
}

static void region_write_multi(void **state)
{
	struct {
		uint64_t count;
		struct wire_small_write writes[2];
	} in = {2, {{1, 2, 4, "abc"}, {9, 0, 8, "defghij"}}};
	struct wire_small_write write;
	uint64_t count;

	assert_int_equal(wire_decode_region_write_multi(&in, sizeof(in), &count, &why), 0);
	assert_int_equal(count, 2);
	wire_small_write_at(&in, 1, &write);
	assert_memory_equal(&write, &in.writes[1], sizeof(write));
	refused(wire_decode_region_write_multi(&in, 7, &count, &why), "message size");
	refused(wire_decode_region_write_multi(&in, sizeof(in) - 1, &count, &why), "wr_cnt");
	in.writes[1].count = 9;
	refused(wire_decode_region_write_multi(&in, sizeof(in), &count, &why), "count");
	in.count = UINT64_MAX / 24 + 2;
	refused(wire_decode_region_write_multi(&in, sizeof(in), &count, &why), "wr_cnt");
	in.count = 0;
	assert_int_equal(wire_decode_region_write_multi(&in, 8, &count, &why), 0);
}

static void reset(void **state)
{
	assert_int_equal(wire_decode_reset(0, &why), 0);
	refused(wire_decode_reset(1, &why), "message size");
}

static void dma_replies(void **state)
{
	struct {
		struct wire_dma_access access;
		uint8_t data[4];
	} in = {{0x1000, 4}, "abc"};
	struct wire_dma_access out;
	const uint8_t *data;

	assert_int_equal(wire_decode_dma_read_reply(&in, 20, &out, &data, &why), 0);
	assert_int_equal(out.address, 0x1000);
	assert_int_equal(out.count, 4);
	assert_ptr_equal(data, in.data);
	refused(wire_decode_dma_read_reply(&in, 19, &out, &data, &why), "reply size");
	refused(wire_decode_dma_read_reply(&in, 21, &out, &data, &why), "reply size");
	refused(wire_decode_dma_read_reply(&in, 12, &out, &data, &why), "reply size");
	/* As the specification has it, and as clients send it. */
	for (size_t length = 0; length < sizeof(in); length++) {
		memset(&out, 0, sizeof(out));
		if (length != 12 && length != 16) {
			refused(wire_decode_dma_write_reply(&in, length, &out, &why), "reply size");
			continue;
		}
		assert_int_equal(wire_decode_dma_write_reply(&in, length, &out, &why), 0);
		assert_int_equal(out.address, 0x1000);
		assert_int_equal(out.count, 4);
	}
}

static int decode_feature(uint32_t argsz, uint32_t flags, size_t length)
{
	struct {
		struct wire_device_feature header;
		uint8_t data[8];
	} in = {{argsz, flags}, "abcdefg"};
	struct wire_device_feature out;
	const uint8_t *data;
	size_t data_length;
	int rc = wire_decode_device_feature(&in, length, &out, &data, &data_length, &why);

	if (!rc) {
		assert_int_equal(out.flags, flags);
		assert_int_equal(data_length, length - 8);
		assert_ptr_equal(data, in.data);
	}
	return rc;
}

static void device_feature(void **state)
{
	const uint32_t get = WIRE_FEATURE_GET, set = WIRE_FEATURE_SET, probe = WIRE_FEATURE_PROBE;

	assert_int_equal(decode_feature(8, get | 1, 8), 0);
	assert_int_equal(decode_feature(8, set | 0xffff, 16), 0);
	assert_int_equal(decode_feature(4096, probe | 1, 8), 0);
	assert_int_equal(decode_feature(8, probe | get | 1, 8), 0);
	assert_int_equal(decode_feature(8, probe | get | set | 1, 8), 0);
	refused(decode_feature(8, get | 1, 7), "message size");
	refused(decode_feature(7, get | 1, 8), "argsz");
	refused(decode_feature(8, get | 1 << 19, 8), "flags");
	refused(decode_feature(8, 1, 8), "flags");
	refused(decode_feature(8, get | set | 1, 8), "flags");
}

static void mig_data(void **state)
{
	struct {
		struct wire_mig_data header;
		uint8_t data[8];
	} in = {{16, 8}, "abcdefg"};
	struct wire_mig_data out;
	const uint8_t *data;

	assert_int_equal(wire_decode_mig_data_read(&in, 8, 8, &out, &why), 0);
	assert_int_equal(out.size, 8);
	refused(wire_decode_mig_data_read(&in, 7, 8, &out, &why), "message size");
	refused(wire_decode_mig_data_read(&in, 8, 7, &out, &why), "size");
	assert_int_equal(wire_decode_mig_data_write(&in, 16, 8, &out, &data, &why), 0);
	assert_ptr_equal(data, in.data);
	refused(wire_decode_mig_data_write(&in, 7, 8, &out, &data, &why), "message size");
	refused(wire_decode_mig_data_write(&in, 16, 7, &out, &data, &why), "size");
	refused(wire_decode_mig_data_write(&in, 15, 8, &out, &data, &why), "message size");
	in.header.argsz = 15;
	refused(wire_decode_mig_data_read(&in, 8, 8, &out, &why), "argsz");
	in.header.argsz = 7;
	refused(wire_decode_mig_data_write(&in, 16, 8, &out, &data, &why), "argsz");
}

static void region_info_is_a_chain(void **state)
{
	const struct wire_region_info info = {.flags = WIRE_REGION_READABLE, .index = 2, .size = 9};
	struct wire_region_caps caps = {0};
	uint8_t bytes[WIRE_REGION_INFO_ROOM];
	struct wire_region_info out;
	struct wire_cap_header cap;

	assert_int_equal(wire_encode_region_info(bytes, &info, &caps), 32);
	memcpy(&out, bytes, sizeof(out));
	assert_int_equal(out.argsz, 32);
	assert_int_equal(out.cap_offset, 0);
	assert_int_equal(out.flags, WIRE_REGION_READABLE);
	caps.typed = true;
	for (caps.area_count = 1; caps.area_count < WIRE_MAX_AREAS; caps.area_count++) {
		size_t sparse = 16 + 16 * caps.area_count;

		assert_int_equal(wire_encode_region_info(bytes, &info, &caps), 32 + sparse + 16);
		assert_int_equal(wire_region_info_size(&caps), 32 + sparse + 16);
		memcpy(&out, bytes, sizeof(out));
		assert_int_equal(out.flags, WIRE_REGION_READABLE | WIRE_REGION_CAPS);
		assert_int_equal(out.cap_offset, 32);
		memcpy(&cap, bytes + 32, sizeof(cap));
		assert_int_equal(cap.id, WIRE_REGION_CAP_SPARSE_MMAP);
		assert_int_equal(cap.next, 32 + sparse);
		memcpy(&cap, bytes + 32 + sparse, sizeof(cap));
		assert_int_equal(cap.id, WIRE_REGION_CAP_TYPE);
		assert_int_equal(cap.next, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_goes_both_ways),
		cmocka_unit_test(commands_have_names),
		cmocka_unit_test(dma_map),
		cmocka_unit_test(dma_unmap),
		cmocka_unit_test(infos_may_be_longer_than_needed),
		cmocka_unit_test(set_irqs),
		cmocka_unit_test(set_irqs_flags),
		cmocka_unit_test(set_irqs_count_0_disables),
		cmocka_unit_test(region_read),
		cmocka_unit_test(region_write),
		cmocka_unit_test(region_write_multi),
		cmocka_unit_test(reset),
		cmocka_unit_test(dma_replies),
		cmocka_unit_test(device_feature),
		cmocka_unit_test(mig_data),
		cmocka_unit_test(region_info_is_a_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
