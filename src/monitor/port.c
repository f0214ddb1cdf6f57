/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where monitors' clients come from: listening sockets, connected ones, standard input and output;
 * see monitor.h for their options. It knows who may come and who is there, and nothing of what is
 * said (monitor.c).
 */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"
#include "loop/closer.h"

enum { LOG_LINES = 10, SHOWN_CLIENTS = 4 };

/* How long to wait when the process has no descriptor or memory for another client. */
static const uint64_t ACCEPT_RETRY_NS = 100000000;

/* Accepting */

static void update_watch(struct port *port)
{
	loop_fd_modify(port->set->env.loop, &port->acceptable,
	               port->accept_retry.slot ? 0 : EPOLLIN);
}

static void on_accept_retry(struct ob_timer *timer)
{
	update_watch(container_of(timer, struct port, accept_retry));
}

static unsigned count_clients(const struct port *port)
{
	unsigned count = 0;

	for (const struct list *at = port->clients.next; at != &port->clients; at = at->next)
		count++;
	return count;
}

/* Who has the places: some of them by name. */
static void describe_clients(struct port *port, unsigned count, char *text, size_t size)
{
	struct monitor *monitor;
	unsigned shown = 0;
	size_t used = 0;

	list_for_each (monitor, &port->clients, struct monitor, link) {
		if (shown == SHOWN_CLIENTS || used >= size)
			break;
		used += (size_t)snprintf(text + used, size - used, "%s%s", shown ? ", " : "",
		                         monitor->who);
		shown++;
	}
	if (shown < count && used < size)
		snprintf(text + used, size - used, ", and %u more", count - shown);
}

/* In place of the greeting it hears why. It has not been read from, so that what is sent is sent
 * at once or not at all. */
static void turn_away(struct port *port, int fd, unsigned count)
{
	char who[MONITOR_WHO], clients[256], why[400];
	cleanup_text struct text text = {0};
	struct json_object *reply;

	monitor_describe_peer(fd, who, sizeof(who));
	describe_clients(port, count, clients, sizeof(clients));
	snprintf(why, sizeof(why), "the monitor %s has %u clients, which is the most: %s", port->id,
	         count, clients);
	reply = qmp_error_reply(NULL, why);
	text_add_json(&text, reply, false);
	text_add(&text, "\r\n", 2);
	json_object_put(reply);
	if (!text.failed)
		(void)send(fd, text.bytes, text.length, MSG_DONTWAIT | MSG_NOSIGNAL);
	log_warn(&port->set->log, "%s: client refused, %s: %s", port->id, who, why);
	loop_close_socket_elsewhere(port->set->env.loop, fd);
}

static void accept_failed(struct port *port, int rc)
{
	log_error(&port->set->log, "%s: cannot accept a client: %s", port->id, strerror(-rc));
	ob_timer_arm(port->set->env.loop, &port->accept_retry, ACCEPT_RETRY_NS);
	update_watch(port);
}

static void on_acceptable(struct loop_fd *watch, uint32_t events)
{
	struct port *port = container_of(watch, struct port, acceptable);
	unsigned count = count_clients(port);
	int fd, rc;

	/* An inherited socket is others' too. Its watch would go on saying this for ever. */
	if (events & EPOLLHUP) {
		log_fact(&port->set->log, LOG_ERROR, "%s: the listening socket was shut down",
		         port->id);
		loop_fd_remove(port->set->env.loop, watch);
		return;
	}
	fd = listener_accept(port->listener);
	if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED)
		return;
	if (fd < 0) {
		accept_failed(port, fd);
	} else if (count >= MAX_CLIENTS) {
		turn_away(port, fd, count);
	} else {
		rc = monitor_begin(port, fd, fd, true);
		if (rc) {
			loop_close_socket_elsewhere(port->set->env.loop, fd);
			accept_failed(port, rc);
		}
	}
}

/* Adding one */

/* What may be said of one; see monitors_add(). */
struct config {
	char *id, *path, *backend, *server, *wait, *nowait, *mode, *pretty, *fd;
};

static void config_free(struct config *config)
{
	free(config->id);
	free(config->path);
	free(config->backend);
	free(config->server);
	free(config->wait);
	free(config->nowait);
	free(config->mode);
	free(config->pretty);
	free(config->fd);
}

static int config_take(struct config *config, struct opts *opts, struct ob_error *err)
{
	config->id = opts_take(opts, "id");
	config->path = opts_take(opts, "path");
	config->backend = opts_take(opts, "backend");
	config->server = opts_take(opts, "server");
	config->wait = opts_take(opts, "wait");
	config->nowait = opts_take(opts, "nowait");
	config->mode = opts_take(opts, "mode");
	config->pretty = opts_take(opts, "pretty");
	config->fd = opts_take(opts, "fd");
	return opts_refuse_rest(opts, "a monitor", err);
}

/* An option that is on or off; preset if it was not given. */
static int get_switch(const char *key, const char *value, bool preset, bool *out,
                      struct ob_error *err)
{
	*out = preset;
	return value ? parse_bool(key, value, out, err) : 0;
}

/* Whether nobody is to be waited for. -EINVAL with a message if somebody is. */
static int check_wait(const struct config *config, bool *off, struct ob_error *err)
{
	bool wait = true, nowait = false;
	int rc = get_switch("wait", config->wait, true, &wait, err);

	if (!rc)
		rc = get_switch("nowait", config->nowait, false, &nowait, err);
	*off = !wait || nowait;
	if (!rc && config->wait && wait)
		rc = ob_error_set(
			err, -EINVAL,
			"wait=on: a monitor does not wait for its client; write wait=off");
	return rc;
}

static int listen_at(struct port *port, const struct listener_config *config, struct ob_error *err)
{
	int rc;

	port->listener = listener_new(config, err);
	if (!port->listener)
		return -EINVAL;
	port->acceptable = (struct loop_fd){
		.fd = listener_fd(port->listener),
		.events = EPOLLIN,
		.ready = on_acceptable,
	};
	rc = loop_fd_add(port->set->env.loop, &port->acceptable);
	if (rc) {
		listener_free(take_ptr(&port->listener), NULL);
		return ob_error_set(err, rc, "%s", strerror(-rc));
	}
	return 0;
}

static int start_at_path(struct port *port, const struct config *config, struct ob_error *err)
{
	struct listener_config at = {.path = config->path, .mode = 0600, .group = (gid_t)-1};
	bool server, wait_off;
	int rc = get_switch("server", config->server, false, &server, err);

	if (!rc)
		rc = check_wait(config, &wait_off, err);
	if (rc)
		return rc;
	/* QEMU's defaults are to connect, and to wait for a client before anything else is done. */
	if (!server || !wait_off)
		return ob_error_set(err, -EINVAL,
		                    "path=%s: a monitor only listens, and waits for "
		                    "nobody: add server=on,wait=off",
		                    config->path);
	return listen_at(port, &at, err);
}

static int start_at_fd(struct port *port, const struct config *config, struct ob_error *err)
{
	struct listener_config at = {.group = (gid_t)-1};
	int listens, rc, domain = 0;
	socklen_t length = sizeof(listens);
	bool server, wait_off;
	uint64_t fd;

	rc = parse_uint("fd", config->fd, 0, INT32_MAX, &fd, err);
	if (!rc)
		rc = check_wait(config, &wait_off, err);
	if (rc)
		return rc;
	if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) || domain != AF_UNIX ||
	    getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length))
		return ob_error_set(err, -EINVAL, "fd=%s: not a UNIX socket", config->fd);
	rc = get_switch("server", config->server, listens, &server, err);
	if (rc)
		return rc;
	if (server != !!listens)
		return ob_error_set(err, -EINVAL, "fd=%s: the socket %s: write server=%s",
		                    config->fd, listens ? "listens" : "does not listen",
		                    listens ? "on" : "off");
	at.fd = (int)fd;
	if (listens)
		return listen_at(port, &at, err);
	if (!fd_is_inherited(at.fd))
		return ob_error_set(err, -EBUSY, "fd=%s: in use in this process", config->fd);
	rc = monitor_begin(port, at.fd, at.fd, true);
	if (!rc)
		(void)fcntl(at.fd, F_SETFD, FD_CLOEXEC);
	return rc ? ob_error_set(err, rc, "fd=%s: %s", config->fd, strerror(-rc)) : 0;
}

static int start_on_stdio(struct port *port, const struct config *config, struct ob_error *err)
{
	int rc;

	if (config->path || config->fd || config->server || config->wait || config->nowait)
		return ob_error_set(err, -EINVAL,
		                    "a monitor on stdio has neither path, fd, server "
		                    "nor wait");
	rc = monitor_begin(port, STDIN_FILENO, STDOUT_FILENO, false);
	return rc ? ob_error_set(err, rc, "stdio: %s", strerror(-rc)) : 0;
}

static int start(struct port *port, const struct config *config, struct ob_error *err)
{
	const char *backend = config->backend ? config->backend : "socket";
	int rc = get_switch("pretty", config->pretty, false, &port->pretty, err);

	if (rc)
		return rc;
	if (config->mode && strcmp(config->mode, "control") != 0)
		return ob_error_set(err, -EINVAL,
		                    "mode=%s: a monitor speaks QMP: write mode=control, and use "
		                    "the command human-monitor-command",
		                    config->mode);
	if (!strcmp(backend, "stdio"))
		return start_on_stdio(port, config, err);
	if (strcmp(backend, "socket") != 0)
		return ob_error_set(err, -EINVAL, "backend=%s: expected socket or stdio", backend);
	if (!config->path == !config->fd)
		return ob_error_set(err, -EINVAL, "a monitor on a socket needs path= or fd=");
	return config->path ? start_at_path(port, config, err) : start_at_fd(port, config, err);
}

static struct port *port_new(struct monitors *monitors, const struct config *config)
{
	struct port *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	port->set = monitors;
	port->accept_retry.expired = on_accept_retry;
	list_init(&port->clients);
	snprintf(port->id, sizeof(port->id), "%s",
	         config->id     ? config->id
	         : config->path ? config->path
	         : config->fd   ? config->fd
	                        : "stdio");
	return port;
}

static void port_free(struct port *port)
{
	struct ob_loop *loop = port->set->env.loop;
	struct monitor *monitor;

	list_for_each (monitor, &port->clients, struct monitor, link)
		monitor_end(monitor);
	if (port->listener) {
		loop_fd_remove(loop, &port->acceptable);
		listener_free(port->listener, NULL);
	}
	ob_timer_cancel(loop, &port->accept_retry);
	free(port);
}

int monitors_add(struct monitors *monitors, struct opts *opts, struct ob_error *err)
{
	__attribute__((cleanup(config_free))) struct config config = {0};
	struct port *port;
	int rc = config_take(&config, opts, err);

	if (rc)
		return rc;
	port = port_new(monitors, &config);
	if (!port)
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = start(port, &config, err);
	if (rc) {
		free(port);
		return rc;
	}
	list_append(&monitors->ports, &port->link);
	return 0;
}

unsigned monitors_count(const struct monitors *monitors)
{
	unsigned count = 0;

	for (const struct list *at = monitors->ports.next; at != &monitors->ports; at = at->next)
		count++;
	return count;
}

struct monitors *monitors_new(const struct monitors_env *env)
{
	struct monitors *monitors = calloc(1, sizeof(*monitors));

	if (!monitors)
		return NULL;
	monitors->env = *env;
	log_init(&monitors->log, env->log, LOG_LINES, "monitor");
	log_init(&monitors->deeds, env->log, 0, "monitor");
	list_init(&monitors->ports);
	events_listen(monitors);
	return monitors;
}

void monitors_free(struct monitors *monitors)
{
	struct port *port;

	if (!monitors)
		return;
	machine_unlisten(&monitors->listener);
	events_end(monitors);
	moves_unlisten(&monitors->moves_listener);
	list_for_each (port, &monitors->ports, struct port, link) {
		list_remove(&port->link);
		port_free(port);
	}
	log_end(&monitors->log);
	log_end(&monitors->deeds);
	free(monitors);
}
