/* SPDX-License-Identifier: BSD-3-Clause */
/* Isolated PCI roots; see root.h. */
#include "root.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct root *root_new(const char *id, bool own)
{
	struct root *root = calloc(1, sizeof(*root));

	if (!root)
		return NULL;
	list_init(&root->link);
	list_init(&root->members);
	device_bus_init(&root->bus);
	snprintf(root->id, sizeof(root->id), "%s", id);
	root->own = own;
	return root;
}

void root_free(struct root *root)
{
	free(root);
}

/* A hexadecimal number of at most two digits, with or without 0x. Where it ends; NULL: none. */
static const char *parse_hex(const char *text, unsigned *out)
{
	char *end;

	if (!isxdigit((unsigned char)text[0]))
		return NULL;
	*out = (unsigned)strtoul(text, &end, 16);
	return end - text <= 4 ? end : NULL;
}

static int parse_addr(const char *addr, unsigned *slot, unsigned *function, struct ob_error *err)
{
	const char *end = parse_hex(addr, slot);

	*function = 0;
	if (end && *end == '.')
		end = parse_hex(end + 1, function);
	if (!end || *end)
		return ob_error_set(err, -EINVAL,
		                    "addr=%s: expected SLOT or SLOT.FUNCTION in hexadecimal, for "
		                    "example 3 or 1f.1",
		                    addr);
	if (*slot >= ROOT_SLOTS || *function >= ROOT_FUNCTIONS)
		return ob_error_set(err, -EINVAL, "addr=%s: slots are 0 to %x, functions 0 to %d",
		                    addr, ROOT_SLOTS - 1, ROOT_FUNCTIONS - 1);
	return 0;
}

static int find_slot(const struct root *root, unsigned *slot, struct ob_error *err)
{
	for (unsigned i = 0; i < ROOT_SLOTS; i++) {
		if (!root->functions[i]) {
			*slot = i;
			return 0;
		}
	}
	return ob_error_set(err, -ENOSPC,
	                    "bus '%s' is full: all of its %d slots are taken; addr=SLOT.FUNCTION "
	                    "adds a function to one",
	                    root->id, ROOT_SLOTS);
}

static const struct root_member *member_at(const struct root *root, unsigned slot,
                                           unsigned function)
{
	struct root_member *member;

	list_for_each (member, &root->members, struct root_member, link) {
		if (member->slot == slot && member->function == function)
			return member;
	}
	return NULL;
}

int root_place(struct root *root, struct root_member *member, const char *addr,
               struct ob_error *err)
{
	unsigned slot = 0, function = 0;
	int rc = addr ? parse_addr(addr, &slot, &function, err) : find_slot(root, &slot, err);

	if (rc)
		return rc;
	if (root->functions[slot] & 1u << function) {
		const struct root_member *other = member_at(root, slot, function);

		return ob_error_set(err, -EBUSY, "addr=%s: taken on bus '%s' by device '%s'", addr,
		                    root->id, other && other->dev ? ob_dev_id(other->dev) : "?");
	}
	root->functions[slot] |= (uint8_t)(1u << function);
	root->count++;
	*member = (struct root_member){.root = root, .slot = slot, .function = function};
	list_append(&root->members, &member->link);
	return 0;
}

/* PCI Local Bus 3.0, 6.2.1: bit 7 of the header type says that the slot has several functions. */
static void tell_slot(const struct root *root, unsigned slot)
{
	bool several = __builtin_popcount(root->functions[slot]) > 1;
	struct root_member *member;

	list_for_each (member, &root->members, struct root_member, link) {
		if (member->slot == slot && member->dev)
			pci_set_multifunction(device_pci(member->dev), several);
	}
}

void root_attach(struct root_member *member, struct ob_dev *dev)
{
	member->dev = dev;
	device_bus_add(&member->root->bus, dev);
	tell_slot(member->root, member->slot);
}

void root_leave(struct root_member *member)
{
	struct root *root = member->root;

	if (!root)
		return;
	list_remove(&member->link);
	if (member->dev)
		device_bus_remove(member->dev);
	root->functions[member->slot] &= (uint8_t) ~(1u << member->function);
	root->count--;
	tell_slot(root, member->slot);
	member->root = NULL;
	member->dev = NULL;
}
