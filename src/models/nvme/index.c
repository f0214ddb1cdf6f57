/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The indices that the guest moves (NVMe 1.4, 3.1.24, 3.1.25 and 4.1): the tails of submission
 * queues and the heads of completion queues, from wherever it has written them. Each is checked
 * here.
 */
#include "internal.h"

static bool bad_value(struct nvme *n, const char *which, unsigned qid, uint32_t value)
{
	ob_dev_guest_error(n->dev, "invalid value %u for the doorbell of %s queue %u", value, which,
	                   qid);
	nvme_log_error(n, NULL, (uint16_t)qid, 0);
	nvme_event(n, NVME_EVENT_ERROR, NVME_ERROR_DOORBELL_VALUE, NVME_LOG_ERROR);
	return false;
}

bool nvme_sq_set_tail(struct nvme_sq *sq, uint32_t value)
{
	struct nvme_sq_state *st = nvme_sq_state(sq);
	uint32_t used = nvme_distance(st->head, st->tail, st->entries);

	if (value == st->tail)
		return false;
	/* One entry stays free, so that a full queue is not an empty one. */
	if (value >= st->entries ||
	    nvme_distance(st->tail, value, st->entries) > st->entries - 1 - used)
		return bad_value(sq->nvme, "submission", sq->id, value);
	st->tail = (uint16_t)value;
	sq->shadow.armed = false;
	return true;
}

/* Queues whose completions had no room may go on. */
static void wake_users(struct nvme_cq *cq)
{
	struct nvme *n = cq->nvme;

	cq->full = false;
	n->full_count--;
	ob_queue_complete(&n->queues, cq->id);
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		if (n->state->sq[i].entries && n->state->sq[i].cqid == cq->id)
			nvme_sq_kick(&n->sqs[i]);
	}
}

bool nvme_cq_set_head(struct nvme_cq *cq, uint32_t value)
{
	struct nvme_cq_state *st = nvme_cq_state(cq);

	if (value == st->head)
		return false;
	if (value >= st->entries || nvme_distance(st->head, value, st->entries) >
	                                    nvme_distance(st->head, st->tail, st->entries))
		return bad_value(cq->nvme, "completion", cq->id, value);
	st->head = (uint16_t)value;
	cq->shadow.armed = false;
	if (cq->full)
		wake_users(cq);
	nvme_irq_consumed(cq->nvme);
	return true;
}

bool nvme_sq_tail_read(struct nvme_sq *sq, uint32_t value)
{
	if (value == sq->seen)
		return false;
	sq->seen = value;
	return nvme_sq_set_tail(sq, value);
}

bool nvme_cq_head_read(struct nvme_cq *cq, uint32_t value)
{
	if (value == cq->seen)
		return false;
	cq->seen = value;
	return nvme_cq_set_head(cq, value);
}
