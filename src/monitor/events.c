/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens in the machine, told to clients: events as in QEMU's qapi/, by the same names. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static struct json_object *device_data(const struct machine_event *event)
{
	struct json_object *data = json_object_new_object();

	put_str(data, "device", event->id);
	put_str(data, "path", event->path);
	put_str(data, "message", event->message);
	return data;
}

static struct json_object *client_data(const struct machine_event *event, bool peer)
{
	struct json_object *data = json_object_new_object();

	put_str(data, "vfu-id", event->id);
	put_str(data, "vfu-qom-path", event->path);
	put_str(data, "dev-id", event->device_id);
	put_str(data, "dev-qom-path", event->device_path);
	if (peer) {
		put_int(data, "pid", (uint64_t)event->peer.pid);
		put_int(data, "uid", event->peer.uid);
		put_int(data, "gid", event->peer.gid);
	}
	return data;
}

static struct json_object *reason_data(bool guest, const char *reason)
{
	struct json_object *data = json_object_new_object();

	put_bool(data, "guest", guest);
	put_str(data, "reason", reason);
	return data;
}

/*
 * BLOCK_IO_ERROR comes once a second of each device at most, as with QEMU. What comes too early is
 * held, the newest only, and sent when that second is over.
 */
struct throttle {
	struct list link;
	struct monitors *monitors;
	char path[MACHINE_PATH_SIZE];
	struct json_object *held; /* NULL: none */
	struct ob_timer timer;
};

enum { NS_PER_SECOND = 1000000000 };

static void throttle_free(struct throttle *throttle)
{
	ob_timer_cancel(throttle->monitors->env.loop, &throttle->timer);
	json_object_put(throttle->held);
	list_remove(&throttle->link);
	free(throttle);
}

/* Without a timer nothing can be held: the next one goes at once. */
static void throttle_send(struct throttle *throttle, struct json_object *event)
{
	monitors_send_event(throttle->monitors, event);
	if (ob_timer_arm(throttle->monitors->env.loop, &throttle->timer, NS_PER_SECOND))
		throttle_free(throttle);
}

static void throttle_expired(struct ob_timer *timer)
{
	struct throttle *throttle = container_of(timer, struct throttle, timer);
	struct json_object *event = throttle->held;

	throttle->held = NULL;
	if (event)
		throttle_send(throttle, event);
	else
		throttle_free(throttle);
}

static struct throttle *throttle_find(struct monitors *monitors, const char *path)
{
	struct throttle *throttle;

	list_for_each (throttle, &monitors->throttles, struct throttle, link) {
		if (!strcmp(throttle->path, path))
			return throttle;
	}
	return NULL;
}

static void send_throttled(struct monitors *monitors, const char *path, struct json_object *event)
{
	struct throttle *throttle = throttle_find(monitors, path);

	if (throttle) {
		json_object_put(throttle->held);
		throttle->held = event;
		return;
	}
	throttle = calloc(1, sizeof(*throttle));
	if (!throttle) {
		monitors_send_event(monitors, event);
		return;
	}
	throttle->monitors = monitors;
	throttle->timer.expired = throttle_expired;
	snprintf(throttle->path, sizeof(throttle->path), "%s", path);
	list_append(&monitors->throttles, &throttle->link);
	throttle_send(throttle, event);
}

void events_end(struct monitors *monitors)
{
	while (!list_empty(&monitors->throttles))
		throttle_free(container_of(monitors->throttles.next, struct throttle, link));
}

static struct json_object *block_error_data(const struct machine_event *event)
{
	static const char *const actions[] = {[OB_ERROR_REPORT] = "report",
	                                      [OB_ERROR_IGNORE] = "ignore",
	                                      [OB_ERROR_STOP] = "stop"};
	const struct device_error *error = event->block_error;
	struct json_object *data = json_object_new_object();

	put_str(data, "qom-path", event->path);
	put_str(data, "device", "");
	put_str(data, "node-name", ob_block_name(error->block));
	put_str(data, "operation", error->write ? "write" : "read");
	put_str(data, "action", actions[error->action]);
	if (event->stops)
		put_bool(data, "nospace", error->error == -ENOSPC);
	put_str(data, "reason", strerror(-error->error));
	return data;
}

static void on_event(struct machine_listener *listener, const struct machine_event *event)
{
	struct monitors *monitors = container_of(listener, struct monitors, listener);

	switch (event->kind) {
	case MACHINE_CLIENT_CONNECTED:
		monitors_event(monitors, "VFU_CLIENT_CONNECTED", client_data(event, true));
		break;
	case MACHINE_CLIENT_HANGUP:
		monitors_event(monitors, "VFU_CLIENT_HANGUP", client_data(event, false));
		break;
	case MACHINE_DEVICE_DELETED:
		monitors_event(monitors, "DEVICE_DELETED", device_data(event));
		break;
	case MACHINE_DEVICE_ERROR:
		monitors_event(monitors, "DEVICE_ERROR", device_data(event));
		break;
	case MACHINE_BLOCK_IO_ERROR:
		send_throttled(monitors, event->path,
		               monitors_make_event("BLOCK_IO_ERROR", block_error_data(event)));
		break;
	case MACHINE_STOP:
		monitors_event(monitors, "STOP", NULL);
		break;
	case MACHINE_RESUME:
		monitors_event(monitors, "RESUME", NULL);
		break;
	case MACHINE_RESET:
		monitors_event(monitors, "RESET", reason_data(false, "host-qmp-system-reset"));
		break;
	case MACHINE_SHUTDOWN:
		monitors->shutting_down = true;
		monitors_event(monitors, "SHUTDOWN",
		               reason_data(event->reason == MACHINE_SHUTDOWN_LAST_CLIENT,
		                           machine_shutdown_name(event->reason)));
		break;
	}
}

static void on_move(struct moves_listener *listener)
{
	struct monitors *monitors = container_of(listener, struct monitors, moves_listener);
	struct json_object *data = json_object_new_object();
	struct move_info info;

	moves_info(monitors->env.moves, &info);
	put_str(data, "status", move_status_name(info.status));
	monitors_event(monitors, "MIGRATION", data);
}

void events_listen(struct monitors *monitors)
{
	list_init(&monitors->throttles);
	monitors->listener.event = on_event;
	machine_listen(monitors->env.machine, &monitors->listener);
	monitors->moves_listener.changed = on_move;
	moves_listen(monitors->env.moves, &monitors->moves_listener);
}
