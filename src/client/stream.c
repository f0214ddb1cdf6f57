/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages over a socket, for a side that may wait; see stream.h. */
#include "client/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	FIRST_SIZE = 65536,
	QUEUE_SIZE = 262144, /* what is queued at most before it is sent */
	QUEUE_PIECE = 16384, /* longer ones are sent from where they are */
	MAX_IOV = 4,
};

uint64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int clock_poll(struct pollfd *fds, unsigned count, uint64_t deadline)
{
	uint64_t now, ms;
	int n;

	do {
		now = clock_now();
		ms = now < deadline ? (deadline - now + 999999) / 1000000 : 0;
		n = poll(fds, count, ms > 60000 ? 60000 : (int)ms);
	} while ((n < 0 && errno == EINTR) || (!n && ms > 60000));
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

void stream_init(struct stream *stream, int fd, size_t max_message)
{
	*stream = (struct stream){.fd = fd, .max_message = max_message};
}

void stream_free(struct stream *stream)
{
	for (unsigned i = 0; i < stream->fd_count; i++)
		close(stream->fds[i]);
	if (stream->fd >= 0)
		close(stream->fd);
	free(stream->in);
	free(stream->out);
	*stream = (struct stream){.fd = -1};
}

/* Receiving */

/* Takes descriptors over; all that do not fit are closed. */
static int keep_fds(struct stream *stream, struct msghdr *message)
{
	int rc = message->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg;
	     cmsg = CMSG_NXTHDR(message, cmsg)) {
		size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
			if (stream->fd_count == STREAM_MAX_FDS) {
				close(fd);
				rc = -EPROTO;
				continue;
			}
			stream->fds_at[stream->fd_count] =
				stream->position + (stream->in_end - stream->in_start);
			stream->fds[stream->fd_count++] = fd;
		}
	}
	return rc;
}

/* The size of the first message in the buffer. -EAGAIN: its header is not there yet. */
static int first_size(const struct stream *stream, size_t *size)
{
	size_t have = stream->in_end - stream->in_start;
	struct wire_header header;

	if (have < sizeof(header))
		return -EAGAIN;
	memcpy(&header, stream->in + stream->in_start, sizeof(header));
	if (header.size < sizeof(header))
		return -EPROTO;
	if (header.size > stream->max_message)
		return -EMSGSIZE;
	*size = header.size;
	return 0;
}

static int make_room(struct stream *stream)
{
	size_t have = stream->in_end - stream->in_start;
	size_t size = stream->in_size ? stream->in_size : FIRST_SIZE;
	size_t most = 2 * stream->max_message + FIRST_SIZE;
	uint8_t *in;

	if (stream->in_start == stream->in_end)
		stream->in_start = stream->in_end = 0;
	if (stream->in_end < stream->in_size)
		return 0;
	if (stream->in_start) {
		memmove(stream->in, stream->in + stream->in_start, have);
		stream->in_start = 0;
		stream->in_end = have;
	}
	/* Half of it free, so that not every read moves what is there. */
	while (size - have < size / 2 && size < most)
		size *= 2;
	if (size > stream->in_size) {
		in = realloc(stream->in, size);
		if (!in)
			return -ENOMEM;
		stream->in = in;
		stream->in_size = size;
	}
	return stream->in_end < stream->in_size ? 0 : -ENOBUFS;
}

int stream_receive(struct stream *stream)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * STREAM_MAX_FDS)];
	} control;
	struct iovec iov;
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         .msg_controllen = sizeof(control)};
	ssize_t n;
	int rc = make_room(stream);

	if (rc)
		return rc;
	iov = (struct iovec){stream->in + stream->in_end, stream->in_size - stream->in_end};
	do
		n = recvmsg(stream->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (!n)
		return -ECONNRESET;
	stream->in_end += (size_t)n;
	return message.msg_controllen ? keep_fds(stream, &message) : 0;
}

int stream_next(struct stream *stream, struct ob_client_message *message)
{
	size_t size;
	int rc = first_size(stream, &size);
	unsigned fds = 0;

	if (rc)
		return rc;
	if (stream->in_end - stream->in_start < size)
		return -EAGAIN;
	message->bytes = stream->in + stream->in_start;
	message->payload = message->bytes + sizeof(message->header);
	message->length = size - sizeof(message->header);
	wire_decode_header(message->bytes, &message->header);
	stream->in_start += size;
	stream->position += size;
	while (fds < stream->fd_count && stream->fds_at[fds] <= stream->position)
		fds++;
	message->fd_count = fds;
	if (fds) {
		memcpy(message->fds, stream->fds, fds * sizeof(int));
		stream->fd_count -= fds;
		memmove(stream->fds, stream->fds + fds, stream->fd_count * sizeof(int));
		memmove(stream->fds_at, stream->fds_at + fds, stream->fd_count * sizeof(uint64_t));
	}
	return 0;
}

void stream_message_end(struct ob_client_message *message)
{
	for (unsigned i = 0; i < message->fd_count; i++) {
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	}
	message->fd_count = 0;
}

/* Sending */

ssize_t stream_send_once(int fd, const struct iovec *iov, unsigned iov_count, const int *fds,
                         unsigned fd_count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * STREAM_MAX_FDS)];
	} control;
	struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = iov_count};
	ssize_t n;

	if (fd_count > STREAM_MAX_FDS)
		return -EINVAL;
	if (fd_count) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fd_count);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
	}
	do
		n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EPIPE ? -ECONNRESET : -errno;
	return n;
}

/* Waits until something can be sent, and receives meanwhile as long as there is room. */
static int wait_to_send(struct stream *stream, uint64_t deadline)
{
	struct pollfd watch = {.fd = stream->fd, .events = POLLOUT | POLLIN};
	int rc;

	for (;;) {
		rc = clock_poll(&watch, 1, deadline);
		if (rc || (watch.revents & POLLOUT))
			return rc;
		rc = stream_receive(stream);
		if (rc == -ENOBUFS)
			watch.events = POLLOUT;
		else if (rc && rc != -EAGAIN)
			return rc;
	}
}

static void advance(struct iovec **iov, unsigned *count, size_t sent)
{
	while (*count && sent >= (*iov)->iov_len) {
		sent -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + sent;
		(*iov)->iov_len -= sent;
	}
}

static int send_all(struct stream *stream, struct iovec *iov, unsigned count, const int *fds,
                    unsigned fd_count, uint64_t deadline)
{
	ssize_t n;
	int rc;

	while (count) {
		n = stream_send_once(stream->fd, iov, count, fds, fd_count);
		if (n == -EAGAIN) {
			rc = wait_to_send(stream, deadline);
			if (rc)
				return rc;
			continue;
		}
		if (n < 0)
			return (int)n;
		fd_count = 0;
		advance(&iov, &count, (size_t)n);
	}
	return 0;
}

int stream_flush(struct stream *stream, uint64_t deadline)
{
	struct iovec iov = {stream->out, stream->out_end};

	if (!stream->out_end)
		return 0;
	stream->out_end = 0;
	return send_all(stream, &iov, 1, NULL, 0, deadline);
}

int stream_send(struct stream *stream, struct iovec *iov, unsigned iov_count, const int *fds,
                unsigned fd_count, uint64_t deadline)
{
	struct iovec all[MAX_IOV + 1] = {{stream->out, stream->out_end}};
	int rc;

	if (fd_count || !stream->out_end) {
		/* What carries descriptors begins with its own first byte. */
		rc = stream_flush(stream, deadline);
		return rc ? rc : send_all(stream, iov, iov_count, fds, fd_count, deadline);
	}
	memcpy(all + 1, iov, iov_count * sizeof(*iov));
	stream->out_end = 0;
	return send_all(stream, all, iov_count + 1, NULL, 0, deadline);
}

int stream_queue(struct stream *stream, const struct iovec *iov, unsigned iov_count,
                 uint64_t deadline)
{
	struct iovec copy[MAX_IOV];
	size_t length = 0;
	int rc;

	for (unsigned i = 0; i < iov_count; i++)
		length += iov[i].iov_len;
	if (length > QUEUE_PIECE) {
		memcpy(copy, iov, iov_count * sizeof(*iov));
		return stream_send(stream, copy, iov_count, NULL, 0, deadline);
	}
	if (!stream->out) {
		stream->out = malloc(QUEUE_SIZE);
		if (!stream->out)
			return -ENOMEM;
	}
	if (stream->out_end + length > QUEUE_SIZE) {
		rc = stream_flush(stream, deadline);
		if (rc)
			return rc;
	}
	for (unsigned i = 0; i < iov_count; i++) {
		if (iov[i].iov_len)
			memcpy(stream->out + stream->out_end, iov[i].iov_base, iov[i].iov_len);
		stream->out_end += iov[i].iov_len;
	}
	return 0;
}
