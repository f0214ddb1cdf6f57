/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's state in a file: saved, loaded, and printed (docs/migration.md). */
#ifndef OBCTL_MIGRATE_FILE_H
#define OBCTL_MIGRATE_FILE_H

#include "outboard/client.h"

/* The device stops while it is saved, and goes on if it ran. 0, or -errno with a message. */
int migrate_save(struct ob_client *client, const char *path, struct ob_error *err);

/* The device becomes what is in the file, and runs. */
int migrate_load(struct ob_client *client, const char *path, struct ob_error *err);

/* Prints what is in a stream, of whatever device. What comes before a fault is printed. */
int migrate_dump(const char *path, bool json, struct ob_error *err);

#endif
