/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Field tables: a model's state, described field by field, so that it can be saved, checked,
 * loaded by another version of the model, and printed by a tool that has never heard of it.
 *
 * A table describes a struct of plain data: numbers, flags, bytes, arrays of these, and structs of
 * these. Type and size are checked by the compiler where the table is written:
 *
 *	static const struct ob_field queue_fields[] = {
 *		OB_FIELD(U64, struct queue, base),
 *		OB_FIELD(U16, struct queue, head, .max = 2047),
 *		OB_FIELD(BOOL, struct queue, irq, .since = 2),
 *		OB_FIELDS_END,
 *	};
 *	static const struct ob_field state_fields[] = {
 *		OB_FIELD_STRUCTS(struct state, queues, queue_fields),
 *		OB_FIELD_ARRAY(U8, struct state, buffer),
 *		OB_FIELDS_END,
 *	};
 *
 * How versions get along (docs/migration.md has all of it): a field that is added later says since
 * which version of the model it is there, and has the value of a reset device when a stream is
 * older. A field that is gone, or not known, is refused unless the stream says that it is optional.
 * Numbers may become wider or narrower as long as the value fits; arrays may become longer, and
 * shorter as long as what is cut off is zero.
 */
#ifndef OUTBOARD_FIELD_H
#define OUTBOARD_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/error.h"

struct ob_dev;

/* The numbers stand in streams. */
enum ob_field_type {
	OB_FIELD_END = 0,
	OB_FIELD_BOOL = 1,
	OB_FIELD_U8 = 2,
	OB_FIELD_U16 = 3,
	OB_FIELD_U32 = 4,
	OB_FIELD_U64 = 5,
	OB_FIELD_BYTES = 6, /* char or uint8_t, an array: text, or bytes without further meaning */
	OB_FIELD_STRUCT = 7,
};

struct ob_field {
	const char *name; /* the member's: a to z, 0 to 9, '_', at most 47 characters */
	enum ob_field_type type;
	bool optional;  /* who does not know it may do without, and a stream without it is fine */
	uint16_t since; /* version of the model; 0: from the first one on */
	size_t offset;
	uint32_t size;                 /* bytes of one element */
	uint32_t count;                /* elements; 1 for what is no array */
	uint64_t min, max;             /* of a number, inclusive; both 0: whatever its type holds */
	const struct ob_field *fields; /* OB_FIELD_STRUCT */
};

/* C types of the kinds. */
typedef bool ob_field_c_BOOL;
typedef uint8_t ob_field_c_U8;
typedef uint16_t ob_field_c_U16;
typedef uint32_t ob_field_c_U32;
typedef uint64_t ob_field_c_U64;

#define OB_FIELD_IS(kind, expression)                                                              \
	__builtin_types_compatible_p(__typeof__(expression), ob_field_c_##kind)
/* An offset that is known only if a condition holds. */
#define OB_FIELD_OFFSET(type_, member, condition)                                                  \
	(offsetof(type_, member) +                                                                 \
	 0 * sizeof(struct {                                                                       \
		 _Static_assert(condition, "the field's kind does not fit its type");              \
		 char unused;                                                                      \
	 }))

/* A number or flag. What follows may be .since, .optional, .min and .max. */
#define OB_FIELD(kind, type_, member_, ...)                                                        \
	{                                                                                          \
		.name = #member_, .type = OB_FIELD_##kind,                                         \
		.offset =                                                                          \
			OB_FIELD_OFFSET(type_, member_, OB_FIELD_IS(kind, ((type_ *)0)->member_)), \
		.size = sizeof(ob_field_c_##kind), .count = 1, ##__VA_ARGS__                       \
	}

/* An array of those. */
#define OB_FIELD_ARRAY(kind, type_, member_, ...)                                                  \
	{                                                                                          \
		.name = #member_, .type = OB_FIELD_##kind,                                         \
		.offset = OB_FIELD_OFFSET(type_, member_,                                          \
		                          OB_FIELD_IS(kind, ((type_ *)0)->member_[0])),            \
		.size = sizeof(ob_field_c_##kind),                                                 \
		.count = sizeof(((type_ *)0)->member_) / sizeof(ob_field_c_##kind), ##__VA_ARGS__  \
	}

/* Bytes: an array of char or uint8_t, or any plain data of a fixed byte order. */
#define OB_FIELD_BLOB(type_, member_, ...)                                                         \
	{                                                                                          \
		.name = #member_, .type = OB_FIELD_BYTES, .offset = offsetof(type_, member_),      \
		.size = 1, .count = sizeof(((type_ *)0)->member_), ##__VA_ARGS__                   \
	}

/* A struct with a table of its own, and an array of those. */
#define OB_FIELD_NESTED(type_, member_, table_, ...)                                               \
	{                                                                                          \
		.name = #member_, .type = OB_FIELD_STRUCT, .offset = offsetof(type_, member_),     \
		.size = sizeof(((type_ *)0)->member_), .count = 1, .fields = (table_),             \
		##__VA_ARGS__                                                                      \
	}
#define OB_FIELD_STRUCTS(type_, member_, table_, ...)                                              \
	{                                                                                          \
		.name = #member_, .type = OB_FIELD_STRUCT, .offset = offsetof(type_, member_),     \
		.size = sizeof(((type_ *)0)->member_[0]),                                          \
		.count = sizeof(((type_ *)0)->member_) / sizeof(((type_ *)0)->member_[0]),         \
		.fields = (table_), ##__VA_ARGS__                                                  \
	}

#define OB_FIELDS_END                                                                              \
	{                                                                                          \
		.name = NULL                                                                       \
	}

/*
 * What a model keeps in its runtime but has to carry over all the same, such as commands that wait:
 * a list of records, each a struct that a table describes.
 *
 * save calls emit for each record, in order; the device is quiet. add gets them back in the same
 * order, one at a time, after loaded() has found the state to be sound: 0, or -EINVAL with a
 * message when there cannot be such a record; then the device is reset. What it gets was checked by
 * the table and by nothing else.
 */
typedef void ob_emit(void *context, const void *record);

struct ob_records {
	const char *name; /* as a field's, at most 15 characters; NULL ends a list */
	const struct ob_field *fields;
	size_t size;  /* of a record's struct */
	uint32_t max; /* records that there can be */
	void (*save)(struct ob_dev *dev, ob_emit *emit, void *context);
	int (*add)(struct ob_dev *dev, const void *record, struct ob_error *err);
};

/*
 * How a model migrates. All callbacks run while the device is quiet.
 *
 * What has to be the same on both sides (how many queues, how large a buffer) is a struct that
 * configuration() fills; it goes into the stream, and a device that differs in one of its fields
 * refuses it with that field's name and both values. The core looks after drives, BARs and
 * interrupt vectors.
 */
struct ob_migration {
	uint16_t version;              /* of the tables, from 1 on */
	const struct ob_field *fields; /* of the model's state */

	/* Optional. */
	const struct ob_records *records;
	const struct ob_field *configuration_fields;
	size_t configuration_size;
	void (*configuration)(struct ob_dev *dev, void *configuration);

	/* Before state is saved: what is only there to be saved is brought up to date. */
	void (*saving)(struct ob_dev *dev);

	/*
	 * State is another's, which may be an enemy's: each field is in its range, and nothing else
	 * is known of it. Checks what fields say about each other, and after that makes the runtime
	 * of it. stream_version is the saver's. 0, or -EINVAL with a message, and then the runtime
	 * is as it was: the state is put back.
	 */
	int (*loaded)(struct ob_dev *dev, unsigned stream_version, struct ob_error *err);
};

#endif
