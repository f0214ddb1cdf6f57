/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables, and numbers for people; see table.h. */
#include "obctl/table.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void table_begin(struct table *table, const char *const *heads)
{
	*table = (struct table){.heads = heads};
	while (heads[table->columns])
		table->columns++;
	assert(table->columns && table->columns <= TABLE_COLUMNS);
}

static char *next_cell(struct table *table, char *text)
{
	if (table->count == table->room) {
		size_t room = table->room ? table->room * 2 : 64;
		char **cells = reallocarray(table->cells, room, sizeof(*cells));

		if (!cells)
			return NULL;
		table->cells = cells;
		table->room = room;
	}
	table->cells[table->count++] = text;
	return text;
}

void table_cell(struct table *table, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0 || !next_cell(table, text)) {
		if (n >= 0)
			free(text);
		table->failed = -ENOMEM;
		return;
	}
}

static bool is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

void print_plain(const char *text, FILE *out)
{
	for (; text && *text; text++)
		fputc(is_control(*text) ? '?' : *text, out);
}

/* In characters, not in bytes: UTF-8's continuation bytes don't count. */
static unsigned width_of(const char *text)
{
	unsigned width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* Columns with width 0 are left out. */
static void print_row(const struct table *table, const char *const *cells, const unsigned *widths,
                      FILE *out)
{
	unsigned end = table->columns;

	while (end && !widths[end - 1])
		end--;
	for (unsigned i = 0; i < end; i++) {
		int pad = (int)(widths[i] - width_of(cells[i]));
		bool right = table->heads[i][0] == '>';
		/* Nothing stands behind the last one. */
		bool last = i + 1 == end;

		if (!widths[i])
			continue;
		fprintf(out, "%*s", right ? pad : 0, "");
		print_plain(cells[i], out);
		fprintf(out, "%*s%s", right || last ? 0 : pad, "", last ? "\n" : "  ");
	}
}

void table_fit(struct table *table, unsigned characters, const uint8_t *expendable)
{
	table->room_for = characters;
	table->expendable = expendable;
}

static unsigned line_width(const struct table *table, const unsigned *widths)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < table->columns; i++)
		sum += widths[i] ? widths[i] + 2 : 0;
	return sum ? sum - 2 : 0;
}

static void leave_out(const struct table *table, unsigned *widths)
{
	const uint8_t *at = table->expendable;

	while (table->room_for && *at < table->columns &&
	       line_width(table, widths) > table->room_for)
		widths[*at++] = 0;
}

int table_end(struct table *table, FILE *out)
{
	unsigned widths[TABLE_COLUMNS] = {0};
	const char *heads[TABLE_COLUMNS];
	int rc = table->failed;

	assert(table->columns);
	for (unsigned i = 0; i < table->columns; i++) {
		heads[i] = table->heads[i] + (table->heads[i][0] == '>');
		widths[i] = width_of(heads[i]);
	}
	for (size_t i = 0; i < table->count; i++) {
		unsigned width = width_of(table->cells[i]);

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	leave_out(table, widths);
	if (!rc)
		print_row(table, heads, widths, out);
	for (size_t i = 0; !rc && i + table->columns <= table->count; i += table->columns)
		print_row(table, (const char *const *)table->cells + i, widths, out);
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	return rc;
}

const char *size_text(uint64_t bytes, char text[SIZE_TEXT])
{
	static const char units[] = "KMGTPE";
	double scaled = (double)bytes;
	int unit = -1;

	while (scaled >= 1024 && unit < 5) {
		scaled /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(text, SIZE_TEXT, "%u B", (unsigned)bytes);
	else
		snprintf(text, SIZE_TEXT, scaled < 10 ? "%.3g %ciB" : "%.4g %ciB", scaled,
		         units[unit]);
	return text;
}

const char *time_text(double ns, char text[SIZE_TEXT])
{
	if (ns <= 0)
		snprintf(text, SIZE_TEXT, "-");
	else if (ns < 1000)
		snprintf(text, SIZE_TEXT, "%.0f ns", ns);
	else if (ns < 1e6)
		snprintf(text, SIZE_TEXT, "%.1f us", ns / 1e3);
	else if (ns < 1e9)
		snprintf(text, SIZE_TEXT, "%.1f ms", ns / 1e6);
	else
		snprintf(text, SIZE_TEXT, "%.1f s", ns / 1e9);
	return text;
}

const char *count_text(double count, char text[SIZE_TEXT])
{
	if (count < 1000)
		snprintf(text, SIZE_TEXT, count > 0 && count < 10 ? "%.1f" : "%.0f", count);
	else if (count < 1e6)
		snprintf(text, SIZE_TEXT, "%.1fk", count / 1e3);
	else
		snprintf(text, SIZE_TEXT, "%.1fM", count / 1e6);
	return text;
}
