/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend=socket: a UNIX or TCP socket that one client at a time connects to (server=on), or that
 * connects to somebody's. Who comes while another is there waits until that has left. Addresses are
 * numbers: a name would have to be resolved, and that takes as long as it likes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "internal.h"
#include "loop/closer.h"
#include "transport/listener.h"

struct socket_props {
	char *path, *host, *port, *fd;
	bool server, wait, nodelay;
	uint32_t reconnect, reconnect_ms;
};

struct socket_runtime {
	struct ob_chardev *chardev; /* NULL: it was never opened */
	struct listener *listener;  /* UNIX, server=on */
	struct loop_fd acceptable;  /* server=on; -1: none. TCP: ours */
	bool listening, accepts;
	struct loop_fd connecting; /* -1: none is under way */
	struct ob_timer again;
	bool told; /* that it cannot connect */
};

/* Of former clients, that are being closed: with more, the next one waits. */
enum { MAX_UNCLOSED = 7 };

static const uint64_t ACCEPT_RETRY_NS = 100000000;

static const struct socket_props *props_of(const struct socket_runtime *socket)
{
	return socket->chardev->props;
}

static void set_nodelay(int fd)
{
	const int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int attach(struct socket_runtime *socket, int fd)
{
	if (!props_of(socket)->path)
		set_nodelay(fd);
	chardev_detach(socket->chardev); /* who left bytes behind has had the time to */
	return chardev_attach(socket->chardev, fd, fd);
}

/* Listening */

static void update_acceptable(struct socket_runtime *socket)
{
	const struct ob_chardev *chardev = socket->chardev;
	bool accepts = (!chardev->attached || chardev->gone) && !socket->again.slot;

	if (!socket->listening || accepts == socket->accepts)
		return;
	socket->accepts = accepts;
	loop_fd_modify(chardev->loop, &socket->acceptable, accepts ? EPOLLIN : 0);
}

static void on_acceptable(struct loop_fd *watch, uint32_t events)
{
	struct socket_runtime *socket = container_of(watch, struct socket_runtime, acceptable);
	struct ob_chardev *chardev = socket->chardev;
	int fd, rc;

	/* An inherited socket is others' too. Its watch would go on saying this for ever. */
	if (events & EPOLLHUP) {
		log_fact(&chardev->log, LOG_ERROR, "the listening socket was shut down");
		loop_fd_remove(chardev->loop, watch);
		ob_timer_cancel(chardev->loop, &socket->again);
		socket->listening = false;
		return;
	}
	if (chardev->unclosed.own >= MAX_UNCLOSED) {
		ob_timer_arm(chardev->loop, &socket->again, ACCEPT_RETRY_NS);
		update_acceptable(socket);
		return;
	}
	fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	rc = fd < 0 ? -errno : attach(socket, fd);
	if (rc && rc != -EAGAIN && rc != -EINTR && rc != -ECONNABORTED) {
		log_warn(&chardev->log, "cannot accept a client: %s", strerror(-rc));
		ob_timer_arm(chardev->loop, &socket->again, ACCEPT_RETRY_NS);
	}
	update_acceptable(socket);
}

static int watch_listener(struct socket_runtime *socket, int fd, struct ob_error *err)
{
	int rc;

	socket->acceptable = (struct loop_fd){.fd = fd, .events = EPOLLIN, .ready = on_acceptable};
	rc = loop_fd_add(socket->chardev->loop, &socket->acceptable);
	socket->listening = socket->accepts = !rc;
	if (rc)
		socket->acceptable.fd = -1; /* the caller's still */
	return rc ? ob_error_set(err, rc, "%s", strerror(-rc)) : 0;
}

static int listen_unix(struct socket_runtime *socket, const struct listener_config *config,
                       struct ob_error *err)
{
	socket->listener = listener_new(config, err);
	return socket->listener ? watch_listener(socket, listener_fd(socket->listener), err)
	                        : -EINVAL;
}

/* Addresses */

union address {
	struct sockaddr any;
	struct sockaddr_un local;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static int resolve(const struct socket_props *props, union address *address, socklen_t *length,
                   struct ob_error *err)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
	                               .ai_socktype = SOCK_STREAM};
	const char *host = props->host;
	struct addrinfo *found;
	uint64_t port;
	int rc;

	if (props->path) {
		if (strlen(props->path) >= sizeof(address->local.sun_path))
			return ob_error_set(err, -ENAMETOOLONG,
			                    "path=%.40s... is too long for a socket", props->path);
		address->local = (struct sockaddr_un){.sun_family = AF_UNIX};
		memcpy(address->local.sun_path, props->path, strlen(props->path) + 1);
		*length = sizeof(address->local);
		return 0;
	}
	if (host && !strcmp(host, "localhost"))
		host = "127.0.0.1";
	if (host && !*host)
		host = props->server ? NULL : "127.0.0.1";
	/* The C library takes any number, and uses 16 bits of it. */
	rc = parse_uint("port", props->port, 0, UINT16_MAX, &port, NULL);
	if (!rc)
		rc = getaddrinfo(host, props->port, &hints, &found);
	if (rc)
		return ob_error_set(err, -EINVAL,
		                    "host=%s,port=%s: an address and a port (0..65535) in numbers "
		                    "expected: names are not looked up",
		                    host ? host : "", props->port);
	memcpy(address, found->ai_addr, found->ai_addrlen);
	*length = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static int listen_tcp(struct socket_runtime *runtime, struct ob_error *err)
{
	const struct socket_props *props = props_of(runtime);
	const int on = 1;
	union address address = {0};
	cleanup_fd int fd = -1;
	socklen_t length = 0;
	int rc = resolve(props, &address, &length, err);

	if (rc)
		return rc;
	fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, &address.any, length) || listen(fd, 1))
		return ob_error_set(err, -errno, "cannot listen at port %s: %s", props->port,
		                    strerror(errno));
	rc = watch_listener(runtime, fd, err);
	if (!rc)
		take_fd(&fd);
	return rc;
}

/* Connecting */

static uint64_t retry_ns(const struct socket_props *props)
{
	uint64_t ms = props->reconnect_ms ? props->reconnect_ms : props->reconnect * 1000ull;

	return ms * 1000000;
}

static void connect_failed(struct socket_runtime *socket, int rc)
{
	const struct socket_props *props = props_of(socket);

	/* Once, until it has been there. */
	if (!socket->told)
		log_warn(&socket->chardev->log, "cannot connect to %s%s%s: %s",
		         props->path ? props->path : props->host, props->path ? "" : ":",
		         props->path ? "" : props->port, strerror(-rc));
	socket->told = true;
	if (retry_ns(props))
		ob_timer_arm(socket->chardev->loop, &socket->again, retry_ns(props));
}

static void on_connected(struct loop_fd *watch, uint32_t events)
{
	struct socket_runtime *socket = container_of(watch, struct socket_runtime, connecting);
	cleanup_fd int fd = take_fd(&watch->fd);
	int rc = 0;
	socklen_t length = sizeof(rc);

	(void)events;
	watch->fd = fd;
	loop_fd_remove(socket->chardev->loop, watch);
	watch->fd = -1;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &rc, &length))
		rc = errno;
	if (!rc)
		rc = -attach(socket, take_fd(&fd));
	if (rc)
		connect_failed(socket, -rc);
	else
		socket->told = false;
}

/* 0 (it is connected, or will be told), or -errno. */
static int connect_once(struct socket_runtime *runtime, struct ob_error *err)
{
	union address address = {0};
	cleanup_fd int fd = -1;
	socklen_t length = 0;
	int rc = resolve(props_of(runtime), &address, &length, err);

	if (rc)
		return rc;
	fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ob_error_set(err, -errno, "%s", strerror(errno));
	if (!connect(fd, &address.any, length)) {
		runtime->told = false;
		rc = attach(runtime, take_fd(&fd));
		return rc ? ob_error_set(err, rc, "%s", strerror(-rc)) : 0;
	}
	if (errno != EINPROGRESS)
		return ob_error_set(err, -errno, "cannot connect: %s", strerror(errno));
	runtime->connecting = (struct loop_fd){.fd = fd, .events = EPOLLOUT, .ready = on_connected};
	rc = loop_fd_add(runtime->chardev->loop, &runtime->connecting);
	if (rc) {
		runtime->connecting.fd = -1;
		return ob_error_set(err, rc, "%s", strerror(-rc));
	}
	take_fd(&fd);
	return 0;
}

static void on_again(struct ob_timer *timer)
{
	struct socket_runtime *socket = container_of(timer, struct socket_runtime, again);
	int rc;

	if (socket->listening) {
		update_acceptable(socket);
		return;
	}
	rc = connect_once(socket, NULL);
	if (rc)
		connect_failed(socket, rc);
}

/* A descriptor that was inherited: it listens, or somebody is there already. */
static int open_inherited(struct socket_runtime *socket, struct ob_error *err)
{
	const struct socket_props *props = props_of(socket);
	struct listener_config config = {.group = (gid_t)-1};
	socklen_t length = sizeof(int);
	int listens = 0, rc;
	uint64_t fd;

	rc = parse_uint("fd", props->fd, 0, INT32_MAX, &fd, err);
	if (rc)
		return rc;
	config.fd = (int)fd;
	if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length))
		return ob_error_set(err, -errno, "fd=%s: %s", props->fd, strerror(errno));
	if (listens)
		return listen_unix(socket, &config, err);
	if (!fd_is_inherited((int)fd))
		return ob_error_set(err, -EBUSY, "fd=%s: the descriptor is in use in this process",
		                    props->fd);
	rc = chardev_attach_foreign(socket->chardev, (int)fd, (int)fd);
	return rc ? ob_error_set(err, rc, "fd=%s: %s", props->fd, strerror(-rc)) : 0;
}

static int check(const struct socket_props *props, struct ob_error *err)
{
	unsigned ways = !!props->path + !!props->fd + (props->host || props->port);

	if (ways != 1)
		return ob_error_set(err, -EINVAL,
		                    "a socket needs one of path=, host= with port=, and fd=");
	if ((props->host || props->port) && (!props->port || (!props->host && !props->server)))
		return ob_error_set(err, -EINVAL, "a TCP socket needs host= and port=");
	if (props->wait)
		return ob_error_set(err, -EINVAL,
		                    "wait=on: nothing here waits for a client; write wait=off");
	if (props->server && (props->reconnect || props->reconnect_ms))
		return ob_error_set(err, -EINVAL,
		                    "reconnect-ms= is for who connects, and not for server=on");
	return 0;
}

static int socket_open(struct ob_chardev *chardev, struct ob_error *err)
{
	const struct socket_props *props = chardev->props;
	struct socket_runtime *socket = chardev->runtime;
	struct listener_config at = {.path = props->path, .mode = 0600, .group = (gid_t)-1};
	int rc = check(props, err);

	socket->chardev = chardev;
	socket->acceptable.fd = socket->connecting.fd = -1;
	socket->again.expired = on_again;
	if (rc)
		return rc;
	if (props->fd)
		return open_inherited(socket, err);
	if (props->server)
		return props->path ? listen_unix(socket, &at, err) : listen_tcp(socket, err);
	rc = connect_once(socket, err);
	if (!rc || !retry_ns(props) || rc == -EINVAL || rc == -ENAMETOOLONG)
		return rc;
	connect_failed(socket, rc);
	return 0;
}

static void socket_hung_up(struct ob_chardev *chardev)
{
	struct socket_runtime *socket = chardev->runtime;
	const struct socket_props *props = chardev->props;

	update_acceptable(socket);
	if (!socket->listening && !props->fd && !chardev->attached && retry_ns(props))
		ob_timer_arm(chardev->loop, &socket->again, retry_ns(props));
}

static void socket_close(struct ob_chardev *chardev)
{
	struct socket_runtime *socket = chardev->runtime;

	if (!socket->chardev)
		return;
	ob_timer_cancel(chardev->loop, &socket->again);
	if (socket->listening)
		loop_fd_remove(chardev->loop, &socket->acceptable);
	if (socket->connecting.fd >= 0)
		loop_fd_remove(chardev->loop, &socket->connecting);
	fd_close(&socket->connecting.fd);
	if (socket->listener)
		listener_free(socket->listener, chardev->loop);
	else if (socket->acceptable.fd >= 0)
		loop_close_elsewhere(chardev->loop, socket->acceptable.fd);
}

static void socket_describe(const struct ob_chardev *chardev, char *text, size_t size)
{
	const struct socket_props *props = chardev->props;
	const char *server = props->server ? ",server=on" : "";
	const char *gone = chardev->attached ? "" : "disconnected:";

	if (props->fd)
		snprintf(text, size, "%sfd:%s%s", gone, props->fd, server);
	else if (props->path)
		snprintf(text, size, "%sunix:%s%s", gone, props->path, server);
	else
		snprintf(text, size, "%stcp:%s:%s%s", gone, props->host ? props->host : "",
		         props->port, server);
}

static const struct ob_prop socket_table[] = {
	{"path", OB_PROP_STRING, offsetof(struct socket_props, path),
         .help = "path of a UNIX socket"},
	{"host", OB_PROP_STRING, offsetof(struct socket_props, host),
         .help = "address of a TCP socket, in numbers"},
	{"port", OB_PROP_STRING, offsetof(struct socket_props, port), .help = "its port"},
	{"fd", OB_PROP_STRING, offsetof(struct socket_props, fd),
         .help = "an inherited UNIX socket that listens, or any that is connected"},
	{"server", OB_PROP_BOOL, offsetof(struct socket_props, server), .preset = "off",
         .help = "listen, and serve one client at a time; off: connect"},
	{"wait", OB_PROP_BOOL, offsetof(struct socket_props, wait), .preset = "off",
         .help = "off: nothing waits for the first client"},
	{"nodelay", OB_PROP_BOOL, offsetof(struct socket_props, nodelay), .preset = "on",
         .help = "without effect: TCP sends at once"},
	{"reconnect-ms", OB_PROP_UINT32, offsetof(struct socket_props, reconnect_ms),
         .max = 3600000,
         .help = "without server=on: connect again after so many milliseconds; 0: never"},
	{"reconnect", OB_PROP_UINT32, offsetof(struct socket_props, reconnect), .max = 3600,
         .help = "the same in seconds"},
	{.name = NULL},
};

const struct chardev_driver chardev_socket = {
	.name = "socket",
	.summary = "a UNIX or TCP socket",
	.props_size = sizeof(struct socket_props),
	.runtime_size = sizeof(struct socket_runtime),
	.props = socket_table,
	.open = socket_open,
	.close = socket_close,
	.hung_up = socket_hung_up,
	.describe = socket_describe,
};
