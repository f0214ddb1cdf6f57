/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options: an ordered list of key=value pairs, the form in which command line, configuration file
 * and monitor hand objects to whoever makes them.
 *
 * Whoever uses an option takes it out with opts_take(); what is left at the end was not understood,
 * and opts_refuse_rest() says so. So nothing is ignored silently.
 */
#ifndef BASE_OPTS_H
#define BASE_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/error.h"

struct opt {
	char *key, *value; /* owned */
};

struct opts {
	struct opt *list;
	size_t count;
};

/*
 * Adds the pairs of "a=b,c=d" as QEMU writes them: ",," stands for a comma in a value, a word
 * without '=' for "word=on". If first_key is not NULL and the text starts with a word without '=',
 * that is first_key's value ("nvme,id=d0" with "driver"). -EINVAL with a message, -ENOMEM.
 */
int opts_parse(struct opts *opts, const char *text, const char *first_key, struct ob_error *err);

/* Adds a pair (copies both). -ENOMEM. */
int opts_add(struct opts *opts, const char *key, const char *value);

/* The value of the first pair with that key, or NULL. Owned by opts. */
const char *opts_get(const struct opts *opts, const char *key);

/* Takes the first pair with that key out; the value is the caller's to free. NULL if none. */
char *opts_take(struct opts *opts, const char *key);

/* Copies all pairs of from to the end of opts. -ENOMEM. */
int opts_append(struct opts *opts, const struct opts *from);

/* -EINVAL with a message that names the first pair that is left; 0 if none is. */
int opts_refuse_rest(const struct opts *opts, const char *what, struct ob_error *err);

void opts_free(struct opts *opts);
#define cleanup_opts __attribute__((cleanup(opts_free)))

/*
 * Values. Each returns 0, or -EINVAL with a message that names the key, the value, and what would
 * be right; *out is untouched then.
 */
int parse_bool(const char *key, const char *value, bool *out, struct ob_error *err);
int parse_uint(const char *key, const char *value, uint64_t min, uint64_t max, uint64_t *out,
               struct ob_error *err);
/* Bytes (0x: hexadecimal), or with K, M, G, T, P, E (powers of 1024; also KiB, and 1.5G). */
int parse_size(const char *key, const char *value, uint64_t min, uint64_t max, uint64_t *out,
               struct ob_error *err);

#endif
