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
		err->key[0] = '\0';
	}
	return code;
}

int ob_error_key(struct ob_error *err, int code, const char *key)
{
	if (err)
		snprintf(err->key, sizeof(err->key), "%s", key);
	return code;
}

int ob_error_prefix(struct ob_error *err, int code, const char *format, ...)
{
	char prefix[sizeof(err->message)];
	size_t used, kept, room = sizeof(prefix) - 1;
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	vsnprintf(prefix, sizeof(prefix) - 2, format, args);
	va_end(args);
	used = strlen(prefix);
	prefix[used++] = ':';
	prefix[used++] = ' ';
	kept = strnlen(err->message, room - used);
	memmove(err->message + used, err->message, kept);
	err->message[used + kept] = '\0';
	memcpy(err->message, prefix, used);
	return code;
}
