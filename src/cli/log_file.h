/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file of log lines (-D). It is opened again when it was moved away (logrotate): the new file
 * takes the place of the old one under the same descriptor, which all logs of the process hold.
 */
#ifndef CLI_LOG_FILE_H
#define CLI_LOG_FILE_H

#include "base/log.h"
#include "loop/loop.h"
#include "outboard/error.h"

struct log_file;

/* Has the log write to the file at path. NULL with a message. */
struct log_file *log_file_open(struct log *log, const char *path, struct ob_error *err);

/* Opens it again, without waiting for that: lines go to the old file until the new one is there. */
void log_file_reopen(struct log_file *file, struct ob_loop *loop);

/* Before the loop is freed. The descriptor stays open, for what is still to be said. May be NULL.
 */
void log_file_free(struct log_file *file);

#endif
