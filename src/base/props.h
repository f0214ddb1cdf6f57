/* SPDX-License-Identifier: BSD-3-Clause */
/* Applies property tables (outboard/prop.h) to the structs that they describe. */
#ifndef BASE_PROPS_H
#define BASE_PROPS_H

#include <stdio.h>

#include "base/opts.h"
#include "outboard/error.h"
#include "outboard/prop.h"

/* Finds what OB_PROP_BLOCKS and OB_PROP_CHARDEV name; NULL with a message. NULL: none is known. */
struct props_objects {
	struct ob_block *(*claim_block)(void *context, const char *node_name, struct ob_error *err);
	struct ob_chardev *(*claim_chardev)(void *context, const char *id, struct ob_error *err);
	void *context;
};

/*
 * Sets all properties of the table (NULL: none) in the zeroed struct at target: defaults, then what
 * opts says, which is taken out of opts. -EINVAL with a message that names property and value,
 * -ENOMEM; the struct is then to be given to props_free() as well.
 */
int props_apply(const struct ob_prop *table, void *target, struct opts *opts,
                const struct props_objects *objects, struct ob_error *err);

/* Frees strings. Block nodes and chardevs are left to whoever claimed them. */
void props_free(const struct ob_prop *table, void *target);

/* One line for each property: name=type, what it is, default and range. */
void props_print(const struct ob_prop *table, FILE *out);

#endif
