/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that say what they are; see pattern.h. */
#include "obctl/pattern.h"

#include <string.h>

#include "base/crc32c.h"
#include "outboard/endian.h"

enum { MAGIC = 0x6f624b31 };

/* What a block begins with, little-endian; the rest follows from it. */
struct header {
	uint32_t magic, crc; /* crc: of the whole block with this as 0 */
	uint64_t seed, number;
	uint32_t generation, reserved;
};
_Static_assert(sizeof(struct header) == 32, "32 bytes");

static uint32_t block_crc(const uint8_t *block, size_t size)
{
	uint8_t head[sizeof(struct header)];
	uint32_t crc;

	memcpy(head, block, sizeof(head));
	ob_put_le32(head + offsetof(struct header, crc), 0);
	crc = crc32c(0, head, sizeof(head));
	return crc32c(crc, block + sizeof(head), size - sizeof(head));
}

/* A sequence (splitmix64) that starts from all that the header says. */
void pattern_fill(uint64_t seed, uint8_t *block, size_t size, uint64_t number, uint32_t generation)
{
	const struct header header = {
		.magic = htole32(MAGIC),
		.seed = htole64(seed),
		.number = htole64(number),
		.generation = htole32(generation),
	};
	uint64_t state = seed ^ number * UINT64_C(0xd1342543de82ef95) ^ (uint64_t)generation << 40;

	memcpy(block, &header, sizeof(header));
	for (size_t at = sizeof(header); at < size; at += 8) {
		uint64_t word = state += UINT64_C(0x9e3779b97f4a7c15);

		word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		ob_put_le64(block + at, word ^ word >> 27);
	}
	ob_put_le32(block + offsetof(struct header, crc), block_crc(block, size));
}

static int all_zeroes(const uint8_t *block, size_t size)
{
	return !block[0] && !memcmp(block, block + 1, size - 1);
}

enum pattern_verdict pattern_check(uint64_t seed, const uint8_t *block, size_t size,
                                   uint64_t expected, uint32_t generation, uint64_t *number,
                                   uint32_t *found)
{
	struct header header;

	memcpy(&header, block, sizeof(header));
	*number = le64toh(header.number);
	*found = le32toh(header.generation);
	if (all_zeroes(block, size))
		return PATTERN_ZEROES;
	if (le32toh(header.magic) != MAGIC || le32toh(header.crc) != block_crc(block, size))
		return PATTERN_CORRUPT;
	if (le64toh(header.seed) != seed)
		return PATTERN_FOREIGN;
	if (*number != expected)
		return PATTERN_MISPLACED;
	if (generation && *found < generation)
		return PATTERN_STALE;
	if (generation && *found > generation)
		return PATTERN_EARLY;
	return PATTERN_GOOD;
}
