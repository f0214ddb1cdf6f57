/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A listening UNIX socket: made at a path, or inherited as a descriptor.
 *
 * At a path it appears with the permissions that were asked for and is reachable only once they are
 * set. A socket file that no process holds any more is replaced; one that is held, and anything
 * that is not a socket, is refused and left as it is. At the end the file is removed if it is still
 * the one that was made here.
 */
#ifndef TRANSPORT_LISTENER_H
#define TRANSPORT_LISTENER_H

#include <sys/types.h>

#include "outboard/error.h"
#include "outboard/loop.h"

struct listener;

/* Longest path of a UNIX socket: sun_path without the NUL. */
enum { LISTENER_PATH_MAX = 107 };

struct listener_config {
	const char *path; /* NULL: use fd */
	int fd;           /* a listening UNIX stream socket */
	mode_t mode;      /* of the file at path */
	gid_t group;      /* of the file at path; (gid_t)-1: as the system gives it */
};

/*
 * NULL with a message. fd is taken over on success only; it is then non-blocking and close-on-exec.
 */
struct listener *listener_new(const struct listener_config *config, struct ob_error *err);

/*
 * Whether a socket could be made at path, without making it: what can be known before. 0 or -errno
 * with the message that listener_new() would have.
 */
int listener_check(const char *path, struct ob_error *err);
/* Whether it is a path at all, as far as its text tells. */
int listener_check_form(const char *path, struct ob_error *err);

/* Closes the socket and removes its file. loop: its helpers close it; NULL: at once. May be NULL.
 */
void listener_free(struct listener *listener, struct ob_loop *loop);

/* To wait for EPOLLIN on. */
int listener_fd(const struct listener *listener);

/* Absolute where that is known; "" for an inherited socket without a path. */
const char *listener_path(const struct listener *listener);

/* The next client's socket, non-blocking and close-on-exec, or -errno; -EAGAIN: there is none. */
int listener_accept(struct listener *listener);

#endif
