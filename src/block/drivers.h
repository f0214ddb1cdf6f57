/* SPDX-License-Identifier: BSD-3-Clause */
/* The drivers that are built in; see block.h for what a driver is. */
#ifndef BLOCK_DRIVERS_H
#define BLOCK_DRIVERS_H

#include "block/block.h"

enum { BLOCK_SECTOR = 512 };

extern const struct block_driver block_mem, block_null, block_file, block_raw;

/* Whether size is a multiple of 512 and not 0; otherwise -EINVAL with a message about size=. */
int block_check_size(uint64_t size, struct ob_error *err);

/*
 * adjust.c. After open: 0, or -EINVAL with a message when the options contradict each other or the
 * node.
 */
int block_options_apply(struct ob_block *block, struct ob_error *err);

/* Makes of a request what the options say, for a node with adjusts set. True: it is done. */
bool block_adjust(struct ob_block *block, struct ob_block_request *request);

/*
 * openings.c. A node is about to be opened by a helper thread: 0, or -errno with a message, as too
 * many others are. It has ended: nodes for which that was not begun are left alone.
 */
int openings_begin(struct ob_block *block, struct ob_error *err);
void openings_end(struct ob_block *block);

/* Whether what has to do with the storage may let us wait. */
static inline bool block_may_sleep(struct ob_block *block)
{
	return block_storage(block)->driver->may_sleep;
}

/* What was counted as in flight has ended. */
static inline void block_put(struct ob_block *block)
{
	if (!--block->in_flight && block->idle) {
		ob_task_schedule(block->loop, block->idle);
		block->idle = NULL;
	}
}

#endif
