/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a file node: is it something that a disk can be made of, how large is it, does it take
 * direct I/O and with which alignment, and does somebody else use it.
 *
 * Locks are OFD locks, which belong to the open file and not to the process, so that two nodes of
 * one process keep each other out just as two processes do. The bytes are chosen such that QEMU's
 * file driver understands them too: it marks what it does at bytes from 100 and what it doesn't
 * want others to do at bytes from 200, with bit 1 for writing.
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
	LOCK_WRITES = 101,     /* held by who writes */
	LOCK_NO_WRITERS = 201, /* held by who can't have others write */
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

static int in_use(struct ob_error *err)
{
	return ob_error_set(err, -EBUSY,
	                    "is in use by this machine (mounted, or part of a volume)");
}

static int open_failed(const struct file_props *props, int code, struct ob_error *err)
{
	if (code == -ENOENT)
		return ob_error_set(err, code, "does not exist: create it with 'truncate -s 1G %s'",
		                    props->filename);
	if (code == -EBUSY)
		return in_use(err);
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

/* Of the file or device itself, whatever its name: a number that is not 0. */
static uint64_t identity_of(const struct stat *st)
{
	uint64_t number = S_ISBLK(st->st_mode) ? st->st_rdev : st->st_ino;

	/* Fibonacci hashing spreads what are small numbers over all bits. */
	return ((number ^ (uint64_t)st->st_dev << 32) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
}

static int take_size(struct file_node *node, const struct stat *st, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	uint64_t size = (uint64_t)st->st_size;
	int sector = BLOCK_SECTOR;

	if (node->is_device &&
	    (ioctl(node->fd, BLKGETSIZE64, &size) || ioctl(node->fd, BLKSSZGET, &sector)))
		return ob_error_set(err, -errno, "its size is not known: %s", strerror(errno));
	if (!size && node->is_device)
		return ob_error_set(err, -ENOMEDIUM, "has no medium in it, or a size of 0");
	if (!size)
		return ob_error_set(err, -EINVAL, "is empty: 'truncate -s 1G %s' gives it a size",
		                    props->filename);
	if (size % BLOCK_SECTOR)
		return ob_error_set(err, -EINVAL,
		                    "its size of %" PRIu64 " bytes is not a multiple of %d: "
		                    "'truncate -s %%%d %s' makes it one",
		                    size, BLOCK_SECTOR, BLOCK_SECTOR, props->filename);
	node->block.info.size = size;
	node->block.info.identity = identity_of(st);
	node->sector = (uint32_t)sector;
	return 0;
}

/*
 * fstatfs() is about the file system that holds the name. That of a block device is devtmpfs, which
 * looks like any tmpfs and says nothing of the device.
 */
static bool is_in_memory(const struct file_node *node)
{
	struct statfs fs;

	return !node->is_device && !fstatfs(node->fd, &fs) &&
	       ((uint64_t)fs.f_type == TMPFS_MAGIC || (uint64_t)fs.f_type == RAMFS_MAGIC);
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
	node->in_memory = is_in_memory(node);
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

static int lock_bytes(int fd, int command, short type, off_t start, off_t length,
                      struct flock *found)
{
	*found = (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	return fcntl(fd, command, found) ? -errno : 0;
}

/*
 * Claims a block device for us, or gives it free: which of these, is a matter of how it was opened,
 * so the same descriptor is opened anew. Fails if a file system or the like has claimed it, or
 * another one of us.
 */
static int reopen(struct file_node *node, int exclusive, struct ob_error *err)
{
	int flags = fcntl(node->fd, F_GETFL) & (O_ACCMODE | O_DIRECT);
	cleanup_fd int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", node->fd);
	fd = open(path, flags | exclusive | O_CLOEXEC);
	if (fd < 0 && errno == EBUSY)
		return in_use(err);
	if (fd < 0 || dup3(fd, node->fd, O_CLOEXEC) < 0)
		return ob_error_set(err, -errno, "can't be claimed (%s): locking=off goes without",
		                    strerror(errno));
	return 0;
}

/* The engine has the open file that was, and would keep it open. */
static void forget_file(struct file_node *node)
{
	if (node->file >= 0)
		node->knows_file->remove_file(node->knows_file, node->file);
	node->file = -1;
	node->knows_file = NULL;
}

/* A writer locks all bytes. A reader marks that it can't have writers, then looks for one. */
static int lock_file(struct file_node *node, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	struct flock found;
	int rc;

	if (props->read_only) {
		rc = lock_bytes(node->fd, F_OFD_SETLK, F_RDLCK, LOCK_NO_WRITERS, 1, &found);
		if (!rc)
			rc = lock_bytes(node->fd, F_OFD_GETLK, F_WRLCK, LOCK_WRITES, 1, &found);
		/* A descriptor that is open for reading may ask about write locks, but not set
		 * them. */
		if (!rc && found.l_type != F_UNLCK)
			rc = -EAGAIN;
	} else {
		rc = lock_bytes(node->fd, F_OFD_SETLK, F_WRLCK, 0, 0, &found);
	}
	if (rc == -EAGAIN || rc == -EACCES)
		return ob_error_set(
			err, -EBUSY,
			props->read_only
				? "is in use by another writer (locked): read-only=on needs "
				  "everybody else to read only; locking=off takes the risk"
				: "is in use by another reader or writer (locked): several users "
				  "need read-only=on each; locking=off takes the risk");
	if (props->locking == FILE_LOCKING_AUTO &&
	    (rc == -ENOLCK || rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EINVAL)) {
		log_warn(&node->block.log, "its file system has no locks (%s): nobody is kept out",
		         strerror(-rc));
		return 0;
	}
	if (rc)
		return ob_error_set(err, rc, "can't be locked (%s): locking=off goes without",
		                    strerror(-rc));
	node->locked = true;
	return 0;
}

int file_lock(struct file_node *node, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	int rc;

	if (props->locking == FILE_LOCKING_OFF)
		return 0;
	if (node->is_device && !props->read_only) {
		forget_file(node);
		rc = reopen(node, O_EXCL, err);
		if (rc)
			return rc;
	}
	rc = lock_file(node, err);
	/* With its claim on a device: whoever has the lock may want that back. */
	if (rc)
		file_give_up(node);
	return rc;
}

/* The open file may live on in the kernel for a moment after its descriptor was closed. */
void file_unlock(struct file_node *node)
{
	struct flock unused;

	if (node->locked)
		lock_bytes(node->fd, F_OFD_SETLK, F_UNLCK, 0, 0, &unused);
	node->locked = false;
}

void file_give_up(struct file_node *node)
{
	const struct file_props *props = node->block.props;
	struct ob_error err;

	file_unlock(node);
	if (!node->is_device || props->read_only || props->locking == FILE_LOCKING_OFF)
		return;
	forget_file(node);
	if (reopen(node, 0, &err))
		log_error(&node->block.log, "cannot be given up: %s", err.message);
}

/* Punching a hole behind the end of the file changes nothing, and shows whether it can be done. */
static bool probe_punch(const struct file_node *node)
{
	const struct file_props *props = node->block.props;

	if (props->read_only)
		return false;
	return node->is_device || !fallocate(node->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                                     (off_t)node->block.info.size, 4096);
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
	rc = take_size(node, &st, err);
	if (!rc && !node->block.inactive)
		rc = file_lock(node, err);
	if (!rc)
		rc = choose_cache(node, err);
	if (rc) {
		file_unlock(node);
		fd_close(&node->fd);
		return rc;
	}
	node->can_zero = true;
	node->can_punch = probe_punch(node);
	return 0;
}

/* What stands in the page cache here may be older than what the other process wrote. */
int file_take_back(struct file_node *node, struct ob_error *err)
{
	uint64_t size = node->block.info.size;
	struct stat st;
	int rc;

	if (fstat(node->fd, &st))
		return ob_error_set(err, -errno, "its size is not known: %s", strerror(errno));
	rc = take_size(node, &st, err);
	if (!rc && node->block.info.size < size)
		rc = ob_error_set(err, -EINVAL,
		                  "has shrunk to %" PRIu64 " bytes, and the disk has %" PRIu64,
		                  node->block.info.size, size);
	node->block.info.size = size;
	if (!rc)
		rc = file_lock(node, err);
	if (!rc)
		posix_fadvise(node->fd, 0, 0, POSIX_FADV_DONTNEED);
	return rc;
}
