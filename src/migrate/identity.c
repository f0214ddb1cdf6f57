/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has to be the same on both sides of a migration, and is no property of the model's: which
 * model it is, what its function looks like where state does not show it, and its drives.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

const struct ob_field migrate_device_fields[] = {
	OB_FIELD_BLOB(struct migrate_device, model),
	OB_FIELD(U16, struct migrate_device, version, .min = 1, .max = UINT16_MAX),
	OB_FIELD_BLOB(struct migrate_device, id, .optional = true),
	OB_FIELD_BLOB(struct migrate_device, program, .optional = true),
	OB_FIELDS_END,
};

void migrate_describe_device(struct ob_dev *dev, struct migrate_device *out)
{
	*out = (struct migrate_device){.version = device_model(dev)->migration->version};
	snprintf(out->model, sizeof(out->model), "%s", device_model(dev)->name);
	snprintf(out->id, sizeof(out->id), "%s", ob_dev_id(dev));
	snprintf(out->program, sizeof(out->program), "outboard %s", OUTBOARD_VERSION);
}

const struct ob_field migrate_function_fields[] = {
	OB_FIELD_ARRAY(U64, struct migrate_function, bar_size),
	OB_FIELD(U32, struct migrate_function, rom_size),
	OB_FIELD(U16, struct migrate_function, msi_vectors),
	OB_FIELD(U16, struct migrate_function, msix_vectors),
	OB_FIELD(BOOL, struct migrate_function, intx),
	OB_FIELDS_END,
};

void migrate_describe_function(struct ob_dev *dev, struct migrate_function *out)
{
	const struct ob_layout *layout = pci_layout(device_pci(dev));

	*out = (struct migrate_function){
		.rom_size = pci_rom_size(device_pci(dev)),
		.msi_vectors = layout->irqs.msi_vectors,
		.msix_vectors = layout->irqs.msix_vectors,
		.intx = layout->irqs.intx,
	};
	for (unsigned i = 0; i < PCI_BARS; i++)
		out->bar_size[i] = layout->bars[i].size;
}

const struct ob_field migrate_drive_fields[] = {
	OB_FIELD(U64, struct migrate_drive, size),
	OB_FIELD(U32, struct migrate_drive, block_size),
	OB_FIELD(BOOL, struct migrate_drive, read_only),
	OB_FIELD(BOOL, struct migrate_drive, volatile_cache),
	OB_FIELD(BOOL, struct migrate_drive, contents),
	OB_FIELDS_END,
};

void migrate_describe_drive(const struct ob_block *block, struct migrate_drive *out)
{
	const struct ob_block_info *info = ob_block_info(block);

	*out = (struct migrate_drive){
		.size = info->size,
		.block_size = info->block_size,
		.read_only = info->read_only,
		.volatile_cache = info->volatile_cache,
		.contents = block_migration(block),
	};
}

void migrate_number_name(char name[MSTREAM_MAX_NAME + 1], const char *prefix, unsigned number)
{
	snprintf(name, MSTREAM_MAX_NAME + 1, "%.8s%u", prefix, number % 100000);
}

int migrate_name_number(const char *name, const char *prefix)
{
	size_t length = strlen(prefix);
	char canonical[MSTREAM_MAX_NAME + 1];
	unsigned long number;

	if (strncmp(name, prefix, length) != 0)
		return -1;
	number = strtoul(name + length, NULL, 10);
	migrate_number_name(canonical, prefix, (unsigned)(number % 100000));
	return strcmp(name, canonical) ? -1 : (int)number;
}
