/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file at the other end of a copy from or to a disk. Input is read in order; output goes to its
 * place in a regular file, and in order into anything else. What goes wrong is kept until the
 * commands under way are done. It must not know how the disk is driven.
 */
#ifndef OBCTL_COPY_H
#define OBCTL_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/client.h"

struct copy {
	int fd; /* -1: not open */
	bool out, in_order, regular;
	const char *name;         /* for messages */
	struct ob_client *client; /* looked after while a pipe is waited for; NULL: none */
	uint64_t size;            /* bytes of the input; UINT64_MAX: it ends when it ends */
	uint64_t limit;           /* bytes to copy at most */
	bool cut;                 /* input behind the limit is left alone; otherwise an error */

	uint64_t bytes; /* copied */
	size_t padded;  /* zeroes behind them, to fill a block of the disk */
	bool ended;     /* there is no more input, or it went wrong */
	int rc;         /* what went wrong, in words in error */
	struct ob_error error;
};

/* path "-": standard input or output. 0, or -errno with a message. */
int copy_open_input(struct copy *copy, const char *path, struct ob_error *err);
int copy_open_output(struct copy *copy, const char *path, struct ob_error *err);

/* How many of the size bytes at offset at are to be copied. */
size_t copy_length(const struct copy *copy, uint64_t at, size_t size);

/*
 * Takes the next bytes of the input, size at most, and fills up the last block. Returns how many
 * there are now, a multiple of block; 0: none.
 */
size_t copy_take(struct copy *copy, uint8_t *data, size_t size, size_t block);

/* Gives the output what belongs at offset at. Does nothing once something went wrong. */
void copy_give(struct copy *copy, const uint8_t *data, size_t length, uint64_t at);

/* Closes the file. 0, or -errno with a message if something went wrong, now or before. */
int copy_end(struct copy *copy, struct ob_error *err);

#endif
