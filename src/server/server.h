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

#include "base/log.h"
#include "base/opts.h"
#include "device/device.h"
#include "loop/loop.h"
#include "outboard/error.h"
#include "outboard/prop.h"

struct server;

/* What a server needs of the process around it. Copied. */
struct server_env {
	struct ob_loop *loop;
	const struct log *log;
};

/* What may be configured. */
extern const struct ob_prop server_props[];

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

/* The socket's path; "" if it has none (an inherited one). */
const char *server_path(const struct server *server);

#endif
