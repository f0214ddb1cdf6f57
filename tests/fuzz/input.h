/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fuzzer's input as a stream of numbers and bytes, little-endian. Past its end there are zeroes,
 * so that every prefix of an input is an input too.
 */
#ifndef INPUT_H
#define INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What has to be true whatever the input is; in every build, unlike assert(). */
#define must(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: must be true: %s\n", __FILE__, __LINE__,           \
			        #condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct input {
	const uint8_t *at;
	size_t left;
};

/* Up to length bytes in place; *got of them are there. */
static inline const uint8_t *input_bytes(struct input *in, size_t length, size_t *got)
{
	const uint8_t *at = in->at;

	*got = length < in->left ? length : in->left;
	in->at += *got;
	in->left -= *got;
	return at;
}

static inline void input_copy(struct input *in, void *to, size_t length)
{
	size_t got;
	const uint8_t *from = input_bytes(in, length, &got);

	memset(to, 0, length);
	if (got)
		memcpy(to, from, got);
}

static inline uint64_t input_number(struct input *in, unsigned size)
{
	uint8_t bytes[8] = {0};
	uint64_t value = 0;

	input_copy(in, bytes, size);
	for (unsigned i = size; i--;)
		value = value << 8 | bytes[i];
	return value;
}

static inline uint8_t input_u8(struct input *in)
{
	return (uint8_t)input_number(in, 1);
}

static inline uint16_t input_u16(struct input *in)
{
	return (uint16_t)input_number(in, 2);
}

static inline uint32_t input_u32(struct input *in)
{
	return (uint32_t)input_number(in, 4);
}

static inline uint64_t input_u64(struct input *in)
{
	return input_number(in, 8);
}

/* The entry points, as libFuzzer and AFL++ call them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
