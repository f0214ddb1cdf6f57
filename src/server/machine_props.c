/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Types, and the properties of objects; see machine_info.h. What an object has is told by the same
 * tables that it is made from.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "objects.h"

/* What devices have besides what their model has. */
static const struct ob_prop device_props[] = {
	{.name = "bus",
         .type = OB_PROP_STRING,
         .help = "id of a pci-root-bus; none: one of its own"},
	{.name = "addr", .type = OB_PROP_STRING, .help = "slot or slot.function, in hexadecimal"},
	{.name = "held-by",
         .type = OB_PROP_STRING,
         .help = "why it does not run now, if it does not; read only"},
	{.name = NULL},
};

static const struct ob_prop device_of_server[] = {
	{.name = "device", .type = OB_PROP_STRING, .help = "id of the device to serve"},
	{.name = NULL},
};

static const struct ob_prop machine_table[] = {
	{.name = "auto-shutdown",
         .type = OB_PROP_BOOL,
         .preset = "off",
         .help = "end when the last client has gone"},
	{.name = NULL},
};

/* Types */

/* On the bus that is a device's id. */
static const struct ob_prop part_props[] = {
	{"bus", OB_PROP_STRING, .help = "id of the device"},
	{.name = NULL},
};

static int each_part_type(const struct ob_part *part,
                          int (*each)(void *context, const struct machine_type_info *info),
                          void *context)
{
	const struct ob_prop *const tables[] = {part_props, part->props, NULL};
	struct machine_type_info info = {part->name, part->summary, true, "device", tables};

	return each(context, &info);
}

int machine_each_type(int (*each)(void *context, const struct machine_type_info *info),
                      void *context)
{
	static const struct ob_prop *const none[] = {NULL};
	static const struct ob_prop *const of_server[] = {device_of_server, server_props, NULL};
	const struct machine_type_info others[] = {
		{"pci-root-bus", "an isolated PCI root: the bus of one VM's devices", true,
	         "device", none},
		{"x-vfio-user-server", "serves a device on a socket", false, "object", of_server},
		{"vfio-user-server", "the same as x-vfio-user-server", false, "object", of_server},
	};
	const struct ob_prop *const of_subsys[] = {subsys_props, NULL};
	const struct machine_type_info subsys = {"nvme-subsys",
	                                         "a name for the subsystem of an NVMe controller",
	                                         true, "device", of_subsys};
	int rc = each(context, &subsys);

	for (const struct ob_model *const *model = device_models(); !rc && *model; model++) {
		const struct ob_prop *const tables[] = {device_props, device_common_props,
		                                        (*model)->props, NULL};
		struct machine_type_info info = {(*model)->name, (*model)->summary, true,
		                                 "pci-device", tables};

		rc = each(context, &info);
		if (!rc && (*model)->part)
			rc = each_part_type((*model)->part, each, context);
	}
	for (size_t i = 0; !rc && i < ARRAY_SIZE(others); i++)
		rc = each(context, &others[i]);
	return rc;
}

/* Which object a path names: one of these. */
struct object {
	const struct machine *machine; /* "/machine" itself, if all others are NULL */
	struct machine_device *device;
	struct root *root;
	struct machine_part *part;
	struct subsys *subsys;
	struct machine_server *server;
};

static bool find_object(const struct machine *machine, const char *path, struct object *object)
{
	static const char peripheral[] = "/machine/peripheral/", objects[] = "/objects/";
	const char *id = path;
	bool any = path[0] != '/';

	*object = (struct object){.machine = machine};
	if (!strcmp(path, "/machine"))
		return true;
	if (any || !strncmp(path, peripheral, sizeof(peripheral) - 1)) {
		id = any ? path : path + sizeof(peripheral) - 1;
		object->device = device_find(machine, id);
		object->root = root_find(machine, id);
		object->part = part_find(machine, id);
		object->subsys = subsys_find(machine, id);
	}
	if (!object->device && !object->root && !object->part && !object->subsys &&
	    (any || !strncmp(path, objects, sizeof(objects) - 1))) {
		id = any ? path : path + sizeof(objects) - 1;
		object->server = server_find(machine, id);
	}
	return object->device || object->root || object->part || object->subsys || object->server;
}

static int find_or_refuse(const struct machine *machine, const char *path, struct object *object,
                          struct ob_error *err)
{
	if (find_object(machine, path, object))
		return 0;
	return ob_error_set(err, -ENOENT, "there is no object '%s'", path);
}

/* The tables of an object's properties, ended by NULL. */
static void tables_of(const struct object *object, const struct ob_prop *tables[4])
{
	tables[0] = tables[1] = tables[2] = tables[3] = NULL;
	if (object->device) {
		tables[0] = device_props;
		tables[1] = device_common_props;
		tables[2] = device_model(object->device->dev)->props;
	} else if (object->part) {
		tables[0] = part_props;
		tables[1] = device_model(object->part->device->dev)->part->props;
	} else if (object->subsys) {
		tables[0] = subsys_props;
	} else if (object->server) {
		tables[0] = device_of_server;
		tables[1] = server_props;
	} else if (!object->root) {
		tables[0] = machine_table;
	}
}

const char *machine_type_name(enum ob_prop_type type)
{
	switch (type) {
	case OB_PROP_BOOL:
		return "bool";
	case OB_PROP_UINT32:
		return "uint32";
	case OB_PROP_SIZE:
		return "size";
	case OB_PROP_BLOCKS:
		return "list";
	case OB_PROP_STRING:
	case OB_PROP_ENUM:
	case OB_PROP_CHARDEV:
		break;
	}
	return "str";
}

static bool is_writeable(const struct object *object)
{
	if (object->server)
		return !object->server->server;
	return !object->device && !object->root;
}

/* A server's socket, in QEMU's form; its members are properties of their own as well. */
static const struct machine_property_info socket_property = {
	.name = "socket",
	.type = "SocketAddress",
	.help = "where to listen: type=unix with path, or with fd",
};

int machine_each_property(const struct machine *machine, const char *path,
                          int (*each)(void *context, const struct machine_property_info *info),
                          void *context, struct ob_error *err)
{
	const struct ob_prop *tables[4];
	struct machine_property_info info = {
		.name = "type", .type = "string", .help = "the type of the object"};
	struct object object;
	int rc = find_or_refuse(machine, path, &object, err);

	if (rc)
		return rc;
	rc = each(context, &info);
	if (!rc && object.server) {
		info = socket_property;
		info.writeable = is_writeable(&object);
		rc = each(context, &info);
	}
	tables_of(&object, tables);
	for (const struct ob_prop **table = tables; *table; table++) {
		for (const struct ob_prop *prop = *table; !rc && prop->name; prop++) {
			if (!strcmp(prop->name, "type")) /* of the socket: a member of it */
				continue;
			info = (struct machine_property_info){
				.name = prop->name,
				.type = machine_type_name(prop->type),
				.help = prop->help,
				.preset = prop->preset,
				.writeable = is_writeable(&object),
			};
			rc = each(context, &info);
		}
	}
	return rc;
}

/* Reading */

static int add_blocks(const struct ob_prop *prop, const struct ob_block_list *list,
                      struct opts *out)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < list->count; i++)
		rc = opts_add(out, prop->name, ob_block_name(list->nodes[i]));
	return rc;
}

/* A field of a struct that a table describes. */
static int add_field(const struct ob_prop *prop, const void *of, struct opts *out)
{
	const void *field = (const char *)of + prop->offset;
	const char *text = NULL;
	char number[24];

	switch (prop->type) {
	case OB_PROP_BOOL:
		text = *(const bool *)field ? "on" : "off";
		break;
	case OB_PROP_UINT32:
		snprintf(number, sizeof(number), "%" PRIu32, *(const uint32_t *)field);
		text = number;
		break;
	case OB_PROP_SIZE:
		snprintf(number, sizeof(number), "%" PRIu64, *(const uint64_t *)field);
		text = number;
		break;
	case OB_PROP_STRING:
		text = *(char *const *)field;
		break;
	case OB_PROP_ENUM:
		text = prop->choices[*(const uint32_t *)field];
		break;
	case OB_PROP_BLOCKS:
		return add_blocks(prop, field, out);
	case OB_PROP_CHARDEV:
		text = *(struct ob_chardev *const *)field
		               ? ob_chardev_id(*(struct ob_chardev *const *)field)
		               : NULL;
		break;
	}
	return text ? opts_add(out, prop->name, text) : 0;
}

static int add_held_by(const struct ob_dev *dev, struct opts *out)
{
	struct device_held_by by = device_held_by(dev);
	char text[128] = "";

	for (unsigned i = 0; by.names[i]; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? "," : "",
		         by.names[i]);
	return text[0] ? opts_add(out, "held-by", text) : 0;
}

static int add_of_device(const struct machine_device *device, const struct ob_prop *prop,
                         struct opts *out)
{
	char addr[16];

	snprintf(addr, sizeof(addr), "%02x.%x", device->place.slot, device->place.function);
	if (!strcmp(prop->name, "addr"))
		return opts_add(out, "addr", addr);
	if (!strcmp(prop->name, "held-by"))
		return add_held_by(device->dev, out);
	if (!strcmp(prop->name, "bus"))
		return opts_add(out, "bus", device->place.root->id);
	if (prop_find(device_common_props, prop->name))
		return add_field(prop, device_common_values(device->dev), out);
	return add_field(prop, ob_dev_props(device->dev), out);
}

static int add_of_server(const struct machine_server *server, const struct ob_prop *prop,
                         struct opts *out)
{
	const char *text = opts_get(&server->opts, prop->name);

	if (!strcmp(prop->name, "device"))
		text = server->device ? server->device->id : NULL;
	if (!text)
		text = prop->preset;
	return text ? opts_add(out, prop->name, text) : 0;
}

static int add_socket(const struct machine_server *server, struct opts *out)
{
	const char *path = opts_get(&server->opts, "path"), *fd = opts_get(&server->opts, "fd");
	int rc = 0;

	if (path || fd)
		rc = opts_add(out, "socket.type", path ? "unix" : "fd");
	if (!rc && path)
		rc = opts_add(out, "socket.path", path);
	if (!rc && fd)
		rc = opts_add(out, "socket.str", fd);
	return rc;
}

static int add_type(const struct object *object, struct opts *out)
{
	const char *type = "x-remote-machine";

	if (object->device)
		type = device_model(object->device->dev)->name;
	else if (object->root)
		type = "pci-root-bus";
	else if (object->part)
		type = device_model(object->part->device->dev)->part->name;
	else if (object->subsys)
		type = "nvme-subsys";
	else if (object->server)
		type = object->server->type;
	return opts_add(out, "type", type);
}

static int add_prop(const struct object *object, const struct ob_prop *prop, struct opts *out)
{
	if (object->device)
		return add_of_device(object->device, prop, out);
	if (object->part && !strcmp(prop->name, "bus"))
		return opts_add(out, "bus", object->part->device->id);
	if (object->part)
		return add_field(prop, device_part_props(object->part->part), out);
	if (object->subsys)
		return add_field(prop, object->subsys, out);
	if (object->server)
		return add_of_server(object->server, prop, out);
	return opts_add(out, prop->name, machine_auto_shutdown(object->machine) ? "on" : "off");
}

static int refuse_property(const struct ob_prop *const *tables, const char *path, const char *name,
                           struct ob_error *err)
{
	struct nearest nearest = nearest_to(name);

	for (; *tables; tables++)
		nearest_try_props(&nearest, *tables);
	refuse_unknown(&nearest, "property", path, NULL, err);
	return -ENOENT;
}

/* "type" is the object's own, and not the one of a server's socket. */
static const struct ob_prop *find_prop(const struct ob_prop *const *tables, const char *name)
{
	const struct ob_prop *prop = NULL;

	for (; *tables && !prop && strcmp(name, "type") != 0; tables++)
		prop = prop_find(*tables, name);
	return prop;
}

int machine_get_property(const struct machine *machine, const char *path, const char *name,
                         struct opts *out, const char **type, struct ob_error *err)
{
	const struct ob_prop *tables[4], *prop;
	const char *type_of = "string";
	struct object object;
	int rc = find_or_refuse(machine, path, &object, err);

	if (rc)
		return rc;
	tables_of(&object, tables);
	prop = find_prop(tables, name);
	if (object.device && !strcmp(name, "serial") && *device_serial(object.device->dev)) {
		type_of = machine_type_name(OB_PROP_STRING);
		rc = opts_add(out, "serial", device_serial(object.device->dev));
	} else if (prop) {
		type_of = machine_type_name(prop->type);
		rc = add_prop(&object, prop, out);
	} else if (!strcmp(name, "type")) {
		rc = add_type(&object, out);
	} else if (object.server && !strcmp(name, "socket")) {
		type_of = socket_property.type;
		rc = add_socket(object.server, out);
	} else {
		return refuse_property(tables, path, name, err);
	}
	if (rc)
		return ob_error_set(err, rc, "out of memory");
	if (type)
		*type = type_of;
	return 0;
}

/* Setting */

static int set_of_machine(struct machine *machine, struct opts *value, struct ob_error *err)
{
	cleanup_free char *text = opts_take(value, "auto-shutdown");
	int rc = text ? parse_bool("auto-shutdown", text, &machine->auto_shutdown, err)
	              : ob_error_set(err, -EINVAL, "auto-shutdown: on or off expected");

	return rc;
}

int machine_set_property(struct machine *machine, const char *path, const char *name,
                         struct opts *value, struct ob_error *err)
{
	const struct ob_prop *tables[4], *prop;
	struct object object;
	int rc = find_or_refuse(machine, path, &object, err);

	if (rc)
		return rc;
	tables_of(&object, tables);
	prop = find_prop(tables, name);
	if (!prop && strcmp(name, "type") != 0 && !(object.server && !strcmp(name, "socket")))
		return refuse_property(tables, path, name, err);
	if (!strcmp(name, "type"))
		return ob_error_set(err, -EBUSY, "type: an object keeps its type");
	if (object.server)
		return server_set_property(object.server, name, value, err);
	if (object.part || object.subsys)
		return ob_error_set(err, -EBUSY, "%s: remove '%s', and add it anew", name, path);
	if (object.device)
		return ob_error_set(
			err, -EBUSY,
			"%s: the properties of device '%s' can't change: remove it, and "
			"add it anew",
			name, object.device->id);
	return set_of_machine(machine, value, err);
}
