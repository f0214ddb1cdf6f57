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

/* "b0 (disk.img, 1 GiB)", "b0 and 2 more". */
static const char *disk_text(const struct inventory *inventory, const struct inventory_row *row,
                             char *text, size_t room)
{
	struct json_object *node = find_in(inventory->nodes, "node-name", row->node);
	const char *file = json_text(node, "file");
	char size[SIZE_TEXT];

	if (!row->disks)
		snprintf(text, room, "-");
	else if (row->disks > 1)
		snprintf(text, room, "%s and %u more", row->node, row->disks - 1);
	else
		snprintf(text, room, "%s (%s, %s)", row->node,
		         *file ? file : json_text(node, "drv"),
		         size_text(json_number(json_member(node, "image"), "virtual-size"), size));
	return text;
}

static void list_device(struct table *table, const struct inventory *inventory,
                        const struct inventory_row *row)
{
	char client[32], disk[512], place[96] = "-";
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
	table_cell(table, "%s", disk_text(inventory, row, disk, sizeof(disk)));
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
		list_device(&table, inventory, &inventory->rows[i]);
	for (size_t i = 0; i < json_length(inventory->servers); i++) {
		struct json_object *server = json_at(inventory->servers, i);

		if (!*json_text(server, "dev-id"))
			list_server(&table, server);
	}
	return table_end(&table, stdout) ? ob_error_set(err, -ENOMEM, "out of memory") : 0;
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
		"PLACE is root:slot.function; a device without a root's name has one of its own.\n",
	.options = list_options,
	.options_size = sizeof(struct list_options),
	.monitor = true,
	.run = run_list,
};

/* info */

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

static void print_info(const struct inventory_row *row, struct json_object *properties)
{
	printf("device %s (%s)\n", row->id, row->type);
	print_object("properties", properties);
	print_object("PCI function", row->pci);
	print_identity(json_member(row->pci, "id"));
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
		print_info(row, properties);
		return 0;
	}
	json_add_text(all, "id", row->id);
	json_add_text(all, "type", row->type);
	if (row->pci)
		json_object_object_add(all, "pci", json_object_get(row->pci));
	if (row->server)
		json_object_object_add(all, "server", json_object_get(row->server));
	print_json(all, true);
	return 0;
}

const struct command command_info = {
	.name = "info",
	.words = "DEVICE",
	.word_count = 1,
	.summary = "Shows all about one device: properties, server, client",
	.details = "",
	.options = list_options,
	.options_size = sizeof(struct list_options),
	.monitor = true,
	.run = run_info,
};

/* stats */

static void stats_row(struct table *table, const struct inventory_row *row)
{
	struct client_counts client = client_counts(row->client);
	char text[SIZE_TEXT];

	table_cell(table, "%s", row->id);
	table_cell(table, "%" PRIu64, row->counts.reads);
	table_cell(table, "%" PRIu64, row->counts.writes);
	table_cell(table, "%" PRIu64, row->counts.others);
	table_cell(table, "%s", size_text(row->counts.read_bytes, text));
	table_cell(table, "%s", size_text(row->counts.write_bytes, text));
	table_cell(table, "%" PRIu64, row->counts.errors);
	table_cell(table, "%" PRIu64, row->counts.in_flight);
	table_cell(table, "%" PRIu64, client.messages);
	table_cell(table, "%s", size_text(client.bytes, text));
	table_cell(table, "%" PRIu64, client.errors);
	table_cell(
		table, "%s",
		time_text(client.timed ? (double)client.total_ns / (double)client.timed : 0, text));
}

static struct json_object *stats_json(const struct inventory_row *row)
{
	struct client_counts client = client_counts(row->client);
	struct json_object *object = json_object_new_object();
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{"reads", row->counts.reads},
		{"writes", row->counts.writes},
		{"other-operations", row->counts.others},
		{"read-bytes", row->counts.read_bytes},
		{"write-bytes", row->counts.write_bytes},
		{"failed-operations", row->counts.errors},
		{"in-flight", row->counts.in_flight},
		{"messages", client.messages},
		{"message-bytes", client.bytes},
		{"message-errors", client.errors},
		{"messages-timed", client.timed},
		{"message-ns", client.total_ns},
	};

	json_add_text(object, "device", row->id);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_object_add(object, numbers[i].key,
		                       json_object_new_uint64(numbers[i].value));
	return object;
}

static int print_stats(const struct inventory *inventory, const char *only, bool json,
                       struct ob_error *err)
{
	static const char *const heads[] = {"DEVICE",    ">READS",   ">WRITES",  ">OTHER",
	                                    ">READ",     ">WRITTEN", ">FAILED",  ">IN FLIGHT",
	                                    ">MESSAGES", ">BYTES",   ">REFUSED", ">TIME EACH",
	                                    NULL};
	cleanup_json struct json_object *list = json_object_new_array();
	struct table table;

	table_begin(&table, heads);
	for (size_t i = 0; i < inventory->count; i++) {
		const struct inventory_row *row = &inventory->rows[i];

		if (!row->pci || (only && strcmp(only, row->id) != 0))
			continue;
		if (json)
			json_object_array_add(list, stats_json(row));
		else
			stats_row(&table, row);
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
	.details =
		"Disks count since they were made, clients since they connected. TIME EACH is what "
		"the\nserver itself needed for a message, on average.\n",
	.options = list_options,
	.options_size = sizeof(struct list_options),
	.monitor = true,
	.run = run_stats,
};
