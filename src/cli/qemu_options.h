/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options of QEMU that outboard does not have. Whoever puts outboard in the place of QEMU's remote
 * machine learns of each by its name why that is so; none is ignored without a word.
 */
#ifndef CLI_QEMU_OPTIONS_H
#define CLI_QEMU_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum qemu_option_kind {
	QEMU_OPTION_REFUSED,
	QEMU_OPTION_NONE_ONLY, /* "none" is what outboard does anyway; the rest is refused */
	/*
	 * Of no use without a guest, but part of many command lines of the remote machine: taken
	 * with -machine x-remote, with a line in the log, and refused without.
	 */
	QEMU_OPTION_NO_EFFECT,
};

struct qemu_option {
	const char *name;
	bool argument; /* it takes one */
	enum qemu_option_kind kind;
	const char *why;
};

/* NULL: not one of these. */
const struct qemu_option *qemu_option_find(const char *name);

/* In order; NULL behind the last. For tests. */
const struct qemu_option *qemu_option_at(size_t index);

#endif
