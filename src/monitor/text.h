/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text that grows, and JSON written as QEMU writes it: ASCII only (qmp-spec.rst: what is not is
 * escaped), with a space behind ':' and ','.
 */
#ifndef MONITOR_TEXT_H
#define MONITOR_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct json_object;

struct text {
	char *bytes; /* ended by a NUL once something was added */
	size_t length, capacity;
	bool failed; /* there was no memory for some of it */
};

void text_add(struct text *text, const char *bytes, size_t length);
void text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* pretty: on several lines, for people. Bytes of strings that are no UTF-8 become U+FFFD. */
void text_add_json(struct text *text, struct json_object *value, bool pretty);

void text_free(struct text *text);
#define cleanup_text __attribute__((cleanup(text_free)))

#endif
