/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What there is in an outboard process, as its monitor tells: devices with their servers, clients
 * and disks, in one table. Commands print it, each in its way.
 */
#ifndef OBCTL_INVENTORY_H
#define OBCTL_INVENTORY_H

#include <stddef.h>

#include "obctl/command.h"
#include "obctl/qmp_client.h"

/* What every command has that talks to a monitor. */
struct monitor_options {
	char *socket;
	uint32_t timeout;
	bool json;
};
/* Their part of a table; the struct monitor_options comes first in what the table describes. */
#define MONITOR_OPTIONS                                                                            \
	{                                                                                          \
		.name = "socket",                                                                  \
		.type = OB_PROP_STRING,                                                            \
		.offset = offsetof(struct monitor_options, socket),                                \
		.help = "the monitor's socket (-s, also in front of the command)",                 \
	},                                                                                         \
		{                                                                                  \
			.name = "json",                                                            \
			.type = OB_PROP_BOOL,                                                      \
			.offset = offsetof(struct monitor_options, json),                          \
			.help = "print JSON",                                                      \
		},                                                                                 \
	{                                                                                          \
		.name = "timeout", .type = OB_PROP_UINT32,                                         \
		.offset = offsetof(struct monitor_options, timeout), .min = 1, .max = 3600000,     \
		.preset = "10000", .help = "milliseconds to wait for an answer",                   \
	}

int monitor_connect(const struct monitor_options *options, struct qmp **out, struct ob_error *err);

/* Prints JSON on standard output, over several lines or on one. */
void print_json(struct json_object *object, bool pretty);

/* Sums over a device's disks, counted since they were made. */
struct disk_counts {
	uint64_t reads, writes, others, errors, in_flight;
	uint64_t read_bytes, write_bytes;
	uint64_t read_ns, write_ns; /* from a request to its end, summed */
};

/* A block node. */
struct inventory_disk {
	const char *node, *device; /* device: id of the one that uses it; "" if none does */
	unsigned number;           /* among the device's disks, from 1 on */
	struct json_object *info;  /* of query-named-block-nodes; NULL: not known */
	struct disk_counts counts;
};

/* A device. Texts are the inventory's, and "" where there is nothing. */
struct inventory_row {
	const char *id, *type;
	const char *root; /* id of the root it is on; a device's own has that device's id */
	unsigned slot, function;
	struct json_object *server; /* of query-vfio-user; NULL: none */
	struct json_object *client; /* NULL: none */
	struct json_object *pci;    /* of query-pci; NULL: it is not a PCI function (a root) */
	unsigned disks;
	const char *node; /* the first of its block nodes */
	const char *serial;
	struct disk_counts counts; /* of all its disks together */
};

struct inventory {
	struct inventory_row *rows; /* by id */
	size_t count;
	struct inventory_disk *disks; /* by device and number; at the end those that nobody uses */
	size_t disk_count;
	struct json_object *serials; /* of devices that have one, by id; see inventory_serials() */
	struct json_object *servers, *nodes;       /* query-vfio-user, query-named-block-nodes */
	struct json_object *devices, *pci, *stats; /* what rows point into */
};

/* 0 or what qmp_call() says. inventory_free() afterwards in any case. */
int inventory_fetch(struct inventory *inventory, struct qmp *qmp, struct ob_error *err);
/* The same at a monitor that is connected to first; *qmp is the caller's to free in any case. */
int inventory_open(const struct monitor_options *options, struct qmp **qmp,
                   struct inventory *inventory, struct ob_error *err);
void inventory_free(struct inventory *inventory);
#define cleanup_inventory __attribute__((cleanup(inventory_free)))

/* Asks for serial numbers, one device after the other: rows have none before. As qmp_call(). */
int inventory_serials(struct inventory *inventory, struct qmp *qmp, struct ob_error *err);

/* NULL: there is no such node. */
struct inventory_disk *inventory_find_disk(const struct inventory *inventory, const char *node);

/* What a node holds: its file, or its driver; its size; "read-write" or "read-only". */
const char *disk_file(const struct inventory_disk *disk);
uint64_t disk_size(const struct inventory_disk *disk);
const char *disk_access(const struct inventory_disk *disk);

/* NULL: there is no such device. */
struct inventory_row *inventory_find(const struct inventory *inventory, const char *id);
/* The same with a message. */
struct inventory_row *inventory_find_or_refuse(const struct inventory *inventory, const char *id,
                                               struct ob_error *err);

/* The element of a list whose member key is that text. NULL: there is none. */
struct json_object *find_in(struct json_object *list, const char *key, const char *text);

/* Calls visit for each of the device's block nodes, until it returns something else than 0. */
int inventory_each_disk(const struct inventory *inventory, const char *device,
                        int (*visit)(void *context, const char *node), void *context);

/* Sums over all commands of a client. */
struct client_counts {
	uint64_t messages, bytes, errors;
	uint64_t timed, total_ns; /* the server's own time, and how many it is about */
};
struct client_counts client_counts(struct json_object *client);

#endif
