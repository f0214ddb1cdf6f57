/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that may sleep, made by helper threads so that the loop does not wait: opening an image,
 * closing what a client gave, giving back memory.
 *
 * A job's work runs on a helper thread and touches nothing but the job and what the job owns; its
 * result is told on the loop. A call can sleep for ever (a stalled server behind a file system), so
 * jobs belong to lanes, each with a bound of its own: what is stuck in one lane holds up nobody in
 * another. Helper threads come as they are needed and go when they had nothing to do for a second.
 */
#ifndef LOOP_OFFLOAD_H
#define LOOP_OFFLOAD_H

#include <stdbool.h>

#include "outboard/loop.h"

enum { LOOP_STORAGE_CALLS = 256, LOOP_CLIENT_CALLS = 1024, LOOP_CHARDEV_CALLS = 256 };

/*
 * With so many in the lane, what can be refused is: an opening. What can't (closing, resizing,
 * handing over) has the rest.
 */
enum { LOOP_STORAGE_OPENINGS = LOOP_STORAGE_CALLS / 4 * 3 };

enum loop_lane {
	LOOP_LANE_STORAGE, /* files that an operator named: at most LOOP_STORAGE_CALLS at a time */
	/*
	 * Descriptors that clients gave. Each server and each device has one call at a time, so
	 * that whoever's closes are stuck holds up nobody else's: LOOP_CLIENT_CALLS.
	 */
	LOOP_LANE_CLIENT,
	LOOP_LANE_CHARDEV, /* what chardevs read and write, one call each way: LOOP_CHARDEV_CALLS */
	LOOP_LANE_MEMORY,  /* giving back memory, which takes long and never sleeps: 1 */
	LOOP_LANES,
};

/* Set work, done, orphaned and lane first. Embedded in its owner, which lives until done was
 * called. */
struct loop_job {
	/* On a helper thread, with all signals blocked. */
	void (*work)(struct loop_job *job);
	/* On the loop, never from within loop_offload(). NULL: nobody is told, work frees the job.
	 */
	void (*done)(struct loop_job *job);
	/*
	 * In place of done, where the loop ended first: frees what the job owns. On a helper thread
	 * or within loop_free(). NULL: there is nothing to free.
	 */
	void (*orphaned)(struct loop_job *job);
	enum loop_lane lane;

	/* The lane's. */
	struct loop_job *next;
};

/*
 * Has the job's work done, in the order of calls within a lane as long as one thread does. Always
 * taken: where no thread can be had now, the job waits until one can.
 */
void loop_offload(struct ob_loop *loop, struct loop_job *job);

/*
 * Takes a job back whose work has not begun: true, and neither work nor done will be called. False:
 * it has begun, and done will be called (after loop_free(): orphaned).
 */
bool loop_offload_cancel(struct ob_loop *loop, struct loop_job *job);

/* Jobs of a lane that were handed in and whose work has not ended. */
unsigned loop_offload_count(struct ob_loop *loop, enum loop_lane lane);

#endif
