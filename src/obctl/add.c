/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * obctl add: a device with its disk and its server, in one step. The steps are those of the
 * monitor: blockdev-add, device_add, object-add.
 *
 * Whose property a key is, the monitor says (device-list-properties, qom-list-properties); what is
 * neither the device's nor the server's is the disk's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/opts.h"
#include "obctl/inventory.h"
#include "obctl/table.h"

static const char server_type[] = "x-vfio-user-server";

struct add {
	struct qmp *qmp;
	const char *model;
	char *id;
	struct json_object *device, *server; /* arguments, until the command takes them */
	struct opts files, block;
	const char *driver; /* of the block nodes; NULL: none are to be made */
	unsigned nodes;     /* that were made */
	bool device_made;
	struct ob_error *err;
};

static int no_memory(struct ob_error *err)
{
	return ob_error_set(err, -ENOMEM, "out of memory");
}

/* The server has a working folder of its own, so it gets whole paths. */
static char *whole_path(const char *path)
{
	cleanup_free char *folder = NULL;
	char *whole;

	if (*path == '/')
		return strdup(path);
	folder = getcwd(NULL, 0);
	if (!folder || asprintf(&whole, "%s/%s", folder, path) < 0)
		return NULL;
	return whole;
}

/* The first of MODEL0, MODEL1, ... that nothing has. */
static int choose_id(struct add *add)
{
	struct inventory inventory = {0};
	int rc = inventory_fetch(&inventory, add->qmp, add->err);

	for (unsigned number = 0; !rc && !add->id; number++) {
		if (asprintf(&add->id, "%s%u", add->model, number) < 0) {
			add->id = NULL;
			rc = no_memory(add->err);
		} else if (inventory_find(&inventory, add->id)) {
			free(take_ptr(&add->id));
		}
	}
	inventory_free(&inventory);
	return rc;
}

/* Several values of one key become a list. */
static void add_value(struct json_object *object, const char *key, const char *value)
{
	struct json_object *before = json_member(object, key);
	struct json_object *list;

	if (!before) {
		json_add_text(object, key, value);
		return;
	}
	if (json_object_is_type(before, json_type_array)) {
		json_object_array_add(before, json_object_new_string(value));
		return;
	}
	list = json_object_new_array();
	json_object_array_add(list, json_object_get(before));
	json_object_array_add(list, json_object_new_string(value));
	json_object_object_add(object, key, list);
}

static int take_socket(struct add *add, const char *value)
{
	cleanup_free char *path = whole_path(value);

	if (!path)
		return no_memory(add->err);
	json_add_text(add->server, "path", path);
	return 0;
}

static int take_file(struct add *add, const char *value)
{
	cleanup_free char *path = whole_path(value);

	add->driver = "file";
	return path && !opts_add(&add->files, "filename", path) ? 0 : no_memory(add->err);
}

/* One "key=value" of the command line. device, server: lists of their properties. */
static int take_word(struct add *add, const char *word, struct json_object *device,
                     struct json_object *server)
{
	const char *value = strchr(word, '=');
	char key[64];

	if (!value)
		return take_file(add, word);
	snprintf(key, sizeof(key), "%.*s", (int)(value - word), word);
	value++;
	if (!strcmp(key, "id")) {
		free(add->id);
		add->id = strdup(value);
		return add->id ? 0 : no_memory(add->err);
	}
	if (!strcmp(key, "socket") || !strcmp(key, "path"))
		return take_socket(add, value);
	if (!strcmp(key, "file") || !strcmp(key, "filename"))
		return take_file(add, value);
	if (find_in(device, "name", key))
		add_value(add->device, key, value);
	else if (find_in(server, "name", key))
		add_value(add->server, key, value);
	else if (opts_add(&add->block, strcmp(key, "ro") ? key : "read-only", value))
		return no_memory(add->err);
	return 0;
}

static int take_words(struct add *add, const char *const *words)
{
	cleanup_json struct json_object *device = NULL;
	cleanup_json struct json_object *server = NULL;
	int rc = qmp_call_with(add->qmp, "device-list-properties", "typename", add->model, &device,
	                       add->err);

	if (!rc)
		rc = qmp_call_with(add->qmp, "qom-list-properties", "typename", server_type,
		                   &server, add->err);
	for (unsigned i = 0; i < COMMAND_MAX_WORDS - 1 && words[i] && !rc; i++)
		rc = take_word(add, words[i], device, server);
	/* A size alone is a disk in memory, as on outboard's command line. */
	if (!rc && !add->driver && opts_get(&add->block, "size"))
		add->driver = "mem";
	if (!rc && !add->driver && add->block.count)
		rc = ob_error_set(add->err, -EINVAL, "'%s' is a property of nothing that is made",
		                  add->block.list[0].key);
	return rc;
}

static int make_node(struct add *add, const char *file)
{
	struct json_object *arguments = json_object_new_object();
	char name[128];
	int rc;

	snprintf(name, sizeof(name), "%s-drive%u", add->id, add->nodes);
	json_add_text(arguments, "driver", add->driver);
	json_add_text(arguments, "node-name", name);
	if (file)
		json_add_text(arguments, "filename", file);
	for (size_t i = 0; i < add->block.count; i++)
		json_add_text(arguments, add->block.list[i].key, add->block.list[i].value);
	/* As `outboard nvme FILE` has it; blockdev-add itself keeps to QEMU's default. */
	if (!strcmp(add->driver, "file") && !opts_get(&add->block, "discard"))
		json_add_text(arguments, "discard", "unmap");
	rc = qmp_call(add->qmp, "blockdev-add", arguments, NULL, add->err);
	if (rc)
		return rc;
	add->nodes++;
	add_value(add->device, "drive", name);
	return 0;
}

static int make_nodes(struct add *add)
{
	int rc = 0;

	if (!add->driver)
		return 0;
	if (!add->files.count)
		return make_node(add, NULL);
	for (size_t i = 0; i < add->files.count && !rc; i++)
		rc = make_node(add, add->files.list[i].value);
	return rc;
}

static int make_device(struct add *add)
{
	int rc;

	json_add_text(add->device, "driver", add->model);
	json_add_text(add->device, "id", add->id);
	rc = qmp_call(add->qmp, "device_add", take_ptr(&add->device), NULL, add->err);
	add->device_made = !rc;
	return rc;
}

/* Beside the monitor's socket, if none is named: there the server may make one. */
static int choose_socket(struct add *add, const char *monitor)
{
	cleanup_free char *whole = whole_path(monitor);
	cleanup_free char *path = NULL;

	if (json_member(add->server, "path") || json_member(add->server, "fd"))
		return 0;
	if (!whole || asprintf(&path, "%.*s/%s.sock", (int)(strrchr(whole, '/') - whole), whole,
	                       add->id) < 0) {
		path = NULL;
		return no_memory(add->err);
	}
	json_add_text(add->server, "path", path);
	return 0;
}

static int make_server(struct add *add)
{
	char id[128];

	snprintf(id, sizeof(id), "%s-server", add->id);
	json_add_text(add->server, "qom-type", server_type);
	json_add_text(add->server, "id", id);
	json_add_text(add->server, "device", add->id);
	return qmp_call(add->qmp, "object-add", json_object_get(add->server), NULL, add->err);
}

/* What was made before something failed. That it failed is what has to be said, not more. */
static void undo(struct add *add)
{
	char name[128];

	if (add->device_made && !qmp_call_with(add->qmp, "device_del", "id", add->id, NULL, NULL))
		qmp_wait_deleted(add->qmp, add->id, NULL);
	while (add->nodes) {
		snprintf(name, sizeof(name), "%s-drive%u", add->id, --add->nodes);
		qmp_call_with(add->qmp, "blockdev-del", "node-name", name, NULL, NULL);
	}
}

static void print_added_json(const struct add *add)
{
	cleanup_json struct json_object *added = json_object_new_object();

	json_add_text(added, "id", add->id);
	json_add_text(added, "server", json_text(add->server, "id"));
	json_add_text(added, "socket", json_text(add->server, "path"));
	print_json(added, false);
}

/* How to attach a guest, as outboard itself prints it. */
static void print_added(const struct add *add)
{
	cleanup_json struct json_object *device = json_object_new_object();
	struct json_object *socket = json_object_new_object();
	const char *path = json_text(add->server, "path");

	json_add_text(device, "driver", "vfio-user-pci");
	json_object_object_add(device, "socket", socket);
	json_add_text(socket, "type", "unix");
	json_add_text(socket, "path", path);
	printf("%s (%s) is served at %s\n  QEMU: -device '", add->id, add->model, path);
	print_plain(json_object_to_json_string_ext(device, JSON_C_TO_STRING_PLAIN |
	                                                           JSON_C_TO_STRING_NOSLASHESCAPE),
	            stdout);
	puts("'");
}

static int make(struct add *add, const char *const *words, const struct monitor_options *options)
{
	int rc = take_words(add, words);

	if (!rc && !add->id)
		rc = choose_id(add);
	if (!rc)
		rc = choose_socket(add, options->socket);
	if (!rc)
		rc = make_nodes(add);
	if (!rc)
		rc = make_device(add);
	if (!rc)
		rc = make_server(add);
	if (rc)
		undo(add);
	else if (options->json)
		print_added_json(add);
	else
		print_added(add);
	return rc;
}

static int run_add(const char *const *words, const void *options, struct ob_error *err)
{
	const struct monitor_options *monitor = options;
	cleanup_qmp struct qmp *qmp = NULL;
	struct add add = {
		.model = words[0],
		.device = json_object_new_object(),
		.server = json_object_new_object(),
		.err = err,
	};
	int rc = monitor_connect(monitor, &qmp, err);

	add.qmp = qmp;
	if (!rc)
		rc = make(&add, words + 1, monitor);
	json_object_put(add.device);
	json_object_put(add.server);
	opts_free(&add.files);
	opts_free(&add.block);
	free(add.id);
	return rc;
}

static const struct ob_prop options_table[] = {MONITOR_OPTIONS, {0}};

const struct command command_add = {
	.name = "add",
	.words = "MODEL [FILE] [KEY=VALUE]...",
	.word_count = 1,
	.more_words = COMMAND_MAX_WORDS - 1,
	.summary = "Adds a device with its disk and its server",
	.details =
		"    obctl -s q.sock add nvme disk.img socket=/run/vm1.sock id=vm1 serial=abc\n"
		"    obctl -s q.sock add nvme size=1G\n"
		"Keys are those that 'outboard MODEL --help' shows. Without socket= it is ID.sock "
		"beside\nthe monitor's. When a part fails, the others are taken back.\n",
	.options = options_table,
	.options_size = sizeof(struct monitor_options),
	.monitor = true,
	.run = run_add,
};
