/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who a function says that it is (PCI Local Bus 3.0, 6.2.1 and 6.2.4): what the model says, or what
 * the user has put in its place. A device's number is its vendor's, so none is given without the
 * other's vendor; a subsystem's likewise.
 */
#include <errno.h>

#include "internal.h"

enum { NO_VENDOR = 0xffff }; /* what reads where there is no function (6.1) */

const struct ob_prop device_common_props[] = {
	{"vendor-id", OB_PROP_UINT32, offsetof(struct device_ident, vendor), .min = 1,
         .max = NO_VENDOR - 1, .help = "PCI vendor, for guests that go by it; with device-id"},
	{"device-id", OB_PROP_UINT32, offsetof(struct device_ident, device), .min = 1,
         .max = UINT16_MAX, .help = "PCI device, a number of its vendor's"},
	{"subsystem-vendor-id", OB_PROP_UINT32, offsetof(struct device_ident, subsystem_vendor),
         .min = 1, .max = NO_VENDOR - 1,
         .help = "PCI subsystem vendor, without it the vendor; with subsystem-id"},
	{"subsystem-id", OB_PROP_UINT32, offsetof(struct device_ident, subsystem), .min = 1,
         .max = UINT16_MAX, .help = "PCI subsystem, without it the device"},
	{.name = NULL},
};

const void *device_common_values(const struct ob_dev *dev)
{
	return &dev->ident;
}

int device_choose_ident(struct ob_dev *dev, struct ob_pci_ident *ident, struct ob_error *err)
{
	struct device_ident *given = &dev->ident;

	if (given->vendor && !given->device)
		return ob_error_set(err, -EINVAL,
		                    "vendor-id=0x%04x: device-id= is needed too, as the model's is "
		                    "a number of another vendor's",
		                    given->vendor);
	if (given->subsystem_vendor && !given->subsystem)
		return ob_error_set(err, -EINVAL,
		                    "subsystem-vendor-id=0x%04x: subsystem-id= is needed too",
		                    given->subsystem_vendor);
	if (dev->env.qemu_ident && dev->model->qemu_ident)
		*ident = *dev->model->qemu_ident;
	if (given->device) {
		/* The model's subsystem was one of the model's function. */
		ident->subsystem_vendor = ident->subsystem = 0;
		ident->device = (uint16_t)given->device;
	}
	if (given->vendor)
		ident->vendor = (uint16_t)given->vendor;
	if (given->subsystem_vendor)
		ident->subsystem_vendor = (uint16_t)given->subsystem_vendor;
	if (given->subsystem)
		ident->subsystem = (uint16_t)given->subsystem;
	if (!ident->subsystem_vendor)
		ident->subsystem_vendor = ident->vendor;
	if (!ident->subsystem)
		ident->subsystem = ident->device;
	*given = (struct device_ident){ident->vendor, ident->device, ident->subsystem_vendor,
	                               ident->subsystem};
	return 0;
}
