/* SPDX-License-Identifier: BSD-3-Clause */
/* How to attach to a served device: the lines for people, and the same in a command's environment.
 */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include <stdio.h>

#include "server/machine.h"

/* The command lines of QEMU and Cloud Hypervisor, for each server. 0 or -ENOMEM. */
int attach_print(const struct machine *machine, FILE *out);

/*
 * Sets $socket and $qemu_device for the first server, and $socket1, $qemu_device1, ... for all of
 * them, in our own environment. 0 or -ENOMEM.
 */
int attach_set_environment(const struct machine *machine);

#endif
