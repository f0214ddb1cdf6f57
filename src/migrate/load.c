/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading: takes a stream in pieces of any size, and makes the device what it says.
 *
 * Nothing in it is trusted. Each section is checked when it is whole: what the device has to be
 * comes first and is compared at once, what is large goes to its place at once, and tables are kept
 * until the end was seen and its checksum fits. Only then does the device take anything over: its
 * function, the model's state, and its records.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/fd.h"
#include "internal.h"

enum {
	MAX_KEPT = 16,            /* sections that are kept until the end, */
	MAX_KEPT_BYTES = 8 << 20, /* and all of them together */
	FIRST_ROOM = 64 << 10,
};

/* What has to come before anything else, in this order. */
enum expected { EXPECT_DEVICE, EXPECT_FUNCTION, EXPECT_CONFIGURATION, EXPECT_DRIVES, EXPECT_REST };

struct kept {
	struct mstream_section section;
	uint8_t *body;
};

struct loader {
	struct ob_dev *dev;
	enum expected expected;
	uint16_t version; /* of the model that saved it */
	bool header, ended;
	int failed; /* -errno, for good */
	struct ob_error why;
	struct mstream_sum sum;

	uint8_t *bytes; /* a section that is not whole yet */
	size_t have, room, need;

	struct kept kept[MAX_KEPT];
	unsigned kept_count;
	size_t kept_bytes;
	struct mstream_table table; /* the one at hand */
};

static const struct ob_migration *migration_of(const struct loader *loader)
{
	return device_model(loader->dev)->migration;
}

static int decode(struct loader *loader, const struct mstream_section *section,
                  struct ob_error *err)
{
	const char *why = "";

	if (mstream_decode_table(section, &loader->table, &why))
		return ob_error_set(err, -EINVAL, "%s: %s", section->name, why);
	return 0;
}

/* A table with one element. */
static int get_one(struct loader *loader, const struct mstream_section *section,
                   const struct ob_field *fields, void *target, struct ob_error *err)
{
	int rc = decode(loader, section, err);

	if (rc)
		return rc;
	if (loader->table.count != 1)
		return ob_error_set(err, -EINVAL, "%s: %u elements, 1 expected", section->name,
		                    loader->table.count);
	rc = fields_get(&loader->table, 0, fields, loader->version, target, err);
	return rc ? ob_error_prefix(err, rc, "%s", section->name) : 0;
}

/* What has to be the same */

static int check_device(struct loader *loader, const struct mstream_section *section,
                        struct ob_error *err)
{
	struct migrate_device theirs = {0}, ours;
	int rc;

	loader->version = UINT16_MAX; /* this table has no versions */
	rc = get_one(loader, section, migrate_device_fields, &theirs, err);
	if (rc)
		return rc;
	migrate_describe_device(loader->dev, &ours);
	if (strncmp(theirs.model, ours.model, sizeof(ours.model)) != 0)
		return ob_error_set(err, -EINVAL,
		                    "the stream is of a device of model '%.*s', and "
		                    "this one is '%s'",
		                    (int)sizeof(theirs.model), theirs.model, ours.model);
	loader->version = theirs.version;
	return 0;
}

/* Both that a device of that version had by itself, so that nobody learns it in two tries. */
static void tell_of_smaller_bar(struct ob_dev *dev, int code, struct ob_error *err)
{
	const struct ob_pci_ident *theirs = device_model(dev)->qemu_ident;
	const struct ob_pci_ident *ours = &pci_layout(device_pci(dev))->ident;
	char more[80] = "";

	if (theirs && (theirs->vendor != ours->vendor || theirs->device != ours->device))
		snprintf(more, sizeof(more),
		         " (and vendor-id=0x%04x,device-id=0x%04x, its default)", theirs->vendor,
		         theirs->device);
	ob_error_set(err, code,
	             "BAR 0 has 8 KiB in the stream and 16 KiB here: it is of a version that had "
	             "no more, and a device with bar-size=8k%s can load it",
	             more);
}

static int check_function(struct loader *loader, const struct mstream_section *section,
                          struct ob_error *err)
{
	struct migrate_function theirs = {0}, ours;
	int rc = get_one(loader, section, migrate_function_fields, &theirs, err);

	if (rc)
		return rc;
	migrate_describe_function(loader->dev, &ours);
	rc = fields_compare(migrate_function_fields, &theirs, &ours, err);
	/* The guest has given it an address of that size. */
	if (rc && theirs.bar_size[0] == 0x2000 && ours.bar_size[0] == 0x4000)
		tell_of_smaller_bar(loader->dev, rc, err);
	return rc;
}

static int check_configuration(struct loader *loader, const struct mstream_section *section,
                               struct ob_error *err)
{
	const struct ob_migration *m = migration_of(loader);
	cleanup_free void *theirs = calloc(1, m->configuration_size + 1);
	cleanup_free void *ours = calloc(1, m->configuration_size + 1);
	int rc;

	if (!theirs || !ours)
		return ob_error_set(err, -ENOMEM, "out of memory");
	m->configuration(loader->dev, ours);
	/* What an older stream does not have counts as equal. */
	memcpy(theirs, ours, m->configuration_size);
	rc = get_one(loader, section, m->configuration_fields, theirs, err);
	return rc ? rc : fields_compare(m->configuration_fields, theirs, ours, err);
}

static int check_drives(struct loader *loader, const struct mstream_section *section,
                        struct ob_error *err)
{
	struct migrate_drive theirs, ours;
	const struct ob_block *block;
	int rc = decode(loader, section, err);

	for (uint32_t i = 0; !rc && i < loader->table.count; i++) {
		block = device_drive(loader->dev, i);
		if (!block)
			break;
		migrate_describe_drive(block, &ours);
		theirs = ours;
		rc = fields_get(&loader->table, i, migrate_drive_fields, UINT16_MAX, &theirs, err);
		if (!rc)
			rc = fields_compare(migrate_drive_fields, &theirs, &ours, err);
		if (rc)
			ob_error_prefix(err, rc, "drive %u (%s)", i, ob_block_name(block));
	}
	if (rc)
		return rc;
	if (!device_drive(loader->dev, loader->table.count) &&
	    (!loader->table.count || device_drive(loader->dev, loader->table.count - 1)))
		return 0;
	return ob_error_set(err, -EINVAL, "drives: the stream has %u, this device another number",
	                    loader->table.count);
}

/* The section that has to come now; EXPECT_REST: anything else may. */
static int check_expected(struct loader *loader, const struct mstream_section *section,
                          struct ob_error *err)
{
	static const struct {
		const char *name;
		int (*check)(struct loader *loader, const struct mstream_section *section,
		             struct ob_error *err);
	} steps[] = {
		[EXPECT_DEVICE] = {"device", check_device},
		[EXPECT_FUNCTION] = {"function", check_function},
		[EXPECT_CONFIGURATION] = {"configuration", check_configuration},
		[EXPECT_DRIVES] = {"drives", check_drives},
	};
	int rc;

	if (section->kind != MSTREAM_TABLE ||
	    strcmp(section->name, steps[loader->expected].name) != 0) {
		if (!(section->flags & MSTREAM_REQUIRED))
			return 0;
		return ob_error_set(err, -EINVAL, "section '%s' comes where '%s' is expected",
		                    section->name, steps[loader->expected].name);
	}
	rc = steps[loader->expected].check(loader, section, err);
	if (rc)
		return rc;
	loader->expected++;
	if (loader->expected == EXPECT_CONFIGURATION && !migration_of(loader)->configuration)
		loader->expected++;
	return 0;
}

/* What is large */

static int load_drive(struct loader *loader, unsigned number, struct block_piece *piece,
                      struct ob_error *err)
{
	struct ob_block *block = device_drive(loader->dev, number);

	/* That this drive takes contents if theirs did was compared. */
	if (!block || !block_migration(block) ||
	    !range_within(piece->offset, piece->length, ob_block_info(block)->size))
		return ob_error_set(err, -EINVAL, "contents for a drive %u that cannot take them",
		                    number);
	block_migration(block)->load(block_storage(block), piece);
	return 0;
}

static int load_bar(struct loader *loader, unsigned number, const struct block_piece *piece,
                    struct ob_error *err)
{
	uint64_t size = 0;
	uint8_t *memory = number < PCI_BARS ? device_own_memory(loader->dev, number, &size) : NULL;

	/* A BAR was reset: zeroes need not come. */
	if (!memory || !piece->bytes || !range_within(piece->offset, piece->length, size))
		return ob_error_set(err, -EINVAL, "contents for a BAR %u that cannot take them",
		                    number);
	memcpy(memory + piece->offset, piece->bytes, piece->length);
	return 0;
}

static int refuse_unknown(const struct mstream_section *section, struct ob_error *err)
{
	if (!(section->flags & MSTREAM_REQUIRED))
		return 0;
	return ob_error_set(err, -EINVAL,
	                    "section '%s' is not known here: the stream is from a newer version",
	                    section->name);
}

static int load_data(struct loader *loader, const struct mstream_section *section,
                     struct ob_error *err)
{
	int drive = migrate_name_number(section->name, "drive");
	int bar = migrate_name_number(section->name, "bar");
	struct block_piece piece;
	const char *why = "";

	if (mstream_decode_data(section, &piece.offset, &piece.length, &piece.bytes, &why))
		return ob_error_set(err, -EINVAL, "%s: %s", section->name, why);
	if (drive >= 0)
		return load_drive(loader, (unsigned)drive, &piece, err);
	if (bar >= 0)
		return load_bar(loader, (unsigned)bar, &piece, err);
	return refuse_unknown(section, err);
}

/* Tables that are kept until the end */

static const struct ob_records *find_records(const struct loader *loader, const char *name)
{
	const struct ob_records *list = migration_of(loader)->records;

	for (; list && list->name; list++) {
		if (!strcmp(list->name, name))
			return list;
	}
	return NULL;
}

static const struct kept *find_kept(const struct loader *loader, enum mstream_kind kind,
                                    const char *name)
{
	for (unsigned i = 0; i < loader->kept_count; i++) {
		const struct mstream_section *section = &loader->kept[i].section;

		if (section->kind == kind && !strcmp(section->name, name))
			return &loader->kept[i];
	}
	return NULL;
}

static int keep(struct loader *loader, const struct mstream_section *section, struct ob_error *err)
{
	struct kept *kept = &loader->kept[loader->kept_count];

	if (find_kept(loader, section->kind, section->name))
		return ob_error_set(err, -EINVAL, "section '%s' comes twice", section->name);
	loader->kept_bytes += section->length;
	if (loader->kept_count == MAX_KEPT || loader->kept_bytes > MAX_KEPT_BYTES)
		return ob_error_set(err, -EINVAL, "there are too many sections");
	kept->body = malloc(section->length + 1);
	if (!kept->body)
		return ob_error_set(err, -ENOMEM, "out of memory");
	memcpy(kept->body, section->body, section->length);
	kept->section = *section;
	kept->section.body = kept->body;
	loader->kept_count++;
	return 0;
}

static int load_end(struct loader *loader, const struct mstream_section *section,
                    struct ob_error *err)
{
	const char *why = "";

	if (mstream_check_end(section, &loader->sum, &why))
		return ob_error_set(err, -EINVAL, "%s", why);
	loader->ended = true;
	return 0;
}

static int load_section(struct loader *loader, const struct mstream_section *section,
                        struct ob_error *err)
{
	if (loader->expected != EXPECT_REST)
		return check_expected(loader, section, err);
	switch (section->kind) {
	case MSTREAM_DATA:
		return load_data(loader, section, err);
	case MSTREAM_END:
		return load_end(loader, section, err);
	case MSTREAM_TABLE:
		if (!strcmp(section->name, "pci") || !strcmp(section->name, "state"))
			return keep(loader, section, err);
		break;
	case MSTREAM_RECORDS:
		if (find_records(loader, section->name))
			return keep(loader, section, err);
		break;
	default:
		break;
	}
	return refuse_unknown(section, err);
}

/* Bytes to sections */

static int make_room(struct loader *loader, size_t need)
{
	size_t room = need > FIRST_ROOM ? MSTREAM_MAX_SECTION : FIRST_ROOM;
	uint8_t *bytes;

	if (need <= loader->room)
		return 0;
	bytes = realloc(loader->bytes, room);
	if (!bytes)
		return -ENOMEM;
	loader->bytes = bytes;
	loader->room = room;
	return 0;
}

/* loader->have bytes, as many as were needed. */
static int take_bytes(struct loader *loader, struct ob_error *err)
{
	struct mstream_section section;
	const char *why = "";
	int rc;

	if (!loader->header) {
		if (mstream_check_header(loader->bytes, &why))
			return ob_error_set(err, -EINVAL, "%s", why);
		loader->header = true;
		loader->have = 0;
		loader->need = MSTREAM_SECTION_HEADER;
		return 0;
	}
	rc = mstream_next(loader->bytes, loader->have, &section, &loader->need, &why);
	if (rc == -EAGAIN)
		return 0;
	if (rc)
		return ob_error_set(err, rc, "%s", why);
	rc = load_section(loader, &section, err);
	if (section.kind != MSTREAM_END)
		mstream_add(&loader->sum, section.crc);
	loader->have = 0;
	loader->need = MSTREAM_SECTION_HEADER;
	return rc;
}

static int take(struct loader *loader, const uint8_t *bytes, size_t size, struct ob_error *err)
{
	int rc = 0;

	while (!rc && size) {
		size_t piece = loader->need - loader->have;

		if (loader->ended)
			return ob_error_set(err, -EINVAL, "there are bytes behind the end");
		if (piece > size)
			piece = size;
		rc = make_room(loader, loader->need);
		if (rc)
			return ob_error_set(err, rc, "out of memory");
		memcpy(loader->bytes + loader->have, bytes, piece);
		loader->have += piece;
		bytes += piece;
		size -= piece;
		if (loader->have == loader->need)
			rc = take_bytes(loader, err);
	}
	return rc;
}

int loader_write(struct loader *loader, const uint8_t *bytes, size_t size, struct ob_error *err)
{
	if (!loader->failed)
		loader->failed = take(loader, bytes, size, &loader->why);
	if (loader->failed && err)
		*err = loader->why;
	return loader->failed;
}

bool loader_begun(const struct loader *loader)
{
	return loader->header || loader->have;
}

bool loader_failed(const struct loader *loader)
{
	return loader->failed;
}

bool loader_complete(const struct loader *loader)
{
	return loader->ended && !loader->failed;
}

/* Taking it over */

static int finish_pci(struct loader *loader, struct ob_error *err)
{
	const struct kept *kept = find_kept(loader, MSTREAM_TABLE, "pci");
	cleanup_free void *state = malloc(pci_state_size);
	int rc;

	if (!kept)
		return ob_error_set(err, -EINVAL, "section 'pci' is missing");
	if (!state)
		return ob_error_set(err, -ENOMEM, "out of memory");
	memcpy(state, pci_state(device_pci(loader->dev)), pci_state_size);
	rc = get_one(loader, &kept->section, pci_state_fields, state, err);
	if (!rc)
		rc = pci_state_load(device_pci(loader->dev), state, err);
	if (!rc)
		device_follow_function(loader->dev);
	return rc;
}

/*
 * State that turns out to be none is put back: whatever a reset looks at must be sound. From here
 * on it is.
 */
static int finish_state(struct loader *loader, struct ob_error *err)
{
	const struct kept *kept = find_kept(loader, MSTREAM_TABLE, "state");
	const struct ob_migration *m = migration_of(loader);
	size_t size = device_model(loader->dev)->state_size;
	void *state = ob_dev_state(loader->dev);
	cleanup_free void *before = malloc(size + 1);
	int rc;

	if (!kept)
		return ob_error_set(err, -EINVAL, "section 'state' is missing");
	if (!before)
		return ob_error_set(err, -ENOMEM, "out of memory");
	memcpy(before, state, size);
	rc = get_one(loader, &kept->section, m->fields, state, err);
	if (!rc && m->loaded) {
		rc = m->loaded(loader->dev, loader->version, err);
		if (rc)
			ob_error_prefix(err, rc, "state");
	}
	if (rc)
		memcpy(state, before, size);
	return rc;
}

static int finish_records(struct loader *loader, const struct ob_records *list,
                          struct ob_error *err)
{
	const struct kept *kept = find_kept(loader, MSTREAM_RECORDS, list->name);
	cleanup_free void *record = malloc(list->size);
	int rc;

	if (!record)
		return ob_error_set(err, -ENOMEM, "out of memory");
	if (!kept)
		return 0;
	rc = decode(loader, &kept->section, err);
	if (!rc && loader->table.count > list->max)
		rc = ob_error_set(err, -EINVAL, "%s: %u of them, and %u is the most", list->name,
		                  loader->table.count, list->max);
	for (uint32_t i = 0; !rc && i < loader->table.count; i++) {
		memset(record, 0, list->size);
		rc = fields_get(&loader->table, i, list->fields, loader->version, record, err);
		if (!rc)
			rc = list->add(loader->dev, record, err);
		if (rc)
			ob_error_prefix(err, rc, "%s, number %u", list->name, i);
	}
	return rc;
}

int loader_finish(struct loader *loader, struct ob_error *err)
{
	const struct ob_migration *m = migration_of(loader);
	int rc;

	if (loader->failed) {
		*err = loader->why;
		return loader->failed;
	}
	if (!loader->ended)
		return ob_error_set(err, -EINVAL, "the stream is incomplete: its end is missing");
	rc = finish_pci(loader, err);
	if (!rc)
		rc = finish_state(loader, err);
	for (const struct ob_records *list = m->records; !rc && list && list->name; list++)
		rc = finish_records(loader, list, err);
	return rc;
}

struct loader *loader_new(struct ob_dev *dev)
{
	struct loader *loader = calloc(1, sizeof(*loader));

	if (!loader)
		return NULL;
	loader->dev = dev;
	loader->need = MSTREAM_HEADER;
	return loader;
}

void loader_free(struct loader *loader)
{
	if (!loader)
		return;
	for (unsigned i = 0; i < loader->kept_count; i++)
		free(loader->kept[i].body);
	free(loader->bytes);
	free(loader);
}
