/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sending half. Messages gather in one buffer and leave together. Descriptors go with the first
 * byte of their message, and the sendmsg that carries them ends with that message, so that a
 * receiver sees them with it and with nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

enum {
	OUT_FIRST_CAPACITY = 4096,
	OUT_PER_TURN = 256 * 1024, /* a peer that reads all the while may not keep us at it */
};

static void close_fds(struct transport_fds *batch)
{
	for (unsigned i = 0; i < batch->count; i++)
		close(batch->fds[i]);
	batch->count = 0;
}

static void drop_first_batch(struct transport *transport)
{
	struct transport_fds *batch = transport->out_fds;

	transport->out_fds = batch->next;
	close_fds(batch);
	free(batch);
}

void transport_drop_output(struct transport *transport)
{
	while (transport->out_fds)
		drop_first_batch(transport);
	free(transport->out);
	transport->out = NULL;
	transport->out_capacity = transport->out_start = transport->out_end = 0;
}

/* One sendmsg of length bytes, with batch's descriptors if it is not NULL. */
static ssize_t send_piece(struct transport *transport, size_t length,
                          const struct transport_fds *batch)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * TRANSPORT_MAX_FDS)];
	} control;
	struct iovec iov = {transport->out + transport->out_start, length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (batch) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * batch->count);
		memcpy(CMSG_DATA(&control.header), batch->fds, sizeof(int) * batch->count);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * batch->count);
	}
	return sendmsg(transport->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void sent(struct transport *transport, size_t length, struct transport_fds *batch)
{
	if (batch)
		close_fds(batch);
	transport->sent += length;
	transport->out_start += length;
	if (transport->out_fds && transport->out_fds->end <= transport->sent)
		drop_first_batch(transport);
	if (transport_unsent(transport))
		return;
	transport->out_start = transport->out_end = 0;
	if (transport->out_capacity > TRANSPORT_KEEP)
		transport_drop_output(transport);
}

void transport_flush(struct transport *transport)
{
	uint64_t before = transport->sent;
	struct transport_fds *batch;
	size_t length;
	ssize_t n;

	if (transport->before)
		transport_flush(transport->before);
	transport->socket_full = false;
	while (transport_unsent(transport)) {
		/* The rest leaves when epoll says once more that there is room. */
		if (transport->sent - before >= OUT_PER_TURN && !transport->closing) {
			transport->socket_full = true;
			return;
		}
		length = transport_unsent(transport);
		batch = transport->out_fds;
		if (batch && batch->at <= transport->sent)
			length = (size_t)(batch->end - transport->sent);
		else if (batch)
			length = (size_t)(batch->at - transport->sent);
		if (batch && (batch->at != transport->sent || !batch->count))
			batch = NULL;
		n = send_piece(transport, length, batch);
		if (n >= 0) {
			sent(transport, (size_t)n, batch);
		} else if (errno == EAGAIN) {
			transport->socket_full = true;
			return;
		} else if (errno != EINTR) {
			int error = errno;

			transport_drop_output(transport);
			/* The peer is gone: that is an ordinary end, not a failure. */
			transport_close(transport, error == EPIPE ? 0 : -error);
			return;
		}
	}
}

void transport_send_after(struct transport *transport, struct transport *other)
{
	transport->before = other;
}

uint8_t *transport_reserve(struct transport *transport, size_t size)
{
	size_t unsent = transport_unsent(transport);
	size_t capacity = transport->out_capacity;
	uint8_t *out;

	if (transport->closing)
		return NULL;
	if (capacity - transport->out_end >= size)
		return transport->out + transport->out_end;
	if (transport->out_start) {
		memmove(transport->out, transport->out + transport->out_start, unsent);
		transport->out_start = 0;
		transport->out_end = unsent;
	}
	if (capacity - unsent >= size)
		return transport->out + unsent;
	/* Doubling keeps the number of copies down; a single large message gets what it needs. */
	capacity = capacity ? 2 * capacity : OUT_FIRST_CAPACITY;
	if (capacity < unsent + size)
		capacity = unsent + size;
	out = realloc(transport->out, capacity);
	if (!out) {
		transport_close(transport, -ENOMEM);
		return NULL;
	}
	transport->out = out;
	transport->out_capacity = capacity;
	return out + unsent;
}

/* Duplicates fds for the message of size bytes that comes next in the output. 0 or -errno. */
static int queue_fds(struct transport *transport, size_t size, const int *fds, unsigned fd_count)
{
	struct transport_fds *batch, **last = &transport->out_fds;
	int error;

	if (fd_count > TRANSPORT_MAX_FDS)
		return -EINVAL;
	batch = malloc(sizeof(*batch) + fd_count * sizeof(batch->fds[0]));
	if (!batch)
		return -ENOMEM;
	*batch = (struct transport_fds){
		.at = transport->sent + transport_unsent(transport),
		.end = transport->sent + transport_unsent(transport) + size,
	};
	for (; batch->count < fd_count; batch->count++) {
		batch->fds[batch->count] = fcntl(fds[batch->count], F_DUPFD_CLOEXEC, 0);
		if (batch->fds[batch->count] < 0) {
			error = -errno;
			close_fds(batch);
			free(batch);
			return error;
		}
	}
	while (*last)
		last = &(*last)->next;
	*last = batch;
	return 0;
}

void transport_commit(struct transport *transport, size_t size, const int *fds, unsigned fd_count)
{
	int rc = 0;

	if (transport->closing || !size)
		return;
	if (fd_count)
		rc = queue_fds(transport, size, fds, fd_count);
	if (rc) {
		transport_close(transport, rc);
		return;
	}
	transport->out_end += size;
	/* Within a callback the messages at hand are finished first, and their replies go together.
	 */
	if (!transport->busy)
		ob_task_schedule(transport->loop, &transport->work);
}
