/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables for people: columns as wide as what is in them. */
#ifndef OBCTL_TABLE_H
#define OBCTL_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_COLUMNS = 16 };

struct table {
	const char *const *heads; /* NULL ends them; one that begins with '>' is right-aligned */
	unsigned columns;
	char **cells;
	size_t count, room;
	int failed; /* -ENOMEM: a cell is missing */
	/* See table_fit(). */
	unsigned room_for; /* characters of a line; 0: any number */
	const uint8_t *expendable;
};

void table_begin(struct table *table, const char *const *heads);

/*
 * Leaves columns out, as few as will do, until lines have at most so many characters: those whose
 * numbers stand first in expendable, which has one for each column but those that always stay, and
 * ends with TABLE_COLUMNS.
 */
void table_fit(struct table *table, unsigned characters, const uint8_t *expendable);

/* The next cell, from left to right, row by row. What could steer a terminal is made harmless. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints all of it, and frees it. 0 or -ENOMEM. */
int table_end(struct table *table, FILE *out);

/* Prints text of a stranger's: what could steer a terminal becomes '?'. NULL: nothing. */
void print_plain(const char *text, FILE *out);

/* "512 B", "1.5 GiB"; text has room for 16 bytes. */
enum { SIZE_TEXT = 16 };
const char *size_text(uint64_t bytes, char text[SIZE_TEXT]);

/* "850 ns", "12.3 us"; "-" for 0. */
const char *time_text(double ns, char text[SIZE_TEXT]);

/* "999", "12.3k", "4.5M". */
const char *count_text(double count, char text[SIZE_TEXT]);

#endif
