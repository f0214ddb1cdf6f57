/* SPDX-License-Identifier: BSD-3-Clause */
/* Submission queues (NVMe 1.4, 4.1): they come, have entries, and go. */
#include "internal.h"

void nvme_sq_kick(struct nvme_sq *sq)
{
	const struct nvme_sq_state *st = nvme_sq_state(sq);

	if (st->head == st->tail || st->deleting)
		return;
	ob_queue_kick(&sq->nvme->queues, sq->id);
}

void nvme_sq_open(struct nvme *n, unsigned id, uint64_t base, uint32_t entries, uint16_t cqid)
{
	n->state->sq[id] = (struct nvme_sq_state){.base = base, .entries = entries, .cqid = cqid};
	n->state->cq[cqid].users++;
	n->sq_count++;
	n->sqs[id].seen = 0;
	nvme_page_clear(n, id, false);
	ob_queue_add(&n->queues, id);
}

/* Ends a fetch under way: the entries stay in the queue. */
void nvme_sq_stop(struct nvme_sq *sq)
{
	if (!sq->fetching)
		return;
	ob_dma_cancel(sq->nvme->dev, &sq->op);
	sq->fetching = 0;
	nvme_page_put(sq->nvme, sq->page);
	sq->page = NULL;
}

/* Its commands were completed or dropped. */
void nvme_sq_close(struct nvme_sq *sq)
{
	struct nvme_state *s = sq->nvme->state;

	nvme_sq_stop(sq);
	ob_queue_index_stop(&sq->shadow);
	sq->deleter = NULL;
	s->cq[s->sq[sq->id].cqid].users--;
	sq->nvme->sq_count--;
	s->sq[sq->id] = (struct nvme_sq_state){0};
	ob_queue_remove(&sq->nvme->queues, sq->id);
	nvme_skips_clear(sq);
}
