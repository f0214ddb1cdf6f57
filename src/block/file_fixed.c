/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that is registered with the rings ("fixed buffers"), so that the kernel need not
 * find and hold its pages for each request.
 *
 * Registered memory is pinned, and pinning takes time and is limited (RLIMIT_MEMLOCK). So it is
 * done in pieces, each when the first request lies in it, and only for nodes that ask for it. Where
 * it is refused, or a request crosses the edge of a piece, requests work without.
 */
#include <errno.h>
#include <stdlib.h>

#include "file.h"

enum {
	PIECE = 16 << 20,    /* about a millisecond to pin */
	RANGE_MIN = 1 << 20, /* not worth it below that */
	RANGES = 64,
	/* What stands for a piece's buffer. */
	UNTRIED = 0,
	REFUSED = -1,
	FIRST = 1,
};

struct file_range {
	uint8_t *base;
	size_t length;
	int16_t *pieces[URING_KINDS]; /* NULL until needed */
};

static size_t piece_count(const struct file_range *range)
{
	return (range->length + PIECE - 1) / PIECE;
}

void block_memory_add(struct ob_loop *loop, void *base, size_t length)
{
	struct file_shared *shared = file_shared_find(loop);

	if (!shared || length < RANGE_MIN || shared->range_count == RANGES)
		return;
	if (!shared->ranges)
		shared->ranges = calloc(RANGES, sizeof(*shared->ranges));
	if (shared->ranges)
		shared->ranges[shared->range_count++] =
			(struct file_range){.base = base, .length = length};
}

static void drop(struct file_shared *shared, struct file_range *range)
{
	for (unsigned kind = 0; kind < URING_KINDS; kind++) {
		struct engine *engine = shared->uring[kind];

		for (size_t i = 0; range->pieces[kind] && i < piece_count(range); i++) {
			if (range->pieces[kind][i] >= FIRST)
				engine->remove_buffer(engine, range->pieces[kind][i] - FIRST);
		}
		free(range->pieces[kind]);
	}
}

void block_memory_remove(struct ob_loop *loop, void *base)
{
	struct file_shared *shared = file_shared_find(loop);

	for (unsigned i = 0; shared && i < shared->range_count; i++) {
		if (shared->ranges[i].base != base)
			continue;
		drop(shared, &shared->ranges[i]);
		shared->ranges[i] = shared->ranges[--shared->range_count];
		return;
	}
}

void file_fixed_free(struct file_shared *shared)
{
	for (unsigned i = 0; i < shared->range_count; i++) {
		for (unsigned kind = 0; kind < URING_KINDS; kind++)
			free(shared->ranges[i].pieces[kind]);
	}
	free(shared->ranges);
}

static struct file_range *find(struct file_shared *shared, const struct iovec *iov)
{
	for (unsigned i = 0; i < shared->range_count; i++) {
		struct file_range *range = &shared->ranges[i];
		size_t at = (uintptr_t)iov->iov_base - (uintptr_t)range->base;

		if (at < range->length && iov->iov_len <= range->length - at)
			return range;
	}
	return NULL;
}

static int16_t add(struct engine *engine, const struct file_range *range, size_t piece)
{
	size_t at = piece * PIECE, left = range->length - at;
	int buffer = -1;

	if (engine && engine->add_buffer)
		buffer = engine->add_buffer(engine, range->base + at, left < PIECE ? left : PIECE);
	return (int16_t)(buffer < 0 ? REFUSED : buffer + FIRST);
}

int file_fixed(struct file_shared *shared, unsigned kind, const struct iovec *iov)
{
	struct file_range *range = find(shared, iov);
	size_t at, piece;
	int16_t *pieces;

	if (!range || !iov->iov_len)
		return -1;
	at = (size_t)((uint8_t *)iov->iov_base - range->base);
	piece = at / PIECE;
	if (piece != (at + iov->iov_len - 1) / PIECE)
		return -1;
	if (!range->pieces[kind])
		range->pieces[kind] = calloc(piece_count(range), sizeof(int16_t));
	pieces = range->pieces[kind];
	if (!pieces)
		return -1;
	if (pieces[piece] == UNTRIED)
		pieces[piece] = add(shared->uring[kind], range, piece);
	return pieces[piece] < FIRST ? -1 : pieces[piece] - FIRST;
}
