/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adaptive polling: while commands keep coming, look for the next ones instead of asking to be
 * rung.
 *
 * A doorbell costs the guest an exit, and us a wake-up; an interrupt costs the guest more than most
 * commands do. A guest with shadow doorbells (NVMe 1.4, 5.7) writes new tails to memory, and rings
 * only if its event index says so. So after a turn that found commands, the tails are looked at on
 * every turn of the loop, for poll-max-us after the last one that was found, with the event indices
 * left alone; interrupts are held meanwhile, and sent for several completions together.
 *
 * A guest that waits for each completion would be kept waiting by that. Whether looking pays is
 * learnt from the last times: each that finds something earns more than one that doesn't costs, and
 * while the balance is below zero, one time in PROBE is tried all the same.
 *
 * Idle, there is no polling: it ends with the event indices set, and one more look after that.
 */
#include "internal.h"

enum {
	HOLD_MAX = 16, /* completions that wait for one interrupt */
	EARN = 4,
	COST = 2,
	BALANCE_MAX = 64,
	BALANCE_MIN = -16,
	PROBE = 16,
	GROW = 32, /* interrupts at a limit before the next one is tried */
};

/* How many completions share an interrupt: what the guest has been seen not to wait behind. */
static unsigned hold_limit(const struct nvme_poll *poll)
{
	return 1 + poll->hold / GROW;
}

static void send_held(struct nvme *n)
{
	struct nvme_poll *poll = &n->poll;

	poll->held = 0;
	for (unsigned i = 0; i < NVME_VECTOR_WORDS; i++) {
		uint64_t bits = poll->vectors[i];

		poll->vectors[i] = 0;
		for (; bits; bits &= bits - 1)
			nvme_irq_send(n, i * 64 + (unsigned)__builtin_ctzll(bits));
	}
}

bool nvme_poll_hold(struct nvme_cq *cq, unsigned count)
{
	struct nvme_poll *poll = &cq->nvme->poll;
	unsigned vector = nvme_cq_state(cq)->vector;

	if (!poll->until || !cq->id)
		return false;
	poll->held += count;
	poll->vectors[vector / 64] |= UINT64_C(1) << (vector % 64);
	return true;
}

/* Only where a look is a load from memory: by messages, it would keep the client busy. */
static bool can_look(struct nvme *n)
{
	const struct nvme_state *s = n->state;

	return s->shadow && n->props->poll_max_us &&
	       ob_dma_direct(n->dev, s->shadow_doorbells, 4, OB_DMA_FROM_CLIENT);
}

static bool is_worth_it(struct nvme_poll *poll)
{
	return poll->balance >= 0 || ++poll->declined % PROBE == 0;
}

static void look_at_queues(struct nvme *n)
{
	for (unsigned i = 1; i <= n->props->num_queues; i++) {
		if (n->state->sq[i].entries && nvme_shadowed(n, i))
			nvme_shadow_look_sq(&n->sqs[i]);
	}
}

void nvme_poll(struct nvme *n, bool found)
{
	struct nvme_poll *poll = &n->poll;
	uint64_t now;

	if (!found && !poll->until)
		return;
	now = ob_loop_now();
	if (found && poll->until && poll->balance < BALANCE_MAX)
		poll->balance += EARN;
	if (found && (poll->until || (can_look(n) && is_worth_it(poll))))
		poll->until = now + n->props->poll_max_us * UINT64_C(1000);
	if (now >= poll->until) {
		if (poll->until && poll->balance > BALANCE_MIN)
			poll->balance -= COST;
		/* The guest waited behind those that are held: so many are too many. */
		if (poll->held && hold_limit(poll) > poll->held)
			poll->hold = (poll->held - 1) * GROW;
		poll->until = 0;
	}
	if (poll->held >= hold_limit(poll) && poll->hold < (HOLD_MAX - 1) * GROW)
		poll->hold++;
	if (poll->held && (!poll->until || poll->held >= hold_limit(poll)))
		send_held(n);
	look_at_queues(n);
	if (poll->until)
		nvme_schedule(n);
}

void nvme_poll_stop(struct nvme *n, bool send)
{
	if (send)
		send_held(n);
	n->poll = (struct nvme_poll){0};
}
