/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * obctl list, info and stats: what is in an outboard process, one device of it, and what has passed
 * so far.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "obctl/inventory.h"
#include "obctl/table.h"

struct list_options {
	struct monitor_options monitor;
};

static const struct ob_prop list_options[] = {MONITOR_OPTIONS, {0}};

/* What stands for nothing. */
static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

static const char *client_text(struct json_object *client, char text[32])
{
	if (client)
		snprintf(text, 32, "pid %" PRIu64, json_number(client, "pid"));
	else
		snprintf(text, 32, "-");
	return text;
}

/* "b0", "b0 and 2 more"; each has a line of its own below. */
static const char *disk_text(const struct inventory_row *row, char *text, size_t room)
{
	if (row->disks > 1)
		snprintf(text, room, "%s and %u more", row->node, row->disks - 1);
	else
		snprintf(text, room, "%s", or_dash(row->node));
	return text;
}

static void list_device(struct table *table, const struct inventory_row *row)
{
	char client[32], disk[128], place[96] = "-";
	bool own = !strcmp(row->root, row->id);

	if (row->pci)
		snprintf(place, sizeof(place), "%s%s%02x.%x", own ? "" : row->root, own ? "" : ":",
		         row->slot, row->function);
	table_cell(table, "%s", row->id);
	table_cell(table, "%s", row->type);
	table_cell(table, "%s", place);
	table_cell(table, "%s", or_dash(json_text(row->server, "id")));
	table_cell(table, "%s", or_dash(json_text(row->server, "state")));
	table_cell(table, "%s", client_text(row->client, client));
	table_cell(table, "%s", or_dash(json_text(row->server, "socket")));
	table_cell(table, "%s", disk_text(row, disk, sizeof(disk)));
}

/* "vm1", or "vm1, 2 of 3" */
static void list_disk(struct table *table, const struct inventory *inventory,
                      const struct inventory_disk *disk)
{
	const struct inventory_row *row = inventory_find(inventory, disk->device);
	char size[SIZE_TEXT], client[32];

	table_cell(table, "%s", disk->node);
	table_cell(table, "%s", or_dash(disk_file(disk)));
	table_cell(table, "%s", size_text(disk_size(disk), size));
	table_cell(table, "%s", disk_access(disk));
	if (!row)
		table_cell(table, "-");
	else if (row->disks == 1)
		table_cell(table, "%s", row->id);
	else
		table_cell(table, "%s, %u of %u", row->id, disk->number, row->disks);
	table_cell(table, "%s", or_dash(row ? row->serial : ""));
	table_cell(table, "%s", client_text(row ? row->client : NULL, client));
}

static int list_disks(const struct inventory *inventory)
{
	static const char *const heads[] = {"DISK",    "FILE",   ">SIZE",  "ACCESS",
	                                    "USED BY", "SERIAL", "CLIENT", NULL};
	struct table table;

	if (!inventory->disk_count)
		return 0;
	putchar('\n');
	table_begin(&table, heads);
	for (size_t i = 0; i < inventory->disk_count; i++)
		list_disk(&table, inventory, &inventory->disks[i]);
	return table_end(&table, stdout);
}

/* One that waits for its device. */
static void list_server(struct table *table, struct json_object *server)
{
	table_cell(table, "-");
	table_cell(table, "-");
	table_cell(table, "-");
	table_cell(table, "%s", json_text(server, "id"));
	table_cell(table, "needs %s", json_text(server, "missing"));
	table_cell(table, "-");
	table_cell(table, "%s", or_dash(json_text(server, "socket")));
	table_cell(table, "-");
}

static int list_text(const struct inventory *inventory, struct ob_error *err)
{
	static const char *const heads[] = {"DEVICE", "MODEL",  "PLACE", "SERVER", "STATE",
	                                    "CLIENT", "SOCKET", "DISK",  NULL};
	struct table table;

	table_begin(&table, heads);
	for (size_t i = 0; i < inventory->count; i++)
		list_device(&table, &inventory->rows[i]);
	for (size_t i = 0; i < json_length(inventory->servers); i++) {
		struct json_object *server = json_at(inventory->servers, i);

		if (!*json_text(server, "dev-id"))
			list_server(&table, server);
	}
	if (table_end(&table, stdout) || list_disks(inventory))
		return ob_error_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* For programs: the monitor's own words, gathered. */
static struct json_object *list_json(const struct inventory *inventory)
{
	struct json_object *all = json_object_new_object();
	struct json_object *devices = json_object_new_array();

	for (size_t i = 0; i < inventory->count; i++) {
		const struct inventory_row *row = &inventory->rows[i];
		struct json_object *device = json_object_new_object();

		json_add_text(device, "id", row->id);
		json_add_text(device, "type", row->type);
		if (row->pci)
			json_object_object_add(device, "pci", json_object_get(row->pci));
		if (*row->root)
			json_add_text(device, "root", row->root);
		if (*row->serial)
			json_add_text(device, "serial", row->serial);
		if (row->server)
			json_add_text(device, "server", json_text(row->server, "id"));
		json_object_array_add(devices, device);
	}
	json_object_object_add(all, "devices", devices);
	json_object_object_add(all, "servers", json_object_get(inventory->servers));
	json_object_object_add(all, "block-nodes", json_object_get(inventory->nodes));
	json_object_object_add(all, "block-stats", json_object_get(inventory->stats));
	return all;
}

static int run_list(const char *const *words, const void *options, struct ob_error *err)
{
	const struct list_options *list = options;
	cleanup_qmp struct qmp *qmp = NULL;
	cleanup_inventory struct inventory inventory = {0};
	cleanup_json struct json_object *all = NULL;
	int rc = inventory_open(&list->monitor, &qmp, &inventory, err);

	if (!rc)
		rc = inventory_serials(&inventory, qmp, err);
	if (rc)
		return rc;
	if (!list->monitor.json)
		return list_text(&inventory, err);
	all = list_json(&inventory);
	print_json(all, true);
	return 0;
}

const struct command command_list = {
	.name = "list",
	.words = "",
	.summary = "Shows devices, their servers, clients and disks",
	.details =
		"PLACE is root:slot.function; a device without a root's name has one of its own. "
		"Below are all\ndisks, those that no device uses too.\n",
	.options = list_options,
	.options_size = sizeof(struct list_options),
	.monitor = true,
	.run = run_list,
};

/* info */

static void add_counts_json(struct json_object *object, const struct disk_counts *counts)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{"reads", counts->reads},
		{"writes", counts->writes},
		{"other-operations", counts->others},
		{"read-bytes", counts->read_bytes},
		{"write-bytes", counts->write_bytes},
		{"failed-operations", counts->errors},
		{"in-flight", counts->in_flight},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_object_add(object, numbers[i].key,
		                       json_object_new_uint64(numbers[i].value));
}

static struct json_object *disks_json(const struct inventory *inventory,
                                      const struct inventory_row *row)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < inventory->disk_count; i++) {
		const struct inventory_disk *disk = &inventory->disks[i];
		struct json_object *object;

		if (strcmp(disk->device, row->id) != 0)
			continue;
		object = json_object_new_object();
		json_add_text(object, "node-name", disk->node);
		json_add_text(object, "file", json_text(disk->info, "file"));
		json_add_text(object, "driver", json_text(disk->info, "drv"));
		json_object_object_add(object, "size", json_object_new_uint64(disk_size(disk)));
		json_object_object_add(object, "read-only",
		                       json_object_new_boolean(json_flag(disk->info, "ro")));
		add_counts_json(object, &disk->counts);
		json_object_array_add(list, object);
	}
	return list;
}

static void print_line(const char *key, const char *value)
{
	printf("  %-20s ", key);
	print_plain(value, stdout);
	putchar('\n');
}

/* A property's value as the monitor gives it. Those that have none are left out. */
static int add_properties(struct qmp *qmp, const char *id, struct json_object *to,
                          struct ob_error *err)
{
	cleanup_json struct json_object *list = NULL;
	struct json_object *arguments = json_object_new_object();
	int rc;

	json_add_text(arguments, "path", id);
	rc = qmp_call(qmp, "qom-list", arguments, &list, err);
	for (size_t i = 0; !rc && i < json_length(list); i++) {
		const char *name = json_text(json_at(list, i), "name");
		struct json_object *value = NULL;

		arguments = json_object_new_object();
		json_add_text(arguments, "path", id);
		json_add_text(arguments, "property", name);
		rc = qmp_call(qmp, "qom-get", arguments, &value, err);
		if (rc == -EREMOTEIO)
			rc = 0;
		else if (!rc && value)
			json_object_object_add(to, name, value);
	}
	return rc;
}

/* As a time, instead of nanoseconds. */
static void print_since(uint64_t ns)
{
	time_t since = (time_t)(ns / 1000000000);
	char text[64] = "";
	struct tm local;

	if (localtime_r(&since, &local))
		strftime(text, sizeof(text), "%F %T", &local);
	print_line("since", text);
}

static void print_object(const char *title, struct json_object *object)
{
	if (!json_object_is_type(object, json_type_object))
		return;
	printf("%s:\n", title);
	json_object_object_foreach(object, key, value)
	{
		bool list = json_object_is_type(value, json_type_array);

		if (!strcmp(key, "since"))
			print_since(json_object_get_uint64(value));
		else if (!strcmp(key, "clients"))
			print_line("clients so far", json_object_get_string(value));
		else if (!list && !json_object_is_type(value, json_type_object))
			print_line(key, json_object_get_string(value));
		else if (list && !json_object_is_type(json_at(value, 0), json_type_object))
			print_line(key, json_object_to_json_string(value));
	}
}

static void print_irqs(struct json_object *client)
{
	struct json_object *irqs = json_member(client, "irqs");

	for (size_t i = 0; i < json_length(irqs); i++) {
		struct json_object *kind = json_at(irqs, i);
		char text[64];

		if (!json_number(kind, "wired"))
			continue;
		snprintf(text, sizeof(text), "%" PRIu64 " wired, %" PRIu64 " signalled",
		         json_number(kind, "wired"), json_number(kind, "signalled"));
		print_line(json_text(kind, "kind"), text);
	}
}

/* As lspci -n has them. */
static void print_identity(struct json_object *ids)
{
	char text[64];

	if (!ids)
		return;
	snprintf(text, sizeof(text), "%04x:%04x, subsystem %04x:%04x",
	         (unsigned)json_number(ids, "vendor"), (unsigned)json_number(ids, "device"),
	         (unsigned)json_number(ids, "subsystem-vendor"),
	         (unsigned)json_number(ids, "subsystem"));
	print_line("identity", text);
}

static void print_disk(const struct inventory_disk *disk)
{
	char size[SIZE_TEXT], read[SIZE_TEXT], written[SIZE_TEXT], text[128];
	char numbers[256];

	snprintf(text, sizeof(text), "disk %u", disk->number);
	printf("%s:\n", text);
	print_line("node-name", disk->node);
	print_line("file", disk_file(disk));
	print_line("driver", json_text(disk->info, "drv"));
	snprintf(text, sizeof(text), "%s (%" PRIu64 " bytes)", size_text(disk_size(disk), size),
	         disk_size(disk));
	print_line("size", text);
	print_line("access", disk_access(disk));
	snprintf(numbers, sizeof(numbers),
	         "%" PRIu64 " reads (%s), %" PRIu64 " writes (%s), %" PRIu64 " failed, %" PRIu64
	         " in flight",
	         disk->counts.reads, size_text(disk->counts.read_bytes, read), disk->counts.writes,
	         size_text(disk->counts.write_bytes, written), disk->counts.errors,
	         disk->counts.in_flight);
	print_line("so far", numbers);
}

static void print_info(const struct inventory *inventory, const struct inventory_row *row,
                       struct json_object *properties)
{
	printf("device %s (%s)\n", row->id, row->type);
	print_object("properties", properties);
	print_object("PCI function", row->pci);
	print_identity(json_member(row->pci, "id"));
	for (size_t i = 0; i < inventory->disk_count; i++) {
		if (!strcmp(inventory->disks[i].device, row->id))
			print_disk(&inventory->disks[i]);
	}
	print_object("server", row->server);
	print_object("client", row->client);
	print_object("agreed with it", json_member(row->client, "capabilities"));
	if (row->client)
		puts("interrupts:");
	print_irqs(row->client);
}

static int run_info(const char *const *words, const void *options, struct ob_error *err)
{
	const struct list_options *list = options;
	cleanup_qmp struct qmp *qmp = NULL;
	cleanup_inventory struct inventory inventory = {0};
	cleanup_json struct json_object *all = json_object_new_object();
	struct json_object *properties = json_object_new_object();
	struct inventory_row *row;
	int rc = inventory_open(&list->monitor, &qmp, &inventory, err);

	json_object_object_add(all, "properties", properties);
	if (rc)
		return rc;
	row = inventory_find_or_refuse(&inventory, words[0], err);
	if (!row)
		return -ENOENT;
	rc = add_properties(qmp, row->id, properties, err);
	if (rc)
		return rc;
	if (!list->monitor.json) {
		print_info(&inventory, row, properties);
		return 0;
	}
	json_add_text(all, "id", row->id);
	json_add_text(all, "type", row->type);
	if (row->pci)
		json_object_object_add(all, "pci", json_object_get(row->pci));
	if (row->server)
		json_object_object_add(all, "server", json_object_get(row->server));
	if (row->disks)
		json_object_object_add(all, "disks", disks_json(&inventory, row));
	print_json(all, true);
	return 0;
}

const struct command command_info = {
	.name = "info",
	.words = "DEVICE",
	.word_count = 1,
	.summary = "Shows all about one device: properties, disks, server, client",
	.details = "",
	.options = list_options,
	.options_size = sizeof(struct list_options),
	.monitor = true,
	.run = run_info,
};

/* stats */

static void count_cells(struct table *table, const struct disk_counts *counts)
{
	char text[SIZE_TEXT];

	table_cell(table, "%" PRIu64, counts->reads);
	table_cell(table, "%" PRIu64, counts->writes);
	table_cell(table, "%" PRIu64, counts->others);
	table_cell(table, "%s", size_text(counts->read_bytes, text));
	table_cell(table, "%s", size_text(counts->write_bytes, text));
	table_cell(table, "%" PRIu64, counts->errors);
	table_cell(table, "%" PRIu64, counts->in_flight);
}

/* One of several; messages are about devices. */
static void stats_disk(struct table *table, const struct inventory_disk *disk)
{
	table_cell(table, "%s", disk->device);
	table_cell(table, "%s", disk->node);
	count_cells(table, &disk->counts);
	for (unsigned i = 0; i < 4; i++)
		table_cell(table, "-");
}

static void stats_disks(struct table *table, const struct inventory *inventory,
                        const struct inventory_row *row)
{
	for (size_t i = 0; row->disks > 1 && i < inventory->disk_count; i++) {
		if (!strcmp(inventory->disks[i].device, row->id))
			stats_disk(table, &inventory->disks[i]);
	}
}

static void stats_row(struct table *table, const struct inventory_row *row)
{
	struct client_counts client = client_counts(row->client);
	char text[SIZE_TEXT];

	table_cell(table, "%s", row->id);
	if (row->disks > 1)
		table_cell(table, "all %u", row->disks);
	else
		table_cell(table, "%s", or_dash(row->node));
	count_cells(table, &row->counts);
	table_cell(table, "%" PRIu64, client.messages);
	table_cell(table, "%s", size_text(client.bytes, text));
	table_cell(table, "%" PRIu64, client.errors);
	table_cell(
		table, "%s",
		time_text(client.timed ? (double)client.total_ns / (double)client.timed : 0, text));
}

static struct json_object *stats_json(const struct inventory *inventory,
                                      const struct inventory_row *row)
{
	struct client_counts client = client_counts(row->client);
	struct json_object *object = json_object_new_object();
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{"messages", client.messages},     {"message-bytes", client.bytes},
		{"message-errors", client.errors}, {"messages-timed", client.timed},
		{"message-ns", client.total_ns},
	};

	json_add_text(object, "device", row->id);
	add_counts_json(object, &row->counts);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_object_add(object, numbers[i].key,
		                       json_object_new_uint64(numbers[i].value));
	if (row->disks)
		json_object_object_add(object, "disks", disks_json(inventory, row));
	return object;
}

static int print_stats(const struct inventory *inventory, const char *only, bool json,
                       struct ob_error *err)
{
	static const char *const heads[] = {"DEVICE",     "DISK",      ">READS",   ">WRITES",
	                                    ">OTHER",     ">READ",     ">WRITTEN", ">FAILED",
	                                    ">IN FLIGHT", ">MESSAGES", ">BYTES",   ">REFUSED",
	                                    ">TIME EACH", NULL};
	cleanup_json struct json_object *list = json_object_new_array();
	struct table table;

	table_begin(&table, heads);
	for (size_t i = 0; i < inventory->count; i++) {
		const struct inventory_row *row = &inventory->rows[i];

		if (!row->pci || (only && strcmp(only, row->id) != 0))
			continue;
		if (json)
			json_object_array_add(list, stats_json(inventory, row));
		else
			stats_row(&table, row);
		if (!json)
			stats_disks(&table, inventory, row);
	}
	if (json) {
		print_json(list, true);
		return 0;
	}
	return table_end(&table, stdout) ? ob_error_set(err, -ENOMEM, "out of memory") : 0;
}

static int run_stats(const char *const *words, const void *options, struct ob_error *err)
{
	const struct list_options *list = options;
	cleanup_qmp struct qmp *qmp = NULL;
	cleanup_inventory struct inventory inventory = {0};
	int rc = inventory_open(&list->monitor, &qmp, &inventory, err);

	if (rc)
		return rc;
	if (words[0] && !inventory_find_or_refuse(&inventory, words[0], err))
		return -ENOENT;
	return print_stats(&inventory, words[0], list->monitor.json, err);
}

const struct command command_stats = {
	.name = "stats",
	.words = "[DEVICE]",
	.more_words = 1,
	.summary = "Shows what disks did so far, and what clients asked",
	.details = "Disks count since they were made, clients since they connected; a device with "
		   "several disks has a\nline for each below its own. TIME EACH is what "
		   "the\nserver itself needed for a message, on average.\n",
	.options = list_options,
	.options_size = sizeof(struct list_options),
	.monitor = true,
	.run = run_stats,
};
