/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory space of a bus: the BARs of its devices, at the addresses that the guest gave them. A
 * device's DMA to an address that its client has not mapped goes there. Devices on different buses
 * never see each other.
 */
#ifndef DEVICE_BUS_H
#define DEVICE_BUS_H

#include "base/list.h"

struct ob_dev;

struct device_bus {
	struct list devices;
};

void device_bus_init(struct device_bus *bus);

/* dev is on no bus. Both outlive the other's being there: device_bus_remove() comes first. */
void device_bus_add(struct device_bus *bus, struct ob_dev *dev);

/* dev is quiet, or was just made. Nothing happens if it is on no bus. */
void device_bus_remove(struct ob_dev *dev);

#endif
