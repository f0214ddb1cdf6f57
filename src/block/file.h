/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file driver's own: the node, what all nodes of a loop share, and a request under way.
 *
 * file.c opens and closes, file_open.c looks at what is opened, file_queue.c says when a request
 * may begin, file_inline.c carries it out on the spot where that can be, file_io.c by an engine
 * where not, file_range.c gives space back and makes zeroes, file_sync.c says what is on stable
 * storage, file_shared.c has the engines and the places.
 */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "block/block.h"
#include "engine.h"

enum {
	FILE_MAX_JOBS = 1024,    /* under way on one loop; more wait */
	FILE_MAX_SLEEPS = 256,   /* of these, that keep a thread of the kernel's */
	FILE_MAX_BOUNCES = 32,   /* under way on one loop, for requests that need one to start */
	FILE_BOUNCE = 128 << 10, /* bytes; a longer request goes through its buffer in pieces */
	FILE_JOB_CHUNK = 64,
};

enum file_auto { FILE_AUTO, FILE_ON, FILE_OFF };
enum file_aio { FILE_AIO_AUTO, FILE_AIO_URING, FILE_AIO_THREADS };
enum file_discard { FILE_DISCARD_UNMAP, FILE_DISCARD_IGNORE };
enum file_locking { FILE_LOCKING_AUTO, FILE_LOCKING_ON, FILE_LOCKING_OFF };

struct file_props {
	char *filename;
	bool read_only;
	bool sqpoll, iopoll, fixed_buffers;
	uint32_t direct, aio, discard, locking; /* the enums above */
};

/*
 * What requests take of what all nodes of a loop share. A node gets no more of it than it leaves to
 * others, so that one whose disk has stalled can't have it all.
 */
enum file_share {
	FILE_SHARE_JOBS,    /* each request */
	FILE_SHARE_SLEEPS,  /* what the kernel can't do without sleeping: in threads of its own */
	FILE_SHARE_THREADS, /* what has to be done by threads of ours */
	FILE_SHARES,
};

/* Requests that wait, through their own next. */
struct file_queue {
	struct ob_block_request *first, **end;
};

/* What requests of one loop share. Hangs off the loop; goes with the last node. */
struct file_shared {
	struct loop_shared link;
	struct ob_loop *loop;
	struct log log; /* of the node that was the first to need a ring, which is that of all */
	unsigned nodes;
	struct engine *uring[URING_KINDS], *threads; /* NULL until needed */
	bool uring_refused[URING_KINDS];
	struct file_range *ranges; /* memory that may be registered: file_fixed.c */
	unsigned range_count;
	struct file_io *chunks[FILE_MAX_JOBS / FILE_JOB_CHUNK], *free_io;
	unsigned chunk_count;
	unsigned bounces;
	unsigned used[FILE_SHARES];
	struct list waiting; /* nodes whose requests wait for a share, or for a bounce buffer */
};

/* Asking the kernel for what it has at hand: see file_inline.c. */
struct file_asked {
	bool never; /* the file system doesn't know the question */
	uint8_t misses;
	uint8_t skip; /* so many requests go without */
};

struct file_node {
	struct ob_block block;
	struct file_shared *shared;
	int fd;
	struct engine *knows_file; /* the engine that fd was registered with, */
	int file;                  /* and as what */
	bool is_device;            /* a block device */
	bool dsync;                /* RWF_DSYNC does what it says */
	bool in_memory;            /* tmpfs: nothing waits for a disk */
	bool knows_holes;          /* SEEK_DATA misses nothing that was written */
	bool locked, direct;
	bool iopoll;                /* until the device says otherwise */
	bool can_punch, can_zero;   /* until the file system says otherwise */
	uint32_t io_align;          /* of offset and length; 1 without O_DIRECT */
	uint32_t mem_align;         /* of memory */
	uint32_t sector;            /* of a block device, for discard */
	struct file_asked asked[2]; /* reads, writes */

	/* See file_sync.c. */
	int lost;       /* what all flushes end with from now on; 0 */
	int owed;       /* what the next one does */
	int sync_error; /* of the last failure */
	uint64_t sync_failures, syncs_begun;
	struct list syncs;  /* under way, in the order in which they began */
	struct list synced; /* have succeeded, and wait for others */

	/* Read-modify-write keeps other writers out; see file_queue.c. */
	unsigned writers;
	bool exclusive;
	struct file_queue held;

	unsigned used[FILE_SHARES], bounces;
	struct file_queue waiting;
	struct list waits; /* in what is shared */
};

enum file_step {
	FILE_WHOLE, /* between file and the request's own memory */
	FILE_FILL,  /* a piece: file to bounce buffer */
	FILE_STORE, /* a piece: bounce buffer to file */
	FILE_LOOK,  /* where the next data is that is to become zeroes */
	FILE_RANGE, /* fallocate, discard */
	FILE_SYNC,
};

/* A request under way. */
struct file_io {
	struct engine_job job;
	struct ob_block_request *request; /* its progress counts bytes */
	enum file_step step;
	unsigned shares; /* bits of enum file_share */
	bool polled;     /* the job went to a ring that polls the device */
	uint8_t *bounce;
	uint64_t piece, piece_length; /* what lies in the bounce buffer, aligned */
	uint64_t piece_done;
	uint64_t end;    /* of what is at hand, which is all of the request but in file_range.c */
	uint64_t worked; /* bytes of zeroes that were made */
	unsigned runs;   /* of data that were looked for */
	bool looks;      /* for them */
	struct iovec iov;
	struct file_io *next; /* while free */

	/* Of a sync: see file_sync.c. */
	struct list sync;
	uint64_t sync_number, sync_until, sync_failures;
};

/* file_shared.c. NULL on ENOMEM. Each get has its put; nothing of the node is under way then. */
struct file_shared *file_shared_get(struct ob_loop *loop);
void file_shared_put(struct file_shared *shared);

/* A place for a request, or NULL: all are taken, or ENOMEM for the very first. */
struct file_io *file_io_get(struct file_shared *shared);
void file_io_put(struct file_shared *shared, struct file_io *io);

/*
 * The engine for a node's jobs, made on first use; NULL when none can be had. flags: the job's.
 * *kind is which ring it is, unless it is threads.
 */
struct engine *file_engine(struct file_node *node, enum engine_op op, int flags, unsigned *kind);

/* Bits of enum file_share: what the request takes. */
unsigned file_shares_of(const struct file_node *node, const struct ob_block_request *request);

/* What engine knows the node's file as, or -1. */
int file_registered(struct file_node *node, struct engine *engine);
/* On the loop: the engine lets go of the open file, if it has it. */
void file_forget(struct file_node *node);

/* file_fixed.c. What the ring of that kind knows this memory as, or -1. */
int file_fixed(struct file_shared *shared, unsigned kind, const struct iovec *iov);
void file_fixed_free(struct file_shared *shared);

/* What all nodes of the loop share, if there are any; not counted as a user. */
struct file_shared *file_shared_find(const struct ob_loop *loop);

/* file_open.c. Opens props->filename, looks at it and claims it. 0, or -errno with a message. */
int file_open_node(struct file_node *node, struct ob_error *err);
/* Its size now: 0, or -errno with a message, also for one that no disk can have. */
int file_size(const struct file_node *node, uint64_t *size, struct ob_error *err);

/* file_device.c. Takes what a block device says of itself; refuses what no disk can be made of. */
int file_device_look(struct file_node *node, dev_t number, struct ob_error *err);
/* folder: /sys/dev/block. 0, or -errno with a message: it has zones that are written in order. */
int file_device_check_zones(const char *folder, dev_t number, struct ob_error *err);

/*
 * file_claim.c. Keeps others out (unless locking=off): 0, or -errno with a message, and nothing is
 * locked. With stop, a claim that seems to be about to end is waited for, for some seconds, asleep,
 * until *stop: for helper threads, and for a process whose loop does not run yet. Without, it is
 * tried once.
 */
int file_claim(struct file_node *node, const atomic_bool *stop, struct ob_error *err);
/* Lets others have it. */
void file_give_up(struct file_node *node);
/* The file was another process's: looks at it anew and claims it, as above. */
int file_take_back(struct file_node *node, const atomic_bool *stop, struct ob_error *err);
void file_unlock(struct file_node *node);

/* file_identity.c: a number that is not 0, of what is open. */
struct stat;
uint64_t file_identity(struct file_node *node, const struct stat *st);

/*
 * file_holder.c. Who is to be seen that has a claim on the file or device behind fd, in words.
 * False: nobody, or who is about to end. Looks at all processes.
 */
bool file_holder_find(int fd, char *text, size_t room);

static inline struct file_node *file_node_of(const struct ob_block_request *request)
{
	return container_of(request->block, struct file_node, block);
}

static inline bool file_modifies(const struct ob_block_request *request)
{
	return request->op != OB_BLOCK_READ && request->op != OB_BLOCK_FLUSH;
}

/* Whether direct I/O can't do it as it is. */
static inline bool file_misaligned(const struct file_node *node,
                                   const struct ob_block_request *request)
{
	return (request->offset | request->length) & (node->io_align - 1);
}

/* file_io.c. Gets what the request needs and starts it: -EINPROGRESS, or why it can't be. */
int file_io_begin(struct file_node *node, struct ob_block_request *request);
bool file_io_needs_bounce(const struct file_node *node, const struct ob_block_request *request);

/* Steps of a request under way, for file_range.c. */
void file_io_start_job(struct file_io *io, enum engine_op op);
int file_io_take_bounce(struct file_node *node, struct file_io *io);
void file_io_next_piece(struct file_io *io); /* up to io->end */
void file_io_data_done(struct file_io *io);  /* all bytes are where they belong */

/* file_range.c. DISCARD and WRITE_ZEROES: the first step, the next one after pieces, the end of
 * one. */
void file_range_begin(struct file_io *io);
void file_range_next(struct file_io *io);
void file_range_done(struct file_io *io, ssize_t result);
/* file_zeroes.c */
/* What a request that may end early works on at most, where the file system frees or zeroes it. */
#define FILE_FREED_MAX (UINT64_C(1024) << 20)
/* The fallocate mode that makes zeroes as the request wants them; 0 if they have to be written. */
int file_zero_mode(const struct file_node *node, const struct ob_block_request *request);
/* Whether only what is no hole is worked on, which has to be looked for. */
bool file_range_looks(const struct file_node *node, const struct ob_block_request *request);

/* Cuts length bytes off the front of the iovecs. */
void file_io_consume(struct ob_block_request *request, uint64_t length);

void file_io_finish(struct file_io *io, ssize_t result);

/* What a device is told: it knows what to do about "full", and not much else. */
int file_status(ssize_t result);

/*
 * file_inline.c. Carries the request out now if nothing has to be waited for: 0 or an error when it
 * has ended. -EINPROGRESS: an engine is to do the rest, after request->progress.
 */
int file_inline(struct file_node *node, struct ob_block_request *request);

/* Says what has failed. */
void file_report(struct file_node *node, const struct ob_block_request *request, ssize_t result);

/* file_sync.c. A sync of the kernel's begins, and has ended: the request with it, now or later. */
void file_sync_init(struct file_node *node);
void file_sync_begin(struct file_node *node, struct file_io *io);
void file_sync_end(struct file_node *node, struct file_io *io, int code);
/* It was none after all. */
void file_sync_drop(struct file_node *node, struct file_io *io);
/* One that was made on the spot has failed with code: what its request is told. */
int file_sync_refused(struct file_node *node, const struct ob_block_request *request, int code);
/* The error that a flush has to end with, without being tried; or 0. */
int file_sync_owed(struct file_node *node);

/* file_queue.c */
void file_queue_init(struct file_queue *queue);
int file_submit(struct ob_block *block, struct ob_block_request *request);

/* A request has ended and given back its place: starts those that waited for that. */
void file_queue_next(struct file_node *node, struct ob_block_request *request);

#endif
