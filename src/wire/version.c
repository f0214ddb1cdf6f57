/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VERSION message. Its JSON comes from a stranger: json-c's tokener gets an explicit length, a
 * small depth limit and strict syntax, at most WIRE_MAX_VERSION_JSON bytes, and what it allocates
 * is freed before the decoder returns. Our own JSON is made by capabilities.c.
 */
#include "wire/version.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "capabilities.h"

enum { JSON_DEPTH = 8 };

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

static void free_tokener(struct json_tokener **tokener)
{
	if (*tokener)
		json_tokener_free(*tokener);
}

static void free_object(struct json_object **object)
{
	json_object_put(*object);
}

/*
 * A number of at least min, capped at max. *value is left alone where the name is missing. Numbers
 * past 63 bits saturate in json-c, which is as good as capped.
 */
static int get_number(struct json_object *object, const char *name, uint64_t min, uint64_t max,
                      uint64_t *value)
{
	struct json_object *member;
	int64_t number;

	if (!json_object_object_get_ex(object, name, &member))
		return 0;
	if (!json_object_is_type(member, json_type_int))
		return -EINVAL;
	number = json_object_get_int64(member);
	if (number < 0 || (uint64_t)number < min)
		return -EINVAL;
	*value = json_object_get_uint64(member);
	if (*value > max)
		*value = max;
	return 0;
}

static int get_number32(struct json_object *object, const char *name, uint32_t min, uint32_t *value)
{
	uint64_t number = *value;

	if (get_number(object, name, min, UINT32_MAX, &number))
		return -EINVAL;
	*value = (uint32_t)number;
	return 0;
}

static int get_bool(struct json_object *object, const char *name, bool *value)
{
	struct json_object *member;

	if (!json_object_object_get_ex(object, name, &member))
		return 0;
	if (!json_object_is_type(member, json_type_boolean))
		return -EINVAL;
	*value = json_object_get_boolean(member);
	return 0;
}

static int decode_twin_socket(struct json_object *object, struct wire_capabilities *caps,
                              const char **why)
{
	struct json_object *twin;

	if (!json_object_object_get_ex(object, "twin_socket", &twin))
		return 0;
	if (!json_object_is_type(twin, json_type_object))
		return refuse(why, "capability twin_socket: an object expected");
	if (get_bool(twin, "supported", &caps->twin_socket))
		return refuse(why, "capability twin_socket.supported: true or false expected");
	return 0;
}

static int decode_migration(struct json_object *object, struct wire_capabilities *caps,
                            const char **why)
{
	struct json_object *migration;

	if (!json_object_object_get_ex(object, "migration", &migration))
		return 0;
	if (!json_object_is_type(migration, json_type_object))
		return refuse(why, "capability migration: an object expected");
	if (get_number(migration, "max_bitmap_size", 0, UINT64_MAX, &caps->max_bitmap_size))
		return refuse(why, "capability migration.max_bitmap_size: a whole number expected");
	if (get_number(migration, "pgsize", 1, UINT64_MAX, &caps->migration_pgsize))
		return refuse(why, "capability migration.pgsize: a number above 0 expected");
	caps->migration = true;
	return 0;
}

static int decode_capabilities(struct json_object *object, struct wire_capabilities *caps,
                               const char **why)
{
	int rc;

	if (get_number32(object, "max_msg_fds", 0, &caps->max_msg_fds))
		return refuse(why, "capability max_msg_fds: a whole number expected");
	if (get_number32(object, "max_data_xfer_size", 1, &caps->max_data_xfer_size))
		return refuse(why, "capability max_data_xfer_size: a number above 0 expected");
	if (get_number32(object, "max_dma_maps", 0, &caps->max_dma_maps))
		return refuse(why, "capability max_dma_maps: a whole number expected");
	if (get_number(object, "pgsizes", 1, UINT64_MAX, &caps->pgsizes))
		return refuse(why, "capability pgsizes: a number above 0 expected");
	if (get_bool(object, "write_multiple", &caps->write_multiple))
		return refuse(why, "capability write_multiple: true or false expected");
	rc = decode_twin_socket(object, caps, why);
	return rc ? rc : decode_migration(object, caps, why);
}

static int decode_json(const char *text, size_t length, struct wire_capabilities *caps,
                       const char **why)
{
	__attribute__((cleanup(free_tokener))) struct json_tokener *tokener =
		json_tokener_new_ex(JSON_DEPTH);
	__attribute__((cleanup(free_object))) struct json_object *root = NULL;
	struct json_object *capabilities;

	if (!tokener) {
		*why = "version data: out of memory";
		return -ENOMEM;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tokener, text, (int)length);
	if (json_tokener_get_error(tokener) != json_tokener_success ||
	    !json_object_is_type(root, json_type_object))
		return refuse(why, "version data: a JSON object expected");
	if (!json_object_object_get_ex(root, "capabilities", &capabilities))
		return 0;
	if (!json_object_is_type(capabilities, json_type_object))
		return refuse(why, "version data: capabilities: an object expected");
	return decode_capabilities(capabilities, caps, why);
}

int wire_decode_version(const void *payload, size_t length, struct wire_version *out,
                        const char **why)
{
	struct wire_version_header header;
	const char *text = (const char *)payload + sizeof(header);
	struct wire_version version = {
		.capabilities =
			{
				.max_msg_fds = WIRE_DEFAULT_MSG_FDS,
				.max_data_xfer_size = WIRE_DEFAULT_DATA_XFER_SIZE,
				.max_dma_maps = WIRE_DEFAULT_DMA_MAPS,
				.pgsizes = WIRE_DEFAULT_PGSIZES,
				.max_bitmap_size = WIRE_DEFAULT_BITMAP_SIZE,
				.migration_pgsize = WIRE_DEFAULT_PGSIZES,
			},
	};
	size_t json;
	int rc;

	if (length < sizeof(header))
		return refuse(why, "message size: at least 16 + 4 bytes expected");
	memcpy(&header, payload, sizeof(header));
	version.major = header.major;
	version.minor = header.minor;
	json = strnlen(text, length - sizeof(header));
	if (json > WIRE_MAX_VERSION_JSON)
		return refuse(why, "version data: at most 16384 bytes expected");
	if (json) {
		rc = decode_json(text, json, &version.capabilities, why);
		if (rc)
			return rc;
	}
	*out = version;
	return 0;
}

size_t wire_encode_version(void *payload, const struct wire_version *version)
{
	const struct wire_capabilities *caps = &version->capabilities;
	struct wire_version_header header = {version->major, version->minor};
	const struct capabilities_extras extras = {
		.migration = caps->migration,
		.pgsize = caps->migration_pgsize,
		.max_bitmap_size = caps->max_bitmap_size,
		.twin_fd_index = true,
	};

	memcpy(payload, &header, sizeof(header));
	return sizeof(header) + wire_put_capabilities((char *)payload + sizeof(header),
	                                              WIRE_VERSION_REPLY_ROOM - sizeof(header),
	                                              caps, &extras);
}
