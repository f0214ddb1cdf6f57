/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables that schema.py makes of schema.json: commands, names of events, and introspection. */
#ifndef MONITOR_SCHEMA_H
#define MONITOR_SCHEMA_H

#include <stdbool.h>

#include "outboard/error.h"

struct json_object;
struct monitor;

/* class: NULL stands for GenericError, which all errors are that clients need not tell apart. */
struct qmp_error {
	const char *class;
	struct ob_error text;
};

/*
 * Carries a command out. args has been checked against the command's table; it is a JSON object and
 * the caller's. 0, with the result in *ret if there is one (the caller's then; NULL stands for {}),
 * or -errno with err filled in; or -EINPROGRESS: monitor_finish() follows, from the loop.
 */
typedef int command_fn(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                       struct qmp_error *err);

enum arg_type { ARG_STR, ARG_INT, ARG_BOOL, ARG_ANY, ARG_ENUM };

struct arg {
	const char *name;
	enum arg_type type;
	bool optional;
	bool list;                 /* of type */
	const char *const *values; /* ARG_ENUM: ended by NULL */
};

struct command {
	const char *name; /* NULL ends the table */
	command_fn *run;
	const struct arg *args;
	unsigned arg_count;
	bool open; /* takes arguments that are not in the table */
};

extern const struct command monitor_commands[];
extern const char *const monitor_events[]; /* ended by NULL */
extern const char monitor_schema[];        /* JSON: an array of SchemaInfo */

#endif
