/* SPDX-License-Identifier: BSD-3-Clause */
/* Preloaded into a server: see loop_watch.h. */
#include <dlfcn.h>
#include <sys/epoll.h>

#include "loop_watch.h"

static struct {
	struct loop_watch *counts;
	uint64_t looked, last; /* when the loop looked, and how long before that it did */
	int (*wait)(int epoll, struct epoll_event *events, int max, int timeout);
	int (*wait2)(int epoll, struct epoll_event *events, int max, const struct timespec *timeout,
	             const sigset_t *mask);
} me;

static uint64_t processor_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A library that is preloaded finds what it hides. The first look is the server's begin. */
static void start(void)
{
	const char *path = getenv("OUTBOARD_LOOP_WATCH");

	*(void **)&me.wait = dlsym(RTLD_NEXT, "epoll_wait");
	*(void **)&me.wait2 = dlsym(RTLD_NEXT, "epoll_pwait2");
	if (!me.wait || !path)
		fail("OUTBOARD_LOOP_WATCH", EINVAL);
	me.counts = loop_watch_open(path);
	me.looked = processor_time();
}

static void before(void)
{
	uint64_t now, turn;

	if (!me.counts)
		start();
	now = processor_time();
	turn = now - me.looked;
	if (atomic_exchange(&me.counts->begin, 0)) {
		for (unsigned i = 0; i < WATCH_TABLE; i++)
			atomic_store(&me.counts->table[i], 0);
		atomic_store(&me.counts->rounds, 0);
		atomic_store(&me.counts->max_ns, 0);
	} else {
		loop_watch_note(me.counts, me.last + turn);
	}
	me.last = turn;
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
	int n;

	before();
	n = me.wait(epoll, events, max, timeout);
	me.looked = processor_time();
	return n;
}

int epoll_pwait2(int epoll, struct epoll_event *events, int max, const struct timespec *timeout,
                 const sigset_t *mask)
{
	int n;

	before();
	if (!me.wait2) {
		errno = ENOSYS;
		return -1;
	}
	n = me.wait2(epoll, events, max, timeout, mask);
	me.looked = processor_time();
	return n;
}
