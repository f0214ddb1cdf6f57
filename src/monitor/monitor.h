/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Monitors: QEMU's machine protocol (QMP) on sockets, standard input and output, and inherited
 * descriptors. Specification: QEMU's docs/interop/qmp-spec.rst.
 *
 * All monitors of a process belong to one set. Each that listens serves up to 16 clients at a time,
 * and none waits for them: commands of a client that does not read its replies are not read either,
 * and events for it are dropped past a bound. Commands and events are in src/monitor/schema.json.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "base/log.h"
#include "base/opts.h"
#include "loop/loop.h"
#include "move/move.h"
#include "outboard/error.h"
#include "server/machine.h"

struct monitors;

/* What the short form of the command line comes to. */
struct monitors_planned {
	/* One of the commands, in their order, with its arguments. 0 or -ENOMEM. */
	int (*command)(struct monitors_planned *planned, const char *name, const struct opts *args);
};

/* What monitors need of the process around them. Copied, but for what it points to. */
struct monitors_env {
	struct ob_loop *loop;
	const struct log *log;
	struct machine *machine;
	struct moves *moves; /* of its devices */
	/* Tells what words would make. NULL: nobody can. -EINVAL with a message, -ENOMEM. */
	int (*short_form)(const char *const *words, unsigned count,
	                  struct monitors_planned *planned, struct ob_error *err);
	const char *name; /* of the process, as query-name says it (-name); NULL: none was given */
};

/*
 * An empty set, which listens to the machine's events. env's name, machine, moves, loop and log
 * outlive it. The command quit is machine_shutdown(): whoever runs the process hears of it by
 * machine_on_shutdown(). NULL on ENOMEM.
 */
struct monitors *monitors_new(const struct monitors_env *env);

/*
 * Closes all connections, after one attempt to send what is unsent (the event SHUTDOWN among it),
 * and removes the sockets that were made here. From the loop or outside of it, but not from within
 * a callback of the machine. May be NULL.
 */
void monitors_free(struct monitors *monitors);

/*
 * Adds a monitor. All options are taken out of opts or refused. 0 or -errno with a message; nothing
 * is left behind on failure.
 *
 * What `-qmp unix:PATH,server=on,wait=off` means: backend=socket, path=PATH, server=on, wait=off.
 * What `-qmp stdio` means: backend=stdio. With -chardev and -mon: the options of the first (but for
 * its id) and those of the second (but for chardev) together.
 *
 *	backend=socket|stdio    socket
 *	path=PATH               listen there; a stale socket is replaced, as servers do it
 *	fd=N                    an inherited UNIX stream socket, connected or listening. A connected
 *	                        one is a monitor until it is closed. Taken over on success only.
 *	server=on|off           needed with path=; with fd=, has to agree with what the socket is
 *	wait=off                needed with path=, as QEMU's default is to wait for a client before
 *	                        anything else is done, and that is not offered (also: nowait)
 *	mode=control            QMP; the only one there is
 *	pretty=on|off           replies for people to read: off
 *	id=ID                   for messages
 */
int monitors_add(struct monitors *monitors, struct opts *opts, struct ob_error *err);

/* How many were added. A process without any, and without a server, can be reached by nobody. */
unsigned monitors_count(const struct monitors *monitors);

#endif
