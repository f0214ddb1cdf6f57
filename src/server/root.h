/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An isolated PCI root: the bus of one VM's devices. Roots share nothing with each other, so that
 * no device can reach what belongs to another root's.
 *
 * Interrupts, and memory that a device reaches by DMA, are those of the device's own client; what a
 * root adds is the memory space of its devices' BARs, in which they reach each other, and the slots
 * of its bus, each with eight functions. A root that was made for a device that named
 * none is that device's own, and goes with it.
 */
#ifndef SERVER_ROOT_H
#define SERVER_ROOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/suggest.h"
#include "device/bus.h"
#include "device/device.h"
#include "names.h"
#include "outboard/error.h"

enum { ROOT_SLOTS = 32, ROOT_FUNCTIONS = 8 };

struct root {
	struct list link; /* for whoever keeps roots in a list */
	struct name name; /* of one that is not own */
	char id[ID_MAX + 1];
	bool own; /* made for one device, and has that device's id */
	struct list members;
	struct device_bus bus;         /* their memory space */
	unsigned count;                /* of places taken */
	uint8_t functions[ROOT_SLOTS]; /* bit n of each: function n is taken */
};

/* A place on a root, and the device that has it. */
struct root_member {
	struct list link;
	struct root *root; /* NULL: it has no place */
	struct ob_dev *dev;
	unsigned slot, function;
};

/* NULL on ENOMEM. */
struct root *root_new(const char *id, bool own);

/* Nobody has a place on it. */
void root_free(struct root *root);

/*
 * Gives member a place: at addr ("SLOT" or "SLOT.FUNCTION", in hexadecimal as QEMU has it), or with
 * NULL function 0 of the first free slot. -EINVAL, -EBUSY (taken), -ENOSPC (full), with a message.
 */
int root_place(struct root *root, struct root_member *member, const char *addr,
               struct ob_error *err);

/* The device is made: from now on it is on the bus, and its slot's functions know of each other. */
void root_attach(struct root_member *member, struct ob_dev *dev);

/* The device is about to be freed, or was never made. Gives the place back. */
void root_leave(struct root_member *member);

#endif
