/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An engine carries out system calls on files without making the loop wait: io_uring (uring.c), or
 * a small pool of threads where that is refused (threads.c). It knows jobs, one system call each,
 * and neither block nodes nor requests: what a short read or an error means is the caller's to say.
 */
#ifndef BLOCK_ENGINE_H
#define BLOCK_ENGINE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/list.h"
#include "loop/loop.h"

enum engine_op {
	ENGINE_READ,     /* preadv2 */
	ENGINE_WRITE,    /* pwritev2 */
	ENGINE_SYNC,     /* fdatasync */
	ENGINE_ALLOCATE, /* fallocate */
	ENGINE_DISCARD,  /* ioctl BLKDISCARD; threads only */
	ENGINE_LOOK,     /* lseek for the first data in the range, which becomes the job's; length
	                  * 0: there is none. Threads only */
};

/* Filled in by the caller up to done, and left alone until done is called. */
struct engine_job {
	enum engine_op op;
	int flags; /* RWF_ of READ and WRITE, mode of ALLOCATE */
	int fd;
	int file;    /* what add_file of the same engine returned for fd, or -1 */
	bool sleeps; /* READ, WRITE: may sleep in the kernel before it waits for a disk */
	int buffer;  /* what add_buffer did for memory that all of iov lies in, or -1 */
	uint64_t offset, length; /* length: ALLOCATE, DISCARD and LOOK */
	struct iovec *iov;
	unsigned iovcnt;
	/* From the loop, never from within start. result: bytes, 0, or -errno. */
	void (*done)(struct engine_job *job, ssize_t result);

	/* The engine's. */
	struct engine_job *next;
	struct list link;
	ssize_t result;
	bool untouched; /* of one that was given back: the kernel has not seen it */
};

/*
 * The kernel may ask to try again, or be interrupted. Not so a sync: a second one knows nothing of
 * what the first one found.
 */
static inline bool engine_syncs(const struct engine_job *job)
{
	return job->op == ENGINE_SYNC || (job->op == ENGINE_WRITE && job->flags & RWF_DSYNC);
}

static inline bool engine_may_repeat(const struct engine_job *job, ssize_t result)
{
	return !engine_syncs(job) && (result == -EAGAIN || result == -EINTR);
}

struct engine {
	void (*start)(struct engine *engine, struct engine_job *job);

	/*
	 * Makes later jobs on fd cheaper. -1 if that can't be; a job then works all the same. The
	 * engine may hold on to the open file until remove_file, and for a moment after.
	 */
	int (*add_file)(struct engine *engine, int fd);
	void (*remove_file)(struct engine *engine, int file);

	/* The same for memory, which stays pinned until remove_buffer. NULL: never. */
	int (*add_buffer)(struct engine *engine, void *base, size_t length);
	void (*remove_buffer)(struct engine *engine, int buffer);

	/* No job is under way. May be called from a job's done. */
	void (*free)(struct engine *engine);

	/*
	 * Set by the caller. The engine has failed for good, with code, and takes no jobs any more;
	 * what it was told to add is forgotten. Jobs that were under way are given back later, when
	 * the kernel works on none of them any more: they may have been done or not.
	 */
	void (*failed)(struct engine *engine, int code);
	void (*give_back)(struct engine *engine, struct engine_job *job);
	void *owner;
};

/* Kinds of rings, which can't be mixed: bits of kind. */
enum {
	URING_SQPOLL = 1u << 0, /* a thread of the kernel takes what is submitted */
	URING_IOPOLL = 1u << 1, /* devices are polled; direct READ and WRITE without flags only */
	URING_KINDS = 4,
};

/* 0 or -errno: -ENOSYS, -EPERM, -ENOMEM where io_uring is refused. */
int uring_new(struct ob_loop *loop, unsigned kind, struct engine **engine);

/* Whether a ring can be had here: 0 or -errno. Leaves nothing behind. */
int uring_probe(unsigned kind);

/*
 * Whether the device behind fd, which is open with O_DIRECT, can be polled: reads length bytes at
 * offset. 0 or -errno: -EOPNOTSUPP, and those of uring_probe(). What comes from no device, as a
 * hole does, says nothing.
 */
int uring_probe_iopoll(int fd, uint64_t offset, size_t length);

enum { THREADS_MAX = 32 };

int threads_new(struct ob_loop *loop, struct engine **engine);

#endif
