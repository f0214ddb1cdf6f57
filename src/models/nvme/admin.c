/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admin commands (NVMe 1.4, 5): which there are, and those that have no file of their own: Abort
 * and Doorbell Buffer Config.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static void page_sent(struct nvme_cmd *cmd)
{
	if (!nvme_cmd_page(cmd)) {
		nvme_complete(cmd, NVME_INTERNAL_ERROR);
		return;
	}
	memset(cmd->page, 0, NVME_PAGE);
	cmd->fill(cmd);
	nvme_data_copy(cmd, cmd->page, NVME_PAGE);
	nvme_data_end(cmd, 0, true);
}

int nvme_send_page(struct nvme_cmd *cmd, uint32_t length, void (*fill)(struct nvme_cmd *cmd))
{
	cmd->fill = fill;
	return nvme_map(cmd, length, OB_DMA_TO_CLIENT, page_sent);
}

/* Abort (5.1) */

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
		if (cmd->phase == NVME_LISTING)
			ob_dma_cancel(sq->nvme->dev, &cmd->op);
		else if (cmd->phase != NVME_BEGINNING)
			return false;
		nvme_complete(cmd, NVME_ABORT_REQUESTED);
		return true;
	}
	return false;
}

/* Where in the guest's queue the command stands that was not fetched yet, or -1. */
static int find_queued(struct nvme_sq *sq, uint16_t cid, uint32_t dw[])
{
	const struct nvme_sq_state *st = nvme_sq_state(sq);

	for (unsigned i = (st->head + sq->fetching) % st->entries; i != st->tail;
	     i = (i + 1) % st->entries) {
		const uint8_t *entry =
			ob_dma_direct(sq->nvme->dev, st->base + (uint64_t)i * NVME_SQE_SIZE,
		                      NVME_SQE_SIZE, OB_DMA_FROM_CLIENT);

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

/* Doorbell Buffer Config (5.7) */

static int doorbell_buffer(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	struct nvme_state *s = n->state;
	uint64_t shadow = nvme_dw64(cmd, 6), events = nvme_dw64(cmd, 8);

	if (!shadow || !events || (shadow | events) & (n->page_size - 1))
		return NVME_INVALID_FIELD;
	s->shadow = true;
	s->shadow_doorbells = shadow;
	s->event_indices = events;
	for (unsigned i = 1; i <= n->props->num_queues; i++) {
		if (s->sq[i].entries)
			nvme_shadow_open_sq(&n->sqs[i]);
		if (s->cq[i].entries)
			nvme_shadow_open_cq(&n->cqs[i]);
	}
	return 0;
}

static int (*find_handler(unsigned opcode))(struct nvme_cmd *cmd)
{
	switch (opcode) {
	case NVME_ADMIN_DELETE_SQ:
		return nvme_delete_sq;
	case NVME_ADMIN_CREATE_SQ:
		return nvme_create_sq;
	case NVME_ADMIN_GET_LOG:
		return nvme_get_log;
	case NVME_ADMIN_DELETE_CQ:
		return nvme_delete_cq;
	case NVME_ADMIN_CREATE_CQ:
		return nvme_create_cq;
	case NVME_ADMIN_IDENTIFY:
		return nvme_identify;
	case NVME_ADMIN_ABORT:
		return nvme_abort;
	case NVME_ADMIN_SET_FEATURES:
		return nvme_set_features;
	case NVME_ADMIN_GET_FEATURES:
		return nvme_get_features;
	case NVME_ADMIN_ASYNC_EVENT:
		return nvme_async_event;
	case NVME_ADMIN_DOORBELL_BUFFER:
		return doorbell_buffer;
	case NVME_ADMIN_FORMAT:
		return nvme_format;
	default:
		return NULL;
	}
}

int nvme_admin(struct nvme_cmd *cmd)
{
	int (*handler)(struct nvme_cmd * cmd) = find_handler(nvme_opcode(cmd));

	if (!handler)
		return NVME_INVALID_OPCODE;
	/* Over PCI Express, admin commands use PRPs (4.2). */
	if (cmd->dw[0] & NVME_CDW0_PSDT)
		return NVME_INVALID_FIELD;
	return handler(cmd);
}
