/* SPDX-License-Identifier: BSD-3-Clause */
/* Other ways to write a chardev's options, and what they mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/opts_json.h"
#include "chardev/chardev.h"

static const char *as_text(const struct opts *opts)
{
	static char out[1024];
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < opts->count; i++)
		used += (size_t)snprintf(out + used, sizeof(out) - used, "%s=%s|",
		                         opts->list[i].key, opts->list[i].value);
	return out;
}

static const char *short_form(const char *text)
{
	static struct ob_error err;
	cleanup_opts struct opts opts = {0};

	return chardev_parse_short(&opts, text, &err) ? err.message : as_text(&opts);
}

static void short_forms(void **state)
{
	static const char *const ids[] = {"c0", "ptys", "unix", "file", "null:x", "stdio0", "tcp"};

	assert_string_equal(short_form("null"), "backend=null|");
	assert_string_equal(short_form("stdio"), "backend=stdio|");
	assert_string_equal(short_form("stdio,signal=off"), "signal=off|backend=stdio|");
	assert_string_equal(short_form("pty"), "backend=pty|");
	assert_string_equal(short_form("pty:/tmp/x"), "path=/tmp/x|backend=pty|");
	assert_string_equal(short_form("file:a,append=on"), "path=a|append=on|backend=file|");
	assert_string_equal(short_form("fd:7"), "fd=7|backend=fd|");
	assert_string_equal(short_form("unix:s,server=on,wait=off"),
	                    "path=s|server=on|wait=off|backend=socket|");
	assert_string_equal(short_form("tcp:127.0.0.1:99,server=on"),
	                    "server=on|host=127.0.0.1|port=99|backend=socket|");
	assert_string_equal(short_form("tcp:[::1]:99"), "host=::1|port=99|backend=socket|");
	assert_string_equal(short_form("tcp::99"), "host=|port=99|backend=socket|");
	assert_non_null(strstr(short_form("tcp:99"), "HOST:PORT"));
	assert_non_null(strstr(short_form("pipe:x"), "expected"));
	for (unsigned i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		assert_false(chardev_is_short(ids[i]));
}

/* In and out again. */
static void monitors_form(void **state)
{
	static const struct {
		const char *theirs, *ours;
	} cases[] = {
		{"{\"id\":\"c\",\"backend\":{\"type\":\"pty\"}}", "id=c|backend=pty|"},
		{"{\"id\":\"c\",\"backend\":{\"type\":\"file\",\"data\":{\"out\":\"/x\","
	         "\"append\":true}}}",
	         "id=c|backend=file|path=/x|append=on|"},
		{"{\"id\":\"c\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{\"type\":"
	         "\"unix\","
	         "\"data\":{\"path\":\"/s\"}},\"wait\":false}}}",
	         "id=c|backend=socket|path=/s|wait=off|server=on|"},
		{"{\"id\":\"c\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{\"type\":"
	         "\"inet\","
	         "\"data\":{\"host\":\"::1\",\"port\":\"9\"}},\"server\":false}}}",
	         "id=c|backend=socket|host=::1|port=9|server=off|"},
		{"{\"id\":\"c\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{\"type\":"
	         "\"fd\","
	         "\"data\":{\"str\":\"5\"}}}}}",
	         "id=c|backend=socket|fd=5|"},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		cleanup_opts struct opts opts = {0};
		struct ob_error err;

		assert_int_equal(opts_parse_json(&opts, cases[i].theirs, &err), 0);
		assert_int_equal(chardev_from_qapi(&opts, &err), 0);
		assert_string_equal(as_text(&opts), cases[i].ours);
		assert_int_equal(chardev_to_qapi(&opts, &err), 0);
		assert_int_equal(chardev_from_qapi(&opts, &err), 0);
		assert_memory_equal(as_text(&opts), cases[i].ours, strlen(cases[i].ours));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_forms),
		cmocka_unit_test(monitors_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
