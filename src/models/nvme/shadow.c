/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells in memory: in the page of BAR 0 that clients may map (mmap-doorbells=on), and in the
 * guest's shadow buffer (NVMe 1.4, 5.7 and B.5). A poll of all of them is a load for each
 * submission queue, and touches nothing that the guest writes next: no event index, and no head of
 * a completion queue unless there is no room in it or the pin waits for it. A shadow buffer that is
 * reached by messages is not polled: its indices are read after a kick.
 *
 * The value that was read last is remembered as it stood there, so that a value that makes no sense
 * is an error once and not at each poll.
 *
 * With both, the shadow is where values stand, and a write to the page is just a kick. A kick that
 * repeats the last one's value could not be told from none, so where the page is read for kicks
 * only (the shadow is reached by messages, or the queue is new), its word is set to a value that
 * no doorbell has. So it is when a queue is made.
 */
#include <errno.h>

#include "internal.h"

static uint32_t load_word(const uint32_t *place)
{
	return le32toh(__atomic_load_n(place, __ATOMIC_ACQUIRE));
}

/* The shadow buffer where it is mapped here; else NULL. */
static const uint32_t *shadow_words(struct nvme *n)
{
	const void *words;

	if (!n->state->shadow)
		return NULL;
	words = ob_dma_direct(n->dev, n->state->shadow_doorbells,
	                      (n->props->num_queues + 1) * UINT64_C(8), OB_DMA_FROM_CLIENT);
	return (uintptr_t)words & 3 ? NULL : words;
}

bool nvme_doorbells_can_poll(struct ob_queues *queues)
{
	struct nvme *n = ob_container_of(queues, struct nvme, queues);

	return n->page || shadow_words(n);
}

/* The completion queue of the same number is polled on this occasion: it is on the same line. */
static void suppress_pair(struct nvme *n, unsigned id, uint16_t tail_before, const uint32_t *shadow)
{
	const struct nvme_sq_state *sq = &n->state->sq[id];
	const struct nvme_cq_state *st = &n->state->cq[id];
	struct nvme_cq *cq = &n->cqs[id];

	if (nvme_distance(n->sqs[id].shadow.event, sq->tail, sq->entries) <= sq->entries / 4)
		return;
	ob_queue_index_suppress(&n->sqs[id].shadow, tail_before);
	if (!st->entries || cq->shadow.fresh || cq->shadow.state != OB_QUEUE_INDEX_IDLE ||
	    cq->full || n->irq_raised)
		return;
	nvme_cq_head_read(cq, load_word(shadow + (size_t)2 * id + 1));
	ob_queue_index_suppress(&cq->shadow, st->head ? st->head - 1 : (uint16_t)(st->entries - 1));
}

void nvme_doorbells_suppress(struct ob_queues *queues)
{
	struct nvme *n = ob_container_of(queues, struct nvme, queues);

	if (!shadow_words(n))
		return;
	for (unsigned i = 0; i <= n->props->num_queues / 64; i++) {
		for (uint64_t bits = n->queues.live[i]; bits; bits &= bits - 1) {
			unsigned id = i * 64 + (unsigned)__builtin_ctzll(bits);
			const struct nvme_sq_state *st = &n->state->sq[id];
			struct ob_queue_index *shadow = &n->sqs[id].shadow;

			if (!shadow->armed || shadow->fresh || shadow->state != OB_QUEUE_INDEX_IDLE)
				continue;
			ob_queue_index_suppress(shadow, st->tail ? st->tail - 1
			                                         : (uint16_t)(st->entries - 1));
		}
	}
}

static bool poll_sq(struct nvme *n, unsigned id, const uint32_t *shadow)
{
	struct nvme_sq *sq = &n->sqs[id];
	uint16_t before = n->state->sq[id].tail;
	uint32_t value;

	if (nvme_shadowed(n, id)) {
		if ((!shadow || sq->shadow.fresh) && !nvme_page_was_kicked(n, id, false)) {
			return false;
		} else if (!shadow) {
			sq->shadow.fresh = false;
			ob_queue_index_poll(&sq->shadow);
			return false;
		}
		sq->shadow.fresh = false;
		value = load_word(shadow + (size_t)2 * id);
	} else if (n->page) {
		if (!nvme_page_read(n, id, false, &value))
			return false;
	} else {
		return false;
	}
	if (!nvme_sq_tail_read(sq, value))
		return false;
	if (nvme_shadowed(n, id))
		suppress_pair(n, id, before, shadow);
	nvme_sq_kick(sq);
	return true;
}

static void poll_cq(struct nvme *n, unsigned id, bool unasked)
{
	struct nvme_cq *cq = &n->cqs[id];
	uint32_t value;

	if (nvme_shadowed(n, id)) {
		bool kicked = nvme_page_was_kicked(n, id, true);

		if (kicked)
			cq->shadow.fresh = false;
		if (kicked || unasked)
			ob_queue_index_poll(&cq->shadow);
	} else if (n->page) {
		if (nvme_page_read(n, id, true, &value))
			nvme_cq_head_read(cq, value);
	}
}

void nvme_cq_poll_room(struct nvme_cq *cq)
{
	poll_cq(cq->nvme, cq->id, true);
}

/* Only where somebody waits for the guest: no room, or the pin. */
static void poll_cqs(struct nvme *n, bool unasked)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		const struct nvme_cq_state *st = &n->state->cq[i];

		if (st->entries && (n->cqs[i].full || (n->irq_raised && st->irq)))
			poll_cq(n, i, unasked);
	}
}

void nvme_doorbells_arm(struct ob_queues *queues, unsigned id)
{
	struct nvme *n = ob_container_of(queues, struct nvme, queues);

	if (nvme_shadowed(n, id))
		ob_queue_index_poll(&n->sqs[id].shadow);
}

bool nvme_doorbells_poll(struct ob_queues *queues)
{
	struct nvme *n = ob_container_of(queues, struct nvme, queues);
	const uint32_t *shadow = shadow_words(n);
	bool found = false;

	for (unsigned i = 0; i <= n->props->num_queues / 64; i++) {
		for (uint64_t bits = n->queues.live[i]; bits; bits &= bits - 1)
			found |= poll_sq(n, i * 64 + (unsigned)__builtin_ctzll(bits), shadow);
	}
	if (n->full_count || n->irq_raised)
		poll_cqs(n, shadow);
	/* What is reached by messages is read after kicks only: polling or not, they are asked for.
	 */
	if (n->state->shadow && !shadow)
		ob_queues_arm(queues);
	return found;
}

/* The shadow as indices of the queue engine */

static bool index_running(const struct ob_queue_index *index)
{
	return nvme_running(ob_dev_runtime(index->dev));
}

static void index_failed(struct ob_queue_index *index, int error, uint64_t address)
{
	if (error != -ECANCELED)
		nvme_fatal(ob_dev_runtime(index->dev), "cannot reach a shadow doorbell", address);
}

static void sq_read(struct ob_queue_index *index, uint32_t value)
{
	struct nvme_sq *sq = ob_container_of(index, struct nvme_sq, shadow);

	if (nvme_sq_tail_read(sq, value))
		nvme_sq_kick(sq);
}

static bool sq_wants_kick(const struct ob_queue_index *index)
{
	const struct nvme_sq *sq = ob_container_of(index, const struct nvme_sq, shadow);
	const struct nvme_sq_state *st = nvme_sq_state(sq);

	return st->head == st->tail && !(sq->nvme->queues.poll.active && shadow_words(sq->nvme));
}

static uint32_t sq_event(const struct ob_queue_index *index)
{
	return nvme_sq_state(ob_container_of(index, const struct nvme_sq, shadow))->tail;
}

static void cq_read(struct ob_queue_index *index, uint32_t value)
{
	nvme_cq_head_read(ob_container_of(index, struct nvme_cq, shadow), value);
}

/* The head matters only while there is no room, or a level interrupt waits for its end. */
static bool cq_wants_kick(const struct ob_queue_index *index)
{
	const struct nvme_cq *cq = ob_container_of(index, const struct nvme_cq, shadow);
	const struct nvme_cq_state *st = nvme_cq_state(cq);

	return cq->full || (st->irq && st->head != st->tail && !ob_irq_is_message(index->dev));
}

static uint32_t cq_event(const struct ob_queue_index *index)
{
	return nvme_cq_state(ob_container_of(index, const struct nvme_cq, shadow))->head;
}

static const struct ob_queue_index_ops sq_index = {index_running, sq_read, sq_wants_kick, sq_event,
                                                   index_failed};
static const struct ob_queue_index_ops cq_index = {index_running, cq_read, cq_wants_kick, cq_event,
                                                   index_failed};

static void locate(struct nvme *n, struct ob_queue_index *index, unsigned qid, bool completion)
{
	uint64_t offset = qid * UINT64_C(8) + (completion ? 4 : 0);

	index->address = n->state->shadow_doorbells + offset;
	index->event_address = n->state->event_indices + offset;
}

void nvme_shadow_open_sq(struct nvme_sq *sq)
{
	nvme_page_clear(sq->nvme, sq->id, false);
	locate(sq->nvme, &sq->shadow, sq->id, false);
	ob_queue_index_open(&sq->shadow);
}

void nvme_shadow_open_cq(struct nvme_cq *cq)
{
	nvme_page_clear(cq->nvme, cq->id, true);
	locate(cq->nvme, &cq->shadow, cq->id, true);
	ob_queue_index_open(&cq->shadow);
}

void nvme_shadow_resume_sq(struct nvme_sq *sq)
{
	if (!nvme_shadowed(sq->nvme, sq->id))
		return;
	locate(sq->nvme, &sq->shadow, sq->id, false);
	ob_queue_index_resume(&sq->shadow);
}

void nvme_shadow_resume_cq(struct nvme_cq *cq)
{
	if (!nvme_shadowed(cq->nvme, cq->id))
		return;
	locate(cq->nvme, &cq->shadow, cq->id, true);
	ob_queue_index_resume(&cq->shadow);
}

void nvme_shadow_init(struct nvme *n)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		ob_queue_index_init(&n->sqs[i].shadow, n->dev, &sq_index, 4);
		ob_queue_index_init(&n->cqs[i].shadow, n->dev, &cq_index, 4);
	}
}
