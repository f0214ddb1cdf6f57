/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a daemon owes to whoever started it: signals, inherited sockets, saying when it is ready,
 * ending with its parent, and a command that runs beside it.
 */
#ifndef CLI_PROCESS_H
#define CLI_PROCESS_H

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/opts.h"
#include "outboard/error.h"

/* Opens /dev/null in the place of standard descriptors that are closed. 0 or -errno. */
int process_fill_standard_fds(void);

/*
 * Has large blocks go back to the system as soon as they are freed: one client's largest messages
 * must not stay with the process when it has left.
 */
void process_give_memory_back(void);

/*
 * Lets the process have as many descriptors as the system allows, and says in *before what the
 * limit was, for children: many programs expect a low one.
 */
void process_raise_files(struct rlimit *before);

/* Whether what is written to a descriptor goes to the journal (JOURNAL_STREAM, systemd.exec(5)). */
bool process_is_journal(int fd);

/* Whether a signal is ignored, by whoever started us. */
bool process_ignores(int number);

/*
 * Routes the signals that end a process, SIGHUP and those of children, to a new signalfd; SIGPIPE
 * and SIGXFSZ are ignored. SIGINT is left alone where it was ignored (background jobs). Returns the
 * descriptor or -errno.
 */
int process_signals(void);

/* From here on the signals that end a process do so at once. */
void process_signals_default(void);

/*
 * SIGTERM comes when the parent ends. parent: what getppid() said when the process began. -ESRCH
 * with a message if it has ended already.
 */
int process_end_with_parent(pid_t parent, struct ob_error *err);

/*
 * Adds the sockets that systemd passes ($LISTEN_PID, $LISTEN_FDS and $LISTEN_FDNAMES) to named as
 * pairs NAME=N ("" is no name), and takes the variables out of the environment. 0, or -EINVAL or
 * -ENOMEM with a message.
 */
int process_listen_fds(struct opts *named, struct ob_error *err);

/* Tells the service manager at $NOTIFY_SOCKET, if there is one: "READY=1", "STOPPING=1". */
void process_notify(const char *state);

/* Writes a newline to fd and closes it. */
void process_write_ready(int fd);

/*
 * Starts a shell command that gets SIGTERM when we end, and may open as many files as *files says.
 * Returns its pid, or -errno.
 */
pid_t process_start_command(const char *command, const struct rlimit *files);

/* The status to exit with for one that waitpid() gave, as shells have it. */
int process_exit_status(int wait_status);

#endif
