/* SPDX-License-Identifier: BSD-3-Clause */
/* The VERSION message, and what strangers may write into its JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/list.h"
#include "wire/version.h"

static uint8_t payload[65536];
static struct wire_version version;
static const char *why;

static int decode_bytes(const char *json, size_t length)
{
	const struct wire_version_header header = {0, 1};

	memcpy(payload, &header, sizeof(header));
	memcpy(payload + sizeof(header), json, length);
	memset(&version, 0xff, sizeof(version));
	why = NULL;
	return wire_decode_version(payload, sizeof(header) + length, &version, &why);
}

static int decode(const char *json)
{
	return decode_bytes(json, strlen(json) + 1);
}

static void assert_defaults(void)
{
	assert_int_equal(version.capabilities.max_msg_fds, 1);
	assert_int_equal(version.capabilities.max_data_xfer_size, 1048576);
	assert_int_equal(version.capabilities.max_dma_maps, 65535);
	assert_int_equal(version.capabilities.pgsizes, 4096);
	assert_false(version.capabilities.write_multiple);
	assert_false(version.capabilities.twin_socket);
	assert_false(version.capabilities.migration);
}

static void no_json_means_defaults(void **state)
{
	static const char *const texts[] = {
		"",
		"{}",
		"{\"capabilities\": {}}",
		" { \"capabilities\"\n:\t{ } } ",
		"{\"other\": [1, 2, {\"a\": null}]}",
		"{\"capabilities\": {\"unheard_of\": {\"deep\": [true]}}}"};

	assert_int_equal(decode_bytes("", 0), 0);
	assert_defaults();
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(decode(texts[i]), 0);
		assert_defaults();
	}
	assert_int_equal(version.major, 0);
	assert_int_equal(version.minor, 1);
	assert_int_equal(wire_decode_version(payload, 3, &version, &why), -EINVAL);
}

static void what_qemu_sends(void **state)
{
	const char *json = "{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, "
			   "\"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, "
			   "\"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, "
			   "\"write_multiple\": true}}";

	for (int nul = 0; nul < 2; nul++) {
		assert_int_equal(decode_bytes(json, strlen(json) + (size_t)nul), 0);
		assert_int_equal(version.capabilities.max_msg_fds, 16);
		assert_true(version.capabilities.write_multiple);
		assert_true(version.capabilities.migration);
		assert_false(version.capabilities.twin_socket);
	}
	/* Cut anywhere else, it is not an object any more. */
	for (size_t length = 1; length < strlen(json); length++)
		assert_int_equal(decode_bytes(json, length), -EINVAL);
}

static void numbers(void **state)
{
	assert_int_equal(decode("{\"capabilities\":{\"max_msg_fds\":0}}"), 0);
	assert_int_equal(version.capabilities.max_msg_fds, 0);
	assert_int_equal(decode("{\"capabilities\":{\"max_msg_fds\":99999999999}}"), 0);
	assert_int_equal(version.capabilities.max_msg_fds, UINT32_MAX);
	assert_int_equal(
		decode("{\"capabilities\":{\"max_data_xfer_size\":99999999999999999999999}}"), 0);
	assert_int_equal(version.capabilities.max_data_xfer_size, UINT32_MAX);
	assert_int_equal(decode("{\"capabilities\":{\"pgsizes\":18446744073709547520}}"), 0);
	assert_true(version.capabilities.pgsizes == 18446744073709547520u);
	assert_int_equal(decode("{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}"), 0);
	assert_true(version.capabilities.twin_socket);
}

static void malformed_is_refused(void **state)
{
	static const char *const texts[] = {
		"{",
		"}",
		"x",
		"[]",
		"1",
		"null",
		"\"text\"",
		"{} x",
		"{}{}",

		"{\"capabilities\": {},}",
		"{\"capabilities\": []}",
		"{\"capabilities\": 1}",
		"{\"capabilities\": null}",
		"{\"capabilities\": {\"max_msg_fds\": \"16\"}}",
		"{\"capabilities\": {\"max_msg_fds\": -1}}",
		"{\"capabilities\": {\"max_msg_fds\": 1.5}}",
		"{\"capabilities\": {\"max_msg_fds\": null}}",
		"{\"capabilities\": {\"max_data_xfer_size\": 0}}",
		"{\"capabilities\": {\"max_data_xfer_size\": -5}}",
		"{\"capabilities\": {\"max_dma_maps\": {}}}",
		"{\"capabilities\": {\"pgsizes\": 0}}",
		"{\"capabilities\": {\"pgsizes\": true}}",
		"{\"capabilities\": {\"write_multiple\": 1}}",
		"{\"capabilities\": {\"twin_socket\": true}}",
		"{\"capabilities\": {\"twin_socket\": {\"supported\": 1}}}",
		"{\"capabilities\": {\"migration\": 1}}",
		"{\"capabilities\": {\"migration\": {\"pgsize\": \"4096\"}}}",
		"{\"capabilities\": {\"migration\": {\"pgsize\": 0}}}",
		"{\"capabilities\": {\"migration\": {\"pgsize\": null}}}",
		"{\"capabilities\": {\"migration\": {\"max_bitmap_size\": true}}}",
		"{\"capabilities\": {\"migration\": {\"max_bitmap_size\": -1}}}",
		"{\"capabilities\": {\"migration\": {\"max_bitmap_size\": 1.5}}}",
		"{\"a\": \"\xff\xfe\"}",
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(decode(texts[i]), -EINVAL);
		assert_non_null(why);
	}
}

static void too_much_is_refused(void **state)
{
	static char json[WIRE_MAX_VERSION_JSON + 2];

	memset(json, ' ', sizeof(json));
	memcpy(json, "{}", 2);
	assert_int_equal(decode_bytes(json, WIRE_MAX_VERSION_JSON), 0);
	assert_int_equal(decode_bytes(json, WIRE_MAX_VERSION_JSON + 1), -EINVAL);
}

static void a_reply_can_be_read_back(void **state)
{
	struct wire_version reply = {
		.major = 0,
		.minor = 1,
		.capabilities = {16, UINT32_MAX, UINT32_MAX, UINT64_MAX, true, true, false},
	};
	size_t length = wire_encode_version(payload, &reply);

	assert_true(length < WIRE_VERSION_REPLY_ROOM);
	assert_int_equal(payload[length - 1], 0);
	assert_int_equal(wire_decode_version(payload, length, &version, &why), 0);
	assert_int_equal(version.minor, 1);
	assert_int_equal(version.capabilities.max_msg_fds, 16);
	assert_int_equal(version.capabilities.max_data_xfer_size, UINT32_MAX);
	assert_true(version.capabilities.pgsizes == UINT64_MAX);
	assert_true(version.capabilities.write_multiple);
	assert_true(version.capabilities.twin_socket);
	assert_non_null(strstr((char *)payload + 4, "\"fd_index\":0"));
	reply.capabilities.write_multiple = reply.capabilities.twin_socket = false;
	wire_encode_version(payload, &reply);
	assert_null(strstr((char *)payload + 4, "write_multiple"));
	assert_null(strstr((char *)payload + 4, "twin_socket"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_json_means_defaults),
		cmocka_unit_test(what_qemu_sends),
		cmocka_unit_test(numbers),
		cmocka_unit_test(malformed_is_refused),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(a_reply_can_be_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
