/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines on a descriptor (standard error as a rule), each with a prefix that says whose it is.
 *
 * A log has a bound of lines per second: whoever lets a stranger cause lines (a session, a device)
 * has a log of its own, so that a flood drowns nobody else's lines. Facts, which are said once in
 * the life of a session, device or process, are not counted with the other lines, so that noise
 * hides no fact; they have a bound of their own, for lives that are short. A line never waits for
 * whoever reads the log: lines are dropped then, and facts are held, as many as there is room for.
 * How many lines were dropped is said within a second or so, by log_sink_tell().
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "opts.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

enum {
	LOG_FACTS_PER_SECOND = 20,
	LOG_HELD = 16384, /* bytes of facts that wait for a reader */
};

/*
 * Knows of all logs of a process that dropped lines. due() is called when there is something to
 * tell, and nothing was so far; it has log_sink_tell() called later.
 */
struct log_sink {
	void (*due)(struct log_sink *sink);
	struct log *behind; /* dropped lines */
	bool waiting;       /* due() was called */
	pthread_t thread;   /* whose logs these are: see log_sink_init() */
	int fd;             /* of what is held */
	size_t held_length;
	char held[LOG_HELD];
};

struct log_bound {
	uint64_t window; /* the second that `lines` belongs to */
	unsigned lines;
};

struct log {
	int fd;
	enum log_level level;      /* lines above this level are not written */
	bool timestamps;           /* ISO 8601 in front of each line */
	bool priorities;           /* "<6>" in front of each line, for the journal: sd-daemon(3) */
	char prefix[64];           /* "" or "d0" */
	unsigned per_second;       /* bound; 0: none, for facts as well */
	const struct opts *traces; /* see log_set_traces(); NULL: none */

	struct log_sink *sink; /* NULL: what is dropped is dropped */
	struct log_bound noise, facts;
	unsigned dropped;
	struct log *next_behind, **behind_link; /* in sink->behind if dropped is not 0 */
};

/* A log of its own with the destination, level, format and traces of parent, for prefix. */
void log_init(struct log *log, const struct log *parent, unsigned per_second, const char *prefix,
              ...) __attribute__((format(printf, 4, 5)));

/* Before a log's memory goes away, on the sink's thread: says what it dropped. */
void log_end(struct log *log);

/* A copy that may outlive the log, and be another thread's. */
struct log log_copy(const struct log *log);

/* For logs of this thread. What others write to the same logs and has no room is not counted. */
void log_sink_init(struct log_sink *sink, void (*due)(struct log_sink *sink));

/*
 * Says for each log how many lines it dropped, and writes what was held. Whether something is left
 * that could not be written yet: the caller comes again then.
 */
bool log_sink_tell(struct log_sink *sink);

/*
 * Has a log, and those that are made after it with log_init(), write all lines, without a bound, if
 * the prefix matches one of the values of patterns, as shells match file names. A pattern may also
 * be for a kind of lines of theirs, "d0/command": log_is_traced(). patterns outlive them.
 */
void log_set_traces(struct log *log, const struct opts *patterns);

/* Whether somebody asked for lines of that kind, or for all of this log. */
bool log_is_traced(const struct log *log, const char *kind);

void log_line(struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_vline(struct log *log, enum log_level level, const char *format, va_list args);

/* A line that is said once in the life of something. */
void log_fact(struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_vfact(struct log *log, enum log_level level, const char *format, va_list args);

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
