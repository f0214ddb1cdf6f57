/* SPDX-License-Identifier: BSD-3-Clause */
/* Option strings as QEMU writes them, option lists, and the values in them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/opts.h"

/* What text is parsed to, as "key=value|key=value|", or "error: message". */
static const char *parsed(const char *text, const char *first_key)
{
	static char out[1024];
	struct ob_error err = {""};
	cleanup_opts struct opts opts = {0};
	size_t used = 0;

	out[0] = '\0';
	if (opts_parse(&opts, text, first_key, &err)) {
		snprintf(out, sizeof(out), "error: %s", err.message);
		return out;
	}
	for (size_t i = 0; i < opts.count; i++)
		used += (size_t)snprintf(out + used, sizeof(out) - used, "%s=%s|", opts.list[i].key,
		                         opts.list[i].value);
	return out;
}

static void parses(void **state)
{
	assert_string_equal(parsed("", NULL), "");
	assert_string_equal(parsed("a=b", NULL), "a=b|");
	assert_string_equal(parsed("a=b,c=d", NULL), "a=b|c=d|");
	assert_string_equal(parsed("a=,c=d", NULL), "a=|c=d|");
	assert_string_equal(parsed("a=b=c", NULL), "a=b=c|");
	assert_string_equal(parsed("a=1,a=2", NULL), "a=1|a=2|");
	assert_string_equal(parsed("word", NULL), "word=on|");
	assert_string_equal(parsed("word,a=b,other", NULL), "word=on|a=b|other=on|");
}

static void doubled_commas(void **state)
{
	assert_string_equal(parsed("a=x,,y", NULL), "a=x,y|");
	assert_string_equal(parsed("a=,,,,", NULL), "a=,,|");
	assert_string_equal(parsed("a=x,,,b=y", NULL), "a=x,|b=y|");
	assert_string_equal(parsed("a=,,b=y", NULL), "a=,b=y|");
	assert_string_equal(parsed("disk,,1.img,ro=on", "file"), "file=disk,1.img|ro=on|");
}

static void first_key(void **state)
{
	assert_string_equal(parsed("nvme,id=d0", "driver"), "driver=nvme|id=d0|");
	assert_string_equal(parsed("nvme", "driver"), "driver=nvme|");
	assert_string_equal(parsed("driver=nvme,id=d0", "driver"), "driver=nvme|id=d0|");
	assert_string_equal(parsed("id=d0,nvme", "driver"), "id=d0|nvme=on|");
	assert_string_equal(parsed("x", "a-rather-long-first-key"), "a-rather-long-first-key=x|");
	assert_string_equal(parsed("", "driver"), "");
}

static void malformed(void **state)
{
	assert_string_equal(parsed("a=b,", NULL), "error: nothing follows the last ','");
	assert_string_equal(parsed("word,", NULL), "error: nothing follows the last ','");
	assert_string_equal(parsed("=b", NULL), "error: '=b': expected key=value");
	assert_string_equal(parsed("a=b,=c", NULL), "error: '=c': expected key=value");
	assert_string_equal(parsed("word,,other", NULL), "error: ',other': expected key=value");
}

static void lists(void **state)
{
	cleanup_opts struct opts opts = {0}, more = {0};
	struct ob_error err = {""};
	char *taken;

	assert_int_equal(opts_add(&opts, "a", "1"), 0);
	assert_int_equal(opts_add(&opts, "b", "2"), 0);
	assert_int_equal(opts_add(&opts, "a", "3"), 0);
	assert_string_equal(opts_get(&opts, "a"), "1");
	assert_null(opts_get(&opts, "c"));
	assert_null(opts_take(&opts, "c"));
	taken = opts_take(&opts, "a");
	assert_string_equal(taken, "1");
	free(taken);
	assert_string_equal(opts_get(&opts, "a"), "3");
	assert_int_equal(opts_append(&more, &opts), 0);
	assert_int_equal(opts_append(&more, &opts), 0);
	assert_int_equal(more.count, 4);
	assert_string_equal(more.list[2].key, "b");
	assert_int_equal(opts_refuse_rest(&opts, "block driver 'x'", &err), -EINVAL);
	assert_string_equal(err.message, "block driver 'x' has no property 'b'");
	opts_free(&opts);
	assert_int_equal(opts_refuse_rest(&opts, "nothing", &err), 0);
	assert_null(opts_get(&opts, "a"));
}

static void bools(void **state)
{
	static const char *const yes[] = {"on", "true", "yes", "y"};
	static const char *const no[] = {"off", "false", "no", "n"};
	static const char *const bad[] = {"", "ON", "1", "0", "onn", "on "};
	struct ob_error err = {""};
	bool value;

	for (unsigned i = 0; i < 4; i++) {
		value = false;
		assert_int_equal(parse_bool("k", yes[i], &value, &err), 0);
		assert_true(value);
		assert_int_equal(parse_bool("k", no[i], &value, &err), 0);
		assert_false(value);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		value = true;
		assert_int_equal(parse_bool("k", bad[i], &value, &err), -EINVAL);
		assert_true(value);
	}
	assert_string_equal(err.message, "k=on : expected on or off");
}

static void numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {{"0", 0},     {"10", 10},
	            {"0x10", 16}, {"0XfF", 255},
	            {"007", 7},   {"18446744073709551615", UINT64_MAX},
	            {"0x0", 0},   {"0xffffffffffffffff", UINT64_MAX}};
	static const char *const bad[] = {"",    "-1",  "+1",  " 1",   "1 ",
	                                  "0x",  "x10", "1k",  "0x1g", "18446744073709551616",
	                                  "1.5", "a",   "0x-1"};
	struct ob_error err;
	uint64_t value;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_uint("k", good[i].text, 0, UINT64_MAX, &value, &err), 0);
		assert_int_equal(value, good[i].value);
	}
	value = 77;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_uint("k", bad[i], 0, UINT64_MAX, &value, &err), -EINVAL);
	assert_int_equal(parse_uint("k", "9", 10, 20, &value, &err), -EINVAL);
	assert_int_equal(parse_uint("k", "21", 10, 20, &value, &err), -EINVAL);
	assert_string_equal(err.message, "k=21: expected a number from 10 to 20");
	assert_int_equal(value, 77);
	assert_int_equal(parse_uint("k", "20", 10, 20, &value, &err), 0);
	assert_int_equal(value, 20);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{"0", 0},
		{"512", 512},
		{"512B", 512},
		{"0x200", 512},
		{"0x10K", 16384},
		{"1k", 1024},
		{"1K", 1024},
		{"1KiB", 1024},
		{"2kb", 2048},
		{"1M", 1 << 20},
		{"1G", 1 << 30},
		{"3g", UINT64_C(3) << 30},
		{"1T", UINT64_C(1) << 40},
		{"1P", UINT64_C(1) << 50},
		{"15E", UINT64_C(15) << 60},
		{"1.5G", UINT64_C(3) << 29},
		{"0.5K", 512},
		{"1.25M", 1310720},
		{"1.0", 1},
		{"16777215.999999T", UINT64_C(18446744073708452104)},
	};
	static const char *const bad[] = {"",
	                                  "-1",
	                                  "K",
	                                  ".5G",
	                                  "1X",
	                                  "1KK",
	                                  "1iB",
	                                  "1 G",
	                                  "16E",
	                                  "1.5",
	                                  "1.5B",
	                                  "0x",
	                                  "1e3",
	                                  "1G ",
	                                  "1.5.5G",
	                                  "1KiBx",
	                                  "18446744073709551616"};
	struct ob_error err;
	uint64_t value;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_size("k", good[i].text, 0, UINT64_MAX, &value, &err), 0);
		assert_int_equal(value, good[i].value);
	}
	value = 77;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!parse_size("k", bad[i], 0, UINT64_MAX, &value, &err))
			fail_msg("'%s' was taken for a size", bad[i]);
	}
	assert_string_equal(err.message, "k=18446744073709551616: expected a size in bytes, or "
	                                 "with K, M, G or T: k=64M");
	assert_int_equal(parse_size("k", "1M", 0, 4096, &value, &err), -EINVAL);
	assert_string_equal(err.message, "k=1M: expected a size from 0 to 4096 bytes");
	assert_int_equal(value, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses),    cmocka_unit_test(doubled_commas),
		cmocka_unit_test(first_key), cmocka_unit_test(malformed),
		cmocka_unit_test(lists),     cmocka_unit_test(bools),
		cmocka_unit_test(numbers),   cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
