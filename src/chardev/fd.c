/* SPDX-License-Identifier: BSD-3-Clause */
/* backend=fd: a descriptor that was inherited. backend=null: nothing at all. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "internal.h"

struct fd_props {
	uint32_t fd;
};

static int fd_open(struct ob_chardev *chardev, struct ob_error *err)
{
	const struct fd_props *props = chardev->props;
	int fd = (int)props->fd, flags = fcntl(fd, F_GETFL), mode = flags & O_ACCMODE, rc;

	if (flags < 0)
		return ob_error_set(err, -EBADF, "fd=%d: the descriptor is not open", fd);
	if (!fd_is_inherited(fd))
		return ob_error_set(err, -EBUSY, "fd=%d: the descriptor is in use in this process",
		                    fd);
	rc = chardev_attach_foreign(chardev, mode == O_WRONLY ? -1 : fd,
	                            mode == O_RDONLY ? -1 : fd);
	return rc ? ob_error_set(err, rc, "fd=%d: %s", fd, strerror(-rc)) : 0;
}

static void fd_describe(const struct ob_chardev *chardev, char *text, size_t size)
{
	const struct fd_props *props = chardev->props;

	snprintf(text, size, "fd:%u", props->fd);
}

static void nothing(struct ob_chardev *chardev)
{
	(void)chardev;
}

static const struct ob_prop fd_table[] = {
	{"fd", OB_PROP_UINT32, offsetof(struct fd_props, fd), .max = INT32_MAX, .preset = "0",
         .help = "number of an inherited descriptor; it is used in the directions that it has"},
	{.name = NULL},
};

const struct chardev_driver chardev_fd = {
	.name = "fd",
	.summary = "an inherited descriptor",
	.props_size = sizeof(struct fd_props),
	.props = fd_table,
	.open = fd_open,
	.close = nothing,
	.describe = fd_describe,
};

static int null_open(struct ob_chardev *chardev, struct ob_error *err)
{
	(void)chardev;
	(void)err;
	return 0;
}

const struct chardev_driver chardev_null = {
	.name = "null",
	.summary = "takes everything and gives nothing",
	.open = null_open,
	.close = nothing,
};
