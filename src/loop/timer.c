/* SPDX-License-Identifier: BSD-3-Clause */
/* Timers: a binary heap by deadline. Each timer knows its slot, so that any can be taken out. */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

static void place(struct ob_loop *loop, struct ob_timer *timer, unsigned slot)
{
	loop->timers[slot - 1] = timer;
	timer->slot = slot;
}

static void sift_up(struct ob_loop *loop, struct ob_timer *timer, unsigned slot)
{
	while (slot > 1 && loop->timers[slot / 2 - 1]->deadline > timer->deadline) {
		place(loop, loop->timers[slot / 2 - 1], slot);
		slot /= 2;
	}
	place(loop, timer, slot);
}

static void sift_down(struct ob_loop *loop, struct ob_timer *timer, unsigned slot)
{
	for (;;) {
		unsigned child = slot * 2;

		if (child > loop->timer_count)
			break;
		if (child < loop->timer_count &&
		    loop->timers[child]->deadline < loop->timers[child - 1]->deadline)
			child++;
		if (loop->timers[child - 1]->deadline >= timer->deadline)
			break;
		place(loop, loop->timers[child - 1], slot);
		slot = child;
	}
	place(loop, timer, slot);
}

int ob_timer_arm(struct ob_loop *loop, struct ob_timer *timer, uint64_t delay_ns)
{
	ob_timer_cancel(loop, timer);
	if (loop->timer_count == loop->timer_room) {
		unsigned room = loop->timer_room ? loop->timer_room * 2 : 8;
		struct ob_timer **timers = reallocarray(loop->timers, room, sizeof(*timers));

		if (!timers)
			return -ENOMEM;
		loop->timers = timers;
		loop->timer_room = room;
	}
	if (__builtin_add_overflow(ob_loop_now(), delay_ns, &timer->deadline))
		timer->deadline = UINT64_MAX;
	sift_up(loop, timer, ++loop->timer_count);
	return 0;
}

void ob_timer_cancel(struct ob_loop *loop, struct ob_timer *timer)
{
	unsigned slot = timer->slot;
	struct ob_timer *last;

	if (!slot)
		return;
	timer->slot = 0;
	last = loop->timers[--loop->timer_count];
	if (last == timer)
		return;
	if (slot > 1 && loop->timers[slot / 2 - 1]->deadline > last->deadline)
		sift_up(loop, last, slot);
	else
		sift_down(loop, last, slot);
}

uint64_t loop_timers_wait_ns(struct ob_loop *loop)
{
	uint64_t now;

	if (!loop->timer_count)
		return UINT64_MAX;
	now = ob_loop_now();
	return loop->timers[0]->deadline > now ? loop->timers[0]->deadline - now : 0;
}

void loop_timers_run(struct ob_loop *loop)
{
	uint64_t now;

	if (!loop->timer_count)
		return;
	/* What a callback arms is due after this moment, and so left for the next turn. */
	now = ob_loop_now();
	while (loop->timer_count && loop->timers[0]->deadline <= now) {
		struct ob_timer *timer = loop->timers[0];

		ob_timer_cancel(loop, timer);
		loop_begin_share(loop);
		timer->expired(timer);
	}
}
