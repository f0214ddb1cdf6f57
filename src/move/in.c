/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices come here. They are made already, and held. Until GO nothing of them runs: a failure
 * before that leaves them as they were made, or, once the other side was told that they are ready,
 * as they came; a monitor's cont has them run.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "internal.h"
#include "outboard/endian.h"

enum phase {
	IN_LISTEN,
	IN_HELLO,
	IN_BEGIN, /* devices go to RESUMING */
	IN_DATA,
	IN_TAKE,  /* devices go to STOP: they become what came */
	IN_READY, /* waits for GO */
	IN_RUN,   /* devices go to RUNNING */
	IN_OVER,
};

static const uint64_t RETRY_NS = 100000000;

struct in {
	struct moves *moves;
	struct move_set set;
	struct listener *listener; /* the socket is that one's */
	struct loop_fd waiting;    /* for somebody who connects; .fd -1: not */
	struct ob_timer retry;     /* to accept, when there was no descriptor or memory for it */
	struct peer *peer;
	struct ob_task end;
	struct machine_waiter paused;
	enum phase phase;
	bool pause, broken;
	struct ob_error why;
};

static void stop_listening(struct in *in)
{
	if (in->waiting.fd < 0)
		return;
	ob_timer_cancel(in->moves->loop, &in->retry);
	loop_fd_remove(in->moves->loop, &in->waiting);
	if (!in->listener)
		close(in->waiting.fd);
	in->waiting.fd = -1;
	listener_free(in->listener, NULL);
	in->listener = NULL;
}

static void over(struct in *in)
{
	in->phase = IN_OVER;
	peer_free(in->peer);
	in->peer = NULL;
	ob_task_schedule(in->moves->loop, &in->end);
}

static void give_up(struct in *in)
{
	bool as_they_came = in->phase == IN_READY;

	if (in->phase > IN_HELLO && !as_they_came)
		set_clear(&in->set);
	moves_ended(in->moves, MOVE_FAILED, &in->why);
	over(in);
}

static void fail(struct in *in, const struct ob_error *why)
{
	if (in->phase == IN_OVER || in->broken)
		return;
	in->why = *why;
	peer_put(in->peer, FRAME_REFUSED, NULL, 0, why->message, strlen(why->message));
	peer_free(in->peer);
	in->peer = NULL;
	in->broken = in->set.waiting;
	if (!in->broken)
		give_up(in);
}

static void refuse(struct in *in, int error, const char *text)
{
	struct ob_error why;

	ob_error_set(&why, error, "%s", text);
	fail(in, &why);
}

static void answer(struct in *in, enum frame_kind kind)
{
	peer_put(in->peer, kind, NULL, 0, NULL, 0);
}

/* Has devices change, and goes on with next when they have. */
static void change(struct in *in, enum phase phase, enum migrate_state state,
                   bool (*which)(const struct move_device *device))
{
	int rc;

	in->phase = phase;
	peer_pause(in->peer, true);
	rc = set_change(&in->set, state, which);
	if (rc != -EINPROGRESS)
		in->set.settled(&in->set);
}

/* HELLO */

struct reader {
	const uint8_t *at, *end;
};

static bool take_text(struct reader *reader, char text[MOVE_ID])
{
	size_t length = reader->at < reader->end ? *reader->at++ : MOVE_ID;

	if (length >= MOVE_ID || (size_t)(reader->end - reader->at) < length)
		return false;
	memcpy(text, reader->at, length);
	text[length] = '\0';
	reader->at += length;
	return strlen(text) == length;
}

/* One device of the other side's. */
static int take_device(struct in *in, struct reader *reader, unsigned number)
{
	char id[MOVE_ID], model[MOVE_ID];
	struct ob_error why;
	uint8_t flags = reader->at < reader->end ? *reader->at++ : 0;
	int found;

	if (!take_text(reader, id) || !take_text(reader, model)) {
		refuse(in, -EPROTO, "what it says of its devices is cut off");
		return -EPROTO;
	}
	found = set_find(&in->set, id);
	if (found < 0 || in->set.devices[found].ended) {
		ob_error_set(&why, -ENOENT, "there is no device '%s' here", id);
	} else if (strcmp(in->set.devices[found].model, model) != 0) {
		ob_error_set(&why, -EINVAL, "device '%s' is a %s here, and not a %s", id,
		             in->set.devices[found].model, model);
	} else {
		struct move_device other = in->set.devices[number];

		/* In the other side's order. */
		in->set.devices[number] = in->set.devices[found];
		in->set.devices[found] = other;
		in->set.devices[number].ended = true;
		in->set.devices[number].before =
			flags & HELLO_STOPPED ? MIGRATE_STOP : MIGRATE_RUNNING;
		return 0;
	}
	fail(in, &why);
	return -EINVAL;
}

static int check_held(struct in *in)
{
	struct ob_error why;

	for (unsigned i = 0; i < in->set.count; i++) {
		const struct move_device *device = &in->set.devices[i];

		if (device->before == MIGRATE_STOP)
			continue;
		ob_error_set(&why, -EBUSY, "device '%s' is in the state %s here", device->id,
		             migrate_state_name(device->before));
		fail(in, &why);
		return -EBUSY;
	}
	return 0;
}

static void hello(struct in *in, const uint8_t *bytes, size_t length)
{
	struct reader reader = {bytes + HELLO_FRONT, bytes + length};
	struct ob_error why;
	uint32_t count;

	if (length < HELLO_FRONT || memcmp(bytes, "outboard", 8) != 0) {
		refuse(in, -EPROTO, "this is a process of outboard, which speaks with its like");
		return;
	}
	if (ob_get_le32(bytes + 8) != FRAME_FORMAT) {
		refuse(in, -EPROTO, "it speaks in a way that is not known here: it is newer");
		return;
	}
	if (in->moves->going.count) {
		refuse(in, -EBUSY, "'cont' was said there, and waits for a disk");
		return;
	}
	if (set_make(&in->set, in->moves, &why)) {
		fail(in, &why);
		return;
	}
	count = ob_get_le32(bytes + 16);
	if (count != in->set.count) {
		ob_error_set(&why, -EINVAL, "there are %u devices here, and not %u", in->set.count,
		             count);
		fail(in, &why);
		return;
	}
	if (check_held(in))
		return;
	in->pause = ob_get_le32(bytes + 12) & HELLO_PAUSED;
	for (unsigned i = 0; i < count; i++) {
		if (take_device(in, &reader, i))
			return;
	}
	for (unsigned i = 0; i < count; i++)
		in->set.devices[i].ended = false;
	change(in, IN_BEGIN, MIGRATE_RESUMING, NULL);
}

/* Data */

static void take_data(struct in *in, uint32_t number, const uint8_t *bytes, size_t length)
{
	struct move_device *device = &in->set.devices[number];
	struct migration *migration = set_migration(&in->set, number);
	struct ob_error why;
	int rc = migration ? migrate_write(migration, bytes, length) : -ENODEV;

	in->moves->transferred += length;
	if (!rc)
		return;
	ob_error_set(&why, rc, "device '%s': %s", device->id,
	             !migration                  ? "it is gone"
	             : migrate_why(migration)[0] ? migrate_why(migration)
	                                         : strerror(-rc));
	fail(in, &why);
}

static void prepare(struct in *in)
{
	for (unsigned i = 0; i < in->set.count; i++) {
		if (!in->set.devices[i].ended) {
			refuse(in, -EPROTO, "the state of a device is not whole");
			return;
		}
	}
	in->moves->stopped = ob_loop_now();
	moves_set_status(in->moves, MOVE_DEVICE);
	change(in, IN_TAKE, MIGRATE_STOP, NULL);
}

static bool ran(const struct move_device *device)
{
	return device->before == MIGRATE_RUNNING;
}

static void never(struct machine_waiter *waiter)
{
	(void)waiter;
}

static void go(struct in *in)
{
	/* Devices that stand are quiet at once. */
	in->paused.done = never;
	if (in->pause && machine_pause(in->moves->machine, &in->paused) == -EINPROGRESS)
		machine_cancel_wait(&in->paused);
	change(in, IN_RUN, MIGRATE_RUNNING, ran);
}

static void run(struct in *in)
{
	in->moves->resumed = ob_loop_now();
	answer(in, FRAME_RUNNING);
	moves_ended(in->moves, MOVE_COMPLETED, NULL);
	over(in);
}

static void on_settled(struct move_set *set)
{
	struct in *in = container_of(set, struct in, set);

	if (in->broken) {
		in->broken = false;
		give_up(in);
		return;
	}
	if (set->failed) {
		fail(in, &set->failure);
		return;
	}
	if (in->phase == IN_RUN) {
		run(in);
		return;
	}
	if (in->phase == IN_BEGIN) {
		in->moves->setup = ob_loop_now();
		in->phase = IN_DATA;
		moves_set_status(in->moves, MOVE_ACTIVE);
		answer(in, FRAME_WELCOME);
	} else if (in->phase == IN_TAKE) {
		in->phase = IN_READY;
		set_hold(&in->set, true);
		answer(in, FRAME_READY);
	}
	peer_pause(in->peer, false);
}

static void numbered(struct in *in, uint32_t kind, const uint8_t *bytes, size_t length)
{
	uint32_t number = length >= 4 ? ob_get_le32(bytes) : UINT32_MAX;

	if (number >= in->set.count || in->set.devices[number].ended)
		refuse(in, -EPROTO, "a device that there is expected");
	else if (kind == FRAME_END)
		in->set.devices[number].ended = true;
	else
		take_data(in, number, bytes + 4, length - 4);
}

static void on_frame(void *context, uint32_t kind, const uint8_t *bytes, size_t length)
{
	struct in *in = context;

	if (kind == FRAME_HELLO && in->phase == IN_HELLO)
		hello(in, bytes, length);
	else if ((kind == FRAME_DATA || kind == FRAME_END) && in->phase == IN_DATA)
		numbered(in, kind, bytes, length);
	else if (kind == FRAME_PREPARE && in->phase == IN_DATA)
		prepare(in);
	else if (kind == FRAME_GO && in->phase == IN_READY)
		go(in);
	else
		refuse(in, -EPROTO, "that was not to be said now");
}

static void on_drained(void *context)
{
	(void)context;
}

static void on_lost(void *context, int error)
{
	struct in *in = context;
	struct ob_error why;

	if (error == -EPIPE || error == -ECONNRESET)
		ob_error_set(&why, error, "the other process has hung up");
	else
		ob_error_set(&why, error, "the other process cannot be reached: %s",
		             strerror(-error));
	if (in->phase == IN_READY)
		ob_error_set(&why, error,
		             "%s before it said that devices may run; they are here, as they "
		             "were there: 'cont' has them run",
		             strdupa(why.message));
	fail(in, &why);
}

/* Connections */

static int begin(struct in *in, int fd)
{
	static const struct peer_ops ops = {
		.frame = on_frame, .drained = on_drained, .lost = on_lost};

	in->peer = peer_new(in->moves->loop, fd, &ops, in);
	if (!in->peer)
		return -ENOMEM;
	in->phase = IN_HELLO;
	return 0;
}

static void on_connection(struct loop_fd *watch, uint32_t events)
{
	struct in *in = container_of(watch, struct in, waiting);
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 && !begin(in, fd)) {
		/* There is one such process. */
		stop_listening(in);
		return;
	}
	/* The socket may stay readable: without a pause this would be a busy loop. */
	if (!ob_timer_arm(in->moves->loop, &in->retry, RETRY_NS))
		loop_fd_modify(in->moves->loop, watch, 0);
}

static void on_retry(struct ob_timer *timer)
{
	struct in *in = container_of(timer, struct in, retry);

	loop_fd_modify(in->moves->loop, &in->waiting, EPOLLIN);
}

static void on_end(struct ob_task *task)
{
	struct in *in = container_of(task, struct in, end);

	in->moves->in = NULL;
	in_free(in);
}

int in_new(struct moves *moves, const char *uri, struct ob_error *err)
{
	struct in *in = calloc(1, sizeof(*in));
	bool connected;
	int rc;

	if (!in)
		return ob_error_set(err, -ENOMEM, "out of memory");
	in->moves = moves;
	in->end.run = on_end;
	in->retry.expired = on_retry;
	in->set.settled = on_settled;
	in->waiting = (struct loop_fd){.fd = -1, .events = EPOLLIN, .ready = on_connection};
	rc = address_listen(uri, &connected, &in->listener, err);
	if (rc >= 0 && connected) {
		rc = begin(in, rc);
	} else if (rc >= 0) {
		in->waiting.fd = rc;
		rc = loop_fd_add(moves->loop, &in->waiting);
	}
	if (rc < 0) {
		if (!err->message[0])
			ob_error_set(err, rc, "%s: %s", uri, strerror(-rc));
		in_free(in);
		return rc;
	}
	moves->in = in;
	moves_start(moves, true);
	return 0;
}

void in_free(struct in *in)
{
	if (!in)
		return;
	ob_task_cancel(&in->end);
	stop_listening(in);
	peer_free(in->peer);
	set_free(&in->set);
	free(in);
}
