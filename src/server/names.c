/* SPDX-License-Identifier: BSD-3-Clause */
/* A hash table with chains; see names.h. It grows with what it holds, and does not shrink. */
#include "names.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 16 };

/* FNV-1a. Whoever chooses names is trusted, so nobody has to be kept from making them collide. */
static uint32_t hash(const char *text)
{
	uint32_t value = 2166136261u;

	for (; *text; text++)
		value = (value ^ (uint8_t)*text) * 16777619u;
	return value;
}

static struct name **bucket_of(const struct names *names, const char *text)
{
	return &names->buckets[hash(text) & (names->room - 1)];
}

static int grow(struct names *names)
{
	struct names larger = {.room = names->room ? names->room * 2 : FIRST_ROOM};

	larger.buckets = calloc(larger.room, sizeof(struct name *));
	if (!larger.buckets)
		return -ENOMEM;
	for (unsigned i = 0; i < names->room; i++) {
		while (names->buckets[i]) {
			struct name *name = names->buckets[i];
			struct name **bucket = bucket_of(&larger, name->text);

			names->buckets[i] = name->next;
			name->next = *bucket;
			*bucket = name;
		}
	}
	larger.count = names->count;
	free(names->buckets);
	*names = larger;
	return 0;
}

int names_add(struct names *names, struct name *name, const char *text)
{
	struct name **bucket;

	if (names->count == names->room && grow(names))
		return -ENOMEM;
	name->text = text;
	bucket = bucket_of(names, text);
	name->next = *bucket;
	*bucket = name;
	names->count++;
	return 0;
}

void names_remove(struct names *names, struct name *name)
{
	if (!name->text)
		return;
	for (struct name **at = bucket_of(names, name->text); *at; at = &(*at)->next) {
		if (*at != name)
			continue;
		*at = name->next;
		name->text = NULL;
		names->count--;
		return;
	}
}

struct name *names_find(const struct names *names, const char *text)
{
	struct name *name;

	if (!names->room)
		return NULL;
	for (name = *bucket_of(names, text); name; name = name->next) {
		if (!strcmp(name->text, text))
			return name;
	}
	return NULL;
}

void names_free(struct names *names)
{
	free(names->buckets);
	*names = (struct names){0};
}
