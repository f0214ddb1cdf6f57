/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is on stable storage, and what may not be: flushes, and writes with FUA.
 *
 * A sync is a call that says so: fdatasync(), and a write with RWF_DSYNC. Linux tells an open file
 * of a write-back that failed just once, by whichever sync asks first, and drops what it could not
 * write: all later syncs succeed. A device may do the same with what its own cache held. So the
 * answer that one sync gets is about what others promise as well:
 *
 * - With the page cache, a sync that failed is the answer to all flushes that follow, until the
 *   node is opened anew.
 * - With direct I/O there is nothing of ours to drop, and the device is asked anew each time. But a
 *   write with FUA may have taken the device's word for a flush: the next flush fails too.
 * - Of two syncs at a time, the one that is seen to end first may be the one that was told nothing.
 *   So one that succeeded waits until those that were under way with it have ended, and fails if
 *   any of them did. With direct I/O, only flushes wait.
 */
#include <errno.h>

#include "file.h"

void file_sync_init(struct file_node *node)
{
	list_init(&node->syncs);
	list_init(&node->synced);
}

void file_sync_begin(struct file_node *node, struct file_io *io)
{
	/* A short write goes on, and is one sync still. */
	if (!list_empty(&io->sync))
		return;
	io->sync_number = ++node->syncs_begun;
	io->sync_failures = node->sync_failures;
	list_append(&node->syncs, &io->sync);
}

/* Whether it was the write itself that failed, before anything was to be synced. */
static bool is_refused_write(const struct file_node *node, const struct ob_block_request *request,
                             int code)
{
	/* With the page cache, write-back may find out as well that there is no room. */
	if (request->op != OB_BLOCK_WRITE || !(node->direct || node->in_memory))
		return false;
	return file_status(code) == -ENOSPC;
}

static void note_failure(struct file_node *node, const struct ob_block_request *request, int code)
{
	if (is_refused_write(node, request, code))
		return;
	node->sync_failures++;
	node->sync_error = code;
	if (!node->direct)
		node->lost = file_status(code);
	else if (request->op != OB_BLOCK_FLUSH)
		node->owed = file_status(code);
}

static bool has_to_wait(const struct file_node *node, const struct file_io *io)
{
	return io->request->op == OB_BLOCK_FLUSH || !node->direct;
}

/* No sync that began before io ended is under way. */
static bool is_settled(const struct file_node *node, const struct file_io *io)
{
	const struct file_io *oldest = container_of(node->syncs.next, struct file_io, sync);

	return list_empty(&node->syncs) || oldest->sync_number > io->sync_until;
}

/* Only the last one may find the node closed by its caller. */
static void finish_all(struct file_node *node, struct list *ended)
{
	while (!list_empty(ended)) {
		struct file_io *io = container_of(ended->next, struct file_io, sync);
		bool failed = io->sync_failures != node->sync_failures;

		list_remove(&io->sync);
		file_io_finish(io, failed ? node->sync_error : 0);
	}
}

static void release_settled(struct file_node *node)
{
	struct list ended;
	struct file_io *io;

	list_init(&ended);
	list_for_each (io, &node->synced, struct file_io, sync) {
		if (!is_settled(node, io))
			break;
		list_remove(&io->sync);
		list_append(&ended, &io->sync);
	}
	finish_all(node, &ended);
}

void file_sync_drop(struct file_node *node, struct file_io *io)
{
	if (list_empty(&io->sync))
		return;
	list_remove(&io->sync);
	release_settled(node);
}

void file_sync_end(struct file_node *node, struct file_io *io, int code)
{
	list_remove(&io->sync);
	if (code)
		note_failure(node, io->request, code);
	io->sync_until = node->syncs_begun;
	if (!code && has_to_wait(node, io) && !is_settled(node, io)) {
		list_append(&node->synced, &io->sync);
		release_settled(node);
		return;
	}
	/* It keeps the node open for the others. */
	release_settled(node);
	if (!code && has_to_wait(node, io) && io->sync_failures != node->sync_failures)
		code = node->sync_error;
	file_io_finish(io, code);
}

int file_sync_refused(struct file_node *node, const struct ob_block_request *request, int code)
{
	node->sync_failures++;
	node->sync_error = code;
	node->lost = file_status(code);
	file_report(node, request, code);
	return node->lost;
}

int file_sync_owed(struct file_node *node)
{
	int owed = node->lost ? node->lost : node->owed;

	if (node->owed)
		log_warn(&node->block.log, "flush: fails, as a write with FUA did: what the device "
		                           "had in its cache may be lost");
	node->owed = 0;
	return owed;
}
