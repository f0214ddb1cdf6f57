/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's half of the protocol; see client.h. */
#include "wire/client.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "base/checked.h"
#include "capabilities.h"

enum { JSON_DEPTH = 8 };

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

/* VERSION */

size_t wire_encode_version_request(void *payload, const struct wire_version *version,
                                   const struct wire_migration_caps *migration)
{
	struct wire_version_header header = {version->major, version->minor};
	const struct capabilities_extras extras = {
		.migration = migration->pgsize,
		.pgsize = migration->pgsize,
		.max_bitmap_size = migration->max_bitmap_size,
	};

	memcpy(payload, &header, sizeof(header));
	return sizeof(header) + wire_put_capabilities((char *)payload + sizeof(header),
	                                              WIRE_VERSION_REQUEST_ROOM - sizeof(header),
	                                              &version->capabilities, &extras);
}

static uint64_t number_in(struct json_object *object, const char *name)
{
	struct json_object *member;

	if (!json_object_object_get_ex(object, name, &member) ||
	    !json_object_is_type(member, json_type_int) || json_object_get_int64(member) < 0)
		return 0;
	return json_object_get_uint64(member);
}

/* What wire_decode_version() leaves out. The text was parsed once, so it is well-formed. */
static int decode_extras(struct json_object *root, struct wire_version_reply *out, const char **why)
{
	struct json_object *caps, *object, *index;
	int64_t number;

	if (!json_object_object_get_ex(root, "capabilities", &caps))
		return 0;
	if (json_object_object_get_ex(caps, "migration", &object)) {
		out->migration.pgsize = number_in(object, "pgsize");
		out->migration.max_bitmap_size = number_in(object, "max_bitmap_size");
	}
	if (!out->version.capabilities.twin_socket)
		return 0;
	if (!json_object_object_get_ex(caps, "twin_socket", &object) ||
	    !json_object_object_get_ex(object, "fd_index", &index))
		return 0;
	number = json_object_get_int64(index);
	if (!json_object_is_type(index, json_type_int) || number < 0 || number > UINT32_MAX)
		return refuse(why, "capability twin_socket.fd_index: a whole number expected");
	out->has_twin_fd = true;
	out->twin_fd = (uint32_t)number;
	return 0;
}

int wire_decode_version_reply(const void *payload, size_t length, struct wire_version_reply *out,
                              const char **why)
{
	struct wire_version_reply reply = {0};
	struct json_tokener *tokener;
	struct json_object *root;
	int rc = wire_decode_version(payload, length, &reply.version, why);

	if (rc)
		return rc;
	reply.json = (const char *)payload + sizeof(struct wire_version_header);
	reply.json_length = strnlen(reply.json, length - sizeof(struct wire_version_header));
	if (reply.json_length) {
		tokener = json_tokener_new_ex(JSON_DEPTH);
		if (!tokener)
			return -ENOMEM;
		root = json_tokener_parse_ex(tokener, reply.json, (int)reply.json_length);
		rc = decode_extras(root, &reply, why);
		json_object_put(root);
		json_tokener_free(tokener);
	}
	if (!rc)
		*out = reply;
	return rc;
}

/* Information */

static int decode_sparse(const uint8_t *payload, size_t length, size_t at,
                         struct wire_region_reply *out, const char **why)
{
	struct wire_cap_sparse_mmap cap;
	struct wire_sparse_area area;

	if (length - at < sizeof(cap))
		return refuse(why, "sparse mmap capability: 16 bytes and its areas expected");
	memcpy(&cap, payload + at, sizeof(cap));
	if (cap.nr_areas > (length - at - sizeof(cap)) / sizeof(area))
		return refuse(why, "nr_areas: as many as the message holds expected");
	out->sparse = true;
	out->area_count = cap.nr_areas;
	out->areas = payload + at + sizeof(cap);
	for (uint32_t i = 0; i < cap.nr_areas; i++) {
		wire_area_at(out, i, &area);
		if (!range_within(area.offset, area.size, out->info.size))
			return refuse(why, "sparse mmap area: within the region expected");
	}
	return 0;
}

static int decode_region_caps(const uint8_t *payload, size_t length, struct wire_region_reply *out,
                              const char **why)
{
	struct wire_cap_header header;
	size_t at = out->info.cap_offset;
	int rc;

	for (unsigned n = 0; at; n++) {
		if (n == WIRE_MAX_REGION_CAPS)
			return refuse(why, "capabilities: a chain of at most 64 expected");
		if (at < sizeof(out->info) || at > length || length - at < sizeof(header))
			return refuse(why, "capability offset: within the reply expected");
		memcpy(&header, payload + at, sizeof(header));
		if (header.id == WIRE_REGION_CAP_SPARSE_MMAP) {
			rc = decode_sparse(payload, length, at, out, why);
			if (rc)
				return rc;
		} else if (header.id == WIRE_REGION_CAP_TYPE) {
			if (length - at < sizeof(header) + 2 * sizeof(uint32_t))
				return refuse(why, "type capability: 16 bytes expected");
			out->has_type = true;
			memcpy(&out->type, payload + at + sizeof(header), sizeof(out->type));
			memcpy(&out->subtype, payload + at + sizeof(header) + sizeof(out->type),
			       sizeof(out->subtype));
		}
		at = header.next;
	}
	return 0;
}

int wire_decode_region_info_reply(const void *payload, size_t length, struct wire_region_reply *out,
                                  const char **why)
{
	*out = (struct wire_region_reply){0};
	if (length < sizeof(out->info))
		return refuse(why, "reply size: at least 16 + 32 bytes expected");
	memcpy(&out->info, payload, sizeof(out->info));
	if (out->info.argsz < sizeof(out->info))
		return refuse(why, "argsz: at least 32 expected");
	out->incomplete = out->info.argsz > length;
	if (out->incomplete || !(out->info.flags & WIRE_REGION_CAPS))
		return 0;
	return decode_region_caps(payload, length, out, why);
}

void wire_area_at(const struct wire_region_reply *reply, uint32_t index,
                  struct wire_sparse_area *out)
{
	memcpy(out, reply->areas + (size_t)index * sizeof(*out), sizeof(*out));
}

int wire_decode_io_fds_reply(const void *payload, size_t length, struct wire_region_io_fds *out,
                             bool *incomplete, const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "reply size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	*incomplete = out->argsz > length;
	if (!*incomplete && out->count > (length - sizeof(*out)) / sizeof(struct wire_io_fd))
		return refuse(why, "count: as many as the message holds expected");
	return 0;
}

void wire_io_fd_at(const void *payload, uint32_t index, struct wire_io_fd *out)
{
	memcpy(out,
	       (const uint8_t *)payload + sizeof(struct wire_region_io_fds) +
	               (size_t)index * sizeof(*out),
	       sizeof(*out));
}

int wire_decode_device_info_reply(const void *payload, size_t length, struct wire_device_info *out,
                                  const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "reply size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	return 0;
}

int wire_decode_irq_info_reply(const void *payload, size_t length, struct wire_irq_info *out,
                               const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "reply size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	return 0;
}

/* Access */

static int check_access(const struct wire_region_access *out,
                        const struct wire_region_access *request, const char **why)
{
	if (out->offset != request->offset || out->region != request->region)
		return refuse(why, "region, offset: the request's expected");
	if (out->count > request->count)
		return refuse(why, "count: at most the request's expected");
	return 0;
}

int wire_decode_region_read_reply(const void *payload, size_t length,
                                  const struct wire_region_access *request,
                                  struct wire_region_access *out, const uint8_t **data,
                                  const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "reply size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (length - sizeof(*out) != out->count)
		return refuse(why, "reply size: 16 + 16 + count bytes expected");
	*data = (const uint8_t *)payload + sizeof(*out);
	return check_access(out, request, why);
}

int wire_decode_region_write_reply(const void *payload, size_t length,
                                   const struct wire_region_access *request,
                                   struct wire_region_access *out, const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "reply size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	return check_access(out, request, why);
}

int wire_decode_write_multi_reply(const void *payload, size_t length, uint64_t request,
                                  uint64_t *count, const char **why)
{
	if (length < sizeof(*count))
		return refuse(why, "reply size: at least 16 + 8 bytes expected");
	memcpy(count, payload, sizeof(*count));
	if (*count > request)
		return refuse(why, "wr_cnt: at most the request's expected");
	return 0;
}

int wire_decode_dma_read(const void *payload, size_t length, uint32_t max_count,
                         struct wire_dma_access *out, const char **why)
{
	if (length != sizeof(*out))
		return refuse(why, "message size: 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->count > max_count)
		return refuse(why, "count: at most max_data_xfer_size expected");
	return 0;
}

int wire_decode_dma_write(const void *payload, size_t length, uint32_t max_count,
                          struct wire_dma_access *out, const uint8_t **data, const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->count > max_count)
		return refuse(why, "count: at most max_data_xfer_size expected");
	if (length - sizeof(*out) != out->count)
		return refuse(why, "message size: 16 + 16 + count bytes expected");
	*data = (const uint8_t *)payload + sizeof(*out);
	return 0;
}
