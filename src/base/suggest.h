/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "Did you mean": finds the name nearest to one that was mistyped, and refuses properties that no
 * table knows. Everything that people configure goes through here, so that a message never says
 * only what is wrong when it could say what is right.
 */
#ifndef SERVER_SUGGEST_H
#define SERVER_SUGGEST_H

#include "base/opts.h"
#include "outboard/error.h"
#include "outboard/prop.h"

struct nearest {
	const char *word;
	const char *best; /* NULL: nothing is near */
	unsigned distance;
};

/* word stays the caller's, and so do the candidates. */
struct nearest nearest_to(const char *word);
void nearest_try(struct nearest *nearest, const char *candidate);
void nearest_try_props(struct nearest *nearest, const struct ob_prop *table);

/* Whether a table (NULL: an empty one) has a property of that name. */
const struct ob_prop *prop_find(const struct ob_prop *table, const char *name);

/*
 * Sets "unknown WHAT 'WORD'", with " for OWNER" if owner is not NULL, and the nearest name or
 * otherwise the hint (which may be NULL). Returns -EINVAL.
 */
int refuse_unknown(const struct nearest *nearest, const char *what, const char *owner,
                   const char *hint, struct ob_error *err);

/* Several at once, as refuse_unknown() for each. Zeroed at first; best stays its owner's. */
enum { UNKNOWN_MAX = 8 };
struct unknown {
	struct nearest list[UNKNOWN_MAX];
	unsigned count; /* also of those that had no room */
};
void unknown_add(struct unknown *unknown, const struct nearest *nearest);
/* 0 if there are none; else -EINVAL with one message that names all. */
int unknown_refuse(const struct unknown *unknown, const char *owner, const char *hint,
                   struct ob_error *err);

/*
 * -EINVAL with such a message for the keys of opts that are neither in one of the tables nor one of
 * the words; both arrays end with NULL.
 */
int refuse_unknown_keys(const struct opts *opts, const char *owner,
                        const struct ob_prop *const *tables, const char *const *words,
                        const char *hint, struct ob_error *err);

/*
 * Names of objects, as QEMU has them: a letter, then letters, digits, '-', '.', '_'; at most
 * ID_MAX characters. -EINVAL with a message that begins with key.
 */
enum { ID_MAX = 63 };
int check_id(const char *key, const char *id, struct ob_error *err);

#endif
