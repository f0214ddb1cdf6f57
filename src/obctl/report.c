/* SPDX-License-Identifier: BSD-3-Clause */
/* Text or JSON; see report.h. */
#include "obctl/report.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/list.h"

void report_begin(struct report *report, bool json)
{
	*report = (struct report){.here = json ? json_object_new_object() : NULL};
}

void report_end(struct report *report, bool line)
{
	const int plain = JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;

	if (report->here) {
		puts(json_object_to_json_string_ext(
			report->here, line ? plain : plain | JSON_C_TO_STRING_PRETTY));
		json_object_put(report->here);
		report->here = NULL;
	} else if (line) {
		putchar('\n');
	}
}

static void add(struct report *report, const char *key, struct json_object *value)
{
	if (json_object_is_type(report->here, json_type_array))
		json_object_array_add(report->here, value);
	else
		json_object_object_add(report->here, key, value);
}

void report_open(struct report *report, const char *key, bool array, const char *format, ...)
{
	struct json_object *part;
	va_list args;

	if (!report->here) {
		va_start(args, format);
		vprintf(format, args);
		va_end(args);
		return;
	}
	assert(report->depth < ARRAY_SIZE(report->stack));
	part = array ? json_object_new_array() : json_object_new_object();
	add(report, key, part);
	report->stack[report->depth++] = report->here;
	report->here = part;
}

void report_close(struct report *report, const char *end)
{
	if (!report->here)
		fputs(end, stdout);
	else
		report->here = report->stack[--report->depth];
}

void report_flag(struct report *report, const char *label, const char *key, bool value)
{
	if (report->here && key)
		add(report, key, json_object_new_boolean(value));
	else if (!report->here && label)
		printf(" %s%c", label, value ? '+' : '-');
}

void report_number(struct report *report, const char *format, const char *key, uint64_t value)
{
	if (report->here && key)
		add(report, key, json_object_new_uint64(value));
	else if (!report->here && format) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		printf(format, (unsigned long long)value);
#pragma GCC diagnostic pop
	}
}

void report_text(struct report *report, const char *key, const char *value, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!report->here)
		fputs(text, stdout);
	else if (key)
		add(report, key, json_object_new_string(value ? value : text));
}
