/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of outboard: what to do, with which options, and the plan of objects. The
 * table of options is in options.h, those that are lists of key=value in groups.h, the
 * configuration file in config_file.h.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>

#include "outboard/error.h"
#include "plan.h"

enum args_action {
	ARGS_SERVE,
	ARGS_HELP,
	ARGS_MODEL_HELP, /* of help_model */
	ARGS_LIST,
	ARGS_VERSION,
	ARGS_MACHINE_HELP,
	ARGS_TRACE_HELP,
};

enum args_switch { ARGS_UNSET, ARGS_OFF, ARGS_ON };

struct args {
	enum args_action action;
	const struct ob_model *help_model;
	bool json, quiet, verbose, timestamps, exit_with_parent, daemonize;
	bool stdio;                      /* a monitor has standard input and output */
	bool check;                      /* --check: nothing is served */
	bool stopped;                    /* -S: nothing works until a monitor says cont */
	bool remote;                     /* -machine x-remote */
	enum args_switch auto_shutdown;  /* ARGS_UNSET: as the machine has it */
	enum args_switch priorities;     /* of log lines; ARGS_UNSET: if they go to the journal */
	const char *run;                 /* NULL: none */
	const char *incoming;            /* NULL: nobody's devices come */
	const char *pid_file, *log_file; /* the same */
	char *name;                      /* of the process; NULL: it has none. Owned */
	int ready_fd;                    /* -1: none */
	unsigned stop_timeout;           /* seconds for the end in order; 0: no bound */
	unsigned short_forms;            /* so far */
	struct opts sockets;             /* of --fd and --socket-path, in order: fd=N, path=PATH */
	struct opts traces;              /* patterns of -trace; the keys do not matter */
	struct opts problems;            /* with --check: what is wrong so far, as values */
	struct opts notes;               /* to be logged; the keys do not matter */
	struct plan_list chardevs;       /* each until a monitor has it */
	struct plan plan;
};

/* 0, or -EINVAL or -ENOMEM with a message. args_free() afterwards in any case. */
int args_parse(struct args *args, int argc, char *const *argv, struct ob_error *err);
void args_free(struct args *args);

/* With --check, keeps the error for later and returns 0, so that the next one is found; else rc. */
int args_tolerate(struct args *args, int rc, const struct ob_error *err);

/* Has the properties of a model shown, instead of anything else. -EINVAL with a message. */
int args_show_model(struct args *args, const char *name, struct ob_error *err);

/* Whether the process ends when its last client has gone. */
bool args_auto_shutdown(const struct args *args);

#endif
