/* SPDX-License-Identifier: BSD-3-Clause */
/* What a command line or a configuration file is translated into, in print. */
#ifndef TESTS_CLI_KIT_H
#define TESTS_CLI_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"

enum { MAX_WORDS = 32 };

static inline int parse(struct args *args, const char *line, struct ob_error *err)
{
	static char text[1024];
	char *argv[MAX_WORDS] = {"outboard"};
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	return args_parse(args, argc, argv, err);
}

static inline void append(char *out, size_t room, const char *text)
{
	size_t used = strlen(out);

	snprintf(out + used, room - used, "%s", text);
}

static inline void append_list(char *out, size_t room, const char *name,
                               const struct plan_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct opts *opts = &list->items[i].opts;

		append(out, room, name);
		for (size_t j = 0; j < opts->count; j++) {
			append(out, room, j ? "," : " ");
			append(out, room, opts->list[j].key);
			append(out, room, "=");
			append(out, room, opts->list[j].value);
		}
		append(out, room, "\n");
	}
}

/* A line for each object and monitor. */
static inline const char *printed(const struct plan *plan)
{
	static char out[4096];

	out[0] = '\0';
	append_list(out, sizeof(out), "blockdev", &plan->blocks);
	append_list(out, sizeof(out), "chardev", &plan->chardevs);
	append_list(out, sizeof(out), "device", &plan->devices);
	append_list(out, sizeof(out), "object", &plan->objects);
	append_list(out, sizeof(out), "monitor", &plan->monitors);
	return out;
}

/* The plan of a command line, with the sockets given out. */
static inline const char *plan_of(const char *line)
{
	const char *out;
	struct args args;
	struct opts named = {0};
	struct ob_error err = {0};

	if (parse(&args, line, &err) || plan_give_sockets(&args.plan, &args.sockets, &named, &err))
		fail_msg("%s: %s", line, err.message);
	out = printed(&args.plan);
	args_free(&args);
	return out;
}

#endif
