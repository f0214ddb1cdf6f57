/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors that a person reads.
 *
 * Every function of outboard returns 0 or a negative errno value and leaves its out parameters
 * alone when it fails. Where the failure ends up in front of a person (a command line, a monitor,
 * a log), the function also takes a struct ob_error and puts one line there: what is wrong, and
 * what would be right.
 */
#ifndef OUTBOARD_ERROR_H
#define OUTBOARD_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

struct ob_error {
	char message[512]; /* NUL-terminated, no newline; empty when nothing was set */
	char key[64];      /* the option that it is about; "": none in particular */
};

/*
 * Formats a message into *err (which may be NULL: then the message is dropped) and returns code,
 * a negative errno value, so that a caller can write `return ob_error_set(err, -EINVAL, ...)`.
 * A message that does not fit is cut.
 */
int ob_error_set(struct ob_error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Says which option the message is about, for whoever knows where that was written. Returns code.
 */
int ob_error_key(struct ob_error *err, int code, const char *key);

/* Puts "prefix: " in front of the message that *err already has. Returns code. */
int ob_error_prefix(struct ob_error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
