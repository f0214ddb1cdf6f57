/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What becomes of a ring whose calls are refused.
 *
 * A call of the ring may be refused: for a moment (memory is short), or for good (a filter of
 * system calls came, or a kernel is not as it should be). For a moment it is tried again, at
 * growing intervals. For good, the ring is given up, and its jobs are given back to be done by
 * other means. That must not happen while the kernel may still carry one out, and without calls
 * there are no completions to tell. So each ring holds the one writing end of a pipe, as a
 * registered file: it is closed when the last request of the ring has ended, and the reading end
 * says so.
 */
#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "uring.h"

enum {
	RETRY_MIN_MS = 1, /* after a call that was refused for a moment */
	RETRY_MAX_MS = 64,
	REFUSED_MAX_MS = 1000, /* so long in all, and it is for good */
};

void uring_leave_loop(struct uring *uring)
{
	ob_task_cancel(&uring->submit);
	ob_timer_cancel(uring->loop, &uring->retry);
	ob_poller_remove(uring->loop, &uring->poller);
	loop_fd_remove(uring->loop, &uring->watch);
}

/*
 * What the kernel has not taken out of the submission queue. With SQPOLL a thread of its own takes
 * what was published, perhaps right now: only what was not is certain.
 */
static void mark_untouched(struct uring *uring)
{
	const struct io_uring_sq *sq = &uring->ring.sq;
	bool polled = uring->ring.flags & IORING_SETUP_SQPOLL;
	unsigned mask = *sq->kring_mask;
	unsigned first = polled ? *sq->ktail : *sq->khead;

	for (struct engine_job *job = uring->waiting; job; job = job->next)
		job->untouched = true;
	for (unsigned at = first; at != sq->sqe_tail; at++) {
		struct engine_job *job = (void *)(uintptr_t)sq->sqes[at & mask].user_data;

		job->untouched = true;
	}
}

/*
 * In turns, as each wakes a thread, or makes one. The last one may have its owner free the engine.
 */
static void give_back_jobs(struct uring *uring)
{
	struct ob_loop *loop = uring->loop;
	bool more = !list_empty(&uring->jobs);

	uring->under_way = 0;
	while (more) {
		struct engine_job *job = container_of(uring->jobs.next, struct engine_job, link);

		list_remove(&job->link);
		more = !list_empty(&uring->jobs);
		if (job->untouched || uring->all_ended)
			uring->engine.give_back(&uring->engine, job);
		else
			job->done(job, -EIO);
		if (more && ob_loop_spent(loop)) {
			ob_task_schedule(loop, &uring->submit);
			return;
		}
	}
}

static void forget_canary(struct uring *uring)
{
	if (uring->canary_watched)
		loop_fd_remove(uring->loop, &uring->canary);
	uring->canary_watched = false;
	fd_close(&uring->canary.fd);
}

void uring_destroy(struct uring *uring)
{
	if (!uring->failed) {
		io_uring_queue_exit(&uring->ring);
		close(uring->watch.fd);
	}
	forget_canary(uring);
	free(uring);
}

void uring_canary_closed(struct loop_fd *watch, uint32_t events)
{
	struct uring *uring = container_of(watch, struct uring, canary);

	forget_canary(uring);
	uring->all_ended = true;
	give_back_jobs(uring);
}

static void run_give_back(struct ob_task *task)
{
	give_back_jobs(container_of(task, struct uring, submit));
}

/*
 * For good. Without a canary nobody says when the kernel has ended what it works on, and such jobs
 * end in an error.
 */
static void fail(struct uring *uring, int code)
{
	struct engine_job *job;

	uring_leave_loop(uring);
	list_for_each (job, &uring->jobs, struct engine_job, link)
		job->untouched = false;
	mark_untouched(uring);
	uring->waiting = NULL;
	uring->waiting_end = &uring->waiting;
	uring->failed = true;
	io_uring_queue_exit(&uring->ring);
	close(uring->watch.fd);
	uring->canary_watched = uring->canary.fd >= 0 && !loop_fd_add(uring->loop, &uring->canary);
	uring->submit.run = run_give_back;
	if (!uring->canary_watched)
		ob_task_schedule(uring->loop, &uring->submit);
	uring->engine.failed(&uring->engine, code);
}

static bool is_for_a_moment(int code)
{
	return code == -EAGAIN || code == -EINTR || code == -EBUSY || code == -ENOMEM;
}

bool uring_goes_on(struct uring *uring, int code)
{
	uint64_t now;

	if (code >= 0) {
		uring->retry_ms = 0;
		return true;
	}
	now = ob_loop_now();
	if (!uring->retry_ms)
		uring->refused_since = now;
	if (!is_for_a_moment(code) ||
	    now - uring->refused_since > REFUSED_MAX_MS * UINT64_C(1000000)) {
		fail(uring, code);
		return false;
	}
	uring->retry_ms = uring->retry_ms ? 2 * uring->retry_ms : RETRY_MIN_MS;
	if (uring->retry_ms > RETRY_MAX_MS)
		uring->retry_ms = RETRY_MAX_MS;
	if (ob_timer_arm(uring->loop, &uring->retry, uring->retry_ms * UINT64_C(1000000)))
		ob_task_schedule(uring->loop, &uring->submit);
	return true;
}
