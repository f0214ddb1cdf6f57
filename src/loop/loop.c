/* SPDX-License-Identifier: BSD-3-Clause */
/* The event loop on epoll; see loop.h for what a turn is. Timers are in timer.c. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"
#include "loop.h"

#ifdef __x86_64__
enum { LOOK_TICKS = 40000, SHARE_TICKS = 250000 }; /* 10 to 20, 60 to 125 us */
#else
enum { LOOK_TICKS = 15000, SHARE_TICKS = 100000 };
#endif

/* Tasks and pollers hang in rings whose head looks like one of them. */
#define ring_init(head) ((head)->next = (head)->prev = (head))
#define ring_empty(head) ((head)->next == (head))
#define ring_append(head, element)                                                                 \
	((element)->next = (head), (element)->prev = (head)->prev, (head)->prev->next = (element), \
	 (head)->prev = (element))
#define ring_remove(element)                                                                       \
	((element)->next->prev = (element)->prev, (element)->prev->next = (element)->next,         \
	 (element)->next = (element)->prev = NULL)

struct ob_loop *loop_new(void)
{
	struct ob_loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop)
		return NULL;
	loop->share = SHARE_TICKS;
	ring_init(&loop->tasks);
	ring_init(&loop->pollers);
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0) {
		free(loop);
		return NULL;
	}
	rc = loop_offload_init(loop);
	if (rc) {
		close(loop->epoll);
		free(loop);
		errno = -rc;
		return NULL;
	}
	return loop;
}

void loop_free(struct ob_loop *loop)
{
	if (!loop)
		return;
	loop_offload_end(loop);
	close(loop->epoll);
	free(loop->timers);
	free(loop);
}

uint64_t ob_loop_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool ob_loop_spent(const struct ob_loop *loop)
{
	return loop_ticks() - loop->began >= loop->share;
}

void loop_set_share(struct ob_loop *loop, uint64_t ticks)
{
	loop->share = ticks;
}

int loop_fd_add(struct ob_loop *loop, struct loop_fd *watch)
{
	struct epoll_event event = {.events = watch->events, .data.ptr = watch};

	return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) ? -errno : 0;
}

int loop_fd_modify(struct ob_loop *loop, struct loop_fd *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	if (events == watch->events)
		return 0;
	if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event))
		return -errno;
	watch->events = events;
	return 0;
}

void loop_fd_remove(struct ob_loop *loop, struct loop_fd *watch)
{
	epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
	for (int i = loop->next_event; i < loop->event_count; i++) {
		if (loop->events[i].data.ptr == watch)
			loop->events[i].data.ptr = NULL;
	}
}

void ob_task_schedule(struct ob_loop *loop, struct ob_task *task)
{
	if (!task->next)
		ring_append(&loop->tasks, task);
}

void ob_task_cancel(struct ob_task *task)
{
	if (task->next)
		ring_remove(task);
}

/*
 * Runs the tasks that are scheduled now. They are first moved to a ring of their own, so that a
 * task that schedules itself waits for the next turn, and any task may cancel any other.
 */
static void run_tasks(struct ob_loop *loop)
{
	struct ob_task now, *task;

	if (ring_empty(&loop->tasks))
		return;
	now = loop->tasks;
	now.next->prev = now.prev->next = &now;
	ring_init(&loop->tasks);
	while (!ring_empty(&now)) {
		task = now.next;
		ring_remove(task);
		loop_begin_share(loop);
		task->run(task);
	}
}

void ob_poller_add(struct ob_loop *loop, struct ob_poller *poller)
{
	if (!poller->next)
		ring_append(&loop->pollers, poller);
}

void ob_poller_remove(struct ob_loop *loop, struct ob_poller *poller)
{
	if (!poller->next)
		return;
	if (loop->next_poller == poller)
		loop->next_poller = poller->next;
	ring_remove(poller);
}

struct loop_shared *loop_shared_find(const struct ob_loop *loop, const void *kind)
{
	struct loop_shared *shared = loop->shared;

	while (shared && shared->kind != kind)
		shared = shared->next;
	return shared;
}

void loop_shared_add(struct ob_loop *loop, struct loop_shared *shared)
{
	shared->next = loop->shared;
	loop->shared = shared;
}

void loop_shared_remove(struct ob_loop *loop, struct loop_shared *shared)
{
	struct loop_shared **at = &loop->shared;

	while (*at && *at != shared)
		at = &(*at)->next;
	if (*at)
		*at = shared->next;
}

static bool run_pollers(struct ob_loop *loop)
{
	struct ob_poller *poller;
	bool awake = false;

	for (poller = loop->pollers.next; poller != &loop->pollers; poller = loop->next_poller) {
		loop->next_poller = poller->next;
		loop_begin_share(loop);
		awake |= poller->poll(poller);
	}
	loop->next_poller = NULL;
	return awake;
}

/* How long to sleep, in ns; UINT64_MAX: until something happens. */
static uint64_t sleep_ns(struct ob_loop *loop, int timeout_ms, bool awake)
{
	uint64_t limit = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000;
	uint64_t until_timer;

	if (awake)
		return 0;
	until_timer = loop_timers_wait_ns(loop);
	return until_timer < limit ? until_timer : limit;
}

/*
 * epoll_pwait2() takes nanoseconds. Before Linux 5.11, and in sandboxes that know no newer calls,
 * milliseconds have to do, rounded up.
 */
static int wait_events(struct ob_loop *loop, uint64_t ns)
{
	struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000),
	                           .tv_nsec = (long)(ns % 1000000000)};
	uint64_t ms = ns / 1000000 + (ns % 1000000 > 0);
	int n = -1;

	if (ns && ns != UINT64_MAX && !loop->coarse) {
		n = epoll_pwait2(loop->epoll, loop->events, LOOP_EVENTS, &timeout, NULL);
		if (n >= 0 || (errno != ENOSYS && errno != EPERM))
			return n;
		loop->coarse = true;
	}
	return epoll_wait(loop->epoll, loop->events, LOOP_EVENTS,
	                  ns == UINT64_MAX ? -1
	                  : ms > INT_MAX   ? INT_MAX
	                                   : (int)ms);
}

/* Waits for descriptors, and calls those that are ready. 0 or -errno. */
static int look(struct ob_loop *loop, uint64_t ns)
{
	int n = wait_events(loop, ns);

	if (n < 0 && errno != EINTR)
		return -errno;
	loop->looked = loop_ticks();
	loop->event_count = n < 0 ? 0 : n;
	for (loop->next_event = 0; loop->next_event < loop->event_count;) {
		struct epoll_event event = loop->events[loop->next_event++];
		struct loop_fd *watch = event.data.ptr;

		if (!watch)
			continue;
		loop_begin_share(loop);
		watch->ready(watch, event.events);
	}
	loop->event_count = 0;
	return 0;
}

int loop_turn(struct ob_loop *loop, int timeout_ms)
{
	bool awake = run_pollers(loop) || !ring_empty(&loop->tasks);
	int rc = 0;

	if (!awake || loop_ticks() - loop->looked >= LOOK_TICKS) {
		rc = look(loop, sleep_ns(loop, timeout_ms, awake));
		if (!rc)
			loop_timers_run(loop);
	}
	if (!rc)
		run_tasks(loop);
	return rc;
}

int loop_run(struct ob_loop *loop)
{
	int rc = 0;

	for (loop->stop = false; !loop->stop && !rc;)
		rc = loop_turn(loop, -1);
	return rc;
}

void loop_stop(struct ob_loop *loop)
{
	loop->stop = true;
}
