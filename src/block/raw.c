/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The raw driver: a node over another one, with the same bytes in it. QEMU's command lines, and
 * libvirt's above all, make a disk of two nodes: the storage, and the format of what is in it. The
 * upper one is what devices use and what monitors name; it may be read-only where the lower one is
 * not. Requests are passed down by block.c.
 */
#include <errno.h>
#include <stddef.h>

#include "drivers.h"

enum { RAW_DISCARD_IGNORE, RAW_DISCARD_UNMAP };

struct raw_props {
	bool read_only;
	uint32_t discard;
};

static int raw_open(struct ob_block *block, struct ob_error *err)
{
	const struct raw_props *props = block->props;

	block->info = *ob_block_info(block->below);
	if (block->info.read_only && !props->read_only)
		return ob_error_set(err, -EROFS,
		                    "the node below, '%s', is read-only: read-only=on here too",
		                    ob_block_name(block->below));
	block->info.read_only = props->read_only;
	if (props->read_only)
		block->info.volatile_cache = false;
	block->keeps_space = props->discard == RAW_DISCARD_IGNORE || !block->info.discard;
	block->info.discard &= !block->keeps_space;
	block->info.discard_zeroes &= block->info.discard;
	return 0;
}

static void raw_close(struct ob_block *block)
{
	block->below->above = NULL;
}

/* block.c hands requests to the lowest node. */
static int raw_submit(struct ob_block *block, struct ob_block_request *request)
{
	(void)block;
	(void)request;
	return -EIO;
}

static int raw_resize(struct ob_block *block, uint64_t size, struct ob_error *err)
{
	return block_resize(block->below, size, err);
}

static const char *const discard_choices[] = {
	[RAW_DISCARD_IGNORE] = "ignore", [RAW_DISCARD_UNMAP] = "unmap", NULL};

static const struct ob_prop raw_table[] = {
	{"read-only", OB_PROP_BOOL, offsetof(struct raw_props, read_only), .preset = "off",
         .help = "allow reading only, whatever the node below allows"},
	{"discard", OB_PROP_ENUM, offsetof(struct raw_props, discard), .preset = "ignore",
         .choices = discard_choices,
         .help = "unmap: pass what the guest discards on to the node below"},
	{.name = NULL},
};

const struct block_driver block_raw = {
	.name = "raw",
	.summary = "the bytes of another node (file=NODE), as QEMU's command lines have it",
	.node_size = sizeof(struct ob_block),
	.props_size = sizeof(struct raw_props),
	.props = raw_table,
	.filter = true,
	.open = raw_open,
	.close = raw_close,
	.submit = raw_submit,
	.resize = raw_resize,
};
