/* SPDX-License-Identifier: BSD-3-Clause */
/* A vfio-user message in one line, for people or as JSON. */
#ifndef OBCTL_DESCRIBE_H
#define OBCTL_DESCRIBE_H

#include "client/stream.h"
#include "obctl/report.h"

/*
 * Adds what a message says: its command, type, id, errors, descriptors, and the fields of its
 * payload with the first bytes of its data. The message may be any nonsense that has a header.
 */
void describe_message(struct report *report, const struct ob_client_message *message);

#endif
