/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block nodes: opening, closing, and the interface of a backend ("driver"). Requests go through
 * ob_block_submit() of outboard/block.h, which checks them before a driver sees them.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdint.h>

#include "base/log.h"
#include "base/opts.h"
#include "loop/loop.h"
#include "outboard/block.h"
#include "outboard/error.h"
#include "outboard/prop.h"

struct block_stats {
	uint64_t requests[5], bytes[5], errors[5]; /* by enum ob_block_op */
};

/* What each node begins with; a driver's own struct embeds it first. */
struct ob_block {
	const struct block_driver *driver;
	struct ob_block_info info;
	struct ob_loop *loop;
	struct log log;
	char name[64];
	unsigned in_flight;
	struct block_stats stats;
	void *props; /* of the driver's table */
};

struct block_driver {
	const char *name; /* as in `-blockdev driver=NAME` */
	const char *summary;
	size_t node_size, props_size;
	const struct ob_prop *props;
	/* Fills block->info. 0 or -errno with a message; nothing is left behind on failure. */
	int (*open)(struct ob_block *block, struct ob_error *err);
	void (*close)(struct ob_block *block); /* nothing is in flight */
	int (*submit)(struct ob_block *block, struct ob_block_request *request);
	/* Optional. As block_resize(), which has checked size and sets info.size afterwards. */
	int (*resize)(struct ob_block *block, uint64_t size, struct ob_error *err);
};

/* Built in: "mem", "null", "file"; ended by NULL. */
const struct block_driver *const *block_drivers(void);

/*
 * Opens a node. Takes driver, node-name and the driver's properties out of opts and refuses the
 * rest. NULL with a message.
 */
struct ob_block *block_open(struct ob_loop *loop, const struct log *log, struct opts *opts,
                            struct ob_error *err);

/* Nothing is in flight. Flushes nothing by itself. */
void block_close(struct ob_block *block);

/*
 * Grows or shrinks the storage to size bytes; what is new reads as zeroes. Whoever uses the node is
 * told by the caller. 0, -ENOTSUP, -EROFS, -EINVAL (no multiple of 512, or of what direct I/O
 * needs), -EBUSY (shrinks while requests are in flight), or the storage's own error; with a
 * message. Nothing has changed then.
 */
int block_resize(struct ob_block *block, uint64_t size, struct ob_error *err);

/*
 * Memory of length bytes at base that requests on this loop may be about, in a while: a backend may
 * prepare for that. It must be taken back before it goes away, and no request may be about it then.
 */
void block_memory_add(struct ob_loop *loop, void *base, size_t length);
void block_memory_remove(struct ob_loop *loop, void *base);

/* For drivers: the request is done; calls request->done. Only for one that is under way. */
void block_complete(struct ob_block_request *request, int status);

#endif
