/* SPDX-License-Identifier: BSD-3-Clause */
/* See log_file.h. A file system may not answer, so that a helper thread opens the file. */
#include "log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "loop/offload.h"

struct log_file {
	struct loop_job job;
	struct ob_loop *loop;
	struct log *log;
	char *path;
	bool opening, again; /* under way; and once more after it */
	int fd;              /* what was opened, or -errno */
};

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);

	return fd < 0 ? -errno : fd;
}

static void work(struct loop_job *job)
{
	struct log_file *file = container_of(job, struct log_file, job);

	file->fd = open_file(file->path);
}

static void done(struct loop_job *job)
{
	struct log_file *file = container_of(job, struct log_file, job);
	int rc = file->fd;

	file->opening = false;
	if (rc >= 0) {
		rc = dup3(file->fd, file->log->fd, O_CLOEXEC) < 0 ? -errno : 0;
		fd_close(&file->fd);
	}
	if (rc)
		log_error(file->log, "-D %s: %s: log lines go where they went", file->path,
		          strerror(-rc));
	else
		log_info(file->log, "log file opened again");
	if (file->again)
		log_file_reopen(file, file->loop);
}

static void free_file(struct log_file *file)
{
	free(file->path);
	free(file);
}

/* log_file_free() was called before the loop ended. */
static void orphaned(struct loop_job *job)
{
	struct log_file *file = container_of(job, struct log_file, job);

	if (file->fd >= 0)
		close(file->fd);
	free_file(file);
}

void log_file_reopen(struct log_file *file, struct ob_loop *loop)
{
	file->again = file->opening;
	if (file->opening)
		return;
	file->opening = true;
	file->loop = loop;
	loop_offload(loop, &file->job);
}

struct log_file *log_file_open(struct log *log, const char *path, struct ob_error *err)
{
	struct log_file *file = calloc(1, sizeof(*file));
	int fd = -ENOMEM;

	if (file)
		file->path = strdup(path);
	if (file && file->path)
		fd = open_file(path);
	if (fd < 0) {
		ob_error_set(err, fd, "-D %s: %s", path, strerror(-fd));
		log_file_free(file);
		return NULL;
	}
	file->job = (struct loop_job){
		.work = work,
		.done = done,
		.orphaned = orphaned,
		.lane = LOOP_LANE_STORAGE,
	};
	file->log = log;
	log->fd = fd;
	return file;
}

void log_file_free(struct log_file *file)
{
	/* A helper thread may still be waiting for the file system; the process ends without it. */
	if (file && !file->opening)
		free_file(file);
}
