/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's half of the protocol: replies of a server and its requests, decoded and checked as
 * wire.h describes it for the other direction. The server is a stranger here: nothing that comes
 * out of a decoder points outside of the payload or the region that it is about.
 *
 * Requests of a client need no encoder: their payloads are the structs of protocol.h as they are;
 * VERSION has JSON in it and has one.
 */
#ifndef WIRE_CLIENT_H
#define WIRE_CLIENT_H

#include "wire/protocol.h"
#include "wire/version.h"

enum {
	WIRE_VERSION_REQUEST_ROOM = 768, /* bytes that a request's payload may take */
	WIRE_MAX_REGION_CAPS = 64,       /* capabilities of one region that are looked at */
};

/* The migration capability, as clients and servers have it; all 0 where there is none. */
struct wire_migration_caps {
	uint64_t pgsize, max_bitmap_size;
};

/* What a client offers, as a payload. Returns its length. */
size_t wire_encode_version_request(void *payload, const struct wire_version *version,
                                   const struct wire_migration_caps *migration);

struct wire_version_reply {
	struct wire_version version;
	struct wire_migration_caps migration;
	bool has_twin_fd; /* only if the capability twin_socket is there too */
	uint32_t twin_fd; /* place among the message's descriptors; not checked against their number
	                   */
	const char *json; /* in the payload; json_length bytes, without the NUL */
	size_t json_length;
};
int wire_decode_version_reply(const void *payload, size_t length, struct wire_version_reply *out,
                              const char **why);

struct wire_region_reply {
	struct wire_region_info info;
	bool incomplete; /* argsz says that there is more: ask again with that argsz */
	bool sparse;     /* there is a sparse mmap capability */
	uint32_t area_count;
	const uint8_t *areas; /* in the payload; see wire_area_at() */
	bool has_type;
	uint32_t type, subtype;
};
/* Each area is within the region. */
int wire_decode_region_info_reply(const void *payload, size_t length, struct wire_region_reply *out,
                                  const char **why);
void wire_area_at(const struct wire_region_reply *reply, uint32_t index,
                  struct wire_sparse_area *out);

/* *out: count entries follow; incomplete likewise. */
int wire_decode_io_fds_reply(const void *payload, size_t length, struct wire_region_io_fds *out,
                             bool *incomplete, const char **why);
void wire_io_fd_at(const void *payload, uint32_t index, struct wire_io_fd *out);

int wire_decode_device_info_reply(const void *payload, size_t length, struct wire_device_info *out,
                                  const char **why);
int wire_decode_irq_info_reply(const void *payload, size_t length, struct wire_irq_info *out,
                               const char **why);

/* These compare with what was asked for. A shorter transfer is no violation: see out->count. */
int wire_decode_region_read_reply(const void *payload, size_t length,
                                  const struct wire_region_access *request,
                                  struct wire_region_access *out, const uint8_t **data,
                                  const char **why);
int wire_decode_region_write_reply(const void *payload, size_t length,
                                   const struct wire_region_access *request,
                                   struct wire_region_access *out, const char **why);
int wire_decode_write_multi_reply(const void *payload, size_t length, uint64_t request,
                                  uint64_t *count, const char **why);

/* Requests of the server. max_count: the max_data_xfer_size that the client offered. */
int wire_decode_dma_read(const void *payload, size_t length, uint32_t max_count,
                         struct wire_dma_access *out, const char **why);
int wire_decode_dma_write(const void *payload, size_t length, uint32_t max_count,
                          struct wire_dma_access *out, const uint8_t **data, const char **why);

#endif
