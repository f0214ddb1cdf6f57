/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines on a descriptor (standard error as a rule), each with a prefix that says whose it is.
 *
 * A log has a bound of lines per second: whoever lets a stranger cause lines (a session, a device)
 * has a log of its own, so that a flood drowns nobody else's lines. A line never waits for whoever
 * reads the log. What was dropped is counted and said with the next line that gets through.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "opts.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

struct log {
	int fd;
	enum log_level level;      /* lines above this level are not written */
	bool timestamps;           /* ISO 8601 in front of each line */
	bool priorities;           /* "<6>" in front of each line, for the journal: sd-daemon(3) */
	char prefix[64];           /* "" or "d0" */
	unsigned per_second;       /* bound; 0: none */
	const struct opts *traces; /* see log_set_traces(); NULL: none */

	uint64_t window; /* the second that `lines` belongs to */
	unsigned lines, dropped;
};

/* A log of its own with the destination, level, format and traces of parent, for prefix. */
void log_init(struct log *log, const struct log *parent, unsigned per_second, const char *prefix,
              ...) __attribute__((format(printf, 4, 5)));

/*
 * Has a log, and those that are made after it with log_init(), write all lines, without a bound, if
 * the prefix matches one of the values of patterns, as shells match file names. patterns outlive
 * them.
 */
void log_set_traces(struct log *log, const struct opts *patterns);

void log_line(struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_vline(struct log *log, enum log_level level, const char *format, va_list args);

#define log_error(log, ...) log_line(log, LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_line(log, LOG_WARN, __VA_ARGS__)
#define log_info(log, ...) log_line(log, LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...)                                                                        \
	do {                                                                                       \
		if ((log)->level >= LOG_DEBUG)                                                     \
			log_line(log, LOG_DEBUG, __VA_ARGS__);                                     \
	} while (0)
#define log_trace(log, ...)                                                                        \
	do {                                                                                       \
		if (__builtin_expect((log)->level >= LOG_TRACE, 0))                                \
			log_line(log, LOG_TRACE, __VA_ARGS__);                                     \
	} while (0)

#endif
