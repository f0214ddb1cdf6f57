/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects by name: a hash table whose entries are embedded in what they name, so that a process
 * with thousands of objects finds each as fast as the first.
 */
#ifndef SERVER_NAMES_H
#define SERVER_NAMES_H

#include "base/list.h"

struct name {
	struct name *next;
	const char *text; /* the owner's; constant while it is in the table */
};

/* Zeroed: empty. */
struct names {
	struct name **buckets;
	unsigned count, room;
};

/* text must not be in the table. 0 or -ENOMEM. */
int names_add(struct names *names, struct name *name, const char *text);

/* Nothing happens if it is in no table. */
void names_remove(struct names *names, struct name *name);

/* NULL: there is none. */
struct name *names_find(const struct names *names, const char *text);

void names_free(struct names *names);

#endif
