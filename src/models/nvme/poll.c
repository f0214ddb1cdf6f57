/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adaptive polling: while commands keep coming, look for the next ones instead of asking to be
 * rung.
 *
 * A doorbell costs the guest an exit, and us a wake-up; an interrupt costs the guest more than most
 * commands do. A guest with shadow doorbells (NVMe 1.4, 5.7) writes new tails to memory, and rings
 * only if its event index says so; a client that has mapped the doorbells' page never rings. So
 * after a turn that found commands a poller looks at the tails, for poll-max-us after the last one
 * that was found, with the event indices left alone; interrupts are held meanwhile, and sent for
 * several completions together. The clock is read only while nothing is found.
 *
 * A guest that waits for each completion would be kept waiting by that. Whether looking pays is
 * learnt from the last times: each that finds something earns more than one that doesn't costs, and
 * while the balance is below zero, one time in PROBE is tried all the same.
 *
 * A drive takes longer than a wake-up, and looking meanwhile would take the whole of a processor.
 * So when all that there is has gone to a drive, and the last times nothing came before the drive
 * was done, polling rests until it is.
 *
 * Idle, there is no polling, and no wake-up is lost by that: first the poller goes (so that looks
 * ask to be rung), then each event index is set, and then each tail is read once more (shadow.c),
 * with a fence in between. A guest writes its tail, has a fence, and reads the event index.
 * Whichever of the two fences is first, either we see the tail or the guest sees the index, and
 * rings. Nobody can be asked to ring who only writes to the page, so that is looked at by a timer,
 * every idle-poll-us, for as long as there is a queue.
 */
#include "internal.h"

enum {
	HOLD_MAX = 16, /* completions that wait for one interrupt */
	EARN = 4,
	COST = 2,
	BALANCE_MAX = 64,
	BALANCE_MIN = -16,
	PROBE = 16,
	GROW = 32,           /* interrupts at a limit before the next one is tried */
	ALONE = 8,           /* finds with nothing at a drive before a drive is waited for asleep */
	LOOKS_PER_CLOCK = 16 /* looks that find nothing before one that reads the clock */
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

	if (!poll->active || !cq->id)
		return false;
	poll->held += count;
	poll->vectors[vector / 64] |= UINT64_C(1) << (vector % 64);
	return true;
}

static void send_if_many(struct nvme *n)
{
	struct nvme_poll *poll = &n->poll;

	if (poll->held < hold_limit(poll))
		return;
	if (poll->hold < (HOLD_MAX - 1) * GROW)
		poll->hold++;
	send_held(n);
}

static void start(struct nvme *n)
{
	n->poll.active = true;
	n->poll.empty = 0;
	n->poll.since = 0;
	ob_timer_cancel(ob_dev_loop(n->dev), &n->poll.idle);
	ob_poller_add(ob_dev_loop(n->dev), &n->poll.poller);
}

static void watch_page(struct nvme *n)
{
	uint64_t delay = n->props->idle_poll_us * UINT64_C(1000);

	/* Without memory for a timer, what finds the client's commands is the next message. */
	if (n->page && delay && !n->poll.idle.slot)
		ob_timer_arm(ob_dev_loop(n->dev), &n->poll.idle, delay);
}

static void fall_asleep(struct nvme *n)
{
	n->poll.active = false;
	ob_poller_remove(ob_dev_loop(n->dev), &n->poll.poller);
	nvme_shadow_arm(n, n->live);
	watch_page(n);
}

/* Nothing was found for poll-max-us. */
static void lapse(struct nvme *n)
{
	struct nvme_poll *poll = &n->poll;

	if (poll->balance > BALANCE_MIN)
		poll->balance -= COST;
	/* The guest waited behind those that are held: so many are too many. */
	if (poll->held) {
		if (hold_limit(poll) > poll->held)
			poll->hold = (poll->held - 1) * GROW;
		send_held(n);
	}
	poll->since = 0;
	if (n->props->poll != NVME_POLL_ON)
		fall_asleep(n);
}

static void found_nothing(struct nvme *n)
{
	struct nvme_poll *poll = &n->poll;
	uint64_t now;

	if (++poll->empty % LOOKS_PER_CLOCK)
		return;
	now = ob_loop_now();
	if (!poll->since)
		poll->since = now;
	if (now - poll->since >= n->props->poll_max_us * UINT64_C(1000))
		lapse(n);
}

/* After commands were found: whether nothing is likely to come until a drive is done. */
static bool may_rest(struct nvme *n, bool at_drive)
{
	struct nvme_poll *poll = &n->poll;

	if (at_drive)
		poll->alone = 0;
	else if (poll->alone < ALONE)
		poll->alone++;
	return poll->alone == ALONE && n->requests && !poll->held &&
	       n->props->poll == NVME_POLL_ADAPTIVE && poll->active;
}

static bool on_poll(struct ob_poller *poller)
{
	struct nvme *n = ob_container_of(poller, struct nvme, poll.poller);
	struct nvme_poll *poll = &n->poll;
	bool at_drive = n->requests;

	if (!nvme_turn_of_poller(n)) {
		found_nothing(n);
		return poll->active;
	}
	if (poll->balance < BALANCE_MAX)
		poll->balance += EARN;
	poll->empty = 0;
	poll->since = 0;
	if (poll->held)
		send_if_many(n);
	if (may_rest(n, at_drive)) {
		poll->resting = true;
		fall_asleep(n);
	}
	return poll->active;
}

void nvme_poll_drive_done(struct nvme *n)
{
	n->poll.resting = false;
	if (n->poll.active || !nvme_can_look(n))
		return;
	nvme_look_unasked(n);
	start(n);
}

static void on_idle(struct ob_timer *timer)
{
	struct nvme *n = ob_container_of(timer, struct nvme, poll.idle);

	if (!nvme_running(n))
		return;
	/* What is found begins a turn, at the end of which this goes on. */
	if (!nvme_look(n))
		watch_page(n);
}

static bool is_worth_it(struct nvme *n)
{
	struct nvme_poll *poll = &n->poll;

	return poll->balance >= 0 || ++poll->declined % PROBE == 0;
}

void nvme_poll_turned(struct nvme *n, bool found)
{
	enum nvme_polling wish = n->props->poll;

	if (n->poll.active) {
		if (n->poll.held)
			send_if_many(n);
		return;
	}
	/* Something came while a drive was waited for. */
	if (found && n->poll.resting) {
		n->poll.resting = false;
		n->poll.alone = 0;
	}
	if (wish == NVME_POLL_ON ||
	    (wish == NVME_POLL_ADAPTIVE && found && n->props->poll_max_us)) {
		if (nvme_can_look(n) && (wish == NVME_POLL_ON || is_worth_it(n))) {
			start(n);
			return;
		}
	}
	nvme_shadow_arm(n, n->emptied);
	watch_page(n);
}

void nvme_poll_init(struct nvme *n)
{
	n->poll.poller.poll = on_poll;
	n->poll.idle.expired = on_idle;
}

void nvme_poll_stop(struct nvme *n, bool send)
{
	ob_poller_remove(ob_dev_loop(n->dev), &n->poll.poller);
	ob_timer_cancel(ob_dev_loop(n->dev), &n->poll.idle);
	if (send)
		send_held(n);
	n->poll = (struct nvme_poll){0};
	nvme_poll_init(n);
}
