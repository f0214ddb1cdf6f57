/* SPDX-License-Identifier: BSD-3-Clause */
/* The VERSION message: two numbers and, as JSON, capabilities. */
#ifndef WIRE_VERSION_H
#define WIRE_VERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/protocol.h"

enum {
	WIRE_DEFAULT_MSG_FDS = 1,
	WIRE_DEFAULT_DATA_XFER_SIZE = 1048576,
	WIRE_DEFAULT_DMA_MAPS = 65535,
	WIRE_DEFAULT_PGSIZES = 4096,
	WIRE_DEFAULT_BITMAP_SIZE = 256 << 20,
	WIRE_MAX_VERSION_JSON = 16384, /* bytes that are looked at; more is refused */
	WIRE_VERSION_REPLY_ROOM = 512, /* bytes that a reply's payload may take */
};

struct wire_capabilities {
	uint32_t max_msg_fds;        /* capped at what fits */
	uint32_t max_data_xfer_size; /* not 0 */
	uint32_t max_dma_maps;
	uint64_t pgsizes; /* not 0 */
	bool twin_socket;
	bool write_multiple;
	bool migration;
	uint64_t max_bitmap_size;  /* bytes, of the log of written pages; */
	uint64_t migration_pgsize; /* its smallest pages */
};

struct wire_version {
	uint16_t major, minor;
	struct wire_capabilities capabilities; /* defaults where the client said nothing */
};

/*
 * Decodes as wire.h describes. Version data may be missing, with or without its terminating NUL,
 * with names in any order; unknown names are ignored, known ones of a wrong type or range refused.
 * Also returns -ENOMEM: this is the one decoder that needs memory for a while.
 */
int wire_decode_version(const void *payload, size_t length, struct wire_version *out,
                        const char **why);

/*
 * Writes a payload that offers capabilities: the limits always (each of them has a value on the
 * client's side too, if only by default), the others where true. The twin socket is the message's
 * first descriptor. Returns its length, at most WIRE_VERSION_REPLY_ROOM.
 */
size_t wire_encode_version(void *payload, const struct wire_version *version);

#endif
