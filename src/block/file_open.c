/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a file node: is it something that a disk can be made of, how large is it, and does it
 * take direct I/O and with which alignment. file_claim.c sees to it that nobody else uses it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fd.h"
#include "drivers.h"
#include "file.h"

enum {
	MAX_ALIGN = 64 << 10,
};

static int check_type(mode_t mode, struct ob_error *err)
{
	const char *what = "something else";

	if (S_ISREG(mode) || S_ISBLK(mode))
		return 0;
	if (S_ISDIR(mode))
		what = "a directory";
	else if (S_ISFIFO(mode))
		what = "a FIFO";
	else if (S_ISCHR(mode))
		what = "a character device";
	else if (S_ISSOCK(mode))
		what = "a socket";
	return ob_error_set(err, -EINVAL, "is %s: expected a regular file or a block device", what);
}

static int open_failed(const struct file_props *props, int code, struct ob_error *err)
{
	if (code == -ENOENT)
		return ob_error_set(err, code, "does not exist: create it with 'truncate -s 1G %s'",
		                    props->filename);
	if (!props->read_only && !access(props->filename, R_OK))
		return ob_error_set(err, code,
		                    "can't be opened for writing (%s): read-only=on "
		                    "opens it for reading",
		                    strerror(-code));
	return ob_error_set(err, code, "can't be opened: %s", strerror(-code));
}

/* O_NONBLOCK, so that what turns out to be something else can't make us wait. */
static int open_file(const struct file_props *props, struct stat *st, struct ob_error *err)
{
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (props->read_only ? O_RDONLY : O_RDWR);
	cleanup_fd int fd = -1;
	int rc;

	if (stat(props->filename, st))
		return open_failed(props, -errno, err);
	rc = check_type(st->st_mode, err);
	if (rc)
		return rc;
	fd = open(props->filename, flags);
	if (fd < 0)
		return open_failed(props, -errno, err);
	if (fstat(fd, st))
		return open_failed(props, -errno, err);
	rc = check_type(st->st_mode, err);
	return rc ? rc : take_fd(&fd);
}

int file_size(const struct file_node *node, uint64_t *size, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	struct stat st = {0};

	if (node->is_device ? ioctl(node->fd, BLKGETSIZE64, size) : fstat(node->fd, &st))
		return ob_error_set(err, -errno, "its size is not known: %s", strerror(errno));
	if (!node->is_device)
		*size = (uint64_t)st.st_size;

	if (!*size && node->is_device)
		return ob_error_set(err, -ENOMEDIUM, "has no medium in it, or a size of 0");
	if (!*size)
		return ob_error_set(err, -EINVAL, "is empty: 'truncate -s 1G %s' gives it a size",
		                    props->filename);
	if (*size % BLOCK_SECTOR)
		return ob_error_set(err, -EINVAL,
		                    "its size of %" PRIu64 " bytes is not a multiple of %d: "
		                    "'truncate -s %%%d %s' makes it one",
		                    *size, BLOCK_SECTOR, BLOCK_SECTOR, props->filename);
	return 0;
}

static int look_at(struct file_node *node, const struct stat *st, struct ob_error *err)
{
	int rc = 0;

	node->sector = BLOCK_SECTOR;
	if (node->is_device)
		rc = file_device_look(node, st->st_rdev, err);
	return rc ? rc : file_size(node, &node->block.info.size, err);
}

/*
 * fstatfs() is about the file system that holds the name. That of a block device is devtmpfs, which
 * looks like any tmpfs and says nothing of the device.
 *
 * RWF_DSYNC is used where it is known to hold for direct I/O that is carried out asynchronously.
 * FUSE forgets it there: fuse_direct_IO() ends with -EIOCBQUEUED, and the sync that would follow is
 * left out (Linux 6.18). What other file systems do is not known. The same ones look at the page
 * cache when they are asked for data (SEEK_DATA); FUSE asks its server only, who has not seen it.
 */
static void look_at_file_system(struct file_node *node)
{
	struct statfs fs;
	uint32_t type;

	node->dsync = node->is_device;
	if (node->is_device || fstatfs(node->fd, &fs))
		return;
	type = (uint32_t)fs.f_type;
	node->in_memory = type == TMPFS_MAGIC || type == RAMFS_MAGIC;
	node->dsync = node->in_memory || type == EXT4_SUPER_MAGIC || type == XFS_SUPER_MAGIC ||
	              type == BTRFS_SUPER_MAGIC || type == F2FS_SUPER_MAGIC;
	node->knows_holes = node->dsync && type != RAMFS_MAGIC;
}

/* Reads the first block with each alignment that there may be. 0: none will do. */
static uint32_t probe_align(int fd)
{
	cleanup_free void *buffer = aligned_alloc(4096, 4096);

	for (uint32_t align = BLOCK_SECTOR; buffer && align <= 4096; align *= 8) {
		if (pread(fd, buffer, align, 0) > 0)
			return align;
	}
	return 0;
}

/* Sets io_align and mem_align for a descriptor that has O_DIRECT; false if it won't do. */
static bool find_align(struct file_node *node)
{
	uint32_t io = 0, mem = 0;

#ifdef STATX_DIOALIGN
	struct statx stx;

	if (!statx(node->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN) {
		io = stx.stx_dio_offset_align;
		mem = stx.stx_dio_mem_align;
		if (!io || !mem)
			return false;
	}
#endif
	if (!io)
		io = mem = node->is_device ? node->sector : probe_align(node->fd);
	if (!is_power_of_2(io) || !is_power_of_2(mem) || io > MAX_ALIGN || mem > MAX_ALIGN)
		return false;
	node->io_align = io;
	node->mem_align = mem;
	return true;
}

/* Why there is no direct I/O on this file, or NULL: there is. */
static const char *try_direct(struct file_node *node, int flags)
{
	if (fcntl(node->fd, F_SETFL, flags | O_DIRECT))
		return "its file system has no direct I/O";
	if (find_align(node)) {
		/* The last block of the file can't be written without making it longer. */
		if (node->block.info.size % node->io_align == 0)
			return NULL;
		node->io_align = node->mem_align = 1;
		fcntl(node->fd, F_SETFL, flags);
		return "its size is not a multiple of what direct I/O needs";
	}
	fcntl(node->fd, F_SETFL, flags);
	return "the alignment that direct I/O needs is not known";
}

/* Clears O_NONBLOCK on the way, which would keep io_uring from waiting for a disk. */
static int choose_cache(struct file_node *node, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	int flags = fcntl(node->fd, F_GETFL) & ~O_NONBLOCK;
	const char *why_not = NULL;

	node->io_align = node->mem_align = 1;
	look_at_file_system(node);
	fcntl(node->fd, F_SETFL, flags);
	if (props->direct == FILE_OFF || (props->direct == FILE_AUTO && node->in_memory))
		return 0;
	why_not = try_direct(node, flags);
	node->direct = !why_not;
	if (why_not && props->direct == FILE_ON)
		return ob_error_set(err, -EINVAL,
		                    "direct=on can't be: %s; direct=auto or direct=off "
		                    "uses the page cache",
		                    why_not);
	if (why_not)
		log_debug(&node->block.log, "uses the page cache: %s", why_not);
	return 0;
}

static int punch(int fd, off_t offset, off_t length)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) ? -errno
	                                                                                 : 0;
}

/*
 * 0 or -errno: whether holes can be punched. One behind the end of the file changes nothing, but
 * there is no room for it if the file is as large as the file system has them. Then a byte of a
 * hole that is there is made one again. Who else has the file may write to it just now, so that is
 * for claimed files only; where it can't be tried, it will show.
 */
static int probe_punch(const struct file_node *node)
{
	off_t end = (off_t)node->block.info.size, hole;
	int rc = punch(node->fd, end, end > INT64_MAX - 4096 ? INT64_MAX - end : 4096);

	if (rc == -EFBIG)
		rc = punch(node->fd, end, 1);
	if (rc != -EFBIG)
		return rc;
	hole = node->block.inactive ? -1 : lseek(node->fd, 0, SEEK_HOLE);
	return hole < 0 || hole >= end ? 0 : punch(node->fd, hole, 1);
}

static bool find_punch(struct file_node *node)
{
	const struct file_props *props = node->block.props;
	int rc;

	if (props->read_only)
		return false;
	rc = node->is_device ? 0 : probe_punch(node);
	if (rc && props->discard == FILE_DISCARD_UNMAP)
		log_info(&node->block.log,
		         "file '%s': discard is off, guests' discards free nothing: its file "
		         "system makes no holes in files: %s",
		         props->filename, strerror(-rc));
	return !rc;
}

int file_open_node(struct file_node *node, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	struct stat st;
	int rc;

	node->file = -1;
	node->fd = open_file(props, &st, err);
	if (node->fd < 0)
		return node->fd;
	node->is_device = S_ISBLK(st.st_mode);
	rc = look_at(node, &st, err);
	if (!rc && !node->block.inactive)
		rc = file_claim(node, &node->block.abandoned, err);
	if (!rc)
		rc = choose_cache(node, err);
	if (rc) {
		file_unlock(node);
		fd_close(&node->fd);
		return rc;
	}
	node->block.info.identity = file_identity(node, &st);
	node->can_zero = true;
	node->can_punch = find_punch(node);
	return 0;
}
