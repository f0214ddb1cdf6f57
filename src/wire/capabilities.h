/* SPDX-License-Identifier: BSD-3-Clause */
/* The capabilities of VERSION as JSON, made for either direction. */
#ifndef WIRE_CAPABILITIES_H
#define WIRE_CAPABILITIES_H

#include "wire/version.h"

/* What a capability has in one direction only. */
struct capabilities_extras {
	bool migration;
	uint64_t pgsize, max_bitmap_size;
	bool twin_fd_index; /* a reply names the descriptor that comes with it */
};

/*
 * Writes it to text, with its NUL, and returns how many bytes that is; 0 without memory, or if
 * there is no room: the version goes without, and then the specification's defaults are meant.
 */
size_t wire_put_capabilities(char *text, size_t room, const struct wire_capabilities *caps,
                             const struct capabilities_extras *extras);

#endif
