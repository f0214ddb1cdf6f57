/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this folder share: tables to and from the stream, the saver, the loader. */
#ifndef MIGRATE_INTERNAL_H
#define MIGRATE_INTERNAL_H

#include "base/log.h"
#include "block/block.h"
#include "migrate.h"
#include "wire/mstream.h"

/* fields.c: structs that field tables describe, as tables of the stream */

/* Puts a whole section: count structs of size bytes. 0, or -ENOSPC: too much for a section. */
struct fields_array {
	const struct ob_field *fields;
	const void *structs;
	size_t size;
	uint32_t count;
};
int fields_put(struct mstream_writer *writer, struct mstream_sum *sum, enum mstream_kind kind,
               uint32_t version, const char *name, const struct fields_array *array);

/*
 * Sets the fields of the struct at target from element number `element` of a table; those that the
 * table does not have keep their values, if that is all right. 0, or -EINVAL with a message.
 */
int fields_get(const struct mstream_table *table, uint32_t element, const struct ob_field *fields,
               uint32_t version, void *target, struct ob_error *err);

/* Compares configurations: 0, or -EINVAL with a message that names a field that differs. */
int fields_compare(const struct ob_field *fields, const void *theirs, const void *ours,
                   struct ob_error *err);

/* identity.c: what has to be the same on both sides */

enum { MIGRATE_MAX_NAME = 32 };

/* The "device" section. */
struct migrate_device {
	char model[MIGRATE_MAX_NAME];
	uint16_t version;
	char id[64], program[MIGRATE_MAX_NAME]; /* for people */
};
extern const struct ob_field migrate_device_fields[];
void migrate_describe_device(struct ob_dev *dev, struct migrate_device *out);

/* The "function" section: what of a PCI function its state does not show. */
struct migrate_function {
	uint64_t bar_size[PCI_BARS];
	uint32_t rom_size;
	uint16_t msi_vectors, msix_vectors;
	bool intx;
};
extern const struct ob_field migrate_function_fields[];
void migrate_describe_function(struct ob_dev *dev, struct migrate_function *out);

/* The "drives" section: one for each. */
struct migrate_drive {
	uint64_t size;
	uint32_t block_size;
	bool read_only, volatile_cache;
	bool contents; /* they come in the stream */
};
extern const struct ob_field migrate_drive_fields[];
void migrate_describe_drive(const struct ob_block *block, struct migrate_drive *out);

/* save.c */

struct saver;

/* Begins a stream: in PRE_COPY what is large, once stopped all the rest. NULL on ENOMEM. */
struct saver *saver_new(struct ob_dev *dev);
void saver_free(struct saver *saver);
/* The device is stopped: goes on to the end. */
void saver_stop(struct saver *saver);
ssize_t saver_read(struct saver *saver, void *buffer, size_t size, struct ob_error *err);
uint64_t saver_pending(const struct saver *saver);

/* load.c */

struct loader;

/* The device was reset, and its drives are zeroes. NULL on ENOMEM. */
struct loader *loader_new(struct ob_dev *dev);
void loader_free(struct loader *loader);
int loader_write(struct loader *loader, const uint8_t *bytes, size_t size, struct ob_error *err);
/* Whether anything was written; whether the end was. */
bool loader_begun(const struct loader *loader);
bool loader_failed(const struct loader *loader);
bool loader_complete(const struct loader *loader);
/* Makes the device what the stream says. 0 or -errno with a message: then it has to be reset. */
int loader_finish(struct loader *loader, struct ob_error *err);

/* "drive3": the name of a section; the number of one, or -1. */
void migrate_number_name(char name[MSTREAM_MAX_NAME + 1], const char *prefix, unsigned number);
int migrate_name_number(const char *name, const char *prefix);

#endif
