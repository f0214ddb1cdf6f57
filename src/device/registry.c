/* SPDX-License-Identifier: BSD-3-Clause */
/* The models that are built in, found by name, and their property tables in print. */
#include <string.h>

#include "base/props.h"
#include "device.h"

const struct ob_model *const *device_models(void)
{
	return ob_models;
}

const struct ob_model *device_model_find(const char *name)
{
	for (const struct ob_model *const *model = ob_models; *model; model++) {
		if (!strcmp((*model)->name, name))
			return *model;
	}
	return NULL;
}

void device_print_help(const struct ob_model *model, FILE *out)
{
	fprintf(out, "%s: %s\n", model->name, model->summary);
	props_print(model->props, out);
	props_print(device_common_props, out);
	fprintf(out, "  (PCI identity, if none is given: %04x:%04x", model->layout.ident.vendor,
	        model->layout.ident.device);
	if (model->qemu_ident)
		fprintf(out, "; %04x:%04x with -machine x-remote", model->qemu_ident->vendor,
		        model->qemu_ident->device);
	fputs(")\n", out);
	if (model->part) {
		fprintf(out, "%s, with bus=ID of such a device: %s\n", model->part->name,
		        model->part->summary);
		props_print(model->part->props, out);
	}
}
