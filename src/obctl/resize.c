/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl resize: a disk grows, or shrinks, while its guest uses it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/opts.h"
#include "obctl/inventory.h"
#include "obctl/table.h"

struct resize_options {
	struct monitor_options monitor;
	bool destroy;
};

/* A node's name, or that of a device with one disk. */
static struct inventory_disk *find_disk(const struct inventory *inventory, const char *name,
                                        struct ob_error *err)
{
	struct inventory_row *row = inventory_find(inventory, name);
	struct inventory_disk *disk = inventory_find_disk(inventory, name);

	if (row && row->disks == 1)
		return inventory_find_disk(inventory, row->node);
	if (!row && disk)
		return disk;
	if (row && row->disks)
		ob_error_set(err, -EINVAL,
		             "device '%s' has %u disks: name one of them, %s or as obctl list "
		             "shows them",
		             name, row->disks, row->node);
	else if (row)
		ob_error_set(err, -EINVAL, "device '%s' has no disk", name);
	else
		ob_error_set(err, -ENOENT,
		             "there is no disk and no device '%s': obctl list shows them all",
		             name);
	return NULL;
}

/* "+1G" is so much more than now. */
static int parse_target(const char *text, uint64_t now, uint64_t *size, struct ob_error *err)
{
	bool more = text[0] == '+';
	int rc = parse_size("SIZE", text + more, 1, INT64_MAX, size, err);

	if (rc)
		return rc;
	if (more && *size > INT64_MAX - now)
		return ob_error_set(err, -EINVAL, "SIZE '%s': too large", text);
	*size += more ? now : 0;
	return 0;
}

static int resize(struct qmp *qmp, const struct inventory_disk *disk, uint64_t size,
                  struct ob_error *err)
{
	struct json_object *arguments = json_object_new_object();

	json_add_text(arguments, "node-name", disk->node);
	json_object_object_add(arguments, "size", json_object_new_uint64(size));
	return qmp_call(qmp, "block_resize", arguments, NULL, err);
}

static int run_resize(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct resize_options *options = opaque;
	cleanup_inventory struct inventory inventory = {0};
	cleanup_qmp struct qmp *qmp = NULL;
	struct inventory_disk *disk;
	char before[SIZE_TEXT], after[SIZE_TEXT];
	uint64_t size = 0;
	int rc = inventory_open(&options->monitor, &qmp, &inventory, err);

	if (rc)
		return rc;
	disk = find_disk(&inventory, words[0], err);
	if (!disk)
		return -ENOENT;
	rc = parse_target(words[1], disk_size(disk), &size, err);
	if (!rc && size < disk_size(disk) && !options->destroy)
		rc = ob_error_set(err, -EEXIST,
		                  "%s has %" PRIu64 " bytes, and what lies behind %" PRIu64
		                  " would be lost: --destroy cuts it off",
		                  disk->node, disk_size(disk), size);
	if (!rc)
		rc = resize(qmp, disk, size, err);
	if (!rc)
		printf("%s: %s, was %s\n", disk->node, size_text(size, after),
		       size_text(disk_size(disk), before));
	return rc;
}

static const struct ob_prop options_table[] = {
	MONITOR_OPTIONS,
	{.name = "destroy",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct resize_options, destroy),
         .help = "the disk may shrink: what lies behind its new end is lost"},
	{0},
};

const struct command command_resize = {
	.name = "resize",
	.words = "DISK SIZE",
	.word_count = 2,
	.summary = "Grows a disk while it is used",
	.details =
		"    obctl -s q.sock resize vm1 20G\n"
		"    obctl -s q.sock resize vm1-drive0 +4G\n"
		"DISK is a name that 'obctl list' shows, or a device that has one disk. Its image "
		"grows, and the\nguest is told; partitions and file systems are the guest's.\n",
	.options = options_table,
	.options_size = sizeof(struct resize_options),
	.monitor = true,
	.run = run_resize,
};
