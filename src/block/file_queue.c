/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which requests to a file node may begin now, and which have to wait.
 *
 * Two things make a request wait. What nodes of a loop share may be taken, by others or by more
 * requests of the same node than are left for all others: then it waits in line with those of its
 * node, and nodes take turns. And a write that does not fill
 * whole blocks of the file may have to read, change and write back, which needs the node's other
 * writes out of the way, before it and while it is under way: then writes are held, in order, at
 * the node. Reads are never held: they have no say in what a block becomes.
 */
#include <errno.h>

#include "base/list.h"
#include "file.h"

void file_queue_init(struct file_queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static void append(struct file_queue *queue, struct ob_block_request *request)
{
	request->next = NULL;
	*queue->end = request;
	queue->end = &request->next;
}

static struct ob_block_request *take(struct file_queue *queue)
{
	struct ob_block_request *request = queue->first;

	if (request) {
		queue->first = request->next;
		if (!queue->first)
			queue->end = &queue->first;
	}
	return request;
}

static bool may_write(const struct file_node *node, bool exclusive)
{
	return !node->exclusive && (!exclusive || !node->writers);
}

/* Whether the request may turn into read-modify-write. */
static bool wants_exclusive(const struct file_node *node, const struct ob_block_request *request)
{
	return request->op != OB_BLOCK_DISCARD && file_misaligned(node, request);
}

/* Whether a node that has some of it leaves as much to others, with one more. */
static bool leaves_enough(unsigned has, unsigned used, unsigned all)
{
	return used < all && has < all - used;
}

static bool has_room(const struct file_node *node, const struct ob_block_request *request)
{
	static const unsigned all[FILE_SHARES] = {[FILE_SHARE_JOBS] = FILE_MAX_JOBS,
	                                          [FILE_SHARE_SLEEPS] = FILE_MAX_SLEEPS,
	                                          [FILE_SHARE_THREADS] = THREADS_MAX};
	const struct file_shared *shared = node->shared;
	unsigned shares = file_shares_of(node, request);

	for (unsigned i = 0; i < FILE_SHARES; i++) {
		if (shares & 1u << i && !leaves_enough(node->used[i], shared->used[i], all[i]))
			return false;
	}
	return !file_io_needs_bounce(node, request) ||
	       leaves_enough(node->bounces, shared->bounces, FILE_MAX_BOUNCES);
}

static int launch_or_wait(struct file_node *node, struct ob_block_request *request)
{
	if (!node->waiting.first && has_room(node, request))
		return file_io_begin(node, request);
	append(&node->waiting, request);
	if (list_empty(&node->waits))
		list_append(&node->shared->waiting, &node->waits);
	return -EINPROGRESS;
}

static int enter_writer(struct file_node *node, struct ob_block_request *request)
{
	int rc;

	node->writers++;
	node->exclusive = wants_exclusive(node, request);
	rc = launch_or_wait(node, request);
	if (rc != -EINPROGRESS) {
		node->writers--;
		node->exclusive = false;
	}
	return rc;
}

/* A write has ended: lets those in that it held. */
static void leave_writer(struct file_node *node)
{
	struct ob_block_request *request;

	node->writers--;
	node->exclusive = false;
	while ((request = node->held.first) && may_write(node, wants_exclusive(node, request))) {
		int rc;

		take(&node->held);
		rc = enter_writer(node, request);
		if (rc != -EINPROGRESS)
			block_complete(request, rc);
	}
}

/* The next of those that wait and may begin. Its node goes to the end of the line. */
static struct ob_block_request *take_waiting(struct file_shared *shared)
{
	struct file_node *node;

	list_for_each (node, &shared->waiting, struct file_node, waits) {
		if (!has_room(node, node->waiting.first))
			continue;
		list_remove(&node->waits);
		if (node->waiting.first->next)
			list_append(&shared->waiting, &node->waits);
		return take(&node->waiting);
	}
	return NULL;
}

/* Something has become free: lets those in that wait for it. */
static void wake_waiting(struct file_shared *shared)
{
	struct ob_block_request *request;

	while ((request = take_waiting(shared))) {
		struct file_node *node = file_node_of(request);
		int rc;

		rc = file_io_begin(node, request);
		if (rc == -EINPROGRESS)
			continue;
		if (file_modifies(request))
			leave_writer(node);
		block_complete(request, rc);
	}
}

/* Starts before it completes, so that a node of those that wait can't be gone. */
void file_queue_next(struct file_node *node, struct ob_block_request *request)
{
	struct file_shared *shared = node->shared;

	if (file_modifies(request))
		leave_writer(node);
	wake_waiting(shared);
}

/* Whether a discard covers no whole sector of the device, and so nothing. */
static bool discards_nothing(const struct file_node *node, const struct ob_block_request *request)
{
	uint64_t mask = node->sector - 1;

	if (!node->block.info.discard)
		return true;
	return node->is_device &&
	       ((request->offset + mask) & ~mask) >= ((request->offset + request->length) & ~mask);
}

int file_submit(struct ob_block *block, struct ob_block_request *request)
{
	struct file_node *node = container_of(block, struct file_node, block);

	bool may_begin = !file_modifies(request);
	int rc;

	if (request->op == OB_BLOCK_FLUSH) {
		rc = file_sync_owed(node);
		if (rc || block->info.read_only)
			return rc;
	}
	if (request->op == OB_BLOCK_DISCARD && discards_nothing(node, request))
		return 0;
	if (!may_begin)
		may_begin = !node->held.first && may_write(node, wants_exclusive(node, request));
	if (!may_begin) {
		append(&node->held, request);
		return -EINPROGRESS;
	}
	rc = file_inline(node, request);
	if (rc != -EINPROGRESS)
		return rc;
	return file_modifies(request) ? enter_writer(node, request) : launch_or_wait(node, request);
}
