/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A block node: what stands behind a disk. One small asynchronous interface for all backends.
 *
 * Completion context: ob_block_submit() either finishes the request at once (it returns 0 or an
 * error, and done is not called), or returns -EINPROGRESS and calls request->done later, from the
 * event loop, exactly once and never from within a submit. The request and the memory that its
 * iovecs point to belong to the backend from a submit that returns -EINPROGRESS until done.
 */
#ifndef OUTBOARD_BLOCK_H
#define OUTBOARD_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct ob_block;

enum ob_block_op {
	OB_BLOCK_READ,
	OB_BLOCK_WRITE,
	OB_BLOCK_FLUSH,        /* everything completed before is on stable storage after */
	OB_BLOCK_DISCARD,      /* contents no longer needed; reads zeroes afterwards where the
	                        * backend reports discard_zeroes, else anything */
	OB_BLOCK_WRITE_ZEROES, /* reads zeroes afterwards, whatever it takes */
};

enum {
	OB_BLOCK_FUA = 1u << 0,    /* WRITE, WRITE_ZEROES: on stable storage before completion */
	OB_BLOCK_UNMAP = 1u << 1,  /* WRITE_ZEROES: may deallocate, and leave holes as they are */
	OB_BLOCK_HOLES = 1u << 2,  /* WRITE_ZEROES: may leave holes as they are */
	OB_BLOCK_PARTLY = 1u << 3, /* DISCARD, WRITE_ZEROES: may end with the first of it done,
	                            * where all would take long: see left */
};

struct ob_block_request {
	/* Set by the caller. A node's options may change op and flags on the way. */
	enum ob_block_op op;
	unsigned flags;
	uint64_t offset;   /* bytes, a multiple of the node's block_size */
	uint64_t length;   /* bytes, a multiple of block_size; the sum of the iovecs for
	                    * READ and WRITE */
	struct iovec *iov; /* READ, WRITE. Any alignment. The array may be changed. */
	unsigned iovcnt;   /* at most 1024 (IOV_MAX) */
	void (*done)(struct ob_block_request *request, int status); /* status: 0 or -errno */

	/* When it has ended without an error: bytes at its end that were not worked on. 0 but with
	 * PARTLY, and less than length. */
	uint64_t left;

	/* The backend's, while the request is under way. */
	struct ob_block *block;
	struct ob_block_request *next;
	uint64_t progress;
	uint64_t started; /* 0: not timed */
	void *bounce;
};

/*
 * What is to become of a command whose request has failed: values of the properties "rerror" (for
 * reads) and "werror" (for everything else), by the names in these lists. See ob_dev_block_error().
 */
enum ob_on_error {
	OB_ON_ERROR_AUTO,   /* as the node says; report, if it says nothing either */
	OB_ON_ERROR_REPORT, /* the guest is told */
	OB_ON_ERROR_IGNORE, /* the guest is told that all went well */
	OB_ON_ERROR_STOP,   /* the machine stops, and the command is done again when it goes on */
	OB_ON_ERROR_ENOSPC, /* writes: stop where there is no room, report anything else */
};
extern const char *const ob_on_read_error[];
extern const char *const ob_on_write_error[];

struct ob_block_info {
	uint64_t identity;   /* the same each time for the same storage; 0: it has none */
	uint64_t size;       /* bytes, a multiple of block_size */
	bool size_given;     /* somebody chose it; else it is what the storage happens to have */
	uint32_t block_size; /* smallest unit of offset and length: 512 */
	uint32_t optimal_io; /* bytes; the size and alignment that is written without
	                      * read-modify-write: 4096 as a rule */
	bool read_only;
	bool discard;           /* DISCARD does something */
	bool discard_zeroes;    /* what was discarded reads as zeroes */
	bool volatile_cache;    /* completed writes need a FLUSH to survive a crash of the host */
	uint8_t rerror, werror; /* enum ob_on_error, for devices with auto */
	bool copies;            /* the processor moves the data: ob_block_expect() is of use */
};

const struct ob_block_info *ob_block_info(const struct ob_block *block);

/* The node-name, for messages. Owned by the node. */
const char *ob_block_name(const struct ob_block *block);

/*
 * Starts a request. Returns 0 when it is done already, -EINPROGRESS when request->done will tell,
 * or what went wrong: -EROFS (write to a read-only node), -EPERM (the node is inactive), -EINVAL
 * (offset or length not a multiple of block_size, more than 1024 iovecs), -ENOSPC (also: past the
 * end), -EIO, -ENOMEM, -EFAULT (an iovec's memory is not there). done gets one of these too, or 0.
 * How much of a request that failed was done is not said. Requests under way may end in any order,
 * and a FLUSH is only about those that had ended when it was submitted.
 */
int ob_block_submit(struct ob_block *block, struct ob_block_request *request);

/*
 * Says which request is likely to be submitted after the next one: a node that copies has the
 * processor fetch what will be copied, while it copies for the one before. A hint, checked by
 * nobody: any offset and length will do, and memory need not be there any more.
 */
struct ob_block_hint {
	enum ob_block_op op;     /* READ or WRITE */
	uint64_t offset, length; /* in bytes */
	const void *memory;      /* of a WRITE: where its first memory_length bytes are; or NULL */
	size_t memory_length;
};
void ob_block_expect(struct ob_block *block, const struct ob_block_hint *hint);

#endif
