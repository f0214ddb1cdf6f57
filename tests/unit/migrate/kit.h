/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mover: a model with a field of every kind, records, memory of BARs, and as many drives as a test
 * likes; and two devices of it, to move from one to the other.
 */
#ifndef KIT_H
#define KIT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block/block.h"
#include "device/device.h"
#include "loop/loop.h"
#include "migrate/migrate.h"

enum { MOVER_RECORDS = 8, MOVER_RAM = 1 << 20 };

struct mover_props {
	struct ob_block_list drives;
	uint32_t width_of_it;
};

struct mover_pair {
	uint16_t a;
	uint32_t b;
};

struct mover_state {
	uint8_t small;
	uint16_t medium;
	uint32_t numbers[4];
	uint64_t wide;
	bool flag;
	char text[16];
	struct mover_pair pairs[8];
	struct mover_pair one;
	uint32_t saved; /* set to be saved */
};

struct mover {
	bool slow;   /* quiesce ends when the test says so */
	bool refuse; /* loaded() does not like it */
	unsigned resets, quiesces, resumes, loads;
	unsigned records[MOVER_RECORDS + 1], count; /* one more than there can be */
};

static inline int mover_start(struct ob_dev *dev, struct ob_error *err)
{
	((struct mover_state *)ob_dev_state(dev))->medium = 7;
	return 0;
}

static inline void mover_reset(struct ob_dev *dev)
{
	struct mover *m = ob_dev_runtime(dev);

	memset(ob_dev_state(dev), 0, sizeof(struct mover_state));
	((struct mover_state *)ob_dev_state(dev))->medium = 7; /* a value at reset */
	m->resets++;
	m->count = 0;
}

static inline void mover_quiesce(struct ob_dev *dev)
{
	struct mover *m = ob_dev_runtime(dev);

	m->quiesces++;
	if (!m->slow)
		ob_dev_quiet(dev);
}

static inline void mover_resume(struct ob_dev *dev)
{
	((struct mover *)ob_dev_runtime(dev))->resumes++;
}

static inline void mover_configuration(struct ob_dev *dev, void *configuration)
{
	memcpy(configuration, ob_dev_props(dev), sizeof(struct mover_props));
}

static inline void mover_saving(struct ob_dev *dev)
{
	struct mover_state *s = ob_dev_state(dev);

	s->saved = s->small + 1u;
}

static inline int mover_loaded(struct ob_dev *dev, unsigned version, struct ob_error *err)
{
	struct mover *m = ob_dev_runtime(dev);

	m->loads++;
	if (m->refuse)
		return ob_error_set(err, -EINVAL, "not liked");
	return 0;
}

static inline void mover_save_records(struct ob_dev *dev, ob_emit *emit, void *context)
{
	const struct mover *m = ob_dev_runtime(dev);

	for (unsigned i = 0; i < m->count; i++) {
		const struct mover_pair record = {(uint16_t)i, m->records[i]};

		emit(context, &record);
	}
}

static inline int mover_add_record(struct ob_dev *dev, const void *record, struct ob_error *err)
{
	const struct mover_pair *pair = record;
	struct mover *m = ob_dev_runtime(dev);

	if (pair->a != m->count)
		return ob_error_set(err, -EINVAL, "out of order");
	m->records[m->count++] = pair->b;
	return 0;
}

static const struct ob_field mover_pair_fields[] = {
	OB_FIELD(U16, struct mover_pair, a),
	OB_FIELD(U32, struct mover_pair, b, .max = 1000),
	OB_FIELDS_END,
};

static const struct ob_field mover_fields[] = {
	OB_FIELD(U8, struct mover_state, small),
	OB_FIELD(U16, struct mover_state, medium, .min = 5, .max = 100),
	OB_FIELD_ARRAY(U32, struct mover_state, numbers),
	OB_FIELD(U64, struct mover_state, wide),
	OB_FIELD(BOOL, struct mover_state, flag),
	OB_FIELD_BLOB(struct mover_state, text),
	OB_FIELD_STRUCTS(struct mover_state, pairs, mover_pair_fields),
	OB_FIELD_NESTED(struct mover_state, one, mover_pair_fields),
	OB_FIELD(U32, struct mover_state, saved),
	OB_FIELDS_END,
};

static const struct ob_field mover_configuration_fields[] = {
	OB_FIELD(U32, struct mover_props, width_of_it),
	OB_FIELDS_END,
};

static const struct ob_records mover_records[] = {
	{"waiting", mover_pair_fields, sizeof(struct mover_pair), MOVER_RECORDS, mover_save_records,
         mover_add_record},
	{NULL},
};

static const struct ob_migration mover_migration = {
	.version = 3,
	.fields = mover_fields,
	.records = mover_records,
	.configuration_fields = mover_configuration_fields,
	.configuration_size = sizeof(struct mover_props),
	.configuration = mover_configuration,
	.saving = mover_saving,
	.loaded = mover_loaded,
};

static const struct ob_prop mover_prop_table[] = {
	{"drive", OB_PROP_BLOCKS, offsetof(struct mover_props, drives), .help = "drives"},
	{"width", OB_PROP_UINT32, offsetof(struct mover_props, width_of_it), .preset = "4",
         .help = "what has to be the same"},
	{NULL},
};

static const struct ob_window mover_memory = {OB_WINDOW_MEMORY};

#define MOVER_MODEL(name_, migration_)                                                             \
	{                                                                                          \
		.name = (name_), .summary = "for tests", .state_size = sizeof(struct mover_state), \
		.props_size = sizeof(struct mover_props), .runtime_size = sizeof(struct mover),    \
		.layout =                                                                          \
			{                                                                          \
				.ident = {.vendor = 0x1234, .device = 0x5678},                     \
				.bars = {[2] = {.size = MOVER_RAM,                                 \
		                                .flags = OB_BAR_64,                                \
		                                .windows = &mover_memory,                          \
		                                .nwindows = 1}},                                   \
				.irqs = {.intx = true, .msix_vectors = 4, .msix_bar = 4},          \
				.pcie = true,                                                      \
			},                                                                         \
		.props = mover_prop_table, .start = mover_start, .reset = mover_reset,             \
		.quiesce = mover_quiesce, .resume = mover_resume, .migration = (migration_),       \
	}

static const struct ob_model mover_model = MOVER_MODEL("mover", &mover_migration);

/* A device, with what is around it. */
struct side {
	struct ob_loop *loop; /* shared */
	struct log log;
	struct ob_block *drives[4];
	unsigned drive_count;
	struct ob_dev *dev;
	struct migration *migration;
	struct migrate_waiter waiter;
	int status, calls; /* of the waiter */
};

static inline struct ob_block *side_claim(void *context, const char *name, const char *user,
                                          struct ob_error *err)
{
	struct side *side = context;

	for (unsigned i = 0; i < side->drive_count; i++) {
		if (!strcmp(ob_block_name(side->drives[i]), name))
			return side->drives[i];
	}
	ob_error_set(err, -ENOENT, "no drive %s", name);
	return NULL;
}

static inline void side_release(void *context, struct ob_block *block, const char *user)
{
}

static inline void side_done(struct migrate_waiter *waiter, int status)
{
	struct side *side = (struct side *)((char *)waiter - offsetof(struct side, waiter));

	side->status = status;
	side->calls++;
}

static inline void side_add_drive(struct side *side, const char *options)
{
	struct ob_error err = {""};
	struct opts opts = {0};
	char text[512];

	snprintf(text, sizeof(text), "node-name=b%u,%s", side->drive_count, options);
	assert_int_equal(opts_parse(&opts, text, NULL, &err), 0);
	side->drives[side->drive_count] = block_open(side->loop, &side->log, &opts, &err);
	opts_free(&opts);
	if (!side->drives[side->drive_count])
		fail_msg("%s", err.message);
	side->drive_count++;
}

static inline void side_start(struct side *side, const struct ob_model *model, const char *options)
{
	const struct device_env env = {.loop = side->loop,
	                               .log = &side->log,
	                               .claim_block = side_claim,
	                               .release_block = side_release,
	                               .context = side};
	struct ob_error err = {""};
	struct opts opts = {0};
	char text[256];
	size_t used = (size_t)snprintf(text, sizeof(text), "%s", options);

	for (unsigned i = 0; i < side->drive_count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%sdrive=b%u",
		                         used ? "," : "", i);
	assert_int_equal(opts_parse(&opts, text, NULL, &err), 0);
	side->dev = device_new(model, "m0", &env, &opts, &err);
	opts_free(&opts);
	if (!side->dev)
		fail_msg("%s", err.message);
	device_client_came(side->dev);
	side->waiter.done = side_done;
	side->migration = migrate_of(side->dev);
}

static inline void side_init(struct side *side, struct ob_loop *loop)
{
	*side = (struct side){.loop = loop, .log = {.fd = -1, .level = LOG_ERROR}};
}

static inline void side_free(struct side *side)
{
	device_free(side->dev);
	while (side->drive_count)
		block_close(side->drives[--side->drive_count]);
}

static inline struct mover *side_mover(struct side *side)
{
	return ob_dev_runtime(side->dev);
}

static inline struct mover_state *side_state(struct side *side)
{
	return ob_dev_state(side->dev);
}

static inline void side_turns(struct side *side)
{
	for (int i = 0; i < 20; i++)
		loop_turn(side->loop, 0);
}

/* Goes to a state and waits until it is there, or not. */
static inline int side_go(struct side *side, unsigned state)
{
	int calls = side->calls;
	int rc = migrate_set_state(side->migration, state, &side->waiter);

	if (rc != -EINPROGRESS)
		return rc;
	for (int i = 0; i < 1000 && side->calls == calls; i++)
		loop_turn(side->loop, 10);
	assert_int_equal(side->calls, calls + 1);
	return side->status;
}

struct bytes {
	uint8_t *data;
	size_t size;
};

/* All of the stream that there is, read in pieces of that size. */
static inline void side_read(struct side *side, struct bytes *stream, size_t piece)
{
	for (;;) {
		ssize_t got;

		stream->data = realloc(stream->data, stream->size + piece);
		got = migrate_read(side->migration, stream->data + stream->size, piece);
		assert_true(got >= 0);
		stream->size += (size_t)got;
		if ((size_t)got < piece)
			return;
	}
}

/* Until it is refused, or all of it was written. */
static inline int side_write(struct side *side, const struct bytes *stream, size_t piece)
{
	for (size_t at = 0; at < stream->size; at += piece) {
		size_t size = stream->size - at < piece ? stream->size - at : piece;
		int rc = migrate_write(side->migration, stream->data + at, size);

		if (rc)
			return rc;
	}
	return 0;
}

#endif
