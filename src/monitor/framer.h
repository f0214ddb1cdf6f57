/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cuts a stream of bytes from a stranger into JSON values (RFC 8259), and says what is wrong with
 * what is none.
 *
 * It takes a byte at a time and knows the whole grammar, so json-c sees nothing but well-formed
 * text of bounded length, depth and number of values. As QEMU does, it also takes strings in single
 * quotes, and \' in strings; what it hands over is plain JSON. It refuses what C strings can't hold
 * (\u0000).
 *
 * After an error it skips the rest of the value: until brackets balance, a line begins with '{', or
 * a byte comes that JSON never has (control characters, 0xFE, 0xFF). The latter is how QMP clients
 * bring a parser into a known state; it gives an error of its own.
 */
#ifndef MONITOR_FRAMER_H
#define MONITOR_FRAMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

enum {
	FRAMER_MAX_TEXT = 1 << 20, /* bytes of a value, white space not counted */
	FRAMER_MAX_DEPTH = 64,
	FRAMER_MAX_VALUES = 16384, /* in a value: json-c takes up to 800 bytes for each */
};

struct framer {
	/* After FRAMER_VALUE, until the next byte: the value, ended by a NUL as well. */
	char *text;
	size_t length;
	char error[128]; /* after FRAMER_ERROR: one line, in QEMU's words where it has some */

	size_t capacity;
	size_t token;     /* where the token begins that is being read */
	uint64_t objects; /* bit n: level n is an object, not an array */
	uint64_t skip_depth;
	unsigned depth, values, members;
	uint8_t lexeme, expected;
	char quote;
	bool escaped, fresh; /* while skipping: behind a backslash; nothing is skipped yet */
	bool line_begins;
	bool synced;          /* behind a byte that JSON never has, which got its error */
	uint8_t continuation; /* bytes of a UTF-8 sequence or digits of \u that are missing */
	uint32_t code, least; /* what they make, and what a sequence of that length must make */
	uint16_t surrogate;   /* the first half of a pair that is not whole yet; 0: none */
};

enum framer_result { FRAMER_MORE, FRAMER_VALUE, FRAMER_ERROR };

void framer_init(struct framer *framer);
void framer_free(struct framer *framer);

/* Takes bytes until there is a value or an error, or none is left; *used is how many it took. */
enum framer_result framer_feed(struct framer *framer, const char *bytes, size_t length,
                               size_t *used);

/*
 * After FRAMER_VALUE, if text begins with '{': the value, for the caller to json_object_put(). A
 * number past 64 bits is a double. NULL and framer->error: a key is there twice, or there is no
 * memory.
 */
struct json_object *framer_parse(struct framer *framer);

#endif
