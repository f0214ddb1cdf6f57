/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices as QEMU's users and tools write them: properties that QEMU's devices have and ours do
 * not. What means one of ours becomes that; what is about the guest or its firmware is taken with a
 * line in the log; what cannot be had is refused by name, with the reason.
 */
#ifndef SERVER_DEVICE_OPTIONS_H
#define SERVER_DEVICE_OPTIONS_H

#include "base/log.h"
#include "base/opts.h"
#include "outboard/device.h"

/* Translates opts in place. 0, or -EINVAL or -ENOMEM with a message. What nobody knows stays. */
int device_options_translate(const char *driver, const struct ob_prop *props, struct opts *opts,
                             struct log *log, struct ob_error *err);

/* Why there is no device of that name though QEMU has one; NULL: it has none that we know of. */
const char *device_options_why_not(const char *driver);

#endif
