/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Monitors: who connects, what is read and when, and what is sent. See monitor.h.
 *
 * A monitor has one client at a time. While it is there, nobody else is accepted: who connects
 * waits in the socket's queue. Commands are carried out one after the other; the next one is read
 * when the reply to the last one is on its way and not too much of it is unsent.
 */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { LOG_LINES = 10 };

/* How long to wait when the process has no descriptor or memory for another client. */
static const uint64_t ACCEPT_RETRY_NS = 100000000;

static void update_pause(struct monitor *monitor)
{
	channel_pause(monitor->channel,
	              monitor->busy || channel_unsent(monitor->channel) > MAX_UNSENT);
}

void monitor_send(struct monitor *monitor, struct json_object *value)
{
	cleanup_text struct text text = {0};

	text_add_json(&text, value, monitor->pretty);
	text_add(&text, "\r\n", 2);
	if (!text.failed)
		channel_put(monitor->channel, text.bytes, text.length);
	update_pause(monitor);
}

static void send_and_put(struct monitor *monitor, struct json_object *value)
{
	monitor_send(monitor, value);
	json_object_put(value);
}

void monitor_finish(struct monitor *monitor)
{
	send_and_put(monitor, qmp_finish(monitor));
}

static void on_value(struct monitor *monitor)
{
	struct framer *framer = &monitor->framer;
	struct json_object *request, *reply;

	if (framer->text[0] != '{') {
		send_and_put(monitor, qmp_error_reply(NULL, "QMP input must be a JSON object"));
		return;
	}
	request = framer_parse(framer);
	if (!request) {
		send_and_put(monitor, qmp_error_reply(NULL, framer->error));
		return;
	}
	reply = qmp_dispatch(monitor, request);
	json_object_put(request);
	if (reply)
		send_and_put(monitor, reply);
	else
		update_pause(monitor);
}

static size_t on_input(void *context, const char *bytes, size_t length)
{
	struct monitor *monitor = context;
	size_t used;

	switch (framer_feed(&monitor->framer, bytes, length, &used)) {
	case FRAMER_VALUE:
		on_value(monitor);
		break;
	case FRAMER_ERROR:
		send_and_put(monitor, qmp_error_reply(NULL, monitor->framer.error));
		break;
	case FRAMER_MORE:
		break;
	}
	return used;
}

static void on_drained(void *context)
{
	struct monitor *monitor = context;

	if (monitor->events_dropped)
		log_warn(&monitor->set->log,
		         "%s: %" PRIu64 " events dropped: the client did not read", monitor->id,
		         monitor->events_dropped);
	monitor->events_dropped = 0;
	update_pause(monitor);
}

static void drop_client(struct monitor *monitor)
{
	if (!monitor->channel)
		return;
	machine_cancel_wait(&monitor->waiter);
	json_object_put(take_ptr(&monitor->busy_id));
	monitor->busy = false;
	framer_free(&monitor->framer);
	channel_free(take_ptr(&monitor->channel));
}

/* Accepts while there is nobody. */
static void update_watch(struct monitor *monitor)
{
	bool accepting = !monitor->channel && !monitor->accept_retry.slot;

	if (monitor->listener)
		loop_fd_modify(monitor->set->env.loop, &monitor->acceptable,
		               accepting ? EPOLLIN : 0);
}

static void on_closed(void *context)
{
	struct monitor *monitor = context;

	drop_client(monitor);
	update_watch(monitor);
}

static const struct channel_ops channel_ops = {
	.input = on_input,
	.drained = on_drained,
	.closed = on_closed,
};

static int begin_client(struct monitor *monitor, int in, int out, bool owned)
{
	monitor->channel =
		channel_new(monitor->set->env.loop, in, out, owned, &channel_ops, monitor);
	if (!monitor->channel)
		return -errno;
	framer_init(&monitor->framer);
	monitor->negotiated = false;
	monitor->events_unsent = 0;
	monitor->events_dropped = 0;
	send_and_put(monitor, qmp_greeting());
	return 0;
}

static void on_accept_retry(struct ob_timer *timer)
{
	update_watch(container_of(timer, struct monitor, accept_retry));
}

static void on_acceptable(struct loop_fd *watch, uint32_t events)
{
	struct monitor *monitor = container_of(watch, struct monitor, acceptable);
	struct monitors *set = monitor->set;
	int fd, rc;

	/* An inherited socket is others' too. Its watch would go on saying this for ever. */
	if (events & EPOLLHUP) {
		log_error(&set->log, "%s: the listening socket was shut down", monitor->id);
		loop_fd_remove(set->env.loop, watch);
		return;
	}
	fd = listener_accept(monitor->listener);
	if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED)
		return;
	rc = fd < 0 ? fd : begin_client(monitor, fd, fd, true);
	if (rc) {
		log_error(&set->log, "%s: cannot accept a client: %s", monitor->id, strerror(-rc));
		if (fd >= 0)
			close(fd);
		ob_timer_arm(set->env.loop, &monitor->accept_retry, ACCEPT_RETRY_NS);
	}
	update_watch(monitor);
}

/* What counts is what events have added: a long reply alone costs its client none. */
static void send_event(struct monitor *monitor, struct json_object *event)
{
	size_t before = channel_unsent(monitor->channel);

	if (monitor->events_unsent > before)
		monitor->events_unsent = before;
	if (monitor->events_unsent > MAX_UNSENT_EVENTS) {
		monitor->events_dropped++;
		return;
	}
	monitor_send(monitor, event);
	monitor->events_unsent += channel_unsent(monitor->channel) - before;
}

void monitors_event(struct monitors *monitors, const char *name, struct json_object *data)
{
	struct json_object *event = json_object_new_object();
	struct json_object *timestamp = json_object_new_object();
	struct monitor *monitor;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	put_int(timestamp, "seconds", (uint64_t)now.tv_sec);
	put_int(timestamp, "microseconds", (uint64_t)now.tv_nsec / 1000);
	json_object_object_add(event, "timestamp", timestamp);
	put_str(event, "event", name);
	if (data)
		json_object_object_add(event, "data", data);
	list_for_each (monitor, &monitors->list, struct monitor, link) {
		if (monitor->channel && monitor->negotiated)
			send_event(monitor, event);
	}
	json_object_put(event);
}

/* Adding a monitor. */

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

static int listen_at(struct monitor *monitor, const struct listener_config *config,
                     struct ob_error *err)
{
	int rc;

	monitor->listener = listener_new(config, err);
	if (!monitor->listener)
		return -EINVAL;
	monitor->acceptable = (struct loop_fd){
		.fd = listener_fd(monitor->listener),
		.events = EPOLLIN,
		.ready = on_acceptable,
	};
	rc = loop_fd_add(monitor->set->env.loop, &monitor->acceptable);
	if (rc) {
		listener_free(take_ptr(&monitor->listener));
		return ob_error_set(err, rc, "%s", strerror(-rc));
	}
	return 0;
}

static int start_at_path(struct monitor *monitor, const struct config *config, struct ob_error *err)
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
	return listen_at(monitor, &at, err);
}

static int start_at_fd(struct monitor *monitor, const struct config *config, struct ob_error *err)
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
		return listen_at(monitor, &at, err);
	if (!fd_is_inherited(at.fd))
		return ob_error_set(err, -EBUSY, "fd=%s: in use in this process", config->fd);
	rc = begin_client(monitor, at.fd, at.fd, true);
	if (!rc)
		(void)fcntl(at.fd, F_SETFD, FD_CLOEXEC);
	return rc ? ob_error_set(err, rc, "fd=%s: %s", config->fd, strerror(-rc)) : 0;
}

static int start_on_stdio(struct monitor *monitor, const struct config *config,
                          struct ob_error *err)
{
	int rc;

	if (config->path || config->fd || config->server || config->wait || config->nowait)
		return ob_error_set(err, -EINVAL,
		                    "a monitor on stdio has neither path, fd, server "
		                    "nor wait");
	rc = begin_client(monitor, STDIN_FILENO, STDOUT_FILENO, false);
	return rc ? ob_error_set(err, rc, "stdio: %s", strerror(-rc)) : 0;
}

static int start(struct monitor *monitor, const struct config *config, struct ob_error *err)
{
	const char *backend = config->backend ? config->backend : "socket";
	int rc = get_switch("pretty", config->pretty, false, &monitor->pretty, err);

	if (rc)
		return rc;
	if (config->mode && strcmp(config->mode, "control") != 0)
		return ob_error_set(err, -EINVAL,
		                    "mode=%s: a monitor speaks QMP: write mode=control, and use "
		                    "the command human-monitor-command",
		                    config->mode);
	if (!strcmp(backend, "stdio"))
		return start_on_stdio(monitor, config, err);
	if (strcmp(backend, "socket") != 0)
		return ob_error_set(err, -EINVAL, "backend=%s: expected socket or stdio", backend);
	if (!config->path == !config->fd)
		return ob_error_set(err, -EINVAL, "a monitor on a socket needs path= or fd=");
	return config->path ? start_at_path(monitor, config, err)
	                    : start_at_fd(monitor, config, err);
}

static void monitor_waited(struct machine_waiter *waiter)
{
	monitor_finish(container_of(waiter, struct monitor, waiter));
}

static struct monitor *monitor_new(struct monitors *monitors, const struct config *config)
{
	struct monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor)
		return NULL;
	monitor->set = monitors;
	monitor->accept_retry.expired = on_accept_retry;
	monitor->waiter.done = monitor_waited;
	list_init(&monitor->waiter.link);
	snprintf(monitor->id, sizeof(monitor->id), "%s",
	         config->id     ? config->id
	         : config->path ? config->path
	         : config->fd   ? config->fd
	                        : "stdio");
	return monitor;
}

static void monitor_free(struct monitor *monitor)
{
	struct ob_loop *loop = monitor->set->env.loop;

	drop_client(monitor);
	if (monitor->listener) {
		loop_fd_remove(loop, &monitor->acceptable);
		listener_free(monitor->listener);
	}
	ob_timer_cancel(loop, &monitor->accept_retry);
	free(monitor);
}

int monitors_add(struct monitors *monitors, struct opts *opts, struct ob_error *err)
{
	__attribute__((cleanup(config_free))) struct config config = {0};
	struct monitor *monitor;
	int rc = config_take(&config, opts, err);

	if (rc)
		return rc;
	monitor = monitor_new(monitors, &config);
	if (!monitor)
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = start(monitor, &config, err);
	if (rc) {
		free(monitor);
		return rc;
	}
	list_append(&monitors->list, &monitor->link);
	return 0;
}

unsigned monitors_count(const struct monitors *monitors)
{
	unsigned count = 0;

	for (const struct list *at = monitors->list.next; at != &monitors->list; at = at->next)
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
	list_init(&monitors->list);
	events_listen(monitors);
	return monitors;
}

void monitors_free(struct monitors *monitors)
{
	struct monitor *monitor;

	if (!monitors)
		return;
	machine_unlisten(&monitors->listener);
	moves_unlisten(&monitors->moves_listener);
	list_for_each (monitor, &monitors->list, struct monitor, link) {
		list_remove(&monitor->link);
		monitor_free(monitor);
	}
	free(monitors);
}
