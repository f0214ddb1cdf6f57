/* SPDX-License-Identifier: BSD-3-Clause */
/* Growing text, and JSON in it; see text.h. */
#include "text.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 256 };

void text_free(struct text *text)
{
	free(text->bytes);
	*text = (struct text){0};
}

/* Whether there is room for that many bytes more, and a NUL. */
static bool reserve(struct text *text, size_t length)
{
	size_t capacity = text->capacity ? text->capacity : FIRST_CAPACITY;
	char *bytes;

	while (capacity - text->length <= length)
		capacity *= 2;
	if (capacity == text->capacity)
		return true;
	bytes = realloc(text->bytes, capacity);
	if (!bytes) {
		text->failed = true;
		return false;
	}
	text->bytes = bytes;
	text->capacity = capacity;
	return true;
}

void text_add(struct text *text, const char *bytes, size_t length)
{
	if (!reserve(text, length))
		return;
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
	text->bytes[text->length] = '\0';
}

void text_format(struct text *text, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0 || !reserve(text, (size_t)length))
		return;
	va_start(args, format);
	vsnprintf(text->bytes + text->length, (size_t)length + 1, format, args);
	va_end(args);
	text->length += (size_t)length;
}

static void add(struct text *text, const char *string)
{
	text_add(text, string, strlen(string));
}

/* The character at *at, which moves behind it; U+FFFD for a byte that begins none. */
static uint32_t next_character(const unsigned char **at, const unsigned char *end)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char *from = *at;
	unsigned more = *from >= 0xf0 ? 3 : *from >= 0xe0 ? 2 : *from >= 0xc0 ? 1 : 0;
	uint32_t code = more ? *from & (0x3fu >> more) : *from;

	*at = from + 1;
	if (*from < 0x80)
		return code;
	if (!more || *from > 0xf4 || (size_t)(end - from) <= more)
		return 0xfffd;
	for (unsigned i = 1; i <= more; i++) {
		if ((from[i] & 0xc0) != 0x80)
			return 0xfffd;
		code = code << 6 | (from[i] & 0x3f);
	}
	if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0xfffd;
	*at = from + 1 + more;
	return code;
}

static void add_escaped(struct text *text, uint32_t code)
{
	static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
	const char *at = code && code < 0x80 ? strchr(plain, (int)code) : NULL;

	if (at)
		text_format(text, "\\%c", letter[at - plain]);
	else if (code >= 0x10000)
		text_format(text, "\\u%04X\\u%04X", 0xd800 + ((code - 0x10000) >> 10),
		            0xdc00 + ((code - 0x10000) & 0x3ff));
	else
		text_format(text, "\\u%04X", code);
}

static void add_string(struct text *text, const char *string, size_t length)
{
	const unsigned char *at = (const unsigned char *)string, *end = at + length, *plain;

	add(text, "\"");
	while (at < end) {
		for (plain = at; at < end && *at >= ' ' && *at < 0x7f && *at != '"' && *at != '\\';)
			at++;
		text_add(text, (const char *)plain, (size_t)(at - plain));
		if (at < end)
			add_escaped(text, next_character(&at, end));
	}
	add(text, "\"");
}

/* depth: how far in, while pretty; -1: all on one line. */
static void add_break(struct text *text, int depth, const char *otherwise)
{
	if (depth < 0)
		add(text, otherwise);
	else
		text_format(text, "\n%*s", depth * 4, "");
}

static void add_value(struct text *text, struct json_object *value, int depth);

static void add_object(struct text *text, struct json_object *object, int depth)
{
	int inner = depth < 0 ? depth : depth + 1;
	bool first = true;

	add(text, "{");
	json_object_object_foreach(object, key, member)
	{
		if (!first)
			add(text, ",");
		add_break(text, inner, first ? "" : " ");
		add_string(text, key, strlen(key));
		add(text, ": ");
		add_value(text, member, inner);
		first = false;
	}
	if (!first)
		add_break(text, depth, "");
	add(text, "}");
}

static void add_array(struct text *text, struct json_object *array, int depth)
{
	int inner = depth < 0 ? depth : depth + 1;
	size_t length = json_object_array_length(array);

	add(text, "[");
	for (size_t i = 0; i < length; i++) {
		if (i)
			add(text, ",");
		add_break(text, inner, i ? " " : "");
		add_value(text, json_object_array_get_idx(array, i), inner);
	}
	if (length)
		add_break(text, depth, "");
	add(text, "]");
}

/* As deep as our own replies, or an id that the framer has let through. */
static void add_value(struct text *text, struct json_object *value, int depth)
{
	switch (json_object_get_type(value)) {
	case json_type_object:
		add_object(text, value, depth);
		break;
	case json_type_array:
		add_array(text, value, depth);
		break;
	case json_type_string:
		add_string(text, json_object_get_string(value),
		           (size_t)json_object_get_string_len(value));
		break;
	default:
		add(text, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
	}
}

void text_add_json(struct text *text, struct json_object *value, bool pretty)
{
	add_value(text, value, pretty ? 0 : -1);
}
