/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file, outboard.conf(5): the options of the command line as sections, in the
 *form of QEMU's -readconfig.
 *
 *	[device "d0"]
 *	  driver = "nvme"
 *	  drive = "b0"
 *
 * A line is a section's head, a key with its value, a comment that begins with '#', or blank. A
 * value stands in double quotes, between which everything but a double quote stands for itself, or
 * is a word of letters, digits and some signs. The section of a model (nvme) is its short form.
 */
#ifndef CLI_CONFIG_FILE_H
#define CLI_CONFIG_FILE_H

#include "args.h"

enum { CONFIG_FILE_MAX = 16 * 1024 * 1024, CONFIG_LINE_MAX = 4096 };

/* Adds what a file says. 0 or -errno with a message that names file and line. */
int config_file_read(struct args *args, const char *path, struct ob_error *err);

/* The same from text of length bytes; name is for messages. */
int config_file_parse(struct args *args, const char *text, size_t length, const char *name,
                      struct ob_error *err);

#endif
