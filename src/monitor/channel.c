/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams of bytes; see channel.h.
 *
 * Each direction has a descriptor of its own, since epoll has one watch for each, and is watched
 * only while something is wanted of it: one whose other end is gone would be ready for ever. What
 * epoll can't watch (files, /dev/null) is always ready. The end of input closes the channel once
 * everything has been taken and sent; an error of output just drops what is unsent, since whoever
 * sends commands and leaves wants them carried out.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "loop/closer.h"
#include "text.h"

enum { IN_SIZE = 4096, KEPT_CAPACITY = 64 * 1024 };

/* One direction. */
struct side {
	struct loop_fd watch;
	int flags; /* of the descriptor, to be set again; -1: they were not changed */
	bool is_socket, always_ready, watched;
};

struct channel {
	struct ob_loop *loop;
	const struct channel_ops *ops;
	void *context;
	struct side in, out;
	bool owned, paused, ended, out_dead, closed;
	struct ob_task turn;
	struct text unsent;
	size_t sent;          /* of unsent */
	size_t taken, filled; /* of buffer */
	char buffer[IN_SIZE];
};

size_t channel_unsent(const struct channel *channel)
{
	return channel->unsent.length - channel->sent;
}

static bool wants_input(const struct channel *channel)
{
	return !channel->ended && !channel->paused && channel->taken == channel->filled;
}

static void watch(struct channel *channel, struct side *side, bool wanted)
{
	if (side->always_ready) {
		if (wanted)
			ob_task_schedule(channel->loop, &channel->turn);
	} else if (wanted && !side->watched) {
		side->watched = !loop_fd_add(channel->loop, &side->watch);
		channel->closed |= !side->watched;
	} else if (!wanted && side->watched) {
		loop_fd_remove(channel->loop, &side->watch);
		side->watched = false;
	}
}

/* Has everything happen that is due. */
static void update(struct channel *channel)
{
	bool input_left = channel->taken < channel->filled;

	watch(channel, &channel->in, wants_input(channel));
	watch(channel, &channel->out, channel_unsent(channel) > 0);
	if (channel->closed || (input_left && !channel->paused) ||
	    (channel->ended && !input_left && !channel->paused && !channel_unsent(channel)))
		ob_task_schedule(channel->loop, &channel->turn);
}

static void drop_unsent(struct channel *channel)
{
	channel->unsent.length = channel->sent = 0;
	if (channel->unsent.capacity > KEPT_CAPACITY)
		text_free(&channel->unsent);
}

static void flush(struct channel *channel)
{
	struct side *out = &channel->out;
	bool any = channel_unsent(channel) > 0;
	const char *bytes;
	ssize_t n = 0;

	while (n >= 0 && channel_unsent(channel)) {
		bytes = channel->unsent.bytes + channel->sent;
		if (out->is_socket)
			n = send(out->watch.fd, bytes, channel_unsent(channel),
			         MSG_NOSIGNAL | MSG_DONTWAIT);
		else
			n = write(out->watch.fd, bytes, channel_unsent(channel));
		if (n > 0)
			channel->sent += (size_t)n;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		channel->out_dead = true;
	if (any && (channel->out_dead || !channel_unsent(channel))) {
		drop_unsent(channel);
		channel->ops->drained(channel->context);
	}
}

static void fill(struct channel *channel)
{
	struct side *in = &channel->in;
	ssize_t n;

	if (!wants_input(channel))
		return;
	if (in->is_socket)
		n = loop_receive(in->watch.fd, channel->buffer, IN_SIZE);
	else
		n = read(in->watch.fd, channel->buffer, IN_SIZE);
	if (n > 0) {
		channel->taken = 0;
		channel->filled = (size_t)n;
	} else if (!n || (errno != EAGAIN && errno != EINTR)) {
		channel->ended = true;
	}
}

/* One call in a turn: what a command sets going is ahead of the next command, and so are others. */
static void deliver(struct channel *channel)
{
	if (!channel->paused && channel->taken < channel->filled)
		channel->taken +=
			channel->ops->input(channel->context, channel->buffer + channel->taken,
		                            channel->filled - channel->taken);
}

static void on_turn(struct ob_task *task)
{
	struct channel *channel = container_of(task, struct channel, turn);

	if (channel->in.always_ready)
		fill(channel);
	deliver(channel);
	flush(channel);
	if (channel->closed || (channel->ended && !channel->paused &&
	                        channel->taken == channel->filled && !channel_unsent(channel)))
		channel->ops->closed(channel->context);
	else
		update(channel);
}

static void on_in(struct loop_fd *watch, uint32_t events)
{
	struct channel *channel = container_of(watch, struct channel, in.watch);

	fill(channel);
	ob_task_schedule(channel->loop, &channel->turn);
}

static void on_out(struct loop_fd *watch, uint32_t events)
{
	ob_task_schedule(container_of(watch, struct channel, out.watch)->loop,
	                 &container_of(watch, struct channel, out.watch)->turn);
}

static void ignore(void *context)
{
}

static bool is_socket(int fd)
{
	int type;
	socklen_t length = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
}

static int begin_side(struct channel *channel, struct side *side, int fd, uint32_t events,
                      void (*ready)(struct loop_fd *watch, uint32_t events))
{
	int rc;

	*side = (struct side){
		.watch = {.fd = fd, .events = events, .ready = ready},
		.flags = -1,
		.is_socket = is_socket(fd),
	};
	rc = loop_fd_add(channel->loop, &side->watch);
	if (!rc)
		loop_fd_remove(channel->loop, &side->watch);
	side->always_ready = rc == -EPERM;
	if (rc && rc != -EPERM) {
		errno = -rc;
		return -1;
	}
	if (!side->is_socket) {
		side->flags = fcntl(fd, F_GETFL);
		if (side->flags < 0 || fcntl(fd, F_SETFL, side->flags | O_NONBLOCK))
			return -1;
	}
	return 0;
}

static void end_side(struct channel *channel, struct side *side)
{
	if (side->watched)
		loop_fd_remove(channel->loop, &side->watch);
	if (side->flags >= 0)
		(void)fcntl(side->watch.fd, F_SETFL, side->flags);
}

struct channel *channel_new(struct ob_loop *loop, int in, int out, bool owned,
                            const struct channel_ops *ops, void *context)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	cleanup_fd int again = fcntl(out, F_DUPFD_CLOEXEC, 3);

	if (!channel || again < 0)
		goto failed;
	channel->loop = loop;
	channel->ops = ops;
	channel->context = context;
	channel->turn.run = on_turn;
	channel->in.flags = channel->out.flags = -1;
	if (begin_side(channel, &channel->in, in, EPOLLIN, on_in) ||
	    begin_side(channel, &channel->out, again, EPOLLOUT, on_out))
		goto undo;
	take_fd(&again);
	channel->owned = owned;
	update(channel);
	return channel;

undo:
	end_side(channel, &channel->out);
	end_side(channel, &channel->in);
failed:
	free(channel);
	return NULL;
}

void channel_free(struct channel *channel)
{
	static const struct channel_ops nobody = {.drained = ignore};

	if (!channel)
		return;
	channel->ops = &nobody;
	flush(channel);
	ob_task_cancel(&channel->turn);
	end_side(channel, &channel->out);
	end_side(channel, &channel->in);
	close(channel->out.watch.fd);
	if (channel->owned)
		loop_close_socket_elsewhere(channel->loop, channel->in.watch.fd);
	text_free(&channel->unsent);
	free(channel);
}

void channel_put(struct channel *channel, const char *bytes, size_t length)
{
	struct text *unsent = &channel->unsent;

	if (channel->out_dead)
		return;
	/* What was sent makes room before more is asked for. */
	if (channel->sent > KEPT_CAPACITY && channel->sent > unsent->length / 2) {
		unsent->length -= channel->sent;
		memmove(unsent->bytes, unsent->bytes + channel->sent, unsent->length);
		channel->sent = 0;
	}
	text_add(unsent, bytes, length);
	channel->closed |= unsent->failed;
	ob_task_schedule(channel->loop, &channel->turn);
}

void channel_pause(struct channel *channel, bool paused)
{
	channel->paused = paused;
	ob_task_schedule(channel->loop, &channel->turn);
}
