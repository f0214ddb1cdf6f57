/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * obctl's subcommands and their command lines. Each is one struct: words that it takes, and a table
 * of options (outboard/prop.h) from which parsing and --help are made.
 */
#ifndef OBCTL_COMMAND_H
#define OBCTL_COMMAND_H

#include <stdio.h>

#include "outboard/client.h"
#include "outboard/error.h"
#include "outboard/prop.h"

enum { COMMAND_MAX_WORDS = 64 };

struct command {
	const char *name;
	const char *words; /* "SOCKET REGION OFFSET" */
	unsigned word_count;
	unsigned more_words; /* that may follow those; words has NULL for what is not there */
	const char *summary;
	const char *details; /* for --help; lines end with newlines */
	const struct ob_prop *options;
	size_t options_size; /* of the struct that the table describes; zeroed first */
	/* It talks to a monitor: -X is short for the first of its options that begins with X. */
	bool monitor;
	/*
	 * 0, or -errno with a message (err empty: it said what is wrong itself). words: word_count
	 * and more_words of them, options: the struct.
	 */
	int (*run)(const char *const *words, const void *options, struct ob_error *err);
};

extern const struct command command_probe, command_read, command_write, command_ping, command_trace,
	command_nvme_io, command_migrate, command_list, command_info, command_add, command_del,
	command_resize, command_stats, command_events, command_top, command_qmp;

/* All of them; NULL ends the list. */
extern const struct command *const commands[];

/* Does what the command line says. Returns the exit status. */
int command_main(int argc, char *const *argv);

/* What every command has that connects to a server. */
struct connect_options {
	uint32_t timeout;
	bool twin;
};
/* Their part of a table; the struct connect_options comes first in what the table describes. */
#define CONNECT_OPTIONS                                                                            \
	{                                                                                          \
		.name = "timeout",                                                                 \
		.type = OB_PROP_UINT32,                                                            \
		.offset = offsetof(struct connect_options, timeout),                               \
		.min = 1,                                                                          \
		.max = 3600000,                                                                    \
		.preset = "5000",                                                                  \
		.help = "milliseconds to wait for an answer",                                      \
	},                                                                                         \
	{                                                                                          \
		.name = "twin-socket", .type = OB_PROP_BOOL,                                       \
		.offset = offsetof(struct connect_options, twin),                                  \
		.help = "ask for a second socket for the server's requests",                       \
	}

int connect_to(const char *path, const struct connect_options *options, bool busy,
               struct ob_client **out, struct ob_error *err);

/* Puts what the client's last failure was into err, behind a prefix. Returns rc. */
int client_error(const struct ob_client *client, int rc, const char *what, struct ob_error *err);

/* "bar0" and so on, or the number. For names that are not known NULL. */
const char *region_name(unsigned index);
int parse_region(const char *text, uint32_t *index, struct ob_error *err);

/* A number in decimal or, with 0x, hexadecimal. */
int parse_number(const char *what, const char *text, uint64_t max, uint64_t *out,
                 struct ob_error *err);

static inline void free_client(struct ob_client **client)
{
	ob_client_free(*client);
}
#define cleanup_client __attribute__((cleanup(free_client)))

#endif
