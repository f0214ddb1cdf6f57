/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of devices (struct ob_part): their properties, and the block nodes behind them. */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

struct device_part {
	struct device_part *next;
	unsigned number;
	void *props;
};

static void part_free(struct ob_dev *dev, struct device_part *part)
{
	const struct ob_prop *table = dev->model->part->props;

	if (part->props) {
		device_release_objects(dev, table, part->props);
		props_free(table, part->props);
	}
	free(part->props);
	free(part);
}

static void link_part(struct ob_dev *dev, struct device_part *part)
{
	struct device_part **at = &dev->parts;

	while (*at && (*at)->number < part->number)
		at = &(*at)->next;
	part->next = *at;
	*at = part;
}

struct device_part *device_part_add(struct ob_dev *dev, struct opts *opts, struct ob_error *err)
{
	const struct ob_part *type = dev->model->part;
	struct device_part *part = calloc(1, sizeof(*part));
	struct props_objects objects = device_objects(dev);
	int rc;

	if (part)
		part->props = calloc(1, type->props_size);
	if (!part || !part->props) {
		free(part);
		ob_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	rc = props_apply(type->props, part->props, opts, &objects, err);
	if (!rc)
		rc = opts_refuse_rest(opts, type->name, err);
	if (!rc)
		rc = type->add(dev, part->props, &part->number, err);
	if (rc) {
		part_free(dev, part);
		return NULL;
	}
	link_part(dev, part);
	return part;
}

void device_part_remove(struct ob_dev *dev, struct device_part *part)
{
	struct device_part **at = &dev->parts;

	while (*at != part)
		at = &(*at)->next;
	*at = part->next;
	dev->model->part->remove(dev, part->number);
	part_free(dev, part);
}

const void *device_part_props(const struct device_part *part)
{
	return part->props;
}

void device_parts_free(struct ob_dev *dev)
{
	while (dev->parts) {
		struct device_part *part = dev->parts;

		dev->parts = part->next;
		part_free(dev, part);
	}
}

struct ob_block *device_parts_drive(const struct ob_dev *dev, unsigned number)
{
	for (const struct device_part *part = dev->parts; part; part = part->next) {
		const struct ob_prop *prop = dev->model->part->props;

		for (; prop->name; prop++) {
			const struct ob_block_list *list =
				(const void *)((const char *)part->props + prop->offset);

			if (prop->type != OB_PROP_BLOCKS)
				continue;
			if (number < list->count)
				return list->nodes[number];
			number -= list->count;
		}
	}
	return NULL;
}
