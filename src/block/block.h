/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block nodes: opening, closing, and the interface of a backend ("driver"). Requests go through
 * ob_block_submit() of outboard/block.h, which checks them before a driver sees them.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"
#include "base/opts.h"
#include "loop/loop.h"
#include "loop/offload.h"
#include "outboard/block.h"
#include "outboard/error.h"
#include "outboard/prop.h"

/*
 * By enum ob_block_op. The time is that from submit to done; of reads and writes one in
 * BLOCK_TIMED_EVERY is timed, of all others each.
 */
enum { BLOCK_TIMED_EVERY = 64 };

struct block_stats {
	uint64_t requests[5], bytes[5], errors[5];
	uint64_t timed[5], total_ns[5];
};

/* About how long all requests of a kind took together, in ns. */
uint64_t block_stats_time(const struct block_stats *stats, enum ob_block_op op);

enum block_detect { BLOCK_DETECT_OFF, BLOCK_DETECT_ON, BLOCK_DETECT_UNMAP };

/* What nodes of every driver can be told; see adjust.c. */
struct block_options {
	bool writeback, no_flush;
	uint32_t detect_zeroes;  /* enum block_detect */
	uint32_t rerror, werror; /* enum ob_on_error */
};
extern const struct ob_prop block_node_props[];
const char *block_detect_name(const struct block_options *options); /* "off", "on", "unmap" */

/* Whoever waits for a job: status is 0 or -errno, with a message. Called from the loop. */
struct block_wait {
	void (*done)(struct block_wait *wait, int status, const struct ob_error *err);
};

/* What a helper thread does for a node: see block_start_open(). */
struct block_job {
	struct loop_job loop_job;
	struct block_wait *wait; /* NULL: nobody */
	struct block_wait below; /* for the node below, of a resize */
	struct ob_error error;
	int status;
	uint64_t before, size; /* of a resize */
};

/* What each node begins with; a driver's own struct embeds it first. */
struct ob_block {
	const struct block_driver *driver;
	struct ob_block *below, *above; /* a filter's node, and the filter over a node; or NULL */
	bool adjusts;                   /* some option changes requests: block_adjust() */
	bool keeps_space;               /* whatever is discarded */
	bool direct;                    /* past the host's page cache */
	struct block_options options;
	struct ob_block_info info;
	struct ob_loop *loop;
	struct log log;
	char name[64];
	unsigned in_flight;
	struct ob_task *idle; /* NULL, or see block_when_idle() */
	bool inactive;        /* another process has the storage, or may: see block_inactivate() */
	struct block_stats stats;
	void *props; /* of the driver's table */
	struct block_job job;
	struct list opening;   /* openings.c */
	bool resizing;         /* by a job */
	atomic_bool abandoned; /* nobody wants what open() brings: waits on helper threads end */
};

enum {
	BLOCK_MAX_ZEROES = 64 << 20,
	BLOCK_MAX_DEPTH = 8, /* nodes that stand on each other: walks over them need some stack */
};

/* A piece of a node's contents. */
struct block_piece {
	uint64_t offset, length;
	const uint8_t *bytes; /* NULL: zeroes. Valid until control returns to the event loop */
};

/*
 * How the contents of a node move to another process, for drivers whose storage nobody else can
 * reach. While they move, writes go on, and what was written is given once more.
 */
struct block_migration {
	/* Everything is to be given. 0 or -ENOMEM. Begins anew if it is under way. */
	int (*begin)(struct ob_block *block);
	void (*end)(struct ob_block *block); /* also if it was not begun */
	/* Bytes that are still to be given, if nothing is written any more. */
	uint64_t (*pending)(const struct ob_block *block);
	/* Gives a piece, of at most max bytes or BLOCK_MAX_ZEROES; false: all was given. */
	bool (*next)(struct ob_block *block, uint64_t max, struct block_piece *piece);

	/* The other side: all is made zeroes, some at a time, and then pieces come. Within the
	 * size. */
	void (*clear)(struct ob_block *block, uint64_t offset, uint64_t length);
	void (*load)(struct ob_block *block, const struct block_piece *piece);
};

struct block_driver {
	const char *name; /* as in `-blockdev driver=NAME` */
	const char *summary;
	size_t node_size, props_size;
	const struct ob_prop *props;
	bool filter; /* over another node: block_open_filter() */
	/* Optional. The name of what is to be opened, before open. */
	const char *(*place)(const struct ob_block *block);
	/*
	 * Whether open, close, resize, inactivate and activate reach for storage that may let them
	 * wait, maybe for ever. They are called on helper threads then, and touch nothing but the
	 * node.
	 */
	bool may_sleep;
	/*
	 * Fills block->info. 0 or -errno with a message; nothing is left behind on failure. One
	 * that waits for something looks at block->abandoned now and then.
	 */
	int (*open)(struct ob_block *block, struct ob_error *err);
	void (*close)(struct ob_block *block);
	/* Optional: what the node has to do with the loop, after open and before close. */
	int (*attach)(struct ob_block *block, struct ob_error *err);
	void (*detach)(struct ob_block *block); /* nothing is in flight */
	int (*submit)(struct ob_block *block, struct ob_block_request *request);
	/* Optional. As ob_block_expect(), for what lies within the node. */
	void (*expect)(struct ob_block *block, const struct ob_block_hint *hint);
	/* Optional. As block_resize(), which has checked size and sets info.size afterwards. */
	int (*resize)(struct ob_block *block, uint64_t size, struct ob_error *err);

	/*
	 * Optional, for storage that other processes can reach: gives it up, and takes it back (0,
	 * or -errno with a message). Both may be called on a helper thread; forget is called on the
	 * loop before inactivate, for what there is of the storage outside of the node. open is
	 * called with block->inactive set as it is to be, these while it is set. With stop,
	 * activate waits for a claim that is about to end until *stop; without, it tries once, and
	 * a claim is -EBUSY.
	 */
	void (*forget)(struct ob_block *block);
	void (*inactivate)(struct ob_block *block);
	int (*activate)(struct ob_block *block, const atomic_bool *stop, struct ob_error *err);

	const struct block_migration *migration; /* optional */
};

/* Built in: "mem", "null", "file", "raw"; ended by NULL. */
const struct block_driver *const *block_drivers(void);

/*
 * A node that is not open yet. Takes driver, node-name, active, the driver's properties and those
 * of block_node_props out of opts and refuses the rest. NULL with a message. With active=off it is
 * inactive at first.
 */
struct ob_block *block_new(struct ob_loop *loop, const struct log *log, struct opts *opts,
                           struct ob_error *err);

/* Opens it: 0 or -errno with a message, and then the node is gone. Or frees it unopened. */
int block_open_new(struct ob_block *block, struct ob_error *err);
void block_close_new(struct ob_block *block);

/* block_new() and block_open_new(), which may take as long as the storage likes: see
 * block_start_open(). */
struct ob_block *block_open(struct ob_loop *loop, const struct log *log, struct opts *opts,
                            struct ob_error *err);

/*
 * Looks at what block_open() would open, and says how large it is, in bytes, without opening it. 0
 * or -errno with a message; options are taken out of opts.
 */
int block_look(struct opts *opts, uint64_t *size, struct ob_error *err);

/*
 * The same for a driver that is a filter, over a node that nobody else uses from then on, and that
 * is closed after it. Nothing is waited for. Requests to it reach the node below; they are counted
 * by both.
 */
struct ob_block *block_open_filter(struct ob_block *below, const struct log *log, struct opts *opts,
                                   struct ob_error *err);

/* The node that has the bytes: the lowest one. And how these move, or NULL: not by us. */
static inline struct ob_block *block_storage(struct ob_block *block)
{
	while (block->below)
		block = block->below;
	return block;
}
static inline const struct block_migration *block_migration(const struct ob_block *block)
{
	while (block->below)
		block = block->below;
	return block->driver->migration;
}

/*
 * Schedules a task as soon as nothing is in flight any more: false, nothing is. For a node that
 * gets no new requests.
 */
static inline bool block_when_idle(struct ob_block *block, struct ob_task *task)
{
	if (block->in_flight)
		block->idle = task;
	return block->in_flight > 0;
}

/* Nothing is in flight. Flushes nothing by itself. */
void block_close(struct ob_block *block);

/*
 * The same without waiting for storage. Each returns 0 or -errno (with a message) when it has
 * ended, or -EINPROGRESS: wait->done is called from the loop when it has. A node has one such job
 * at a time, and is not closed while it has one. (A call that never ends holds up nobody else, and
 * not the end of the process.)
 *
 * block_start_open() opens what block_new() made; if that fails the node is gone. -EBUSY where too
 * many opens of the same folder, or calls to storage, do not answer.
 */
int block_start_open(struct ob_block *block, struct block_wait *wait, struct ob_error *err);
int block_start_close(struct ob_block *block, struct block_wait *wait); /* never fails */
int block_start_resize(struct ob_block *block, uint64_t size, struct block_wait *wait,
                       struct ob_error *err);

/* Nobody wants the node any more that is being opened: it goes as soon as it can. wait is free. */
void block_abandon(struct ob_block *block);

/* Before a loop ends on which storage may still be asked: whoever is being opened is not counted.
 */
void block_forget_openings(struct ob_loop *loop);

/*
 * Grows or shrinks the storage to size bytes; what is new reads as zeroes. Whoever uses the node is
 * told by the caller. 0, -ENOTSUP, -EROFS, -EINVAL (no multiple of 512, or of what direct I/O
 * needs), -EBUSY (shrinks while requests are in flight, being resized, inactive), or the storage's
 * own error; with a message. Nothing has changed then.
 */
int block_resize(struct ob_block *block, uint64_t size, struct ob_error *err);
/* As far as it can be said beforehand. */
int block_check_resize(const struct ob_block *block, uint64_t size, struct ob_error *err);

/*
 * Memory of length bytes at base that requests on this loop may be about, in a while: a backend may
 * prepare for that. It must be taken back before it goes away, and no request may be about it then.
 */
void block_memory_add(struct ob_loop *loop, void *base, size_t length);
void block_memory_remove(struct ob_loop *loop, void *base);

/*
 * A node that is handed over to another process: inactive, it leaves the storage alone and refuses
 * requests (-EPERM), so that the other one can take it. Nothing is in flight, and what has to be on
 * stable storage was flushed. What the storage must not have become meanwhile (smaller, locked by
 * somebody else) fails the activation: 0, or -errno with a message, and it stays inactive.
 */
void block_inactivate(struct ob_block *block);
int block_activate(struct ob_block *block, struct ob_error *err);

/*
 * The same without waiting for storage: 0 or -errno when it has ended, or -EINPROGRESS: done is
 * called from the loop when it has, with status. The node is inactive meanwhile, counts as having a
 * request in flight, and has no other hand-over. A claim on the storage that seems to be about to
 * end (of a process that was killed) is waited for. Set done first. Embedded in its owner, which
 * lives until done was called, as the node does. A message stands in why.
 */
struct block_handover {
	void (*done)(struct block_handover *handover);
	int status; /* giving up never fails */
	struct ob_error why;

	struct ob_block *block;
	struct loop_job job;
	atomic_bool stop;
	bool activate;
};
int block_start_inactivate(struct ob_block *block, struct block_handover *handover);
int block_start_activate(struct ob_block *block, struct block_handover *handover);
/* It is not wanted any more: done is called soon, as a rule. */
void block_handover_stop(struct block_handover *handover);

static inline bool block_is_active(const struct ob_block *block)
{
	return !block->inactive;
}

/* For drivers: the request is done; calls request->done. Only for one that is under way. */
void block_complete(struct ob_block_request *request, int status);

#endif
