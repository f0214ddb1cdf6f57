/* SPDX-License-Identifier: BSD-3-Clause */
/* What the framer makes of streams of bytes: values, errors, and where it goes on after one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/list.h"
#include "monitor/framer.h"

static char out[4096];

static void say(const char *text, const char *end)
{
	size_t used = strlen(out);

	snprintf(out + used, sizeof(out) - used, "%s%s", text, end);
}

/* What comes of bytes in pieces of the given size: "VALUE|!ERROR|". */
static const char *framed_by(const char *bytes, size_t length, size_t piece)
{
	struct framer framer;
	enum framer_result result;
	size_t used, room;

	out[0] = '\0';
	framer_init(&framer);
	for (size_t at = 0; at < length; at += used) {
		room = length - at < piece ? length - at : piece;
		result = framer_feed(&framer, bytes + at, room, &used);
		if (result == FRAMER_VALUE) {
			assert_int_equal(strlen(framer.text), framer.length);
			say(framer.text, "|");
		} else if (result == FRAMER_ERROR) {
			say("!", "");
			say(framer.error, "|");
		} else {
			assert_int_equal(used, room);
		}
	}
	framer_free(&framer);
	return out;
}

/* The same, whatever pieces it comes in. */
static const char *framed_bytes(const char *bytes, size_t length)
{
	char whole[sizeof(out)];

	strcpy(whole, framed_by(bytes, length, length));
	assert_string_equal(framed_by(bytes, length, 1), whole);
	assert_string_equal(framed_by(bytes, length, 3), whole);
	return framed_by(bytes, length, length);
}

static const char *framed(const char *text)
{
	return framed_bytes(text, strlen(text));
}

static void values(void **state)
{
	assert_string_equal(framed("{}"), "{}|");
	assert_string_equal(framed(" {\"a\" : [ 1 , -2.5e+3, true,false , null ] }\r\n"),
	                    "{\"a\":[1,-2.5e+3,true,false,null]}|");
	assert_string_equal(framed("{}{}[]\n\n{}"), "{}|{}|[]|{}|");
	assert_string_equal(framed("1 2\n\"x\" true{"), "1|2|\"x\"|true|");
	assert_string_equal(framed("[[],{},[{}]]"), "[[],{},[{}]]|");
	assert_string_equal(
		framed("{\"\\u00e9\\n\\\\\": \"\xc3\xa9\xf0\x9f\x98\x80\\ud83d\\ude00\"}"),
		"{\"\\u00e9\\n\\\\\":\"\xc3\xa9\xf0\x9f\x98\x80\\ud83d\\ude00\"}|");
	/* As QEMU: single quotes; what is handed over is plain JSON. */
	assert_string_equal(framed("{'a': 'say \"it\\'s\"'}"), "{\"a\":\"say \\\"it's\\\"\"}|");
	/* A number past 64 bits becomes a double, not the largest integer. */
	assert_string_equal(framed("[18446744073709551615,18446744073709551616]"),
	                    "[18446744073709551615,18446744073709551616e0]|");
	assert_string_equal(framed("[-9223372036854775808,-9223372036854775809]"),
	                    "[-9223372036854775808,-9223372036854775809e0]|");
}

#define NO_VALUE "!JSON parse error, expecting value|"
#define NO_KEY "!JSON parse error, key is not a string in object|"
#define NO_COLON "!JSON parse error, missing : in object pair|"
#define NO_COMMA "!JSON parse error, expected separator in dict|"
#define NO_LIST_COMMA "!JSON parse error, expected separator in list|"
#define STRAY(what) "!JSON parse error, stray '" what "'|"
#define STRAY_BYTE(what) "!JSON parse error, stray byte 0x" what "|"
#define BAD_UTF8 "!JSON parse error, invalid UTF-8 sequence in string|"
#define BAD_ESCAPE "!JSON parse error, invalid escape sequence in string|"
#define BAD_HEX "!JSON parse error, invalid hex escape sequence in string|"
#define NO_CHARACTER(what) "!JSON parse error, \\u" what " is no character that a string can have|"
#define CONTROL "!JSON parse error, control character in string|"

/* Each is refused once, and the command behind it is understood. */
static void refusals(void **state)
{
	static const char *const table[][2] = {
		{"{\"a\" 1}", NO_COLON},
		{"{1:2}", NO_KEY},
		{"{,}", NO_KEY},
		{"{\"a\":}", NO_VALUE},
		{"{\"a\":1,}", NO_KEY},
		{"{\"a\":1 \"b\":2}", NO_COMMA},
		{"[1,]", NO_VALUE},
		{"[,1]", NO_VALUE},
		{"[1 2]", NO_LIST_COMMA},
		{"[1}", NO_LIST_COMMA},
		{"[1}]", NO_LIST_COMMA NO_VALUE},
		{"{\"a\":[1,{\"b\" 1}], \"c\": {\"d\":[]}}", NO_COLON},
		{"}", NO_VALUE},
		{"]", NO_VALUE},
		{":", NO_VALUE},
		{"[NaN]", STRAY("N")},
		{"[nan]", "!JSON parse error, invalid keyword 'nan'|"},
		{"[-Infinity]", STRAY("-")},
		{"[truetrue]", "!JSON parse error, invalid keyword 'truetrue'|"},
		{"[01]", STRAY("01")},
		{"[1.]", STRAY("1.")},
		{"[.5]", STRAY(".")},
		{"[+1]", STRAY("+")},
		{"[1e]", STRAY("1e")},
		{"[0x10]", "!JSON parse error, expected separator in list|"},
		{"{} // comment", "{}|" STRAY("/")},
		{"[/* comment */]", STRAY("/")},
		{"# comment", STRAY("#")},
		{"[\xc3\xa9]", STRAY_BYTE("c3")},
		{"[\"\xf8\"]", BAD_UTF8},
		{"[\"\xff", BAD_UTF8},
		{"[\"\xc0\x80\"]", BAD_UTF8},
		{"[\"\xc3(\"]", BAD_UTF8},
		{"[\"\xe0\x80\x80\"]", BAD_UTF8},
		{"[\"\xed\xa0\x80\"]", BAD_UTF8},
		{"[\"\xf4\x90\x80\x80\"]", BAD_UTF8},
		{"[\"\x80\"]", BAD_UTF8},
		{"[\"\xc3\"]", BAD_UTF8},
		{"[\"\\x\"]", BAD_ESCAPE},
		{"[\"\\u12g4\"]", BAD_HEX},
		{"[\"\\u0000\"]", NO_CHARACTER("0000")},
		{"[\"\\ud83d\"]", NO_CHARACTER("d83d")},
		{"[\"\\ud83d\\\"]\"]", NO_CHARACTER("0000")},
		{"[\"\\ud83d\\u0041\"]", NO_CHARACTER("0041")},
		{"[\"\\ude00\"]", NO_CHARACTER("de00")},
		{"[\"a\tb\", {\"c\": \"}]\"}]", CONTROL},
		{"[\"a\nb\"]", CONTROL "!JSON parse error, invalid keyword 'b'|"},
		{"{\"execute\": \"cut short", CONTROL},
		{"{\"execute\": \"cut short\"", NO_COMMA},
		{"{\"execute\"", NO_COLON},
		{"{", NO_KEY},
		{"\x01", STRAY_BYTE("01")},
		{"[\x01", STRAY_BYTE("01")},
		{"[\xff", STRAY_BYTE("ff")},
		{"[\"\x01", CONTROL},
	};
	char text[256], expected[1024];

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		snprintf(text, sizeof(text), "%s\n{\"next\":1}\n", table[i][0]);
		snprintf(expected, sizeof(expected), "%s{\"next\":1}|", table[i][1]);
		assert_string_equal(framed(text), expected);
	}
}

static void resynchronises(void **state)
{
	/* In the same line, once the brackets balance. */
	assert_string_equal(framed("{\"a\" 1, \"b\": \"}\", 'c': ['}']} {}"), NO_COLON "{}|");
	assert_string_equal(framed("@{}"), STRAY("@") "{}|");
	assert_string_equal(framed("@ some text [1]"), STRAY("@") "[1]|");
	/* Over several lines. */
	assert_string_equal(framed("{\n \"a\" 1,\n \"b\": {\n }\n}\n{}"), NO_COLON "{}|");
	/* A line that begins with '{' is a command. */
	assert_string_equal(framed("{\"a\" @ [\n{}"), STRAY("@") "{}|");
	/* A byte that JSON never has ends whatever there was; a row of them counts once. */
	assert_string_equal(framed("[[[{\"a\": \xff{}"), STRAY_BYTE("ff") "{}|");
	assert_string_equal(framed("\xff\xff\xff\xfe{}\xff{}"),
	                    STRAY_BYTE("ff") "{}|" STRAY_BYTE("ff") "{}|");
	assert_string_equal(framed("[@ [[\xff{}"), STRAY("@") STRAY_BYTE("ff") "{}|");
	assert_string_equal(framed_bytes("[\0{}", 4), STRAY_BYTE("00") "{}|");
	assert_string_equal(framed_bytes("[\"\0{}", 5), CONTROL "{}|");
}

static void bounds_depth(void **state)
{
	char text[512] = "", expected[sizeof(text) + 1] = "";

	memset(text, '[', FRAMER_MAX_DEPTH);
	memset(text + FRAMER_MAX_DEPTH, ']', FRAMER_MAX_DEPTH);
	snprintf(expected, sizeof(expected), "%s|", text);
	assert_string_equal(framed(text), expected);
	memset(text, '[', FRAMER_MAX_DEPTH + 2);
	memset(text + FRAMER_MAX_DEPTH + 2, ']', FRAMER_MAX_DEPTH + 2);
	strcpy(text + 2 * FRAMER_MAX_DEPTH + 4, "{}");
	assert_string_equal(framed(text), "!JSON nesting depth limit exceeded|{}|");
}

/* Feeds count times unit, between before and after, and returns what comes of it. */
static const char *framed_flood(const char *before, const char *unit, size_t count,
                                const char *after, size_t *most)
{
	struct framer framer;
	const char *part;
	size_t used, length;

	out[0] = '\0';
	*most = 0;
	framer_init(&framer);
	for (size_t i = 0; i < count + 2; i++) {
		part = i == 0 ? before : i <= count ? unit : after;
		length = strlen(part);
		for (size_t at = 0; at < length; at += used) {
			switch (framer_feed(&framer, part + at, length - at, &used)) {
			case FRAMER_VALUE:
				say(framer.length < 100 ? framer.text : "(long)", "|");
				break;
			case FRAMER_ERROR:
				say("!", "");
				say(framer.error, "|");
				break;
			case FRAMER_MORE:
				break;
			}
			if (framer.capacity > *most)
				*most = framer.capacity;
		}
	}
	framer_free(&framer);
	return out;
}

static void bounds_length(void **state)
{
	size_t most;
	char unit[1025];

	memset(unit, 'x', 1024);
	unit[1024] = '\0';
	assert_string_equal(framed_flood("[\"", unit, 1023, "\"]", &most), "(long)|");
	assert_string_equal(framed_flood("[\"", unit, 100 * 1024, "\"]{}", &most),
	                    "!JSON token size limit exceeded|{}|");
	assert_true(most <= 2 * FRAMER_MAX_TEXT);
	assert_string_equal(framed_flood("[", "1234567890", 1 << 20, "]{}", &most),
	                    "!JSON token size limit exceeded|{}|");
	assert_string_equal(framed_flood("[", " ", 4 << 20, "]{}", &most), "[]|{}|");
	assert_true(most <= 4096);
	assert_string_equal(framed_flood("[0", ",[]", 1 << 20, "]{}", &most),
	                    "!JSON token count limit exceeded|{}|");
	assert_string_equal(framed_flood("[", "[", 1 << 20, "\xff{}", &most),
	                    "!JSON nesting depth limit exceeded|" STRAY_BYTE("ff") "{}|");
}

/* What json-c makes of text, or "!error". */
static const char *parsed(const char *text)
{
	struct framer framer;
	struct json_object *value;
	size_t used;

	out[0] = '\0';
	framer_init(&framer);
	assert_int_equal(framer_feed(&framer, text, strlen(text), &used), FRAMER_VALUE);
	value = framer_parse(&framer);
	say(value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN) : "!", "");
	if (!value)
		say(framer.error, "");
	json_object_put(value);
	framer_free(&framer);
	return out;
}

static void parses(void **state)
{
	char text[2 * FRAMER_MAX_DEPTH * 8] = "";

	assert_string_equal(parsed("{'a': [1, 2.50, null, true], \"b\": {\"a\": 'x'}}"),
	                    "{\"a\":[1,2.50,null,true],\"b\":{\"a\":\"x\"}}");
	assert_string_equal(parsed("{\"a\": 18446744073709551615, \"b\": -9223372036854775808}"),
	                    "{\"a\":18446744073709551615,\"b\":-9223372036854775808}");
	assert_string_equal(parsed("{\"a\": 1e400, \"b\": 99999999999999999999}"),
	                    "{\"a\":1e400,\"b\":99999999999999999999e0}");
	assert_string_equal(parsed("{\"\\ud83d\\ude00\": \"\\u00e9\"}"),
	                    "{\"\xf0\x9f\x98\x80\":\"\xc3\xa9\"}");
	assert_string_equal(parsed("{\"a\": 1, \"a\": 1}"), "!JSON parse error, duplicate key");
	assert_string_equal(parsed("{\"a\": [{\"b\": 1, \"\\u0062\": 1}]}"),
	                    "!JSON parse error, duplicate key");
	for (int i = 0; i < FRAMER_MAX_DEPTH - 1; i++)
		strcat(text, "{\"a\":");
	strcat(text, "[]");
	for (int i = 0; i < FRAMER_MAX_DEPTH - 1; i++)
		strcat(text, "}");
	assert_string_equal(parsed(text), text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),         cmocka_unit_test(refusals),
		cmocka_unit_test(resynchronises), cmocka_unit_test(bounds_depth),
		cmocka_unit_test(bounds_length),  cmocka_unit_test(parses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
