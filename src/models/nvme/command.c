/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands: where they come from, how they end, and what becomes of them when the controller is
 * reset or the device is quiesced.
 *
 * They are allocated in chunks, as many as are in flight at a time and never more than a bound, and
 * used again, the last one first: nothing is allocated per command once a queue runs.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

struct nvme_chunk {
	struct nvme_chunk *next;
	struct nvme_cmd cmds[NVME_COMMAND_CHUNK];
};

struct nvme_page {
	union {
		struct nvme_page *next;
		uint8_t bytes[NVME_PAGE];
	};
};

/* What queues wait for has come back: commands, or a page. */
static void wake_starved(struct nvme *n)
{
	if (!n->starved)
		return;
	n->starved = false;
	for (unsigned i = 0; i <= n->props->num_queues; i++)
		nvme_sq_ready(&n->sqs[i]);
}

uint8_t *nvme_page_get(struct nvme *n)
{
	struct nvme_page *page = n->pages;

	if (!page) {
		page = malloc(sizeof(*page));
		return page ? page->bytes : NULL;
	}
	n->pages = page->next;
	n->spare_pages--;
	return page->bytes;
}

void nvme_page_put(struct nvme *n, uint8_t *bytes)
{
	struct nvme_page *page = (struct nvme_page *)bytes;

	wake_starved(n);
	if (n->spare_pages >= NVME_SPARE_PAGES) {
		free(page);
		return;
	}
	page->next = n->pages;
	n->pages = page;
	n->spare_pages++;
}

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
		nvme_link_init(&cmd->turn_link);
		nvme_link_add(&n->free, &cmd->link);
	}
	n->allocated += NVME_COMMAND_CHUNK;
}

int nvme_cmds_init(struct nvme *n)
{
	uint8_t *page = nvme_page_get(n);

	if (!page)
		return -ENOMEM;
	nvme_page_put(n, page);
	add_chunk(n);
	return nvme_link_empty(&n->free) ? -ENOMEM : 0;
}

/*
 * A queue's share of the commands: all of them for a single queue, at least a few for each of many.
 * The admin queue has a few that nobody else may take, so that it works whatever the others do.
 */
bool nvme_cmd_make_available(struct nvme *n, unsigned sqid)
{
	if (n->in_use >= nvme_cmd_bound(sqid)) {
		n->starved = true;
		return false;
	}
	if (nvme_link_empty(&n->free))
		add_chunk(n);
	if (nvme_link_empty(&n->free))
		n->starved = true;
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
	cmd->phase = NVME_WORKING;
	cmd->ns = NULL;
	cmd->lba = 0;
	nvme_link_add(&sq->commands, &cmd->link);
	sq->in_flight++;
	return cmd;
}

void nvme_cmd_free(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;

	nvme_format_end(cmd);
	nvme_data_release(cmd);
	nvme_link_del(&cmd->turn_link);
	nvme_link_del(&cmd->link);
	nvme_link_add(&n->free, &cmd->link);
	n->in_use--;
	wake_starved(n);
}

static int start_special(struct nvme_cmd *cmd)
{
	if (cmd->nvme->trace)
		nvme_trace_command(cmd);
	if (cmd->dw[0] & NVME_CDW0_FUSE)
		return NVME_INVALID_FIELD;
	return cmd->sqid ? nvme_io(cmd) : nvme_admin(cmd);
}

void nvme_cmd_start(struct nvme_cmd *cmd)
{
	int status;

	cmd->phase = NVME_WORKING;
	cmd->result = 0;
	cmd->step = 0;
	/* One branch for both: fused operations are not offered, and traces are rare. */
	if (__builtin_expect((cmd->dw[0] | cmd->nvme->trace) & NVME_CDW0_FUSE, 0))
		status = start_special(cmd);
	else
		status = cmd->sqid ? nvme_io(cmd) : nvme_admin(cmd);
	nvme_complete(cmd, status);
}

void nvme_cmd_suspend(struct nvme_cmd *cmd)
{
	nvme_format_end(cmd);
	nvme_data_release(cmd);
	cmd->phase = NVME_SUSPENDED;
}

void nvme_cmd_yield(struct nvme_cmd *cmd, void (*again)(struct nvme_cmd *cmd))
{
	cmd->phase = NVME_YIELDED;
	cmd->again = again;
	nvme_link_add(&cmd->nvme->yielded, &cmd->turn_link);
	nvme_schedule(cmd->nvme);
}

/* Whether trying the same command once more may succeed (4.6.1.2, Do Not Retry). */
static bool is_permanent(int status)
{
	switch (status) {
	case NVME_DATA_TRANSFER_ERROR:
	case NVME_INTERNAL_ERROR:
	case NVME_ABORT_REQUESTED:
	case NVME_ABORT_SQ_DELETION:
	case NVME_FORMAT_IN_PROGRESS:
	case NVME_CAPACITY_EXCEEDED:
	case NVME_WRITE_FAULT:
	case NVME_READ_ERROR:
		return false;
	default:
		return true;
	}
}

/*
 * A Fabrics command is how some tools find out whether this is a controller over fabrics. It is
 * refused, and no entry of the error log: monitors raise an alarm when that becomes longer.
 */
static int error_status(struct nvme_cmd *cmd, int status)
{
	if (is_permanent(status))
		status |= NVME_DNR;
	if (status == NVME_ABORT_REQUESTED || status == NVME_ABORT_SQ_DELETION)
		return status;
	if (!cmd->sqid && nvme_opcode(cmd) == NVME_ADMIN_FABRICS)
		return status;
	status |= NVME_MORE;
	nvme_log_error(cmd->nvme, cmd, cmd->sqid, (uint16_t)status);
	return status;
}

void nvme_complete(struct nvme_cmd *cmd, int status)
{
	struct nvme *n = cmd->nvme;
	struct nvme_sq *sq = &n->sqs[cmd->sqid];
	struct nvme_cq *cq = &n->cqs[cmd->cqid];

	if (status == NVME_PENDING)
		return;
	nvme_format_end(cmd);
	nvme_data_release(cmd);
	cmd->status = (uint16_t)(status ? error_status(cmd, status) : 0);
	cmd->phase = NVME_COMPLETED;
	if (__builtin_expect(n->trace, 0))
		nvme_trace_completion(cmd);
	nvme_link_del(&cmd->link);
	nvme_link_add(&cq->pending, &cmd->link);
	sq->in_flight--;
	n->unposted++;
	nvme_cq_post(cq);
	if (sq->deleter && !sq->in_flight)
		nvme_sq_drained(sq);
	else
		nvme_sq_ready(sq);
}

/* Whether a command may be put back or dropped now; if not, a drive still works on it. */
static bool stop_waiting(struct nvme_cmd *cmd)
{
	switch (cmd->phase) {
	case NVME_BLOCK:
		return false;
	case NVME_LISTING:
		ob_dma_cancel(cmd->nvme->dev, &cmd->op);
		return true;
	default:
		return true;
	}
}

static void stop_one(struct nvme_cmd *cmd, bool drop)
{
	struct nvme_sq *sq = &cmd->nvme->sqs[cmd->sqid];
	bool waits_for_others = cmd->phase == NVME_WORKING;

	if (!stop_waiting(cmd)) {
		cmd->dropped = drop;
		if (drop) {
			nvme_link_del(&cmd->link);
			sq->in_flight--;
		}
	} else if (drop) {
		sq->in_flight--;
		nvme_cmd_free(cmd);
	} else if (!waits_for_others) {
		nvme_link_del(&cmd->turn_link);
		nvme_cmd_suspend(cmd);
	}
}

void nvme_cmds_stop(struct nvme *n, bool drop)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		struct nvme_link *ring = &n->sqs[i].commands;

		for (struct nvme_link *at = ring->next, *next; at != ring; at = next) {
			next = at->next;
			stop_one(nvme_cmd_of(at), drop);
		}
	}
}

void nvme_cmds_resume(struct nvme *n)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		struct nvme_link *ring = &n->sqs[i].commands;

		for (struct nvme_link *at = ring->next; at != ring; at = at->next) {
			if (nvme_cmd_of(at)->phase == NVME_SUSPENDED)
				nvme_cmd_yield(nvme_cmd_of(at), nvme_cmd_start);
		}
	}
}

void nvme_cmds_free(struct nvme *n)
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
	while (n->pages) {
		struct nvme_page *page = n->pages;

		n->pages = page->next;
		free(page);
	}
}
