/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks that say what they are: seed, block number, how often the place was written, and a
 * checksum (CRC-32C) over all of it. So a block that is read back tells what went wrong with it.
 */
#ifndef OBCTL_PATTERN_H
#define OBCTL_PATTERN_H

#include <stddef.h>
#include <stdint.h>

struct pattern {
	uint32_t table[8][256]; /* of the checksum */
	uint64_t seed;
};

void pattern_init(struct pattern *pattern, uint64_t seed);

/* Fills a block of size bytes (a multiple of 512). generation: from 1. */
void pattern_fill(const struct pattern *pattern, uint8_t *block, size_t size, uint64_t number,
                  uint32_t generation);

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
enum pattern_verdict pattern_check(const struct pattern *pattern, const uint8_t *block, size_t size,
                                   uint64_t expected, uint32_t generation, uint64_t *number,
                                   uint32_t *found);

/* The CRC-32C of bytes, to be continued from crc (at first 0). */
uint32_t pattern_crc(const struct pattern *pattern, uint32_t crc, const uint8_t *data, size_t size);

#endif
