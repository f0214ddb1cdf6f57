/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens in the machine, told to clients: events as in QEMU's qapi/, by the same names. */
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
	monitors->listener.event = on_event;
	machine_listen(monitors->env.machine, &monitors->listener);
	monitors->moves_listener.changed = on_move;
	moves_listen(monitors->env.moves, &monitors->moves_listener);
}
