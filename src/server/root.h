/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An isolated PCI root: the bus of one VM's devices. Roots share nothing with each other, so that
 * no device can reach what belongs to another root's.
 *
 * Memory and interrupts are the client's of each device; what a root holds is who belongs together,
 * and the slots of its bus. A root that was made for a device that named none is that device's own,
 * and goes with it.
 */
#ifndef SERVER_ROOT_H
#define SERVER_ROOT_H

#include <stdbool.h>

#include "base/list.h"
#include "outboard/error.h"

enum { ROOT_SLOTS = 32 };

struct root;

/* NULL on ENOMEM. own: made for one device, and has that device's id. */
struct root *root_new(const char *id, bool own);

/* No device is on it. */
void root_free(struct root *root);

const char *root_id(const struct root *root);
bool root_is_own(const struct root *root);
unsigned root_devices(const struct root *root);

/* Gives a device a slot. Returns its number, or -ENOSPC with a message. */
int root_take_slot(struct root *root, struct ob_error *err);
void root_return_slot(struct root *root, int slot);

/* For whoever keeps roots in a list. */
struct list *root_link(struct root *root);
struct root *root_of_link(struct list *link);

#endif
