/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The io_uring engine's own. uring.c has jobs, uring_failed.c what happens when the kernel refuses
 * a call, uring_setup.c how a ring is made.
 */
#ifndef BLOCK_URING_H
#define BLOCK_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "engine.h"

enum {
	SUBMIT_ENTRIES = 256,
	FILES = 256,    /* registered files; those beyond are used by descriptor */
	BUFFERS = 1024, /* registered pieces of memory; those beyond are used by address */
	CANARY = FILES, /* the registered file that says when the ring has gone */
	BATCH = 64,
	MAX_LENGTH = 0x7ffff000, /* of one read or write: Linux' MAX_RW_COUNT */
	WAKE_NS = 8000,          /* what it takes to sleep and to be woken */
	SPIN_NS = 2 * WAKE_NS,   /* the most that looking takes instead */
	WAIT_MAX_NS = 16 * WAKE_NS,
};

struct uring {
	struct engine engine;
	struct ob_loop *loop;
	unsigned kind;
	struct io_uring ring;
	struct loop_fd watch; /* the eventfd */
	bool armed;           /* it tells of completions */
	struct ob_task submit;
	struct ob_poller poller; /* added while jobs are under way */
	unsigned under_way;
	uint64_t since;                            /* when waiting began, in ns; 0: it has not */
	uint64_t usual;                            /* how long it takes lately, in ns */
	struct engine_job *waiting, **waiting_end; /* for submission entries */
	struct list jobs;
	bool reaping, freed;
	bool files_known, buffers_tried, buffers_known;

	struct ob_timer retry;
	unsigned retry_ms;      /* 0: nothing was refused lately */
	uint64_t refused_since; /* in ns */
	bool failed, all_ended; /* all_ended: the kernel works on none of its jobs any more */
	struct loop_fd canary;  /* the reading end; -1: there is none */
	bool canary_watched;
	bool file_taken[FILES], buffer_taken[BUFFERS];
};

/* uring_setup.c. 0 or -errno; older kernels get a ring with fewer flags. */
int uring_set_up(struct io_uring *ring, unsigned entries, unsigned kind);

/*
 * uring_failed.c. Whether the ring goes on after a call of it said code: with a pause (retry_ms),
 * if it was refused for a moment. False: it has failed, and is not there any more.
 */
bool uring_goes_on(struct uring *uring, int code);
void uring_canary_closed(struct loop_fd *watch, uint32_t events);
void uring_leave_loop(struct uring *uring);
void uring_destroy(struct uring *uring);

#endif
