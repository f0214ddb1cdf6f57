/* SPDX-License-Identifier: BSD-3-Clause */
/* Isolated PCI roots; see root.h. */
#include "root.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "suggest.h"

struct root {
	struct list link;
	char id[ID_MAX + 1];
	bool own;
	uint32_t slots; /* bit n: slot n is taken */
};

struct root *root_new(const char *id, bool own)
{
	struct root *root = calloc(1, sizeof(*root));

	if (!root)
		return NULL;
	list_init(&root->link);
	snprintf(root->id, sizeof(root->id), "%s", id);
	root->own = own;
	return root;
}

void root_free(struct root *root)
{
	free(root);
}

const char *root_id(const struct root *root)
{
	return root->id;
}

bool root_is_own(const struct root *root)
{
	return root->own;
}

unsigned root_devices(const struct root *root)
{
	return (unsigned)__builtin_popcount(root->slots);
}

int root_take_slot(struct root *root, struct ob_error *err)
{
	if (root->slots == UINT32_MAX)
		return ob_error_set(err, -ENOSPC, "bus '%s' is full: it has %d slots", root->id,
		                    ROOT_SLOTS);
	for (int slot = 0; slot < ROOT_SLOTS; slot++) {
		if (!(root->slots & 1u << slot)) {
			root->slots |= 1u << slot;
			return slot;
		}
	}
	return -ENOSPC;
}

void root_return_slot(struct root *root, int slot)
{
	root->slots &= ~(1u << slot);
}

struct list *root_link(struct root *root)
{
	return &root->link;
}

struct root *root_of_link(struct list *link)
{
	return container_of(link, struct root, link);
}
