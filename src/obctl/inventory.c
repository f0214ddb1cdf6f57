/* SPDX-License-Identifier: BSD-3-Clause */
/* The inventory; see inventory.h. */
#include "obctl/inventory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"

static const char folder[] = "/machine/peripheral/";

int monitor_connect(const struct monitor_options *options, struct qmp **out, struct ob_error *err)
{
	if (!options->socket)
		return ob_error_set(err, -EINVAL,
		                    "which monitor? obctl -s PATH, the socket of outboard -qmp "
		                    "unix:PATH,server=on,wait=off");
	return qmp_connect(options->socket, options->timeout, out, err);
}

void print_json(struct json_object *object, bool pretty)
{
	const int plain = JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;

	puts(json_object_to_json_string_ext(object,
	                                    pretty ? plain | JSON_C_TO_STRING_PRETTY : plain));
}

struct json_object *find_in(struct json_object *list, const char *key, const char *text)
{
	for (size_t i = 0; i < json_length(list); i++) {
		if (!strcmp(json_text(json_at(list, i), key), text))
			return json_at(list, i);
	}
	return NULL;
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct inventory_row *)a)->id, ((const struct inventory_row *)b)->id);
}

struct inventory_row *inventory_find(const struct inventory *inventory, const char *id)
{
	const struct inventory_row key = {.id = id};

	if (!inventory->count)
		return NULL;
	return bsearch(&key, inventory->rows, inventory->count, sizeof(key), by_id);
}

struct inventory_row *inventory_find_or_refuse(const struct inventory *inventory, const char *id,
                                               struct ob_error *err)
{
	struct inventory_row *row = inventory_find(inventory, id);

	if (!row)
		ob_error_set(err, -ENOENT, "there is no device '%s': obctl list shows them all",
		             id);
	return row;
}

/* "child<nvme>" is a type of an object; everything else in the folder is a property of its own. */
static char *child_type(struct json_object *property)
{
	const char *type = json_text(property, "type");
	size_t length = strlen(type);

	if (strncmp(type, "child<", 6) != 0 || type[length - 1] != '>')
		return NULL;
	return strndup(type + 6, length - 7);
}

static int add_devices(struct inventory *inventory)
{
	size_t count = json_length(inventory->devices);

	inventory->rows = calloc(count + 1, sizeof(*inventory->rows));
	if (!inventory->rows)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct json_object *device = json_at(inventory->devices, i);
		char *type = child_type(device);

		if (!type)
			continue;
		/* Kept with what it was cut from. */
		json_add_text(device, "type", type);
		free(type);
		inventory->rows[inventory->count++] = (struct inventory_row){
			.id = json_text(device, "name"),
			.type = json_text(device, "type"),
			.root = "",
			.node = "",
		};
	}
	qsort(inventory->rows, inventory->count, sizeof(*inventory->rows), by_id);
	return 0;
}

static void add_servers(struct inventory *inventory)
{
	for (size_t i = 0; i < json_length(inventory->servers); i++) {
		struct json_object *server = json_at(inventory->servers, i);
		struct inventory_row *row = inventory_find(inventory, json_text(server, "dev-id"));

		if (!row)
			continue;
		row->server = server;
		row->client = json_member(server, "client");
	}
}

static void add_places(struct inventory *inventory)
{
	for (size_t i = 0; i < json_length(inventory->pci); i++) {
		struct json_object *root = json_at(inventory->pci, i);
		struct json_object *functions = json_member(root, "devices");

		for (size_t j = 0; j < json_length(functions); j++) {
			struct json_object *pci = json_at(functions, j);
			struct inventory_row *row =
				inventory_find(inventory, json_text(pci, "qdev_id"));

			if (!row)
				continue;
			row->pci = pci;
			row->root = json_text(root, "root");
			row->slot = (unsigned)json_number(pci, "slot");
			row->function = (unsigned)json_number(pci, "function");
		}
	}
}

/* The id in a device's path; "" in any other. */
static const char *id_of_path(const char *path)
{
	size_t length = strlen(folder);

	return strncmp(path, folder, length) ? "" : path + length;
}

static void add_disks(struct inventory *inventory)
{
	for (size_t i = 0; i < json_length(inventory->stats); i++) {
		struct json_object *disk = json_at(inventory->stats, i);
		struct json_object *stats = json_member(disk, "stats");
		struct inventory_row *row =
			inventory_find(inventory, id_of_path(json_text(disk, "qdev")));

		if (!row)
			continue;
		if (!row->disks++)
			row->node = json_text(disk, "node-name");
		row->counts.reads += json_number(stats, "rd_operations");
		row->counts.writes += json_number(stats, "wr_operations");
		row->counts.others += json_number(stats, "flush_operations") +
		                      json_number(stats, "unmap_operations");
		row->counts.errors += json_number(stats, "failed_rd_operations") +
		                      json_number(stats, "failed_wr_operations") +
		                      json_number(stats, "failed_flush_operations") +
		                      json_number(stats, "failed_unmap_operations");
		row->counts.read_bytes += json_number(stats, "rd_bytes");
		row->counts.write_bytes += json_number(stats, "wr_bytes");
		row->counts.read_ns += json_number(stats, "rd_total_time_ns");
		row->counts.write_ns += json_number(stats, "wr_total_time_ns");
		row->counts.in_flight += json_number(stats, "x-in-flight");
	}
}

int inventory_each_disk(const struct inventory *inventory, const char *device,
                        int (*visit)(void *context, const char *node), void *context)
{
	int rc = 0;

	for (size_t i = 0; i < json_length(inventory->stats) && !rc; i++) {
		struct json_object *disk = json_at(inventory->stats, i);

		if (!strcmp(id_of_path(json_text(disk, "qdev")), device))
			rc = visit(context, json_text(disk, "node-name"));
	}
	return rc;
}

int inventory_fetch(struct inventory *inventory, struct qmp *qmp, struct ob_error *err)
{
	struct json_object *where = json_object_new_object();
	const struct {
		const char *command;
		struct json_object *arguments, **result;
	} calls[] = {
		{"qom-list", where, &inventory->devices},
		{"query-vfio-user", NULL, &inventory->servers},
		{"query-pci", NULL, &inventory->pci},
		{"query-named-block-nodes", NULL, &inventory->nodes},
		{"query-blockstats", NULL, &inventory->stats},
	};
	int rc = 0;

	*inventory = (struct inventory){0};
	json_add_text(where, "path", "/machine/peripheral");
	for (size_t i = 0; i < ARRAY_SIZE(calls) && !rc; i++)
		rc = qmp_call(qmp, calls[i].command, calls[i].arguments, calls[i].result, err);
	if (rc)
		return rc;
	if (add_devices(inventory))
		return ob_error_set(err, -ENOMEM, "out of memory");
	add_servers(inventory);
	add_places(inventory);
	add_disks(inventory);
	return 0;
}

int inventory_open(const struct monitor_options *options, struct qmp **qmp,
                   struct inventory *inventory, struct ob_error *err)
{
	int rc = monitor_connect(options, qmp, err);

	return rc ? rc : inventory_fetch(inventory, *qmp, err);
}

void inventory_free(struct inventory *inventory)
{
	json_object_put(inventory->devices);
	json_object_put(inventory->servers);
	json_object_put(inventory->pci);
	json_object_put(inventory->nodes);
	json_object_put(inventory->stats);
	free(inventory->rows);
	*inventory = (struct inventory){0};
}

struct client_counts client_counts(struct json_object *client)
{
	struct json_object *list = json_member(client, "commands");
	struct client_counts sum = {0};

	for (size_t i = 0; i < json_length(list); i++) {
		struct json_object *command = json_at(list, i);

		sum.messages += json_number(command, "messages");
		sum.bytes += json_number(command, "bytes");
		sum.errors += json_number(command, "errors");
		sum.timed += json_number(command, "timed");
		sum.total_ns += json_number(command, "total-ns");
	}
	return sum;
}
