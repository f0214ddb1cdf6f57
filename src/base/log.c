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

static bool within_bound(struct log *log)
{
	struct timespec now;

	if (!log->per_second)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((uint64_t)now.tv_sec != log->window) {
		log->window = (uint64_t)now.tv_sec;
		log->lines = 0;
	}
	if (log->lines >= log->per_second) {
		log->dropped++;
		return false;
	}
	log->lines++;
	return true;
}

/*
 * A pipe or terminal that nobody reads must not stop every device of the process: what does not fit
 * is dropped. (A pipe with room has room for a page at least.)
 */
static bool has_room(struct log *log)
{
	struct pollfd pollfd = {.fd = log->fd, .events = POLLOUT};

	if (poll(&pollfd, 1, 0) != 0)
		return true;
	log->dropped++;
	return false;
}

void log_vline(struct log *log, enum log_level level, const char *format, va_list args)
{
	static const char *const names[] = {"error: ", "warning: ", "", "debug: ", "trace: "};
	static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>", "<7>"};
	char line[MAX_LINE];
	size_t used = 0;

	if (level > log->level || !within_bound(log) || !has_room(log))
		return;
	if (log->priorities)
		put(line, &used, "%s", priorities[level]);
	if (log->timestamps)
		used += put_timestamp(line + used, sizeof(line) - used);
	put(line, &used, "outboard: %s%s%s", names[level], log->prefix, log->prefix[0] ? ": " : "");
	put_text(line, &used, format, args);
	if (log->dropped) {
		put(line, &used, " (and %u lines not shown)", log->dropped);
		log->dropped = 0;
	}
	blunt(line, used);
	line[used++] = '\n';
	/* A log that cannot be written must not stop a device. */
	if (write(log->fd, line, used) < 0)
		return;
}

void log_line(struct log *log, enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_vline(log, level, format, args);
	va_end(args);
}
