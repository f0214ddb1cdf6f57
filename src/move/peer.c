/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames over a socket, without waiting; internal.h says what they are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "internal.h"
#include "loop/closer.h"
#include "outboard/endian.h"

enum {
	READS_A_TURN = 4,
	KEPT_CAPACITY = 1 << 20, /* of memory for what is unsent */
};

struct peer {
	struct ob_loop *loop;
	struct loop_fd watch;
	const struct peer_ops *ops;
	void *context;
	struct ob_task turn; /* frames that are there already, or the loss */
	bool paused, freed;
	unsigned inside; /* callbacks */
	int error;
	uint8_t *unsent;
	size_t begin, end, room; /* of unsent */
	size_t filled;
	uint8_t buffer[FRAME_HEADER + FRAME_MAX];
};

static void update(struct peer *peer)
{
	uint32_t events = (peer->paused ? 0 : EPOLLIN) | (peer->end ? EPOLLOUT : 0);

	if (peer->watch.fd >= 0 && events != peer->watch.events)
		loop_fd_modify(peer->loop, &peer->watch, events);
}

static void lose(struct peer *peer, int error)
{
	if (!peer->error)
		peer->error = error;
	ob_task_schedule(peer->loop, &peer->turn);
}

/* Returns false if the peer has gone. */
static bool leave(struct peer *peer)
{
	if (--peer->inside || !peer->freed)
		return !peer->freed;
	free(peer);
	return false;
}

static bool hand_over(struct peer *peer, uint32_t kind, uint32_t length)
{
	peer->inside++;
	peer->ops->frame(peer->context, kind, peer->buffer + FRAME_HEADER, length);
	if (!leave(peer))
		return false;
	peer->filled -= FRAME_HEADER + length;
	memmove(peer->buffer, peer->buffer + FRAME_HEADER + length, peer->filled);
	return true;
}

/* All frames that are whole. False: the peer has gone. */
static bool hand_over_all(struct peer *peer)
{
	while (!peer->paused && peer->filled >= FRAME_HEADER) {
		uint32_t length = ob_get_le32(peer->buffer + 4);

		if (length > FRAME_MAX) {
			lose(peer, -EPROTO);
			return true;
		}
		if (peer->filled < FRAME_HEADER + length)
			return true;
		if (!hand_over(peer, ob_get_le32(peer->buffer), length))
			return false;
	}
	return true;
}

static void receive(struct peer *peer)
{
	for (unsigned i = 0; i < READS_A_TURN && !peer->paused && !peer->error; i++) {
		ssize_t n;

		/* Whole frames are there already, for the task that hands them over. */
		if (peer->filled == sizeof(peer->buffer))
			return;
		n = loop_receive(peer->watch.fd, peer->buffer + peer->filled,
		                 sizeof(peer->buffer) - peer->filled);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			lose(peer, n ? -errno : -EPIPE);
			return;
		}
		peer->filled += (size_t)n;
		if (!hand_over_all(peer))
			return;
	}
}

static int flush(struct peer *peer)
{
	while (peer->begin < peer->end) {
		ssize_t n = send(peer->watch.fd, peer->unsent + peer->begin,
		                 peer->end - peer->begin, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))
			return 0;
		if (n < 0)
			return -errno;
		peer->begin += (size_t)n;
	}
	peer->begin = peer->end = 0;
	if (peer->room > KEPT_CAPACITY) {
		free(peer->unsent);
		peer->unsent = NULL;
		peer->room = 0;
	}
	return 0;
}

static void on_ready(struct loop_fd *watch, uint32_t events)
{
	struct peer *peer = container_of(watch, struct peer, watch);
	bool unsent = peer->end;
	int rc = unsent ? flush(peer) : 0;

	/* What it said before it went is worth more than that it went. */
	if (rc && rc != -EPIPE && rc != -ECONNRESET)
		lose(peer, rc);
	if (rc)
		peer->begin = peer->end = 0;
	peer->inside++;
	if (unsent && !peer->end && !rc)
		peer->ops->drained(peer->context);
	if (!peer->freed && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		receive(peer);
	if (!peer->freed)
		update(peer);
	leave(peer);
}

static void on_turn(struct ob_task *task)
{
	struct peer *peer = container_of(task, struct peer, turn);

	if (!hand_over_all(peer) || peer->paused || !peer->error)
		return;
	if (peer->watch.fd >= 0) {
		loop_fd_remove(peer->loop, &peer->watch);
		loop_close_elsewhere(peer->loop, take_fd(&peer->watch.fd));
	}
	peer->inside++;
	peer->ops->lost(peer->context, peer->error);
	leave(peer);
}

struct peer *peer_new(struct ob_loop *loop, int fd, const struct peer_ops *ops, void *context)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (peer) {
		peer->loop = loop;
		peer->ops = ops;
		peer->context = context;
		peer->turn.run = on_turn;
		peer->watch = (struct loop_fd){.fd = fd, .events = EPOLLIN, .ready = on_ready};
		if (!loop_fd_add(loop, &peer->watch))
			return peer;
	}
	free(peer);
	close(fd);
	return NULL;
}

void peer_free(struct peer *peer)
{
	if (!peer || peer->freed)
		return;
	if (peer->watch.fd >= 0) {
		flush(peer);
		loop_fd_remove(peer->loop, &peer->watch);
		loop_close_elsewhere(peer->loop, take_fd(&peer->watch.fd));
	}
	ob_task_cancel(&peer->turn);
	free(peer->unsent);
	peer->unsent = NULL;
	peer->begin = peer->end = 0;
	peer->freed = true;
	if (!peer->inside)
		free(peer);
}

static bool reserve(struct peer *peer, size_t more)
{
	size_t room = peer->room ? peer->room : FRAME_MAX;
	uint8_t *bytes;

	if (peer->begin) {
		memmove(peer->unsent, peer->unsent + peer->begin, peer->end - peer->begin);
		peer->end -= peer->begin;
		peer->begin = 0;
	}
	while (room < peer->end + more)
		room *= 2;
	if (room == peer->room)
		return true;
	bytes = realloc(peer->unsent, room);
	if (!bytes)
		return false;
	peer->unsent = bytes;
	peer->room = room;
	return true;
}

static void append(struct peer *peer, const void *bytes, size_t length)
{
	if (length)
		memcpy(peer->unsent + peer->end, bytes, length);
	peer->end += length;
}

void peer_put(struct peer *peer, enum frame_kind kind, const void *head, size_t head_length,
              const void *bytes, size_t length)
{
	uint8_t header[FRAME_HEADER];

	if (peer->error || peer->watch.fd < 0)
		return;
	if (!reserve(peer, sizeof(header) + head_length + length)) {
		lose(peer, -ENOMEM);
		return;
	}
	ob_put_le32(header, kind);
	ob_put_le32(header + 4, (uint32_t)(head_length + length));
	append(peer, header, sizeof(header));
	append(peer, head, head_length);
	append(peer, bytes, length);
	update(peer);
}

size_t peer_unsent(const struct peer *peer)
{
	return peer->end - peer->begin;
}

void peer_pause(struct peer *peer, bool paused)
{
	peer->paused = paused;
	update(peer);
	if (!paused)
		ob_task_schedule(peer->loop, &peer->turn);
}
