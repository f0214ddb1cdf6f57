/* SPDX-License-Identifier: BSD-3-Clause */
/* VERSION's JSON (Version data format), written; see capabilities.h. Reading it is version.c's. */
#include "capabilities.h"

#include <json-c/json.h>
#include <string.h>

/* Takes value over. */
static bool add(struct json_object *object, const char *name, struct json_object *value)
{
	if (value && !json_object_object_add(object, name, value))
		return true;
	json_object_put(value);
	return false;
}

static bool add_number(struct json_object *object, const char *name, uint64_t value)
{
	return add(object, name, json_object_new_uint64(value));
}

static bool add_flag(struct json_object *object, const char *name)
{
	return add(object, name, json_object_new_boolean(true));
}

/* An object in it, or NULL. */
static struct json_object *add_object(struct json_object *object, const char *name)
{
	struct json_object *member = json_object_new_object();

	return add(object, name, member) ? member : NULL;
}

static bool add_twin(struct json_object *to, const struct capabilities_extras *extras)
{
	struct json_object *twin = add_object(to, "twin_socket");

	return twin && add_flag(twin, "supported") &&
	       (!extras->twin_fd_index || add_number(twin, "fd_index", 0));
}

static bool add_migration(struct json_object *to, const struct capabilities_extras *extras)
{
	struct json_object *migration = add_object(to, "migration");

	return migration && add_number(migration, "pgsize", extras->pgsize) &&
	       add_number(migration, "max_bitmap_size", extras->max_bitmap_size);
}

static bool fill(struct json_object *to, const struct wire_capabilities *caps,
                 const struct capabilities_extras *extras)
{
	return add_number(to, "max_msg_fds", caps->max_msg_fds) &&
	       add_number(to, "max_data_xfer_size", caps->max_data_xfer_size) &&
	       add_number(to, "max_dma_maps", caps->max_dma_maps) &&
	       add_number(to, "pgsizes", caps->pgsizes) &&
	       (!caps->write_multiple || add_flag(to, "write_multiple")) &&
	       (!caps->twin_socket || add_twin(to, extras)) &&
	       (!extras->migration || add_migration(to, extras));
}

size_t wire_put_capabilities(char *text, size_t room, const struct wire_capabilities *caps,
                             const struct capabilities_extras *extras)
{
	struct json_object *root = json_object_new_object();
	struct json_object *object = root ? add_object(root, "capabilities") : NULL;
	const char *made = NULL;
	size_t length = 0;

	if (object && fill(object, caps, extras))
		made = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN);
	if (made && strlen(made) < room) {
		length = strlen(made) + 1;
		memcpy(text, made, length);
	}
	json_object_put(root);
	return length;
}
