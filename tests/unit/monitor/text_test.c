/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON as it goes out: ASCII, and whole whatever the strings hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/list.h"
#include "monitor/text.h"

static void escapes_strings(void **state)
{
	static const char *const table[][2] = {
		{"", "\"\""},
		{"a/b'c", "\"a/b'c\""},
		{"\"\\\b\f\n\r\t", "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
		{"\x01\x1f\x7f", "\"\\u0001\\u001F\\u007F\""},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\\u00E9\\u20AC\\uD83D\\uDE00\""},
		/* What is no UTF-8: a message that was cut, the name of a file. */
		{"a\xc3", "\"a\\uFFFD\""},
		{"\xff\x80z", "\"\\uFFFD\\uFFFDz\""},
		{"\xc0\xaf", "\"\\uFFFD\\uFFFD\""},
		{"\xed\xa0\x80", "\"\\uFFFD\\uFFFD\\uFFFD\""},
		{"\xf4\x90\x80\x80", "\"\\uFFFD\\uFFFD\\uFFFD\\uFFFD\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct json_object *value = json_object_new_string(table[i][0]);
		struct text text = {0};

		text_add_json(&text, value, false);
		assert_string_equal(text.bytes, table[i][1]);
		assert_int_equal(strlen(text.bytes), text.length);
		json_object_put(value);
		text_free(&text);
	}
}

static const char source[] =
	"{\"a\":[1,-2.5,true,null,{}],\"b\":{\"c\":[]},\"d\":18446744073709551615}";

static void writes_on_one_line(void **state)
{
	struct json_object *value = json_tokener_parse(source);
	struct text text = {0};

	text_add_json(&text, value, false);
	assert_string_equal(text.bytes, "{\"a\": [1, -2.5, true, null, {}], \"b\": {\"c\": []}, "
	                                "\"d\": 18446744073709551615}");
	json_object_put(value);
	text_free(&text);
}

static void writes_for_people(void **state)
{
	struct json_object *value = json_tokener_parse("{\"a\":[1,{\"b\":2}],\"c\":[],\"d\":{}}");
	struct text text = {0};

	text_add_json(&text, value, true);
	assert_string_equal(text.bytes, "{\n    \"a\": [\n        1,\n        {\n"
	                                "            \"b\": 2\n        }\n    ],\n"
	                                "    \"c\": [],\n    \"d\": {}\n}");
	json_object_put(value);
	text_free(&text);
}

static void grows(void **state)
{
	struct text text = {0};

	for (int i = 0; i < 1000; i++)
		text_format(&text, "%03d,", i);
	assert_int_equal(text.length, 4000);
	assert_memory_equal(text.bytes + 3996, "999,", 5);
	text_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escapes_strings),
		cmocka_unit_test(writes_on_one_line),
		cmocka_unit_test(writes_for_people),
		cmocka_unit_test(grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
