/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looks at doorbells that stand in memory: in the page of BAR 0 that clients may map
 * (mmap-doorbells=on), and in the guest's shadow buffer where that is mapped here. A look is a load
 * for each submission queue, and touches nothing that the guest writes next: no event index, and no
 * head of a completion queue unless there is no room in it or the pin waits for it.
 *
 * What was seen last is remembered as it stood there, so that a value that makes no sense is an
 * error once and not at each look.
 *
 * With both, the shadow is where values stand, and a write to the page is just a ring. A ring that
 * repeats the last one's value would be none, so where the shadow is looked at for rings only (it
 * is reached by messages), or not yet (the queue is new), the page's word is set to NO_RING, which
 * no doorbell's value is. So it is when a queue is made.
 */
#include "internal.h"

static const uint32_t NO_RING = UINT32_MAX;

static uint32_t load(const uint32_t *place)
{
	return le32toh(__atomic_load_n(place, __ATOMIC_ACQUIRE));
}

static uint32_t *page_place(const struct nvme *n, unsigned id, bool completion)
{
	return n->page + (size_t)2 * id + completion;
}

void nvme_page_clear(struct nvme *n, unsigned id, bool completion)
{
	if (n->page)
		__atomic_store_n(page_place(n, id, completion), NO_RING, __ATOMIC_RELAXED);
}

void nvme_page_clear_all(struct nvme *n)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		nvme_page_clear(n, i, false);
		nvme_page_clear(n, i, true);
	}
}

/* Whether the page's word was written since this was asked last. */
static bool was_rung(const struct nvme *n, unsigned id, bool completion)
{
	uint32_t *place;

	if (!n->page)
		return false;
	place = page_place(n, id, completion);
	return load(place) != NO_RING &&
	       __atomic_exchange_n(place, NO_RING, __ATOMIC_ACQ_REL) != NO_RING;
}

/* The shadow buffer, where that is a look at memory; else NULL. */
static const uint32_t *shadow_words(struct nvme *n)
{
	const void *words;

	if (!n->state->shadow)
		return NULL;
	words = ob_dma_direct(n->dev, n->state->shadow_doorbells,
	                      (n->props->num_queues + 1) * UINT64_C(8), OB_DMA_FROM_CLIENT);
	return (uintptr_t)words & 3 ? NULL : words;
}

bool nvme_can_look(struct nvme *n)
{
	return n->page || shadow_words(n);
}

bool nvme_shadow_is_polled(struct nvme *n)
{
	return n->poll.active && shadow_words(n);
}

/*
 * An event index that stays where it is would be passed once in each lap of the queue, with a ring
 * that nobody needs. So now and then it is moved to a place that the guest has passed already. It
 * has to say something true only when looking ends.
 */
static void keep_quiet(struct nvme *n, struct nvme_shadow *shadow, unsigned word, uint16_t passed)
{
	uint64_t place = n->state->event_indices + UINT64_C(4) * word;
	uint32_t *event = ob_dma_direct(n->dev, place, sizeof(*event), OB_DMA_TO_CLIENT);

	if (!event || (uintptr_t)event & 3)
		return;
	__atomic_store_n(event, htole32(passed), __ATOMIC_RELAXED);
	shadow->event = passed;
	shadow->armed = false;
}

/* The completion queue of the same number is looked at on this occasion: it is on the same line. */
static void keep_pair_quiet(struct nvme *n, unsigned id, uint16_t tail_before,
                            const uint32_t *shadow)
{
	const struct nvme_sq_state *sq = &n->state->sq[id];
	const struct nvme_cq_state *st = &n->state->cq[id];
	struct nvme_cq *cq = &n->cqs[id];

	if (nvme_distance(n->sqs[id].shadow.event, sq->tail, sq->entries) <= sq->entries / 4)
		return;
	keep_quiet(n, &n->sqs[id].shadow, 2 * id, tail_before);
	if (!st->entries || cq->shadow.fresh || cq->shadow.state != NVME_LOOK_NONE || cq->full ||
	    n->irq_raised)
		return;
	nvme_cq_saw(cq, load(shadow + (size_t)2 * id + 1));
	keep_quiet(n, &cq->shadow, 2 * id + 1,
	           st->head ? st->head - 1 : (uint16_t)(st->entries - 1));
}

void nvme_look_unasked(struct nvme *n)
{
	if (!shadow_words(n))
		return;
	for (unsigned i = 0; i <= n->props->num_queues / 64; i++) {
		for (uint64_t bits = n->live[i]; bits; bits &= bits - 1) {
			unsigned id = i * 64 + (unsigned)__builtin_ctzll(bits);
			const struct nvme_sq_state *st = &n->state->sq[id];
			struct nvme_shadow *shadow = &n->sqs[id].shadow;

			if (!shadow->armed || shadow->fresh || shadow->state != NVME_LOOK_NONE)
				continue;
			keep_quiet(n, shadow, 2 * id,
			           st->tail ? st->tail - 1 : (uint16_t)(st->entries - 1));
		}
	}
}

static bool look_at_sq(struct nvme *n, unsigned id, const uint32_t *shadow)
{
	struct nvme_sq *sq = &n->sqs[id];
	uint16_t before = n->state->sq[id].tail;
	uint32_t value;

	if (nvme_shadowed(n, id)) {
		if ((!shadow || sq->shadow.fresh) && !was_rung(n, id, false)) {
			return false;
		} else if (!shadow) {
			sq->shadow.fresh = false;
			nvme_shadow_look_sq(sq);
			return false;
		}
		sq->shadow.fresh = false;
		value = load(shadow + (size_t)2 * id);
	} else if (n->page) {
		value = load(page_place(n, id, false));
		if (value == NO_RING)
			return false;
		value &= 0xffff; /* the rest is reserved */
	} else {
		return false;
	}
	if (!nvme_sq_saw(sq, value))
		return false;
	if (nvme_shadowed(n, id))
		keep_pair_quiet(n, id, before, shadow);
	nvme_sq_ready(sq);
	return true;
}

static void look_at_cq(struct nvme *n, unsigned id, bool unasked)
{
	struct nvme_cq *cq = &n->cqs[id];
	uint32_t value;

	if (nvme_shadowed(n, id)) {
		bool rung = was_rung(n, id, true);

		if (rung)
			cq->shadow.fresh = false;
		if (rung || unasked)
			nvme_shadow_look_cq(cq);
	} else if (n->page) {
		value = load(page_place(n, id, true));
		if (value != NO_RING)
			nvme_cq_saw(cq, value & 0xffff);
	}
}

void nvme_look_for_room(struct nvme_cq *cq)
{
	look_at_cq(cq->nvme, cq->id, true);
}

/* Only where somebody waits for the guest: no room, or the pin. */
static void look_at_cqs(struct nvme *n, bool unasked)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		const struct nvme_cq_state *st = &n->state->cq[i];

		if (st->entries && (n->cqs[i].full || (n->irq_raised && st->irq)))
			look_at_cq(n, i, unasked);
	}
}

bool nvme_look(struct nvme *n)
{
	const uint32_t *shadow = shadow_words(n);
	bool found = false;

	for (unsigned i = 0; i <= n->props->num_queues / 64; i++) {
		for (uint64_t bits = n->live[i]; bits; bits &= bits - 1)
			found |= look_at_sq(n, i * 64 + (unsigned)__builtin_ctzll(bits), shadow);
	}
	if (n->full_count || n->irq_raised)
		look_at_cqs(n, shadow);
	/* Of what is reached by messages, only rings tell: polling or not, they are asked for. */
	if (n->state->shadow && !shadow)
		nvme_shadow_arm(n, n->emptied);
	return found;
}
