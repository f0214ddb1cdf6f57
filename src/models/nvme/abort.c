/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Abort (NVMe 1.4, 5.1). What waits for the client's memory, or was not fetched yet, ends at once;
 * what a drive works on goes on, and the guest hears that it was not aborted.
 *
 * A command that is aborted in its queue completes while its entry stands there: the entry's place
 * is remembered until it is fetched, so that it is neither done nor completed again.
 */
#include <string.h>

#include "internal.h"

enum { LOOK_AHEAD = 1024 }; /* entries of a queue */

/* The event requests that wait are commands as well. */
static bool abort_event_request(struct nvme *n, uint16_t cid)
{
	struct nvme_state *s = n->state;

	for (unsigned i = 0; i < s->async_count; i++) {
		struct nvme_cmd *cmd;

		if (s->async_cids[i] != cid || !nvme_cmd_available(n, 0))
			continue;
		s->async_cids[i] = s->async_cids[--s->async_count];
		cmd = nvme_cmd_get(&n->sqs[0]);
		memset(cmd->dw, 0, sizeof(cmd->dw));
		cmd->dw[0] = (uint32_t)cid << 16 | NVME_ADMIN_ASYNC_EVENT;
		cmd->result = 0;
		nvme_complete(cmd, NVME_ABORT_REQUESTED);
		return true;
	}
	return false;
}

/* A command that waits for the client's memory or for its turn has done nothing yet. */
static bool abort_fetched(struct nvme_sq *sq, const struct nvme_cmd *aborter, uint16_t cid)
{
	for (struct nvme_link *at = sq->commands.next; at != &sq->commands; at = at->next) {
		struct nvme_cmd *cmd = nvme_cmd_of(at);

		if (cmd == aborter || nvme_cid(cmd) != cid)
			continue;
		if (cmd->wait == NVME_WAIT_LIST)
			ob_dma_cancel(sq->nvme->dev, &cmd->list_op);
		else if (cmd->wait != NVME_WAIT_BEGIN)
			return false;
		nvme_complete(cmd, NVME_ABORT_REQUESTED);
		return true;
	}
	return false;
}

/*
 * Where in the guest's queue the command stands that was not fetched yet, or -1. One that was
 * aborted already has ended, and its identifier may be another command's by now. Abort is best
 * effort (5.1): a command that stands further back than LOOK_AHEAD is not looked for.
 */
static int find_queued(struct nvme_sq *sq, uint16_t cid, uint32_t dw[])
{
	const struct nvme_sq_state *st = nvme_sq_state(sq);
	const struct nvme_state *s = sq->nvme->state;
	unsigned i = (st->head + sq->fetching) % st->entries, left = LOOK_AHEAD;

	ob_queues_work(&sq->nvme->queues, LOOK_AHEAD / NVME_WORK_ENTRIES);
	for (; i != st->tail && left--; i = i + 1u == st->entries ? 0 : i + 1) {
		const uint8_t *entry =
			ob_dma_direct(sq->nvme->dev, st->base + (uint64_t)i * NVME_SQE_SIZE,
		                      NVME_SQE_SIZE, OB_DMA_FROM_CLIENT);

		if (nvme_skip_find(s, sq->id, i) < s->skip_count)
			continue;
		if (!entry)
			return -1;
		dw[0] = ob_get_le32(entry);
		dw[1] = ob_get_le32(entry + 4);
		if (dw[0] >> 16 == cid)
			return (int)i;
	}
	return -1;
}

static bool abort_queued(struct nvme_sq *sq, uint16_t cid)
{
	struct nvme *n = sq->nvme;
	struct nvme_state *s = n->state;
	uint32_t dw[2];
	struct nvme_cmd *cmd;
	int index;

	if (s->skip_count == NVME_ABORTS || !nvme_cmd_available(n, 0))
		return false;
	index = find_queued(sq, cid, dw);
	if (index < 0)
		return false;
	s->skips[s->skip_count].sqid = sq->id;
	s->skips[s->skip_count++].index = (uint16_t)index;
	cmd = nvme_cmd_get(sq);
	memset(cmd->dw, 0, sizeof(cmd->dw));
	memcpy(cmd->dw, dw, sizeof(dw));
	cmd->result = 0;
	nvme_complete(cmd, NVME_ABORT_REQUESTED);
	return true;
}

int nvme_abort(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	unsigned sqid = cmd->dw[10] & 0xffff;
	uint16_t cid = (uint16_t)(cmd->dw[10] >> 16);
	struct nvme_sq *sq;

	/* Each is over when it was begun, so the limit on how many (ACL) is never reached. */
	cmd->result = 1;
	if (sqid > n->props->num_queues || !n->state->sq[sqid].entries)
		return 0;
	sq = &n->sqs[sqid];
	if (abort_fetched(sq, cmd, cid) || (!sqid && abort_event_request(n, cid)) ||
	    (sqid && abort_queued(sq, cid)))
		cmd->result = 0;
	return 0;
}
