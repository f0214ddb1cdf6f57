/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of an outboard process: makes what the plan says, serves until told to end. */
#ifndef CLI_DAEMON_H
#define CLI_DAEMON_H

#include <sys/types.h>

#include "args.h"
#include "base/log.h"

/* parent: what getppid() said when the process began. Returns the process's exit status. */
int daemon_run(struct args *args, struct log *log, pid_t parent);

#endif
