/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Servers: accepting clients, and the glue between transport and session; see server.h.
 *
 * A client goes through three stages. It is connected: transport and session exist. Its connection
 * ends (hang-up, an error, server_close()): the transport is freed, which closes the socket, and
 * the session is told to end, which may take as long as the device needs to become quiet. The
 * session has ended: it is freed, and the next client is accepted. In the second stage nobody is
 * accepted, and so whoever connects then waits in the socket's queue instead of being turned away.
 */
#include "server.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/props.h"
#include "listener.h"
#include "session/session.h"
#include "suggest.h"
#include "transport/transport.h"

enum {
	LOG_LINES_PER_SECOND = 10, /* of what strangers can cause: per server, and per client */
	MAX_UNSENT = 4 << 20,
};

/* How long to wait when the process has no descriptor or memory for another client. */
static const uint64_t ACCEPT_RETRY_NS = 100000000;

struct client {
	struct server *server;
	struct transport *transport; /* NULL once the connection is over */
	struct session *session;
	struct session_link link;
	struct log log;
	int fd; /* the transport's; only looked at */
	bool hung_up;
};

struct server {
	char id[ID_MAX + 1];
	struct ob_loop *loop;
	struct ob_dev *dev;
	const struct session_limits *limits;
	struct log log;
	struct listener *listener;
	struct loop_fd watch;
	struct ob_timer accept_retry;
	struct client *client;
	void (*closed)(void *context); /* set by server_close() */
	void *context;
};

struct server_config {
	uint32_t type;
	char *path, *mode, *group, *fd;
};

#define FIELD(member) offsetof(struct server_config, member)

static const char *const socket_types[] = {"unix", NULL};

const struct ob_prop server_props[] = {
	{.name = "type",
         .type = OB_PROP_ENUM,
         .offset = FIELD(type),
         .preset = "unix",
         .choices = socket_types,
         .help = "kind of socket"},
	{.name = "path",
         .type = OB_PROP_STRING,
         .offset = FIELD(path),
         .help = "where to make the socket; short form: socket=PATH"},
	{.name = "fd",
         .type = OB_PROP_STRING,
         .offset = FIELD(fd),
         .help = "inherited descriptor of a listening socket, instead of path"},
	{.name = "socket-mode",
         .type = OB_PROP_STRING,
         .offset = FIELD(mode),
         .preset = "0600",
         .help = "permissions of the socket file, octal"},
	{.name = "socket-group",
         .type = OB_PROP_STRING,
         .offset = FIELD(group),
         .help = "group of the socket file, by name or number"},
	{0},
};

/* Accepts while there is nobody, or somebody to whom newcomers are turned away. */
static void update_watch(struct server *server)
{
	const struct client *client = server->client;
	bool leaving = client && (!client->transport || client->hung_up);
	bool accepting = !leaving && !server->accept_retry.slot;

	if (!server->closed)
		loop_fd_modify(server->loop, &server->watch, accepting ? EPOLLIN : 0);
}

static void session_ended(void *context)
{
	struct client *client = context;
	struct server *server = client->server;

	session_free(client->session);
	free(client);
	server->client = NULL;
	update_watch(server);
	if (server->closed)
		server->closed(server->context);
}

/* From here on nothing more reaches the client; the session may need some time to end. */
static void drop_client(struct client *client)
{
	transport_free(take_ptr(&client->transport));
	update_watch(client->server);
	session_end(client->session, session_ended, client);
}

static void on_message(void *context, uint8_t *message, size_t length, int *fds, unsigned fd_count)
{
	struct client *client = context;

	session_message(client->session, message, length, fds, fd_count);
}

static void on_closed(void *context, int reason)
{
	struct client *client = context;

	if (reason)
		log_warn(&client->log, "client disconnected: %s", strerror(-reason));
	else
		log_info(&client->log, "client disconnected");
	drop_client(client);
}

static const struct transport_ops transport_ops = {.message = on_message, .closed = on_closed};

/* The session's way out. The connection may be over already while the session does not know yet. */
static struct client *client_of(struct session_link *link)
{
	return container_of(link, struct client, link);
}

static uint8_t *link_reserve(struct session_link *link, size_t size)
{
	struct client *client = client_of(link);

	return client->transport ? transport_reserve(client->transport, size) : NULL;
}

static void link_commit(struct session_link *link, size_t size, const int *fds, unsigned fd_count)
{
	struct client *client = client_of(link);

	if (client->transport)
		transport_commit(client->transport, size, fds, fd_count);
}

static void link_pause(struct session_link *link, bool paused)
{
	struct client *client = client_of(link);

	if (client->transport)
		transport_pause(client->transport, paused);
}

static void link_close(struct session_link *link, int reason)
{
	struct client *client = client_of(link);

	if (client->transport)
		transport_close(client->transport, reason);
}

static const struct session_link link_ops = {
	.reserve = link_reserve,
	.commit = link_commit,
	.pause = link_pause,
	.close = link_close,
};

static struct ucred peer_of(int fd)
{
	struct ucred peer = {0};
	socklen_t length = sizeof(peer);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
	return peer;
}

/* Takes fd over. */
static int client_new(struct server *server, int fd)
{
	struct transport_limits limits = {
		.max_message = session_max_message(server->limits),
		.max_unsent = MAX_UNSENT,
	};
	struct client *client = calloc(1, sizeof(*client));

	if (!client) {
		close(fd);
		return -ENOMEM;
	}
	client->server = server;
	client->link = link_ops;
	client->fd = fd;
	log_init(&client->log, &server->log, LOG_LINES_PER_SECOND, "%s", server->id);
	client->transport = transport_new(server->loop, fd, &limits, &transport_ops, client);
	if (!client->transport)
		goto no_transport;
	client->session = session_new(server->dev, server->limits, &client->link, &client->log);
	if (!client->session)
		goto no_session;
	server->client = client;
	return 0;

no_session:
	transport_free(client->transport);
no_transport:
	free(client);
	return -ENOMEM;
}

static void greet(struct server *server, int fd)
{
	struct ucred peer = peer_of(fd);
	int rc = client_new(server, fd);

	if (rc)
		log_error(&server->log, "client refused (pid %d, uid %u, gid %u): %s", peer.pid,
		          peer.uid, peer.gid, strerror(-rc));
	else
		log_info(&server->log, "client connected (pid %d, uid %u, gid %u)", peer.pid,
		         peer.uid, peer.gid);
}

static void turn_away(struct server *server, int fd)
{
	struct ucred peer = peer_of(fd), present = peer_of(server->client->fd);

	close(fd);
	log_warn(&server->log,
	         "client refused (pid %d, uid %u, gid %u): another client is connected (pid %d)",
	         peer.pid, peer.uid, peer.gid, present.pid);
}

/*
 * A client that reconnects at once must not be turned away because its own old connection was not
 * yet read to the end.
 */
static bool has_hung_up(int fd)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLRDHUP};

	return poll(&pollfd, 1, 0) == 1 && pollfd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

static void accept_failed(struct server *server, int rc)
{
	if (rc == -EAGAIN || rc == -EINTR || rc == -ECONNABORTED)
		return;
	/* The socket stays readable: without a pause this would be a busy loop. */
	log_error(&server->log, "cannot accept a client: %s", strerror(-rc));
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

	if (client && (client->hung_up || !client->transport || has_hung_up(client->fd))) {
		client->hung_up = true;
		update_watch(server);
		return;
	}
	fd = listener_accept(server->listener);
	if (fd < 0)
		accept_failed(server, fd);
	else if (client)
		turn_away(server, fd);
	else
		greet(server, fd);
}

static int parse_mode(const char *text, mode_t *mode, struct ob_error *err)
{
	unsigned long value;
	char *end;

	value = strtoul(text, &end, 8);
	if (text[0] < '0' || text[0] > '7' || *end || value > 0777)
		return ob_error_set(err, -EINVAL,
		                    "socket-mode=%s: expected octal permissions such as 0660",
		                    text);
	*mode = (mode_t)value;
	return 0;
}

static int parse_group(const char *text, gid_t *gid, struct ob_error *err)
{
	const struct group *group;
	uint64_t number;

	if (!parse_uint("socket-group", text, 0, UINT32_MAX - 1, &number, NULL)) {
		*gid = (gid_t)number;
		return 0;
	}
	group = getgrnam(text);
	if (!group)
		return ob_error_set(err, -EINVAL, "socket-group=%s: there is no group of that name",
		                    text);
	*gid = group->gr_gid;
	return 0;
}

static int listen_as(struct server *server, const struct server_config *config,
                     struct ob_error *err)
{
	struct listener_config to = {.path = config->path, .fd = -1, .group = (gid_t)-1};
	uint64_t fd;
	int rc;

	if (!config->path == !config->fd)
		return ob_error_set(err, -EINVAL, "server %s needs path= or fd=, one of the two",
		                    server->id);
	rc = parse_mode(config->mode, &to.mode, err);
	if (!rc && config->group)
		rc = parse_group(config->group, &to.group, err);
	if (!rc && config->fd) {
		rc = parse_uint("fd", config->fd, 0, INT32_MAX, &fd, err);
		if (!rc)
			to.fd = (int)fd;
	}
	if (rc)
		return rc;
	server->listener = listener_new(&to, err);
	return server->listener ? 0 : -EINVAL;
}

static int server_start(struct server *server, struct opts *opts, struct ob_error *err)
{
	struct server_config config = {0};
	int rc = props_apply(server_props, &config, opts, NULL, err);

	if (!rc)
		rc = listen_as(server, &config, err);
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

struct server *server_new(const struct server_env *env, const char *id, struct ob_dev *dev,
                          struct opts *opts, struct ob_error *err)
{
	struct server *server = calloc(1, sizeof(*server));

	if (!server) {
		ob_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	snprintf(server->id, sizeof(server->id), "%s", id);
	server->loop = env->loop;
	server->dev = dev;
	server->limits = env->limits;
	server->accept_retry.expired = on_accept_retry;
	log_init(&server->log, env->log, LOG_LINES_PER_SECOND, "%s", id);
	if (server_start(server, opts, err)) {
		listener_free(server->listener);
		free(server);
		return NULL;
	}
	return server;
}

void server_close(struct server *server, void (*closed)(void *context), void *context)
{
	loop_fd_remove(server->loop, &server->watch);
	ob_timer_cancel(server->loop, &server->accept_retry);
	listener_free(take_ptr(&server->listener));
	server->closed = closed;
	server->context = context;
	if (!server->client)
		closed(context);
	else if (server->client->transport)
		drop_client(server->client);
}

void server_free(struct server *server)
{
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
