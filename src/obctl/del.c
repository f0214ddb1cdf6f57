/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl del: a device with its server, its disks and chardevs, in the order in which that can be.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/opts.h"
#include "obctl/inventory.h"

struct del_options {
	struct monitor_options monitor;
	bool force;
};

static int note_node(void *context, const char *node)
{
	return opts_add(context, "node", node);
}

/* The chardevs that it has. A server that has none at all knows no such command. */
static int note_chardevs(struct qmp *qmp, const char *device, struct opts *chardevs)
{
	cleanup_json struct json_object *list = NULL;
	int rc = 0;

	if (qmp_call(qmp, "query-chardev", NULL, &list, NULL))
		return 0;
	for (size_t i = 0; i < json_length(list) && !rc; i++) {
		const char *path = json_text(json_at(list, i), "qdev"), *id = strrchr(path, '/');

		if (id && !strcmp(id + 1, device))
			rc = opts_add(chardevs, "chardev", json_text(json_at(list, i), "label"));
	}
	return rc;
}

static int remove_all(struct qmp *qmp, const struct inventory_row *row, const struct opts *nodes,
                      const struct opts *chardevs, struct ob_error *err)
{
	int rc = 0;

	if (row->server)
		rc = qmp_call_with(qmp, "object-del", "id", json_text(row->server, "id"), NULL,
		                   err);
	if (!rc)
		rc = qmp_call_with(qmp, "device_del", "id", row->id, NULL, err);
	if (!rc)
		rc = qmp_wait_deleted(qmp, row->id, err);
	for (size_t i = 0; i < nodes->count && !rc; i++)
		rc = qmp_call_with(qmp, "blockdev-del", "node-name", nodes->list[i].value, NULL,
		                   err);
	for (size_t i = 0; i < chardevs->count && !rc; i++)
		rc = qmp_call_with(qmp, "chardev-remove", "id", chardevs->list[i].value, NULL, err);
	return rc;
}

/* "bash" for a process that is where we can see it. */
static const char *name_of_process(uint64_t pid, char name[32])
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/comm", pid);
	file = fopen(path, "re");
	if (!file || !fgets(name, 32, file))
		snprintf(name, 32, "a process");
	if (file)
		fclose(file);
	name[strcspn(name, "\n")] = '\0';
	return name;
}

/* A guest loses a disk that it may well be writing to. */
static int refuse_in_use(const struct inventory_row *row, struct ob_error *err)
{
	uint64_t pid = json_number(row->client, "pid");
	char name[32];

	return ob_error_set(err, -EBUSY,
	                    "%s is in use by %s (pid %" PRIu64
	                    "), which would lose it: detach it there first, or give --force",
	                    row->id, name_of_process(pid, name), pid);
}

static int run_del(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct del_options *options = opaque;
	cleanup_inventory struct inventory inventory = {0};
	cleanup_qmp struct qmp *qmp = NULL;
	cleanup_opts struct opts nodes = {0};
	cleanup_opts struct opts chardevs = {0};
	struct inventory_row *row;
	int rc = inventory_open(&options->monitor, &qmp, &inventory, err);

	if (rc)
		return rc;
	row = inventory_find_or_refuse(&inventory, words[0], err);
	if (!row)
		return -ENOENT;
	if (row->client && !options->force)
		return refuse_in_use(row, err);
	if (inventory_each_disk(&inventory, row->id, note_node, &nodes) ||
	    note_chardevs(qmp, row->id, &chardevs))
		return ob_error_set(err, -ENOMEM, "out of memory");
	return remove_all(qmp, row, &nodes, &chardevs, err);
}

static const struct ob_prop options_table[] = {
	MONITOR_OPTIONS,
	{.name = "force",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct del_options, force),
         .help = "also if a client is connected: its guest loses the device"},
	{0},
};

const struct command command_del = {
	.name = "del",
	.words = "DEVICE",
	.word_count = 1,
	.summary = "Removes a device, its server, its disks and chardevs",
	.details = "Work in flight ends, images are closed. Files stay. A device with a client is "
		   "refused, unless\n--force says that the client is to be hung up on.\n",
	.options = options_table,
	.options_size = sizeof(struct del_options),
	.monitor = true,
	.run = run_del,
};
