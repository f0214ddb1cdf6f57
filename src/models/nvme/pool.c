/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of a controller: allocated in chunks, as many as are in flight at a time and never
 * more than a bound, and used again, the last one first. Nothing is allocated per command once a
 * queue runs.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

struct nvme_chunk {
	struct nvme_chunk *next;
	struct nvme_cmd cmds[NVME_COMMAND_CHUNK];
};

static void add_chunk(struct nvme *n)
{
	struct nvme_chunk *chunk = calloc(1, sizeof(*chunk));

	if (!chunk)
		return;
	chunk->next = n->chunks;
	n->chunks = chunk;
	for (unsigned i = 0; i < NVME_COMMAND_CHUNK; i++) {
		struct nvme_cmd *cmd = &chunk->cmds[i];

		cmd->nvme = n;
		cmd->ranges = cmd->inline_ranges;
		cmd->range_room = NVME_INLINE_RANGES;
		cmd->list_op.done = n->waits->list_read;
		cmd->xfer.ready = n->waits->xfer_ready;
		cmd->request.done = n->waits->request_done;
		nvme_link_init(&cmd->turn_link);
		nvme_link_add(&n->free, &cmd->link);
	}
	n->allocated += NVME_COMMAND_CHUNK;
}

int nvme_pool_init(struct nvme *n, const struct nvme_waits *waits)
{
	uint8_t *page = nvme_page_get(n);

	if (!page)
		return -ENOMEM;
	nvme_page_put(n, page);
	n->waits = waits;
	nvme_link_init(&n->free);
	add_chunk(n);
	return nvme_link_empty(&n->free) ? -ENOMEM : 0;
}

void nvme_pool_free(struct nvme *n)
{
	while (n->chunks) {
		struct nvme_chunk *chunk = n->chunks;

		n->chunks = chunk->next;
		for (unsigned i = 0; i < NVME_COMMAND_CHUNK; i++) {
			if (chunk->cmds[i].ranges != chunk->cmds[i].inline_ranges)
				free(chunk->cmds[i].ranges);
			free(chunk->cmds[i].iovs);
		}
		free(chunk);
	}
	nvme_pages_free(n);
}

/*
 * A queue's share of the commands: all of them for a single queue, at least a few for each of many.
 * The admin queue has a few that nobody else may take, so that it works whatever the others do.
 */
bool nvme_cmd_make_available(struct nvme *n, unsigned sqid)
{
	if (n->in_use >= nvme_cmd_bound(sqid)) {
		ob_queues_park(&n->queues);
		return false;
	}
	if (nvme_link_empty(&n->free))
		add_chunk(n);
	if (nvme_link_empty(&n->free))
		ob_queues_park(&n->queues);
	return !nvme_link_empty(&n->free);
}

struct nvme_cmd *nvme_cmd_get(struct nvme_sq *sq)
{
	struct nvme *n = sq->nvme;
	struct nvme_cmd *cmd = nvme_cmd_of(n->free.prev);

	nvme_link_del(&cmd->link);
	n->in_use++;
	cmd->sqid = sq->id;
	cmd->cqid = nvme_sq_state(sq)->cqid;
	cmd->dropped = false;
	cmd->has_xfer = false;
	cmd->wait = NVME_WAIT_NONE;
	cmd->op = NULL;
	cmd->ns = NULL;
	cmd->lba = 0;
	nvme_link_add(&sq->commands, &cmd->link);
	sq->in_flight++;
	return cmd;
}

static void release(struct nvme_cmd *cmd)
{
	if (cmd->claims)
		nvme_namespaces_release(cmd);
	nvme_data_release(cmd);
}

void nvme_cmd_free(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;

	release(cmd);
	nvme_link_del(&cmd->turn_link);
	nvme_link_del(&cmd->link);
	nvme_link_add(&n->free, &cmd->link);
	n->in_use--;
	ob_queues_unpark(&n->queues);
}

void nvme_cmd_suspend(struct nvme_cmd *cmd)
{
	release(cmd);
	cmd->wait = NVME_WAIT_RESUME;
}
