/* SPDX-License-Identifier: BSD-3-Clause */
/* Block nodes as QEMU's users write them, and what they mean here. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/opts_json.h"
#include "server/block_options.h"

/* What text becomes, as "key=value|key=value|", or "error: message". */
static const char *translated(const char *text)
{
	static char out[1024];
	struct ob_error err = {""};
	cleanup_opts struct opts opts = {0};
	size_t used = 0;

	if (*text == '{')
		assert_int_equal(opts_parse_json(&opts, text, &err), 0);
	else
		assert_int_equal(opts_parse(&opts, text, NULL, &err), 0);
	out[0] = '\0';
	if (block_options_translate(&opts, &err)) {
		snprintf(out, sizeof(out), "error: %s", err.message);
		return out;
	}
	for (size_t i = 0; i < opts.count; i++)
		used += (size_t)snprintf(out + used, sizeof(out) - used, "%s=%s|", opts.list[i].key,
		                         opts.list[i].value);
	return out;
}

static void ours_stay(void **state)
{
	assert_string_equal(translated("driver=file,node-name=b,filename=x,direct=on,"
	                               "discard=unmap"),
	                    "driver=file|node-name=b|filename=x|direct=on|discard=unmap|");
	assert_string_equal(translated("driver=qcow2,node-name=b,file=f"),
	                    "driver=qcow2|node-name=b|file=f|");
}

static void raw_on_a_file(void **state)
{
	assert_string_equal(translated("driver=raw,node-name=b,file.driver=file,file.filename=x"),
	                    "node-name=b|discard=ignore|driver=file|filename=x|");
	assert_string_equal(
		translated("{\"driver\":\"raw\",\"node-name\":\"b\",\"read-only\":true,"
	                   "\"file\":{\"driver\":\"host_device\",\"filename\":\"/dev/x\","
	                   "\"read-only\":false,\"aio\":\"native\","
	                   "\"cache\":{\"direct\":true,\"no-flush\":false}}}"),
		"node-name=b|read-only=on|discard=ignore|filename=/dev/"
		"x|cache.direct=on|cache.no-flush=off|driver=file|");
	assert_non_null(strstr(translated("driver=raw,node-name=b"), "file.driver=file"));
	assert_non_null(strstr(translated("driver=raw,node-name=b,file=f,file.driver=file"),
	                       "once: file=NODE-NAME"));
	assert_non_null(
		strstr(translated("driver=raw,node-name=b,file=f,offset=512"), "offset= is not"));
}

/* As QEMU has it: a format gives back only if it is told to, and what is below it by default. */
static void who_keeps_space(void **state)
{
	assert_non_null(strstr(translated("driver=file,filename=x"), "|discard=ignore|"));
	assert_non_null(strstr(translated("driver=host_device,filename=x"), "|discard=ignore|"));
	assert_null(strstr(translated("driver=mem,size=1M"), "discard"));
	assert_non_null(strstr(translated("driver=raw,file.driver=file,file.filename=x,"
	                                  "file.discard=unmap"),
	                       "discard=ignore|"));
	assert_non_null(strstr(translated("driver=raw,file.driver=file,file.filename=x,"
	                                  "discard=unmap"),
	                       "discard=unmap|"));
	assert_non_null(strstr(translated("driver=raw,file.driver=file,file.filename=x,"
	                                  "discard=unmap,file.discard=ignore"),
	                       "discard=ignore|"));
}

static void two_nodes(void **state)
{
	static const char nested[] =
		"driver=raw,node-name=f,read-only=on,cache.direct=on,file.driver=host_device,"
		"file.filename=x,file.node-name=s";
	struct opts opts = {0}, lower = {0};
	struct ob_error err;

	assert_string_equal(translated("driver=raw,node-name=f,file=s"),
	                    "driver=raw|node-name=f|file=s|");
	assert_int_equal(opts_parse(&opts, nested, NULL, &err), 0);
	assert_int_equal(block_options_translate(&opts, &err), 0);
	assert_int_equal(block_options_split(&opts, &lower, &err), 0);
	assert_string_equal(opts_get(&opts, "driver"), "raw");
	assert_string_equal(opts_get(&opts, "file"), "s");
	assert_null(opts_get(&opts, "cache.direct"));
	assert_string_equal(opts_get(&lower, "driver"), "file");
	assert_string_equal(opts_get(&lower, "node-name"), "s");
	assert_string_equal(opts_get(&lower, "read-only"), "on");
	assert_string_equal(opts_get(&lower, "cache.direct"), "on");
	assert_string_equal(opts_get(&lower, "discard"), "unmap");
	opts_free(&opts);
	opts_free(&lower);
}

static void what_is_so_anyway(void **state)
{
	assert_string_equal(translated("driver=null-co,node-name=b,size=1M"),
	                    "node-name=b|size=1M|driver=null|");
	assert_string_equal(translated("driver=file,aio=native,auto-read-only=on,discard=unmap,"
	                               "force-share=off"),
	                    "driver=file|discard=unmap|");
	assert_string_equal(translated("driver=mem,aio=threads"), "driver=mem|aio=threads|");
	assert_string_equal(translated("driver=file,force-share=on"),
	                    "error: force-share=on is not offered");
}

/* A name that is longer than any property's is left to be refused. */
static void long_names(void **state)
{
	char text[512];

	snprintf(text, sizeof(text), "driver=raw,file.driver=file,file.%0300d=1", 0);
	assert_non_null(strstr(translated(text), "driver=file|"));
	assert_memory_equal(translated(text), "file.0000", 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ours_stay),         cmocka_unit_test(raw_on_a_file),
		cmocka_unit_test(who_keeps_space),   cmocka_unit_test(two_nodes),
		cmocka_unit_test(what_is_so_anyway), cmocka_unit_test(long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
