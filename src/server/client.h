/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connected client: its socket, its twin socket if it wants one, its session, and the glue
 * between them.
 *
 * A client goes through three stages. It is connected: transport and session exist. Its connection
 * ends (hang-up, an error, client_drop()): the transport is freed, which closes the socket, and the
 * session is told to end, which may take as long as the device needs to become quiet. The session
 * has ended: the client is freed.
 */
#ifndef SERVER_CLIENT_H
#define SERVER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/log.h"
#include "device/device.h"
#include "loop/loop.h"
#include "session/session.h"

struct client;

struct client_config {
	struct ob_loop *loop;
	struct ob_dev *dev;
	struct log *log; /* what clients cause: one for all of them, as they come and go */
	struct session_limits limits;
	struct loop_closer *closer; /* of what clients sent; limits.fds counts it */
	size_t max_unsent;          /* bytes of replies; past that no more is read */
	uint64_t poll_ns;           /* as the transport's limits say */
	bool poll_always;
	void (*left)(void *context, int reason); /* the connection is over; -errno, or 0 */
	void (*ended)(void *context); /* the last thing that happens: the client is freed then */
	void *context;
};

/*
 * Takes fd over, a connected socket. config must stay valid. NULL on ENOMEM. Neither left nor ended
 * is called before the loop's next turn.
 */
struct client *client_new(const struct client_config *config, int fd);

/* Ends the connection if it is not over. left is called, and ended perhaps, before this returns. */
void client_drop(struct client *client);

/* Whether the connection is over, and only the session has to end. */
bool client_has_left(const struct client *client);

/* Whether a message has come, and not something that is none, or nothing. */
bool client_has_spoken(const struct client *client);

/* Whether the peer has hung up, though we may not have read to the end yet. */
bool client_has_hung_up(const struct client *client);

/* Who it is, and since when it is connected, in ns of CLOCK_REALTIME. */
const struct ucred *client_peer(const struct client *client);
uint64_t client_since(const struct client *client);

const struct session *client_session(const struct client *client);

#endif
