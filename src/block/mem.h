/* SPDX-License-Identifier: BSD-3-Clause */
/* The mem driver's own: the node, and what mem.c and mem_migration.c want of each other. */
#ifndef BLOCK_MEM_H
#define BLOCK_MEM_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "mem_copy.h"

enum { MEM_PAGE_SHIFT = 12, MEM_PAGE = 1 << MEM_PAGE_SHIFT, MEM_MAP_BITS = 64 };

struct mem_node {
	struct ob_block block;
	int fd;
	uint8_t *data;
	uint64_t *written;        /* one bit for each page that may hold something */
	struct mem_next expected; /* see ob_block_expect() */

	/* While its contents move: pages that are to be given, how many, and where to look next. */
	uint64_t *dirty; /* NULL: they do not */
	uint64_t dirty_count, cursor;
};

extern const struct block_migration mem_migration;

static inline bool mem_page_written(const struct mem_node *mem, uint64_t page)
{
	return mem->written[page / MEM_MAP_BITS] >> (page % MEM_MAP_BITS) & 1;
}

void mem_write(struct mem_node *mem, uint64_t offset, const uint8_t *from, uint64_t length);
/* Zeroes a range, and gives its whole pages back to the system. */
void mem_punch(struct mem_node *mem, uint64_t offset, uint64_t length);

/* A range is about to change. */
void mem_mark_dirty(struct mem_node *mem, uint64_t offset, uint64_t length);
static inline void mem_touch(struct mem_node *mem, uint64_t offset, uint64_t length)
{
	if (__builtin_expect(mem->dirty != NULL, 0) && length)
		mem_mark_dirty(mem, offset, length);
}

#endif
