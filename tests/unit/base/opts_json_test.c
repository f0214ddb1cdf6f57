/* SPDX-License-Identifier: BSD-3-Clause */
/* Options from JSON: what each form becomes, and what is refused with which message. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/opts_json.h"

/* What text becomes, as "key=value|key=value|", or "error: message". */
static const char *parsed(const char *text)
{
	static char out[1024];
	struct ob_error err = {""};
	cleanup_opts struct opts opts = {0};
	size_t used = 0;
	int rc = opts_parse_json(&opts, text, &err);

	out[0] = '\0';
	if (rc) {
		assert_int_equal(rc, -EINVAL);
		snprintf(out, sizeof(out), "error: %s", err.message);
		return out;
	}
	for (size_t i = 0; i < opts.count; i++)
		used += (size_t)snprintf(out + used, sizeof(out) - used, "%s=%s|", opts.list[i].key,
		                         opts.list[i].value);
	return out;
}

static void scalars(void **state)
{
	assert_string_equal(parsed("{}"), "");
	assert_string_equal(parsed(" {\"driver\": \"nvme\", \"id\":\"d0\"} \n"),
	                    "driver=nvme|id=d0|");
	assert_string_equal(parsed("{\"a\":true,\"b\":false}"), "a=on|b=off|");
	assert_string_equal(parsed("{\"a\":\"x,y=z\",\"b\":\"\"}"), "a=x,y=z|b=|");
	assert_string_equal(parsed("{\"a\":\"\\u00e4\\n\"}"), "a=\xc3\xa4\n|");
}

static void numbers(void **state)
{
	assert_string_equal(parsed("{\"a\":0,\"b\":-7}"), "a=0|b=-7|");
	assert_string_equal(parsed("{\"a\":9223372036854775807,\"b\":9223372036854775808}"),
	                    "a=9223372036854775807|b=9223372036854775808|");
	assert_string_equal(parsed("{\"a\":18446744073709551614,\"b\":-9223372036854775807}"),
	                    "a=18446744073709551614|b=-9223372036854775807|");
	assert_string_equal(parsed("{\"a\":18446744073709551615}"),
	                    "error: a: the number does not fit into 64 bits");
	assert_string_equal(parsed("{\"a\":99999999999999999999999}"),
	                    "error: a: the number does not fit into 64 bits");
	assert_string_equal(parsed("{\"a\":-9223372036854775809}"),
	                    "error: a: the number does not fit into 64 bits");
	assert_string_equal(parsed("{\"a\":1.0}"), "error: a: a whole number expected");
	assert_string_equal(parsed("{\"a\":{\"b\":1e3}}"), "error: a.b: a whole number expected");
	assert_memory_equal(parsed("{\"a\":NaN}"), "error: ", 7);
}

static void nested(void **state)
{
	assert_string_equal(parsed("{\"socket\":{\"type\":\"unix\",\"path\":\"/x\"},\"id\":\"s\"}"),
	                    "socket.type=unix|socket.path=/x|id=s|");
	assert_string_equal(parsed("{\"socket.type\":\"unix\",\"socket\":{\"path\":\"/x\"}}"),
	                    "socket.type=unix|socket.path=/x|");
	assert_string_equal(parsed("{\"socket.type\":\"unix\",\"socket\":{\"type\":\"tcp\"}}"),
	                    "error: socket.type: given twice, nested and flat");
	assert_string_equal(
		parsed("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}"),
		"a.a.a.a.a.a.a.a=1|");
	assert_string_equal(
		parsed("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}"),
		"error: a.a.a.a.a.a.a.a: the object is empty: leave it out for the default");
	assert_string_equal(
		parsed("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"b\":1}}}}}}}}}"),
		"error: a.a.a.a.a.a.a.a: too many objects in each other");
	assert_string_equal(parsed("{\"a\":{}}"),
	                    "error: a: the object is empty: leave it out for the default");
}

static void lists(void **state)
{
	assert_string_equal(parsed("{\"drive\":[\"b0\",\"b1\"],\"n\":[1,true]}"),
	                    "drive=b0|drive=b1|n=1|n=on|");
	assert_string_equal(parsed("{\"a\":[]}"),
	                    "error: a: the list is empty: leave it out for the default");
	assert_string_equal(parsed("{\"a\":[[1]]}"),
	                    "error: a: a string, a number, true or false expected");
	assert_string_equal(parsed("{\"a\":[{\"b\":1}]}"),
	                    "error: a: a string, a number, true or false expected");
	assert_string_equal(parsed("{\"a\":[null]}"),
	                    "error: a: null is no value: leave it out for the default");
}

static void refused(void **state)
{
	assert_string_equal(parsed("{\"a\":null}"),
	                    "error: a: null is no value: leave it out for the default");
	assert_string_equal(parsed("{\"a\":\"x\\u0000y\"}"),
	                    "error: a: a string without NUL expected");
	assert_string_equal(parsed("{\"\":1}"), "error: an option without a name");
	assert_string_equal(parsed("{\"a\":{\"\":1}}"), "error: an option without a name");
	assert_string_equal(parsed("[1]"), "error: a JSON object expected");
	assert_string_equal(parsed("null"), "error: a JSON object expected");
	/* The last counts, and nothing is left of the first. */
	assert_string_equal(parsed("{\"a\":1,\"a\":2}"), "a=2|");
}

static void syntax(void **state)
{
	static const char *const texts[] = {
		"",           "{",           "{\"a\"}",          "{\"a\":}",
		"{\"a\":1",   "{a:1}",       "{\"a\":1,}",       "{\"a\":1} x",
		"{\"a\":1}{", "{\"a\":01}",  "{\"a\":\"\xff\"}", "{\"a\":\"",
		"{\"a\":tru", "{\"a\":'b'}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strncmp(parsed(texts[i]), "error: JSON: ", 13) != 0)
			fail_msg("%s became %s", texts[i], parsed(texts[i]));
	}
}

static void bounds(void **state)
{
	enum { ROOM = 64 * 1024 };
	cleanup_opts struct opts opts = {0};
	struct ob_error err = {""};
	char *text = malloc(ROOM);
	size_t used;

	assert_non_null(text);
	/* A name of 255 bytes is taken, one more is not. */
	for (int length = OPTS_JSON_KEY; length <= OPTS_JSON_KEY + 1; length++) {
		snprintf(text, ROOM, "{\"%0*d\":1}", length, 7);
		assert_int_equal(opts_parse_json(&opts, text, &err),
		                 length > OPTS_JSON_KEY ? -EINVAL : 0);
	}
	assert_string_equal(err.message, "'0000000000000000000000000000000000000000...': the name "
	                                 "is too long");
	opts_free(&opts);
	for (int count = OPTS_JSON_PAIRS; count <= OPTS_JSON_PAIRS + 1; count++) {
		used = (size_t)snprintf(text, ROOM, "{\"a\":[1");
		for (int i = 1; i < count; i++)
			used += (size_t)snprintf(text + used, ROOM - used, ",%d", i);
		snprintf(text + used, ROOM - used, "]}");
		assert_int_equal(opts_parse_json(&opts, text, &err),
		                 count > OPTS_JSON_PAIRS ? -EINVAL : 0);
	}
	assert_string_equal(err.message, "a: too many options");
	/* Far deeper than anything that is taken. */
	memset(text, '[', ROOM - 1);
	text[ROOM - 1] = '\0';
	assert_int_equal(opts_parse_json(&opts, text, &err), -EINVAL);
	free(text);
}

/* What is there already is neither counted nor taken for a duplicate. */
static void appends(void **state)
{
	cleanup_opts struct opts opts = {0};
	struct ob_error err = {""};

	assert_int_equal(opts_add(&opts, "a", "1"), 0);
	assert_int_equal(opts_parse_json(&opts, "{\"a\":2}", &err), 0);
	assert_int_equal(opts.count, 2);
	assert_string_equal(opts.list[1].value, "2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scalars), cmocka_unit_test(numbers), cmocka_unit_test(nested),
		cmocka_unit_test(lists),   cmocka_unit_test(refused), cmocka_unit_test(syntax),
		cmocka_unit_test(bounds),  cmocka_unit_test(appends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
