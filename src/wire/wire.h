/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio-user messages: bytes to checked structs, and back. Pure functions without memory,
 * descriptors, clock or log of their own.
 *
 * A decoder takes the payload (what follows the header), checks everything that can be checked
 * without knowing the device, and fills *out; what comes out needs no second look at raw bytes. It
 * returns 0 or -errno (-EINVAL throughout); then *out is undefined and *why points to a constant
 * text that names the field and says what was expected.
 *
 * Requests whose answer has a size that the client bounds with argsz may be longer than they need
 * to be (some clients send the whole reply buffer), and fields of them that the server fills in are
 * not looked at. All other requests have exactly the size that the specification gives them.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/protocol.h"

/* "DMA_MAP" and so on, as in the specification without VFIO_USER_; "unknown command". */
const char *wire_command_name(unsigned command);

/* The first 16 bytes of a message. Whoever framed the message checked its size already. */
void wire_decode_header(const void *message, struct wire_header *header);

int wire_decode_dma_map(const void *payload, size_t length, struct wire_dma_map *out,
                        const char **why);
int wire_decode_dma_unmap(const void *payload, size_t length, struct wire_dma_unmap *out,
                          const char **why);
int wire_decode_get_info(const void *payload, size_t length, struct wire_device_info *out,
                         const char **why);
int wire_decode_get_region_info(const void *payload, size_t length, struct wire_region_info *out,
                                const char **why);
int wire_decode_get_region_io_fds(const void *payload, size_t length,
                                  struct wire_region_io_fds *out, const char **why);
int wire_decode_get_irq_info(const void *payload, size_t length, struct wire_irq_info *out,
                             const char **why);

struct wire_set_irqs {
	uint32_t data;   /* WIRE_IRQ_DATA_*, exactly one */
	uint32_t action; /* WIRE_IRQ_ACTION_*, exactly one */
	uint32_t index, start, count;
	bool disable_all;     /* the special case: nothing of the index is used any more */
	const uint8_t *bools; /* count bytes with DATA_BOOL; points into the payload */
};
int wire_decode_set_irqs(const void *payload, size_t length, struct wire_set_irqs *out,
                         const char **why);

/* max_count: what was negotiated as max_data_xfer_size. */
int wire_decode_region_read(const void *payload, size_t length, uint32_t max_count,
                            struct wire_region_access *out, const char **why);
/* *data: count bytes in the payload. */
int wire_decode_region_write(const void *payload, size_t length, uint32_t max_count,
                             struct wire_region_access *out, const uint8_t **data,
                             const char **why);

/* Every single one of the *count writes is checked; wire_small_write_at() takes them out. */
int wire_decode_region_write_multi(const void *payload, size_t length, uint64_t *count,
                                   const char **why);
void wire_small_write_at(const void *payload, uint64_t index, struct wire_small_write *out);

int wire_decode_reset(size_t length, const char **why);

/* Of GET and SET, one exactly, unless it is a probe. *data: *data_length bytes in the payload. */
int wire_decode_device_feature(const void *payload, size_t length, struct wire_device_feature *out,
                               const uint8_t **data, size_t *data_length, const char **why);

/* max_size: what was negotiated as max_data_xfer_size. */
int wire_decode_mig_data_read(const void *payload, size_t length, uint32_t max_size,
                              struct wire_mig_data *out, const char **why);
int wire_decode_mig_data_write(const void *payload, size_t length, uint32_t max_size,
                               struct wire_mig_data *out, const uint8_t **data, const char **why);

/*
 * The client's replies to our requests. count is what the client says it transferred; data points
 * to as many bytes in the payload.
 */
int wire_decode_dma_read_reply(const void *payload, size_t length, struct wire_dma_access *out,
                               const uint8_t **data, const char **why);
int wire_decode_dma_write_reply(const void *payload, size_t length, struct wire_dma_access *out,
                                const char **why);

/*
 * What GET_REGION_INFO says beside struct wire_region_info: areas that can be mapped (all of them;
 * none if the whole region can, or nothing), and a type.
 */
enum { WIRE_MAX_AREAS = 8 };

struct wire_region_caps {
	unsigned area_count;
	struct wire_sparse_area areas[WIRE_MAX_AREAS];
	bool typed;
	uint32_t type, subtype;
};

enum {
	WIRE_REGION_INFO_ROOM =
		sizeof(struct wire_region_info) + sizeof(struct wire_cap_sparse_mmap) +
		WIRE_MAX_AREAS * sizeof(struct wire_sparse_area) + sizeof(struct wire_cap_type),
};

/* Bytes of the whole payload. */
size_t wire_region_info_size(const struct wire_region_caps *caps);

/*
 * Writes a payload of that size, WIRE_REGION_INFO_ROOM at most, and returns it. argsz, cap_offset
 * and WIRE_REGION_CAPS are filled in.
 */
size_t wire_encode_region_info(void *payload, const struct wire_region_info *info,
                               const struct wire_region_caps *caps);

/* Headers. size is the whole message's. */
void wire_encode_command(void *message, uint16_t id, uint16_t command, uint32_t size);
void wire_encode_reply(void *message, const struct wire_header *request, uint32_t size);
/* error: a negative errno value. The message is the header alone. */
void wire_encode_error(void *message, const struct wire_header *request, int error);

#endif
