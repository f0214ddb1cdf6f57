/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A validating state machine for JSON; see framer.h. lexeme is what a byte belongs to, expected is
 * what the grammar allows next. A byte that ends a number or a keyword is looked at twice.
 */
#include "framer.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 512, KEPT_CAPACITY = 64 * 1024 };

enum lexeme { BETWEEN, STRING, ESCAPE, HEX, LOW_ESCAPE, LOW_U, NUMBER, KEYWORD, SKIP, SKIP_STRING };

enum expected { VALUE, VALUE_OR_END, KEY, KEY_OR_END, COLON, SEPARATOR };

/* What became of a byte. */
enum step { TAKEN, AGAIN, DONE, WRONG };

void framer_init(struct framer *framer)
{
	*framer = (struct framer){.line_begins = true};
}

void framer_free(struct framer *framer)
{
	free(framer->text);
	framer->text = NULL;
}

static enum step wrong(struct framer *framer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static enum step wrong(struct framer *framer, const char *format, ...)
{
	bool in_string = framer->lexeme >= STRING && framer->lexeme <= LOW_U;
	va_list args;

	va_start(args, format);
	vsnprintf(framer->error, sizeof(framer->error), format, args);
	va_end(args);
	framer->escaped = framer->lexeme == ESCAPE || framer->lexeme == LOW_U;
	framer->lexeme = in_string ? SKIP_STRING : SKIP;
	framer->skip_depth = framer->depth;
	framer->fresh = true;
	return WRONG;
}

static enum step stray(struct framer *framer, unsigned char byte)
{
	if (byte > ' ' && byte < 0x7f)
		return wrong(framer, "JSON parse error, stray '%c'", byte);
	return wrong(framer, "JSON parse error, stray byte 0x%02x", byte);
}

static bool put(struct framer *framer, char byte)
{
	size_t capacity = framer->capacity ? framer->capacity * 2 : FIRST_CAPACITY;
	char *text;

	/* One byte is kept for the NUL. */
	if (framer->length + 1 >= framer->capacity) {
		text = realloc(framer->text, capacity);
		if (!text)
			return false;
		framer->text = text;
		framer->capacity = capacity;
	}
	framer->text[framer->length++] = byte;
	return true;
}

static enum step keep(struct framer *framer, char byte)
{
	if (framer->length >= FRAMER_MAX_TEXT)
		return wrong(framer, "JSON token size limit exceeded");
	return put(framer, byte) ? TAKEN : wrong(framer, "out of memory");
}

static bool in_object(const struct framer *framer)
{
	return framer->depth && framer->objects >> (framer->depth - 1) & 1;
}

/* A value has ended: the whole one, or one in a container. */
static enum step value_ended(struct framer *framer)
{
	framer->lexeme = BETWEEN;
	framer->expected = SEPARATOR;
	return framer->depth ? TAKEN : DONE;
}

static enum step unexpected(struct framer *framer)
{
	switch (framer->expected) {
	case KEY:
	case KEY_OR_END:
		return wrong(framer, "JSON parse error, key is not a string in object");
	case COLON:
		return wrong(framer, "JSON parse error, missing : in object pair");
	case SEPARATOR:
		return wrong(framer, "JSON parse error, expected separator in %s",
		             in_object(framer) ? "dict" : "list");
	default:
		return wrong(framer, "JSON parse error, expecting value");
	}
}

static bool may_begin(const struct framer *framer)
{
	return framer->expected == VALUE || framer->expected == VALUE_OR_END;
}

static enum step begin(struct framer *framer, enum lexeme lexeme, char byte)
{
	bool is_key = framer->expected == KEY || framer->expected == KEY_OR_END;
	char first = byte;

	if (!may_begin(framer) && !(is_key && lexeme == STRING))
		return unexpected(framer);
	if (++framer->values > FRAMER_MAX_VALUES)
		return wrong(framer, "JSON token count limit exceeded");
	framer->members += is_key;
	framer->token = framer->length;
	if (lexeme == STRING)
		first = '"';
	if (keep(framer, first) == WRONG)
		return WRONG;
	framer->lexeme = (uint8_t)lexeme;
	framer->quote = byte;
	framer->expected = is_key ? KEY : VALUE;
	return TAKEN;
}

static enum step open_container(struct framer *framer, char byte)
{
	uint64_t bit = UINT64_C(1) << (framer->depth & 63);

	if (!may_begin(framer))
		return unexpected(framer);
	if (framer->depth >= FRAMER_MAX_DEPTH)
		return wrong(framer, "JSON nesting depth limit exceeded");
	if (++framer->values > FRAMER_MAX_VALUES)
		return wrong(framer, "JSON token count limit exceeded");
	framer->objects = byte == '{' ? framer->objects | bit : framer->objects & ~bit;
	framer->expected = byte == '{' ? KEY_OR_END : VALUE_OR_END;
	framer->depth++;
	return keep(framer, byte);
}

static enum step close_container(struct framer *framer, char byte)
{
	enum expected empty = byte == '}' ? KEY_OR_END : VALUE_OR_END;

	if (!framer->depth || in_object(framer) != (byte == '}') ||
	    (framer->expected != SEPARATOR && framer->expected != empty))
		return unexpected(framer);
	if (keep(framer, byte) == WRONG)
		return WRONG;
	framer->depth--;
	return value_ended(framer);
}

static enum step punctuation(struct framer *framer, char byte)
{
	if (framer->expected != (byte == ':' ? COLON : SEPARATOR))
		return unexpected(framer);
	framer->expected = byte == ',' && in_object(framer) ? KEY : VALUE;
	return keep(framer, byte);
}

/* Bytes that never are in JSON text, whatever stands around them. */
static bool is_sync(unsigned char byte)
{
	return (byte < ' ' && byte != '\t' && byte != '\r' && byte != '\n') || byte >= 0xfe;
}

static enum step between(struct framer *framer, char byte)
{
	bool synced = framer->synced;

	framer->synced = false;
	switch (byte) {
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		return TAKEN;
	case '{':
	case '[':
		return open_container(framer, byte);
	case '}':
	case ']':
		return close_container(framer, byte);
	case ':':
	case ',':
		return punctuation(framer, byte);
	case '"':
	case '\'':
		return begin(framer, STRING, byte);
	case '-':
	case '0' ... '9':
		return begin(framer, NUMBER, byte);
	case 'a' ... 'z':
		return begin(framer, KEYWORD, byte);
	default:
		/* One error for a row of them. */
		framer->synced = synced && is_sync((unsigned char)byte);
		return framer->synced ? TAKEN : stray(framer, (unsigned char)byte);
	}
}

static enum step string_ended(struct framer *framer)
{
	if (keep(framer, '"') == WRONG)
		return WRONG;
	if (framer->expected == KEY) {
		framer->expected = COLON;
		framer->lexeme = BETWEEN;
		return TAKEN;
	}
	return value_ended(framer);
}

static enum step begin_utf8(struct framer *framer, unsigned char byte)
{
	framer->continuation = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
	framer->least = byte >= 0xf0 ? 0x10000 : byte >= 0xe0 ? 0x800 : 0x80;
	framer->code = byte & (0x3f >> framer->continuation);
	return byte < 0xc2 || byte > 0xf4
	               ? wrong(framer, "JSON parse error, invalid UTF-8 sequence in string")
	               : keep(framer, (char)byte);
}

static enum step continue_utf8(struct framer *framer, unsigned char byte)
{
	bool valid = (byte & 0xc0) == 0x80;

	framer->code = framer->code << 6 | (byte & 0x3f);
	framer->continuation--;
	if (valid && !framer->continuation)
		valid = framer->code >= framer->least && framer->code <= 0x10ffff &&
		        (framer->code < 0xd800 || framer->code > 0xdfff);
	if (valid)
		return keep(framer, (char)byte);
	framer->continuation = 0;
	return wrong(framer, "JSON parse error, invalid UTF-8 sequence in string");
}

static enum step in_string(struct framer *framer, char byte)
{
	if (framer->continuation)
		return continue_utf8(framer, (unsigned char)byte);
	if (byte == framer->quote)
		return string_ended(framer);
	if (byte == '\\') {
		framer->lexeme = ESCAPE;
		return TAKEN;
	}
	if ((unsigned char)byte < ' ')
		return wrong(framer, "JSON parse error, control character in string");
	if ((unsigned char)byte >= 0x80)
		return begin_utf8(framer, (unsigned char)byte);
	if (byte == '"' && keep(framer, '\\') == WRONG)
		return WRONG;
	return keep(framer, byte);
}

static enum step in_escape(struct framer *framer, char byte)
{
	if (!byte || !strchr("\"\\/bfnrtu'", byte))
		return wrong(framer, "JSON parse error, invalid escape sequence in string");
	if ((byte != '\'' && keep(framer, '\\') == WRONG) || keep(framer, byte) == WRONG)
		return WRONG;
	framer->lexeme = byte == 'u' ? HEX : STRING;
	framer->continuation = byte == 'u' ? 4 : 0;
	framer->code = 0;
	return TAKEN;
}

static enum step no_character(struct framer *framer)
{
	framer->surrogate = 0;
	framer->continuation = 0;
	return wrong(framer, "JSON parse error, \\u%04x is no character that a string can have",
	             framer->code);
}

static enum step hex_ended(struct framer *framer)
{
	bool low = framer->code >= 0xdc00 && framer->code <= 0xdfff;
	bool high = framer->code >= 0xd800 && framer->code <= 0xdbff;

	if (low != !!framer->surrogate || !framer->code)
		return no_character(framer);
	framer->surrogate = high ? (uint16_t)framer->code : 0;
	framer->lexeme = high ? LOW_ESCAPE : STRING;
	return TAKEN;
}

static enum step in_hex(struct framer *framer, char byte)
{
	static const char digits[] = "0123456789abcdef";
	const char *at =
		byte ? strchr(digits, byte >= 'A' && byte <= 'F' ? byte | 0x20 : byte) : NULL;

	if (!at) {
		framer->continuation = 0;
		framer->surrogate = 0;
		return wrong(framer, "JSON parse error, invalid hex escape sequence in string");
	}
	if (keep(framer, byte) == WRONG)
		return WRONG;
	framer->code = framer->code << 4 | (uint32_t)(at - digits);
	return --framer->continuation ? TAKEN : hex_ended(framer);
}

/* The second half of a surrogate pair has to follow the first one at once. */
static enum step in_pair(struct framer *framer, char byte)
{
	if (byte != (framer->lexeme == LOW_ESCAPE ? '\\' : 'u'))
		return no_character(framer);
	if (keep(framer, byte) == WRONG)
		return WRONG;
	framer->lexeme = framer->lexeme == LOW_ESCAPE ? LOW_U : HEX;
	framer->continuation = 4;
	framer->code = 0;
	return TAKEN;
}

static const char *digits_end(const char *at)
{
	return at + strspn(at, "0123456789");
}

/* number = [ "-" ] int [ frac ] [ exp ], RFC 8259 section 6. */
static bool is_number(const char *text, bool *whole)
{
	const char *at = text + (*text == '-'), *end = digits_end(at);

	if (end == at || (*at == '0' && end > at + 1))
		return false;
	*whole = !*end;
	if (*end == '.') {
		at = end + 1;
		end = digits_end(at);
		if (end == at)
			return false;
	}
	if (*end == 'e' || *end == 'E') {
		at = end + 1;
		at += *at == '+' || *at == '-';
		end = digits_end(at);
		if (end == at)
			return false;
	}
	return !*end;
}

/* json-c would take the nearest number that it has. */
static bool fits(const char *text)
{
	errno = 0;
	if (*text == '-')
		(void)strtoll(text, NULL, 10);
	else
		(void)strtoull(text, NULL, 10);
	return !errno;
}

static enum step in_number(struct framer *framer, char byte)
{
	const char *token;
	bool whole;

	if (byte && strchr("0123456789+-.eE", byte))
		return keep(framer, byte);
	framer->text[framer->length] = '\0';
	token = framer->text + framer->token;
	if (!is_number(token, &whole))
		return wrong(framer, "JSON parse error, stray '%.40s'", token);
	if (whole && !fits(token) && (keep(framer, 'e') == WRONG || keep(framer, '0') == WRONG))
		return WRONG;
	return value_ended(framer) == DONE ? DONE : AGAIN;
}

static enum step in_keyword(struct framer *framer, char byte)
{
	const char *token;

	if (byte >= 'a' && byte <= 'z')
		return keep(framer, byte);
	framer->text[framer->length] = '\0';
	token = framer->text + framer->token;
	if (strcmp(token, "true") != 0 && strcmp(token, "false") != 0 && strcmp(token, "null") != 0)
		return wrong(framer, "JSON parse error, invalid keyword '%.40s'", token);
	return value_ended(framer) == DONE ? DONE : AGAIN;
}

/* Forgets the value; the text's memory stays unless it is large. */
static void start_over(struct framer *framer)
{
	if (framer->capacity > KEPT_CAPACITY) {
		free(framer->text);
		framer->text = NULL;
		framer->capacity = 0;
	}
	framer->length = 0;
	framer->depth = framer->values = framer->members = 0;
	framer->continuation = 0;
	framer->surrogate = 0;
	framer->lexeme = BETWEEN;
	framer->expected = VALUE;
}

static enum step skip_ends(struct framer *framer, enum step step)
{
	start_over(framer);
	return step;
}

/* A byte that no JSON has. It gets an error of its own, unless it is what was wrong. */
static enum step skip_sync(struct framer *framer, bool fresh)
{
	framer->synced = fresh;
	return skip_ends(framer, fresh ? TAKEN : AGAIN);
}

static enum step skip_bracket(struct framer *framer, char byte, bool fresh)
{
	bool opens = byte == '{' || byte == '[';

	/* A value begins. (Without memory, what is wrong may be the beginning itself.) */
	if (opens && ((byte == '{' && framer->line_begins && framer->depth) ||
	              (!framer->skip_depth && !fresh)))
		return skip_ends(framer, AGAIN);
	if (!opens && framer->skip_depth <= 1)
		return skip_ends(framer, TAKEN);
	framer->skip_depth += opens ? 1 : UINT64_MAX;
	return TAKEN;
}

/* The first byte that is skipped is the one that was wrong, or ended what was. */
static enum step skip(struct framer *framer, char byte)
{
	bool fresh = framer->fresh;

	framer->fresh = false;
	if (is_sync((unsigned char)byte))
		return skip_sync(framer, fresh);
	switch (byte) {
	case '{':
	case '[':
	case '}':
	case ']':
		return skip_bracket(framer, byte, fresh);
	case '\n':
		return framer->skip_depth ? TAKEN : skip_ends(framer, TAKEN);
	case '"':
	case '\'':
		framer->quote = byte;
		framer->escaped = false;
		framer->lexeme = SKIP_STRING;
		return TAKEN;
	default:
		return TAKEN;
	}
}

static enum step skip_string(struct framer *framer, char byte)
{
	bool fresh = framer->fresh;

	framer->fresh = false;
	if (is_sync((unsigned char)byte))
		return skip_sync(framer, fresh);
	/* No string goes on in the next line: where it ends, nobody can say. */
	if (byte == '\n')
		return skip_ends(framer, TAKEN);
	if (framer->escaped)
		framer->escaped = false;
	else if (byte == '\\')
		framer->escaped = true;
	else if (byte == framer->quote)
		framer->lexeme = SKIP;
	return TAKEN;
}

static enum step step(struct framer *framer, char byte)
{
	switch (framer->lexeme) {
	case STRING:
		return in_string(framer, byte);
	case ESCAPE:
		return in_escape(framer, byte);
	case HEX:
		return in_hex(framer, byte);
	case LOW_ESCAPE:
	case LOW_U:
		return in_pair(framer, byte);
	case NUMBER:
		return in_number(framer, byte);
	case KEYWORD:
		return in_keyword(framer, byte);
	case SKIP:
		return skip(framer, byte);
	case SKIP_STRING:
		return skip_string(framer, byte);
	default:
		return between(framer, byte);
	}
}

enum framer_result framer_feed(struct framer *framer, const char *bytes, size_t length,
                               size_t *used)
{
	bool lookahead;
	enum step done;
	size_t i = 0;

	/* The value of the last call was whole. */
	if (framer->lexeme == BETWEEN && !framer->depth && framer->length)
		start_over(framer);
	while (i < length) {
		lookahead = framer->lexeme == NUMBER || framer->lexeme == KEYWORD;
		done = step(framer, bytes[i]);
		if (done == TAKEN || (done == DONE && !lookahead)) {
			framer->line_begins = bytes[i] == '\n';
			i++;
		}
		if (done == DONE)
			framer->text[framer->length] = '\0';
		if (done == DONE || done == WRONG) {
			*used = i;
			return done == DONE ? FRAMER_VALUE : FRAMER_ERROR;
		}
	}
	*used = i;
	return FRAMER_MORE;
}

/* Members of all objects in value. */
static unsigned count_members(struct json_object *value)
{
	unsigned count = 0;

	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			(void)key;
			count += 1 + count_members(member);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			count += count_members(json_object_array_get_idx(value, i));
	}
	return count;
}

struct json_object *framer_parse(struct framer *framer)
{
	struct json_tokener *tokener = json_tokener_new_ex(FRAMER_MAX_DEPTH + 2);
	struct json_object *value = NULL;

	if (tokener) {
		json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
		value = json_tokener_parse_ex(tokener, framer->text, (int)framer->length);
		json_tokener_free(tokener);
	}
	/* What it could find wrong has been found. */
	if (!value) {
		snprintf(framer->error, sizeof(framer->error), "out of memory");
		return NULL;
	}
	/* json-c keeps the last of several members with the same key. */
	if (count_members(value) == framer->members)
		return value;
	json_object_put(value);
	snprintf(framer->error, sizeof(framer->error), "JSON parse error, duplicate key");
	return NULL;
}
