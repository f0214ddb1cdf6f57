/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables for people, and numbers in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "obctl/table.h"

static void columns(void **state)
{
	static const char *const heads[] = {"NAME", ">COUNT", "REST", NULL};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct table table;

	assert_non_null(out);
	table_begin(&table, heads);
	table_cell(&table, "%s", "a");
	table_cell(&table, "%d", 1234567);
	table_cell(&table, "x");
	/* Two bytes, one column. */
	table_cell(&table, "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4");
	table_cell(&table, "5");
	table_cell(&table, "a\033[2J\nb");
	assert_int_equal(table_end(&table, out), 0);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text,
	                    "NAME      COUNT  REST\n"
	                    "a       1234567  x\n"
	                    "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4        5  a?[2J?b\n");
	free(text);
}

static void nothing_in_it(void **state)
{
	static const char *const heads[] = {"A", "B", NULL};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct table table;

	table_begin(&table, heads);
	assert_int_equal(table_end(&table, out), 0);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "A  B\n");
	free(text);
}

static void leaves_columns_out(void **state)
{
	static const char *const heads[] = {"NAME", ">COUNT", "REST", NULL};
	static const uint8_t expendable[] = {1, 2, TABLE_COLUMNS};
	static const struct {
		unsigned room;
		const char *expected;
	} table[] = {
		{0, "NAME  COUNT  REST\na         1  x\n"},
		{17, "NAME  COUNT  REST\na         1  x\n"},
		{16, "NAME  REST\na     x\n"},
		{9, "NAME\na\n"},
		{1, "NAME\na\n"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char *text = NULL;
		size_t size;
		FILE *out = open_memstream(&text, &size);
		struct table t;

		table_begin(&t, heads);
		table_fit(&t, table[i].room, expendable);
		table_cell(&t, "a");
		table_cell(&t, "1");
		table_cell(&t, "x");
		assert_int_equal(table_end(&t, out), 0);
		assert_int_equal(fclose(out), 0);
		assert_string_equal(text, table[i].expected);
		free(text);
	}
}

static void numbers(void **state)
{
	char text[SIZE_TEXT];

	assert_string_equal(size_text(0, text), "0 B");
	assert_string_equal(size_text(1023, text), "1023 B");
	assert_string_equal(size_text(1024, text), "1 KiB");
	assert_string_equal(size_text(1536, text), "1.5 KiB");
	assert_string_equal(size_text(1ull << 30, text), "1 GiB");
	assert_string_equal(size_text(1000ull << 30, text), "1000 GiB");
	assert_string_equal(size_text(UINT64_MAX, text), "16 EiB");
	assert_string_equal(time_text(0, text), "-");
	assert_string_equal(time_text(999, text), "999 ns");
	assert_string_equal(time_text(12345, text), "12.3 us");
	assert_string_equal(time_text(2.5e6, text), "2.5 ms");
	assert_string_equal(time_text(3e9, text), "3.0 s");
	assert_string_equal(count_text(0, text), "0");
	assert_string_equal(count_text(0.25, text), "0.2");
	assert_string_equal(count_text(999, text), "999");
	assert_string_equal(count_text(12345, text), "12.3k");
	assert_string_equal(count_text(4.5e6, text), "4.5M");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns),
		cmocka_unit_test(nothing_in_it),
		cmocka_unit_test(leaves_columns_out),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
