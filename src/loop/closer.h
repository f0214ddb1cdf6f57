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
 * For a connected UNIX socket, which may hold messages with descriptors that nobody has read. The
 * peer hears of the end now. If there are none of those, it is closed at once.
 */
void loop_closer_close_socket(struct loop_closer *closer, int fd);

/* For what few are made of, a listening socket: clients that wait there may have sent something. */
void loop_close_elsewhere(struct ob_loop *loop, int fd);

#endif
