/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server: binds one device to one listening socket, and serves one client at a time
 * (`x-vfio-user-server` on the command line).
 *
 * The device outlives its clients: after a hang-up it is kept as it is, and the next client is
 * served as soon as the last one's session has ended. A client that comes while another one is
 * there is turned away, or waits for it to leave (queue=on).
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/budget.h"
#include "base/log.h"
#include "base/opts.h"
#include "device/device.h"
#include "loop/loop.h"
#include "outboard/error.h"
#include "outboard/prop.h"

struct client;
struct server;

/* What a server needs of the process around it. Copied. */
struct server_env {
	struct ob_loop *loop;
	const struct log *log;
	struct budget *fds; /* descriptors that clients may have us hold; NULL: no bound */
	/*
	 * A client was accepted; its connection is over (reason: -errno, or 0 when it hung up or
	 * was made to); its session has ended, too (spoke: it had sent a message, and not
	 * something else). All may be NULL. None of them may free the server.
	 */
	void (*connected)(void *context, const struct ucred *peer);
	void (*hung_up)(void *context, const struct ucred *peer, int reason);
	void (*ended)(void *context, bool spoke);
	void *context;
};

/* What may be configured. */
extern const struct ob_prop server_props[];

/*
 * Whether opts would do for server_new(), as far as that can be said without making the socket;
 * with needs_socket false one that names no socket will do. 0 or -EINVAL with a message. opts stay.
 */
int server_check(const char *id, const struct opts *opts, bool needs_socket, struct ob_error *err);

/*
 * Makes a server that listens and accepts. dev must outlive it and have no other server. Takes the
 * properties of server_props out of opts; what remains there is the caller's to judge. NULL with a
 * message.
 */
struct server *server_new(const struct server_env *env, const char *id, struct ob_dev *dev,
                          struct opts *opts, struct ob_error *err);

/*
 * Ends service: the socket is closed and its file removed at once, then the session, if there is
 * one, ends in order. closed is called when the device is nobody's any more, perhaps before this
 * returns, and may call server_free(). Once for each server.
 */
void server_close(struct server *server, void (*closed)(void *context), void *context);

/* Only after closed was called. */
void server_free(struct server *server);

const char *server_id(const struct server *server);
struct ob_dev *server_device(const struct server *server);

/* The socket's path; "" if it has none (an inherited one). And its descriptor. */
const char *server_path(const struct server *server);
int server_fd(const struct server *server);

/* The client that is connected, or whose session is about to end; NULL: none. */
const struct client *server_client(const struct server *server);

/* How many clients were accepted so far. */
uint64_t server_clients(const struct server *server);

#endif
