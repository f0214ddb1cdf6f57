/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A node's storage is given up, so that another process can take it, and taken back.
 *
 * Only the lowest node has storage; those above it are as active as it is. A lock, a look at the
 * size, another descriptor of a device: each may take as long as the storage likes, so that a
 * helper thread does it. The node is inactive meanwhile, which keeps everybody else from it, and
 * counts as in flight, which keeps it from being closed.
 */
#include <errno.h>

#include "base/list.h"
#include "block.h"
#include "drivers.h"

static void set_inactive(struct ob_block *block, bool inactive)
{
	for (; block; block = block->below)
		block->inactive = inactive;
}

/* On the loop: what is there of the storage, but in the node. */
static void forget(struct ob_block *block)
{
	struct ob_block *storage = block_storage(block);

	if (storage->driver->forget)
		storage->driver->forget(storage);
}

static void inactivate(struct ob_block *block)
{
	struct ob_block *storage = block_storage(block);

	if (storage->driver->inactivate)
		storage->driver->inactivate(storage);
}

static int activate(struct ob_block *block, const atomic_bool *stop, struct ob_error *err)
{
	struct ob_block *storage = block_storage(block);
	int rc = 0;

	if (storage->driver->activate)
		rc = storage->driver->activate(storage, stop, err);
	return rc ? ob_error_prefix(err, rc, "block node '%s'", block->name) : 0;
}

void block_inactivate(struct ob_block *block)
{
	if (block->inactive)
		return;
	set_inactive(block, true);
	forget(block);
	inactivate(block);
}

int block_activate(struct ob_block *block, struct ob_error *err)
{
	int rc = block->inactive ? activate(block, NULL, err) : 0;

	if (!rc)
		set_inactive(block, false);
	return rc;
}

static void run_handover(struct loop_job *job)
{
	struct block_handover *handover = container_of(job, struct block_handover, job);

	if (handover->activate)
		handover->status = activate(handover->block, &handover->stop, &handover->why);
	else
		inactivate(handover->block);
}

static void handover_done(struct loop_job *job)
{
	struct block_handover *handover = container_of(job, struct block_handover, job);
	struct ob_block *block = handover->block;

	if (handover->activate && !handover->status)
		set_inactive(block, false);
	block_put(block);
	handover->done(handover);
}

static int start(struct ob_block *block, struct block_handover *handover, bool activate)
{
	block->in_flight++;
	handover->block = block;
	handover->activate = activate;
	handover->status = 0;
	handover->job = (struct loop_job){
		.work = run_handover, .done = handover_done, .lane = LOOP_LANE_STORAGE};
	atomic_store(&handover->stop, false);
	loop_offload(block->loop, &handover->job);
	return -EINPROGRESS;
}

int block_start_inactivate(struct ob_block *block, struct block_handover *handover)
{
	if (block->inactive || !block_may_sleep(block)) {
		block_inactivate(block);
		return 0;
	}
	set_inactive(block, true);
	forget(block);
	return start(block, handover, false);
}

int block_start_activate(struct ob_block *block, struct block_handover *handover)
{
	if (block->inactive && block_may_sleep(block))
		return start(block, handover, true);
	return block_activate(block, &handover->why);
}

void block_handover_stop(struct block_handover *handover)
{
	atomic_store(&handover->stop, true);
}
