/* SPDX-License-Identifier: BSD-3-Clause */
/* --check: what is wrong with what the command line and its files ask for. */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "args.h"
#include "base/log.h"

/*
 * Looks at everything without serving, locking or listening, logs each error, and says on standard
 * output if there is none. 0, or -EINVAL: something is wrong.
 */
int check_run(struct args *args, struct log *log);

#endif
