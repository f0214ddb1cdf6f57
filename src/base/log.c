/* SPDX-License-Identifier: BSD-3-Clause */
/* Log lines with a prefix and a bound of lines per second; see log.h. */
#include "log.h"

#include <fnmatch.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINE = 1024 };

void log_init(struct log *log, const struct log *parent, unsigned per_second, const char *prefix,
              ...)
{
	va_list args;

	*log = (struct log){
		.fd = parent->fd,
		.level = parent->level,
		.timestamps = parent->timestamps,
		.priorities = parent->priorities,
		.sink = parent->sink,
		.per_second = per_second,
	};
	va_start(args, prefix);
	vsnprintf(log->prefix, sizeof(log->prefix), prefix, args);
	va_end(args);
	if (parent->traces)
		log_set_traces(log, parent->traces);
}

void log_set_traces(struct log *log, const struct opts *patterns)
{
	log->traces = patterns;
	for (size_t i = 0; i < patterns->count; i++) {
		if (fnmatch(patterns->list[i].value, log->prefix, 0) != 0)
			continue;
		log->level = LOG_TRACE;
		log->per_second = 0;
	}
}

bool log_is_traced(const struct log *log, const char *kind)
{
	char name[sizeof(log->prefix) + 32];

	snprintf(name, sizeof(name), "%s/%s", log->prefix, kind);
	for (size_t i = 0; log->traces && i < log->traces->count; i++) {
		const char *pattern = log->traces->list[i].value;

		if (!fnmatch(pattern, log->prefix, 0) || !fnmatch(pattern, name, 0))
			return true;
	}
	return false;
}

static size_t put_timestamp(char *line, size_t room)
{
	struct timespec now;
	struct tm utc;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	n = strftime(line, room, "%FT%T", &utc);
	return n + (size_t)snprintf(line + n, room - n, ".%06ldZ ", now.tv_nsec / 1000);
}

/* Formats behind what *used bytes of line hold already; text that does not fit is cut. */
static void put_text(char *line, size_t *used, const char *format, va_list args)
{
	size_t room = MAX_LINE - 1 - *used; /* one byte is kept for the newline */
	int n = vsnprintf(line + *used, room, format, args);

	if (n > 0)
		*used += (size_t)n < room ? (size_t)n : room - 1;
}

static void put(char *line, size_t *used, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put_text(line, used, format, args);
	va_end(args);
}

/* What a stranger wrote must not look like a line of ours, or steer a terminal. */
static void blunt(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			text[i] = '?';
	}
}

void log_sink_init(struct log_sink *sink, void (*due)(struct log_sink *sink))
{
	*sink = (struct log_sink){.due = due, .thread = pthread_self()};
}

static bool is_ours(const struct log_sink *sink)
{
	return pthread_equal(sink->thread, pthread_self());
}

static void wake(struct log_sink *sink)
{
	if (sink->waiting)
		return;
	sink->waiting = true;
	sink->due(sink);
}

/* Counts a line that is not written. */
static void drop(struct log *log)
{
	struct log_sink *sink = log->sink;

	if (sink && !is_ours(sink))
		return;
	if (log->dropped++ || !sink)
		return;
	log->next_behind = sink->behind;
	log->behind_link = &sink->behind;
	if (sink->behind)
		sink->behind->behind_link = &log->next_behind;
	sink->behind = log;
	wake(sink);
}

static bool within_bound(struct log_bound *bound, unsigned per_second)
{
	struct timespec now;

	if (!per_second)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((uint64_t)now.tv_sec != bound->window) {
		bound->window = (uint64_t)now.tv_sec;
		bound->lines = 0;
	}
	return bound->lines++ < per_second;
}

/*
 * A pipe or terminal that nobody reads must not stop every device of the process: what does not fit
 * is not written. (A pipe with room has room for a page at least.)
 */
static bool has_room(int fd)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLOUT};

	return poll(&pollfd, 1, 0) != 0;
}

/* Whether there is room for a fact until somebody reads. */
static bool hold(struct log *log, const char *line, size_t length)
{
	struct log_sink *sink = log->sink;

	if (!sink || !is_ours(sink) || length > LOG_HELD - sink->held_length)
		return false;
	memcpy(sink->held + sink->held_length, line, length);
	sink->held_length += length;
	sink->fd = log->fd;
	wake(sink);
	return true;
}

static size_t compose(const struct log *log, enum log_level level, char *line, const char *format,
                      va_list args)
{
	static const char *const names[] = {"error: ", "warning: ", "", "debug: ", "trace: "};
	static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>", "<7>"};
	size_t used = 0;

	if (log->priorities)
		put(line, &used, "%s", priorities[level]);
	if (log->timestamps)
		used += put_timestamp(line + used, MAX_LINE - used);
	put(line, &used, "outboard: %s%s%s", names[level], log->prefix, log->prefix[0] ? ": " : "");
	put_text(line, &used, format, args);
	blunt(line, used);
	line[used++] = '\n';
	return used;
}

/* A log that cannot be written must not stop a device. */
static void write_out(int fd, const char *bytes, size_t length)
{
	ssize_t n = write(fd, bytes, length);

	(void)n;
}

void log_vline(struct log *log, enum log_level level, const char *format, va_list args)
{
	char line[MAX_LINE];

	if (level > log->level)
		return;
	if (!within_bound(&log->noise, log->per_second) || !has_room(log->fd))
		drop(log);
	else
		write_out(log->fd, line, compose(log, level, line, format, args));
}

void log_vfact(struct log *log, enum log_level level, const char *format, va_list args)
{
	bool held = log->sink && log->sink->held_length;
	char line[MAX_LINE];
	size_t length;

	if (level > log->level)
		return;
	if (!within_bound(&log->facts, log->per_second ? LOG_FACTS_PER_SECOND : 0)) {
		drop(log);
		return;
	}
	length = compose(log, level, line, format, args);
	/* In their order. */
	if (!held && has_room(log->fd))
		write_out(log->fd, line, length);
	else if (!hold(log, line, length))
		drop(log);
}

/* Telling what was dropped */

static void leave_sink(struct log *log)
{
	if (!log->behind_link)
		return;
	*log->behind_link = log->next_behind;
	if (log->next_behind)
		log->next_behind->behind_link = log->behind_link;
	log->behind_link = NULL;
	log->next_behind = NULL;
}

static void say(const struct log *log, const char *format, ...)
{
	char line[MAX_LINE];
	va_list args;
	size_t length;

	va_start(args, format);
	length = compose(log, LOG_WARN, line, format, args);
	va_end(args);
	write_out(log->fd, line, length);
}

/* Whether there was nothing to tell, or it was told. */
static bool tell(struct log *log)
{
	if (log->dropped && !has_room(log->fd))
		return false;
	if (log->dropped)
		say(log, "%u line%s not shown", log->dropped, log->dropped == 1 ? "" : "s");
	log->dropped = 0;
	leave_sink(log);
	return true;
}

/* Whole lines, no more at a time than a pipe with room has room for. */
static bool tell_held(struct log_sink *sink)
{
	enum { ROOM = 4096 };
	const char *end;
	size_t length;

	while (sink->held_length && has_room(sink->fd)) {
		length = sink->held_length < ROOM ? sink->held_length : ROOM;
		end = memrchr(sink->held, '\n', length);
		length = (size_t)(end - sink->held) + 1;
		write_out(sink->fd, sink->held, length);
		sink->held_length -= length;
		memmove(sink->held, sink->held + length, sink->held_length);
	}
	return !sink->held_length;
}

bool log_sink_tell(struct log_sink *sink)
{
	bool all = tell_held(sink);
	struct log *log, *next;

	for (log = sink->behind; log; log = next) {
		next = log->next_behind;
		all = tell(log) && all;
	}
	sink->waiting = !all;
	return !all;
}

void log_end(struct log *log)
{
	if (!tell(log))
		leave_sink(log);
}

struct log log_copy(const struct log *log)
{
	struct log copy = *log;

	copy.sink = NULL;
	copy.behind_link = NULL;
	copy.next_behind = NULL;
	copy.dropped = 0;
	return copy;
}

void log_line(struct log *log, enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_vline(log, level, format, args);
	va_end(args);
}

void log_fact(struct log *log, enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_vfact(log, level, format, args);
	va_end(args);
}
