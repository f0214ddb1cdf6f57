/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the contents of a mem disk move: page by page, those that were ever written first, and then
 * those that were written since they were given. A page that was discarded meanwhile is given as
 * zeroes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "mem.h"

static uint64_t page_count(const struct mem_node *mem)
{
	return (mem->block.info.size + MEM_PAGE - 1) >> MEM_PAGE_SHIFT;
}

static uint64_t word_count(const struct mem_node *mem)
{
	return (page_count(mem) + MEM_MAP_BITS - 1) / MEM_MAP_BITS;
}

static bool is_dirty(const struct mem_node *mem, uint64_t page)
{
	return mem->dirty[page / MEM_MAP_BITS] >> (page % MEM_MAP_BITS) & 1;
}

void mem_mark_dirty(struct mem_node *mem, uint64_t offset, uint64_t length)
{
	uint64_t page = offset >> MEM_PAGE_SHIFT;
	uint64_t last = (offset + (length - 1)) >> MEM_PAGE_SHIFT;

	for (; page <= last; page++) {
		uint64_t bit = UINT64_C(1) << (page % MEM_MAP_BITS);
		uint64_t *word = &mem->dirty[page / MEM_MAP_BITS];

		mem->dirty_count += !(*word & bit);
		*word |= bit;
	}
}

static void mem_end(struct ob_block *block)
{
	struct mem_node *mem = (struct mem_node *)block;

	free(take_ptr(&mem->dirty));
}

static int mem_begin(struct ob_block *block)
{
	struct mem_node *mem = (struct mem_node *)block;
	uint64_t words = word_count(mem);

	mem_end(block);
	mem->dirty = malloc(words * sizeof(*mem->dirty));
	if (!mem->dirty)
		return -ENOMEM;
	memcpy(mem->dirty, mem->written, words * sizeof(*mem->dirty));
	mem->dirty_count = 0;
	for (uint64_t i = 0; i < words; i++)
		mem->dirty_count += (unsigned)__builtin_popcountll(mem->dirty[i]);
	mem->cursor = 0;
	return 0;
}

static uint64_t mem_pending(const struct ob_block *block)
{
	const struct mem_node *mem = (const struct mem_node *)block;

	return mem->dirty ? mem->dirty_count << MEM_PAGE_SHIFT : 0;
}

/* The next dirty page from the cursor on, going round. There is one. */
static uint64_t find_dirty(const struct mem_node *mem)
{
	uint64_t words = word_count(mem), word = mem->cursor / MEM_MAP_BITS;
	uint64_t bits = mem->dirty[word] & UINT64_MAX << (mem->cursor % MEM_MAP_BITS);

	while (!bits) {
		word = (word + 1) % words;
		bits = mem->dirty[word];
	}
	return word * MEM_MAP_BITS + (unsigned)__builtin_ctzll(bits);
}

static bool mem_next(struct ob_block *block, uint64_t max, struct block_piece *piece)
{
	struct mem_node *mem = (struct mem_node *)block;
	uint64_t first, page, limit, pages = page_count(mem), most;
	bool written;

	if (!mem->dirty || !mem->dirty_count)
		return false;
	first = page = find_dirty(mem);
	written = mem_page_written(mem, first);
	most = (written ? max : BLOCK_MAX_ZEROES) >> MEM_PAGE_SHIFT;
	limit = most < pages - first ? first + most : pages;
	while (page < limit && is_dirty(mem, page) && mem_page_written(mem, page) == written) {
		mem->dirty[page / MEM_MAP_BITS] &= ~(UINT64_C(1) << (page % MEM_MAP_BITS));
		mem->dirty_count--;
		page++;
	}
	mem->cursor = page < pages ? page : 0;
	piece->offset = first << MEM_PAGE_SHIFT;
	piece->length = (page - first) << MEM_PAGE_SHIFT;
	/* The last page may be cut. */
	if (piece->length > block->info.size - piece->offset)
		piece->length = block->info.size - piece->offset;
	piece->bytes = written ? mem->data + piece->offset : NULL;
	return true;
}

static void mem_clear(struct ob_block *block, uint64_t offset, uint64_t length)
{
	mem_punch((struct mem_node *)block, offset, length);
}

static void mem_load(struct ob_block *block, const struct block_piece *piece)
{
	struct mem_node *mem = (struct mem_node *)block;

	if (piece->bytes)
		mem_write(mem, piece->offset, piece->bytes, piece->length);
	else
		mem_punch(mem, piece->offset, piece->length);
}

const struct block_migration mem_migration = {
	.begin = mem_begin,
	.end = mem_end,
	.pending = mem_pending,
	.next = mem_next,
	.clear = mem_clear,
	.load = mem_load,
};
