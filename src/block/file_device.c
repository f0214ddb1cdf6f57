/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a block device says of itself: its sectors, whether it can be written, and whether that has
 * to be in order. Its size is asked for each time (file_size()).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "file.h"

/* Such a device can be opened for writing, and each write fails. QEMU refuses it as well. */
static int check_writable(const struct file_node *node, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	int read_only = 0;

	if (props->read_only || ioctl(node->fd, BLKROGET, &read_only) || !read_only)
		return 0;
	return ob_error_set(err, -EACCES,
	                    "is a read-only device ('blockdev --getro %s'): read-only=on offers it "
	                    "as that",
	                    props->filename);
}

/* A partition has no queue of its own: it is that of the disk, one folder up. */
int file_device_check_zones(const char *folder, dev_t number, struct ob_error *err)
{
	static const char *const places[] = {"", "/.."};

	for (unsigned i = 0; i < 2; i++) {
		char path[128], text[32];
		cleanup_fd int fd = -1;
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%u:%u%s/queue/zoned", folder, major(number),
		         minor(number), places[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		if (n <= 0)
			continue;
		text[n] = '\0';
		text[strcspn(text, "\n")] = '\0';
		/* A device that is host-aware takes writes in any order. */
		if (strcmp(text, "host-managed") != 0)
			return 0;
		return ob_error_set(err, -EOPNOTSUPP,
		                    "is a zoned device (%s): its zones have to be written in "
		                    "order, which a disk's blocks are not",
		                    text);
	}
	return 0;
}

int file_device_look(struct file_node *node, dev_t number, struct ob_error *err)
{
	int sector = 0;
	int rc;

	if (ioctl(node->fd, BLKSSZGET, &sector))
		return ob_error_set(err, -errno, "its sectors are not known: %s", strerror(errno));
	node->sector = (uint32_t)sector;
	rc = check_writable(node, err);
	return rc ? rc : file_device_check_zones("/sys/dev/block", number, err);
}
