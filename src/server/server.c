/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Servers: who is accepted, and when; see server.h. What a client goes through is in client.h.
 *
 * While a client's session ends after its connection did, nobody is accepted, and so whoever
 * connects then waits in the socket's queue instead of being turned away. The same queue is where
 * clients wait with queue=on.
 */
#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/props.h"
#include "base/suggest.h"
#include "client.h"
#include "config.h"
#include "loop/closer.h"
#include "transport/listener.h"
#include "transport/transport.h"

/* How long to wait when the process has no descriptor or memory for another client. */
static const uint64_t ACCEPT_RETRY_NS = 100000000;

enum { LEAST_FDS = 80 }; /* a message's, and a few vectors', whatever other clients have */

struct server {
	char id[ID_MAX + 1];
	struct server_env env;
	struct ob_loop *loop;
	struct ob_dev *dev;
	struct log log, client_log; /* one for each that connects, one for what clients do */
	struct listener *listener;
	struct loop_fd watch;
	struct ob_timer accept_retry;
	struct server_allowed allowed;
	struct client_config client_config;
	struct budget_share fds; /* held for its clients */
	struct client *client;
	uint64_t clients; /* accepted so far */
	bool queue;
	bool spoken_to;                /* client_has_spoken(), of the one that has left */
	bool hung_up;                  /* the client did; we have not read to the end yet */
	void (*closed)(void *context); /* set by server_close() */
	void *context;
};

/* Accepts while there is nobody, or somebody to whom newcomers are turned away. */
static void update_watch(struct server *server)
{
	const struct client *client = server->client;
	bool waiting = client && (server->queue || server->hung_up || client_has_left(client));
	bool accepting = !waiting && !server->accept_retry.slot;

	if (!server->closed)
		loop_fd_modify(server->loop, &server->watch, accepting ? EPOLLIN : 0);
}

static void client_left(void *context, int reason)
{
	struct server *server = context;

	server->spoken_to = client_has_spoken(server->client);
	update_watch(server);
	if (server->env.hung_up)
		server->env.hung_up(server->env.context, client_peer(server->client), reason);
}

static void client_ended(void *context)
{
	struct server *server = context;

	server->client = NULL;
	server->hung_up = false;
	update_watch(server);
	if (server->env.ended)
		server->env.ended(server->env.context, server->spoken_to);
	if (server->closed)
		server->closed(server->context);
}

static struct ucred peer_of(int fd)
{
	struct ucred peer = {0};
	socklen_t length = sizeof(peer);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
	return peer;
}

static void greet(struct server *server, int fd)
{
	struct ucred peer = peer_of(fd);

	server->client = client_new(&server->client_config, fd);
	if (server->client) {
		server->clients++;
		log_fact(&server->log, LOG_INFO, "client connected (pid %d, uid %u, gid %u)",
		         peer.pid, peer.uid, peer.gid);
	} else {
		log_error(&server->log, "client refused (pid %d, uid %u, gid %u): %s", peer.pid,
		          peer.uid, peer.gid, strerror(ENOMEM));
	}
	update_watch(server);
	if (server->client && server->env.connected)
		server->env.connected(server->env.context, &peer);
}

static void turn_away(struct server *server, int fd)
{
	struct ucred peer = peer_of(fd);

	loop_closer_close_socket(server->client_config.closer, fd);
	log_warn(&server->log,
	         "client refused (pid %d, uid %u, gid %u): another client is connected (pid %d)",
	         peer.pid, peer.uid, peer.gid, client_peer(server->client)->pid);
}

static void refuse_stranger(struct server *server, int fd)
{
	struct ucred peer = peer_of(fd);

	loop_closer_close_socket(server->client_config.closer, fd);
	log_warn(&server->log,
	         "client refused (pid %d, uid %u, gid %u): neither allow-uid nor allow-gid has it",
	         peer.pid, peer.uid, peer.gid);
}

static void accept_failed(struct server *server, int rc)
{
	if (rc == -EAGAIN || rc == -EINTR || rc == -ECONNABORTED)
		return;
	/* The socket stays readable: without a pause this would be a busy loop. */
	log_error(&server->log, "cannot accept a client: %s",
	          rc == -EDQUOT ? "descriptors that the last ones sent take long to close"
	                        : strerror(-rc));
	if (!ob_timer_arm(server->loop, &server->accept_retry, ACCEPT_RETRY_NS))
		update_watch(server);
}

static void on_accept_retry(struct ob_timer *timer)
{
	update_watch(container_of(timer, struct server, accept_retry));
}

static void on_acceptable(struct loop_fd *watch, uint32_t events)
{
	struct server *server = container_of(watch, struct server, watch);
	struct client *client = server->client;
	int fd;

	/* An inherited socket is others' too. Its watch would go on saying this for ever. */
	if (events & EPOLLHUP) {
		log_fact(&server->log, LOG_ERROR,
		         "the listening socket was shut down: no client can connect any more");
		loop_fd_remove(server->loop, watch);
		return;
	}
	/*
	 * A client that reconnects at once must not be turned away because its own old connection
	 * was not yet read to the end.
	 */
	if (client && (client_has_left(client) || client_has_hung_up(client))) {
		server->hung_up = true;
		update_watch(server);
		return;
	}
	/* What earlier clients sent is still being closed: no more comes in before that is. */
	fd = budget_has_room(&server->fds, TRANSPORT_MAX_FDS) ? listener_accept(server->listener)
	                                                      : -EDQUOT;
	if (fd < 0)
		accept_failed(server, fd);
	else if (!server_allows(&server->allowed, fd))
		refuse_stranger(server, fd);
	else if (client)
		turn_away(server, fd);
	else
		greet(server, fd);
}

/* Takes from the configuration what is needed; nothing in it is used afterwards. */
static int configure(struct server *server, const struct server_config *config,
                     const struct log *log, struct ob_error *err)
{
	struct listener_config to;
	int rc = server_config_listener(config, server->id, &to, err);

	if (!rc)
		rc = server_config_allowed(config, &server->allowed, err);
	if (rc)
		return rc;
	log_init(&server->log, log, config->log_lines, "%s", server->id);
	log_init(&server->client_log, log, config->log_lines, "%s", server->id);
	server->queue = config->queue;
	server->client_config = (struct client_config){
		.loop = server->loop,
		.dev = server->dev,
		.log = &server->client_log,
		.limits = server_config_limits(config),
		.closer = server->client_config.closer,
		.max_unsent = config->max_unsent,
		.poll_ns =
			config->poll == SERVER_POLL_OFF ? 0 : config->poll_max_us * UINT64_C(1000),
		.poll_always = config->poll == SERVER_POLL_ON,
		.left = client_left,
		.ended = client_ended,
		.context = server,
	};
	server->client_config.limits.fds = &server->fds;
	server->listener = listener_new(&to, err);
	return server->listener ? 0 : -EINVAL;
}

static int server_start(struct server *server, struct opts *opts, const struct log *log,
                        struct ob_error *err)
{
	struct server_config config = {0};
	int rc = props_apply(server_props, &config, opts, NULL, err);

	if (!rc)
		rc = configure(server, &config, log, err);
	props_free(server_props, &config);
	if (rc)
		return rc;
	server->watch = (struct loop_fd){
		.fd = listener_fd(server->listener),
		.events = EPOLLIN,
		.ready = on_acceptable,
	};
	rc = loop_fd_add(server->loop, &server->watch);
	if (rc)
		return ob_error_set(err, rc, "server %s: descriptor %d: %s", server->id,
		                    server->watch.fd,
		                    rc == -EEXIST ? "serves already" : strerror(-rc));
	return 0;
}

int server_check(const char *id, const struct opts *opts, bool needs_socket, struct ob_error *err)
{
	struct server_config config = {0};
	struct server_allowed allowed;
	struct listener_config to;
	cleanup_opts struct opts copy = {0};
	int rc = opts_append(&copy, opts);

	rc = rc ? ob_error_set(err, rc, "out of memory")
	        : props_apply(server_props, &config, &copy, NULL, err);
	if (!rc && (needs_socket || server_config_has_socket(&config)))
		rc = server_config_listener(&config, id, &to, err);
	if (!rc)
		rc = server_config_allowed(&config, &allowed, err);
	props_free(server_props, &config);
	return rc;
}

struct server *server_new(const struct server_env *env, const char *id, struct ob_dev *dev,
                          struct opts *opts, struct ob_error *err)
{
	struct server *server = calloc(1, sizeof(*server));

	if (!server) {
		ob_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	if (session_hold_shared(env->loop)) {
		ob_error_set(err, -ENOMEM, "out of memory");
		free(server);
		return NULL;
	}
	snprintf(server->id, sizeof(server->id), "%s", id);
	server->fds = (struct budget_share){.budget = env->fds, .least = LEAST_FDS};
	server->client_config.closer = loop_closer_new(env->loop, &server->fds);
	server->env = *env;
	server->loop = env->loop;
	server->dev = dev;
	server->accept_retry.expired = on_accept_retry;
	if (server_start(server, opts, env->log, err)) {
		listener_free(server->listener, env->loop);
		server_free(server);
		return NULL;
	}
	return server;
}

void server_close(struct server *server, void (*closed)(void *context), void *context)
{
	loop_fd_remove(server->loop, &server->watch);
	ob_timer_cancel(server->loop, &server->accept_retry);
	listener_free(take_ptr(&server->listener), server->loop);
	server->closed = closed;
	server->context = context;
	if (server->client)
		client_drop(server->client);
	else
		closed(context);
}

void server_free(struct server *server)
{
	if (!server)
		return;
	session_drop_shared(server->loop);
	loop_closer_free(server->client_config.closer);
	log_end(&server->log);
	log_end(&server->client_log);
	free(server);
}

const char *server_id(const struct server *server)
{
	return server->id;
}

struct ob_dev *server_device(const struct server *server)
{
	return server->dev;
}

const char *server_path(const struct server *server)
{
	return server->listener ? listener_path(server->listener) : "";
}

int server_fd(const struct server *server)
{
	return server->listener ? listener_fd(server->listener) : -1;
}

const struct client *server_client(const struct server *server)
{
	return server->client;
}

uint64_t server_clients(const struct server *server)
{
	return server->clients;
}
