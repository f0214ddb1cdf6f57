/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to a file node that carry no bytes: space that is given back, and zeroes.
 *
 * Holes read as zeroes already. Zeroes that may leave them alone (OB_BLOCK_UNMAP, OB_BLOCK_HOLES)
 * and can't be had by making more holes are made run by run, where the file has data: each run is
 * looked for by a thread of ours, as that may wait for a disk. A request that may end early
 * (OB_BLOCK_PARTLY) is bounded by what there was to work on, so that whoever waits for its end
 * waits for so many bytes of a full file, while a hole is passed however long it is.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/list.h"
#include "drivers.h"
#include "file.h"

#define MIB (UINT64_C(1) << 20)

enum {
	RUNS_MAX = 64,    /* that a request with PARTLY works on */
	WRITTEN_MAX = 64, /* MiB of it where each byte is written */
	PIECES = 256,     /* where holes can't be told from data it ends, whatever it is about */
};

/* fallocate's; 0: bytes have to be written. */
static int mode_of(const struct file_io *io)
{
	const struct ob_block_request *request = io->request;

	if (request->op == OB_BLOCK_DISCARD)
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	return io->bounce ? 0 : file_zero_mode(file_node_of(request), request);
}

static bool may_end_early(const struct ob_block_request *request)
{
	return request->flags & OB_BLOCK_PARTLY &&
	       (request->op == OB_BLOCK_WRITE_ZEROES || !file_node_of(request)->is_device);
}

/* How many bytes a request that may end early works on. */
static uint64_t most(const struct file_io *io)
{
	int mode = mode_of(io);
	/* A device without a command for zeroes is written to by the kernel. */
	bool written =
		!(mode & FALLOC_FL_PUNCH_HOLE) && (!mode || file_node_of(io->request)->is_device);
	uint64_t bytes = written ? WRITTEN_MAX * MIB : FILE_FREED_MAX;
	uint64_t piece = io->looks ? 0 : io->request->length / PIECES & ~(MIB - 1);

	return piece > bytes ? piece : bytes;
}

/* A device discards whole sectors of its own, and may ignore the rest. */
static void start_discard(struct file_io *io)
{
	uint64_t mask = file_node_of(io->request)->sector - 1;
	uint64_t end = io->job.offset + io->job.length;

	io->job.offset = (io->job.offset + mask) & ~mask;
	io->job.length = (end & ~mask) - io->job.offset;
	file_io_start_job(io, ENGINE_DISCARD);
}

static void end_early(struct file_io *io)
{
	io->request->left = io->request->length - io->request->progress;
	file_io_data_done(io);
}

/* Whether there is more to do now; then *end is how far it goes. */
static bool bound(struct file_io *io, uint64_t at, uint64_t *end)
{
	uint64_t bytes = most(io);

	if (!may_end_early(io->request))
		return true;
	if (io->worked >= bytes)
		return false;
	if (*end - at > bytes - io->worked)
		*end = at + bytes - io->worked;
	return true;
}

static void start_run(struct file_io *io, uint64_t at, int mode)
{
	const struct ob_block_request *request = io->request;

	io->step = FILE_RANGE;
	io->job.offset = at;
	io->job.length = io->end - at;
	io->job.flags = mode;
	if (request->op == OB_BLOCK_DISCARD && file_node_of(request)->is_device)
		start_discard(io);
	else
		file_io_start_job(io, ENGINE_ALLOCATE);
}

/* From where the request is, on to end or as far as it may. */
static void work(struct file_io *io, uint64_t end)
{
	const struct ob_block_request *request = io->request;
	uint64_t at = request->offset + request->progress;
	int mode = mode_of(io);

	if (!bound(io, at, &end)) {
		end_early(io);
		return;
	}
	io->end = end;
	io->worked += end - at;
	if (mode)
		start_run(io, at, mode);
	else if (!io->bounce && file_io_take_bounce(file_node_of(request), io))
		file_io_finish(io, -ENOMEM);
	else
		file_io_next_piece(io);
}

static void look(struct file_io *io)
{
	const struct ob_block_request *request = io->request;

	io->step = FILE_LOOK;
	io->job.flags = 0;
	io->job.offset = request->offset + request->progress;
	io->job.length = request->length - request->progress;
	file_io_start_job(io, ENGINE_LOOK);
}

void file_range_next(struct file_io *io)
{
	struct ob_block_request *request = io->request;

	if (request->progress == request->length)
		file_io_data_done(io);
	else if (!io->looks)
		work(io, request->offset + request->length);
	else if (io->runs == RUNS_MAX && may_end_early(request))
		end_early(io);
	else
		look(io);
}

void file_range_begin(struct file_io *io)
{
	io->looks = file_range_looks(file_node_of(io->request), io->request);
	io->worked = 0;
	io->runs = 0;
	file_range_next(io);
}

/*
 * Whole blocks of the file are worked on: what is not aligned stays so only at the ends of the
 * request, which has kept others out then.
 */
static void looked(struct file_io *io, ssize_t result)
{
	struct ob_block_request *request = io->request;
	uint32_t align = file_node_of(request)->io_align;
	uint64_t mask = (align > BLOCK_SECTOR ? align : BLOCK_SECTOR) - UINT64_C(1);
	uint64_t at = request->offset + request->progress;
	uint64_t end = request->offset + request->length;
	uint64_t from = io->job.offset & ~mask;
	uint64_t to = (io->job.offset + io->job.length + mask) & ~mask;

	if (result) {
		/* Then all of it may be data. */
		io->looks = false;
		work(io, end);
		return;
	}
	io->runs++;
	if (!io->job.length) {
		request->progress = request->length;
		file_range_next(io);
		return;
	}
	request->progress += from > at ? from - at : 0;
	work(io, to < end ? to : end);
}

static void run_done(struct file_io *io)
{
	io->request->progress = io->end - io->request->offset;
	file_range_next(io);
}

static void discarded(struct file_io *io, ssize_t result)
{
	struct file_node *node = file_node_of(io->request);

	/* Discard is advice to a device, and one that can't take it has lost nothing. */
	if (result == -EOPNOTSUPP && node->is_device) {
		if (node->block.info.discard)
			log_info(&node->block.log,
			         "discard is off, guests' discards free nothing: the device has "
			         "none");
		node->block.info.discard = false;
		result = 0;
	}
	if (result)
		file_io_finish(io, result);
	else
		run_done(io);
}

/* Zeroes that can't be had this way are tried the next: punch, zero the range, write. */
static void zeroed(struct file_io *io, ssize_t result)
{
	struct file_node *node = file_node_of(io->request);

	if (!result) {
		run_done(io);
		return;
	}
	if (result != -EOPNOTSUPP && result != -EINVAL) {
		file_io_finish(io, result);
		return;
	}
	if (result == -EOPNOTSUPP && io->job.flags & FALLOC_FL_PUNCH_HOLE)
		node->can_punch = false;
	else if (result == -EOPNOTSUPP)
		node->can_zero = false;
	else if (file_io_take_bounce(node, io)) {
		file_io_finish(io, -ENOMEM);
		return;
	}
	io->worked = 0;
	work(io, io->end);
}

void file_range_done(struct file_io *io, ssize_t result)
{
	if (io->step == FILE_LOOK)
		looked(io, result);
	else if (io->request->op == OB_BLOCK_DISCARD)
		discarded(io, result);
	else
		zeroed(io, result);
}
