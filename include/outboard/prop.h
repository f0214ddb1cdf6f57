/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Properties: what a user may configure, described by a table.
 *
 * The table is the only place that knows a property: the command line, the monitor, --help and the
 * manual page are made of it. Defaults are set first, then what the user said; what is out of range
 * is refused with a message that says what would be right.
 */
#ifndef OUTBOARD_PROP_H
#define OUTBOARD_PROP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ob_block;
struct ob_chardev;

enum ob_prop_type {
	OB_PROP_BOOL,    /* bool: on, off (also true, false, yes, no) */
	OB_PROP_UINT32,  /* uint32_t: decimal or 0x hexadecimal, min to max */
	OB_PROP_SIZE,    /* uint64_t: bytes, or with a suffix K, M, G, T (powers of 1024) */
	OB_PROP_STRING,  /* char *, owned by the core, NULL when not given; at most max bytes if max
	                  */
	OB_PROP_ENUM,    /* uint32_t: place in choices, counted from 0 */
	OB_PROP_BLOCKS,  /* struct ob_block_list: block nodes by node-name, given once for each */
	OB_PROP_CHARDEV, /* struct ob_chardev *: a chardev by id, NULL when not given */
};

enum { OB_MAX_BLOCKS = 64 };

struct ob_block_list {
	unsigned count;
	struct ob_block *nodes[OB_MAX_BLOCKS];
};

struct ob_prop {
	const char *name; /* lower case, words joined by '-'; NULL ends a table */
	enum ob_prop_type type;
	size_t offset;      /* of the field in the struct that the table describes */
	uint64_t min, max;  /* numbers: inclusive; both 0: anything that fits */
	const char *preset; /* default, as the user would write it; NULL: 0, off, not given */
	const char *help;   /* one line, with the unit where there is one */
	const char *const *choices; /* OB_PROP_ENUM: names, ended by NULL */
};

#endif
