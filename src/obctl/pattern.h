/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks that say what they are: seed, block number, how often the place was written, and a
 * checksum (CRC-32C) over all of it. So a block that is read back tells what went wrong with it.
 */
#ifndef OBCTL_PATTERN_H
#define OBCTL_PATTERN_H

#include <stddef.h>
#include <stdint.h>

/* Fills a block of size bytes (a multiple of 512). generation: from 1. */
void pattern_fill(uint64_t seed, uint8_t *block, size_t size, uint64_t number, uint32_t generation);

enum pattern_verdict {
	PATTERN_GOOD,
	PATTERN_ZEROES,    /* lost: it was never written */
	PATTERN_CORRUPT,   /* the checksum does not fit */
	PATTERN_FOREIGN,   /* of another seed */
	PATTERN_MISPLACED, /* another block's */
	PATTERN_STALE,     /* an earlier write's */
	PATTERN_EARLY,     /* a later write's */
};

/* generation 0: any. What the block says of itself goes to *number and *found. */
enum pattern_verdict pattern_check(uint64_t seed, const uint8_t *block, size_t size,
                                   uint64_t expected, uint32_t generation, uint64_t *number,
                                   uint32_t *found);

#endif
