/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread engine: a few threads that make blocking system calls, for where io_uring is refused,
 * and for the calls that it does not have.
 *
 * The loop's thread and the workers share two lists of jobs, todo and done, and what counts them;
 * one lock guards all of it. A job belongs to the worker from when it leaves todo until it stands
 * in done. An eventfd tells the loop that done is no longer empty. Workers come one by one as they
 * are needed, and go when the engine is freed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "engine.h"

enum { STACK_SIZE = 256 << 10 };

struct jobs {
	struct engine_job *first, **end;
};

struct threads {
	struct engine engine;
	struct ob_loop *loop;
	struct loop_fd watch; /* the eventfd */
	struct ob_task reap;
	bool reaping, freed;
	pthread_t workers[THREADS_MAX];
	unsigned worker_count;

	struct jobs reaped; /* from done: the loop's, which ends them in its turns */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wanted;
	struct jobs todo, done;
	unsigned queued; /* in todo */
	unsigned idle;   /* workers that wait; one that was woken counts until it runs */
	bool stop;
};

static void jobs_init(struct jobs *jobs)
{
	jobs->first = NULL;
	jobs->end = &jobs->first;
}

static void jobs_append(struct jobs *jobs, struct engine_job *job)
{
	job->next = NULL;
	*jobs->end = job;
	jobs->end = &job->next;
}

static struct engine_job *jobs_take(struct jobs *jobs)
{
	struct engine_job *job = jobs->first;

	if (job) {
		jobs->first = job->next;
		if (!jobs->first)
			jobs->end = &jobs->first;
	}
	return job;
}

/* What lies behind the data that begins in the range is left for the next look. */
static ssize_t look(struct engine_job *job)
{
	off_t end = (off_t)(job->offset + job->length);
	off_t data = lseek(job->fd, (off_t)job->offset, SEEK_DATA), hole;

	if (data >= end || (data < 0 && errno == ENXIO)) {
		job->length = 0;
		return 0;
	}
	hole = data < 0 ? data : lseek(job->fd, data, SEEK_HOLE);
	if (hole < 0)
		return -1;
	/* Somebody made a hole of it between the two: that says nothing of what lies behind. */
	if (hole == data) {
		errno = EAGAIN;
		return -1;
	}
	job->offset = (uint64_t)data;
	job->length = (uint64_t)((hole < end ? hole : end) - data);
	return 0;
}

static ssize_t carry_out(struct engine_job *job)
{
	uint64_t range[2] = {job->offset, job->length};
	int iovcnt = (int)job->iovcnt;
	off_t offset = (off_t)job->offset;

	switch (job->op) {
	case ENGINE_READ:
		return preadv2(job->fd, job->iov, iovcnt, offset, job->flags);
	case ENGINE_WRITE:
		return pwritev2(job->fd, job->iov, iovcnt, offset, job->flags);
	case ENGINE_SYNC:
		return fdatasync(job->fd);
	case ENGINE_ALLOCATE:
		return fallocate(job->fd, job->flags, offset, (off_t)job->length);
	case ENGINE_DISCARD:
		return ioctl(job->fd, BLKDISCARD, range);
	case ENGINE_LOOK:
		return look(job);
	}
	errno = EINVAL;
	return -1;
}

static void *work(void *argument)
{
	struct threads *threads = argument;
	uint64_t one = 1;

	pthread_mutex_lock(&threads->lock);
	for (;;) {
		struct engine_job *job = jobs_take(&threads->todo);
		bool first;

		if (!job) {
			if (threads->stop)
				break;
			threads->idle++;
			pthread_cond_wait(&threads->wanted, &threads->lock);
			threads->idle--;
			continue;
		}
		threads->queued--;
		pthread_mutex_unlock(&threads->lock);
		do {
			job->result = carry_out(job);
			if (job->result < 0)
				job->result = -errno;
		} while (job->result == -EINTR && engine_may_repeat(job, job->result));
		pthread_mutex_lock(&threads->lock);
		first = !threads->done.first;
		jobs_append(&threads->done, job);
		/* Fails only past 2^64 - 2, and then the loop is woken as well. */
		if (first && write(threads->watch.fd, &one, sizeof(one)) < 0)
			continue;
	}
	pthread_mutex_unlock(&threads->lock);
	return NULL;
}

/* Signals are the loop's business: workers block them all. */
static void add_worker(struct threads *threads)
{
	pthread_attr_t attributes;
	sigset_t all, before;

	if (pthread_attr_init(&attributes))
		return;
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (!pthread_create(&threads->workers[threads->worker_count], &attributes, work, threads))
		threads->worker_count++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
}

static void threads_start(struct engine *engine, struct engine_job *job)
{
	struct threads *threads = container_of(engine, struct threads, engine);
	bool too_few;

	pthread_mutex_lock(&threads->lock);
	jobs_append(&threads->todo, job);
	too_few = ++threads->queued > threads->idle;
	pthread_cond_signal(&threads->wanted);
	pthread_mutex_unlock(&threads->lock);
	if (too_few && threads->worker_count < THREADS_MAX)
		add_worker(threads);
}

static void destroy(struct threads *threads)
{
	pthread_mutex_lock(&threads->lock);
	threads->stop = true;
	pthread_cond_broadcast(&threads->wanted);
	pthread_mutex_unlock(&threads->lock);
	for (unsigned i = 0; i < threads->worker_count; i++)
		pthread_join(threads->workers[i], NULL);
	pthread_cond_destroy(&threads->wanted);
	pthread_mutex_destroy(&threads->lock);
	fd_close(&threads->watch.fd);
	free(threads);
}

/* Whoever hears of an end begins more, which is work: when it has taken its time, others come
 * first. */
static void end_jobs(struct ob_task *task)
{
	struct threads *threads = container_of(task, struct threads, reap);
	struct engine_job *job;

	threads->reaping = true;
	while ((job = jobs_take(&threads->reaped))) {
		job->done(job, job->result);
		if (threads->reaped.first && ob_loop_spent(threads->loop)) {
			ob_task_schedule(threads->loop, &threads->reap);
			break;
		}
	}
	threads->reaping = false;
	if (threads->freed)
		destroy(threads);
}

static void ready(struct loop_fd *watch, uint32_t events)
{
	struct threads *threads = container_of(watch, struct threads, watch);
	struct engine_job *job;
	uint64_t count;

	if (read(watch->fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&threads->lock);
	while ((job = jobs_take(&threads->done)))
		jobs_append(&threads->reaped, job);
	pthread_mutex_unlock(&threads->lock);
	end_jobs(&threads->reap);
}

static int threads_add_file(struct engine *engine, int fd)
{
	return -1;
}

static void threads_remove_file(struct engine *engine, int file)
{
}

static void threads_free(struct engine *engine)
{
	struct threads *threads = container_of(engine, struct threads, engine);

	loop_fd_remove(threads->loop, &threads->watch);
	ob_task_cancel(&threads->reap);
	if (threads->reaping)
		threads->freed = true;
	else
		destroy(threads);
}

int threads_new(struct ob_loop *loop, struct engine **engine)
{
	struct threads *threads = calloc(1, sizeof(*threads));
	int rc;

	if (!threads)
		return -ENOMEM;
	threads->engine = (struct engine){
		.start = threads_start,
		.add_file = threads_add_file,
		.remove_file = threads_remove_file,
		.free = threads_free,
	};
	threads->loop = loop;
	jobs_init(&threads->todo);
	jobs_init(&threads->done);
	jobs_init(&threads->reaped);
	threads->reap.run = end_jobs;
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->wanted, NULL);
	threads->watch = (struct loop_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.ready = ready,
	};
	rc = threads->watch.fd < 0 ? -errno : loop_fd_add(loop, &threads->watch);
	if (rc) {
		destroy(threads);
		return rc;
	}
	add_worker(threads);
	if (!threads->worker_count) {
		threads_free(&threads->engine);
		return -EAGAIN;
	}
	*engine = &threads->engine;
	return 0;
}
