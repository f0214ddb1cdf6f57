/* SPDX-License-Identifier: BSD-3-Clause */
/* A connected client; see client.h. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "transport/transport.h"

enum { TURN_NS = 50 * 1000 }; /* of the loop's time, for each client's messages */

/* One of the client's sockets. */
struct client_socket {
	struct session_link link;
	struct client *client;
	struct transport *transport; /* NULL: there is none, or it is over */
};

struct client {
	const struct client_config *config;
	struct client_socket main, twin;
	struct session *session;
	struct ucred peer;
	uint64_t since;
	bool spoke; /* a message has come */
	int fd;     /* the main transport's; only looked at */
};

static void session_ended(void *context)
{
	struct client *client = context;
	const struct client_config *config = client->config;

	session_free(client->session);
	free(client);
	config->ended(config->context);
}

/* From here on nothing more reaches the client; the session may need some time to end. */
static void leave(struct client *client, int reason)
{
	const struct client_config *config = client->config;

	if (!client->main.transport)
		return;
	transport_free(take_ptr(&client->main.transport));
	if (client->twin.transport)
		transport_free(take_ptr(&client->twin.transport));
	config->left(config->context, reason);
	session_end(client->session, session_ended, client);
}

void client_drop(struct client *client)
{
	leave(client, 0);
}

static void on_message(void *context, uint8_t *message, size_t length, int *fds, unsigned fd_count)
{
	struct client *client = context;

	client->spoke = true;
	if (transport_lost_fds(client->main.transport))
		session_lost_fds(client->session);
	session_message(client->session, message, length, fds, fd_count);
}

/*
 * Whether the client speaks QMP, and took this socket for a monitor's. It is told so in its own
 * language: nothing else was said yet, and the connection is over.
 */
static bool answer_qmp(const struct client *client)
{
	static const char answer[] =
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"this is a vfio-user socket, "
		"which serves a device: a monitor's socket is the one of -qmp\"}}\r\n";
	size_t length;
	const uint8_t *bytes = transport_unread(client->main.transport, &length);

	if (client->spoke || !length || bytes[0] != '{')
		return false;
	(void)send(client->fd, answer, sizeof(answer) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	return true;
}

static void on_closed(void *context, int reason)
{
	struct client *client = context;

	if (reason && answer_qmp(client))
		log_fact(client->config->log, LOG_WARN,
		         "client disconnected: it speaks QMP: this is a vfio-user socket, and no "
		         "monitor's");
	else if (reason == -EDQUOT)
		log_warn(client->config->log,
		         "client disconnected: it sent more descriptors than its share of those "
		         "that the process has, or such as take long to close");
	else if (reason)
		log_fact(client->config->log, LOG_WARN, "client disconnected: %s",
		         strerror(-reason));
	else
		log_fact(client->config->log, LOG_INFO, "client disconnected");
	leave(client, reason);
}

static const struct transport_ops main_ops = {.message = on_message, .closed = on_closed};

static void on_twin_message(void *context, uint8_t *message, size_t length, int *fds,
                            unsigned fd_count)
{
	struct client *client = context;

	session_twin_message(client->session, message, length);
}

/* Without it nothing that the device asks for can be answered any more. */
static void on_twin_closed(void *context, int reason)
{
	struct client *client = context;

	bool hung_up = client_has_hung_up(client);

	/* A client that exits closes both; then the main one says how it ended. */
	if (!hung_up)
		log_fact(client->config->log, LOG_WARN, "the twin socket is closed: %s",
		         reason ? strerror(-reason) : "the client hung up");
	transport_send_after(client->main.transport, NULL);
	transport_free(take_ptr(&client->twin.transport));
	transport_close(client->main.transport, reason || hung_up ? reason : -EPIPE);
}

static const struct transport_ops twin_ops = {
	.message = on_twin_message,
	.closed = on_twin_closed,
};

/* The session's ways out. A connection may be over already while the session does not know yet. */

static uint8_t *link_reserve(struct session_link *link, size_t size)
{
	struct client_socket *socket = container_of(link, struct client_socket, link);

	return socket->transport ? transport_reserve(socket->transport, size) : NULL;
}

static void link_commit(struct session_link *link, size_t size, const int *fds, unsigned fd_count)
{
	struct client_socket *socket = container_of(link, struct client_socket, link);

	if (socket->transport)
		transport_commit(socket->transport, size, fds, fd_count);
}

static void link_pause(struct session_link *link, bool paused)
{
	struct client_socket *socket = container_of(link, struct client_socket, link);

	if (socket->transport)
		transport_pause(socket->transport, paused);
}

static void link_close(struct session_link *link, int reason)
{
	struct client_socket *socket = container_of(link, struct client_socket, link);

	if (socket->transport)
		transport_close(socket->transport, reason);
}

static struct transport *start_transport(struct client *client, int fd,
                                         const struct transport_ops *ops)
{
	const struct client_config *config = client->config;
	struct transport_limits limits = {
		.max_message = session_max_message(&config->limits),
		.max_unsent = config->max_unsent,
		.turn_ns = TURN_NS,
		.poll_ns = config->poll_ns,
		.poll_always = config->poll_always,
		.closer = config->closer,
		.fds = config->limits.fds,
	};

	return transport_new(config->loop, fd, &limits, ops, client);
}

static int make_twin(struct session_link *link, struct session_link **twin)
{
	struct client *client = container_of(link, struct client_socket, link)->client;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	client->twin.transport = start_transport(client, ends[0], &twin_ops);
	if (!client->twin.transport) {
		close(ends[1]);
		return -ENOMEM;
	}
	/* What the device wrote is on its way before anybody hears that it has stopped. */
	transport_send_after(client->main.transport, client->twin.transport);
	*twin = &client->twin.link;
	return ends[1];
}

static const struct session_link link_ops = {
	.reserve = link_reserve,
	.commit = link_commit,
	.pause = link_pause,
	.close = link_close,
	.make_twin = make_twin,
};

/*
 * When a process was started, so that its number is not taken for that of an earlier one; 0: not
 * known. Its name, in parentheses, may have any characters (proc_pid_stat(5)).
 */
static uint64_t process_start(pid_t pid)
{
	enum { NAME = 2, START_TIME = 22 }; /* fields */
	char path[64], text[1024];
	cleanup_fd int fd = -1;
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strrchr(text, ')');
	for (unsigned field = NAME; at && field < START_TIME; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

struct client *client_new(const struct client_config *config, int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	struct session_limits limits = config->limits;
	socklen_t length = sizeof(client->peer);
	struct timespec now;

	if (!client) {
		close(fd);
		return NULL;
	}
	client->config = config;
	client->main = (struct client_socket){.link = link_ops, .client = client};
	client->twin = (struct client_socket){.link = link_ops, .client = client};
	client->fd = fd;
	clock_gettime(CLOCK_REALTIME, &now);
	client->since = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &client->peer, &length);
	client->main.transport = start_transport(client, fd, &main_ops);
	if (!client->main.transport)
		goto no_transport;
	limits.client = (struct device_owner){.pid = client->peer.pid,
	                                      .started = process_start(client->peer.pid)};
	client->session =
		session_new(config->dev, &limits, &client->main.link, client->config->log);
	if (!client->session)
		goto no_session;
	return client;

no_session:
	transport_free(client->main.transport);
no_transport:
	free(client);
	return NULL;
}

bool client_has_left(const struct client *client)
{
	return !client->main.transport;
}

bool client_has_hung_up(const struct client *client)
{
	struct pollfd pollfd = {.fd = client->fd, .events = POLLRDHUP};

	return poll(&pollfd, 1, 0) == 1 && pollfd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

bool client_has_spoken(const struct client *client)
{
	return client->spoke;
}

const struct ucred *client_peer(const struct client *client)
{
	return &client->peer;
}

uint64_t client_since(const struct client *client)
{
	return client->since;
}

const struct session *client_session(const struct client *client)
{
	return client->session;
}
