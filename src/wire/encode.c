/* SPDX-License-Identifier: BSD-3-Clause */
/* Encoding of what is not just one of the structs of protocol.h. */
#include <string.h>

#include "wire/wire.h"

static void put_header(void *message, struct wire_header header)
{
	memcpy(message, &header, sizeof(header));
}

void wire_encode_command(void *message, uint16_t id, uint16_t command, uint32_t size)
{
	put_header(message, (struct wire_header){
				    .id = id,
				    .command = command,
				    .size = size,
				    .flags = WIRE_TYPE_COMMAND,
			    });
}

void wire_encode_reply(void *message, const struct wire_header *request, uint32_t size)
{
	put_header(message, (struct wire_header){
				    .id = request->id,
				    .command = request->command,
				    .size = size,
				    .flags = WIRE_TYPE_REPLY,
			    });
}

void wire_encode_error(void *message, const struct wire_header *request, int error)
{
	put_header(message, (struct wire_header){
				    .id = request->id,
				    .command = request->command,
				    .size = sizeof(struct wire_header),
				    .flags = WIRE_TYPE_REPLY | WIRE_ERROR,
				    .error = (uint32_t)-error,
			    });
}

static size_t sparse_size(const struct wire_region_caps *caps)
{
	if (!caps->area_count)
		return 0;
	return sizeof(struct wire_cap_sparse_mmap) +
	       caps->area_count * sizeof(struct wire_sparse_area);
}

size_t wire_region_info_size(const struct wire_region_caps *caps)
{
	return sizeof(struct wire_region_info) + sparse_size(caps) +
	       (caps->typed ? sizeof(struct wire_cap_type) : 0);
}

size_t wire_encode_region_info(void *payload, const struct wire_region_info *info,
                               const struct wire_region_caps *caps)
{
	struct wire_region_info fixed = *info;
	uint32_t at = sizeof(fixed), end = (uint32_t)wire_region_info_size(caps);

	fixed.argsz = end;
	fixed.cap_offset = end > at ? at : 0;
	if (end > at)
		fixed.flags |= WIRE_REGION_CAPS;
	memcpy(payload, &fixed, sizeof(fixed));
	if (caps->area_count) {
		uint32_t next = at + (uint32_t)sparse_size(caps);
		struct wire_cap_sparse_mmap sparse = {
			.header = {WIRE_REGION_CAP_SPARSE_MMAP, 1, next < end ? next : 0},
			.nr_areas = caps->area_count,
		};

		memcpy((uint8_t *)payload + at, &sparse, sizeof(sparse));
		memcpy((uint8_t *)payload + at + sizeof(sparse), caps->areas,
		       caps->area_count * sizeof(caps->areas[0]));
		at = next;
	}
	if (caps->typed) {
		struct wire_cap_type type = {
			.header = {WIRE_REGION_CAP_TYPE, 1, 0},
			.type = caps->type,
			.subtype = caps->subtype,
		};

		memcpy((uint8_t *)payload + at, &type, sizeof(type));
	}
	return end;
}
