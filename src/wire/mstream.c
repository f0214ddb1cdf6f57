/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading and writing the migration stream; see mstream.h. Nothing that is read is trusted. */
#include "wire/mstream.h"

#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/crc32c.h"
#include "outboard/endian.h"

enum { SECTION_MAGIC = 0x54434553 /* "SECT" */, LENGTH_AT = 12, NAME_AT = 16 };

static const char magic[8] = {'o', 'u', 't', 'b', 'o', 'a', 'r', 'd'};

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

unsigned mstream_type_size(unsigned type)
{
	static const uint8_t sizes[] = {
		[OB_FIELD_BOOL] = 1, [OB_FIELD_U8] = 1,  [OB_FIELD_U16] = 2,
		[OB_FIELD_U32] = 4,  [OB_FIELD_U64] = 8, [OB_FIELD_BYTES] = 1,
	};

	return type < sizeof(sizes) ? sizes[type] : 0;
}

const char *mstream_type_name(unsigned type)
{
	static const char *const names[] = {
		[OB_FIELD_BOOL] = "bool",     [OB_FIELD_U8] = "u8",   [OB_FIELD_U16] = "u16",
		[OB_FIELD_U32] = "u32",       [OB_FIELD_U64] = "u64", [OB_FIELD_BYTES] = "bytes",
		[OB_FIELD_STRUCT] = "struct",
	};

	return type && type < sizeof(names) / sizeof(*names) ? names[type] : "?";
}

/* Reading */

int mstream_check_header(const uint8_t *bytes, const char **why)
{
	if (memcmp(bytes, magic, sizeof(magic)) != 0)
		return refuse(why,
		              "this is no migration stream: it does not begin with 'outboard'");
	if (ob_get_le32(bytes + 8) != MSTREAM_FORMAT)
		return refuse(why, "the stream has a format that is not known here: it is from a "
		                   "newer version");
	if (ob_get_le32(bytes + 12))
		return refuse(why, "the header has bits that are not known here: it is from a "
		                   "newer version");
	return 0;
}

static bool is_name(const char *name, size_t length)
{
	if (!length)
		return false;
	for (size_t i = 0; i < length; i++) {
		char c = name[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
			return false;
	}
	return true;
}

/* A name of at most 16 characters, padded with zeroes. */
static bool take_section_name(const uint8_t *bytes, char *name)
{
	size_t length = strnlen((const char *)bytes, MSTREAM_MAX_NAME);

	memcpy(name, bytes, length);
	name[length] = '\0';
	for (size_t i = length; i < MSTREAM_MAX_NAME; i++) {
		if (bytes[i])
			return false;
	}
	return is_name(name, length);
}

int mstream_next(const uint8_t *bytes, size_t length, struct mstream_section *section, size_t *size,
                 const char **why)
{
	uint32_t body, crc;

	*size = MSTREAM_SECTION_HEADER;
	if (length < *size)
		return -EAGAIN;
	if (ob_get_le32(bytes) != SECTION_MAGIC)
		return refuse(why, "a section does not begin with 'SECT': the stream was altered");
	body = ob_get_le32(bytes + LENGTH_AT);
	if (body > MSTREAM_MAX_BODY)
		return refuse(why, "a section is longer than 1 MiB: the stream was altered");
	*size = (size_t)MSTREAM_SECTION_EXTRA + body;
	if (length < *size)
		return -EAGAIN;
	crc = crc32c(0, bytes, *size - 4);
	if (crc != ob_get_le32(bytes + *size - 4))
		return refuse(why, "a section's checksum is wrong: the stream was altered");
	if (!take_section_name(bytes + NAME_AT, section->name))
		return refuse(why, "a section's name is none");
	section->kind = ob_get_le16(bytes + 4);
	section->flags = ob_get_le16(bytes + 6);
	section->version = ob_get_le32(bytes + 8);
	section->body = bytes + MSTREAM_SECTION_HEADER;
	section->length = body;
	section->crc = crc;
	return 0;
}

void mstream_add(struct mstream_sum *sum, uint32_t section_crc)
{
	uint8_t bytes[4];

	ob_put_le32(bytes, section_crc);
	sum->crc = crc32c(sum->crc, bytes, sizeof(bytes));
	sum->sections++;
}

int mstream_check_end(const struct mstream_section *end, const struct mstream_sum *sum,
                      const char **why)
{
	if (end->length < 8)
		return refuse(why, "the end section is too short");
	if (ob_get_le32(end->body) != sum->sections || ob_get_le32(end->body + 4) != sum->crc)
		return refuse(why, "the end does not fit what came before: a section is missing, "
		                   "or there is one too many");
	return 0;
}

int mstream_decode_data(const struct mstream_section *section, uint64_t *offset, uint64_t *length,
                        const uint8_t **bytes, const char **why)
{
	uint64_t end;

	if (section->length < MSTREAM_DATA_HEADER)
		return refuse(why, "a data section is too short");
	*offset = ob_get_le64(section->body);
	*length = ob_get_le64(section->body + 8);
	*bytes = NULL;
	if (!*length || !checked_add(*offset, *length, &end))
		return refuse(why, "a data section's offset and length are none");
	if (section->length == MSTREAM_DATA_HEADER && *length <= MSTREAM_MAX_ZEROES)
		return 0;
	if (section->length - MSTREAM_DATA_HEADER != *length)
		return refuse(why, "a data section does not have the bytes that it says");
	*bytes = section->body + MSTREAM_DATA_HEADER;
	return 0;
}

/* What is left of a schema, and where its fields go. */
struct schema {
	const uint8_t *at;
	size_t left;
	struct mstream_table *table;
};

static const uint8_t *take(struct schema *schema, size_t length)
{
	const uint8_t *bytes = schema->at;

	if (schema->left < length)
		return NULL;
	schema->at += length;
	schema->left -= length;
	return bytes;
}

static int take_fields(struct schema *schema, unsigned depth, uint32_t *size, const char **why);

static int take_head(struct schema *schema, struct mstream_field *field, const char **why)
{
	const uint8_t *head = take(schema, 7);
	const uint8_t *name;

	if (!head)
		return refuse(why, "a schema is cut off");
	field->type = head[0];
	field->flags = head[1];
	field->count = ob_get_le32(head + 3);
	name = take(schema, head[2]);
	if (!name)
		return refuse(why, "a schema is cut off");
	if (head[2] >= sizeof(field->name) || !is_name((const char *)name, head[2]))
		return refuse(why, "a field's name is none");
	memcpy(field->name, name, head[2]);
	field->name[head[2]] = '\0';
	return 0;
}

/* One field, and those of its struct. *offset moves past it. */
static int take_field(struct schema *schema, unsigned depth, uint32_t *offset, const char **why)
{
	struct mstream_table *table = schema->table;
	struct mstream_field *field = &table->fields[table->field_count];
	uint64_t bytes;
	int rc;

	if (table->field_count == MSTREAM_MAX_FIELDS)
		return refuse(why, "a table has more than 256 fields");
	table->field_count++;
	rc = take_head(schema, field, why);
	if (rc)
		return rc;
	field->offset = *offset;
	field->size = mstream_type_size(field->type);
	if (field->type == OB_FIELD_STRUCT)
		rc = take_fields(schema, depth + 1, &field->size, why);
	else if (!field->size)
		rc = refuse(why, "a field has a type that is not known here: the stream is from a "
		                 "newer version");
	/* As with tables: any number of nothing would be much work for a few bytes. */
	if (!rc && field->count && !field->size)
		rc = refuse(why, "a struct has no fields");
	if (rc)
		return rc;
	field->next = table->field_count;
	if (!checked_mul(field->size, field->count, &bytes) || bytes > MSTREAM_MAX_BODY - *offset)
		return refuse(why, "a table's elements are longer than a section");
	*offset += (uint32_t)bytes;
	return 0;
}

static int take_fields(struct schema *schema, unsigned depth, uint32_t *size, const char **why)
{
	const uint8_t *head = take(schema, 2);
	unsigned count;

	if (!head)
		return refuse(why, "a schema is cut off");
	if (depth > MSTREAM_MAX_DEPTH)
		return refuse(why, "a schema is nested too deep");
	count = ob_get_le16(head);
	*size = 0;
	for (unsigned i = 0; i < count; i++) {
		int rc = take_field(schema, depth, size, why);

		if (rc)
			return rc;
	}
	return 0;
}

int mstream_decode_table(const struct mstream_section *section, struct mstream_table *table,
                         const char **why)
{
	struct schema schema = {section->body, section->length, table};
	const uint8_t *count = take(&schema, 4);
	uint64_t bytes;
	int rc;

	if (!count)
		return refuse(why, "a table is cut off");
	table->count = ob_get_le32(count);
	table->field_count = 0;
	rc = take_fields(&schema, 1, &table->size, why);
	if (rc)
		return rc;
	if (!checked_mul(table->count, table->size, &bytes) || bytes != schema.left)
		return refuse(why, "a table does not have the bytes that its schema says");
	/* Elements of nothing would be any number of them. */
	if (table->count && !table->size)
		return refuse(why, "a table has elements of no size");
	table->data = schema.at;
	return 0;
}

uint64_t mstream_value(const struct mstream_field *field, const uint8_t *bytes, uint32_t i)
{
	return ob_get_le(bytes + (size_t)i * field->size, field->size);
}

/* Writing */

void mstream_put(struct mstream_writer *writer, const void *bytes, size_t length)
{
	if (length > writer->room - writer->used) {
		writer->overflow = true;
		return;
	}
	if (length)
		memcpy(writer->bytes + writer->used, bytes, length);
	writer->used += length;
}

static void put_le(struct mstream_writer *writer, uint64_t value, unsigned size)
{
	uint8_t bytes[8];

	ob_put_le64(bytes, value);
	mstream_put(writer, bytes, size);
}

void mstream_put_value(struct mstream_writer *writer, enum ob_field_type type, uint64_t value)
{
	put_le(writer, value, mstream_type_size(type));
}

void mstream_put8(struct mstream_writer *writer, uint8_t value)
{
	put_le(writer, value, 1);
}

void mstream_put16(struct mstream_writer *writer, uint16_t value)
{
	put_le(writer, value, 2);
}

void mstream_put32(struct mstream_writer *writer, uint32_t value)
{
	put_le(writer, value, 4);
}

void mstream_put64(struct mstream_writer *writer, uint64_t value)
{
	put_le(writer, value, 8);
}

void mstream_put_header(struct mstream_writer *writer)
{
	mstream_put(writer, magic, sizeof(magic));
	mstream_put32(writer, MSTREAM_FORMAT);
	mstream_put32(writer, 0);
}

void mstream_begin_section(struct mstream_writer *writer, enum mstream_kind kind, unsigned flags,
                           uint32_t version, const char *name)
{
	char padded[MSTREAM_MAX_NAME] = {0};

	memcpy(padded, name, strnlen(name, sizeof(padded)));
	writer->section = writer->used;
	writer->overflow = false;
	mstream_put32(writer, SECTION_MAGIC);
	mstream_put16(writer, (uint16_t)kind);
	mstream_put16(writer, (uint16_t)flags);
	mstream_put32(writer, version);
	mstream_put32(writer, 0);
	mstream_put(writer, padded, sizeof(padded));
}

int mstream_end_section(struct mstream_writer *writer, struct mstream_sum *sum)
{
	uint8_t *section = writer->bytes + writer->section;
	size_t whole = writer->used - writer->section;
	uint32_t crc = 0;

	if (!writer->overflow && whole - MSTREAM_SECTION_HEADER <= MSTREAM_MAX_BODY) {
		ob_put_le32(section + LENGTH_AT, (uint32_t)(whole - MSTREAM_SECTION_HEADER));
		crc = crc32c(0, section, whole);
		mstream_put32(writer, crc);
	} else {
		writer->overflow = true;
	}
	if (writer->overflow) {
		writer->used = writer->section;
		return -ENOSPC;
	}
	if (sum)
		mstream_add(sum, crc);
	return 0;
}

int mstream_put_data(struct mstream_writer *writer, struct mstream_sum *sum, unsigned flags,
                     const char *name, uint64_t offset, uint64_t length, const uint8_t *bytes)
{
	mstream_begin_section(writer, MSTREAM_DATA, flags, 1, name);
	mstream_put64(writer, offset);
	mstream_put64(writer, length);
	if (bytes)
		mstream_put(writer, bytes, length);
	return mstream_end_section(writer, sum);
}

int mstream_put_end(struct mstream_writer *writer, const struct mstream_sum *sum)
{
	mstream_begin_section(writer, MSTREAM_END, MSTREAM_REQUIRED, 1, "end");
	mstream_put32(writer, sum->sections);
	mstream_put32(writer, sum->crc);
	return mstream_end_section(writer, NULL);
}

void mstream_put_field(struct mstream_writer *writer, enum ob_field_type type, unsigned flags,
                       uint32_t count, const char *name)
{
	size_t length = strlen(name);

	mstream_put8(writer, (uint8_t)type);
	mstream_put8(writer, (uint8_t)flags);
	mstream_put8(writer, (uint8_t)length);
	mstream_put32(writer, count);
	mstream_put(writer, name, length);
}
