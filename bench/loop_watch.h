/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is seen of a server's loop from outside. loop_watch.so is preloaded into the server and
 * counts here, in a file that OUTBOARD_LOOP_WATCH names; who measures maps the file and reads it.
 *
 * The loop looks for what came by epoll. So what comes is found by the next look, and has had its
 * turn when the loop looks once more: the time between a look and the last but one bounds what
 * anybody waits for the loop. It is taken in processor time of the loop's thread, which does not
 * grow while the processor is somebody else's.
 */
#ifndef BENCH_LOOP_WATCH_H
#define BENCH_LOOP_WATCH_H

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

/* Sixteen places for each power of two: a sixteenth is as exact as it gets. */
enum { WATCH_PLACES = 16, WATCH_TABLE = 61 * WATCH_PLACES };

struct loop_watch {
	_Atomic uint64_t begin;  /* set: forget what was counted */
	_Atomic uint64_t rounds; /* of the attack */
	_Atomic uint64_t max_ns;
	_Atomic uint64_t table[WATCH_TABLE];
};

static inline struct loop_watch *loop_watch_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *watch;

	if (fd < 0 || ftruncate(fd, sizeof(struct loop_watch)))
		fail(path, errno);
	watch = mmap(NULL, sizeof(struct loop_watch), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (watch == MAP_FAILED)
		fail(path, errno);
	close(fd);
	return watch;
}

static inline unsigned loop_watch_place(uint64_t ns)
{
	unsigned log;

	if (ns < WATCH_PLACES)
		return (unsigned)ns;
	log = 63 - (unsigned)__builtin_clzll(ns);
	return (log - 3) * WATCH_PLACES + (unsigned)(ns >> (log - 4) & (WATCH_PLACES - 1));
}

/* The most that is counted in a place. */
static inline uint64_t loop_watch_value(unsigned place)
{
	unsigned octave = place / WATCH_PLACES, part = place % WATCH_PLACES;

	if (!octave)
		return place;
	return ((uint64_t)(WATCH_PLACES + part + 1) << (octave - 1)) - 1;
}

static inline void loop_watch_note(struct loop_watch *watch, uint64_t ns)
{
	atomic_fetch_add_explicit(&watch->table[loop_watch_place(ns)], 1, memory_order_relaxed);
	if (ns > atomic_load_explicit(&watch->max_ns, memory_order_relaxed))
		atomic_store_explicit(&watch->max_ns, ns, memory_order_relaxed);
}

#endif
