/* SPDX-License-Identifier: BSD-3-Clause */
/* What an end in order still waits for, in words. */
#ifndef CLI_ENDING_H
#define CLI_ENDING_H

#include <stddef.h>

#include "server/machine.h"

/* The disks that are left, for a line of the log: "disk 'b0' (/srv/vm1.img), disk 'b1' and others".
 */
void ending_describe(const struct machine *machine, char *text, size_t room);

#endif
