/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between structs that a field table (outboard/field.h) describes and tables of the stream: the
 * rules of compatibility of docs/migration.md are here, and nowhere else.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "internal.h"

/* The value of element i of a number or flag in a struct. */
static uint64_t host_value(const struct ob_field *field, const void *base, uint32_t i)
{
	const uint8_t *at = (const uint8_t *)base + field->offset + (size_t)i * field->size;

	switch (field->type) {
	case OB_FIELD_BOOL:
		return *(const bool *)at;
	case OB_FIELD_U16:
		return *(const uint16_t *)at;
	case OB_FIELD_U32:
		return *(const uint32_t *)at;
	case OB_FIELD_U64:
		return *(const uint64_t *)at;
	default:
		return *at;
	}
}

static void set_host_value(const struct ob_field *field, void *base, uint32_t i, uint64_t value)
{
	uint8_t *at = (uint8_t *)base + field->offset + (size_t)i * field->size;

	switch (field->type) {
	case OB_FIELD_BOOL:
		*(bool *)at = value != 0;
		break;
	case OB_FIELD_U16:
		*(uint16_t *)at = (uint16_t)value;
		break;
	case OB_FIELD_U32:
		*(uint32_t *)at = (uint32_t)value;
		break;
	case OB_FIELD_U64:
		*(uint64_t *)at = value;
		break;
	default:
		*at = (uint8_t)value;
	}
}

/* Writing */

static bool is_zero(const struct ob_field *field, const void *base, uint32_t i)
{
	const uint8_t *at = (const uint8_t *)base + field->offset + (size_t)i * field->size;

	if (field->type != OB_FIELD_STRUCT)
		return host_value(field, base, i) == 0;
	for (const struct ob_field *inner = field->fields; inner->name; inner++) {
		for (uint32_t k = 0; k < inner->count; k++) {
			if (!is_zero(inner, at, k))
				return false;
		}
	}
	return true;
}

/* How many elements of an array are written: zeroes at its end are not, where that can be. */
static uint32_t used_count(const struct ob_field *field, const void *base)
{
	uint32_t count = field->count;

	while (base && count > 1 && is_zero(field, base, count - 1))
		count--;
	return count;
}

/* base is NULL where elements of an array have to have the same length. */
static void put_schema(struct mstream_writer *writer, const struct ob_field *fields,
                       const void *base)
{
	uint16_t count = 0;

	while (fields[count].name)
		count++;
	mstream_put16(writer, count);
	for (const struct ob_field *field = fields; field->name; field++) {
		mstream_put_field(writer, field->type, field->optional ? MSTREAM_OPTIONAL : 0,
		                  used_count(field, base), field->name);
		if (field->type == OB_FIELD_STRUCT)
			put_schema(writer, field->fields, NULL);
	}
}

static void put_values(struct mstream_writer *writer, const struct ob_field *fields,
                       const void *base, bool trim)
{
	for (const struct ob_field *field = fields; field->name; field++) {
		const uint8_t *at = (const uint8_t *)base + field->offset;
		uint32_t count = used_count(field, trim ? base : NULL);

		if (field->type == OB_FIELD_BYTES) {
			mstream_put(writer, at, count);
			continue;
		}
		for (uint32_t i = 0; i < count; i++) {
			if (field->type == OB_FIELD_STRUCT)
				put_values(writer, field->fields, at + (size_t)i * field->size,
				           false);
			else
				mstream_put_value(writer, field->type, host_value(field, base, i));
		}
	}
}

int fields_put(struct mstream_writer *writer, struct mstream_sum *sum, enum mstream_kind kind,
               uint32_t version, const char *name, const struct fields_array *array)
{
	bool trim = array->count == 1;

	mstream_begin_section(writer, kind, MSTREAM_REQUIRED, version, name);
	mstream_put32(writer, array->count);
	put_schema(writer, array->fields, trim ? array->structs : NULL);
	for (uint32_t i = 0; i < array->count; i++)
		put_values(writer, array->fields, (const uint8_t *)array->structs + i * array->size,
		           trim);
	return mstream_end_section(writer, sum);
}

/* Reading */

/* A struct of the stream that is read into one of ours. */
struct getter {
	const struct mstream_table *table;
	unsigned first, end;  /* its fields in the table */
	const uint8_t *bytes; /* its values */
	const struct ob_field *fields;
	uint32_t version;
	uint8_t *target;
	char *place; /* for messages: "sq[3]." */
	size_t place_room;
};

static int get_struct(const struct getter *g, struct ob_error *err);

static const struct ob_field *find_ours(const struct ob_field *fields, const char *name)
{
	for (; fields->name; fields++) {
		if (!strcmp(fields->name, name))
			return fields;
	}
	return NULL;
}

static const struct mstream_field *find_theirs(const struct getter *g, const char *name)
{
	const struct mstream_field *list = g->table->fields, *found = NULL;

	for (unsigned i = g->first; i < g->end; i = list[i].next) {
		if (!strcmp(list[i].name, name)) {
			found = &list[i];
			break;
		}
	}
	return found;
}

static bool is_number(unsigned type)
{
	return type >= OB_FIELD_U8 && type <= OB_FIELD_U64;
}

static int check_type(const struct getter *g, const struct ob_field *ours,
                      const struct mstream_field *theirs, struct ob_error *err)
{
	if (ours->type == theirs->type || (is_number(ours->type) && is_number(theirs->type)))
		return 0;
	return ob_error_set(err, -EINVAL, "%s%s: the stream has it as %s, and %s is expected",
	                    g->place, ours->name, mstream_type_name(theirs->type),
	                    mstream_type_name(ours->type));
}

/* Whether element i of the stream's field is zeroes. */
static bool is_zero_there(const struct mstream_field *theirs, const uint8_t *bytes, uint32_t i)
{
	const uint8_t *at = bytes + theirs->offset + (size_t)i * theirs->size;

	for (uint32_t k = 0; k < theirs->size; k++) {
		if (at[k])
			return false;
	}
	return true;
}

static int get_number(const struct getter *g, const struct ob_field *ours, uint32_t i,
                      uint64_t value, struct ob_error *err)
{
	uint64_t widest = UINT64_MAX >> (64 - 8 * mstream_type_size(ours->type));
	uint64_t max = ours->min || ours->max ? ours->max : widest;

	if (ours->type == OB_FIELD_BOOL)
		max = 1;
	if (value < ours->min || value > max)
		return ob_error_set(err, -EINVAL,
		                    "%s%s[%u]: %" PRIu64 " is not from %" PRIu64 " to %" PRIu64,
		                    g->place, ours->name, i, value, ours->min, max);
	set_host_value(ours, g->target, i, value);
	return 0;
}

static int get_element(const struct getter *g, const struct ob_field *ours,
                       const struct mstream_field *theirs, uint32_t i, struct ob_error *err)
{
	size_t used = strlen(g->place);
	struct getter inner = *g;
	int rc;

	if (ours->type != OB_FIELD_STRUCT)
		return get_number(g, ours, i, mstream_value(theirs, g->bytes + theirs->offset, i),
		                  err);
	inner.first = (unsigned)(theirs - g->table->fields) + 1;
	inner.end = theirs->next;
	inner.bytes = g->bytes + theirs->offset + (size_t)i * theirs->size;
	inner.fields = ours->fields;
	inner.target = g->target + ours->offset + (size_t)i * ours->size;
	snprintf(g->place + used, g->place_room - used, "%s[%u].", ours->name, i);
	rc = get_struct(&inner, err);
	g->place[used] = '\0';
	return rc;
}

/* What the stream does not have of an array is zeroes: a writer leaves those out. */
static int get_field(const struct getter *g, const struct ob_field *ours,
                     const struct mstream_field *theirs, struct ob_error *err)
{
	uint32_t count = theirs->count < ours->count ? theirs->count : ours->count;
	int rc = check_type(g, ours, theirs, err);

	for (uint32_t i = ours->count; !rc && i < theirs->count; i++) {
		if (!is_zero_there(theirs, g->bytes, i))
			rc = ob_error_set(
				err, -EINVAL,
				"%s%s: the stream has %u of them, and %u is the most here",
				g->place, ours->name, theirs->count, ours->count);
	}
	if (rc)
		return rc;
	memset(g->target + ours->offset + (size_t)count * ours->size, 0,
	       (size_t)(ours->count - count) * ours->size);
	if (ours->type == OB_FIELD_BYTES) {
		memcpy(g->target + ours->offset, g->bytes + theirs->offset, count);
		return 0;
	}
	for (uint32_t i = 0; !rc && i < count; i++)
		rc = get_element(g, ours, theirs, i, err);
	return rc;
}

static int refuse_unknown(const struct getter *g, struct ob_error *err)
{
	const struct mstream_field *list = g->table->fields;

	for (unsigned i = g->first; i < g->end; i = list[i].next) {
		if (!find_ours(g->fields, list[i].name) && !(list[i].flags & MSTREAM_OPTIONAL))
			return ob_error_set(err, -EINVAL,
			                    "%s%s: not known here: the stream is from a newer "
			                    "version",
			                    g->place, list[i].name);
	}
	return 0;
}

static int get_struct(const struct getter *g, struct ob_error *err)
{
	int rc = refuse_unknown(g, err);

	for (const struct ob_field *ours = g->fields; !rc && ours->name; ours++) {
		const struct mstream_field *theirs = find_theirs(g, ours->name);

		if (theirs)
			rc = get_field(g, ours, theirs, err);
		else if (!ours->optional && ours->since <= g->version)
			rc = ob_error_set(err, -EINVAL, "%s%s: the stream does not have it",
			                  g->place, ours->name);
	}
	return rc;
}

int fields_get(const struct mstream_table *table, uint32_t element, const struct ob_field *fields,
               uint32_t version, void *target, struct ob_error *err)
{
	char place[MSTREAM_MAX_DEPTH * (MSTREAM_MAX_FIELD_NAME + 16)] = "";
	const struct getter g = {
		.table = table,
		.end = table->field_count,
		.bytes = table->data + (size_t)element * table->size,
		.fields = fields,
		.version = version,
		.target = target,
		.place = place,
		.place_room = sizeof(place),
	};

	return get_struct(&g, err);
}

/* Comparing */

/* As options write it: "num-queues" for num_queues. */
static void option_name(const char *field, char *name, size_t room)
{
	snprintf(name, room, "%s", field);
	for (; *name; name++) {
		if (*name == '_')
			*name = '-';
	}
}

static int differs(const struct ob_field *field, uint32_t i, const void *theirs, const void *ours,
                   struct ob_error *err)
{
	char name[MSTREAM_MAX_FIELD_NAME + 16];
	size_t used;

	option_name(field->name, name, sizeof(name));
	used = strlen(name);
	if (field->type == OB_FIELD_BYTES)
		return ob_error_set(err, -EINVAL, "%s: the stream has '%.*s', this device '%.*s'",
		                    name, (int)field->count, (const char *)theirs + field->offset,
		                    (int)field->count, (const char *)ours + field->offset);
	if (field->count > 1)
		snprintf(name + used, sizeof(name) - used, " %u", i);
	return ob_error_set(err, -EINVAL, "%s: the stream has %" PRIu64 ", this device %" PRIu64,
	                    name, host_value(field, theirs, i), host_value(field, ours, i));
}

int fields_compare(const struct ob_field *fields, const void *theirs, const void *ours,
                   struct ob_error *err)
{
	for (const struct ob_field *field = fields; field->name; field++) {
		for (uint32_t i = 0; i < field->count; i++) {
			if (host_value(field, theirs, i) != host_value(field, ours, i))
				return differs(field, i, theirs, ours, err);
		}
	}
	return 0;
}
