/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands about objects, their types and properties: QEMU's qapi/qom.json. Paths are those of
 * server/machine_info.h, with folders around them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/opts_json.h"
#include "commands_made.h"
#include "internal.h"

int qmp_object_add(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                   struct qmp_error *err)
{
	cleanup_opts struct opts opts = {0};
	int rc = opts_from_json(&opts, args, &err->text);

	return rc ? rc : machine_add_object(monitor->set->env.machine, &opts, &err->text);
}

int qmp_object_del(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                   struct qmp_error *err)
{
	struct machine *machine = monitor->set->env.machine;
	const char *id = get_str(args, "id");
	int rc = machine_remove_object(machine, id, &err->text);

	/* Whoever reads the reply may have the device served anew. */
	return rc ? rc : machine_wait_object(machine, id, &monitor->waiter);
}

/* Types. */

/* Those that nothing is made of, and what each is a kind of. */
static const struct {
	const char *name, *parent;
} abstract_types[] = {{"object", NULL}, {"device", "object"}, {"pci-device", "device"}};

static const char *parent_of(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(abstract_types); i++) {
		if (!strcmp(abstract_types[i].name, name))
			return abstract_types[i].parent;
	}
	return NULL;
}

static bool implements(const char *name, const char *parent, const char *wanted)
{
	bool yes = !wanted || !strcmp(name, wanted);

	for (; !yes && parent; parent = parent_of(parent))
		yes = !strcmp(parent, wanted);
	return yes;
}

struct type_walk {
	const char *wanted;
	struct json_object *list;
};

static void add_type(struct type_walk *walk, const char *name, const char *parent, bool abstract)
{
	struct json_object *info;

	if (!implements(name, parent, walk->wanted))
		return;
	info = json_object_new_object();
	put_str(info, "name", name);
	if (abstract)
		put_bool(info, "abstract", true);
	put_str(info, "parent", parent);
	json_object_array_add(walk->list, info);
}

static int each_type(void *context, const struct machine_type_info *info)
{
	add_type(context, info->name, info->parent, false);
	return 0;
}

int qmp_qom_list_types(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                       struct qmp_error *err)
{
	struct type_walk walk = {get_str(args, "implements"), json_object_new_array()};

	machine_each_type(each_type, &walk);
	for (unsigned i = 0; get_bool(args, "abstract") && i < ARRAY_SIZE(abstract_types); i++)
		add_type(&walk, abstract_types[i].name, abstract_types[i].parent, true);
	*ret = walk.list;
	return 0;
}

/* Properties of types. */

/* A value as the user would write it, as JSON of the property's type. */
static struct json_object *value_of(const char *type, const char *text)
{
	uint64_t number;
	bool yes;

	if (!strcmp(type, "bool") && !parse_bool("", text, &yes, NULL))
		return json_object_new_boolean(yes);
	if ((!strcmp(type, "size") || !strcmp(type, "uint32")) &&
	    !parse_size("", text, 0, UINT64_MAX, &number, NULL))
		return json_object_new_uint64(number);
	return json_object_new_string(text);
}

static void add_property(struct json_object *list, const char *name, const char *type,
                         const char *help, const char *preset)
{
	struct json_object *info = json_object_new_object();

	put_str(info, "name", name);
	put_str(info, "type", type);
	put_str(info, "description", help);
	if (preset)
		json_object_object_add(info, "default-value", value_of(type, preset));
	json_object_array_add(list, info);
}

struct find_walk {
	const char *name;
	bool is_device;
	struct json_object *list; /* NULL: not found */
};

static int each_found(void *context, const struct machine_type_info *info)
{
	struct find_walk *walk = context;

	if (strcmp(info->name, walk->name) != 0)
		return 0;
	walk->is_device = info->is_device;
	walk->list = json_object_new_array();
	for (const struct ob_prop *const *table = info->tables; table && *table; table++) {
		for (const struct ob_prop *prop = *table; prop->name; prop++)
			add_property(walk->list, prop->name, machine_type_name(prop->type),
			             prop->help, prop->preset);
	}
	return 1;
}

int qmp_qom_list_properties(struct monitor *monitor, struct json_object *args,
                            struct json_object **ret, struct qmp_error *err)
{
	struct find_walk walk = {.name = get_str(args, "typename")};

	machine_each_type(each_found, &walk);
	if (!walk.list && (parent_of(walk.name) || !strcmp(walk.name, "object")))
		walk.list = json_object_new_array();
	*ret = walk.list;
	if (walk.list)
		return 0;
	err->class = "DeviceNotFound";
	return ob_error_set(&err->text, -ENOENT, "Class '%s' not found", walk.name);
}

int qmp_device_list_properties(struct monitor *monitor, struct json_object *args,
                               struct json_object **ret, struct qmp_error *err)
{
	struct find_walk walk = {.name = get_str(args, "typename")};

	machine_each_type(each_found, &walk);
	if (!walk.list) {
		err->class = "DeviceNotFound";
		return ob_error_set(&err->text, -ENOENT, "Device '%s' not found", walk.name);
	}
	if (!walk.is_device) {
		json_object_put(walk.list);
		return ob_error_set(&err->text, -EINVAL,
		                    "Parameter 'typename' expects a non-abstract device type");
	}
	*ret = walk.list;
	return 0;
}

/* Properties of objects. */

/* What is in a folder, and of what type the object with a name or path is. */
struct tree_walk {
	const char *prefix; /* of the paths of what is listed */
	struct json_object *list;
	const char *path; /* what is looked for, by path or id */
	char type[64];    /* "": not found */
};

static void visit(struct tree_walk *walk, const char *id, const char *path, const char *type)
{
	char child[80];

	if (walk->list && !strncmp(path, walk->prefix, strlen(walk->prefix))) {
		snprintf(child, sizeof(child), "child<%s>", type);
		add_property(walk->list, id, child, NULL, NULL);
	}
	if (walk->path && (!strcmp(walk->path, path) || !strcmp(walk->path, id)))
		snprintf(walk->type, sizeof(walk->type), "%s", type);
}

static int visit_root(void *context, const struct machine_root_info *info)
{
	if (!info->own)
		visit(context, info->id, info->path, "pci-root-bus");
	return 0;
}

static int visit_device(void *context, const struct machine_device_info *info)
{
	visit(context, info->id, info->path, info->model->name);
	return 0;
}

static int visit_part(void *context, const struct machine_part_info *info)
{
	visit(context, info->id, info->path, info->type);
	return 0;
}

static int visit_server(void *context, const struct machine_server_info *info)
{
	visit(context, info->id, info->path, info->type);
	return 0;
}

static void walk_tree(const struct machine *machine, struct tree_walk *walk)
{
	machine_each_root(machine, visit_root, walk);
	machine_each_device(machine, visit_device, walk);
	machine_each_part(machine, visit_part, walk);
	machine_each_server(machine, visit_server, walk);
}

/* Folders have no properties but their type, and objects in them. */
static bool is_folder(const char *path)
{
	return !strcmp(path, "/") || !strcmp(path, "/machine/peripheral") ||
	       !strcmp(path, "/objects");
}

/* The type of the object at path; false: there is none. */
static bool find_type(const struct machine *machine, const char *path, char *type, size_t room)
{
	struct tree_walk walk = {.path = path};

	if (is_folder(path)) {
		snprintf(type, room, "container");
		return true;
	}
	if (!strcmp(path, "/machine")) {
		snprintf(type, room, "machine");
		return true;
	}
	walk_tree(machine, &walk);
	snprintf(type, room, "%s", walk.type);
	return walk.type[0];
}

static int each_property(void *context, const struct machine_property_info *info)
{
	if (strcmp(info->name, "type") != 0)
		add_property(context, info->name, info->type, info->help, info->preset);
	return 0;
}

static void list_folder(const struct machine *machine, const char *path, struct json_object *list)
{
	struct tree_walk walk = {.list = list};

	if (!strcmp(path, "/")) {
		add_property(list, "machine", "child<machine>", NULL, NULL);
		add_property(list, "objects", "child<container>", NULL, NULL);
		return;
	}
	walk.prefix = strcmp(path, "/objects") != 0 ? "/machine/peripheral/" : "/objects/";
	walk_tree(machine, &walk);
}

int qmp_qom_list(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                 struct qmp_error *err)
{
	const struct machine *machine = monitor->set->env.machine;
	const char *path = get_str(args, "path");
	struct json_object *list = json_object_new_array();
	int rc = 0;

	add_property(list, "type", "string", NULL, NULL);
	if (is_folder(path)) {
		list_folder(machine, path, list);
	} else {
		if (!strcmp(path, "/machine"))
			add_property(list, "peripheral", "child<container>", NULL, NULL);
		rc = machine_each_property(machine, path, each_property, list, &err->text);
	}
	if (rc) {
		err->class = rc == -ENOENT ? "DeviceNotFound" : NULL;
		json_object_put(list);
		return rc;
	}
	*ret = list;
	return 0;
}

/* A list has a pair for each element, a struct one NAME.MEMBER=VALUE for each member. */
static struct json_object *value_of_pairs(const char *type, const struct opts *pairs)
{
	bool is_struct = !strcmp(type, "SocketAddress");
	struct json_object *value;
	const char *member;

	if (!is_struct && strcmp(type, "list") != 0)
		return pairs->count ? value_of(type, pairs->list[0].value)
		                    : json_object_new_string("");
	value = is_struct ? json_object_new_object() : json_object_new_array();
	for (size_t i = 0; i < pairs->count; i++) {
		member = strchr(pairs->list[i].key, '.');
		if (!is_struct)
			json_object_array_add(value, json_object_new_string(pairs->list[i].value));
		else if (member)
			put_str(value, member + 1, pairs->list[i].value);
	}
	return value;
}

int qmp_qom_get(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                struct qmp_error *err)
{
	const struct machine *machine = monitor->set->env.machine;
	const char *path = get_str(args, "path"), *name = get_str(args, "property");
	cleanup_opts struct opts pairs = {0};
	char type[64];
	const char *kind;
	int rc;

	if (!find_type(machine, path, type, sizeof(type)))
		err->class = "DeviceNotFound";
	if (type[0] && !strcmp(name, "type")) {
		*ret = json_object_new_string(type);
		return 0;
	}
	rc = machine_get_property(machine, path, name, &pairs, &kind, &err->text);
	if (!rc)
		*ret = value_of_pairs(kind, &pairs);
	return rc;
}

int qmp_qom_set(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                struct qmp_error *err)
{
	struct machine *machine = monitor->set->env.machine;
	const char *path = get_str(args, "path"), *name = get_str(args, "property");
	struct json_object *pair = json_object_new_object();
	cleanup_opts struct opts pairs = {0};
	char type[64];
	int rc;

	if (!find_type(machine, path, type, sizeof(type)))
		err->class = "DeviceNotFound";
	json_object_object_add(pair, name, json_object_get(json_object_object_get(args, "value")));
	rc = opts_from_json(&pairs, pair, &err->text);
	json_object_put(pair);
	return rc ? rc : machine_set_property(machine, path, name, &pairs, &err->text);
}
