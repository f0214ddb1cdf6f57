/* SPDX-License-Identifier: BSD-3-Clause */
/* Going on in the background, and the file that says which process that is. */
#ifndef CLI_BACKGROUND_H
#define CLI_BACKGROUND_H

#include "outboard/error.h"

/*
 * Goes on in a child, in a session of its own; before anything was made that a child does not
 * inherit. The parent stays until background_ready(), and ends with status 0 then, or with the
 * child's if that ends before. In the child: returns a descriptor for background_ready(), or -errno
 * with a message in what is still the only process.
 */
int background_begin(struct ob_error *err);

/*
 * Lets the parent go. Standard input, output and errors lead nowhere from here on; the working
 * folder stays, so that relative paths keep their meaning. Takes ready over. 0 or -errno.
 */
int background_ready(int ready);

/*
 * A file with our process number, for as long as it is open: a second process that names the same
 * file is refused. Returns its descriptor, or -errno with a message.
 */
int pid_file_make(const char *path, struct ob_error *err);

/* Removes the file if it is still the one that was made, and closes it. fd may be -1. */
void pid_file_remove(const char *path, int fd);

#endif
