/* SPDX-License-Identifier: BSD-3-Clause */
/* The migration stream as bytes: what is written is read again, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "outboard/endian.h"
#include "wire/mstream.h"

struct fixture {
	uint8_t bytes[4096];
	struct mstream_writer writer;
	struct mstream_sum sum;
};

/* A header, a table with an array, bytes and a nested struct, data, zeroes, an end. */
static void write_stream(struct fixture *f)
{
	struct mstream_writer *w = &f->writer;

	*f = (struct fixture){0};
	*w = (struct mstream_writer){.bytes = f->bytes, .room = sizeof(f->bytes)};
	mstream_put_header(w);
	mstream_begin_section(w, MSTREAM_TABLE, MSTREAM_REQUIRED, 7, "device");
	mstream_put32(w, 2);
	mstream_put16(w, 3);
	mstream_put_field(w, OB_FIELD_U16, 0, 3, "numbers");
	mstream_put_field(w, OB_FIELD_STRUCT, 0, 2, "inner");
	mstream_put16(w, 2);
	mstream_put_field(w, OB_FIELD_BOOL, 0, 1, "flag");
	mstream_put_field(w, OB_FIELD_U64, MSTREAM_OPTIONAL, 1, "wide");
	mstream_put_field(w, OB_FIELD_BYTES, 0, 5, "text");
	for (unsigned i = 0; i < 2; i++) {
		mstream_put16(w, (uint16_t)(i + 1));
		mstream_put16(w, (uint16_t)(i + 2));
		mstream_put16(w, 0xfffe);
		for (unsigned k = 0; k < 2; k++) {
			mstream_put8(w, k == 1);
			mstream_put64(w, UINT64_C(0x123456789a) + k);
		}
		mstream_put(w, "hello", 5);
	}
	assert_int_equal(mstream_end_section(w, &f->sum), 0);
	assert_int_equal(mstream_put_data(w, &f->sum, 0, "drive0", 4096, 3, (uint8_t *)"abc"), 0);
	assert_int_equal(mstream_put_data(w, &f->sum, 0, "drive0", 8192, 64 << 20, NULL), 0);
	assert_int_equal(mstream_put_end(w, &f->sum), 0);
}

/* Reads all of a stream: 0, -EAGAIN where it is cut off, -EINVAL. */
static int read_stream(const uint8_t *bytes, size_t length)
{
	static struct mstream_table table;
	struct mstream_section section;
	struct mstream_sum sum = {0};
	const char *why = NULL;
	size_t at = MSTREAM_HEADER, size;
	int rc;

	if (length < MSTREAM_HEADER)
		return -EAGAIN;
	rc = mstream_check_header(bytes, &why);
	while (!rc) {
		uint64_t offset, run;
		const uint8_t *data;

		rc = mstream_next(bytes + at, length - at, &section, &size, &why);
		if (rc)
			break;
		at += size;
		if (section.kind == MSTREAM_END) {
			rc = mstream_check_end(&section, &sum, &why);
			break;
		}
		mstream_add(&sum, section.crc);
		if (section.kind == MSTREAM_DATA)
			rc = mstream_decode_data(&section, &offset, &run, &data, &why);
		else
			rc = mstream_decode_table(&section, &table, &why);
	}
	if (rc == -EINVAL)
		assert_non_null(why);
	return rc;
}

static void what_is_written_is_read(void **state)
{
	static struct mstream_table table;
	struct mstream_section section;
	struct fixture f;
	const char *why;
	size_t size;
	const uint8_t *data, *second;
	uint64_t offset, length;

	write_stream(&f);
	assert_int_equal(mstream_check_header(f.bytes, &why), 0);
	assert_int_equal(mstream_next(f.bytes + 16, f.writer.used - 16, &section, &size, &why), 0);
	assert_int_equal(section.kind, MSTREAM_TABLE);
	assert_int_equal(section.flags, MSTREAM_REQUIRED);
	assert_int_equal(section.version, 7);
	assert_string_equal(section.name, "device");
	assert_int_equal(mstream_decode_table(&section, &table, &why), 0);
	assert_int_equal(table.count, 2);
	assert_int_equal(table.size, 6 + 18 + 5);
	assert_int_equal(table.field_count, 5);
	assert_string_equal(table.fields[1].name, "inner");
	assert_int_equal(table.fields[1].next, 4);
	assert_int_equal(table.fields[1].size, 9);
	assert_int_equal(table.fields[3].offset, 1);
	assert_int_equal(table.fields[3].flags, MSTREAM_OPTIONAL);
	assert_int_equal(table.fields[4].offset, 24);
	second = table.data + table.size;
	assert_int_equal(mstream_value(&table.fields[0], second, 2), 0xfffe);
	assert_int_equal(mstream_value(&table.fields[0], second, 1), 3);
	assert_int_equal(mstream_value(&table.fields[3], second + 6 + 9 + 1, 0), 0x123456789b);
	assert_memory_equal(second + 24, "hello", 5);

	data = f.bytes + 16 + size;
	assert_int_equal(mstream_next(data, 4096, &section, &size, &why), 0);
	assert_string_equal(section.name, "drive0");
	assert_int_equal(mstream_decode_data(&section, &offset, &length, &second, &why), 0);
	assert_int_equal(offset, 4096);
	assert_int_equal(length, 3);
	assert_memory_equal(second, "abc", 3);
	assert_int_equal(mstream_next(data + size, 4096, &section, &size, &why), 0);
	assert_int_equal(mstream_decode_data(&section, &offset, &length, &second, &why), 0);
	assert_int_equal(length, 64 << 20);
	assert_null(second);
	assert_int_equal(read_stream(f.bytes, f.writer.used), 0);
}

static void a_stream_that_is_cut_off_wants_more(void **state)
{
	struct fixture f;

	write_stream(&f);
	for (size_t length = 0; length < f.writer.used; length++)
		assert_int_equal(read_stream(f.bytes, length), -EAGAIN);
}

static void any_bit_that_is_altered_is_found(void **state)
{
	struct fixture f;

	write_stream(&f);
	for (size_t i = 0; i < f.writer.used; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			f.bytes[i] ^= (uint8_t)(1u << bit);
			/* A length may come out longer, and so want bytes that never come. */
			assert_int_not_equal(read_stream(f.bytes, f.writer.used), 0);
			f.bytes[i] ^= (uint8_t)(1u << bit);
		}
	}
	assert_int_equal(read_stream(f.bytes, f.writer.used), 0);
}

static void a_section_that_is_missing_or_twice_is_found(void **state)
{
	struct mstream_section section;
	struct fixture f;
	uint8_t twice[8192];
	const char *why;
	size_t size, first;

	write_stream(&f);
	assert_int_equal(mstream_next(f.bytes + 16, f.writer.used - 16, &section, &size, &why), 0);
	first = 16 + size;
	memcpy(twice, f.bytes, first);
	memcpy(twice + first, f.bytes + 16, f.writer.used - 16);
	assert_int_equal(read_stream(twice, first + f.writer.used - 16), -EINVAL);
	memmove(f.bytes + 16, f.bytes + first, f.writer.used - first);
	assert_int_equal(read_stream(f.bytes, f.writer.used - size), -EINVAL);
}

/* A table section of this body, with a right checksum: what its decoder says. */
static int decode(const uint8_t *body, size_t length)
{
	static struct mstream_table table;
	struct mstream_section section = {
		.kind = MSTREAM_TABLE, .body = body, .length = (uint32_t)length};
	const char *why = NULL;
	int rc = mstream_decode_table(&section, &table, &why);

	assert_true(rc == 0 || why);
	return rc;
}

static void schemas_that_are_none(void **state)
{
	/* count 1; one field: type, flags, length of name, count, name; data */
	uint8_t good[] = {1, 0, 0, 0, 1, 0, OB_FIELD_U16, 0, 1, 1, 0, 0, 0, 'a', 7, 0};
	static const struct {
		unsigned at;
		uint8_t value;
	} bad[] = {
		{0, 2},           {0, 0},    {4, 0},    {4, 2},   {6, 0},
		{6, OB_FIELD_U8}, {6, 99},   {8, 0},    {8, 200}, {9, 2},
		{9, 0},           {12, 255}, {13, 'A'}, {13, 0},  {6, OB_FIELD_STRUCT},
	};
	uint8_t deep[64];
	size_t n = 0;

	assert_int_equal(decode(good, sizeof(good)), 0);
	for (size_t i = 0; i < sizeof(good); i++)
		assert_int_equal(decode(good, i), -EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint8_t copy[sizeof(good)];

		memcpy(copy, good, sizeof(good));
		copy[bad[i].at] = bad[i].value;
		assert_int_equal(decode(copy, sizeof(copy)), -EINVAL);
	}
	memset(deep, 0, sizeof(deep));
	deep[n] = 1;
	n += 4;
	for (unsigned i = 0; i < MSTREAM_MAX_DEPTH; i++) {
		deep[n] = 1;
		deep[n + 2] = OB_FIELD_STRUCT;
		deep[n + 4] = deep[n + 5] = 1;
		deep[n + 9] = 'a';
		n += 10;
	}
	assert_int_equal(decode(deep, n + 2), -EINVAL);
}

/* Billions of them would take no bytes, and whoever looks at each a minute. */
static void structs_have_a_size(void **state)
{
	/* count 1; two fields: a byte, and so many structs without fields */
	uint8_t body[] = {1, 0, 0, 0, 2, 0, OB_FIELD_U8, 0, 1, 1, 0, 0, 0, 'a', OB_FIELD_STRUCT,
	                  0, 1, 0, 0, 0, 0, 'b',         0, 0, 9};

	assert_int_equal(decode(body, sizeof(body)), 0);
	body[17] = 1;
	assert_int_equal(decode(body, sizeof(body)), -EINVAL);
	memset(body + 17, 0xff, 4);
	assert_int_equal(decode(body, sizeof(body)), -EINVAL);
}

static void zeroes_have_a_bound(void **state)
{
	uint8_t body[16] = {0};
	struct mstream_section section = {.kind = MSTREAM_DATA, .body = body, .length = 16};
	const uint8_t *bytes;
	uint64_t offset, length;
	const char *why;

	ob_put_le64(body + 8, 64 << 20);
	assert_int_equal(mstream_decode_data(&section, &offset, &length, &bytes, &why), 0);
	ob_put_le64(body + 8, (64 << 20) + 1);
	assert_int_equal(mstream_decode_data(&section, &offset, &length, &bytes, &why), -EINVAL);
	ob_put_le64(body + 8, 0);
	assert_int_equal(mstream_decode_data(&section, &offset, &length, &bytes, &why), -EINVAL);
}

static void what_does_not_fit_is_taken_back(void **state)
{
	uint8_t bytes[64];
	struct mstream_writer w = {.bytes = bytes, .room = sizeof(bytes)};
	struct mstream_sum sum = {0};

	mstream_put_header(&w);
	assert_int_equal(mstream_put_data(&w, &sum, 0, "drive0", 0, 3, (uint8_t *)"abc"), -ENOSPC);
	assert_int_equal(w.used, 16);
	assert_int_equal(sum.sections, 0);
}

/* RFC 3720, B.4 */
static void checksums_are_crc_32c(void **state)
{
	uint8_t bytes[32] = {0};

	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
	assert_int_equal(crc32c_portable(0, bytes, 32), 0x8a9136aa);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
	for (size_t i = 0; i <= 32; i++) {
		assert_int_equal(crc32c(crc32c(0, bytes, i), bytes + i, 32 - i), 0x46dd794e);
		assert_int_equal(crc32c_portable(crc32c(0, bytes, i), bytes + i, 32 - i),
		                 0x46dd794e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(a_stream_that_is_cut_off_wants_more),
		cmocka_unit_test(any_bit_that_is_altered_is_found),
		cmocka_unit_test(a_section_that_is_missing_or_twice_is_found),
		cmocka_unit_test(schemas_that_are_none),
		cmocka_unit_test(structs_have_a_size),
		cmocka_unit_test(zeroes_have_a_bound),
		cmocka_unit_test(what_does_not_fit_is_taken_back),
		cmocka_unit_test(checksums_are_crc_32c),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
