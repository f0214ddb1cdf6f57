/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closes descriptors that somebody else made. close() may sleep for as long as their maker likes: a
 * socket that lingers, a file of his own FUSE. So it is not called on the loop. A closer has one
 * helper thread at most, and what is stuck in it holds up only what the same closer has to close:
 * there is one for all clients of a server, and a thread for each of them if need be.
 *
 * Descriptors that wait are counted in a share of the process's descriptors. It is for the caller
 * to take no more when there is no room in it.
 */
#ifndef LOOP_CLOSER_H
#define LOOP_CLOSER_H

#include <sys/types.h>

#include "base/budget.h"
#include "outboard/loop.h"

struct loop_closer;

/* fds outlives the closer. NULL on ENOMEM. */
struct loop_closer *loop_closer_new(struct ob_loop *loop, struct budget_share *fds);

/* What is being closed goes on, and is counted nowhere from then on. May be NULL. */
void loop_closer_free(struct loop_closer *closer);

/* closer may be NULL: closes at once. */
void loop_closer_close(struct loop_closer *closer, int fd);

/*
 * For a connected socket before it is first read from: urgent bytes (MSG_OOB) become bytes like
 * others. Otherwise whoever reads passes them by, and the kernel closes what descriptors came with
 * them in that very call.
 */
void loop_keep_urgent(int fd);

/*
 * Reads from a connected socket without waiting, as recv() does, where no descriptors are expected:
 * the kernel would close them in that very call. If some have come, nothing is taken, not even what
 * is before them: -1 with EBADMSG, and the socket is for loop_close_elsewhere().
 */
ssize_t loop_receive(int fd, void *bytes, size_t size);

/*
 * For a connected UNIX socket, which may hold messages with descriptors that nobody has read. The
 * peer hears of the end now. If there are none of those, it is closed at once.
 */
void loop_closer_close_socket(struct loop_closer *closer, int fd);

/* For what few are made of, a listening socket: clients that wait there may have sent something. */
void loop_close_elsewhere(struct ob_loop *loop, int fd);
/* The same for a connected UNIX socket, as loop_closer_close_socket() does it. */
void loop_close_socket_elsewhere(struct ob_loop *loop, int fd);

#endif
