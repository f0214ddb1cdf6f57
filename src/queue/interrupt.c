/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When the guest is interrupted for completions: held while the device polls (poll.c says for how
 * long), coalesced by count and time where the guest asked for that, else at once.
 */
#include <string.h>

#include "queue/queue.h"

/* Sends what was held. */
void queue_interrupt_held(struct ob_queues *queues)
{
	struct ob_queue_poll *poll = &queues->poll;

	poll->held = 0;
	for (unsigned i = 0; i < OB_QUEUE_WORDS; i++) {
		uint64_t bits = poll->vectors[i];

		poll->vectors[i] = 0;
		for (; bits; bits &= bits - 1)
			queues->ops->interrupt(queues, i * 64 + (unsigned)__builtin_ctzll(bits));
	}
}

static void coalesced(struct ob_timer *timer)
{
	struct ob_queue_coalescing *coalescing =
		ob_container_of(timer, struct ob_queue_coalescing, timer);
	struct ob_queues *queues = coalescing->queues;

	coalescing->count = 0;
	queues->ops->interrupt(queues, (unsigned)(coalescing - queues->coalescing));
}

void queue_interrupt_init(struct ob_queues *queues)
{
	for (unsigned i = 0; i < OB_QUEUE_MAX; i++) {
		queues->coalescing[i].queues = queues;
		queues->coalescing[i].timer.expired = coalesced;
	}
}

/* True if the interrupt waits for more completions or for the time to pass. */
static bool coalesce(struct ob_queues *queues, unsigned vector, unsigned count, unsigned threshold,
                     uint64_t delay_ns)
{
	struct ob_queue_coalescing *coalescing = &queues->coalescing[vector];

	coalescing->count += count;
	if (coalescing->count < threshold &&
	    (coalescing->timer.slot || !ob_timer_arm(queues->loop, &coalescing->timer, delay_ns)))
		return true;
	coalescing->count = 0;
	ob_timer_cancel(queues->loop, &coalescing->timer);
	return false;
}

void ob_queue_interrupt(struct ob_queues *queues, unsigned vector, unsigned count,
                        unsigned threshold, uint64_t delay_ns, bool may_hold)
{
	if (threshold > 1 && delay_ns && coalesce(queues, vector, count, threshold, delay_ns))
		return;
	if (queues->poll.active && may_hold) {
		queues->poll.held += count;
		ob_queue_set_add(queues->poll.vectors, vector);
		return;
	}
	queues->ops->interrupt(queues, vector);
}

void ob_queue_interrupts_drop(struct ob_queues *queues)
{
	queues->poll.held = 0;
	memset(queues->poll.vectors, 0, sizeof(queues->poll.vectors));
	for (unsigned i = 0; i < OB_QUEUE_MAX; i++) {
		queues->coalescing[i].count = 0;
		ob_timer_cancel(queues->loop, &queues->coalescing[i].timer);
	}
}

void ob_queue_interrupts_flush(struct ob_queues *queues)
{
	queue_interrupt_held(queues);
	for (unsigned i = 0; i < OB_QUEUE_MAX; i++) {
		if (!queues->coalescing[i].timer.slot)
			continue;
		ob_timer_cancel(queues->loop, &queues->coalescing[i].timer);
		coalesced(&queues->coalescing[i].timer);
	}
}
