/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of outboard: what to do, with which options, and the plan of objects. A table of
 * options is the only place that knows them; --help is made of it.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stdio.h>

#include "outboard/error.h"
#include "plan.h"

enum args_action {
	ARGS_SERVE,
	ARGS_HELP,
	ARGS_MODEL_HELP, /* of help_model */
	ARGS_LIST,
	ARGS_VERSION,
};

struct args {
	enum args_action action;
	const struct ob_model *help_model;
	bool json, quiet, verbose, timestamps, exit_with_parent;
	const char *run;     /* NULL: none */
	int ready_fd;        /* -1: none */
	struct opts sockets; /* of --fd and --socket-path, in order: pairs fd=N, path=PATH */
	struct plan plan;
};

/* 0, or -EINVAL or -ENOMEM with a message. args_free() afterwards in any case. */
int args_parse(struct args *args, int argc, char *const *argv, struct ob_error *err);
void args_free(struct args *args);

/* Prints one line or two for each option. */
void args_print_options(FILE *out);

#endif
