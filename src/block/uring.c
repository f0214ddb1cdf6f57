/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The io_uring engine: one ring for all files of a loop (and one more for those that ask for
 * sqpoll or iopoll, each).
 *
 * Jobs only fill submission entries; a task hands all of them to the kernel at the end of the
 * loop's turn, so that a burst of commands costs one system call, which collects what has ended as
 * well. Where the kernel knows how, it defers its own completion work to the calls that we make
 * anyway.
 *
 * While jobs are under way, a poller looks at the completion queue on every turn, which is a load
 * from memory. By itself it keeps the loop awake only if jobs have lately ended within the few
 * microseconds that a wake-up costs. Otherwise it turns the ring's eventfd on, looks once more, and
 * lets the loop sleep; awake, the eventfd is off, so that the kernel does not tell what is seen.
 *
 * The caller bounds the jobs under way (see file.h): the completion queue has room for all of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "file.h"
#include "uring.h"

static void prepare_rw(struct io_uring_sqe *sqe, const struct engine_job *job)
{
	bool read = job->op == ENGINE_READ;

	if (job->iovcnt == 1) {
		size_t length = job->iov->iov_len < MAX_LENGTH ? job->iov->iov_len : MAX_LENGTH;

		io_uring_prep_rw(read ? IORING_OP_READ : IORING_OP_WRITE, sqe, job->fd,
		                 job->iov->iov_base, (unsigned)length, job->offset);
		if (job->buffer >= 0) {
			sqe->opcode = read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
			sqe->buf_index = (uint16_t)job->buffer;
		}
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
	case ENGINE_DISCARD: /* go to the threads; an unknown operation ends in an error */
	case ENGINE_LOOK:
		io_uring_prep_rw(IORING_OP_LAST, sqe, -1, NULL, 0, 0);
		break;
	}
	if (job->file >= 0) {
		sqe->fd = job->file;
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	/* Else the kernel begins on our thread: a read that misses the page cache reads ahead, and
	 * waits for a place in the queue of a device that has stalled. */
	if (job->sleeps)
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data(sqe, job);
}

static bool queue(struct uring *uring, struct engine_job *job)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	/* What the kernel says to this, it says to the next call as well. */
	if (!sqe && !uring->retry_ms) {
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

	uring->under_way++;
	list_append(&uring->jobs, &job->link);
	if (uring->waiting || !queue(uring, job))
		hold_back(uring, job);
	if (!uring->retry_ms)
		ob_task_schedule(uring->loop, &uring->submit);
}

static void finish(struct uring *uring, struct engine_job *job, int result)
{
	if (engine_may_repeat(job, result)) {
		hold_back(uring, job);
		ob_task_schedule(uring->loop, &uring->submit);
	} else {
		uring->under_way--;
		list_remove(&job->link);
		job->done(job, result);
	}
}

/* Whether the ring's eventfd is to tell of completions. */
static void arm(struct uring *uring, bool on)
{
	if (uring->armed == on)
		return;
	uring->armed = on;
	io_uring_cq_eventfd_toggle(&uring->ring, on);
	/* What ended before the eventfd was on must be seen by the look that follows. */
	if (on)
		__sync_synchronize();
}

/* Whether what has ended is seen only by asking the device. */
static bool asks_device(const struct uring *uring)
{
	return uring->kind == URING_IOPOLL;
}

/* How long this wait took says how long the next one may. */
static void learn(struct uring *uring)
{
	uint64_t took;

	if (!uring->since)
		return;
	took = ob_loop_now() - uring->since;
	if (took > WAIT_MAX_NS)
		took = WAIT_MAX_NS;
	uring->usual = (uring->usual * 7 + took) / 8;
	uring->since = 0;
}

/*
 * What has ended and needs a call to be seen: of a device that is polled, and what the kernel has
 * put off until we call, which the library does by itself and does not say whether it could.
 */
static bool needs_call(const struct uring *uring, unsigned found)
{
	unsigned flags = __atomic_load_n(uring->ring.sq.kflags, __ATOMIC_RELAXED);

	if (uring->retry_ms || found)
		return false;
	return asks_device(uring) || flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* 0 also when the ring has failed. */
static unsigned peek(struct uring *uring, struct io_uring_cqe **cqes)
{
	unsigned n = io_uring_peek_batch_cqe(&uring->ring, cqes, BATCH);

	if (!needs_call(uring, n))
		return n;
	if (!uring_goes_on(uring, io_uring_get_events(&uring->ring)))
		return 0;
	return io_uring_peek_batch_cqe(&uring->ring, cqes, BATCH);
}

static unsigned reap_some(struct uring *uring)
{
	struct io_uring_cqe *cqes[BATCH];
	struct engine_job *jobs[BATCH];
	int results[BATCH];
	unsigned n = peek(uring, cqes);

	if (!n)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		jobs[i] = io_uring_cqe_get_data(cqes[i]);
		results[i] = cqes[i]->res;
	}
	io_uring_cq_advance(&uring->ring, n);
	arm(uring, false);
	learn(uring);
	for (unsigned i = 0; i < n; i++)
		finish(uring, jobs[i], results[i]);
	return n;
}

/*
 * Finishes what has ended, and says whether anything has: then the ring may be gone. Bounded by the
 * completion queue and by time, so that fast files don't keep the loop from everything else: the
 * poller, which stays while jobs are under way, comes back in the next turn.
 */
static bool reap(struct uring *uring)
{
	unsigned budget = *uring->ring.cq.kring_entries, found = 0, n;

	uring->reaping = true;
	do {
		n = reap_some(uring);
		found += n;
	} while (n == BATCH && found < budget && !ob_loop_spent(uring->loop));
	uring->reaping = false;
	if (uring->freed) {
		uring_destroy(uring);
		return true;
	}
	if (uring->failed)
		return true;
	if (!uring->under_way)
		ob_poller_remove(uring->loop, &uring->poller);
	return found;
}

static void submit_all(struct ob_task *task)
{
	struct uring *uring = container_of(task, struct uring, submit);
	struct engine_job *job;
	int rc;

	while ((job = uring->waiting) && queue(uring, job)) {
		uring->waiting = job->next;
		if (!uring->waiting)
			uring->waiting_end = &uring->waiting;
	}
	arm(uring, false);
	rc = uring->kind & URING_SQPOLL ? io_uring_submit(&uring->ring)
	                                : io_uring_submit_and_get_events(&uring->ring);
	if (!uring_goes_on(uring, rc))
		return;
	/* Short of memory, the kernel takes less than it was given. Its thread is just not there
	 * yet. */
	if (!uring->retry_ms &&
	    (uring->waiting || (!(uring->kind & URING_SQPOLL) && io_uring_sq_ready(&uring->ring))))
		ob_task_schedule(uring->loop, &uring->submit);
	ob_poller_add(uring->loop, &uring->poller);
}

static void run_retry(struct ob_timer *timer)
{
	submit_all(&container_of(timer, struct uring, retry)->submit);
}

/* Nothing has ended. Whether to look again at once; otherwise the eventfd is on. */
static bool stay_awake(struct uring *uring)
{
	uint64_t now;

	if (asks_device(uring))
		return !uring->retry_ms;
	now = ob_loop_now();
	if (!uring->since)
		uring->since = now;
	if (uring->usual < WAKE_NS && now - uring->since < SPIN_NS)
		return true;
	arm(uring, true);
	return false;
}

/* Whatever is found makes for another turn: callers have likely begun something new. */
static bool poll_ring(struct ob_poller *poller)
{
	struct uring *uring = container_of(poller, struct uring, poller);

	if (reap(uring))
		return true;
	if (uring->armed)
		return false;
	return stay_awake(uring) || reap(uring);
}

static void ready(struct loop_fd *watch, uint32_t events)
{
	struct uring *uring = container_of(watch, struct uring, watch);

	arm(uring, false);
	reap(uring);
}

static int uring_add_file(struct engine *engine, int fd)
{
	struct uring *uring = container_of(engine, struct uring, engine);

	for (int file = 0; uring->files_known && !uring->failed && file < FILES; file++) {
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

	if (uring->failed)
		return;
	io_uring_register_files_update(&uring->ring, (unsigned)file, &none, 1);
	uring->file_taken[file] = false;
}

static void uring_free(struct engine *engine)
{
	struct uring *uring = container_of(engine, struct uring, engine);

	if (!uring->failed)
		uring_leave_loop(uring);
	else
		ob_task_cancel(&uring->submit); /* gives back jobs, if there are any */
	if (uring->reaping)
		uring->freed = true;
	else
		uring_destroy(uring);
}

/*
 * Slots for memory are asked for, and filled, one by one. Registering can take as long as it takes
 * to find memory for all of its pages.
 */
static int uring_add_buffer(struct engine *engine, void *base, size_t length)
{
	struct uring *uring = container_of(engine, struct uring, engine);
	struct iovec iov = {base, length};
	int buffer = 0;

	if (uring->failed)
		return -1;
	if (!uring->buffers_tried) {
		uring->buffers_tried = true;
		uring->buffers_known = !io_uring_register_buffers_sparse(&uring->ring, BUFFERS);
	}
	while (buffer < BUFFERS && uring->buffer_taken[buffer])
		buffer++;
	if (!uring->buffers_known || buffer == BUFFERS ||
	    io_uring_register_buffers_update_tag(&uring->ring, (unsigned)buffer, &iov, NULL, 1) !=
	            1)
		return -1;
	uring->buffer_taken[buffer] = true;
	return buffer;
}

static void uring_remove_buffer(struct engine *engine, int buffer)
{
	struct uring *uring = container_of(engine, struct uring, engine);
	struct iovec none = {NULL, 0};

	if (uring->failed)
		return;
	io_uring_register_buffers_update_tag(&uring->ring, (unsigned)buffer, &none, NULL, 1);
	uring->buffer_taken[buffer] = false;
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
	io_uring_cq_eventfd_toggle(&uring->ring, false);
	if (!rc)
		rc = loop_fd_add(uring->loop, &uring->watch);
	if (rc)
		close(uring->watch.fd);
	return rc;
}

/* The table of files, and the canary in it. Where they can't be had, there is none. */
static void register_files(struct uring *uring)
{
	int ends[2];

	uring->files_known = !io_uring_register_files_sparse(&uring->ring, FILES + 1);
	if (!uring->files_known || pipe2(ends, O_CLOEXEC))
		return;
	if (io_uring_register_files_update(&uring->ring, CANARY, &ends[1], 1) == 1)
		uring->canary.fd = ends[0];
	else
		close(ends[0]);
	close(ends[1]);
}

int uring_new(struct ob_loop *loop, unsigned kind, struct engine **engine)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	unsigned workers[2] = {FILE_MAX_JOBS, 0};
	int rc;

	if (!uring)
		return -ENOMEM;
	uring->engine = (struct engine){
		.start = uring_start,
		.add_file = uring_add_file,
		.remove_file = uring_remove_file,
		.add_buffer = uring_add_buffer,
		.remove_buffer = uring_remove_buffer,
		.free = uring_free,
	};
	uring->loop = loop;
	uring->kind = kind;
	list_init(&uring->jobs);
	uring->canary = (struct loop_fd){.fd = -1, .ready = uring_canary_closed};
	uring->retry.expired = run_retry;
	uring->submit.run = submit_all;
	uring->poller.poll = poll_ring;
	uring->waiting_end = &uring->waiting;
	rc = uring_set_up(&uring->ring, SUBMIT_ENTRIES, kind);
	if (rc)
		goto no_ring;
	rc = watch_ring(uring);
	if (rc)
		goto no_watch;
	register_files(uring);
	/*
	 * As a rule there are four for each processor, and a few calls that hang would hold up all.
	 * Direct reads and writes need one as well, when the device's queue is full.
	 */
	io_uring_register_iowq_max_workers(&uring->ring, workers);
	*engine = &uring->engine;
	return 0;

no_watch:
	io_uring_queue_exit(&uring->ring);
no_ring:
	free(uring);
	return rc;
}
