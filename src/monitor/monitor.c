/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is said with a monitor's client: what is read and when, and what is sent. See monitor.h;
 * where clients come from is in port.c.
 *
 * Each client has a state of its own. Its commands are carried out one after the other; the next
 * one is read when the reply to the last one is on its way and not too much of it is unsent.
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
#include "wire/protocol.h"

static void update_pause(struct monitor *monitor)
{
	channel_pause(monitor->channel,
	              monitor->busy || channel_unsent(monitor->channel) > MAX_UNSENT);
}

void monitor_send(struct monitor *monitor, struct json_object *value)
{
	cleanup_text struct text text = {0};

	text_add_json(&text, value, monitor->port->pretty);
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

/* What a client of a device says first: a message of type VERSION (docs/protocol.md). */
static bool is_vfio_user(const char *bytes, size_t length)
{
	return length >= sizeof(struct wire_header) && bytes[2] == WIRE_VERSION && !bytes[3];
}

static size_t on_input(void *context, const char *bytes, size_t length)
{
	struct monitor *monitor = context;
	size_t used;

	if (!monitor->spoke && is_vfio_user(bytes, length))
		log_warn(&monitor->set->log,
		         "%s: %s speaks vfio-user: this is a monitor, and no device's socket",
		         monitor->port->id, monitor->who);
	monitor->spoke = true;
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
		         "%s: %s: %" PRIu64 " events dropped: the client did not read",
		         monitor->port->id, monitor->who, monitor->events_dropped);
	monitor->events_dropped = 0;
	update_pause(monitor);
}

void monitor_end(struct monitor *monitor)
{
	machine_cancel_wait(&monitor->waiter);
	json_object_put(monitor->busy_id);
	framer_free(&monitor->framer);
	channel_free(monitor->channel);
	list_remove(&monitor->link);
	free(monitor);
}

static void on_closed(void *context)
{
	struct monitor *monitor = context;

	log_debug(&monitor->set->log, "%s: client gone, %s", monitor->port->id, monitor->who);
	monitor_end(monitor);
}

static const struct channel_ops channel_ops = {
	.input = on_input,
	.drained = on_drained,
	.closed = on_closed,
};

void monitor_describe_peer(int fd, char *who, size_t size)
{
	struct ucred peer = {0};
	socklen_t length = sizeof(peer);
	char path[64], name[32] = "?";
	cleanup_fd int comm = -1;
	ssize_t n;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) || peer.pid <= 0) {
		snprintf(who, size, "a client");
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)peer.pid);
	comm = open(path, O_RDONLY | O_CLOEXEC);
	n = comm >= 0 ? read(comm, name, sizeof(name) - 1) : 0;
	if (n > 0)
		name[n] = '\0';
	name[strcspn(name, "\n")] = '\0';
	snprintf(who, size, "%s (pid %d, uid %u)", name, (int)peer.pid, (unsigned)peer.uid);
}

static void monitor_waited(struct machine_waiter *waiter)
{
	monitor_finish(container_of(waiter, struct monitor, waiter));
}

int monitor_begin(struct port *port, int in, int out, bool owned)
{
	struct monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor)
		return -ENOMEM;
	monitor->channel = channel_new(port->set->env.loop, in, out, owned, &channel_ops, monitor);
	if (!monitor->channel) {
		free(monitor);
		return -errno;
	}
	monitor->port = port;
	monitor->set = port->set;
	monitor->waiter.done = monitor_waited;
	list_init(&monitor->waiter.link);
	framer_init(&monitor->framer);
	list_append(&port->clients, &monitor->link);
	monitor_describe_peer(in, monitor->who, sizeof(monitor->who));
	log_debug(&monitor->set->log, "%s: client connected, %s", port->id, monitor->who);
	send_and_put(monitor, qmp_greeting());
	return 0;
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

static void send_to_all(struct port *port, struct json_object *event)
{
	struct monitor *monitor;

	list_for_each (monitor, &port->clients, struct monitor, link) {
		if (monitor->negotiated)
			send_event(monitor, event);
	}
}

struct json_object *monitors_make_event(const char *name, struct json_object *data)
{
	struct json_object *event = json_object_new_object();
	struct json_object *timestamp = json_object_new_object();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	put_int(timestamp, "seconds", (uint64_t)now.tv_sec);
	put_int(timestamp, "microseconds", (uint64_t)now.tv_nsec / 1000);
	json_object_object_add(event, "timestamp", timestamp);
	put_str(event, "event", name);
	if (data)
		json_object_object_add(event, "data", data);
	return event;
}

void monitors_send_event(struct monitors *monitors, struct json_object *event)
{
	struct port *port;

	list_for_each (port, &monitors->ports, struct port, link)
		send_to_all(port, event);
	json_object_put(event);
}

void monitors_event(struct monitors *monitors, const char *name, struct json_object *data)
{
	monitors_send_event(monitors, monitors_make_event(name, data));
}
