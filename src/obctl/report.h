/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A report that is either text, in the style of lspci, or JSON: whoever fills it in says each thing
 * once, with the label that people see and the key that programs read.
 */
#ifndef OBCTL_REPORT_H
#define OBCTL_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct report {
	struct json_object *here; /* the object or array that is open; NULL: text */
	struct json_object *stack[16];
	unsigned depth;
};

/* An object for JSON if json. */
void report_begin(struct report *report, bool json);
/* Prints the JSON, if it is that, and frees it. line: on one line, and ends the text's line too. */
void report_end(struct report *report, bool line);

/* Opens a part: text is printed as it is (printf), key names it in JSON (NULL: in an array). */
void report_open(struct report *report, const char *key, bool array, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Closes it; in text, end is printed. */
void report_close(struct report *report, const char *end);

/* label: "Enable" becomes " Enable+" or " Enable-"; NULL: not in text. key NULL: not in JSON. */
void report_flag(struct report *report, const char *label, const char *key, bool value);
/* format: for the text, of one number, as " Count=%llu"; NULL: not in text. */
void report_number(struct report *report, const char *format, const char *key, uint64_t value);
/* text: printed as it is. value: the string in JSON, NULL for the same text. */
void report_text(struct report *report, const char *key, const char *value, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
