/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl del: a device with its server and its disks, in the order in which that can be. */
#include <errno.h>

#include "base/opts.h"
#include "obctl/inventory.h"

static int note_node(void *context, const char *node)
{
	return opts_add(context, "node", node);
}

static int remove_all(struct qmp *qmp, const struct inventory_row *row, const struct opts *nodes,
                      struct ob_error *err)
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
	return rc;
}

static int run_del(const char *const *words, const void *options, struct ob_error *err)
{
	cleanup_inventory struct inventory inventory = {0};
	cleanup_qmp struct qmp *qmp = NULL;
	cleanup_opts struct opts nodes = {0};
	struct inventory_row *row;
	int rc = inventory_open(options, &qmp, &inventory, err);

	if (rc)
		return rc;
	row = inventory_find_or_refuse(&inventory, words[0], err);
	if (!row)
		return -ENOENT;
	if (inventory_each_disk(&inventory, row->id, note_node, &nodes))
		return ob_error_set(err, -ENOMEM, "out of memory");
	return remove_all(qmp, row, &nodes, err);
}

static const struct ob_prop options_table[] = {MONITOR_OPTIONS, {0}};

const struct command command_del = {
	.name = "del",
	.words = "DEVICE",
	.word_count = 1,
	.summary = "Removes a device, its server and its disks",
	.details =
		"Its client is hung up on, work in flight ends, images are closed. Files stay.\n",
	.options = options_table,
	.options_size = sizeof(struct monitor_options),
	.monitor = true,
	.run = run_del,
};
