/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend=file: what is written goes to a file; nothing comes from it. A file may be behind a
 * server that does not answer, so it is opened and written by helper threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "internal.h"
#include "loop/closer.h"
#include "loop/offload.h"

struct file_props {
	char *path;
	bool append;
};

/* An opening. It outlives the chardev if that goes meanwhile. */
struct opening {
	struct loop_job job;
	struct ob_loop *loop;
	struct ob_chardev *chardev; /* NULL: it has gone */
	char *path;
	int flags;
	int fd; /* or -errno */
};

struct file_runtime {
	struct opening *opening;
};

static void opening_free(struct opening *opening)
{
	free(opening->path);
	free(opening);
}

static void work_open(struct loop_job *job)
{
	struct opening *opening = container_of(job, struct opening, job);

	/* A pipe without a reader is an error, and nothing to wait for. */
	opening->fd =
		open(opening->path,
	             opening->flags | O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0666);
	if (opening->fd < 0)
		opening->fd = -errno;
}

static void opened(struct loop_job *job)
{
	struct opening *opening = container_of(job, struct opening, job);
	struct ob_chardev *chardev = opening->chardev;
	int rc = opening->fd < 0 ? opening->fd : 0;
	struct ob_error err = {""};

	if (chardev) {
		((struct file_runtime *)chardev->runtime)->opening = NULL;
		if (!rc)
			rc = chardev_attach(chardev, -1, opening->fd);
		if (rc)
			ob_error_set(&err, rc, "cannot open %s: %s", opening->path, strerror(-rc));
		chardev_opened(chardev, rc, &err);
	} else if (!rc) {
		loop_close_elsewhere(opening->loop, opening->fd);
	}
	opening_free(opening);
}

static void orphaned(struct loop_job *job)
{
	struct opening *opening = container_of(job, struct opening, job);

	fd_close(&opening->fd);
	opening_free(opening);
}

static int file_open(struct ob_chardev *chardev, struct ob_error *err)
{
	const struct file_props *props = chardev->props;
	struct file_runtime *runtime = chardev->runtime;
	struct opening *opening;

	if (!props->path || !*props->path)
		return ob_error_set(err, -EINVAL, "backend=file needs path=");
	/* One that does not answer keeps its thread, also when nobody wants the chardev any more.
	 */
	if (loop_offload_count(chardev->loop, LOOP_LANE_STORAGE) >= LOOP_STORAGE_OPENINGS)
		return ob_error_set(
			err, -EBUSY,
			"'%s': too many calls to storage do not answer, and no more are "
			"made before some do",
			props->path);
	opening = calloc(1, sizeof(*opening));
	if (opening)
		opening->path = strdup(props->path);
	if (!opening || !opening->path) {
		free(opening);
		return ob_error_set(err, -ENOMEM, "out of memory");
	}
	opening->job = (struct loop_job){
		.work = work_open, .done = opened, .orphaned = orphaned, .lane = LOOP_LANE_STORAGE};
	opening->loop = chardev->loop;
	opening->chardev = chardev;
	opening->fd = -1;
	opening->flags = props->append ? O_APPEND : O_TRUNC;
	runtime->opening = opening;
	loop_offload(chardev->loop, &opening->job);
	return -EINPROGRESS;
}

static void file_close(struct ob_chardev *chardev)
{
	struct file_runtime *runtime = chardev->runtime;
	struct opening *opening = runtime->opening;

	if (opening && loop_offload_cancel(opening->loop, &opening->job))
		opening_free(opening);
	else if (opening)
		opening->chardev = NULL;
}

static void file_describe(const struct ob_chardev *chardev, char *text, size_t size)
{
	const struct file_props *props = chardev->props;

	snprintf(text, size, "file:%s", props->path);
}

static const struct ob_prop file_table[] = {
	{"path", OB_PROP_STRING, offsetof(struct file_props, path),
         .help = "the file; made if it is not there"},
	{"append", OB_PROP_BOOL, offsetof(struct file_props, append), .preset = "off",
         .help = "write behind what it has; off: what it had is gone"},
	{.name = NULL},
};

const struct chardev_driver chardev_file = {
	.name = "file",
	.summary = "what is written goes to a file",
	.props_size = sizeof(struct file_props),
	.runtime_size = sizeof(struct file_runtime),
	.props = file_table,
	.open = file_open,
	.close = file_close,
	.describe = file_describe,
};
