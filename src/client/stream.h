/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole messages over a UNIX stream socket with descriptors, for a side that may wait. It knows the
 * header's size field and nothing else of the protocol. (src/transport is the same for the server,
 * which must never wait.)
 *
 * A descriptor belongs to the message that holds the last byte of the read that it came with.
 * Whoever waits to send goes on receiving meanwhile, into a buffer with a bound, so that two sides
 * that both send do not block each other for ever.
 */
#ifndef CLIENT_STREAM_H
#define CLIENT_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "wire/wire.h"

enum { STREAM_MAX_FDS = 64 };

/* A message received. Its descriptors are the receiver's; those set to -1 are taken. */
struct ob_client_message {
	struct wire_header header;
	const uint8_t *bytes; /* the whole message; valid until the next call on the stream */
	const uint8_t *payload;
	size_t length; /* of the payload */
	int fds[STREAM_MAX_FDS];
	unsigned fd_count;
};

struct stream {
	int fd; /* owned */
	size_t max_message;
	uint8_t *in;
	size_t in_size, in_start, in_end; /* received and not taken: in[in_start, in_end) */
	uint64_t position;                /* bytes of messages taken, ever */
	int fds[STREAM_MAX_FDS];
	uint64_t fds_at[STREAM_MAX_FDS]; /* where the read that they came with ended */
	unsigned fd_count;
	uint8_t *out;
	size_t out_size, out_end; /* queued and not sent: out[0, out_end) */
};

/* Takes fd over. Messages longer than max_message are refused. */
void stream_init(struct stream *stream, int fd, size_t max_message);
void stream_free(struct stream *stream);

/*
 * One read, without waiting. 0, -EAGAIN (nothing there), -ENOBUFS (the buffer is full of messages
 * not taken), -ECONNRESET (hung up), -EPROTO (too many descriptors), or another -errno.
 */
int stream_receive(struct stream *stream);

/* Takes the next whole message. -EAGAIN: none is there yet; -EPROTO, -EMSGSIZE: a bad size. */
int stream_next(struct stream *stream, struct ob_client_message *message);

/* Closes what descriptors of a message were not taken. */
void stream_message_end(struct ob_client_message *message);

/*
 * Sends what is queued and then these bytes with these descriptors. deadline: see clock_now();
 * -ETIMEDOUT after it. -EPIPE becomes -ECONNRESET. Some of it may have been sent on failure: the
 * stream is then of no more use.
 */
int stream_send(struct stream *stream, struct iovec *iov, unsigned iov_count, const int *fds,
                unsigned fd_count, uint64_t deadline);
int stream_flush(struct stream *stream, uint64_t deadline);

/*
 * Queues bytes to be sent with what comes next, and sends what is queued when that gets much.
 */
int stream_queue(struct stream *stream, const struct iovec *iov, unsigned iov_count,
                 uint64_t deadline);

/* One sendmsg without waiting. Bytes sent, or -errno. */
ssize_t stream_send_once(int fd, const struct iovec *iov, unsigned iov_count, const int *fds,
                         unsigned fd_count);

/* Nanoseconds of the monotonic clock. */
uint64_t clock_now(void);

/* poll() until a deadline: 0 if something is ready, -ETIMEDOUT, or -errno. */
struct pollfd;
int clock_poll(struct pollfd *fds, unsigned count, uint64_t deadline);

#endif
