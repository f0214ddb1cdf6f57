/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of this folder share: files to map, operations that remember how they ended, and a
 * remote that answers when it is told to.
 */
#ifndef KIT_H
#define KIT_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "dma/dma.h"

enum {
	PAGE = 4096,
	R = DMA_READABLE,
	W = DMA_WRITEABLE,
	RW = DMA_READABLE | DMA_WRITEABLE,
};

/* A file in memory of size bytes; byte n of it is (n / PAGE + n) & 0xff. */
static inline int make_file(size_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t *bytes = malloc(size);

	assert_true(fd >= 0);
	assert_non_null(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i / PAGE + i);
	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	free(bytes);
	return fd;
}

/* The same file again, opened with other flags. */
static inline int reopen(int fd, int flags)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	assert_true(again >= 0);
	return again;
}

struct tracked_op {
	struct ob_dma_op op;
	int calls, status;
	/* What done does besides. */
	void (*also)(struct tracked_op *tracked);
	struct dma_space *space;
	struct tracked_op *other;
};

static inline void tracked_done(struct ob_dma_op *op, int status)
{
	struct tracked_op *tracked = (struct tracked_op *)op;

	tracked->calls++;
	tracked->status = status;
	if (tracked->also)
		tracked->also(tracked);
}

enum { REMOTE_MAX = 16 };

/*
 * Holds memory that stands for the client's, from address on. Pieces are answered at once (sync) or
 * by kit_answer(), in any order.
 */
struct fake_remote {
	struct dma_remote remote;
	uint64_t address;
	uint8_t memory[4 * PAGE];
	size_t limit; /* bytes in one go; 0: no limit */
	bool sync;
	int refuse; /* start returns this */
	struct ob_dma_op *asked[REMOTE_MAX];
	unsigned count, starts, cancels;
};

static inline void kit_move(struct fake_remote *fake, struct ob_dma_op *op)
{
	uint8_t *here = (uint8_t *)op->buffer + op->transferred;
	uint8_t *there = fake->memory + (op->address + op->transferred - fake->address);

	assert_true(there >= fake->memory);
	assert_true(there + op->piece <= fake->memory + sizeof(fake->memory));
	memcpy(op->write ? there : here, op->write ? here : there, op->piece);
}

static inline int kit_start(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct fake_remote *fake = (struct fake_remote *)remote;

	fake->starts++;
	if (fake->refuse)
		return fake->refuse;
	assert_true(op->piece > 0);
	assert_true(op->transferred + op->piece <= op->length);
	if (fake->limit && op->piece > fake->limit)
		op->piece = fake->limit;
	if (fake->sync) {
		kit_move(fake, op);
		return 0;
	}
	assert_true(fake->count < REMOTE_MAX);
	op->message_id = (uint16_t)fake->starts;
	op->owner = fake;
	fake->asked[fake->count++] = op;
	return -EINPROGRESS;
}

static inline void kit_forget(struct fake_remote *fake, struct ob_dma_op *op)
{
	for (unsigned i = 0; i < fake->count; i++) {
		if (fake->asked[i] == op) {
			fake->asked[i] = fake->asked[--fake->count];
			return;
		}
	}
	fail_msg("the remote was not asked for this operation");
}

static inline void kit_cancel(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct fake_remote *fake = (struct fake_remote *)remote;

	fake->cancels++;
	kit_forget(fake, op);
}

static inline void fake_remote_init(struct fake_remote *fake, uint64_t address)
{
	memset(fake, 0, sizeof(*fake));
	fake->remote = (struct dma_remote){.start = kit_start, .cancel = kit_cancel};
	fake->address = address;
	for (size_t i = 0; i < sizeof(fake->memory); i++)
		fake->memory[i] = (uint8_t)(0x80 + i * 7);
}

/* Answers the piece of op that is asked for. */
static inline void kit_answer(struct dma_space *space, struct fake_remote *fake,
                              struct ob_dma_op *op, int status)
{
	kit_forget(fake, op);
	if (status == 0)
		kit_move(fake, op);
	dma_op_finish(space, op, status);
}

struct tracked_waiter {
	struct dma_waiter waiter;
	int calls;
};

static inline void tracked_waiter_done(struct dma_waiter *waiter)
{
	((struct tracked_waiter *)waiter)->calls++;
}

#define TRACKED_OP                                                                                 \
	{                                                                                          \
		.op = {.done = tracked_done }                                                      \
	}
#define TRACKED_WAITER                                                                             \
	{                                                                                          \
		.waiter = {.done = tracked_waiter_done }                                           \
	}

#endif
