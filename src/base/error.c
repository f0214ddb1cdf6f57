/* SPDX-License-Identifier: BSD-3-Clause */
/* Formatting of struct ob_error; see outboard/error.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "outboard/error.h"

int ob_error_set(struct ob_error *err, int code, const char *format, ...)
{
	va_list args;

	if (err) {
		va_start(args, format);
		vsnprintf(err->message, sizeof(err->message), format, args);
		va_end(args);
	}
	return code;
}

int ob_error_prefix(struct ob_error *err, int code, const char *format, ...)
{
	char old[sizeof(err->message)];
	va_list args;
	size_t used;

	if (err) {
		memcpy(old, err->message, sizeof(old));
		va_start(args, format);
		vsnprintf(err->message, sizeof(err->message), format, args);
		va_end(args);
		used = strlen(err->message);
		strncat(err->message, ": ", sizeof(err->message) - 1 - used);
		used = strlen(err->message);
		strncat(err->message, old, sizeof(err->message) - 1 - used);
	}
	return code;
}
