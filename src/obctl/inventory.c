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
			.serial = "",
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

static struct disk_counts counts_of(struct json_object *stats)
{
	return (struct disk_counts){
		.reads = json_number(stats, "rd_operations"),
		.writes = json_number(stats, "wr_operations"),
		.others = json_number(stats, "flush_operations") +
	                  json_number(stats, "unmap_operations"),
		.errors = json_number(stats, "failed_rd_operations") +
	                  json_number(stats, "failed_wr_operations") +
	                  json_number(stats, "failed_flush_operations") +
	                  json_number(stats, "failed_unmap_operations"),
		.read_bytes = json_number(stats, "rd_bytes"),
		.write_bytes = json_number(stats, "wr_bytes"),
		.read_ns = json_number(stats, "rd_total_time_ns"),
		.write_ns = json_number(stats, "wr_total_time_ns"),
		.in_flight = json_number(stats, "x-in-flight"),
	};
}

static void add_counts(struct disk_counts *sum, const struct disk_counts *counts)
{
	sum->reads += counts->reads;
	sum->writes += counts->writes;
	sum->others += counts->others;
	sum->errors += counts->errors;
	sum->in_flight += counts->in_flight;
	sum->read_bytes += counts->read_bytes;
	sum->write_bytes += counts->write_bytes;
	sum->read_ns += counts->read_ns;
	sum->write_ns += counts->write_ns;
}

/* By device and number; those of nobody are last, by name. */
static int by_user(const void *a, const void *b)
{
	const struct inventory_disk *one = a, *other = b;
	int order = !*one->device - !*other->device;

	if (!order)
		order = strcmp(one->device, other->device);
	if (!order && *one->device)
		return one->number < other->number ? -1 : one->number > other->number;
	return order ? order : strcmp(one->node, other->node);
}

/* Those that devices use come with their counts, in the devices' order; then come the others. */
static int add_disks(struct inventory *inventory)
{
	size_t room = json_length(inventory->stats) + json_length(inventory->nodes) + 1;
	size_t used;

	inventory->disks = calloc(room, sizeof(*inventory->disks));
	if (!inventory->disks)
		return -ENOMEM;
	inventory->disk_count = 0;
	for (size_t i = 0; i < json_length(inventory->stats); i++) {
		struct json_object *stats = json_at(inventory->stats, i);
		struct inventory_row *row =
			inventory_find(inventory, id_of_path(json_text(stats, "qdev")));
		struct inventory_disk *disk = &inventory->disks[inventory->disk_count];

		if (!row)
			continue;
		*disk = (struct inventory_disk){
			.node = json_text(stats, "node-name"),
			.device = row->id,
			.number = ++row->disks,
			.counts = counts_of(json_member(stats, "stats")),
		};
		disk->info = find_in(inventory->nodes, "node-name", disk->node);
		if (row->disks == 1)
			row->node = disk->node;
		add_counts(&row->counts, &disk->counts);
		inventory->disk_count++;
	}
	used = inventory->disk_count;
	for (size_t i = 0; i < json_length(inventory->nodes); i++) {
		struct json_object *node = json_at(inventory->nodes, i);
		const char *name = json_text(node, "node-name");
		size_t at = 0;

		while (at < used && strcmp(inventory->disks[at].node, name) != 0)
			at++;
		if (at == used)
			inventory->disks[inventory->disk_count++] =
				(struct inventory_disk){.node = name, .device = "", .info = node};
	}
	qsort(inventory->disks, inventory->disk_count, sizeof(*inventory->disks), by_user);
	return 0;
}

struct inventory_disk *inventory_find_disk(const struct inventory *inventory, const char *node)
{
	for (size_t i = 0; i < inventory->disk_count; i++) {
		if (!strcmp(inventory->disks[i].node, node))
			return &inventory->disks[i];
	}
	return NULL;
}

const char *disk_file(const struct inventory_disk *disk)
{
	const char *file = json_text(disk->info, "file");

	return *file ? file : json_text(disk->info, "drv");
}

uint64_t disk_size(const struct inventory_disk *disk)
{
	return json_number(json_member(disk->info, "image"), "virtual-size");
}

const char *disk_access(const struct inventory_disk *disk)
{
	return json_flag(disk->info, "ro") ? "read-only" : "read-write";
}

int inventory_serials(struct inventory *inventory, struct qmp *qmp, struct ob_error *err)
{
	int rc = 0;

	if (!inventory->serials)
		inventory->serials = json_object_new_object();
	for (size_t i = 0; i < inventory->count && !rc; i++) {
		struct inventory_row *row = &inventory->rows[i];
		struct json_object *arguments, *value = NULL;

		if (!row->disks)
			continue;
		arguments = json_object_new_object();
		json_add_text(arguments, "path", row->id);
		json_add_text(arguments, "property", "serial");
		rc = qmp_call(qmp, "qom-get", arguments, &value, err);
		/* It may have none, or be gone by now. */
		if (rc == -EREMOTEIO)
			rc = 0;
		else if (!rc && json_object_is_type(value, json_type_string))
			json_object_object_add(inventory->serials, row->id, value);
		else
			json_object_put(value);
		row->serial = json_text(inventory->serials, row->id);
	}
	return rc;
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
	return add_disks(inventory) ? ob_error_set(err, -ENOMEM, "out of memory") : 0;
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
	json_object_put(inventory->serials);
	free(inventory->rows);
	free(inventory->disks);
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
