/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a disk in memory copies: line by line, and faster than memcpy() where blocks lie at random.
 *
 * The processor foresees what comes next within a page, and not across its end. So most of the time
 * of copying a page is waiting for its first lines; while one page is copied, what is copied next
 * is fetched, a line for each line. And what is written to the disk is seldom read soon, so it goes
 * around the caches: otherwise each line would be fetched from memory before it is overwritten.
 *
 * Stores around the caches may become visible to other processors late. Nobody but this thread
 * looks at a disk's memory, and to itself a thread's stores are in order.
 */
#ifndef BLOCK_MEM_COPY_H
#define BLOCK_MEM_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { MEM_LINE = 64, MEM_AHEAD = 4096 };

/* What is likely to be copied next: bytes that are only fetched, whether they are there or not. */
struct mem_next {
	const uint8_t *from;
	size_t length;
};

static inline size_t mem_whole_lines(size_t length)
{
	return length & ~(size_t)(MEM_LINE - 1);
}

/* How much at the end is copied with an eye on what comes next; before that memcpy() does as well.
 */
static inline size_t mem_last(size_t lines, struct mem_next next)
{
	size_t most = next.length < MEM_AHEAD ? mem_whole_lines(next.length) : MEM_AHEAD;

	return lines < most ? lines : most;
}

static inline void mem_copy(uint8_t *to, const uint8_t *from, size_t length, struct mem_next next)
{
	size_t lines = mem_whole_lines(length), first = lines - mem_last(lines, next);

	memcpy(to, from, first);
	for (size_t at = first; at < lines; at += MEM_LINE) {
		__builtin_prefetch(next.from + (at - first), 0, 0);
		memcpy(to + at, from + at, MEM_LINE);
	}
	memcpy(to + lines, from + lines, length - lines);
}

static inline void mem_store_line(uint8_t *to, const uint8_t *from)
{
#ifdef __SSE2__
	for (unsigned i = 0; i < MEM_LINE; i += 16)
		_mm_stream_si128((void *)(to + i), _mm_loadu_si128((const void *)(from + i)));
#else
	memcpy(to, from, MEM_LINE);
#endif
}

/* The same around the caches: to is the beginning of a line. */
static inline void mem_store(uint8_t *to, const uint8_t *from, size_t length, struct mem_next next)
{
	size_t lines = mem_whole_lines(length), first = lines - mem_last(lines, next);

	for (size_t at = 0; at < first; at += MEM_LINE)
		mem_store_line(to + at, from + at);
	for (size_t at = first; at < lines; at += MEM_LINE) {
		__builtin_prefetch(next.from + (at - first), 0, 0);
		mem_store_line(to + at, from + at);
	}
	memcpy(to + lines, from + lines, length - lines);
}

#endif
