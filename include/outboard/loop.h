/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event loop as a device model sees it: deferred calls, timers and pollers.
 *
 * A process runs one loop on one thread, and everything of a device happens on it: no locks, and
 * nothing here may be called from another thread. The structs are embedded in whatever owns them
 * (a model's runtime part, never its state), are zero-initialised but for the callback, and must
 * be cancelled before their memory goes away.
 */
#ifndef OUTBOARD_LOOP_H
#define OUTBOARD_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct ob_loop;

/* Set the callback first; the rest belongs to the loop. */
struct ob_task {
	void (*run)(struct ob_task *task);
	struct ob_task *next, *prev; /* both NULL while not scheduled */
};

/*
 * Has task->run called once, soon: after the events at hand were handled and before the loop goes
 * to sleep. Scheduling a task that is scheduled already changes nothing. A task that schedules
 * itself runs again on the next turn, with pollers called, and descriptors looked at, in between.
 * (While a poller keeps the loop awake, that look is taken only every 10 or 20 us.)
 */
void ob_task_schedule(struct ob_loop *loop, struct ob_task *task);

/* Takes the task back; nothing happens if it was not scheduled. */
void ob_task_cancel(struct ob_task *task);

/* Set the callback first; the rest belongs to the loop. */
struct ob_timer {
	void (*expired)(struct ob_timer *timer);
	uint64_t deadline; /* in ns of CLOCK_MONOTONIC */
	unsigned slot;     /* place in the loop's heap, counted from 1; 0 while not armed */
};

/*
 * Has timer->expired called once, delay_ns from now at the earliest. Arming an armed timer moves
 * it. Returns 0, or -ENOMEM (the timer is then not armed).
 */
int ob_timer_arm(struct ob_loop *loop, struct ob_timer *timer, uint64_t delay_ns);

/* Disarms; nothing happens if the timer was not armed. */
void ob_timer_cancel(struct ob_loop *loop, struct ob_timer *timer);

/* Set the callback first; the rest belongs to the loop. */
struct ob_poller {
	/* Looks for work and does it. Returns whether the loop shall stay awake: see below. */
	bool (*poll)(struct ob_poller *poller);
	struct ob_poller *next, *prev; /* both NULL while not added */
};

/*
 * Has poller->poll called on every turn of the loop from now on, first thing. While it (or another
 * poller) returns true, because it found work or because it expects some soon, the loop does not
 * sleep, and one turn follows the other: each runs pollers and scheduled tasks, while descriptors
 * and timers have their turn every 10 or 20 us, in time that no single call should exceed.
 *
 * When all return false the loop sleeps until a descriptor or a timer wakes it, and polls on. So a
 * poller has arranged to be woken (by a doorbell, an eventfd, a timer) before it returns false, and
 * has looked once more after that. One that is seldom of use is better removed meanwhile.
 *
 * Spinning is the whole of a core: whoever returns true without having found anything bounds for
 * how long. Adding a poller that was added changes nothing. It may be called from any callback, a
 * poller's own included; one added from there is called in the same turn.
 */
void ob_poller_add(struct ob_loop *loop, struct ob_poller *poller);

/* Takes the poller out, from within its own call as well; nothing happens if it was not added. */
void ob_poller_remove(struct ob_loop *loop, struct ob_poller *poller);

/* CLOCK_MONOTONIC now, in ns. */
uint64_t ob_loop_now(void);

/*
 * Whether the callback that is running has used up its share of the loop's time, about 100 us. All
 * VMs of a process wait for the same loop, so what a guest or client can make long asks this now
 * and then, and leaves the rest to a task. "Now and then" is after a few microseconds of work: to
 * ask takes some ten nanoseconds. Progress is the caller's to guarantee: do something first, then
 * ask.
 */
bool ob_loop_spent(const struct ob_loop *loop);

#endif
