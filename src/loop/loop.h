/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event loop: descriptors, timers, deferred calls and pollers, on one thread.
 *
 * A turn: pollers, descriptors that are ready, expired timers, tasks. It sleeps only when no task
 * is scheduled and no poller wants it awake. While one does, most turns are without a system call:
 * descriptors and timers are looked at every ten or twenty microseconds. What a model may use is in
 * outboard/loop.h. A callback may add, change and remove anything, itself included, at any time.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "outboard/loop.h"

/* Set fd, events and ready first. Embedded in its owner; the descriptor stays the owner's. */
struct loop_fd {
	int fd;
	uint32_t events; /* EPOLLIN, EPOLLOUT; level-triggered without EPOLLET. See loop_fd_modify()
	                  */
	void (*ready)(struct loop_fd *watch, uint32_t events);
};

/* NULL and errno on failure. */
struct ob_loop *loop_new(void);

/* Nothing may be registered any more. */
void loop_free(struct ob_loop *loop);

/* Runs turns until loop_stop() is called. 0 or -errno of the wait itself. */
int loop_run(struct ob_loop *loop);

/* One turn that sleeps for timeout_ms at most (-1: until something happens; 0: not at all). */
int loop_turn(struct ob_loop *loop, int timeout_ms);

void loop_stop(struct ob_loop *loop);

/*
 * A callback's share of the time, in ticks of the loop (of a nanosecond or less): for tests, which
 * must not depend on time. 0: ob_loop_spent() is always true; UINT64_MAX: never.
 */
void loop_set_share(struct ob_loop *loop, uint64_t ticks);

/* 0 or -errno of epoll_ctl (-EEXIST: the descriptor is watched already; -EPERM: it can't be). */
int loop_fd_add(struct ob_loop *loop, struct loop_fd *watch);
int loop_fd_modify(struct ob_loop *loop, struct loop_fd *watch, uint32_t events);
/* Before the descriptor is closed. Events already fetched for it are not delivered. */
void loop_fd_remove(struct ob_loop *loop, struct loop_fd *watch);

/*
 * Something that several users of a loop share (an I/O ring, a pool of threads) and that has to
 * hang somewhere: on the loop, since there are no globals. Embedded in what is shared, which counts
 * its users by itself. kind is any constant address; there is one of a kind on a loop.
 */
struct loop_shared {
	const void *kind;
	struct loop_shared *next;
};

/* NULL when none of that kind was added. */
struct loop_shared *loop_shared_find(const struct ob_loop *loop, const void *kind);
void loop_shared_add(struct ob_loop *loop, struct loop_shared *shared);
void loop_shared_remove(struct ob_loop *loop, struct loop_shared *shared);

#endif
