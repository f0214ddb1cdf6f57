/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbell registers (NVMe 1.4, 3.1.24 and 3.1.25), and the eventfds in their place. A doorbell is
 * the queue's new tail or head; with shadow doorbells (5.7) it says only that the shadow has one.
 */
#include "internal.h"

/* In the page, the value stands already: the next poll finds nothing new there. */
static void ring_sq(struct nvme_sq *sq, uint32_t value)
{
	sq->shadow.fresh = false;
	if (nvme_shadowed(sq->nvme, sq->id)) {
		ob_queue_index_poll(&sq->shadow);
		return;
	}
	sq->seen = value;
	if (nvme_sq_set_tail(sq, value))
		nvme_sq_kick(sq);
}

static void ring_cq(struct nvme_cq *cq, uint32_t value)
{
	cq->shadow.fresh = false;
	if (nvme_shadowed(cq->nvme, cq->id)) {
		ob_queue_index_poll(&cq->shadow);
		return;
	}
	cq->seen = value;
	nvme_cq_set_head(cq, value);
}

void nvme_doorbell(struct nvme *n, unsigned index, uint32_t value)
{
	const struct nvme_state *s = n->state;
	unsigned qid = index / 2;
	bool completion = index & 1;

	if ((s->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) != NVME_CSTS_RDY || n->disabling) {
		ob_dev_guest_error(n->dev, "doorbell %u rung while the controller is not ready",
		                   index);
		return;
	}
	if (qid > n->props->num_queues || !(completion ? s->cq[qid].entries : s->sq[qid].entries)) {
		ob_dev_guest_error(n->dev, "doorbell of %s queue %u, which does not exist",
		                   completion ? "completion" : "submission", qid);
		nvme_log_error(n, NULL, (uint16_t)qid, 0);
		nvme_event(n, NVME_EVENT_ERROR, NVME_ERROR_DOORBELL_REGISTER, NVME_LOG_ERROR);
		return;
	}
	/* Bits 31:16 are reserved. */
	if (completion)
		ring_cq(&n->cqs[qid], value & 0xffff);
	else
		ring_sq(&n->sqs[qid], value & 0xffff);
}

void nvme_doorbell_kicked(struct nvme *n, unsigned index)
{
	/* The guest wrote the shadow, or the page, before it kicked: the value stands there. */
	if (nvme_shadowed(n, index / 2))
		nvme_doorbell(n, index, 0);
	else if (n->page && nvme_running(n))
		nvme_doorbells_poll(&n->queues);
	else
		ob_dev_guest_error(n->dev,
		                   "doorbell %u rung by an eventfd: its value is lost, as the "
		                   "guest uses no shadow doorbells (ioeventfds=off helps)",
		                   index);
}
