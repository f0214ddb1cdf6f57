/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that helper threads close; see closer.h. */
#include "closer.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "offload.h"

struct pending {
	struct pending *next;
	int fd;
};

struct loop_closer {
	struct ob_loop *loop;
	struct budget_share *fds; /* NULL: the closer was freed */
	struct pending *queue, **end;
	struct pending *closing; /* the job's */
	unsigned closing_count;
	struct loop_job job;
};

static void start(struct loop_closer *closer);

static void close_all(struct loop_job *job)
{
	struct loop_closer *closer = container_of(job, struct loop_closer, job);

	for (struct pending *pending = closer->closing; pending; pending = pending->next)
		close(pending->fd);
}

static void free_all(struct pending *pending)
{
	while (pending) {
		struct pending *next = pending->next;

		free(pending);
		pending = next;
	}
}

static void closed(struct loop_job *job)
{
	struct loop_closer *closer = container_of(job, struct loop_closer, job);

	free_all(closer->closing);
	closer->closing = NULL;
	if (closer->fds)
		budget_give(closer->fds, closer->closing_count);
	if (!closer->fds)
		free(closer);
	else if (closer->queue)
		start(closer);
}

/* loop_closer_free() was called before the loop ended. */
static void orphaned(struct loop_job *job)
{
	struct loop_closer *closer = container_of(job, struct loop_closer, job);

	free_all(closer->closing);
	free(closer);
}

static void start(struct loop_closer *closer)
{
	closer->closing = closer->queue;
	closer->queue = NULL;
	closer->end = &closer->queue;
	closer->closing_count = 0;
	for (struct pending *pending = closer->closing; pending; pending = pending->next)
		closer->closing_count++;
	loop_offload(closer->loop, &closer->job);
}

struct loop_closer *loop_closer_new(struct ob_loop *loop, struct budget_share *fds)
{
	struct loop_closer *closer = calloc(1, sizeof(*closer));

	if (!closer)
		return NULL;
	closer->loop = loop;
	closer->fds = fds;
	closer->end = &closer->queue;
	closer->job = (struct loop_job){
		.work = close_all,
		.done = closed,
		.orphaned = orphaned,
		.lane = LOOP_LANE_CLIENT,
	};
	return closer;
}

void loop_closer_free(struct loop_closer *closer)
{
	if (!closer)
		return;
	/* The loop may end before it hears of the job's end. */
	for (struct pending *pending = closer->queue; pending; pending = pending->next) {
		loop_close_elsewhere(closer->loop, pending->fd);
		budget_give(closer->fds, 1);
	}
	free_all(take_ptr(&closer->queue));
	if (closer->closing) {
		budget_give(closer->fds, closer->closing_count);
		closer->fds = NULL;
	} else {
		free(closer);
	}
}

void loop_closer_close(struct loop_closer *closer, int fd)
{
	struct pending *pending = closer ? malloc(sizeof(*pending)) : NULL;

	if (!pending) {
		close(fd);
		return;
	}
	*pending = (struct pending){.fd = fd};
	*closer->end = pending;
	closer->end = &pending->next;
	budget_add(closer->fds, 1);
	if (!closer->closing)
		start(closer);
}

void loop_closer_close_socket(struct loop_closer *closer, int fd)
{
	char byte;

	/* From here on nothing can be added to what it holds. */
	shutdown(fd, SHUT_RDWR);
	if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		close(fd);
	else
		loop_closer_close(closer, fd);
}

struct close_job {
	struct loop_job job;
	int fd;
};

static void close_one(struct loop_job *job)
{
	struct close_job *one = container_of(job, struct close_job, job);

	close(one->fd);
	free(one);
}

void loop_close_elsewhere(struct ob_loop *loop, int fd)
{
	struct close_job *one = malloc(sizeof(*one));

	if (!one) {
		close(fd);
		return;
	}
	*one = (struct close_job){.job = {.work = close_one, .lane = LOOP_LANE_CLIENT}, .fd = fd};
	loop_offload(loop, &one->job);
}
