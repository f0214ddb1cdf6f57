/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Saving: the stream of a device, made one section at a time as it is read.
 *
 * It begins with what the device is and how it is configured, so that the other side can refuse it
 * before anything large comes. While the device runs (PRE_COPY), drives give their contents. Once
 * it is stopped come the rest of these, the function, the model's state and records, the memory of
 * BARs, and the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "internal.h"

_Static_assert((int)BLOCK_MAX_ZEROES <= (int)MSTREAM_MAX_ZEROES, "zeroes of one section");

enum {
	PIECE = 256 << 10, /* bytes of a data section */
	PAGE = 4096,
	STATE_ESTIMATE = 64 << 10, /* of all that is not large */
};

enum step {
	STEP_HEADER,
	STEP_CONFIGURATION,
	STEP_DRIVES,
	STEP_PCI,
	STEP_STATE,
	STEP_RECORDS,
	STEP_MEMORY,
	STEP_END,
	STEP_DONE,
};

struct saver {
	struct ob_dev *dev;
	enum step step;
	unsigned index;  /* list of records, or BAR */
	uint64_t offset; /* in the BAR */
	bool stopped;
	int failed; /* -errno, for good */
	struct mstream_sum sum;
	struct mstream_writer writer;
	size_t taken; /* of what the writer has */
	uint8_t bytes[MSTREAM_HEADER + MSTREAM_MAX_SECTION];
};

static const struct ob_migration *migration_of(const struct saver *saver)
{
	return device_model(saver->dev)->migration;
}

static int put_one(struct saver *saver, const char *name, const struct ob_field *fields,
                   const void *one)
{
	const struct fields_array array = {fields, one, 0, 1};

	return fields_put(&saver->writer, &saver->sum, MSTREAM_TABLE, migration_of(saver)->version,
	                  name, &array);
}

static int put_header(struct saver *saver)
{
	struct migrate_device device;

	mstream_put_header(&saver->writer);
	migrate_describe_device(saver->dev, &device);
	return put_one(saver, "device", migrate_device_fields, &device);
}

static int put_drives(struct saver *saver)
{
	cleanup_free struct migrate_drive *drives = NULL;
	struct fields_array array = {migrate_drive_fields, NULL, sizeof(*drives), 0};

	while (device_drive(saver->dev, array.count))
		array.count++;
	drives = calloc(array.count + 1, sizeof(*drives));
	if (!drives)
		return -ENOMEM;
	for (unsigned i = 0; i < array.count; i++)
		migrate_describe_drive(device_drive(saver->dev, i), &drives[i]);
	array.structs = drives;
	return fields_put(&saver->writer, &saver->sum, MSTREAM_TABLE, 1, "drives", &array);
}

static int put_configuration(struct saver *saver)
{
	const struct ob_migration *m = migration_of(saver);
	cleanup_free void *configuration = calloc(1, m->configuration_size + 1);
	struct migrate_function function;
	int rc = configuration ? 0 : -ENOMEM;

	migrate_describe_function(saver->dev, &function);
	if (!rc)
		rc = put_one(saver, "function", migrate_function_fields, &function);
	if (!rc && m->configuration) {
		m->configuration(saver->dev, configuration);
		rc = put_one(saver, "configuration", m->configuration_fields, configuration);
	}
	return rc ? rc : put_drives(saver);
}

/* A piece of some drive; -ENOENT if none has any. */
static int put_piece(struct saver *saver)
{
	char name[MSTREAM_MAX_NAME + 1];
	struct block_piece piece;
	struct ob_block *block;

	for (unsigned i = 0; (block = device_drive(saver->dev, i)); i++) {
		const struct block_migration *migration = block_migration(block);

		if (!migration || !migration->next(block_storage(block), PIECE, &piece))
			continue;
		migrate_number_name(name, "drive", i);
		return mstream_put_data(&saver->writer, &saver->sum, MSTREAM_REQUIRED, name,
		                        piece.offset, piece.length, piece.bytes);
	}
	return -ENOENT;
}

static int put_pci(struct saver *saver)
{
	return put_one(saver, "pci", pci_state_fields, pci_state(device_pci(saver->dev)));
}

static int put_state(struct saver *saver)
{
	const struct ob_migration *m = migration_of(saver);

	if (m->saving)
		m->saving(saver->dev);
	return put_one(saver, "state", m->fields, ob_dev_state(saver->dev));
}

/* Copies of the records of a list, as many as there are. */
struct gathered {
	const struct ob_records *list;
	uint8_t *bytes;
	uint32_t count, room;
	int failed;
};

static void gather(void *context, const void *record)
{
	struct gathered *g = context;

	if (g->count == g->list->max)
		g->failed = -EOVERFLOW;
	if (!g->failed && g->count == g->room) {
		uint32_t room = g->room ? 2 * g->room : 16;
		uint8_t *bytes = reallocarray(g->bytes, room, g->list->size);

		if (bytes) {
			g->bytes = bytes;
			g->room = room;
		} else {
			g->failed = -ENOMEM;
		}
	}
	if (g->failed)
		return;
	memcpy(g->bytes + g->count++ * g->list->size, record, g->list->size);
}

static int put_records(struct saver *saver, const struct ob_records *list)
{
	struct gathered g = {.list = list};
	int rc;

	list->save(saver->dev, gather, &g);
	rc = g.failed;
	if (!rc) {
		const struct fields_array array = {list->fields, g.bytes, list->size, g.count};

		rc = fields_put(&saver->writer, &saver->sum, MSTREAM_RECORDS,
		                migration_of(saver)->version, list->name, &array);
	}
	free(g.bytes);
	return rc;
}

static bool is_empty(const uint8_t *bytes, uint64_t length)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, length - 1);
}

/* A page, or what is left of it. */
static uint64_t piece_of(uint64_t size, uint64_t offset)
{
	return size - offset < PAGE ? size - offset : PAGE;
}

/* The next piece of the memory of BARs that is not zeroes; -ENOENT if there is no more. */
static int put_memory(struct saver *saver)
{
	for (; saver->index < PCI_BARS; saver->index++, saver->offset = 0) {
		char name[MSTREAM_MAX_NAME + 1];
		uint64_t size = 0, offset, length = 0;
		const uint8_t *bytes = device_own_memory(saver->dev, saver->index, &size);

		while (bytes && saver->offset < size &&
		       is_empty(bytes + saver->offset, piece_of(size, saver->offset)))
			saver->offset += piece_of(size, saver->offset);
		if (!bytes || saver->offset >= size)
			continue;
		offset = saver->offset;
		while (length < PIECE && offset + length < size &&
		       !is_empty(bytes + offset + length, piece_of(size, offset + length)))
			length += piece_of(size, offset + length);
		saver->offset += length;
		migrate_number_name(name, "bar", saver->index);
		return mstream_put_data(&saver->writer, &saver->sum, MSTREAM_REQUIRED, name, offset,
		                        length, bytes + offset);
	}
	return -ENOENT;
}

static void next_step(struct saver *saver)
{
	saver->step++;
	saver->index = 0;
	saver->offset = 0;
}

/* Makes some of the stream, or goes on to the next step, or does nothing: there is no more now. */
static int advance(struct saver *saver)
{
	const struct ob_records *records = migration_of(saver)->records;
	int rc = 0;

	switch (saver->step) {
	case STEP_HEADER:
		rc = put_header(saver);
		break;
	case STEP_CONFIGURATION:
		rc = put_configuration(saver);
		break;
	case STEP_DRIVES:
		rc = put_piece(saver);
		if (rc != -ENOENT || !saver->stopped)
			return rc == -ENOENT ? 0 : rc;
		rc = 0;
		break;
	case STEP_PCI:
		rc = put_pci(saver);
		break;
	case STEP_STATE:
		rc = put_state(saver);
		break;
	case STEP_RECORDS:
		if (records && records[saver->index].name)
			return put_records(saver, &records[saver->index++]);
		break;
	case STEP_MEMORY:
		rc = put_memory(saver);
		if (rc != -ENOENT)
			return rc;
		rc = 0;
		break;
	case STEP_END:
		rc = mstream_put_end(&saver->writer, &saver->sum);
		break;
	case STEP_DONE:
		return 0;
	}
	next_step(saver);
	return rc;
}

/* Whether there may be more to read when what the writer has was taken. */
static bool has_more(struct saver *saver, enum step before)
{
	return saver->writer.used || saver->step != before;
}

ssize_t saver_read(struct saver *saver, void *buffer, size_t size, struct ob_error *err)
{
	size_t done = 0;

	while (!saver->failed && done < size) {
		size_t piece = saver->writer.used - saver->taken;
		enum step before = saver->step;

		if (piece > size - done)
			piece = size - done;
		memcpy((uint8_t *)buffer + done, saver->bytes + saver->taken, piece);
		saver->taken += piece;
		done += piece;
		if (done == size)
			break;
		saver->writer.used = saver->taken = 0;
		saver->failed = advance(saver);
		if (!has_more(saver, before))
			break;
	}
	if (saver->failed)
		return ob_error_set(err, saver->failed, "the state cannot be saved: %s",
		                    strerror(-saver->failed));
	return (ssize_t)done;
}

uint64_t saver_pending(const struct saver *saver)
{
	uint64_t pending = saver->writer.used - saver->taken;
	struct ob_block *block;

	for (unsigned i = 0; (block = device_drive(saver->dev, i)); i++) {
		if (block_migration(block))
			pending += block_migration(block)->pending(block_storage(block));
	}
	if (saver->step <= STEP_STATE)
		pending += STATE_ESTIMATE;
	for (unsigned i = saver->step == STEP_MEMORY ? saver->index : 0;
	     i < PCI_BARS && saver->step <= STEP_MEMORY; i++) {
		uint64_t size = 0;

		if (device_own_memory(saver->dev, i, &size))
			pending += size;
	}
	return pending;
}

void saver_stop(struct saver *saver)
{
	saver->stopped = true;
}

struct saver *saver_new(struct ob_dev *dev)
{
	struct saver *saver = malloc(sizeof(*saver));
	struct ob_block *block;

	if (!saver)
		return NULL;
	memset(saver, 0, offsetof(struct saver, bytes));
	saver->dev = dev;
	saver->writer =
		(struct mstream_writer){.bytes = saver->bytes, .room = sizeof(saver->bytes)};
	for (unsigned i = 0; (block = device_drive(dev, i)); i++) {
		const struct block_migration *migration = block_migration(block);

		if (migration && migration->begin(block_storage(block))) {
			saver_free(saver);
			return NULL;
		}
	}
	return saver;
}

void saver_free(struct saver *saver)
{
	struct ob_block *block;

	if (!saver)
		return;
	for (unsigned i = 0; (block = device_drive(saver->dev, i)); i++) {
		if (block_migration(block))
			block_migration(block)->end(block_storage(block));
	}
	free(saver);
}
