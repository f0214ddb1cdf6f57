/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether what is on a disk may be overwritten: its owner said so (--destroy), or all of the place
 * reads as zeroes.
 */
#ifndef OBCTL_EMPTY_H
#define OBCTL_EMPTY_H

#include "obctl/load.h"

/* More than this is not read to find out: it takes too long, and disks of that size hold data. */
#define EMPTY_MAX_BYTES (UINT64_C(1) << 30)

/* The option of all commands that write to disks. member: a bool of the command's options. */
#define EMPTY_DESTROY_HELP                                                                         \
	"what is on the disk may be lost; without it, it is written only where it reads as "       \
	"zeroes"

/*
 * Reads what the plan would write: size bytes at its first unit. 0: all zeroes; -EEXIST with a
 * message: they are not, or are too many to tell; -errno with a message. disk: its name, for
 * messages.
 */
int empty_check(struct nvme *nvme, const struct load_plan *plan, uint64_t size, const char *disk,
                struct ob_error *err);

#endif
