/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's half: what a server may answer and ask, field by field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "wire/client.h"

static uint8_t payload[65536];
static const char *why;

static int decode_version(const char *json, struct wire_version_reply *out)
{
	const struct wire_version_header header = {0, 1};

	memcpy(payload, &header, sizeof(header));
	memcpy(payload + sizeof(header), json, strlen(json) + 1);
	return wire_decode_version_reply(payload, sizeof(header) + strlen(json) + 1, out, &why);
}

static void migration_capability(void **state)
{
	struct wire_version_reply reply;

	assert_int_equal(decode_version("{\"capabilities\":{\"migration\":{\"pgsize\":4096,"
	                                "\"max_bitmap_size\":65536}}}",
	                                &reply),
	                 0);
	assert_int_equal(reply.migration.pgsize, 4096);
	assert_int_equal(reply.migration.max_bitmap_size, 65536);
	/* What is no number, or none that is possible, is refused as any other capability is. */
	assert_int_equal(
		decode_version("{\"capabilities\":{\"migration\":{\"pgsize\":\"4096\"}}}", &reply),
		-EINVAL);
	assert_int_equal(
		decode_version("{\"capabilities\":{\"migration\":{\"max_bitmap_size\":-1}}}",
	                       &reply),
		-EINVAL);
	/* A server need not say anything. */
	assert_int_equal(decode_version("{}", &reply), 0);
	assert_int_equal(reply.migration.pgsize, 0);
	assert_false(reply.has_twin_fd);
	assert_int_equal(decode_version("", &reply), 0);
	assert_int_equal(reply.json_length, 0);
}

static void version_comes_back_as_it_was_encoded(void **state)
{
	const struct wire_version version = {
		0, 1, {16, 65536, 12, 0x201000, .twin_socket = true, .write_multiple = true}};
	const struct wire_migration_caps migration = {4096, 1 << 20};
	struct wire_version_reply reply;
	size_t length = wire_encode_version_request(payload, &version, &migration);

	assert_true(length <= WIRE_VERSION_REQUEST_ROOM);
	assert_int_equal(wire_decode_version_reply(payload, length, &reply, &why), 0);
	assert_int_equal(reply.version.capabilities.max_msg_fds, 16);
	assert_int_equal(reply.version.capabilities.max_data_xfer_size, 65536);
	assert_int_equal(reply.version.capabilities.max_dma_maps, 12);
	assert_int_equal(reply.version.capabilities.pgsizes, 0x201000);
	assert_true(reply.version.capabilities.write_multiple);
	assert_int_equal(reply.migration.max_bitmap_size, 1 << 20);
	/* A request has no place among the descriptors to tell. */
	assert_true(reply.version.capabilities.twin_socket);
	assert_false(reply.has_twin_fd);
}

/* A region's information with one capability at its end. */
static int decode_capability(uint16_t id, uint32_t next, uint32_t first, uint32_t second,
                             size_t length, struct wire_region_reply *out)
{
	const struct wire_region_info info = {.argsz = (uint32_t)length,
	                                      .flags = WIRE_REGION_CAPS,
	                                      .cap_offset = sizeof(info),
	                                      .size = 0x10000};
	const struct wire_cap_type cap = {{id, 1, next}, first, second};

	memcpy(payload, &info, sizeof(info));
	memcpy(payload + sizeof(info), &cap, sizeof(cap));
	return wire_decode_region_info_reply(payload, length, out, &why);
}

static void region_type_capability(void **state)
{
	struct wire_region_reply reply;

	assert_int_equal(decode_capability(WIRE_REGION_CAP_TYPE, 0, 7, 9, 48, &reply), 0);
	assert_true(reply.has_type);
	assert_int_equal(reply.type, 7);
	assert_int_equal(reply.subtype, 9);
	assert_false(reply.sparse);
	assert_int_equal(decode_capability(WIRE_REGION_CAP_TYPE, 0, 7, 9, 44, &reply), -EINVAL);
	assert_string_equal(why, "type capability: 16 bytes expected");
	/* Others are passed over. */
	assert_int_equal(decode_capability(99, 0, 7, 9, 40, &reply), 0);
	assert_false(reply.has_type);
}

static void region_capabilities_end(void **state)
{
	struct wire_region_reply reply;

	/* One that follows itself; one past the end; one in the fixed part. */
	assert_int_equal(decode_capability(99, 32, 0, 0, 48, &reply), -EINVAL);
	assert_string_equal(why, "capabilities: a chain of at most 64 expected");
	assert_int_equal(decode_capability(99, 41, 0, 0, 48, &reply), -EINVAL);
	assert_int_equal(decode_capability(99, UINT32_MAX, 0, 0, 48, &reply), -EINVAL);
	assert_int_equal(decode_capability(99, 8, 0, 0, 48, &reply), -EINVAL);
	assert_string_equal(why, "capability offset: within the reply expected");
}

static void sparse_capability_is_within_the_reply(void **state)
{
	struct wire_region_reply reply;
	const struct wire_sparse_area area = {0xf000, 0x1000}, past = {0xf001, 0x1000};

	assert_int_equal(decode_capability(WIRE_REGION_CAP_SPARSE_MMAP, 0, 1, 0, 44, &reply),
	                 -EINVAL);
	assert_string_equal(why, "sparse mmap capability: 16 bytes and its areas expected");
	assert_int_equal(decode_capability(WIRE_REGION_CAP_SPARSE_MMAP, 0, 2, 0, 64, &reply),
	                 -EINVAL);
	assert_string_equal(why, "nr_areas: as many as the message holds expected");
	memcpy(payload + 48, &area, sizeof(area));
	assert_int_equal(decode_capability(WIRE_REGION_CAP_SPARSE_MMAP, 0, 1, 0, 64, &reply), 0);
	assert_int_equal(reply.area_count, 1);
	memcpy(payload + 48, &past, sizeof(past));
	assert_int_equal(decode_capability(WIRE_REGION_CAP_SPARSE_MMAP, 0, 1, 0, 64, &reply),
	                 -EINVAL);
	assert_string_equal(why, "sparse mmap area: within the region expected");
}

static void short_replies(void **state)
{
	const struct wire_region_access access = {0, 0, 4};
	struct wire_region_access got;
	struct wire_region_reply region;
	struct wire_region_io_fds fds;
	struct wire_device_info device;
	struct wire_irq_info irq;
	const uint8_t *data;
	uint64_t count;
	bool incomplete;

	assert_int_equal(wire_decode_region_info_reply(payload, 31, &region, &why), -EINVAL);
	assert_int_equal(wire_decode_io_fds_reply(payload, 15, &fds, &incomplete, &why), -EINVAL);
	assert_int_equal(wire_decode_device_info_reply(payload, 15, &device, &why), -EINVAL);
	assert_int_equal(wire_decode_irq_info_reply(payload, 15, &irq, &why), -EINVAL);
	assert_int_equal(wire_decode_region_read_reply(payload, 15, &access, &got, &data, &why),
	                 -EINVAL);
	assert_int_equal(wire_decode_region_write_reply(payload, 15, &access, &got, &why), -EINVAL);
	assert_int_equal(wire_decode_write_multi_reply(payload, 7, 1, &count, &why), -EINVAL);
}

static void fewer_writes_than_asked_for(void **state)
{
	uint64_t count = 3;

	memcpy(payload, &count, sizeof(count));
	assert_int_equal(wire_decode_write_multi_reply(payload, 8, 3, &count, &why), 0);
	assert_int_equal(wire_decode_write_multi_reply(payload, 8, 2, &count, &why), -EINVAL);
	assert_string_equal(why, "wr_cnt: at most the request's expected");
}

static void requests_of_a_server(void **state)
{
	const struct wire_dma_access asked = {0x1000, 8};
	struct wire_dma_access access;
	const uint8_t *data;

	memcpy(payload, &asked, sizeof(asked));
	assert_int_equal(wire_decode_dma_read(payload, 16, 8, &access, &why), 0);
	assert_int_equal(access.count, 8);
	assert_int_equal(wire_decode_dma_read(payload, 16, 7, &access, &why), -EINVAL);
	assert_string_equal(why, "count: at most max_data_xfer_size expected");
	assert_int_equal(wire_decode_dma_read(payload, 17, 8, &access, &why), -EINVAL);
	assert_int_equal(wire_decode_dma_read(payload, 15, 8, &access, &why), -EINVAL);
	assert_int_equal(wire_decode_dma_write(payload, 24, 8, &access, &data, &why), 0);
	assert_ptr_equal(data, payload + 16);
	assert_int_equal(wire_decode_dma_write(payload, 24, 7, &access, &data, &why), -EINVAL);
	assert_int_equal(wire_decode_dma_write(payload, 23, 8, &access, &data, &why), -EINVAL);
	assert_string_equal(why, "message size: 16 + 16 + count bytes expected");
	assert_int_equal(wire_decode_dma_write(payload, 15, 8, &access, &data, &why), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(migration_capability),
		cmocka_unit_test(version_comes_back_as_it_was_encoded),
		cmocka_unit_test(region_type_capability),
		cmocka_unit_test(region_capabilities_end),
		cmocka_unit_test(sparse_capability_is_within_the_reply),
		cmocka_unit_test(short_replies),
		cmocka_unit_test(fewer_writes_than_asked_for),
		cmocka_unit_test(requests_of_a_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
