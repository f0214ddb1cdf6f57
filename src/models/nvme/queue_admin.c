/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Create and Delete I/O Submission and Completion Queue (NVMe 1.4, 5.3 to 5.6), with every error
 * that these sections name, and Doorbell Buffer Config (5.7).
 */
#include "internal.h"

enum { PHYSICALLY_CONTIGUOUS = 1 << 0, INTERRUPTS_ENABLED = 1 << 1 };

/* What both kinds have in common. 0 or a status. */
static int check_new(const struct nvme_cmd *cmd, unsigned qid, bool exists)
{
	const struct nvme *n = cmd->nvme;
	uint32_t size = cmd->dw[10] >> 16;

	if (!qid || qid > n->props->num_queues || exists)
		return NVME_INVALID_QID;
	if (!size || size >= NVME_MAX_ENTRIES)
		return NVME_INVALID_QSIZE;
	/* CAP.CQR: a queue is one piece of memory. */
	if (!(cmd->dw[11] & PHYSICALLY_CONTIGUOUS))
		return NVME_INVALID_FIELD;
	if (nvme_dw64(cmd, 6) & (n->page_size - 1))
		return NVME_INVALID_PRP_OFFSET;
	return 0;
}

int nvme_create_cq(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	struct nvme_state *s = n->state;
	unsigned qid = cmd->dw[10] & 0xffff, vector = cmd->dw[11] >> 16;
	bool irq = cmd->dw[11] & INTERRUPTS_ENABLED;
	int status = check_new(cmd, qid, qid <= n->props->num_queues && s->cq[qid].entries);

	if (status)
		return status;
	if ((s->cc & NVME_CC_IOCQES) >> NVME_CC_IOCQES_SHIFT != NVME_CQES)
		return NVME_INVALID_QSIZE;
	/*
	 * One that is there but not in use at present is no error: with the pin, all queues share
	 * it, and messages may be enabled later.
	 */
	if (vector >= n->vectors)
		return NVME_INVALID_VECTOR;
	nvme_cq_open(n, qid, nvme_dw64(cmd, 6), (cmd->dw[10] >> 16) + 1, irq, (uint16_t)vector);
	if (nvme_shadowed(n, qid))
		nvme_shadow_open_cq(&n->cqs[qid]);
	return 0;
}

int nvme_create_sq(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	struct nvme_state *s = n->state;
	unsigned qid = cmd->dw[10] & 0xffff, cqid = cmd->dw[11] >> 16;
	int status = check_new(cmd, qid, qid <= n->props->num_queues && s->sq[qid].entries);

	if (!cqid || cqid > n->props->num_queues)
		status = status ? status : NVME_INVALID_QID;
	else if (!s->cq[cqid].entries)
		status = status ? status : NVME_INVALID_CQ;
	if (status)
		return status;
	if ((s->cc & NVME_CC_IOSQES) >> NVME_CC_IOSQES_SHIFT != NVME_SQES)
		return NVME_INVALID_QSIZE;
	nvme_sq_open(n, qid, nvme_dw64(cmd, 6), (cmd->dw[10] >> 16) + 1, (uint16_t)cqid);
	if (nvme_shadowed(n, qid))
		nvme_shadow_open_sq(&n->sqs[qid]);
	return 0;
}

int nvme_delete_cq(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	unsigned qid = cmd->dw[10] & 0xffff;

	if (!qid || qid > n->props->num_queues || !n->state->cq[qid].entries)
		return NVME_INVALID_QID;
	if (n->state->cq[qid].users)
		return NVME_INVALID_QUEUE_DELETION;
	nvme_cq_close(&n->cqs[qid]);
	return 0;
}

/* What did not reach a drive yet ends now; what did ends with the drive's answer. */
static void abort_commands(struct nvme_sq *sq)
{
	for (struct nvme_link *at = sq->commands.next, *next; at != &sq->commands; at = next) {
		struct nvme_cmd *cmd = nvme_cmd_of(at);

		next = at->next;
		if (cmd->wait == NVME_WAIT_DRIVE || cmd->wait == NVME_WAIT_END)
			continue;
		if (cmd->wait == NVME_WAIT_LIST)
			ob_dma_cancel(sq->nvme->dev, &cmd->list_op);
		nvme_link_del(&cmd->turn_link);
		nvme_complete(cmd, NVME_ABORT_SQ_DELETION);
	}
}

int nvme_delete_sq(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	unsigned qid = cmd->dw[10] & 0xffff;
	struct nvme_sq *sq = &n->sqs[qid <= n->props->num_queues ? qid : 0];

	if (!qid || qid > n->props->num_queues || !n->state->sq[qid].entries || sq->deleter)
		return NVME_INVALID_QID;
	n->state->sq[qid].deleting = true;
	abort_commands(sq);
	if (!sq->in_flight) {
		nvme_sq_close(sq);
		return 0;
	}
	sq->deleter = cmd;
	cmd->wait = NVME_WAIT_QUEUE;
	return NVME_PENDING;
}

/* Doorbell Buffer Config (5.7) */

int nvme_doorbell_buffer(struct nvme_cmd *cmd)
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
