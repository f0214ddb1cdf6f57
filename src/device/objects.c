/* SPDX-License-Identifier: BSD-3-Clause */
/* What a device and its parts use of the process around them: claimed by name, and let go. */
#include "internal.h"

static struct ob_block *claim_block(void *context, const char *node_name, struct ob_error *err)
{
	struct ob_dev *dev = context;

	return dev->env.claim_block(dev->env.context, node_name, dev->id, err);
}

static struct ob_chardev *claim_chardev(void *context, const char *id, struct ob_error *err)
{
	struct ob_dev *dev = context;

	return dev->env.claim_chardev(dev->env.context, id, dev->id, err);
}

static void release_blocks(struct ob_dev *dev, struct ob_block_list *list)
{
	while (list->count)
		dev->env.release_block(dev->env.context, list->nodes[--list->count], dev->id);
}

void device_release_objects(struct ob_dev *dev, const struct ob_prop *table, void *values)
{
	for (const struct ob_prop *prop = table; prop && prop->name; prop++) {
		void *field = (char *)values + prop->offset;
		struct ob_chardev **chardev = field;

		if (prop->type == OB_PROP_BLOCKS)
			release_blocks(dev, field);
		else if (prop->type == OB_PROP_CHARDEV && *chardev)
			dev->env.release_chardev(dev->env.context, *chardev, dev->id);
	}
}

struct props_objects device_objects(struct ob_dev *dev)
{
	return (struct props_objects){
		.claim_block = dev->env.claim_block ? claim_block : NULL,
		.claim_chardev = dev->env.claim_chardev ? claim_chardev : NULL,
		.context = dev,
	};
}
