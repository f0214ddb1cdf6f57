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
 * There are two times to look. A guest that was given completions is likely to answer each with a
 * command: it owes them. A guest that owes nothing, since its commands are all at drives, may come
 * all the same; but a drive takes longer than a wake-up, and looking meanwhile would take the whole
 * of a processor. Whether looking pays is learnt for both from how the last times ended: one that
 * finds something earns more than one that doesn't costs, and below zero there is none. Then rings
 * tell: one that comes as early as a look would have found it earns as much.
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
	PROBE = 16,          /* with a page that nobody rings for: one time of so many is tried */
	GROW = 32,           /* interrupts at a limit before the next one is tried */
	RING_NS = 10000,     /* what a ring takes longer than a look */
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

static bool may_look(const struct nvme *n)
{
	const struct nvme_props *props = n->props;

	return props->poll == NVME_POLL_ON ||
	       (props->poll == NVME_POLL_ADAPTIVE && props->poll_max_us);
}

static enum nvme_awaited awaited(const struct nvme *n)
{
	return n->poll.owed ? NVME_AWAIT_OWED : NVME_AWAIT_MORE;
}

static bool is_worth_it(struct nvme *n, enum nvme_awaited what)
{
	struct nvme_poll *poll = &n->poll;

	return n->props->poll == NVME_POLL_ON || poll->balance[what] >= 0 ||
	       (n->page && ++poll->declined % PROBE == 0);
}

static void earn(struct nvme_poll *poll, enum nvme_awaited what)
{
	if (poll->balance[what] < BALANCE_MAX)
		poll->balance[what] += EARN;
}

static void pay(struct nvme_poll *poll, enum nvme_awaited what)
{
	if (poll->balance[what] > BALANCE_MIN)
		poll->balance[what] -= COST;
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

/* From here on rings tell of commands, and of what looks would have found. */
static void sleep_from_now(struct nvme *n)
{
	if (may_look(n)) {
		n->poll.asleep_for = awaited(n);
		n->poll.asleep_since = ob_loop_now();
	}
	watch_page(n);
}

static void learn_from_ring(struct nvme *n)
{
	uint64_t looked = n->props->poll_max_us * UINT64_C(1000);

	if (ob_loop_now() - n->poll.asleep_since < looked + RING_NS)
		earn(&n->poll, n->poll.asleep_for);
}

static void fall_asleep(struct nvme *n)
{
	if (n->poll.held)
		send_held(n);
	n->poll.active = false;
	ob_poller_remove(ob_dev_loop(n->dev), &n->poll.poller);
	nvme_shadow_arm(n, n->live);
	nvme_schedule_rest(n);
	sleep_from_now(n);
}

/* Nothing was found for poll-max-us. */
static void lapse(struct nvme *n)
{
	struct nvme_poll *poll = &n->poll;

	pay(poll, awaited(n));
	poll->owed = 0;
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

/* A turn did something: what is awaited next may not be worth it. */
static void go_on(struct nvme *n, enum nvme_awaited what, bool found)
{
	struct nvme_poll *poll = &n->poll;

	if (found)
		earn(poll, what);
	else if (what != awaited(n)) /* a drive was done before */
		pay(poll, what);
	poll->empty = 0;
	poll->since = 0;
	if (poll->held)
		send_if_many(n);
	if (!is_worth_it(n, awaited(n)))
		fall_asleep(n);
}

static bool on_poll(struct ob_poller *poller)
{
	struct nvme *n = ob_container_of(poller, struct nvme, poll.poller);
	enum nvme_awaited what = awaited(n);
	unsigned owed = n->poll.owed;
	bool found = nvme_turn_of_poller(n);

	if (found || n->poll.owed > owed)
		go_on(n, what, found);
	else
		found_nothing(n);
	return n->poll.active;
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

void nvme_poll_turning(struct nvme *n, bool posts)
{
	struct nvme_poll *poll = &n->poll;

	poll->before = awaited(n);
	if (poll->active)
		return;
	poll->owed = 0;
	if (posts && may_look(n) && is_worth_it(n, NVME_AWAIT_OWED) && nvme_can_look(n)) {
		poll->before = NVME_AWAIT_OWED;
		nvme_look_unasked(n);
		start(n);
	}
}

void nvme_poll_turned(struct nvme *n, bool found)
{
	struct nvme_poll *poll = &n->poll;

	if (poll->active) {
		go_on(n, poll->before, found);
		return;
	}
	if (found && may_look(n)) {
		learn_from_ring(n);
		if (is_worth_it(n, awaited(n)) && nvme_can_look(n)) {
			start(n);
			return;
		}
	}
	nvme_shadow_arm(n, n->emptied);
	sleep_from_now(n);
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
