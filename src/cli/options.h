/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of the command line's options: the only place that knows their names and their help. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "groups.h"
#include "outboard/error.h"
#include "qemu_options.h"

enum option_id {
	OPTION_GROUP, /* of key=value: the group of that name */
	OPTION_CONFIG,
	OPTION_QMP,
	OPTION_QMP_PRETTY,
	OPTION_SOCKET_PATH,
	OPTION_FD,
	OPTION_RUN,
	OPTION_READY_FD,
	OPTION_CHECK,
	OPTION_EXIT_WITH_PARENT,
	OPTION_STOPPED,
	OPTION_INCOMING,
	OPTION_DAEMONIZE,
	OPTION_STOP_TIMEOUT,
	OPTION_PID_FILE,
	OPTION_LOG_FILE,
	OPTION_QUIET,
	OPTION_VERBOSE,
	OPTION_LOG_TIMESTAMPS,
	OPTION_NOTHING, /* what it asks for is so anyway */
	OPTION_LIST,
	OPTION_JSON,
	OPTION_HELP,
	OPTION_VERSION,
};

struct option {
	enum option_id id;
	const char *name, *other; /* other: a second name, or NULL */
	const char *argument;     /* what --help calls it; NULL: it takes none */
	const char *help;         /* NULL: not shown */
};

/*
 * The option whose name is the first length bytes of word. NULL with a message if there is none; if
 * it is one of those that QEMU has and outboard has not, NULL without a message, and *qemu is that.
 */
const struct option *option_find(const char *word, size_t length, const struct qemu_option **qemu,
                                 struct ob_error *err);

/* Prints one line or two for each option. */
void options_print(FILE *out);

#endif
