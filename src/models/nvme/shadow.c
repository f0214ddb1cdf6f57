/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shadow doorbells (NVMe 1.4, 5.7 and B.5): the guest writes its doorbells to memory as well, and
 * rings a register only if the value passes the event index that we left in memory for it.
 *
 * So a look is: read the shadow; if there is nothing new, say by the event index that the next one
 * is to be rung for, and read once more, since the guest may have written in between. Reads and
 * writes may each take a message to the client; a queue has one look under way at a time.
 *
 * Completion queues are looked at only when it matters: while there is no room, and while a level
 * interrupt waits for its end.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static uint64_t place(const struct nvme *n, uint64_t buffer, unsigned qid, bool completion)
{
	return buffer + qid * UINT64_C(8) + (completion ? 4 : 0);
}

/*
 * A value that the guest changes at any time is read, and written, in one piece, wherever it has a
 * natural place: where that lies in our memory is up to the client.
 */
static uint32_t *word_at(struct nvme *n, uint64_t address, enum ob_dma_dir dir)
{
	void *direct = ob_dma_direct(n->dev, address, 4, dir);

	return (uintptr_t)direct & 3 ? NULL : direct;
}

static int load(struct nvme *n, struct nvme_shadow *shadow, uint64_t address)
{
	const uint32_t *direct = word_at(n, address, OB_DMA_FROM_CLIENT);

	if (!direct)
		return ob_dma_read(n->dev, address, shadow->bytes, 4, &shadow->op);
	ob_put_le32(shadow->bytes, le32toh(__atomic_load_n(direct, __ATOMIC_ACQUIRE)));
	return 0;
}

static int store(struct nvme *n, struct nvme_shadow *shadow, uint64_t address, uint32_t value)
{
	uint32_t *direct = word_at(n, address, OB_DMA_TO_CLIENT);
	int error = 0;

	ob_put_le32(shadow->bytes, value);
	if (direct)
		__atomic_store_n(direct, htole32(value), __ATOMIC_RELAXED);
	else
		error = ob_dma_write(n->dev, address, shadow->bytes, 4, &shadow->op);
	/* The event index before the next read of the shadow; the guest does it the other way. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return error;
}

static void failed(struct nvme *n, int error, uint64_t address)
{
	if (error != -ECANCELED)
		nvme_fatal(n, "cannot reach a shadow doorbell", address);
}

void nvme_shadow_stop(struct nvme *n, struct nvme_shadow *shadow)
{
	if (shadow->state != NVME_LOOK_NONE)
		ob_dma_cancel(n->dev, &shadow->op);
	shadow->state = NVME_LOOK_NONE;
	shadow->again = false;
	shadow->armed = false;
}

/* What the two kinds of queues do differently. */
struct looker {
	struct nvme *nvme;
	struct nvme_shadow *shadow;
	bool completion; /* cq is meant, and sq is NULL; otherwise the other way round */
	struct nvme_sq *sq;
	struct nvme_cq *cq;
};

static unsigned looker_id(const struct looker *l)
{
	return l->completion ? l->cq->id : l->sq->id;
}

static void take_value(const struct looker *l, uint32_t value)
{
	if (l->completion)
		nvme_cq_saw(l->cq, value);
	else if (nvme_sq_saw(l->sq, value))
		nvme_sq_ready(l->sq);
}

/* Whether to ask to be rung for what comes next. */
static bool wants_ring(const struct looker *l)
{
	const struct nvme_cq_state *cq;

	if (!l->completion)
		return nvme_sq_state(l->sq)->head == nvme_sq_state(l->sq)->tail &&
		       !nvme_shadow_is_polled(l->nvme);
	cq = nvme_cq_state(l->cq);
	return l->cq->full || (cq->irq && cq->head != cq->tail && !ob_irq_is_message(l->nvme->dev));
}

static uint32_t current(const struct looker *l)
{
	return l->completion ? nvme_cq_state(l->cq)->head : nvme_sq_state(l->sq)->tail;
}

/* The steps of a look. Each returns whether there is another one to do at once. */
static bool step_read(const struct looker *l)
{
	uint64_t address =
		place(l->nvme, l->nvme->state->shadow_doorbells, looker_id(l), l->completion);
	int error = load(l->nvme, l->shadow, address);

	l->shadow->state = NVME_LOOK_READ;
	if (error == -EINPROGRESS)
		return false;
	if (!error)
		return true;
	l->shadow->state = NVME_LOOK_NONE;
	failed(l->nvme, error, address);
	return false;
}

static bool step_arm(const struct looker *l)
{
	uint64_t address =
		place(l->nvme, l->nvme->state->event_indices, looker_id(l), l->completion);
	int error = store(l->nvme, l->shadow, address, current(l));

	l->shadow->armed = true;
	l->shadow->event = (uint16_t)current(l);
	l->shadow->state = NVME_LOOK_EVENT;
	if (error == -EINPROGRESS)
		return false;
	if (!error)
		return true;
	l->shadow->state = NVME_LOOK_NONE;
	failed(l->nvme, error, address);
	return false;
}

/* After a read: the value is in shadow->bytes. */
static bool step_seen(const struct looker *l)
{
	struct nvme_shadow *shadow = l->shadow;

	shadow->state = NVME_LOOK_NONE;
	take_value(l, ob_get_le32(shadow->bytes));
	if (wants_ring(l) && !shadow->armed)
		return step_arm(l);
	if (!shadow->again)
		return false;
	shadow->again = false;
	return step_read(l);
}

static bool step_armed(const struct looker *l)
{
	l->shadow->state = NVME_LOOK_NONE;
	return !l->shadow->fresh && step_read(l);
}

static void go_on(const struct looker *l)
{
	bool more = true;

	while (more && nvme_running(l->nvme))
		more = l->shadow->state == NVME_LOOK_READ ? step_seen(l) : step_armed(l);
	if (more)
		l->shadow->state = NVME_LOOK_NONE;
}

static void look(const struct looker *l)
{
	if (l->shadow->fresh || !nvme_running(l->nvme))
		return;
	if (l->shadow->state != NVME_LOOK_NONE)
		l->shadow->again = true;
	else if (step_read(l))
		go_on(l);
}

static struct looker of_sq(struct nvme_sq *sq)
{
	return (struct looker){.nvme = sq->nvme, .shadow = &sq->shadow, .sq = sq};
}

static struct looker of_cq(struct nvme_cq *cq)
{
	return (struct looker){
		.nvme = cq->nvme, .shadow = &cq->shadow, .completion = true, .cq = cq};
}

static void step_done(const struct looker *l, int error)
{
	if (error) {
		l->shadow->state = NVME_LOOK_NONE;
		failed(l->nvme, error, l->nvme->state->shadow_doorbells);
		return;
	}
	go_on(l);
}

static void sq_step_done(struct ob_dma_op *op, int error)
{
	struct looker l = of_sq(ob_container_of(op, struct nvme_sq, shadow.op));

	step_done(&l, error);
}

static void cq_step_done(struct ob_dma_op *op, int error)
{
	struct looker l = of_cq(ob_container_of(op, struct nvme_cq, shadow.op));

	step_done(&l, error);
}

void nvme_shadow_look_sq(struct nvme_sq *sq)
{
	struct looker l = of_sq(sq);

	look(&l);
}

void nvme_shadow_look_cq(struct nvme_cq *cq)
{
	struct looker l = of_cq(cq);

	look(&l);
}

void nvme_shadow_arm(struct nvme *n, const uint64_t set[NVME_SET])
{
	for (unsigned i = 0; n->state->shadow && i < NVME_SET; i++) {
		/* The admin queue has no shadow. */
		for (uint64_t bits = set[i] & (i ? UINT64_MAX : ~UINT64_C(1)); bits;
		     bits &= bits - 1)
			nvme_shadow_look_sq(&n->sqs[i * 64 + (unsigned)__builtin_ctzll(bits)]);
	}
	memset(n->emptied, 0, sizeof(n->emptied));
}

/*
 * The shadow of such a queue means nothing before it is rung, but the event index has to say that
 * it is to be rung.
 */
static void open_queue(const struct looker *l)
{
	nvme_shadow_stop(l->nvme, l->shadow);
	l->shadow->fresh = true;
	if (step_arm(l))
		go_on(l);
}

void nvme_shadow_open_sq(struct nvme_sq *sq)
{
	struct looker l = of_sq(sq);

	nvme_page_clear(sq->nvme, sq->id, false);
	open_queue(&l);
}

void nvme_shadow_open_cq(struct nvme_cq *cq)
{
	struct looker l = of_cq(cq);

	nvme_page_clear(cq->nvme, cq->id, true);
	open_queue(&l);
}

static void resume(const struct looker *l)
{
	if (!nvme_shadowed(l->nvme, looker_id(l)))
		return;
	if (l->shadow->fresh)
		open_queue(l);
	else
		look(l);
}

void nvme_shadow_resume_sq(struct nvme_sq *sq)
{
	struct looker l = of_sq(sq);

	resume(&l);
}

void nvme_shadow_resume_cq(struct nvme_cq *cq)
{
	struct looker l = of_cq(cq);

	resume(&l);
}

void nvme_shadow_init(struct nvme *n)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		n->sqs[i].shadow.op.done = sq_step_done;
		n->cqs[i].shadow.op.done = cq_step_done;
	}
}
