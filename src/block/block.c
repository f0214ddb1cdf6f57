/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block nodes: the table of drivers, and the one way in for requests.
 *
 * Everything that is the same for all drivers happens here: what a request may look like, counting,
 * and the promise that done is called once. A driver sees only requests that lie within the node,
 * whose iovecs add up, and that it is allowed to carry out.
 */
#include "block.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "drivers.h"

enum { MAX_IOVECS = 1024 };

const struct block_driver *const *block_drivers(void)
{
	static const struct block_driver *const drivers[] = {
		&block_mem, &block_null, &block_file, &block_raw, NULL,
	};

	return drivers;
}

const struct ob_block_info *ob_block_info(const struct ob_block *block)
{
	return &block->info;
}

const char *ob_block_name(const struct ob_block *block)
{
	return block->name;
}

static bool modifies(const struct ob_block_request *request)
{
	return request->op == OB_BLOCK_WRITE || request->op == OB_BLOCK_DISCARD ||
	       request->op == OB_BLOCK_WRITE_ZEROES;
}

static int check_iovecs(const struct ob_block_request *request)
{
	uint64_t sum = 0;

	if (request->iovcnt > MAX_IOVECS)
		return -EINVAL;
	for (unsigned i = 0; i < request->iovcnt; i++) {
		if (!checked_add(sum, request->iov[i].iov_len, &sum))
			return -EINVAL;
	}
	return sum == request->length ? 0 : -EINVAL;
}

static int check(const struct ob_block *block, const struct ob_block_request *request)
{
	uint64_t mask = block->info.block_size - 1;

	if (block->inactive)
		return -EPERM;
	if (request->op == OB_BLOCK_FLUSH)
		return 0;
	if (block->info.read_only && modifies(request))
		return -EROFS;
	if ((request->offset | request->length) & mask)
		return -EINVAL;
	if (!range_within(request->offset, request->length, block->info.size))
		return -ENOSPC;
	if (request->op == OB_BLOCK_READ || request->op == OB_BLOCK_WRITE)
		return check_iovecs(request);
	return 0;
}

static void count(struct ob_block *block, const struct ob_block_request *request, int status)
{
	struct block_stats *stats = &block->stats;

	stats->requests[request->op]++;
	if (status)
		stats->errors[request->op]++;
	else if (request->op != OB_BLOCK_FLUSH)
		stats->bytes[request->op] += request->length - request->left;
	if (request->started) {
		stats->timed[request->op]++;
		stats->total_ns[request->op] += ob_loop_now() - request->started;
	}
}

/* Reads and writes are many and short: a sample says as much. */
static bool is_timed(const struct ob_block *block, const struct ob_block_request *request)
{
	return request->op > OB_BLOCK_WRITE ||
	       block->stats.requests[request->op] % BLOCK_TIMED_EVERY == 0;
}

uint64_t block_stats_time(const struct block_stats *stats, enum ob_block_op op)
{
	uint64_t timed = stats->timed[op];

	return timed ? (uint64_t)((double)stats->total_ns[op] / (double)timed *
	                          (double)stats->requests[op])
	             : 0;
}

/* From a node down to its storage. The nodes below have no other user, and allow no less. */
static int submit(struct ob_block *block, struct ob_block_request *request)
{
	int rc;

	if (block->adjusts && block_adjust(block, request)) {
		count(block, request, 0);
		return 0;
	}
	request->block = block;
	block->in_flight++;
	rc = block->below ? submit(block->below, request) : block->driver->submit(block, request);
	if (rc == -EINPROGRESS)
		return rc;
	block->in_flight--;
	count(block, request, rc);
	return rc;
}

int ob_block_submit(struct ob_block *block, struct ob_block_request *request)
{
	int rc;

	if ((unsigned)request->op > OB_BLOCK_WRITE_ZEROES)
		return -EINVAL;
	request->started = 0;
	request->left = 0;
	rc = check(block, request);
	if (!rc && (request->length || request->op == OB_BLOCK_FLUSH)) {
		request->next = NULL;
		request->progress = 0;
		request->bounce = NULL;
		if (is_timed(block, request))
			request->started = ob_loop_now();
		return submit(block, request);
	}
	count(block, request, rc);
	return rc;
}

void ob_block_expect(struct ob_block *block, const struct ob_block_hint *hint)
{
	block = block_storage(block);
	if (block->driver->expect && hint->length &&
	    range_within(hint->offset, hint->length, block->info.size))
		block->driver->expect(block, hint);
}

void block_complete(struct ob_block_request *request, int status)
{
	for (struct ob_block *block = request->block; block; block = block->above) {
		block_put(block);
		count(block, request, status);
	}
	request->done(request, status);
}
