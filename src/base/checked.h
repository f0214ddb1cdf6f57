/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic on numbers that somebody else chose: every sum and product says when it overflows. */
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* *sum = a + b; false (and *sum undefined) when that does not fit. */
static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *sum)
{
	return !__builtin_add_overflow(a, b, sum);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *product)
{
	return !__builtin_mul_overflow(a, b, product);
}

/* Whether [offset, offset + length) lies in [0, size). An empty range at size does. */
static inline bool range_within(uint64_t offset, uint64_t length, uint64_t size)
{
	return offset <= size && length <= size - offset;
}

/*
 * Whether two non-empty ranges share a byte. Neither may wrap past 2^64; ending there exactly is
 * fine, so this compares last bytes.
 */
static inline bool ranges_overlap(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
	return a <= b + (b_length - 1) && b <= a + (a_length - 1);
}

static inline bool is_power_of_2(uint64_t n)
{
	return n && !(n & (n - 1));
}

#endif
