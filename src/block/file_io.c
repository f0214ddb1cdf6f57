/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a request to a file node.
 *
 * A request that is allowed in gets a place (struct file_io) and goes through steps, one job of an
 * engine each. The short way is one step between the file and the caller's memory. With O_DIRECT,
 * what is not aligned goes through a bounce buffer in pieces, and a piece that does not fill whole
 * blocks of the file is read, changed and written back. That happens with no other write to the
 * node under way, for a neighbour's bytes might be in the same block; such writes are held
 * meanwhile.
 *
 * There is deliberately no second, buffered descriptor for what is not aligned: the kernel keeps
 * page cache and direct I/O apart only by whole pages, and sectors of one page would get lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/list.h"
#include "file.h"

static void job_done(struct engine_job *job, ssize_t result);

static bool memory_aligned(const struct file_node *node, const struct ob_block_request *request)
{
	for (unsigned i = 0; i < request->iovcnt; i++) {
		if ((uintptr_t)request->iov[i].iov_base & (node->mem_align - 1) ||
		    request->iov[i].iov_len & (node->io_align - 1))
			return false;
	}
	return true;
}

bool file_io_needs_bounce(const struct file_node *node, const struct ob_block_request *request)
{
	if (request->op == OB_BLOCK_WRITE_ZEROES)
		return !file_zero_mode(node, request);
	if (request->op != OB_BLOCK_READ && request->op != OB_BLOCK_WRITE)
		return false;
	return node->direct && (file_misaligned(node, request) || !memory_aligned(node, request));
}

/* Copies length bytes between buffer and the request's memory, skip bytes into it. */
static void copy(const struct ob_block_request *request, uint64_t skip, uint8_t *buffer,
                 uint64_t length, bool to_request)
{
	for (unsigned i = 0; length && i < request->iovcnt; i++) {
		uint8_t *base = request->iov[i].iov_base;
		uint64_t part = request->iov[i].iov_len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part = part - skip < length ? part - skip : length;
		if (to_request)
			memcpy(base + skip, buffer, part);
		else
			memcpy(buffer, base + skip, part);
		buffer += part;
		length -= part;
		skip = 0;
	}
}

/* Empty ones stay, which the kernel doesn't mind. */
void file_io_consume(struct ob_block_request *request, uint64_t length)
{
	for (unsigned i = 0; length && i < request->iovcnt; i++) {
		struct iovec *iov = &request->iov[i];
		uint64_t part = iov->iov_len < length ? iov->iov_len : length;

		iov->iov_base = (uint8_t *)iov->iov_base + part;
		iov->iov_len -= part;
		length -= part;
	}
}

int file_status(ssize_t result)
{
	switch (result) {
	case 0:
	case -ENOMEM:
	case -EFAULT:
		return (int)result;
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

void file_report(struct file_node *node, const struct ob_block_request *request, ssize_t result)
{
	static const char *const names[] = {"read", "write", "flush", "discard", "write of zeroes"};
	bool synced = request->op == OB_BLOCK_FLUSH ||
	              (file_modifies(request) && request->flags & OB_BLOCK_FUA);
	const char *more = synced && node->lost
	                           ? "; earlier writes may be lost, so flushes fail from now on"
	                           : "";

	if (request->op == OB_BLOCK_FLUSH)
		log_warn(&node->block.log, "flush: %s%s", strerror((int)-result), more);
	else
		log_warn(&node->block.log, "%s of %" PRIu64 " bytes at %" PRIu64 ": %s%s",
		         names[request->op], request->length, request->offset,
		         strerror((int)-result), more);
}

static void drop_bounce(struct file_shared *shared, struct file_io *io)
{
	if (io->bounce) {
		shared->bounces--;
		file_node_of(io->request)->bounces--;
	}
	free(io->bounce);
	io->bounce = NULL;
}

static void take_shares(struct file_node *node, struct file_io *io)
{
	io->shares = file_shares_of(node, io->request);
	for (unsigned i = 0; i < FILE_SHARES; i++) {
		node->used[i] += io->shares >> i & 1;
		node->shared->used[i] += io->shares >> i & 1;
	}
}

static void give_shares(struct file_node *node, const struct file_io *io)
{
	for (unsigned i = 0; i < FILE_SHARES; i++) {
		node->used[i] -= io->shares >> i & 1;
		node->shared->used[i] -= io->shares >> i & 1;
	}
}

/* Completes last: the caller may close the node, and with it everything that is shared. */
void file_io_finish(struct file_io *io, ssize_t result)
{
	struct ob_block_request *request = io->request;
	struct file_node *node = file_node_of(request);
	struct file_shared *shared = node->shared;

	if (result)
		file_report(node, request, result);
	drop_bounce(shared, io);
	give_shares(node, io);
	file_io_put(shared, io);
	file_queue_next(node, request);
	block_complete(request, file_status(result));
}

void file_io_start_job(struct file_io *io, enum engine_op op)
{
	struct file_node *node = file_node_of(io->request);
	const struct file_props *props = node->block.props;
	unsigned kind;
	struct engine *engine = file_engine(node, op, io->job.flags, &kind);

	/* file_io_begin() has seen to it that there is one. */
	io->job.op = op;
	io->job.fd = node->fd;
	io->job.sleeps = !node->direct;
	io->job.file = file_registered(node, engine);
	io->job.buffer = -1;
	if (props->fixed_buffers && io->step == FILE_WHOLE && io->job.iovcnt == 1)
		io->job.buffer = file_fixed(node->shared, kind, io->job.iov);
	io->job.done = job_done;
	io->polled = kind & URING_IOPOLL;
	engine->start(engine, &io->job);
}

static void start_whole(struct file_io *io)
{
	const struct ob_block_request *request = io->request;
	struct file_node *node = file_node_of(request);
	bool write = request->op == OB_BLOCK_WRITE;

	io->step = FILE_WHOLE;
	io->job.flags = write && request->flags & OB_BLOCK_FUA && node->dsync ? RWF_DSYNC : 0;
	if (io->job.flags)
		file_sync_begin(node, io);
	io->job.offset = request->offset + request->progress;
	io->job.iov = request->iov;
	io->job.iovcnt = request->iovcnt;
	file_io_start_job(io, write ? ENGINE_WRITE : ENGINE_READ);
}

static void start_sync(struct file_io *io)
{
	io->step = FILE_SYNC;
	io->job.flags = 0;
	file_sync_begin(file_node_of(io->request), io);
	file_io_start_job(io, ENGINE_SYNC);
}

static void start_piece(struct file_io *io, enum file_step step)
{
	io->step = step;
	io->iov.iov_base = io->bounce + io->piece_done;
	io->iov.iov_len = io->piece_length - io->piece_done;
	io->job.flags = 0;
	io->job.offset = io->piece + io->piece_done;
	io->job.iov = &io->iov;
	io->job.iovcnt = 1;
	file_io_start_job(io, step == FILE_FILL ? ENGINE_READ : ENGINE_WRITE);
}

/* The part of the piece that the request is about: *skip bytes into it. Returns its length. */
static uint64_t piece_part(const struct file_io *io, uint64_t *skip)
{
	const struct ob_block_request *request = io->request;
	uint64_t at = request->offset + request->progress;
	uint64_t left = io->end - at;

	*skip = at - io->piece;
	return left < io->piece_length - *skip ? left : io->piece_length - *skip;
}

/* Puts what is to be written into the bounce buffer, over what stands there. */
static void store_piece(struct file_io *io)
{
	uint64_t skip, length = piece_part(io, &skip);

	if (io->request->op == OB_BLOCK_WRITE)
		copy(io->request, io->request->progress, io->bounce + skip, length, false);
	else
		memset(io->bounce + skip, 0, length);
	io->piece_done = 0;
	start_piece(io, FILE_STORE);
}

void file_io_next_piece(struct file_io *io)
{
	const struct ob_block_request *request = io->request;
	uint64_t mask = file_node_of(request)->io_align - 1;
	uint64_t at = request->offset + request->progress;
	uint64_t end = io->end, skip;

	io->piece = at & ~mask;
	if (end > io->piece + FILE_BOUNCE)
		end = io->piece + FILE_BOUNCE;
	io->piece_length = ((end + mask) & ~mask) - io->piece;
	io->piece_done = 0;
	if (request->op == OB_BLOCK_READ || piece_part(io, &skip) < io->piece_length)
		start_piece(io, FILE_FILL);
	else
		store_piece(io);
}

int file_io_take_bounce(struct file_node *node, struct file_io *io)
{
	size_t align = node->mem_align > 4096 ? node->mem_align : 4096;

	io->bounce = aligned_alloc(align, FILE_BOUNCE);
	if (!io->bounce)
		return -ENOMEM;
	node->shared->bounces++;
	node->bounces++;
	return 0;
}

static enum engine_op first_op(const struct file_node *node, const struct ob_block_request *request)
{
	if (request->op == OB_BLOCK_DISCARD && node->is_device)
		return ENGINE_DISCARD;
	return file_range_looks(node, request) ? ENGINE_LOOK : ENGINE_READ;
}

/* Gets what the request needs and starts its first step. -EINPROGRESS, or why it can't be. */
int file_io_begin(struct file_node *node, struct ob_block_request *request)
{
	bool bounce = file_io_needs_bounce(node, request);
	struct file_io *io;
	unsigned kind;

	if (!file_engine(node, first_op(node, request), 0, &kind))
		return -EIO;
	io = file_io_get(node->shared);
	if (!io)
		return -ENOMEM;
	io->request = request;
	io->end = request->offset + request->length;
	if (bounce && file_io_take_bounce(node, io)) {
		file_io_put(node->shared, io);
		return -ENOMEM;
	}
	take_shares(node, io);
	if (request->op == OB_BLOCK_DISCARD || request->op == OB_BLOCK_WRITE_ZEROES)
		file_range_begin(io);
	else if (bounce)
		file_io_next_piece(io);
	else if (request->op == OB_BLOCK_FLUSH)
		start_sync(io);
	else
		start_whole(io);
	return -EINPROGRESS;
}

/* All bytes are where they belong. */
void file_io_data_done(struct file_io *io)
{
	const struct ob_block_request *request = io->request;

	if (file_modifies(request) && request->flags & OB_BLOCK_FUA)
		start_sync(io);
	else
		file_io_finish(io, 0);
}

static void finish_whole(struct file_io *io, ssize_t result)
{
	if (io->job.flags & RWF_DSYNC)
		file_sync_end(file_node_of(io->request), io, (int)result);
	else if (result)
		file_io_finish(io, result);
	else
		file_io_data_done(io);
}

static void whole_done(struct file_io *io, ssize_t result)
{
	struct ob_block_request *request = io->request;

	/* Direct I/O may want more than it says; a bounce buffer suits it in any case. */
	if (result == -EINVAL && file_node_of(request)->direct) {
		file_sync_drop(file_node_of(request), io);
		if (file_io_take_bounce(file_node_of(request), io))
			file_io_finish(io, -ENOMEM);
		else
			file_io_next_piece(io);
		return;
	}
	/* The end of the file: somebody made it shorter. */
	if (result <= 0) {
		finish_whole(io, result ? result : -EIO);
		return;
	}
	request->progress += (uint64_t)result;
	if (request->progress >= request->length) {
		finish_whole(io, 0);
		return;
	}
	file_io_consume(request, (uint64_t)result);
	start_whole(io);
}

static void piece_done(struct file_io *io, ssize_t result)
{
	struct ob_block_request *request = io->request;
	uint64_t skip, length;

	if (result <= 0) {
		file_io_finish(io, result ? result : -EIO);
		return;
	}
	io->piece_done += (uint64_t)result;
	if (io->piece_done < io->piece_length) {
		start_piece(io, io->step);
		return;
	}
	if (io->step == FILE_FILL && request->op != OB_BLOCK_READ) {
		store_piece(io);
		return;
	}
	length = piece_part(io, &skip);
	if (request->op == OB_BLOCK_READ)
		copy(request, request->progress, io->bounce + skip, length, true);
	request->progress += length;
	if (request->offset + request->progress < io->end)
		file_io_next_piece(io);
	else if (request->op == OB_BLOCK_WRITE_ZEROES)
		file_range_next(io);
	else
		file_io_data_done(io);
}

/* When the node was opened there was nothing to try it with. Does the job again without. */
static bool is_unpolled(struct file_io *io)
{
	struct file_node *node = file_node_of(io->request);
	if (!io->polled)
		return false;
	if (node->iopoll)
		log_fact(&node->block.log, LOG_WARN,
		         "the device has no queues to poll: as with iopoll=off");
	node->iopoll = false;
	file_io_start_job(io, io->job.op);
	return true;
}

static void job_done(struct engine_job *job, ssize_t result)
{
	struct file_io *io = container_of(job, struct file_io, job);

	if (result == -EOPNOTSUPP && is_unpolled(io))
		return;
	switch (io->step) {
	case FILE_WHOLE:
		whole_done(io, result);
		break;
	case FILE_FILL:
	case FILE_STORE:
		piece_done(io, result);
		break;
	case FILE_LOOK:
	case FILE_RANGE:
		file_range_done(io, result);
		break;
	case FILE_SYNC:
		file_sync_end(file_node_of(io->request), io, (int)result);
		break;
	}
}
