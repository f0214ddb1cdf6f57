/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Helper threads; see offload.h.
 *
 * The loop and the threads share struct offload under one lock. A job stands in its lane's queue,
 * then belongs to the thread that took it, then stands in done until the loop takes it from there.
 * An eventfd tells the loop that done is no longer empty. Whoever lets go last frees the struct:
 * the loop may end while a thread still sleeps in a call.
 */
#include "offload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "internal.h"
#include "loop.h"

enum { STACK_SIZE = 256 << 10, IDLE_SECONDS = 1 };

static const uint64_t retry_ns = 10000000; /* when not a single thread could be had */

static const unsigned lane_limit[LOOP_LANES] = {
	[LOOP_LANE_STORAGE] = LOOP_STORAGE_CALLS,
	[LOOP_LANE_CLIENT] = LOOP_CLIENT_CALLS,
	[LOOP_LANE_CHARDEV] = LOOP_CHARDEV_CALLS,
	[LOOP_LANE_MEMORY] = 1,
};

struct queue {
	struct loop_job *first, **end;
};

struct lane {
	struct queue todo;
	unsigned queued, busy; /* jobs in todo; jobs that threads have taken */
};

struct offload {
	/* The loop's alone. */
	struct ob_loop *loop;
	struct loop_fd watch; /* its descriptor, the eventfd, is everybody's */
	struct ob_timer retry;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wanted;
	struct lane lanes[LOOP_LANES];
	struct queue done;
	unsigned threads;
	unsigned idle; /* threads without a job; one that was woken or just made counts */
	bool ended;    /* the loop is gone */
};

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static void queue_append(struct queue *queue, struct loop_job *job)
{
	job->next = NULL;
	*queue->end = job;
	queue->end = &job->next;
}

/* Takes *at, which is a link of the queue, out of it. */
static struct loop_job *queue_take(struct queue *queue, struct loop_job **at)
{
	struct loop_job *job = *at;

	*at = job->next;
	if (!job->next)
		queue->end = at;
	return job;
}

static void offload_destroy(struct offload *offload)
{
	pthread_cond_destroy(&offload->wanted);
	pthread_mutex_destroy(&offload->lock);
	fd_close(&offload->watch.fd);
	free(offload);
}

/* Locked, as all down to work_jobs(). A job whose lane has room, or NULL. */
static struct loop_job *job_take(struct offload *offload)
{
	for (unsigned i = 0; i < LOOP_LANES; i++) {
		struct lane *lane = &offload->lanes[i];

		if (!lane->queued || lane->busy == lane_limit[i])
			continue;
		lane->queued--;
		lane->busy++;
		return queue_take(&lane->todo, &lane->todo.first);
	}
	return NULL;
}

/* Jobs that could be taken right now. */
static unsigned jobs_ready(const struct offload *offload)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < LOOP_LANES; i++) {
		const struct lane *lane = &offload->lanes[i];
		unsigned room = lane_limit[i] - lane->busy;

		ready += lane->queued < room ? lane->queued : room;
	}
	return ready;
}

static void job_carry_out(struct offload *offload, struct loop_job *job)
{
	/* Without done, the job may be gone after its work. */
	struct lane *lane = &offload->lanes[job->lane];
	bool tell = job->done;
	const uint64_t one = 1;
	bool first;

	pthread_mutex_unlock(&offload->lock);
	job->work(job);
	pthread_mutex_lock(&offload->lock);
	lane->busy--;
	if (!tell)
		return;
	if (offload->ended) {
		if (job->orphaned)
			job->orphaned(job);
		return;
	}
	first = !offload->done.first;
	queue_append(&offload->done, job);
	/* Fails only past 2^64 - 2, and then the loop is woken as well. */
	if (first && write(offload->watch.fd, &one, sizeof(one)) < 0)
		return;
}

/* False: nothing came for a while. */
static bool jobs_wait(struct offload *offload)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	return pthread_cond_timedwait(&offload->wanted, &offload->lock, &until) != ETIMEDOUT;
}

static void *work_jobs(void *argument)
{
	struct offload *offload = argument;
	struct loop_job *job;
	bool last;

	pthread_mutex_lock(&offload->lock);
	for (;;) {
		job = job_take(offload);
		if (job) {
			offload->idle--;
			job_carry_out(offload, job);
			offload->idle++;
		} else if (offload->ended || (!jobs_wait(offload) && !jobs_ready(offload))) {
			break;
		}
	}
	offload->idle--;
	last = --offload->threads == 0 && offload->ended;
	pthread_mutex_unlock(&offload->lock);
	if (last)
		offload_destroy(offload);
	return NULL;
}

/* Signals are the loop's business: helpers block them all. */
static bool thread_start(struct offload *offload)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	bool started;

	if (pthread_attr_init(&attributes))
		return false;
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = !pthread_create(&thread, &attributes, work_jobs, offload);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return started;
}

/* On the loop: sees to it that there are threads for what waits. */
static void threads_provide(struct offload *offload)
{
	bool none = false;

	pthread_mutex_lock(&offload->lock);
	while (jobs_ready(offload) > offload->idle) {
		if (!thread_start(offload)) {
			none = true;
			break;
		}
		offload->threads++;
		offload->idle++;
	}
	pthread_cond_signal(&offload->wanted);
	pthread_mutex_unlock(&offload->lock);
	/* Without room for the timer the next job tries again. */
	if (none)
		(void)ob_timer_arm(offload->loop, &offload->retry, retry_ns);
}

static void on_retry(struct ob_timer *timer)
{
	threads_provide(container_of(timer, struct offload, retry));
}

static void on_done(struct loop_fd *watch, uint32_t events)
{
	struct offload *offload = container_of(watch, struct offload, watch);
	struct loop_job *job, *next;
	uint64_t count;

	(void)events;
	if (read(watch->fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&offload->lock);
	job = offload->done.first;
	queue_init(&offload->done);
	pthread_mutex_unlock(&offload->lock);
	for (; job; job = next) {
		next = job->next;
		job->done(job);
	}
}

void loop_offload(struct ob_loop *loop, struct loop_job *job)
{
	struct offload *offload = loop->offload;
	struct lane *lane = &offload->lanes[job->lane];

	pthread_mutex_lock(&offload->lock);
	queue_append(&lane->todo, job);
	lane->queued++;
	pthread_mutex_unlock(&offload->lock);
	threads_provide(offload);
}

bool loop_offload_cancel(struct ob_loop *loop, struct loop_job *job)
{
	struct offload *offload = loop->offload;
	struct lane *lane = &offload->lanes[job->lane];
	struct loop_job **at = &lane->todo.first;
	bool found;

	pthread_mutex_lock(&offload->lock);
	while (*at && *at != job)
		at = &(*at)->next;
	found = *at != NULL;
	if (found) {
		queue_take(&lane->todo, at);
		lane->queued--;
	}
	pthread_mutex_unlock(&offload->lock);
	return found;
}

unsigned loop_offload_count(struct ob_loop *loop, enum loop_lane lane)
{
	struct offload *offload = loop->offload;
	unsigned count;

	pthread_mutex_lock(&offload->lock);
	count = offload->lanes[lane].queued + offload->lanes[lane].busy;
	pthread_mutex_unlock(&offload->lock);
	return count;
}

static void wanted_init(struct offload *offload)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&offload->wanted, &attributes);
	pthread_condattr_destroy(&attributes);
}

int loop_offload_init(struct ob_loop *loop)
{
	struct offload *offload = calloc(1, sizeof(*offload));
	int rc;

	if (!offload)
		return -ENOMEM;
	offload->loop = loop;
	offload->retry.expired = on_retry;
	pthread_mutex_init(&offload->lock, NULL);
	wanted_init(offload);
	for (unsigned i = 0; i < LOOP_LANES; i++)
		queue_init(&offload->lanes[i].todo);
	queue_init(&offload->done);
	offload->watch = (struct loop_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.ready = on_done,
	};
	rc = offload->watch.fd < 0 ? -errno : loop_fd_add(loop, &offload->watch);
	if (rc) {
		offload_destroy(offload);
		return rc;
	}
	loop->offload = offload;
	return 0;
}

/* Nobody takes these from done any more. */
static void orphan_all(struct loop_job *job)
{
	for (struct loop_job *next; job; job = next) {
		next = job->next;
		if (job->orphaned)
			job->orphaned(job);
	}
}

/* What waits in lanes is still done, by the threads that are there; nobody is told. */
void loop_offload_end(struct ob_loop *loop)
{
	struct offload *offload = loop->offload;
	struct loop_job *untold;
	bool last;

	ob_timer_cancel(loop, &offload->retry);
	loop_fd_remove(loop, &offload->watch);
	pthread_mutex_lock(&offload->lock);
	offload->ended = true;
	untold = offload->done.first;
	queue_init(&offload->done);
	last = !offload->threads;
	pthread_cond_broadcast(&offload->wanted);
	pthread_mutex_unlock(&offload->lock);
	orphan_all(untold);
	if (last)
		offload_destroy(offload);
}
