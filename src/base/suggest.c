/* SPDX-License-Identifier: BSD-3-Clause */
/* Nearest names by edit distance; see suggest.h. */
#include "suggest.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_WORD = 40 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/*
 * Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). Words
 * that are too long to be anybody's property are nobody's neighbours.
 */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned rows[3][LONGEST_WORD + 1];
	unsigned *before = rows[0], *above = rows[1], *row = rows[2], *oldest;
	size_t na = strlen(a), nb = strlen(b);

	if (na > LONGEST_WORD || nb > LONGEST_WORD)
		return LONGEST_WORD;
	for (unsigned j = 0; j <= nb; j++)
		above[j] = j;
	for (unsigned i = 1; i <= na; i++) {
		row[0] = i;
		for (unsigned j = 1; j <= nb; j++) {
			row[j] = min3(above[j] + 1, row[j - 1] + 1,
			              above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		oldest = before;
		before = above;
		above = row;
		row = oldest;
	}
	return above[nb];
}

struct nearest nearest_to(const char *word)
{
	size_t length = strlen(word);

	/* One mistake in every three letters; further away it is another word. */
	return (struct nearest){.word = word,
	                        .distance = length < 3 ? 2 : (unsigned)length / 3 + 1};
}

void nearest_try(struct nearest *nearest, const char *candidate)
{
	unsigned distance = edit_distance(nearest->word, candidate);

	/* The word itself is no help; it may name something that is on its way out. */
	if (distance && distance < nearest->distance) {
		nearest->distance = distance;
		nearest->best = candidate;
	}
}

void nearest_try_props(struct nearest *nearest, const struct ob_prop *table)
{
	for (; table && table->name; table++)
		nearest_try(nearest, table->name);
}

const struct ob_prop *prop_find(const struct ob_prop *table, const char *name)
{
	for (; table && table->name; table++) {
		if (!strcmp(table->name, name))
			return table;
	}
	return NULL;
}

int refuse_unknown(const struct nearest *nearest, const char *what, const char *owner,
                   const char *hint, struct ob_error *err)
{
	const char *of = owner ? " for " : "";

	if (!owner)
		owner = "";
	if (nearest->best)
		return ob_error_set(err, -EINVAL, "unknown %s '%s'%s%s: did you mean '%s'?", what,
		                    nearest->word, of, owner, nearest->best);
	return ob_error_set(err, -EINVAL, "unknown %s '%s'%s%s%s%s", what, nearest->word, of, owner,
	                    hint ? ": " : "", hint ? hint : "");
}

static bool is_known(const char *key, const struct ob_prop *const *tables, const char *const *words)
{
	for (; *tables; tables++) {
		if (prop_find(*tables, key))
			return true;
	}
	for (; *words; words++) {
		if (!strcmp(*words, key))
			return true;
	}
	return false;
}

void unknown_add(struct unknown *unknown, const struct nearest *nearest)
{
	if (unknown->count < UNKNOWN_MAX)
		unknown->list[unknown->count] = *nearest;
	unknown->count++;
}

int unknown_refuse(const struct unknown *unknown, const char *owner, const char *hint,
                   struct ob_error *err)
{
	unsigned shown = unknown->count < UNKNOWN_MAX ? unknown->count : UNKNOWN_MAX;
	char names[384];
	size_t used = 0;

	if (!unknown->count)
		return 0;
	if (unknown->count == 1) {
		refuse_unknown(&unknown->list[0], "property", owner, hint, err);
		return ob_error_key(err, -EINVAL, unknown->list[0].word);
	}
	for (unsigned i = 0; i < shown && used < sizeof(names); i++) {
		const struct nearest *one = &unknown->list[i];

		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s'%.40s'",
		                         i ? ", " : "", one->word);
		if (one->best && used < sizeof(names))
			used += (size_t)snprintf(names + used, sizeof(names) - used,
			                         " (did you mean '%s'?)", one->best);
	}
	ob_error_set(err, -EINVAL, "unknown properties for %s: %s%s%s%s", owner, names,
	             shown < unknown->count ? " and more" : "", hint ? ": " : "", hint ? hint : "");
	return ob_error_key(err, -EINVAL, unknown->list[0].word);
}

int refuse_unknown_keys(const struct opts *opts, const char *owner,
                        const struct ob_prop *const *tables, const char *const *words,
                        const char *hint, struct ob_error *err)
{
	struct unknown unknown = {0};

	for (size_t i = 0; i < opts->count; i++) {
		struct nearest nearest;

		if (is_known(opts->list[i].key, tables, words))
			continue;
		nearest = nearest_to(opts->list[i].key);
		for (const struct ob_prop *const *table = tables; *table; table++)
			nearest_try_props(&nearest, *table);
		for (const char *const *word = words; *word; word++)
			nearest_try(&nearest, *word);
		unknown_add(&unknown, &nearest);
	}
	return unknown_refuse(&unknown, owner, hint, err);
}

int check_id(const char *key, const char *id, struct ob_error *err)
{
	size_t length = strlen(id);
	bool good = isalpha((unsigned char)id[0]);

	for (size_t i = 1; i < length && good; i++)
		good = isalnum((unsigned char)id[i]) || strchr("-._", id[i]);
	if (!good)
		return ob_error_set(err, -EINVAL,
		                    "%s=%s: expected a letter, then letters, digits, '-', '.', '_'",
		                    key, id);
	if (length > ID_MAX)
		return ob_error_set(err, -EINVAL, "%s=%s: expected at most %d characters", key, id,
		                    ID_MAX);
	return 0;
}
