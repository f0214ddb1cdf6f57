/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The other end of a serial line, for tests and fuzzers: a chardev without descriptors. What is
 * said is there for the device; what the device has written waits until it is heard, and there is
 * room for CHARDEV_BUFFER bytes.
 */
#ifndef LINE_H
#define LINE_H

#include <stdlib.h>
#include <string.h>

#include "chardev/internal.h"

/* Stands for a helper that never comes back. */
#define LINE_BUSY ((struct chardev_job *)-1)

static inline struct ob_chardev *line_new(struct ob_loop *loop, const struct log *log)
{
	cleanup_opts struct opts opts = {0};
	struct ob_error err;
	struct ob_chardev *line;

	if (opts_add(&opts, "backend", "null"))
		abort();
	line = chardev_new(loop, log, "c0", &opts, &err);
	if (!line)
		abort();
	line->attached = true;
	line->in.ended = true;
	line->in.way = line->out.way = CHARDEV_HELPER;
	line->out.job = LINE_BUSY;
	return line;
}

static inline void line_free(struct ob_chardev *line)
{
	if (!line)
		return;
	line->out.job = NULL;
	chardev_close(line, NULL);
}

/* Returns how much there was room for. */
static inline size_t line_say(struct ob_chardev *line, const void *bytes, size_t length)
{
	struct chardev_side *in = &line->in;

	memmove(in->buffer, in->buffer + in->taken, chardev_waiting(in));
	in->filled -= in->taken;
	in->taken = 0;
	if (length > CHARDEV_BUFFER - in->filled)
		length = CHARDEV_BUFFER - in->filled;
	memcpy(in->buffer + in->filled, bytes, length);
	in->filled += length;
	line->readable = true;
	chardev_schedule(line);
	return length;
}

static inline size_t line_hear(struct ob_chardev *line, void *bytes, size_t length)
{
	struct chardev_side *out = &line->out;

	if (length > chardev_waiting(out))
		length = chardev_waiting(out);
	memcpy(bytes, out->buffer + out->taken, length);
	out->taken += length;
	chardev_schedule(line);
	return length;
}

#endif
