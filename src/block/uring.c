/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The io_uring engine: one ring for all files of a loop.
 *
 * Jobs only fill submission entries; a task hands all of them to the kernel at the end of the
 * loop's turn, so that a burst of commands costs one system call. What the kernel could finish on
 * the spot is collected by the same call, the rest when the loop sees the ring become readable.
 * Where the kernel knows how, it defers its own completion work to the calls that we make anyway.
 *
 * The caller bounds the jobs under way (see file.h): the completion queue has room for all of them.
 */
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/list.h"
#include "engine.h"
#include "file.h"

enum {
	SUBMIT_ENTRIES = 256,
	FILES = 256, /* registered files; those beyond are used by descriptor */
	BATCH = 64,
	MAX_LENGTH = 0x7ffff000, /* of one read or write: Linux' MAX_RW_COUNT */
};

struct uring {
	struct engine engine;
	struct ob_loop *loop;
	struct io_uring ring;
	struct loop_fd watch; /* the eventfd */
	struct ob_task submit;
	struct engine_job *waiting, **waiting_end; /* for submission entries */
	bool reaping, freed;
	bool files_tried, files_known;
	bool file_taken[FILES];
};

static void prepare_rw(struct io_uring_sqe *sqe, const struct engine_job *job)
{
	bool read = job->op == ENGINE_READ;

	if (job->iovcnt == 1) {
		size_t length = job->iov->iov_len < MAX_LENGTH ? job->iov->iov_len : MAX_LENGTH;

		io_uring_prep_rw(read ? IORING_OP_READ : IORING_OP_WRITE, sqe, job->fd,
		                 job->iov->iov_base, (unsigned)length, job->offset);
	} else {
		io_uring_prep_rw(read ? IORING_OP_READV : IORING_OP_WRITEV, sqe, job->fd, job->iov,
		                 job->iovcnt, job->offset);
	}
	sqe->rw_flags = job->flags;
}

static void prepare(struct io_uring_sqe *sqe, struct engine_job *job)
{
	switch (job->op) {
	case ENGINE_READ:
	case ENGINE_WRITE:
		prepare_rw(sqe, job);
		break;
	case ENGINE_SYNC:
		io_uring_prep_fsync(sqe, job->fd, IORING_FSYNC_DATASYNC);
		break;
	case ENGINE_ALLOCATE:
		io_uring_prep_fallocate(sqe, job->fd, job->flags, (off_t)job->offset,
		                        (off_t)job->length);
		break;
	case ENGINE_DISCARD: /* goes to the threads; an unknown operation ends in an error */
		io_uring_prep_rw(IORING_OP_LAST, sqe, -1, NULL, 0, 0);
		break;
	}
	if (job->file >= 0) {
		sqe->fd = job->file;
		io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	}
	io_uring_sqe_set_data(sqe, job);
}

static bool queue(struct uring *uring, struct engine_job *job)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	if (!sqe) {
		io_uring_submit(&uring->ring);
		sqe = io_uring_get_sqe(&uring->ring);
	}
	if (sqe)
		prepare(sqe, job);
	return sqe;
}

static void hold_back(struct uring *uring, struct engine_job *job)
{
	job->next = NULL;
	*uring->waiting_end = job;
	uring->waiting_end = &job->next;
}

static void uring_start(struct engine *engine, struct engine_job *job)
{
	struct uring *uring = container_of(engine, struct uring, engine);

	if (uring->waiting || !queue(uring, job))
		hold_back(uring, job);
	ob_task_schedule(uring->loop, &uring->submit);
}

static void destroy(struct uring *uring)
{
	io_uring_queue_exit(&uring->ring);
	close(uring->watch.fd);
	free(uring);
}

/* The kernel may ask to try again; everything else is for the caller. */
static void finish(struct uring *uring, struct engine_job *job, int result)
{
	if (result == -EAGAIN || result == -EINTR) {
		hold_back(uring, job);
		ob_task_schedule(uring->loop, &uring->submit);
	} else {
		job->done(job, result);
	}
}

/* Bounded by the completion queue, so that fast files don't keep the loop from everything else. */
static void reap(struct uring *uring)
{
	unsigned budget = *uring->ring.cq.kring_entries;
	struct io_uring_cqe *cqes[BATCH];
	struct engine_job *jobs[BATCH];
	int results[BATCH];
	unsigned n;

	uring->reaping = true;
	do {
		n = io_uring_peek_batch_cqe(&uring->ring, cqes, BATCH);
		for (unsigned i = 0; i < n; i++) {
			jobs[i] = io_uring_cqe_get_data(cqes[i]);
			results[i] = cqes[i]->res;
		}
		io_uring_cq_advance(&uring->ring, n);
		for (unsigned i = 0; i < n; i++)
			finish(uring, jobs[i], results[i]);
		budget -= n < budget ? n : budget;
	} while (n &&
	         budget); /* a look that finds nothing has also done the kernel's deferred work */
	uring->reaping = false;
	if (n && !uring->freed)
		ob_task_schedule(uring->loop, &uring->submit);
	if (uring->freed)
		destroy(uring);
}

static void submit_all(struct ob_task *task)
{
	struct uring *uring = container_of(task, struct uring, submit);
	struct engine_job *job;

	while ((job = uring->waiting) && queue(uring, job)) {
		uring->waiting = job->next;
		if (!uring->waiting)
			uring->waiting_end = &uring->waiting;
	}
	io_uring_cq_eventfd_toggle(&uring->ring, false);
	io_uring_submit(&uring->ring);
	/* Short of memory, the kernel takes less than it was given. */
	if (uring->waiting || io_uring_sq_ready(&uring->ring))
		ob_task_schedule(uring->loop, &uring->submit);
	io_uring_cq_eventfd_toggle(&uring->ring, true);
	/* What ended before the eventfd was on again must be seen now: on first, then look. */
	__sync_synchronize();
	reap(uring);
}

static void ready(struct loop_fd *watch, uint32_t events)
{
	reap(container_of(watch, struct uring, watch));
}

static int uring_add_file(struct engine *engine, int fd)
{
	struct uring *uring = container_of(engine, struct uring, engine);

	if (!uring->files_tried) {
		uring->files_tried = true;
		uring->files_known = !io_uring_register_files_sparse(&uring->ring, FILES);
	}
	for (int file = 0; uring->files_known && file < FILES; file++) {
		if (uring->file_taken[file])
			continue;
		if (io_uring_register_files_update(&uring->ring, (unsigned)file, &fd, 1) != 1)
			return -1;
		uring->file_taken[file] = true;
		return file;
	}
	return -1;
}

static void uring_remove_file(struct engine *engine, int file)
{
	struct uring *uring = container_of(engine, struct uring, engine);
	int none = -1;

	io_uring_register_files_update(&uring->ring, (unsigned)file, &none, 1);
	uring->file_taken[file] = false;
}

static void uring_free(struct engine *engine)
{
	struct uring *uring = container_of(engine, struct uring, engine);

	ob_task_cancel(&uring->submit);
	loop_fd_remove(uring->loop, &uring->watch);
	if (uring->reaping)
		uring->freed = true;
	else
		destroy(uring);
}

/* Older kernels don't know the flags that save us interruptions, and say so. */
static int set_up(struct io_uring *ring, unsigned entries)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
	                 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
	                 IORING_SETUP_TASKRUN_FLAG,
		.cq_entries = FILE_MAX_JOBS,
	};
	int rc = io_uring_queue_init_params(entries, ring, &params);

	if (rc == -EINVAL) {
		params = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE,
		                                  .cq_entries = FILE_MAX_JOBS};
		rc = io_uring_queue_init_params(entries, ring, &params);
	}
	if (rc)
		return rc;
	/* Linux 5.8: all operations that are used here, and the switch for the eventfd. */
	if (!(params.features & IORING_FEAT_FAST_POLL) || !ring->cq.kflags) {
		io_uring_queue_exit(ring);
		return -ENOSYS;
	}
	return 0;
}

int uring_probe(void)
{
	struct io_uring ring;
	int rc = set_up(&ring, 1);

	if (!rc)
		io_uring_queue_exit(&ring);
	return rc;
}

static int watch_ring(struct uring *uring)
{
	int rc;

	uring->watch = (struct loop_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN | EPOLLET,
		.ready = ready,
	};
	if (uring->watch.fd < 0)
		return -errno;
	rc = io_uring_register_eventfd(&uring->ring, uring->watch.fd);
	if (!rc)
		rc = loop_fd_add(uring->loop, &uring->watch);
	if (rc)
		close(uring->watch.fd);
	return rc;
}

int uring_new(struct ob_loop *loop, struct engine **engine)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	int rc;

	if (!uring)
		return -ENOMEM;
	uring->engine = (struct engine){
		.start = uring_start,
		.add_file = uring_add_file,
		.remove_file = uring_remove_file,
		.free = uring_free,
	};
	uring->loop = loop;
	uring->submit.run = submit_all;
	uring->waiting_end = &uring->waiting;
	rc = set_up(&uring->ring, SUBMIT_ENTRIES);
	if (rc)
		goto no_ring;
	rc = watch_ring(uring);
	if (rc)
		goto no_watch;
	*engine = &uring->engine;
	return 0;

no_watch:
	io_uring_queue_exit(&uring->ring);
no_ring:
	free(uring);
	return rc;
}
