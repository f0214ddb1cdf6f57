/* SPDX-License-Identifier: BSD-3-Clause */
/* Property tables: defaults, values, help; see props.h. */
#include "props.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fd.h"

static int set_string(const struct ob_prop *prop, char **field, const char *value,
                      struct ob_error *err)
{
	char *copy;

	if (prop->max && strlen(value) > prop->max)
		return ob_error_set(err, -EINVAL, "%s=%s: expected at most %" PRIu64 " characters",
		                    prop->name, value, prop->max);
	copy = strdup(value);
	if (!copy)
		return ob_error_set(err, -ENOMEM, "out of memory");
	free(*field);
	*field = copy;
	return 0;
}

static int set_enum(const struct ob_prop *prop, uint32_t *field, const char *value,
                    struct ob_error *err)
{
	char choices[256] = "";
	size_t used = 0;

	for (uint32_t i = 0; prop->choices[i]; i++) {
		if (!strcmp(prop->choices[i], value)) {
			*field = i;
			return 0;
		}
		used += (size_t)snprintf(choices + used, sizeof(choices) - used, "%s%s",
		                         i ? ", " : "", prop->choices[i]);
		if (used >= sizeof(choices))
			break;
	}
	return ob_error_set(err, -EINVAL, "%s=%s: expected one of %s", prop->name, value, choices);
}

static int add_block(const struct ob_prop *prop, struct ob_block_list *list, const char *value,
                     const struct props_objects *objects, struct ob_error *err)
{
	struct ob_block *block;

	if (list->count == OB_MAX_BLOCKS)
		return ob_error_set(err, -EINVAL, "%s=%s: more than %d block nodes", prop->name,
		                    value, OB_MAX_BLOCKS);
	if (!objects || !objects->claim_block)
		return ob_error_set(err, -EINVAL, "%s=%s: there are no block nodes here",
		                    prop->name, value);
	block = objects->claim_block(objects->context, value, err);
	if (!block)
		return -EINVAL;
	list->nodes[list->count++] = block;
	return 0;
}

static int set_chardev(const struct ob_prop *prop, struct ob_chardev **field, const char *value,
                       const struct props_objects *objects, struct ob_error *err)
{
	if (!objects || !objects->claim_chardev)
		return ob_error_set(err, -EINVAL, "%s=%s: there are no chardevs here", prop->name,
		                    value);
	*field = objects->claim_chardev(objects->context, value, err);
	return *field ? 0 : -EINVAL;
}

static int set_number(const struct ob_prop *prop, void *field, const char *value,
                      struct ob_error *err)
{
	uint64_t widest = prop->type == OB_PROP_UINT32 ? UINT32_MAX : UINT64_MAX;
	uint64_t max = prop->min || prop->max ? prop->max : widest;
	uint64_t n;
	int rc;

	if (prop->type == OB_PROP_UINT32)
		rc = parse_uint(prop->name, value, prop->min, max, &n, err);
	else
		rc = parse_size(prop->name, value, prop->min, max, &n, err);
	if (rc)
		return rc;
	if (prop->type == OB_PROP_UINT32)
		*(uint32_t *)field = (uint32_t)n;
	else
		*(uint64_t *)field = n;
	return 0;
}

static int set(const struct ob_prop *prop, void *target, const char *value,
               const struct props_objects *objects, struct ob_error *err)
{
	void *field = (char *)target + prop->offset;

	switch (prop->type) {
	case OB_PROP_BOOL:
		return parse_bool(prop->name, value, field, err);
	case OB_PROP_UINT32:
	case OB_PROP_SIZE:
		return set_number(prop, field, value, err);
	case OB_PROP_STRING:
		return set_string(prop, field, value, err);
	case OB_PROP_ENUM:
		return set_enum(prop, field, value, err);
	case OB_PROP_BLOCKS:
		return add_block(prop, field, value, objects, err);
	case OB_PROP_CHARDEV:
		return set_chardev(prop, field, value, objects, err);
	}
	return ob_error_set(err, -EINVAL, "property %s has an unknown type", prop->name);
}

int props_apply(const struct ob_prop *table, void *target, struct opts *opts,
                const struct props_objects *objects, struct ob_error *err)
{
	for (const struct ob_prop *prop = table; prop && prop->name; prop++) {
		bool repeats = prop->type == OB_PROP_BLOCKS;
		int rc = prop->preset ? set(prop, target, prop->preset, objects, err) : 0;

		for (unsigned given = 0; !rc; given++) {
			cleanup_free char *value = opts_take(opts, prop->name);

			if (!value)
				break;
			if (given && !repeats)
				rc = ob_error_set(err, -EINVAL, "%s is given twice", prop->name);
			else
				rc = set(prop, target, value, objects, err);
		}
		if (rc)
			return ob_error_key(err, rc, prop->name);
	}
	return 0;
}

void props_free(const struct ob_prop *table, void *target)
{
	for (const struct ob_prop *prop = table; prop && prop->name; prop++) {
		if (prop->type == OB_PROP_STRING)
			free(take_ptr((char **)((char *)target + prop->offset)));
	}
}

static void print_range(const struct ob_prop *prop, FILE *out)
{
	if (prop->type == OB_PROP_STRING && prop->max)
		fprintf(out, ", at most %" PRIu64 " characters", prop->max);
	else if (prop->type != OB_PROP_STRING && (prop->min || prop->max))
		fprintf(out, ", %" PRIu64 " to %" PRIu64, prop->min, prop->max);
	if (prop->preset)
		fprintf(out, " (default: %s)", prop->preset);
}

void props_print(const struct ob_prop *table, FILE *out)
{
	static const char *const types[] = {
		[OB_PROP_BOOL] = "on|off", [OB_PROP_UINT32] = "NUMBER", [OB_PROP_SIZE] = "SIZE",
		[OB_PROP_STRING] = "TEXT", [OB_PROP_ENUM] = "",         [OB_PROP_BLOCKS] = "NODE",
		[OB_PROP_CHARDEV] = "ID",
	};

	for (const struct ob_prop *prop = table; prop && prop->name; prop++) {
		char left[128];
		size_t n = (size_t)snprintf(left, sizeof(left), "%s=%s", prop->name,
		                            types[prop->type]);

		for (uint32_t i = 0; prop->type == OB_PROP_ENUM && prop->choices[i]; i++) {
			if (n >= sizeof(left))
				break;
			n += (size_t)snprintf(left + n, sizeof(left) - n, "%s%s", i ? "|" : "",
			                      prop->choices[i]);
		}
		fprintf(out, "  %-28s %s", left, prop->help);
		print_range(prop, out);
		fputc('\n', out);
	}
}
