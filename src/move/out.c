/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices move away. A phase ends when the other side has answered, or when all devices are in the
 * state that was asked for; whatever fails before GO leads back, and devices go on here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "outboard/endian.h"

enum phase {
	OUT_HELLO,   /* waits for WELCOME */
	OUT_BEGIN,   /* devices go to PRE_COPY */
	OUT_COPY,    /* what is large goes */
	OUT_STOP,    /* devices go to STOP_COPY */
	OUT_REST,    /* the rest goes */
	OUT_PREPARE, /* waits for READY */
	OUT_GO,      /* waits for RUNNING */
	OUT_GONE,    /* devices go to STOP */
	OUT_BACK,    /* something failed: devices go to where they were */
	OUT_OVER,
};

enum {
	CHUNK = 64 << 10,
	CHUNKS_A_TURN = 4,
	MAX_UNSENT = 1 << 20,
	TICKS_A_SECOND = 100,
};

static const uint64_t TICK_NS = 1000000000 / TICKS_A_SECOND, BACK_NS = 100000000;
/* The other side, which ends, may still hold a disk. */
static const uint64_t BACK_MAX_NS = UINT64_C(5000000000);

struct out {
	struct moves *moves;
	struct move_set set;
	struct peer *peer;
	struct ob_task turn;
	struct ob_timer timer; /* of bandwidth, or of another try to go on */
	struct machine_listener listener;
	enum phase phase;
	enum move_status end; /* failed or cancelled */
	struct ob_error why;
	unsigned current;    /* device */
	uint64_t budget;     /* bytes until the next tick */
	uint64_t back_until; /* ns of the clock; 0: nothing failed yet */
	bool going_back;
	uint8_t chunk[CHUNK];
};

static bool ran(const struct move_device *device)
{
	return device->before == MIGRATE_RUNNING;
}

static bool stood(const struct move_device *device)
{
	return device->before != MIGRATE_RUNNING;
}

/* One that was removed meanwhile has nowhere to go back to. */
static bool ran_and_is_there(const struct move_device *device)
{
	return ran(device) && set_has(device);
}

static bool stood_and_is_there(const struct move_device *device)
{
	return stood(device) && set_has(device);
}

/* The end */

static void over(struct out *out)
{
	out->phase = OUT_OVER;
	peer_free(out->peer);
	out->peer = NULL;
	ob_timer_cancel(out->moves->loop, &out->timer);
	ob_task_schedule(out->moves->loop, &out->turn); /* which frees it */
}

static void gave_up(struct out *out)
{
	moves_ended(out->moves, out->end, &out->why);
	over(out);
}

/* Devices can't go on yet, or at all. */
static void go_back_later(struct out *out, int error)
{
	uint64_t now = ob_loop_now();

	if (!out->back_until)
		out->back_until = now + BACK_MAX_NS;
	if (now < out->back_until && !ob_timer_arm(out->moves->loop, &out->timer, BACK_NS))
		return;
	set_hold(&out->set, true);
	ob_error_set(&out->why, error, "%s; and devices do not go on here: %s",
	             strdupa(out->why.message), out->set.failure.message);
	gave_up(out);
}

static void go_back(struct out *out)
{
	struct moves *moves = out->moves;
	int rc;

	out->phase = OUT_BACK;
	out->going_back = true;
	rc = set_change(&out->set, MIGRATE_RUNNING, ran_and_is_there);
	if (!rc)
		rc = set_change(&out->set, MIGRATE_STOP, stood_and_is_there);
	if (rc == -EINPROGRESS)
		return;
	if (rc) {
		go_back_later(out, rc);
		return;
	}
	set_hold(&out->set, false);
	moves->resumed = moves->stopped ? ob_loop_now() : 0;
	gave_up(out);
}

static void fail(struct out *out, const struct ob_error *why)
{
	if (out->phase >= OUT_GONE)
		return;
	out->why = *why;
	peer_free(out->peer);
	out->peer = NULL;
	ob_timer_cancel(out->moves->loop, &out->timer);
	ob_task_cancel(&out->turn);
	out->phase = OUT_BACK;
	/* Devices that are on the way somewhere get there first. */
	if (!out->set.waiting)
		go_back(out);
}

static void fail_with(struct out *out, int error, const char *text)
{
	struct ob_error why;

	ob_error_set(&why, error, "%s", text);
	fail(out, &why);
}

static void gone(struct out *out)
{
	int rc = set_change(&out->set, MIGRATE_STOP, NULL);

	if (rc == -EINPROGRESS)
		return;
	set_hold(&out->set, true);
	set_outdated(&out->set);
	moves_ended(out->moves, MOVE_COMPLETED, NULL);
	over(out);
}

/* Sending */

static void put_number(struct out *out, enum frame_kind kind, uint32_t number, const uint8_t *bytes,
                       size_t length)
{
	uint8_t head[4];

	ob_put_le32(head, number);
	peer_put(out->peer, kind, head, sizeof(head), bytes, length);
}

static void put_hello(struct out *out)
{
	uint8_t bytes[HELLO_FRONT + MOVE_MAX_DEVICES * HELLO_DEVICE], *at = bytes;
	uint32_t flags = machine_is_paused(out->moves->machine) ? HELLO_PAUSED : 0;

	memcpy(at, "outboard", 8);
	ob_put_le32(at + 8, FRAME_FORMAT);
	ob_put_le32(at + 12, flags);
	ob_put_le32(at + 16, out->set.count);
	at += HELLO_FRONT;
	for (unsigned i = 0; i < out->set.count; i++) {
		const struct move_device *device = &out->set.devices[i];
		const char *texts[2] = {device->id, device->model};

		*at++ = stood(device) ? HELLO_STOPPED : 0;
		for (unsigned k = 0; k < 2; k++) {
			uint8_t length = (uint8_t)strlen(texts[k]);

			*at++ = length;
			memcpy(at, texts[k], length);
			at += length;
		}
	}
	peer_put(out->peer, FRAME_HELLO, NULL, 0, bytes, (size_t)(at - bytes));
}

/* Sends a piece of the current device's stream; *dry: there is no more now. */
static int put_piece(struct out *out, size_t most, size_t *sent, bool *dry)
{
	unsigned number = out->current;
	struct migration *migration = set_migration(&out->set, number);
	ssize_t n = migration ? migrate_read(migration, out->chunk, most) : -ENODEV;
	struct ob_error why;

	if (n < 0) {
		ob_error_set(&why, (int)n, "device '%s': %s", out->set.devices[number].id,
		             migration && migrate_why(migration)[0] ? migrate_why(migration)
		             : migration ? "its client has changed its state, or reset it"
		                         : "it is gone");
		fail(out, &why);
		return -ECANCELED;
	}
	*sent = (size_t)n;
	*dry = *sent < most;
	if (n)
		put_number(out, FRAME_DATA, number, out->chunk, *sent);
	out->moves->transferred += *sent;
	return 0;
}

/* While devices run */

static uint64_t pending(const struct out *out)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < out->set.count; i++) {
		const struct migration *migration = set_migration(&out->set, i);

		sum += migration ? migrate_pending(migration) : 0;
	}
	return sum;
}

/* Bytes that go within the limit of downtime, at the speed so far. */
static uint64_t little(const struct out *out)
{
	struct move_info info;

	moves_info(out->moves, &info);
	return info.bytes_per_second / 1000 * out->moves->parameters.downtime_limit;
}

static void stop_devices(struct out *out)
{
	int rc;

	out->phase = OUT_STOP;
	out->moves->stopped = ob_loop_now();
	moves_set_status(out->moves, MOVE_DEVICE);
	rc = set_change(&out->set, MIGRATE_STOP_COPY, NULL);
	if (rc == -EINPROGRESS)
		return;
	if (rc) {
		fail(out, &out->set.failure);
		return;
	}
	out->phase = OUT_REST;
	out->current = 0;
	ob_task_schedule(out->moves->loop, &out->turn);
}

/* All devices had their turn. True: it is time to stop them. */
static bool end_pass(struct out *out)
{
	struct moves *moves = out->moves;
	bool dry = true;

	moves->passes++;
	moves->remaining = pending(out);
	for (unsigned i = 0; i < out->set.count; i++)
		dry &= out->set.devices[i].dry;
	out->current = 0;
	return dry && moves->remaining <= little(out) + CHUNK;
}

static void copy(struct out *out)
{
	for (unsigned i = 0; i < CHUNKS_A_TURN && peer_unsent(out->peer) < MAX_UNSENT; i++) {
		size_t most = CHUNK, sent = 0;
		struct move_device *device;

		while (out->current < out->set.count && stood(&out->set.devices[out->current]))
			out->set.devices[out->current++].dry = true;
		if (out->current == out->set.count) {
			if (end_pass(out)) {
				stop_devices(out);
				return;
			}
			continue;
		}
		if (out->moves->parameters.max_bandwidth && most > out->budget)
			most = out->budget;
		if (!most)
			return; /* until the next tick */
		device = &out->set.devices[out->current];
		if (put_piece(out, most, &sent, &device->dry))
			return;
		out->budget -= sent < out->budget ? sent : out->budget;
		out->current += device->dry;
	}
	if (peer_unsent(out->peer) < MAX_UNSENT)
		ob_task_schedule(out->moves->loop, &out->turn);
}

static void tick(struct out *out)
{
	out->budget = out->moves->parameters.max_bandwidth / TICKS_A_SECOND + 1;
	out->moves->remaining = pending(out);
	/* Devices that write as fast as this goes would never be dry. */
	if (out->moves->transferred && out->moves->remaining <= little(out))
		stop_devices(out);
	else if (ob_timer_arm(out->moves->loop, &out->timer, TICK_NS))
		fail_with(out, -ENOMEM, "out of memory");
	else
		ob_task_schedule(out->moves->loop, &out->turn);
}

/* When they are stopped */

static void send_rest(struct out *out)
{
	for (unsigned i = 0; i < CHUNKS_A_TURN && peer_unsent(out->peer) < MAX_UNSENT; i++) {
		bool dry = false;
		size_t sent;

		if (out->current == out->set.count) {
			peer_put(out->peer, FRAME_PREPARE, NULL, 0, NULL, 0);
			out->phase = OUT_PREPARE;
			return;
		}
		if (put_piece(out, CHUNK, &sent, &dry))
			return;
		if (dry)
			put_number(out, FRAME_END, out->current++, NULL, 0);
	}
	if (peer_unsent(out->peer) < MAX_UNSENT)
		ob_task_schedule(out->moves->loop, &out->turn);
}

/* What happens */

static void welcome(struct out *out)
{
	int rc;

	out->phase = OUT_BEGIN;
	out->moves->setup = ob_loop_now();
	moves_set_status(out->moves, MOVE_ACTIVE);
	rc = set_change(&out->set, MIGRATE_PRE_COPY, ran);
	if (rc == -EINPROGRESS)
		return;
	if (rc) {
		fail(out, &out->set.failure);
		return;
	}
	out->phase = OUT_COPY;
	tick(out);
}

static void on_settled(struct move_set *set)
{
	struct out *out = container_of(set, struct out, set);

	if (out->phase == OUT_BACK && set->failed && out->going_back)
		go_back_later(out, set->failed);
	else if (out->phase == OUT_BACK)
		go_back(out);
	else if (out->phase == OUT_GONE)
		gone(out);
	else if (set->failed)
		fail(out, &set->failure);
	else if (out->phase == OUT_BEGIN)
		welcome(out);
	else if (out->phase == OUT_STOP)
		stop_devices(out);
}

static void on_frame(void *context, uint32_t kind, const uint8_t *bytes, size_t length)
{
	struct out *out = context;
	struct ob_error why;

	if (kind == FRAME_REFUSED) {
		ob_error_set(&why, -EREMOTEIO, "the other process: %.*s",
		             (int)(length < 400 ? length : 400), (const char *)bytes);
		fail(out, &why);
	} else if (kind == FRAME_WELCOME && out->phase == OUT_HELLO) {
		welcome(out);
	} else if (kind == FRAME_READY && out->phase == OUT_PREPARE) {
		out->phase = OUT_GO;
		/* From now on its client can't have it run here, not by a reset either. */
		set_hold(&out->set, true);
		peer_put(out->peer, FRAME_GO, NULL, 0, NULL, 0);
	} else if (kind == FRAME_RUNNING && out->phase == OUT_GO) {
		out->phase = OUT_GONE;
		out->moves->resumed = ob_loop_now();
		gone(out);
	} else {
		fail_with(out, -EPROTO, "the other process answers what it was not asked");
	}
}

static void on_drained(void *context)
{
	struct out *out = context;

	if (out->phase == OUT_COPY || out->phase == OUT_REST)
		ob_task_schedule(out->moves->loop, &out->turn);
}

/*
 * A process that closes its end, or ends, does not run the devices, even if it was told to. One
 * that is just not heard of any more may.
 */
static void on_lost(void *context, int error)
{
	struct out *out = context;
	bool ended = error == -EPIPE || error == -ECONNRESET;
	struct ob_error why;

	ob_error_set(&why, error, "the other process %s%s",
	             ended ? "has hung up" : "cannot be reached: ", ended ? "" : strerror(-error));
	if (out->phase != OUT_GO || ended) {
		fail(out, &why);
		return;
	}
	set_hold(&out->set, true);
	ob_error_set(&out->why, error,
	             "%s after it was told to go on: if it does not, 'cont' does here",
	             strdupa(why.message));
	out->end = MOVE_FAILED;
	gave_up(out);
}

static void on_turn(struct ob_task *task)
{
	struct out *out = container_of(task, struct out, turn);
	struct moves *moves = out->moves;

	if (out->phase == OUT_COPY) {
		copy(out);
	} else if (out->phase == OUT_REST) {
		send_rest(out);
	} else if (out->phase == OUT_OVER) {
		moves->out = NULL;
		out_free(out);
	}
}

static void on_timer(struct ob_timer *timer)
{
	struct out *out = container_of(timer, struct out, timer);

	if (out->phase == OUT_COPY)
		tick(out);
	else if (out->phase == OUT_BACK)
		go_back(out);
}

/* Begin, cancel, end */

static int check_states(const struct move_set *set, struct ob_error *err)
{
	if (!set->count)
		return ob_error_set(err, -ENODEV, "there is no device that could move");
	for (unsigned i = 0; i < set->count; i++) {
		enum migrate_state state = set->devices[i].before;

		if (state != MIGRATE_RUNNING && state != MIGRATE_STOP)
			return ob_error_set(err, -EBUSY,
			                    "device '%s' is in the state %s: its client moves it, "
			                    "or has to reset it",
			                    set->devices[i].id, migrate_state_name(state));
	}
	return 0;
}

int out_new(struct moves *moves, const char *uri, struct ob_error *err)
{
	static const struct peer_ops ops = {
		.frame = on_frame, .drained = on_drained, .lost = on_lost};
	struct out *out = calloc(1, sizeof(*out));
	int fd, rc;

	if (!out)
		return ob_error_set(err, -ENOMEM, "out of memory");
	out->moves = moves;
	out->end = MOVE_FAILED;
	out->turn.run = on_turn;
	out->timer.expired = on_timer;
	out->set.settled = on_settled;
	rc = set_make(&out->set, moves, err);
	if (!rc)
		rc = check_states(&out->set, err);
	fd = rc ? rc : address_connect(uri, err);
	if (fd >= 0) {
		out->peer = peer_new(moves->loop, fd, &ops, out);
		fd = out->peer ? 0 : ob_error_set(err, -ENOMEM, "out of memory");
	}
	if (fd < 0) {
		out_free(out);
		return fd;
	}
	moves->out = out;
	moves_start(moves, false);
	put_hello(out);
	return 0;
}

int out_cancel(struct out *out, struct ob_error *err)
{
	if (out->phase >= OUT_GO)
		return ob_error_set(err, -EBUSY,
		                    "it is too late: the other process was told to go "
		                    "on");
	out->end = MOVE_CANCELLED;
	moves_set_status(out->moves, MOVE_CANCELLING);
	fail_with(out, -ECANCELED, "cancelled");
	return 0;
}

void out_free(struct out *out)
{
	if (!out)
		return;
	ob_timer_cancel(out->moves->loop, &out->timer);
	ob_task_cancel(&out->turn);
	peer_free(out->peer);
	set_free(&out->set);
	free(out);
}
