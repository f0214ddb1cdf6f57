/* SPDX-License-Identifier: BSD-3-Clause */
/* Listeners, and the paths by which they know objects; see machine_event.h. */
#include <stdio.h>

#include "objects.h"

void machine_listen(struct machine *machine, struct machine_listener *listener)
{
	list_append(&machine->listeners, &listener->link);
}

void machine_unlisten(struct machine_listener *listener)
{
	list_remove(&listener->link);
}

void machine_tell(const struct machine *machine, const struct machine_event *event)
{
	struct machine_listener *listener;

	list_for_each (listener, &machine->listeners, struct machine_listener, link)
		listener->event(listener, event);
}

const char *machine_shutdown_name(enum machine_shutdown reason)
{
	switch (reason) {
	case MACHINE_SHUTDOWN_QUIT:
		return "host-qmp-quit";
	case MACHINE_SHUTDOWN_SIGNAL:
	case MACHINE_SHUTDOWN_COMMAND:
		return "host-signal";
	case MACHINE_SHUTDOWN_LAST_CLIENT:
		return "guest-shutdown";
	case MACHINE_SHUTDOWN_ERROR:
		break;
	}
	return "host-error";
}

char *device_path(char buffer[MACHINE_PATH_SIZE], const char *id)
{
	snprintf(buffer, MACHINE_PATH_SIZE, "/machine/peripheral/%s", id);
	return buffer;
}

char *server_object_path(char buffer[MACHINE_PATH_SIZE], const char *id)
{
	snprintf(buffer, MACHINE_PATH_SIZE, "/objects/%s", id);
	return buffer;
}

void device_tell_deleted(const struct machine *machine, const char *id)
{
	char path[MACHINE_PATH_SIZE];
	struct machine_event event = {
		.kind = MACHINE_DEVICE_DELETED,
		.id = id,
		.path = device_path(path, id),
	};

	machine_tell(machine, &event);
}
