/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adaptive polling: while entries keep coming, poll for the next ones instead of asking to be
 * kicked.
 *
 * A kick costs the guest an exit, and us a wake-up; an interrupt costs the guest more than most
 * requests do. So after a turn that fetched entries a poller reads what guests publish in memory,
 * for poll_max_us after the last one that was found, with kicks suppressed; interrupts are held
 * meanwhile, and sent for several completions together. The clock is read only while nothing is
 * found.
 *
 * There are two reasons to poll. A guest that was given completions is likely to answer each with
 * an entry: it owes them. A guest that owes nothing, since its requests are all at drives, may send
 * more all the same; but a drive takes longer than a wake-up, and polling meanwhile would take the
 * whole of a processor. Whether polling pays is learnt for both from how the last times ended: one
 * that finds something earns more than one that doesn't costs, and below zero the device sleeps.
 * While asleep, a kick that arrives within RING_NS of when a poll would have found the entry counts
 * as a successful poll.
 *
 * Idle, there is no polling, and no wake-up is lost by that: first the poller goes (so that arming
 * asks for kicks), then each event index is set, and then each index is read once more (index.c),
 * with a fence in between. A guest publishes its index, has a fence, and reads the event index.
 * Whichever of the two fences is first, either we see the index or the guest sees the event index,
 * and kicks. Where guests write to a page without a kick, that is polled by a timer, every
 * idle_poll_us, for as long as there is a queue.
 */
#include "queue/queue.h"

enum {
	HOLD_MAX = 16,  /* completions that wait for one interrupt */
	HOLD_GROW = 32, /* interrupts at a limit before the next one is tried */
	EARN = 4,
	COST = 2,
	BALANCE_MAX = 64,
	BALANCE_MIN = -16,
	PROBE = 16,          /* where kicks are silent: one time of so many is tried */
	KICK_NS = 10000,     /* what a kick takes longer than a poll */
	POLLS_PER_CLOCK = 16 /* polls that find nothing before one that reads the clock */
};

/* How many completions share an interrupt: what the guest has been seen not to wait behind. */
static unsigned hold_limit(const struct ob_queue_poll *poll)
{
	return 1 + poll->hold / HOLD_GROW;
}

static void interrupt_if_many(struct ob_queues *queues)
{
	struct ob_queue_poll *poll = &queues->poll;

	if (poll->held < hold_limit(poll))
		return;
	if (poll->hold < (HOLD_MAX - 1) * HOLD_GROW)
		poll->hold++;
	queue_interrupt_held(queues);
}

static bool may_poll(const struct ob_queues *queues)
{
	return queues->options.polling == OB_QUEUE_POLL_ON ||
	       (queues->options.polling == OB_QUEUE_POLL_ADAPTIVE && queues->options.poll_max_us);
}

static enum ob_queue_awaited awaited(const struct ob_queues *queues)
{
	return queues->poll.owed ? OB_QUEUE_AWAIT_OWED : OB_QUEUE_AWAIT_MORE;
}

static bool is_worth_it(struct ob_queues *queues, enum ob_queue_awaited what)
{
	struct ob_queue_poll *poll = &queues->poll;

	return queues->options.polling == OB_QUEUE_POLL_ON || poll->balance[what] >= 0 ||
	       (queues->options.kicks_are_silent && ++poll->declined % PROBE == 0);
}

static void earn(struct ob_queue_poll *poll, enum ob_queue_awaited what)
{
	if (poll->balance[what] < BALANCE_MAX)
		poll->balance[what] += EARN;
}

static void lose(struct ob_queue_poll *poll, enum ob_queue_awaited what)
{
	if (poll->balance[what] > BALANCE_MIN)
		poll->balance[what] -= COST;
}

static void start_polling(struct ob_queues *queues)
{
	queues->poll.active = true;
	queues->poll.empty = 0;
	queues->poll.since = 0;
	ob_timer_cancel(queues->loop, &queues->poll.idle);
	ob_poller_add(queues->loop, &queues->poll.poller);
}

static void poll_when_idle(struct ob_queues *queues)
{
	uint64_t delay = queues->options.idle_poll_us * UINT64_C(1000);

	/* Without memory for a timer, what finds the client's entries is the next message. */
	if (queues->options.kicks_are_silent && delay && !queues->poll.idle.slot)
		ob_timer_arm(queues->loop, &queues->poll.idle, delay);
}

/* From here on kicks are heard, which may show that polling would have paid. */
static void sleep_from_now(struct ob_queues *queues)
{
	if (may_poll(queues)) {
		queues->poll.asleep_for = (uint8_t)awaited(queues);
		queues->poll.asleep_since = ob_loop_now();
	}
	poll_when_idle(queues);
}

static void learn_from_kick(struct ob_queues *queues)
{
	uint64_t polled = queues->options.poll_max_us * UINT64_C(1000);

	if (ob_loop_now() - queues->poll.asleep_since < polled + KICK_NS)
		earn(&queues->poll, queues->poll.asleep_for);
}

static void fall_asleep(struct ob_queues *queues)
{
	if (queues->poll.held)
		queue_interrupt_held(queues);
	queues->poll.active = false;
	ob_poller_remove(queues->loop, &queues->poll.poller);
	queue_arm(queues, queues->live);
	queue_schedule_rest(queues);
	sleep_from_now(queues);
}

/* Nothing was found for poll-max-us. */
static void lapse(struct ob_queues *queues)
{
	struct ob_queue_poll *poll = &queues->poll;

	lose(poll, awaited(queues));
	poll->owed = 0;
	/* The guest waited behind those that are held: so many are too many. */
	if (poll->held) {
		if (hold_limit(poll) > poll->held)
			poll->hold = (poll->held - 1) * HOLD_GROW;
		queue_interrupt_held(queues);
	}
	poll->since = 0;
	if (queues->options.polling != OB_QUEUE_POLL_ON)
		fall_asleep(queues);
}

static void found_nothing(struct ob_queues *queues)
{
	struct ob_queue_poll *poll = &queues->poll;
	uint64_t now;

	if (++poll->empty % POLLS_PER_CLOCK)
		return;
	now = ob_loop_now();
	if (!poll->since)
		poll->since = now;
	if (now - poll->since >= queues->options.poll_max_us * UINT64_C(1000))
		lapse(queues);
}

/* A turn did something: what is awaited next may not be worth it. */
static void go_on(struct ob_queues *queues, enum ob_queue_awaited what, bool found)
{
	struct ob_queue_poll *poll = &queues->poll;

	if (found)
		earn(poll, what);
	else if (what != awaited(queues)) /* a drive was done before */
		lose(poll, what);
	poll->empty = 0;
	poll->since = 0;
	if (poll->held)
		interrupt_if_many(queues);
	if (!is_worth_it(queues, awaited(queues)))
		fall_asleep(queues);
}

/* Whether the poll found entries: a turn for them, and for whatever there is to do. */
static bool turn_of_poller(struct ob_queues *queues)
{
	bool found;

	/* What is found is for this turn, not for a task. */
	queues->in_turn = true;
	found = queues->ops->poll(queues);
	queues->in_turn = false;
	if (found || queue_has_work(queues))
		queue_work(queues);
	return found;
}

static bool on_poll(struct ob_poller *poller)
{
	struct ob_queues *queues = ob_container_of(poller, struct ob_queues, poll.poller);
	unsigned what = awaited(queues);
	unsigned owed = queues->poll.owed;
	bool found = turn_of_poller(queues);

	if (!queues->poll.active) /* the device has failed meanwhile */
		return false;
	if (found || queues->poll.owed > owed)
		go_on(queues, what, found);
	else
		found_nothing(queues);
	return queues->poll.active;
}

static void on_idle(struct ob_timer *timer)
{
	struct ob_queues *queues = ob_container_of(timer, struct ob_queues, poll.idle);

	if (!queues->ops->running(queues))
		return;
	/* What is found begins a turn, at the end of which this goes on. */
	if (!queues->ops->poll(queues))
		poll_when_idle(queues);
}

void queue_poll_turn_begins(struct ob_queues *queues, bool posts)
{
	struct ob_queue_poll *poll = &queues->poll;

	poll->before = (uint8_t)awaited(queues);
	if (poll->active)
		return;
	poll->owed = 0;
	if (posts && may_poll(queues) && is_worth_it(queues, OB_QUEUE_AWAIT_OWED) &&
	    queues->ops->can_poll(queues)) {
		poll->before = OB_QUEUE_AWAIT_OWED;
		queues->ops->suppress(queues);
		start_polling(queues);
	}
}

void queue_poll_turn_ended(struct ob_queues *queues, bool found)
{
	struct ob_queue_poll *poll = &queues->poll;

	if (poll->active) {
		go_on(queues, poll->before, found);
		return;
	}
	if (found && may_poll(queues)) {
		learn_from_kick(queues);
		if (is_worth_it(queues, awaited(queues)) && queues->ops->can_poll(queues)) {
			start_polling(queues);
			return;
		}
	}
	queue_arm(queues, queues->emptied);
	sleep_from_now(queues);
}

void queue_poll_init(struct ob_queues *queues)
{
	queues->poll.poller.poll = on_poll;
	queues->poll.idle.expired = on_idle;
}

void queue_poll_stop(struct ob_queues *queues, bool interrupt)
{
	ob_poller_remove(queues->loop, &queues->poll.poller);
	ob_timer_cancel(queues->loop, &queues->poll.idle);
	if (interrupt)
		queue_interrupt_held(queues);
	queues->poll = (struct ob_queue_poll){0};
	queue_poll_init(queues);
}
