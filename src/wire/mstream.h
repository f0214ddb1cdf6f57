/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The migration stream: bytes to sections and tables, and back. Pure functions without memory,
 * descriptors, clock or log of their own; what a stream means for a device is src/migrate's.
 * docs/migration.md has the format in words.
 *
 *	stream   header, sections, the last of which is END
 *	header   "outboard", u32 format, u32 0
 *	section  u32 "SECT", u16 kind, u16 flags, u32 version, u32 length, char name[16],
 *	         length bytes, u32 CRC-32C of all that
 *	TABLE    u32 count, a schema, count elements as the schema describes them
 *	DATA     u64 offset, u64 length, and length bytes, or none: these are zeroes, 64 MiB at most
 *	END      u32 sections before it, u32 CRC-32C of their CRCs
 *	schema   u16 fields, and for each: u8 type, u8 flags, u8 length of the name, u32 count, the
 *	         name, and for a struct its schema
 *
 * All numbers are little-endian, nothing is aligned or padded, a flag is a byte of 0 or 1. So a
 * stream can be printed by who knows nothing of the device that it came from.
 */
#ifndef WIRE_MSTREAM_H
#define WIRE_MSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/field.h"

enum {
	MSTREAM_FORMAT = 1,
	MSTREAM_HEADER = 16, /* bytes of the header */
	MSTREAM_SECTION_HEADER = 32,
	MSTREAM_SECTION_EXTRA = MSTREAM_SECTION_HEADER + 4, /* header and CRC */
	MSTREAM_MAX_BODY = 1 << 20,                         /* of a section */
	MSTREAM_MAX_SECTION = MSTREAM_MAX_BODY + MSTREAM_SECTION_EXTRA,
	MSTREAM_DATA_HEADER = 16,
	MSTREAM_MAX_ZEROES = 64 << 20, /* so that a few bytes do not make much work */
	MSTREAM_MAX_NAME = 16,         /* of a section, without the NUL where it has that length */
	MSTREAM_MAX_FIELDS = 256,      /* of a table, those of its structs included */
	MSTREAM_MAX_DEPTH = 4,
	MSTREAM_MAX_FIELD_NAME = 48, /* with the NUL */
};

enum mstream_kind {
	MSTREAM_TABLE = 1,   /* what the core says or keeps: "device", "drives", "pci" and so on */
	MSTREAM_RECORDS = 2, /* a TABLE of a model's records */
	MSTREAM_DATA = 3,    /* a piece of something large: "bar2", "drive0" */
	MSTREAM_END = 4,
};

enum {
	MSTREAM_REQUIRED = 1u << 0, /* of a section: who does not know it must refuse the stream */
	MSTREAM_OPTIONAL = 1u << 0, /* of a field: who does not know it may skip it */
};

/* The first MSTREAM_HEADER bytes. 0, or -EINVAL and *why. */
int mstream_check_header(const uint8_t *bytes, const char **why);

struct mstream_section {
	enum mstream_kind kind; /* may be one that is not known */
	uint16_t flags;
	uint32_t version;
	char name[MSTREAM_MAX_NAME + 1];
	const uint8_t *body; /* in the bytes that were given */
	uint32_t length;
	uint32_t crc;
};

/*
 * Takes the section that begins at bytes. 0, with its whole length in *size; -EAGAIN if there are
 * not enough bytes yet: *size, more than length, have to be there before the next try makes sense;
 * -EINVAL and *why, also for a wrong CRC.
 */
int mstream_next(const uint8_t *bytes, size_t length, struct mstream_section *section, size_t *size,
                 const char **why);

/* What a stream's END has to say about the sections before it. Zeroed to begin with. */
struct mstream_sum {
	uint32_t sections, crc;
};
void mstream_add(struct mstream_sum *sum, uint32_t section_crc);
/* 0, or -EINVAL and *why. */
int mstream_check_end(const struct mstream_section *end, const struct mstream_sum *sum,
                      const char **why);

/* A DATA section. *bytes is NULL for zeroes. 0, or -EINVAL and *why. */
int mstream_decode_data(const struct mstream_section *section, uint64_t *offset, uint64_t *length,
                        const uint8_t **bytes, const char **why);

/*
 * A field of a table's schema. The list has each field in front of those of its struct: those
 * follow at once, and next is the place behind all of them.
 */
struct mstream_field {
	char name[MSTREAM_MAX_FIELD_NAME];
	uint8_t type, flags; /* enum ob_field_type */
	uint16_t next;
	uint32_t count;  /* elements */
	uint32_t size;   /* bytes of an element in the stream */
	uint32_t offset; /* in an element of what it is a field of */
};

struct mstream_table {
	uint32_t count; /* elements, of size bytes, at data */
	uint32_t size;
	const uint8_t *data; /* in the section's body */
	uint16_t field_count;
	struct mstream_field fields[MSTREAM_MAX_FIELDS];
};

/* A TABLE or RECORDS section. Values are not looked at. 0, or -EINVAL and *why. */
int mstream_decode_table(const struct mstream_section *section, struct mstream_table *table,
                         const char **why);

/* The value of element i of a number or flag at bytes; a flag may be anything there. */
uint64_t mstream_value(const struct mstream_field *field, const uint8_t *bytes, uint32_t i);

/*
 * Writing: into memory of the caller, of a size that is known. What does not fit is not written,
 * and said at the end.
 */
struct mstream_writer {
	uint8_t *bytes;
	size_t room, used;
	size_t section; /* where the one under way begins */
	bool overflow;
};

void mstream_put(struct mstream_writer *writer, const void *bytes, size_t length);
void mstream_put8(struct mstream_writer *writer, uint8_t value);
void mstream_put16(struct mstream_writer *writer, uint16_t value);
void mstream_put32(struct mstream_writer *writer, uint32_t value);
void mstream_put64(struct mstream_writer *writer, uint64_t value);

void mstream_put_header(struct mstream_writer *writer);
/* Everything put until mstream_end_section() is the body. Name: at most MSTREAM_MAX_NAME. */
void mstream_begin_section(struct mstream_writer *writer, enum mstream_kind kind, unsigned flags,
                           uint32_t version, const char *name);
/* Fills in length and CRC, and adds it to *sum. 0, or -ENOSPC: the section is taken back. */
int mstream_end_section(struct mstream_writer *writer, struct mstream_sum *sum);
/* A whole section. bytes may be NULL: zeroes. */
int mstream_put_data(struct mstream_writer *writer, struct mstream_sum *sum, unsigned flags,
                     const char *name, uint64_t offset, uint64_t length, const uint8_t *bytes);
int mstream_put_end(struct mstream_writer *writer, const struct mstream_sum *sum);

/* A field of a schema, without the schema of its struct. */
void mstream_put_field(struct mstream_writer *writer, enum ob_field_type type, unsigned flags,
                       uint32_t count, const char *name);
/* A number or flag, as long as its type. */
void mstream_put_value(struct mstream_writer *writer, enum ob_field_type type, uint64_t value);

/* Bytes of a number or flag in a stream; 0 for a struct or what is no type. */
unsigned mstream_type_size(unsigned type);
/* "u32" and so on; "?" for what is no type. */
const char *mstream_type_name(unsigned type);

#endif
