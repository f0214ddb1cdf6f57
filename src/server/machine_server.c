/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine's server objects. One that is removed is not found any more at once, and its socket
 * is closed; its device is held until the session has ended.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "objects.h"

static struct machine_server *find(const struct machine *machine, const char *id)
{
	struct machine_server *server;

	list_for_each (server, &machine->servers, struct machine_server, link) {
		if (!server->closing && !strcmp(server_id(server->server), id))
			return server;
	}
	return NULL;
}

/* QEMU's JSON form has these as members of "socket". */
static void rename_keys(struct opts *opts)
{
	static const char prefix[] = "socket.";

	for (size_t i = 0; i < opts->count; i++) {
		char *key = opts->list[i].key;

		if (!strncmp(key, prefix, sizeof(prefix) - 1))
			memmove(key, key + sizeof(prefix) - 1, strlen(key) - sizeof(prefix) + 2);
	}
}

/* NULL with a message. */
static struct machine_device *find_device(struct machine *machine, const char *type,
                                          struct opts *opts, struct ob_error *err)
{
	cleanup_free char *id = opts_take(opts, "device");
	struct machine_device *device = id ? device_find(machine, id) : NULL;

	if (!id)
		ob_error_set(err, -EINVAL, "%s needs device=, the id of a device", type);
	else if (!device || device->removing)
		device_refuse_id(machine, id, err);
	else
		return device;
	return NULL;
}

static int refuse_served(const struct machine_device *device, struct ob_error *err)
{
	return ob_error_set(err, -EBUSY,
	                    device->server->closing
	                            ? "device=%s: server object '%s' is still letting it go"
	                            : "device=%s: server object '%s' serves it already",
	                    device->id, server_id(device->server->server));
}

static int take_id(struct machine *machine, const char *type, struct opts *opts, char **out,
                   struct ob_error *err)
{
	cleanup_free char *id = opts_take(opts, "id");
	int rc;

	if (!id)
		return ob_error_set(err, -EINVAL, "%s needs id=", type);
	rc = check_id("id", id, err);
	if (!rc && find(machine, id))
		rc = ob_error_set(err, -EEXIST, "there is an object '%s' already", id);
	if (!rc)
		*out = take_ptr(&id);
	return rc;
}

static int bind_server(struct machine *machine, const char *id, struct machine_device *device,
                       struct opts *opts, struct ob_error *err)
{
	struct server_env env = {
		.loop = machine->loop,
		.log = machine->log,
	};
	struct machine_server *server = calloc(1, sizeof(*server));

	if (!server)
		return ob_error_set(err, -ENOMEM, "out of memory");
	server->machine = machine;
	server->device = device;
	server->server = server_new(&env, id, device->dev, opts, err);
	if (!server->server) {
		free(server);
		return -EINVAL;
	}
	device->server = server;
	list_append(&machine->servers, &server->link);
	return 0;
}

static int add_server(struct machine *machine, const char *type, struct opts *opts,
                      struct ob_error *err)
{
	static const struct ob_prop *const tables[] = {server_props, NULL};
	static const char *const words[] = {"id", "device", NULL};
	cleanup_free char *id = NULL;
	struct machine_device *device;
	int rc;

	rename_keys(opts);
	rc = refuse_unknown_keys(opts, type, tables, words, NULL, err);
	if (!rc)
		rc = take_id(machine, type, opts, &id, err);
	if (rc)
		return rc;
	device = find_device(machine, type, opts, err);
	if (!device)
		return -ENOENT;
	if (device->server)
		return refuse_served(device, err);
	return bind_server(machine, id, device, opts, err);
}

int machine_add_object(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	static const char *const types[] = {"x-vfio-user-server", "vfio-user-server"};
	cleanup_free char *type = opts_take(opts, "qom-type");
	struct nearest nearest;

	if (!type)
		return ob_error_set(err, -EINVAL, "an object needs qom-type=, for example %s",
		                    types[0]);
	nearest = nearest_to(type);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (!strcmp(types[i], type))
			return add_server(machine, type, opts, err);
		nearest_try(&nearest, types[i]);
	}
	return refuse_unknown(&nearest, "object type", NULL, "there is x-vfio-user-server", err);
}

static void closed(void *context)
{
	struct machine_server *server = context;
	struct machine_device *device = server->device;
	struct machine *machine = server->machine;

	server_free(server->server);
	list_remove(&server->link);
	free(server);
	device->server = NULL;
	if (device->removing)
		device_remove(device);
	machine_something_gone(machine);
}

void server_remove(struct machine_server *server)
{
	if (server->closing)
		return;
	server->closing = true;
	server_close(server->server, closed, server);
}

int machine_remove_object(struct machine *machine, const char *id, struct ob_error *err)
{
	struct machine_server *server = find(machine, id);

	if (!server)
		return ob_error_set(err, -ENOENT, "there is no object '%s'", id);
	server_remove(server);
	return 0;
}
