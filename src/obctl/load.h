/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A load on an NVMe namespace through the polled driver: which blocks are read and written, how
 * many at a time, for how long; what it cost; and whether the data was right.
 */
#ifndef OBCTL_LOAD_H
#define OBCTL_LOAD_H

#include "client/nvme.h"
#include "obctl/copy.h"
#include "obctl/histogram.h"
#include "obctl/pattern.h"

/* Choices of options: enum nvme_doorbells, and whether there are interrupts. */
extern const char *const load_doorbell_names[], *const load_interrupt_names[];

enum { LOAD_MAX_TOLD = 10 }; /* errors that are said in words; the others are counted */

/*
 * Places in the loop where somebody else may have a turn, to stop the driver there as a VMM stops a
 * guest's CPUs anywhere.
 */
enum load_point {
	LOAD_TURN,   /* a turn round the queues begins */
	LOAD_REAPED, /* completions were taken */
	LOAD_UNRUNG, /* commands are in the queue, and the controller was not told */
	LOAD_RUNG,   /* it was told */
	LOAD_POINTS,
};

struct load;
struct load_hook {
	/* 0, or -errno with a message, which ends the load. */
	int (*at)(struct load_hook *hook, struct load *load, enum load_point point,
	          struct ob_error *err);
};

struct load_plan {
	unsigned read_percent; /* 0: all are writes */
	bool verify, random;
	uint64_t seed;
	uint64_t first_unit; /* units are block-size bytes */
	uint64_t units;
	uint64_t count;         /* I/Os; UINT64_MAX: no limit */
	uint64_t nanoseconds;   /* UINT64_MAX: no limit */
	uint64_t stuck_after;   /* nanoseconds without a completion that are too many */
	bool progress;          /* say now and then how far it is, on standard error */
	struct load_hook *hook; /* may be NULL */
};

/* What was read and waits for what belongs before it. */
struct load_held {
	struct nvme_queue *queue; /* NULL: nothing */
	unsigned slot;
};

/* One command under way. */
struct load_slot {
	uint64_t unit, start;
	uint32_t generation;
	bool write;
};

struct load {
	struct load_plan plan;
	struct nvme *nvme;
	struct copy *copy;    /* where written data comes from, or read data goes; NULL: neither */
	uint32_t unit_blocks; /* logical blocks of a unit */

	/* While it runs. */
	struct load_slot *slots; /* of all queues, depth of them each */
	uint64_t random_state, next_unit;
	uint64_t started, completed;
	uint64_t begin, now, last_completion, last_progress, last_count;
	bool reading_back;
	bool ending; /* start no more */
	unsigned idle_turns;

	/*
	 * Copying in order: unit n waits in held[n % slot_count], where no other can be, since the
	 * units from next_held on that were started keep a slot each.
	 */
	struct load_held *held;
	uint64_t slot_count, next_held;

	/*
	 * With verify: how often each unit was written, whether a command for it is under way, and
	 * how many writes that were not acknowledged it may hold.
	 */
	uint32_t *generations;
	uint8_t *busy, *doubtful;

	/* Results. */
	struct histogram reads, writes;
	uint64_t elapsed;        /* nanoseconds, without the reading back */
	uint64_t failed;         /* commands */
	uint64_t checked, wrong; /* logical blocks */
};

/* *load is zeroed but for plan, nvme and copy. -ENOMEM, -EINVAL with a message. */
int load_prepare(struct load *load, struct ob_error *err);

/*
 * Runs it; with verify, what was written is read back at the end. 0 also if commands failed or data
 * was wrong: see the results. -errno with a message if the device or the connection failed.
 */
int load_run(struct load *load, struct ob_error *err);

/*
 * After load_run() failed since the device was lost: goes on with another controller of the same
 * disk (nvme replaces the lost one, which is still there). Everything that was acknowledged is
 * read back, where a write that was under way may have happened or not; then the load goes on as
 * planned. As load_run().
 */
int load_go_on(struct load *load, struct nvme *nvme, struct ob_error *err);

void load_free(struct load *load);

#endif
