/* SPDX-License-Identifier: BSD-3-Clause */
/* A chardev's life, and what its user sees of it; see chardev.h and outboard/chardev.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/props.h"
#include "base/suggest.h"
#include "internal.h"

enum { LOG_LINES = 10 };

static const struct chardev_driver *const drivers[] = {
	&chardev_fd,     &chardev_file,  &chardev_null, &chardev_pty,
	&chardev_socket, &chardev_stdio, NULL,
};

const struct chardev_driver *const *chardev_drivers(void)
{
	return drivers;
}

static bool is_qemus(const char *name)
{
	static const char *const others[] = {
		"mux",     "hub",     "udp",      "msmouse",   "vc",       "ringbuf",
		"pipe",    "console", "serial",   "parallel",  "dbus",     "qemu-vdagent",
		"braille", "testdev", "spicevmc", "spiceport", "wctablet",
	};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (!strcmp(others[i], name))
			return true;
	}
	return false;
}

const struct chardev_driver *chardev_find_driver(const char *name, struct ob_error *err)
{
	static const char all[] = "there are stdio, pty, socket, file, null and fd";
	struct nearest nearest = nearest_to(name);

	for (const struct chardev_driver *const *driver = drivers; *driver; driver++) {
		if (!strcmp((*driver)->name, name))
			return *driver;
		nearest_try(&nearest, (*driver)->name);
	}
	if (is_qemus(name))
		ob_error_set(err, -EINVAL, "chardev backend '%s' is not offered: %s", name, all);
	else
		refuse_unknown(&nearest, "chardev backend", NULL, all, err);
	return NULL;
}

/* Telling the user */

void chardev_schedule(struct ob_chardev *chardev)
{
	if (!chardev->stopping)
		ob_task_schedule(chardev->loop, &chardev->turn);
}

static void tell_event(struct ob_chardev *chardev, enum ob_chardev_event event)
{
	if (chardev->user && chardev->user->event)
		chardev->user->event(chardev->user, event);
}

static void tell_user(struct ob_chardev *chardev)
{
	if (chardev->told != chardev->attached) {
		chardev->told = chardev->attached;
		tell_event(chardev, chardev->told ? OB_CHARDEV_OPENED : OB_CHARDEV_CLOSED);
	}
	if (chardev->breaks) {
		chardev->breaks = false;
		tell_event(chardev, OB_CHARDEV_BREAK);
	}
	if (chardev->readable) {
		chardev->readable = false;
		if (chardev->user && chardev->user->readable)
			chardev->user->readable(chardev->user);
	}
	if (chardev->cut_short && chardev_waiting(&chardev->out) < CHARDEV_BUFFER) {
		chardev->cut_short = false;
		if (chardev->user && chardev->user->writable)
			chardev->user->writable(chardev->user);
	}
}

static void free_chardev(struct ob_chardev *chardev)
{
	chardev->stopping = true;
	chardev_detach(chardev);
	ob_task_cancel(&chardev->turn);
	chardev->driver->close(chardev);
	loop_closer_free(chardev->closer);
	props_free(chardev->driver->props, chardev->props);
	log_end(&chardev->log);
	free(chardev->props);
	free(chardev->runtime);
	free(chardev);
}

static void run_turn(struct ob_task *task)
{
	struct ob_chardev *chardev = container_of(task, struct ob_chardev, turn);

	chardev_stream_flush(chardev);
	if (chardev->closing) {
		if (!chardev_stream_is_busy(chardev)) {
			struct chardev_wait *wait = chardev->closed;

			free_chardev(chardev);
			wait->done(wait, 0, NULL);
		} else {
			chardev_stream_update(chardev);
		}
		return;
	}
	if (chardev->hung_up) {
		chardev->hung_up = false;
		chardev->driver->hung_up(chardev);
	}
	tell_user(chardev);
	chardev_stream_update(chardev);
}

/* The user's side */

void ob_chardev_set_user(struct ob_chardev *chardev, struct ob_chardev_user *user)
{
	chardev->user = user;
	chardev->told = user ? chardev->attached : false;
	chardev->cut_short = chardev->breaks = false;
	chardev->readable = user && chardev_waiting(&chardev->in);
	chardev_schedule(chardev);
}

size_t ob_chardev_read(struct ob_chardev *chardev, void *bytes, size_t length)
{
	struct chardev_side *in = &chardev->in;

	if (length > chardev_waiting(in))
		length = chardev_waiting(in);
	memcpy(bytes, in->buffer + in->taken, length);
	in->taken += length;
	chardev->stats.received += length;
	/* There is room for more. */
	if (length && !chardev_waiting(in))
		chardev_schedule(chardev);
	return length;
}

size_t ob_chardev_write(struct ob_chardev *chardev, const void *bytes, size_t length)
{
	struct chardev_side *out = &chardev->out;
	size_t room;

	if (!chardev->attached || out->way == CHARDEV_NONE || out->ended) {
		chardev->stats.sent += length;
		chardev->stats.dropped += length;
		return length;
	}
	if (out->taken) {
		memmove(out->buffer, out->buffer + out->taken, chardev_waiting(out));
		out->filled -= out->taken;
		out->taken = 0;
	}
	room = CHARDEV_BUFFER - out->filled;
	chardev->cut_short |= length > room;
	if (length > room)
		length = room;
	memcpy(out->buffer + out->filled, bytes, length);
	out->filled += length;
	chardev->stats.sent += length;
	/* Bytes that are written one by one leave together. */
	if (length)
		chardev_schedule(chardev);
	return length;
}

bool ob_chardev_is_open(const struct ob_chardev *chardev)
{
	return chardev->attached;
}

const char *ob_chardev_id(const struct ob_chardev *chardev)
{
	return chardev->id;
}

/* The maker's side */

static int take_props(struct ob_chardev *chardev, struct opts *opts, struct ob_error *err)
{
	const struct ob_prop *const tables[] = {chardev->driver->props, NULL};
	static const char *const words[] = {"mux", NULL};
	cleanup_free char *mux = NULL;
	bool on = false;
	int rc = refuse_unknown_keys(opts, chardev->driver->name, tables, words, NULL, err);

	if (rc)
		return rc;
	mux = opts_take(opts, "mux");
	rc = mux ? parse_bool("mux", mux, &on, err) : 0;
	if (!rc && on)
		rc = ob_error_set(err, -EINVAL,
		                  "mux=on is not offered: a chardev has one user; make another "
		                  "one for the other");
	return rc ? rc : props_apply(chardev->driver->props, chardev->props, opts, NULL, err);
}

static const struct chardev_driver *take_driver(struct opts *opts, struct ob_error *err)
{
	cleanup_free char *name = opts_take(opts, "backend");

	if (name)
		return chardev_find_driver(name, err);
	ob_error_set(err, -EINVAL, "a chardev needs backend=, for example backend=pty");
	return NULL;
}

struct ob_chardev *chardev_new(struct ob_loop *loop, const struct log *log, const char *id,
                               struct opts *opts, struct ob_error *err)
{
	const struct chardev_driver *driver = take_driver(opts, err);
	struct ob_chardev *chardev = driver ? calloc(1, sizeof(*chardev)) : NULL;

	if (!driver)
		return NULL;
	if (chardev) {
		/* One byte more, so that a size of 0 gives a pointer too. */
		chardev->props = calloc(1, driver->props_size + 1);
		chardev->runtime = calloc(1, driver->runtime_size + 1);
	}
	if (!chardev || !chardev->props || !chardev->runtime) {
		if (chardev) {
			free(chardev->props);
			free(chardev->runtime);
		}
		free(chardev);
		ob_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	chardev->driver = driver;
	chardev->loop = loop;
	chardev->turn.run = run_turn;
	chardev->in.chardev = chardev->out.chardev = chardev;
	chardev->in.watch.fd = chardev->out.watch.fd = -1;
	snprintf(chardev->id, sizeof(chardev->id), "%s", id);
	log_init(&chardev->log, log, LOG_LINES, "%s", id);
	if (take_props(chardev, opts, err)) {
		props_free(driver->props, chardev->props);
		log_end(&chardev->log);
		free(chardev->props);
		free(chardev->runtime);
		free(chardev);
		return NULL;
	}
	return chardev;
}

int chardev_open(struct ob_chardev *chardev, struct chardev_wait *wait, struct ob_error *err)
{
	int rc;

	chardev->closer = loop_closer_new(chardev->loop, &chardev->unclosed);
	if (!chardev->closer)
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = chardev->driver->open(chardev, err);
	if (rc == -EINPROGRESS)
		chardev->opening = wait;
	return rc;
}

void chardev_opened(struct ob_chardev *chardev, int status, const struct ob_error *err)
{
	struct chardev_wait *wait = chardev->opening;

	chardev->opening = NULL;
	if (wait)
		wait->done(wait, status, err);
}

int chardev_close(struct ob_chardev *chardev, struct chardev_wait *wait)
{
	if (!chardev)
		return 0;
	chardev->user = NULL;
	chardev->opening = NULL;
	chardev_stream_flush(chardev);
	if (wait && chardev_stream_is_busy(chardev)) {
		chardev->closing = true;
		chardev->closed = wait;
		/* Nobody wants input any more. */
		chardev_schedule(chardev);
		return -EINPROGRESS;
	}
	free_chardev(chardev);
	return 0;
}

void chardev_send_break(struct ob_chardev *chardev)
{
	chardev->breaks = chardev->user != NULL;
	chardev_schedule(chardev);
}

const struct chardev_driver *chardev_driver(const struct ob_chardev *chardev)
{
	return chardev->driver;
}

const struct chardev_stats *chardev_stats(const struct ob_chardev *chardev)
{
	return &chardev->stats;
}

char *chardev_describe(const struct ob_chardev *chardev, char *text, size_t size)
{
	snprintf(text, size, "%s", chardev->driver->name);
	if (chardev->driver->describe)
		chardev->driver->describe(chardev, text, size);
	return text;
}
