/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine's server objects. One that lacks its device or its socket waits, and serves as soon
 * as both are set, in whichever order they come. One that is removed is not found any more at once,
 * and its socket is closed; its device is held until the session has ended.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "objects.h"

static const char *const server_types[] = {"x-vfio-user-server", "vfio-user-server"};

struct machine_server *server_find(const struct machine *machine, const char *id)
{
	struct name *name = names_find(&machine->server_names, id);

	return name ? container_of(name, struct machine_server, name) : NULL;
}

/* Properties */

/* The forms in which a socket is given: "socket.path" (QEMU's JSON), "socket" (ours), "path". */
static int rename_key(struct opt *opt)
{
	static const char prefix[] = "socket.";
	const char *name = opt->key;
	char *copy;

	if (!strncmp(name, prefix, sizeof(prefix) - 1))
		name += sizeof(prefix) - 1;
	if (!strcmp(name, "socket"))
		name = "path";
	else if (!strcmp(name, "str")) /* of QEMU's type=fd */
		name = "fd";
	if (name == opt->key)
		return 0;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	free(opt->key);
	opt->key = copy;
	return 0;
}

static int rename_keys(struct opts *opts, struct ob_error *err)
{
	for (size_t i = 0; i < opts->count; i++) {
		if (rename_key(&opts->list[i]))
			return ob_error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static bool has_socket(const struct opts *opts)
{
	return opts_get(opts, "path") || opts_get(opts, "fd");
}

/* A device that can be served, or a message that names the property and the reason. */
static int find_device(const struct machine *machine, const char *id, struct machine_device **out,
                       struct ob_error *err)
{
	struct machine_device *device = device_find(machine, id);

	if (!device && root_find(machine, id))
		return ob_error_set(
			err, -EINVAL,
			"device=%s: that is a pci-root-bus: only PCI devices can be served", id);
	if (!device || device->removing) {
		device_refuse_id(machine, id, err);
		return ob_error_prefix(err, -ENOENT, "device=%s", id);
	}
	if (device->server)
		return ob_error_set(err, -EBUSY,
		                    device->server->closing
		                            ? "device=%s: server object '%s' is still letting it go"
		                            : "device=%s: server object '%s' has it already",
		                    device->id, device->server->id);
	*out = device;
	return 0;
}

/* What clients do, told to the listeners */

static void tell_client(const struct machine_server *server, enum machine_event_kind kind,
                        const struct ucred *peer, int reason)
{
	char path[MACHINE_PATH_SIZE], of_device[MACHINE_PATH_SIZE];
	struct machine_event event = {
		.kind = kind,
		.id = server->id,
		.path = server_object_path(path, server->id),
		.device_id = server->device->id,
		.device_path = device_path(of_device, server->device->id),
		.peer = {peer->pid, peer->uid, peer->gid},
		.message = reason ? strerror(-reason) : NULL,
	};

	machine_tell(server->machine, &event);
}

static void on_connected(void *context, const struct ucred *peer)
{
	tell_client(context, MACHINE_CLIENT_CONNECTED, peer, 0);
}

static void on_hung_up(void *context, const struct ucred *peer, int reason)
{
	tell_client(context, MACHINE_CLIENT_HANGUP, peer, reason);
}

/* Who connects and says nothing, or speaks something else, is no client that was waited for. */
static void on_ended(void *context, bool spoke)
{
	struct machine_server *server = context;

	server->machine->served |= spoke;
	if (server->machine->served)
		machine_client_ended(server->machine);
}

bool machine_has_client(const struct machine *machine)
{
	struct machine_server *server;

	list_for_each (server, &machine->servers, struct machine_server, link) {
		if (server->server && server_client(server->server))
			return true;
	}
	return false;
}

/* Making */

/* Begins to serve if all is there. Nothing changes on failure. */
static int begin(struct machine_server *server, struct machine_device *device,
                 const struct opts *given, struct ob_error *err)
{
	struct server_env env = {
		.loop = server->machine->loop,
		.log = server->machine->log,
		.fds = &server->machine->fds,
		.connected = on_connected,
		.hung_up = on_hung_up,
		.ended = on_ended,
		.context = server,
	};
	cleanup_opts struct opts opts = {0};

	if (!device || !has_socket(given) || server->machine->look_only)
		return server_check(server->id, given, false, err);
	if (opts_append(&opts, given))
		return ob_error_set(err, -ENOMEM, "out of memory");
	server->server = server_new(&env, server->id, device->dev, &opts, err);
	return server->server ? 0 : -EINVAL;
}

/* The device is the server's from now on, whether or not there is a socket already. */
static void take_device(struct machine_server *server, struct machine_device *device)
{
	if (server->device)
		server->device->server = NULL;
	server->device = device;
	if (device)
		device->server = server;
}

static int take_id(struct machine *machine, const char *type, struct opts *opts, char *to,
                   struct ob_error *err)
{
	cleanup_free char *id = opts_take(opts, "id");
	int rc;

	if (!id)
		return ob_error_set(err, -EINVAL, "%s needs id=", type);
	rc = check_id("id", id, err);
	if (!rc && server_find(machine, id))
		rc = ob_error_set(err, -EEXIST, "there is an object '%s' already", id);
	if (!rc)
		snprintf(to, ID_MAX + 1, "%s", id);
	return rc;
}

static void free_server(struct machine_server *server)
{
	names_remove(&server->machine->server_names, &server->name);
	opts_free(&server->opts);
	free(server);
}

static int make(struct machine_server *server, struct opts *opts, struct ob_error *err)
{
	struct machine *machine = server->machine;
	cleanup_free char *device_id = opts_take(opts, "device");
	struct machine_device *device = NULL;
	int rc = device_id ? find_device(machine, device_id, &device, err) : 0;

	if (rc)
		return ob_error_key(err, rc, "device");
	if (names_add(&machine->server_names, &server->name, server->id))
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = begin(server, device, opts, err);
	if (rc)
		return rc;
	server->opts = *opts;
	*opts = (struct opts){0};
	take_device(server, device);
	list_append(&machine->servers, &server->link);
	return 0;
}

static int add_server(struct machine *machine, const char *type, struct opts *opts,
                      struct ob_error *err)
{
	static const struct ob_prop *const tables[] = {server_props, NULL};
	static const char *const words[] = {"id", "device", NULL};
	struct machine_server *server;
	int rc = rename_keys(opts, err);

	if (!rc)
		rc = refuse_unknown_keys(opts, type, tables, words, NULL, err);
	if (rc)
		return rc;
	server = calloc(1, sizeof(*server));
	if (!server)
		return ob_error_set(err, -ENOMEM, "out of memory");
	server->machine = machine;
	server->type = type;
	list_init(&server->link);
	list_init(&server->gone_waiters);
	rc = take_id(machine, type, opts, server->id, err);
	if (!rc)
		rc = make(server, opts, err);
	if (rc)
		free_server(server);
	return rc;
}

/* Objects of QEMU's that are near to ours, and why they are not here. */
static int refuse_other(const char *type, struct ob_error *err)
{
	static const struct {
		const char *type, *why;
	} others[] = {
		{"x-remote-object", "that is the protocol before vfio-user, which no client speaks "
	                            "any more: x-vfio-user-server serves a device"},
		{"monitor-qmp", "monitors are made when the process begins: -qmp, or -chardev with "
	                        "-object monitor-qmp"},
		{"memory-backend-memfd", "memory is the client's"},
		{"memory-backend-file", "memory is the client's"},
		{"memory-backend-ram", "memory is the client's"},
		{"iothread",
	         "each process has one thread, and devices that need one of their own have "
	         "a process of their own"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (!strcmp(others[i].type, type))
			return ob_error_set(err, -EINVAL, "object %s: %s", type, others[i].why);
	}
	return 0;
}

int machine_add_object(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	cleanup_free char *type = opts_take(opts, "qom-type");
	struct nearest nearest;
	int rc = machine_refuse_ending(machine, err);

	if (rc)
		return rc;
	if (!type)
		return ob_error_set(err, -EINVAL, "an object needs qom-type=, for example %s",
		                    server_types[0]);
	if (refuse_other(type, err))
		return -EINVAL;
	nearest = nearest_to(type);
	for (size_t i = 0; i < ARRAY_SIZE(server_types); i++) {
		if (!strcmp(server_types[i], type))
			return add_server(machine, server_types[i], opts, err);
		nearest_try(&nearest, server_types[i]);
	}
	return refuse_unknown(&nearest, "object type", NULL, "there is x-vfio-user-server", err);
}

/* Setting properties later */

/* Those of given that are set again in value, or belong to the socket that value replaces. */
static int replace(struct opts *given, const struct opts *value, struct ob_error *err)
{
	static const char *const socket[] = {"type", "path", "fd"};

	for (size_t i = 0; i < ARRAY_SIZE(socket) && has_socket(value); i++)
		free(opts_take(given, socket[i]));
	for (size_t i = 0; i < value->count; i++)
		free(opts_take(given, value->list[i].key));
	return opts_append(given, value) ? ob_error_set(err, -ENOMEM, "out of memory") : 0;
}

static int set_device(struct machine_server *server, struct opts *value, struct ob_error *err)
{
	cleanup_free char *id = opts_take(value, "device");
	struct machine_device *device = server->device;
	int rc = 0;

	if (!id)
		return ob_error_set(err, -EINVAL, "device: expected the id of a device");
	if (!device || strcmp(device->id, id) != 0)
		rc = find_device(server->machine, id, &device, err);
	if (!rc)
		rc = begin(server, device, &server->opts, err);
	if (!rc)
		take_device(server, device);
	return rc;
}

static int set_others(struct machine_server *server, struct opts *value, struct ob_error *err)
{
	static const struct ob_prop *const tables[] = {server_props, NULL};
	static const char *const words[] = {NULL};
	cleanup_opts struct opts all = {0};
	int rc = rename_keys(value, err);

	if (!rc)
		rc = refuse_unknown_keys(value, server->type, tables, words, NULL, err);
	if (!rc && opts_append(&all, &server->opts))
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = replace(&all, value, err);
	if (!rc)
		rc = begin(server, server->device, &all, err);
	if (rc)
		return rc;
	opts_free(&server->opts);
	server->opts = all;
	all = (struct opts){0};
	return 0;
}

int server_set_property(struct machine_server *server, const char *name, struct opts *value,
                        struct ob_error *err)
{
	if (server->server)
		return ob_error_set(err, -EBUSY,
		                    "%s: server object '%s' serves already, and its properties "
		                    "can't change then: remove it, and add it anew",
		                    name, server->id);
	return strcmp(name, "device") ? set_others(server, value, err)
	                              : set_device(server, value, err);
}

/* Removing */

static void closed(void *context)
{
	struct machine_server *server = context;
	struct machine_device *device = server->device;
	struct machine *machine = server->machine;

	server_free(server->server);
	list_remove(&server->link);
	machine_waiters_ready(machine, &server->gone_waiters);
	take_device(server, NULL);
	free_server(server);
	if (device && device->removing)
		device_remove(device);
	if (list_empty(&machine->servers))
		machine_client_ended(machine);
	machine_something_gone(machine);
}

void server_remove(struct machine_server *server)
{
	if (server->closing)
		return;
	server->closing = true;
	names_remove(&server->machine->server_names, &server->name);
	if (server->server)
		server_close(server->server, closed, server);
	else
		closed(server);
}

int machine_wait_object(struct machine *machine, const char *id, struct machine_waiter *waiter)
{
	struct machine_server *server;

	list_for_each (server, &machine->servers, struct machine_server, link) {
		if (!server->closing || strcmp(server->id, id) != 0)
			continue;
		list_append(&server->gone_waiters, &waiter->link);
		return -EINPROGRESS;
	}
	return 0;
}

int machine_remove_object(struct machine *machine, const char *id, struct ob_error *err)
{
	struct machine_server *server = server_find(machine, id);
	struct nearest nearest = nearest_to(id);

	if (server) {
		server_remove(server);
		return 0;
	}
	list_for_each (server, &machine->servers, struct machine_server, link) {
		if (!server->closing)
			nearest_try(&nearest, server->id);
	}
	refuse_unknown(&nearest, "object", NULL, NULL, err);
	return -ENOENT;
}
