/* SPDX-License-Identifier: BSD-3-Clause */
/* What streams carry over, and every reason to refuse one. */
#include "kit.h"

#include "base/list.h"
#include "wire/mstream.h"

struct pair {
	struct side from, to;
	struct bytes stream;
};

static void fill(struct side *side)
{
	struct mover *m = side_mover(side);

	*side_state(side) = (struct mover_state){
		.small = 200,
		.medium = 99,
		.numbers = {1, 0xffffffff, 3},
		.wide = UINT64_C(0x123456789abcdef0),
		.flag = true,
		.text = "text",
		.pairs = {{1, 2}, {3, 1000}, {0, 0}, {0xffff, 7}},
		.one = {5, 6},
	};
	m->count = 3;
	m->records[0] = 10;
	m->records[1] = 20;
	m->records[2] = 30;
}

static int set_up(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	struct ob_loop *loop = loop_new();

	side_init(&pair->from, loop);
	side_init(&pair->to, loop);
	side_start(&pair->from, &mover_model, "");
	fill(&pair->from);
	*state = pair;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *pair = *state;
	struct ob_loop *loop = pair->from.loop;

	side_free(&pair->from);
	side_free(&pair->to);
	loop_free(loop);
	free(pair->stream.data);
	free(pair);
	return 0;
}

static void save(struct pair *pair)
{
	free(pair->stream.data);
	pair->stream = (struct bytes){0};
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
	side_read(&pair->from, &pair->stream, 1000);
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP), 0);
}

/* Loads what is in the stream: 0, or -EINVAL with the device in ERROR. */
static int load(struct pair *pair, size_t piece)
{
	struct side *to = &pair->to;
	int rc;

	(void)migrate_reset(to->migration, NULL);
	assert_int_equal(side_go(to, MIGRATE_RESUMING), 0);
	side_write(to, &pair->stream, piece);
	rc = side_go(to, MIGRATE_STOP);
	assert_int_equal(migrate_state(to->migration), rc ? MIGRATE_ERROR : MIGRATE_STOP);
	return rc;
}

#define refused(pair_, text_)                                                                      \
	do {                                                                                       \
		assert_int_equal(load(pair_, 1 << 20), -EINVAL);                                   \
		if (!strstr(migrate_why((pair_)->to.migration), (text_)))                          \
			fail_msg("'%s' is not in: %s", (text_),                                    \
			         migrate_why((pair_)->to.migration));                              \
	} while (0)

static void expect_moved(struct pair *pair)
{
	const struct mover *a = side_mover(&pair->from), *b = side_mover(&pair->to);

	/* saved is brought up to date for this. */
	assert_int_equal(side_state(&pair->to)->saved, 201);
	assert_memory_equal(side_state(&pair->from), side_state(&pair->to),
	                    sizeof(struct mover_state));
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->records, b->records, sizeof(a->records));
}

static void everything_moves_in_pieces_of_any_size(void **state)
{
	static const size_t sizes[] = {1, 7, 16, 100, 4096, 1 << 20};
	struct pair *pair = *state;

	side_start(&pair->to, &mover_model, "");
	save(pair);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		mover_reset(pair->to.dev);
		assert_int_equal(load(pair, sizes[i]), 0);
		expect_moved(pair);
		assert_int_equal(side_mover(&pair->to)->loads, i + 1);
	}
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), 0);
}

static void memory_of_bars_moves(void **state)
{
	struct pair *pair = *state;
	uint8_t *from = ob_dev_memory(pair->from.dev, 2, 0), *to;

	side_start(&pair->to, &mover_model, "");
	to = ob_dev_memory(pair->to.dev, 2, 0);
	memset(from, 0x11, 5000);
	from[300000] = 1;
	memset(from + 500000, 0x77, 400000);
	from[MOVER_RAM - 1] = 9;
	memset(to, 0x55, MOVER_RAM);
	save(pair);
	assert_true(pair->stream.size < 500000);
	assert_int_equal(load(pair, 5000), 0);
	assert_memory_equal(from, to, MOVER_RAM);
}

static void the_function_moves(void **state)
{
	const uint8_t command = 0x06, entry[16] = {0x00, 0x10, 0xe0, 0xfe, 0, 0, 0, 0, 0x41};
	struct pair *pair = *state;
	struct pci *pci = device_pci(pair->from.dev);
	uint8_t bytes[16];

	side_start(&pair->to, &mover_model, "");
	pci_config_write(pci, 4, &command, 1);
	pci_config_write(pci, 0x18, "\0\0\x10\0\x07", 5);
	pci_config_write(pci, 0x72, "\0\x80", 2); /* MSI-X on */
	pci_msix_write(pci, 4, 16, entry, 16);
	ob_irq_raise(pair->from.dev, 1);
	ob_irq_raise(pair->from.dev, 3);
	ob_irq_lower(pair->from.dev, 3);
	save(pair);
	assert_int_equal(load(pair, 5000), 0);
	assert_memory_equal(pci_state(pci), pci_state(device_pci(pair->to.dev)), pci_state_size);
	assert_true(ob_irq_is_message(pair->to.dev));
	/* Vectors 1 and 3 wait for somebody to listen. */
	pci_msix_read(device_pci(pair->to.dev), 4, 4096, bytes, 8);
	assert_int_equal(bytes[0], 0x0a);
	pci_msix_read(device_pci(pair->to.dev), 4, 16, bytes, 16);
	assert_memory_equal(bytes, entry, 16);
}

static void a_stream_that_is_cut_anywhere_is_refused(void **state)
{
	struct pair *pair = *state;
	size_t whole;

	side_start(&pair->to, &mover_model, "");
	save(pair);
	whole = pair->stream.size;
	for (pair->stream.size = 0; pair->stream.size < whole; pair->stream.size++)
		refused(pair, "incomplete");
	assert_int_equal(load(pair, 100), 0);
	expect_moved(pair);
}

static void a_stream_that_is_altered_anywhere_is_refused(void **state)
{
	struct pair *pair = *state;

	side_start(&pair->to, &mover_model, "");
	save(pair);
	for (size_t i = 0; i < pair->stream.size; i++) {
		pair->stream.data[i] ^= 1u << i % 8;
		refused(pair, "");
		pair->stream.data[i] ^= 1u << i % 8;
	}
	pair->stream.data = realloc(pair->stream.data, pair->stream.size + 1);
	pair->stream.data[pair->stream.size++] = 0;
	refused(pair, "behind the end");
	pair->stream.size--;
	assert_int_equal(load(pair, 100), 0);
	expect_moved(pair);
}

/* What went wrong is said once more with whatever follows, and a reset leads out. */
static void a_refused_stream_leaves_a_device_that_can_be_reset(void **state)
{
	struct pair *pair = *state;
	struct side *to = &pair->to;

	side_start(to, &mover_model, "");
	save(pair);
	assert_int_equal(side_go(to, MIGRATE_RESUMING), 0);
	pair->stream.data[40] ^= 1;
	assert_int_equal(side_write(to, &pair->stream, 16), -EINVAL);
	assert_int_equal(side_write(to, &pair->stream, 16), -EINVAL);
	assert_non_null(strstr(migrate_why(to->migration), "altered"));
	assert_int_equal(side_go(to, MIGRATE_RUNNING), -EINVAL);
	assert_int_equal(migrate_state(to->migration), MIGRATE_ERROR);
	assert_int_equal(side_state(to)->medium, 7);
	assert_int_equal(side_go(to, MIGRATE_STOP), -EINVAL);
	(void)migrate_reset(to->migration, NULL);
	assert_int_equal(migrate_state(to->migration), MIGRATE_RUNNING);
	/* The source has lost nothing. */
	assert_int_equal(side_go(&pair->from, MIGRATE_RUNNING), 0);
	assert_int_equal(side_state(&pair->from)->small, 200);
	assert_int_equal(side_mover(&pair->from)->count, 3);
}

/* Other devices */

static void other_models(void **state)
{
	static const struct ob_model other = MOVER_MODEL("other", &mover_migration);
	struct pair *pair = *state;

	side_start(&pair->to, &other, "");
	save(pair);
	refused(pair, "the stream is of a device of model 'mover', and this one is 'other'");
}

static void other_configurations(void **state)
{
	struct pair *pair = *state;

	side_start(&pair->to, &mover_model, "width=5");
	save(pair);
	refused(pair, "width-of-it: the stream has 4, this device 5");
}

static void other_functions(void **state)
{
	static struct ob_model other = MOVER_MODEL("mover", &mover_migration);
	struct pair *pair = *state;

	other.layout.irqs.msix_vectors = 3;
	side_start(&pair->to, &other, "");
	save(pair);
	refused(pair, "msix-vectors: the stream has 4, this device 3");
	device_free(pair->to.dev);
	other = mover_model;
	other.layout.bars[2].size *= 2;
	side_start(&pair->to, &other, "");
	refused(pair, "bar-size 2: the stream has 1048576, this device 2097152");
	device_free(pair->to.dev);
	other = mover_model;
	other.layout.ident.device++;
	side_start(&pair->to, &other, "");
	refused(pair, "the stream is of a function 1234:5678, and this one is 1234:5679: one "
	              "with vendor-id=0x1234,device-id=0x5678 can load it");
}

/* Other versions: the same model with another table */

static void with_table(struct pair *pair, const struct ob_field *fields, unsigned version)
{
	static struct ob_model model;
	static struct ob_migration migration;

	migration = mover_migration;
	migration.fields = fields;
	migration.version = (uint16_t)version;
	model = mover_model;
	model.migration = &migration;
	if (pair->to.dev)
		device_free(pair->to.dev);
	side_start(&pair->to, &model, "");
	mover_reset(pair->to.dev);
}

/* The table with one field replaced by others (up to two, or none). */
static const struct ob_field *changed(const char *name, const struct ob_field *by, unsigned count)
{
	static struct ob_field fields[ARRAY_SIZE(mover_fields) + 2];
	unsigned n = 0;

	for (const struct ob_field *field = mover_fields; field->name; field++) {
		if (strcmp(field->name, name) != 0)
			fields[n++] = *field;
	}
	for (unsigned i = 0; i < count; i++)
		fields[n++] = by[i];
	fields[n] = (struct ob_field)OB_FIELDS_END;
	return fields;
}

static void fields_that_are_newer_here_keep_their_defaults(void **state)
{
	struct ob_field added = OB_FIELD(U16, struct mover_state, medium, .since = 4);
	struct pair *pair = *state;

	added.name = "added";
	with_table(pair, changed("wide", &added, 1), 4);
	save(pair);
	refused(pair, "wide: not known here: the stream is from a newer version");
	/* The stream has no "added", and so it stays at its value at reset. */
	with_table(pair, changed("", &added, 1), 4);
	added.name = "medium";
	assert_int_equal(load(pair, 100), 0);
	added = (struct ob_field)OB_FIELD(U64, struct mover_state, wide, .since = 3);
	added.name = "added";
	with_table(pair, changed("", &added, 1), 4);
	refused(pair, "state: added: the stream does not have it");
	added.optional = true;
	with_table(pair, changed("", &added, 1), 4);
	assert_int_equal(load(pair, 100), 0);
	expect_moved(pair);
}

static void numbers_may_change_their_width(void **state)
{
	struct ob_field small = OB_FIELD(U64, struct mover_state, wide);
	struct ob_field wide = OB_FIELD(U8, struct mover_state, small);
	struct pair *pair = *state;

	/* u8 in the stream, u64 here; and the other way round, where the value fits. */
	small.name = "small";
	with_table(pair, changed("small", &small, 1), 3);
	side_state(&pair->from)->wide = 200;
	save(pair);
	/* Both "small" and "wide" are read into wide: the last one of the table wins. */
	assert_int_equal(load(pair, 100), 0);
	assert_int_equal(side_state(&pair->to)->wide, 200);
	wide.name = "wide";
	with_table(pair, changed("wide", &wide, 1), 3);
	assert_int_equal(load(pair, 100), 0);
	side_state(&pair->from)->wide = 256;
	save(pair);
	refused(pair, "wide[0]: 256 is not from 0 to 255");
}

static void arrays_may_change_their_length(void **state)
{
	struct ob_field shorter = OB_FIELD_ARRAY(U32, struct mover_state, numbers);
	struct pair *pair = *state;

	side_state(&pair->from)->numbers[3] = 0;
	shorter.count = 3;
	with_table(pair, changed("numbers", &shorter, 1), 3);
	save(pair);
	assert_int_equal(load(pair, 100), 0);
	expect_moved(pair);
	shorter.count = 2;
	with_table(pair, changed("numbers", &shorter, 1), 3);
	refused(pair, "numbers: the stream has 3 of them, and 2 is the most here");
}

static void types_that_do_not_fit(void **state)
{
	struct ob_field flag = OB_FIELD(U8, struct mover_state, small);
	struct ob_field text = OB_FIELD_NESTED(struct mover_state, one, mover_pair_fields);
	struct pair *pair = *state;

	flag.name = "flag";
	with_table(pair, changed("flag", &flag, 1), 3);
	save(pair);
	refused(pair, "flag: the stream has it as bool, and u8 is expected");
	text.name = "text";
	with_table(pair, changed("text", &text, 1), 3);
	refused(pair, "text: the stream has it as bytes, and struct is expected");
}

static void values_out_of_range(void **state)
{
	struct pair *pair = *state;

	side_start(&pair->to, &mover_model, "");
	side_state(&pair->from)->medium = 101;
	save(pair);
	refused(pair, "medium[0]: 101 is not from 5 to 100");
	side_state(&pair->from)->medium = 4;
	save(pair);
	refused(pair, "medium[0]: 4 is not from 5 to 100");
	side_state(&pair->from)->medium = 5;
	side_state(&pair->from)->pairs[3].b = 1001;
	save(pair);
	refused(pair, "state: pairs[3].b[0]: 1001 is not from 0 to 1000");
	assert_int_equal(side_state(&pair->to)->medium, 7);
	assert_int_equal(side_mover(&pair->to)->loads, 0);
}

static void what_the_model_does_not_like(void **state)
{
	struct pair *pair = *state;

	side_start(&pair->to, &mover_model, "");
	side_mover(&pair->to)->refuse = true;
	save(pair);
	refused(pair, "state: not liked");
	assert_int_equal(side_state(&pair->to)->small, 0);
	side_mover(&pair->to)->refuse = false;
	assert_int_equal(load(pair, 100), 0);
	side_mover(&pair->from)->records[2] = 1001;
	save(pair);
	refused(pair, "waiting, number 2: b[0]: 1001 is not from 0 to 1000");
	assert_int_equal(side_mover(&pair->to)->count, 0);
	assert_int_equal(side_state(&pair->to)->small, 0);
}

/* Sections, one by one */

struct sections {
	struct mstream_section list[16];
	unsigned count;
};

static void cut_into_sections(const struct bytes *stream, struct sections *sections)
{
	const uint8_t *at = stream->data + MSTREAM_HEADER, *end = stream->data + stream->size;
	const char *why;
	size_t size;

	for (sections->count = 0; at < end; at += size) {
		assert_int_equal(mstream_next(at, (size_t)(end - at),
		                              &sections->list[sections->count++], &size, &why),
		                 0);
	}
}

/* The stream anew, of those sections that are not skipped, and one more of this kind at a place. */
static void rebuild(struct pair *pair, const struct sections *sections, int skip, int place,
                    unsigned kind, unsigned flags, const char *name)
{
	size_t room = pair->stream.size + 4096;
	uint8_t *bytes = calloc(1, room);
	struct mstream_writer writer = {.bytes = bytes, .room = room};
	struct mstream_sum sum = {0};

	mstream_put_header(&writer);
	for (int i = 0; i < (int)sections->count; i++) {
		const struct mstream_section *section = &sections->list[i];

		if (i == place) {
			mstream_begin_section(&writer, kind, flags, 1, name);
			mstream_put64(&writer, 0);
			mstream_put64(&writer, 4096);
			assert_int_equal(mstream_end_section(&writer, &sum), 0);
		}
		if (i == skip)
			continue;
		if (section->kind == MSTREAM_END) {
			assert_int_equal(mstream_put_end(&writer, &sum), 0);
			continue;
		}
		mstream_begin_section(&writer, section->kind, section->flags, section->version,
		                      section->name);
		mstream_put(&writer, section->body, section->length);
		assert_int_equal(mstream_end_section(&writer, &sum), 0);
	}
	free(pair->stream.data);
	pair->stream = (struct bytes){bytes, writer.used};
}

static void with_section(struct pair *pair, int place, unsigned kind, unsigned flags,
                         const char *name)
{
	struct sections sections;

	save(pair);
	cut_into_sections(&pair->stream, &sections);
	rebuild(pair, &sections, -1, place < 0 ? (int)sections.count + place : place, kind, flags,
	        name);
}

static void sections_that_are_not_known(void **state)
{
	struct pair *pair = *state;

	side_start(&pair->to, &mover_model, "");
	for (int place = 1; place < 8; place++) {
		with_section(pair, place, MSTREAM_TABLE, 0, "future");
		assert_int_equal(load(pair, 100), 0);
		with_section(pair, place, 77, 0, "future");
		assert_int_equal(load(pair, 100), 0);
	}
	with_section(pair, -1, MSTREAM_TABLE, MSTREAM_REQUIRED, "future");
	refused(pair, "section 'future' is not known here: the stream is from a newer version");
	with_section(pair, -1, 77, MSTREAM_REQUIRED, "future");
	refused(pair, "section 'future' is not known here");
	with_section(pair, -1, MSTREAM_RECORDS, MSTREAM_REQUIRED, "future");
	refused(pair, "section 'future' is not known here");
	with_section(pair, 1, MSTREAM_TABLE, MSTREAM_REQUIRED, "future");
	refused(pair, "section 'future' comes where 'function' is expected");
}

static void data_for_what_there_is_not(void **state)
{
	struct pair *pair = *state;

	side_start(&pair->to, &mover_model, "");
	with_section(pair, -1, MSTREAM_DATA, MSTREAM_REQUIRED, "drive0");
	refused(pair, "contents for a drive 0 that cannot take them");
	with_section(pair, -1, MSTREAM_DATA, MSTREAM_REQUIRED, "bar1");
	refused(pair, "contents for a BAR 1 that cannot take them");
	with_section(pair, -1, MSTREAM_DATA, MSTREAM_REQUIRED, "bar99999");
	refused(pair, "contents for a BAR 99999 that cannot take them");
	with_section(pair, -1, MSTREAM_DATA, MSTREAM_REQUIRED, "bar02");
	refused(pair, "section 'bar02' is not known here");
	/* Zeroes, which need not come for a BAR. */
	with_section(pair, -1, MSTREAM_DATA, MSTREAM_REQUIRED, "bar2");
	refused(pair, "contents for a BAR 2 that cannot take them");
	with_section(pair, -1, MSTREAM_DATA, 0, "cache");
	assert_int_equal(load(pair, 100), 0);
}

static void sections_that_are_missing_or_come_twice(void **state)
{
	static const char *const expected[] = {
		"'device' is expected", "'function' is expected", "'configuration' is expected",
		"'drives' is expected", "'pci' is missing",       "'state' is missing",
	};
	struct pair *pair = *state;
	struct sections sections;

	side_start(&pair->to, &mover_model, "");
	for (int i = 0; i < (int)ARRAY_SIZE(expected); i++) {
		save(pair);
		cut_into_sections(&pair->stream, &sections);
		rebuild(pair, &sections, i, -1, 0, 0, "");
		refused(pair, expected[i]);
	}
	with_section(pair, -1, MSTREAM_TABLE, MSTREAM_REQUIRED, "state");
	refused(pair, "section 'state' comes twice");
	with_section(pair, -1, MSTREAM_TABLE, MSTREAM_REQUIRED, "device");
	refused(pair, "section 'device' is not known here");
}

static void more_records_than_there_can_be(void **state)
{
	struct pair *pair = *state;
	struct mover *m = side_mover(&pair->from);
	uint8_t byte;

	side_start(&pair->to, &mover_model, "");
	m->count = MOVER_RECORDS;
	save(pair);
	assert_int_equal(load(pair, 100), 0);
	assert_int_equal(side_mover(&pair->to)->count, MOVER_RECORDS);
	/* A source that has too many says so, and goes on. */
	m->count = MOVER_RECORDS + 1;
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
	free(pair->stream.data);
	pair->stream = (struct bytes){malloc(1 << 20), 1 << 20};
	assert_int_equal(migrate_read(pair->from.migration, pair->stream.data, 1 << 20),
	                 -EOVERFLOW);
	assert_int_equal(migrate_read(pair->from.migration, &byte, 1), -EOVERFLOW);
	m->count = 3;
	assert_int_equal(side_go(&pair->from, MIGRATE_RUNNING), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(everything_moves_in_pieces_of_any_size),
		test(memory_of_bars_moves),
		test(the_function_moves),
		test(a_stream_that_is_cut_anywhere_is_refused),
		test(a_stream_that_is_altered_anywhere_is_refused),
		test(a_refused_stream_leaves_a_device_that_can_be_reset),
		test(other_models),
		test(other_configurations),
		test(other_functions),
		test(fields_that_are_newer_here_keep_their_defaults),
		test(numbers_may_change_their_width),
		test(arrays_may_change_their_length),
		test(types_that_do_not_fit),
		test(values_out_of_range),
		test(what_the_model_does_not_like),
		test(sections_that_are_not_known),
		test(data_for_what_there_is_not),
		test(sections_that_are_missing_or_come_twice),
		test(more_records_than_there_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
