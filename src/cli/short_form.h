/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The short way to say what is wanted: MODEL [FILE...] [key=value...]. It is translated into the
 * options that -blockdev, -device and -object would have had.
 */
#ifndef CLI_SHORT_FORM_H
#define CLI_SHORT_FORM_H

#include "monitor/monitor.h"
#include "outboard/error.h"
#include "plan.h"

/*
 * Adds one device with its block nodes and its server. words[0] is the model; number counts the
 * devices of the command line from 0 and makes their ids. -EINVAL with a message, -ENOMEM.
 */
int short_form_add(struct plan *plan, const char *const *words, unsigned count, unsigned number,
                   struct ob_error *err);

/* Tells a monitor what such words would make: see struct monitors_env. */
int short_form_tell(const char *const *words, unsigned count, struct monitors_planned *planned,
                    struct ob_error *err);

/* The property that takes the model's block nodes; NULL: it has no disk. */
const struct ob_prop *short_form_drive(const struct ob_model *model);

/* The same of a chardev. */
const struct ob_prop *short_form_chardev(const struct ob_model *model);

#endif
