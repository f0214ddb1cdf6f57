/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON objects flattened into options; see opts_json.h. */
#include "opts_json.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* Where in the document we are. */
struct place {
	struct opts *opts;
	size_t first;                /* number of the document's first pair in opts */
	char key[OPTS_JSON_KEY + 1]; /* "socket.type" */
	size_t length;               /* of key */
	unsigned depth;
	struct ob_error *err;
};

static int add_member(struct place *place, struct json_object *value);

static int refuse(const struct place *place, const char *what)
{
	return ob_error_set(place->err, -EINVAL, "%s: %s", place->key, what);
}

static bool is_taken(const struct place *place)
{
	const struct opts *opts = place->opts;

	for (size_t i = place->first; i < opts->count; i++) {
		if (!strcmp(opts->list[i].key, place->key))
			return true;
	}
	return false;
}

static int add_pair(struct place *place, const char *text)
{
	int rc;

	if (place->opts->count - place->first >= OPTS_JSON_PAIRS)
		return refuse(place, "too many options");
	rc = opts_add(place->opts, place->key, text);
	return rc ? ob_error_set(place->err, rc, "out of memory") : 0;
}

/* json-c makes the largest or smallest it has of what does not fit, and does not say so. */
static int add_number(struct place *place, struct json_object *value)
{
	const char *text = json_object_to_json_string(value);

	if (json_object_get_uint64(value) == UINT64_MAX ||
	    json_object_get_int64(value) == INT64_MIN)
		return refuse(place, "the number does not fit into 64 bits");
	return text ? add_pair(place, text) : refuse(place, "out of memory");
}

static int add_scalar(struct place *place, struct json_object *value)
{
	const char *text;

	switch (json_object_get_type(value)) {
	case json_type_boolean:
		return add_pair(place, json_object_get_boolean(value) ? "on" : "off");
	case json_type_int:
		return add_number(place, value);
	case json_type_string:
		text = json_object_get_string(value);
		if (strlen(text) != (size_t)json_object_get_string_len(value))
			return refuse(place, "a string without NUL expected");
		return add_pair(place, text);
	case json_type_double:
		return refuse(place, "a whole number expected");
	case json_type_null:
		return refuse(place, "null is no value: leave it out for the default");
	default:
		return refuse(place, "a string, a number, true or false expected");
	}
}

static int add_list(struct place *place, struct json_object *list)
{
	size_t count = json_object_array_length(list);
	int rc = 0;

	if (!count)
		return refuse(place, "the list is empty: leave it out for the default");
	for (size_t i = 0; i < count && !rc; i++)
		rc = add_scalar(place, json_object_array_get_idx(list, i));
	return rc;
}

static int add_object(struct place *place, struct json_object *object)
{
	size_t length = place->length;
	int rc = 0;

	if (place->depth == OPTS_JSON_DEPTH)
		return refuse(place, "too many objects in each other");
	place->depth++;
	json_object_object_foreach(object, name, value)
	{
		int n = snprintf(place->key + length, sizeof(place->key) - length, "%s%s",
		                 length ? "." : "", name);

		place->length = length + (size_t)n;
		if (place->length >= sizeof(place->key))
			rc = ob_error_set(place->err, -EINVAL, "'%.40s...': the name is too long",
			                  place->key);
		else if (!*name)
			rc = ob_error_set(place->err, -EINVAL, "an option without a name");
		else
			rc = add_member(place, value);
		place->length = length;
		place->key[length] = '\0';
		if (rc)
			break;
	}
	place->depth--;
	return rc;
}

static int add_member(struct place *place, struct json_object *value)
{
	if (json_object_is_type(value, json_type_object)) {
		if (!json_object_object_length(value))
			return refuse(place, "the object is empty: leave it out for the default");
		return add_object(place, value);
	}
	if (is_taken(place))
		return refuse(place, "given twice, nested and flat");
	if (json_object_is_type(value, json_type_array))
		return add_list(place, value);
	return add_scalar(place, value);
}

int opts_from_json(struct opts *opts, struct json_object *object, struct ob_error *err)
{
	struct place place = {.opts = opts, .first = opts->count, .err = err};

	if (!json_object_is_type(object, json_type_object))
		return ob_error_set(err, -EINVAL, "a JSON object expected");
	return add_object(&place, object);
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

int opts_parse_json(struct opts *opts, const char *text, struct ob_error *err)
{
	/* One more than what is taken, so that the message about depth is ours; and the scalar. */
	__attribute__((cleanup(free_tokener))) struct json_tokener *tokener =
		json_tokener_new_ex(OPTS_JSON_DEPTH + 2);
	__attribute__((cleanup(free_object))) struct json_object *object = NULL;
	enum json_tokener_error error;
	size_t length = strlen(text);

	if (!tokener)
		return ob_error_set(err, -ENOMEM, "out of memory");
	if (length > INT32_MAX - 1)
		return ob_error_set(err, -EINVAL, "JSON: too long");
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With the NUL: what is cut off is an error then, and not waited for. */
	object = json_tokener_parse_ex(tokener, text, (int)length + 1);
	error = json_tokener_get_error(tokener);
	if (error == json_tokener_continue)
		error = json_tokener_error_parse_eof;
	if (error != json_tokener_success)
		return ob_error_set(err, -EINVAL, "JSON: %s at character %zu",
		                    json_tokener_error_desc(error),
		                    json_tokener_get_parse_end(tokener) + 1);
	return opts_from_json(opts, object, err);
}
