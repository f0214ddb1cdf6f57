/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests that the kernel can serve without waiting for a disk are carried out on the spot: no
 * place, no ring, no wake-up.
 *
 * On file systems that live in memory that is every read and write (one that was swapped out waits
 * for the swap, like all other memory of ours). Files that go through the page cache are asked with
 * RWF_NOWAIT: what is not at hand is left alone. Since a question that is answered with no costs
 * as much as a system call does, a file that says no is asked less and less. Block devices are not
 * asked: even with RWF_NOWAIT a read that misses begins to read ahead, and waits for a place in the
 * queue of a device that has stalled.
 *
 * A read or write that went wrong, one that stopped in the middle, and what is long enough to keep
 * others waiting is for the engine, which begins where this ended, and says what there is to say.
 * A sync is final: a second one succeeds whatever the first one found.
 *
 * Files are deliberately not mapped: a hole in a full file system, or a file that somebody cuts,
 * would be a SIGBUS instead of an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "file.h"

enum {
	INLINE_MAX = 256 << 10, /* bytes of one request; about 50 us */
	BUSY_MAX = 8,           /* requests under way: the disk may have stalled */
	MISSES_MAX = 6,         /* so many in a row: asked for one request in 64 */
};

/* Whether the file may be asked for this now. */
static bool is_at_hand(struct file_node *node, const struct ob_block_request *request)
{
	const struct file_asked *asked = &node->asked[request->op == OB_BLOCK_WRITE];

	if (node->is_device || request->length > INLINE_MAX || file_io_needs_bounce(node, request))
		return false;
	if (node->in_memory)
		return true;
	/* Even so, a read that misses reads ahead, which would fill the disk's queue in the end. */
	if (node->used[FILE_SHARE_JOBS] >= BUSY_MAX)
		return false;
	/* With direct I/O, NOWAIT is about locks, and the call would wait for the disk. */
	return !node->direct && !asked->never && !(request->flags & OB_BLOCK_FUA);
}

static bool is_declined(struct file_node *node, bool write)
{
	struct file_asked *asked = &node->asked[write];

	return !node->in_memory && asked->skip && asked->skip--;
}

static ssize_t move(const struct file_node *node, struct ob_block_request *request, bool write)
{
	off_t offset = (off_t)(request->offset + request->progress);
	int flags = node->in_memory ? 0 : RWF_NOWAIT;

	if (!flags && request->iovcnt == 1)
		return write ? pwrite(node->fd, request->iov->iov_base, request->iov->iov_len,
		                      offset)
		             : pread(node->fd, request->iov->iov_base, request->iov->iov_len,
		                     offset);
	return write ? pwritev2(node->fd, request->iov, (int)request->iovcnt, offset, flags)
	             : preadv2(node->fd, request->iov, (int)request->iovcnt, offset, flags);
}

static void learn(struct file_asked *asked, bool all, int code)
{
	if (all) {
		asked->misses = 0;
		return;
	}
	if (code == EOPNOTSUPP)
		asked->never = true;
	if (asked->misses < MISSES_MAX)
		asked->misses++;
	asked->skip = (1u << asked->misses) - 1;
}

static bool read_or_write(struct file_node *node, struct ob_block_request *request)
{
	bool write = request->op == OB_BLOCK_WRITE, all;
	ssize_t n;

	if (!is_at_hand(node, request) || is_declined(node, write))
		return false;
	n = move(node, request, write);
	if (n > 0) {
		request->progress = (uint64_t)n;
		if (request->progress < request->length)
			file_io_consume(request, (uint64_t)n);
	}
	all = n > 0 && request->progress == request->length;
	if (!node->in_memory)
		learn(&node->asked[write], all, n < 0 ? errno : 0);
	return all;
}

static bool punch(struct file_node *node, const struct ob_block_request *request)
{
	return node->in_memory && node->can_punch && request->length <= INLINE_MAX &&
	       !fallocate(node->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                  (off_t)request->offset, (off_t)request->length);
}

static bool carry_out(struct file_node *node, struct ob_block_request *request)
{
	switch (request->op) {
	case OB_BLOCK_READ:
	case OB_BLOCK_WRITE:
		return read_or_write(node, request);
	case OB_BLOCK_FLUSH:
		return node->in_memory;
	case OB_BLOCK_DISCARD:
		return punch(node, request);
	case OB_BLOCK_WRITE_ZEROES:
		return file_zero_mode(node, request) & FALLOC_FL_PUNCH_HOLE && punch(node, request);
	}
	return false;
}

/* Only files in memory come here with one, where that waits for nothing. */
static bool wants_sync(const struct ob_block_request *request)
{
	return request->op == OB_BLOCK_FLUSH ||
	       (file_modifies(request) && request->flags & OB_BLOCK_FUA);
}

int file_inline(struct file_node *node, struct ob_block_request *request)
{
	if (!carry_out(node, request))
		return -EINPROGRESS;
	if (!wants_sync(request) || !fdatasync(node->fd))
		return 0;
	return file_sync_refused(node, request, -errno);
}
