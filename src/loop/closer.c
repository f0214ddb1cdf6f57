/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that helper threads close; see closer.h. */
#include "closer.h"

#include <errno.h>
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

void loop_keep_urgent(int fd)
{
	const int on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

static int socket_option(int fd, int option)
{
	socklen_t length = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) ? -1 : value;
}

ssize_t loop_receive(int fd, void *bytes, size_t size)
{
	_Alignas(struct cmsghdr) char credentials[CMSG_LEN(sizeof(struct ucred))];
	struct iovec iov = {.iov_base = bytes, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (socket_option(fd, SO_DOMAIN) != AF_UNIX)
		return recv(fd, bytes, size, MSG_DONTWAIT);
	loop_keep_urgent(fd);
	/* Who is told of credentials needs room for them, and has none for more. */
	if (socket_option(fd, SO_PASSCRED) > 0) {
		message.msg_control = credentials;
		message.msg_controllen = sizeof(credentials);
	}
	n = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
	if (n <= 0)
		return n;
	if (message.msg_flags & MSG_CTRUNC) {
		errno = EBADMSG;
		return -1;
	}
	/* And no more: what has come meanwhile may come with some. */
	return recv(fd, bytes, (size_t)n, MSG_DONTWAIT);
}

/* From here on nothing can be added to what it holds. Whether it holds anything. */
static bool shut_down(int fd)
{
	char byte;

	loop_keep_urgent(fd);
	shutdown(fd, SHUT_RDWR);
	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

void loop_closer_close_socket(struct loop_closer *closer, int fd)
{
	if (shut_down(fd))
		loop_closer_close(closer, fd);
	else
		close(fd);
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

void loop_close_socket_elsewhere(struct ob_loop *loop, int fd)
{
	if (shut_down(fd))
		loop_close_elsewhere(loop, fd);
	else
		close(fd);
}
