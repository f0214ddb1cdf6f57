/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the command line asks for, before any of it is made: options for block nodes, chardevs,
 * devices, objects and monitors. All ways to write it, and the configuration file, end up here, and
 * so mean the same.
 */
#ifndef CLI_PLAN_H
#define CLI_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/opts.h"
#include "outboard/error.h"
#include "server/machine.h"

struct plan_item {
	struct opts opts;
	bool default_socket; /* an object that gets a path by itself if nobody gives it one */
	bool used;           /* a chardev that a monitor has */
	/* Where it was written, if that was a file: its name (NULL: on the command line), ... */
	char *file;
	unsigned line;     /* of the section */
	struct opts lines; /* of the keys, as text */
};

struct plan_list {
	struct plan_item *items;
	size_t count;
};

struct plan {
	struct plan_list blocks, chardevs, devices, objects, monitors;
};

/* Moves opts to the end of the list; opts is empty afterwards, even on -ENOMEM. */
int plan_add(struct plan_list *list, struct opts *opts, bool default_socket);

/* Notes that the items from number `from` on were written in a section of a file. 0 or -ENOMEM. */
int plan_place(struct plan_list *list, size_t from, const char *file, unsigned line,
               const struct opts *lines);

/* The line of a key in such notes; otherwise that of the section. */
unsigned plan_line(unsigned line, const struct opts *lines, const char *key);

/*
 * Gives the objects that name no socket one of sources (pairs path=... and fd=..., used up in
 * order), or if there are none, and they may have it, a path made up for them. -EINVAL with a
 * message when the numbers don't match.
 *
 * Descriptors in named (pairs NAME=N) go to the object or monitor without a socket that has that id
 * or serves the device of that id, and are taken out; the rest is used after sources.
 */
int plan_give_sockets(struct plan *plan, const struct opts *sources, struct opts *named,
                      struct ob_error *err);

/*
 * Block nodes are made inactive, unless they say otherwise: another process has what is behind them
 * until it hands it over. -ENOMEM with a message.
 */
int plan_wait(struct plan *plan, struct ob_error *err);

/*
 * Makes everything but monitors: block nodes and chardevs first, then devices, then objects, so
 * that all that can go wrong with the former has done so before there is a socket. What was made
 * before an error is the caller's to remove.
 */
int plan_make(struct plan *plan, struct machine *machine, struct ob_error *err);

/*
 * The same with a machine that only looks (machine_look_only()), to the end whatever goes wrong:
 * each error goes to report. An error that follows from one before is not reported. 0 or -ENOMEM.
 */
int plan_check(struct plan *plan, struct machine *machine,
               void (*report)(void *context, const struct ob_error *err), void *context);

void plan_list_free(struct plan_list *list);
void plan_free(struct plan *plan);

#endif
