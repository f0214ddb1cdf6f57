/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop's own struct, shared by loop.c, timer.c and offload.c. */
#ifndef LOOP_INTERNAL_H
#define LOOP_INTERNAL_H

#include "loop.h"

enum { LOOP_EVENTS = 64 };

struct ob_loop {
	int epoll;
	bool stop;
	bool coarse; /* the kernel has no epoll_pwait2() */

	/* The batch that is being handled: removing a descriptor takes it out of the rest. */
	struct epoll_event events[LOOP_EVENTS];
	int event_count, next_event;

	struct ob_task tasks; /* heads of rings */
	struct ob_poller pollers, *next_poller;
	uint64_t looked; /* when descriptors were looked at last, in ticks */
	uint64_t began;  /* when the callback at hand was called */
	uint64_t share;  /* how long it may take before ob_loop_spent() says so */

	struct ob_timer **timers; /* a heap, earliest first; slot n is timers[n - 1] */
	unsigned timer_count, timer_room;

	struct loop_shared *shared;
	struct offload *offload;
};

/* Helper threads (offload.c). 0 or -errno. */
int loop_offload_init(struct ob_loop *loop);
void loop_offload_end(struct ob_loop *loop);

/*
 * Ticks are of whatever takes a few nanoseconds to read. How fast they run matters little: they
 * only say when it is time for a look at descriptors, or for somebody else.
 */
#ifdef __x86_64__
#define loop_ticks() __builtin_ia32_rdtsc()
#else
#define loop_ticks() ob_loop_now()
#endif

/* A callback is about to be called. */
static inline void loop_begin_share(struct ob_loop *loop)
{
	loop->began = loop_ticks();
}

/* Nanoseconds until the first timer is due; UINT64_MAX without one. */
uint64_t loop_timers_wait_ns(struct ob_loop *loop);

/* Calls the timers that are due now, not those that they arm. */
void loop_timers_run(struct ob_loop *loop);

#endif
