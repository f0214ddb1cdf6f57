/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file driver: a disk in a regular file or on a block device, through io_uring or a pool of
 * threads, with direct I/O where the file system has it. Only block_resize() changes its size.
 *
 * Semantics are those of a disk with a volatile write cache: a write is done when the kernel has
 * taken it, a flush is fdatasync, FUA is a write with RWF_DSYNC, or a write and fdatasync.
 * docs/data.md has what is promised.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "drivers.h"
#include "file.h"

/* The ring itself is made when the first request comes; who insists on it learns here. */
static int check_engine(const struct file_props *props, struct ob_error *err)
{
	unsigned kind = (props->sqpoll ? URING_SQPOLL : 0) | (props->iopoll ? URING_IOPOLL : 0);
	bool wanted = kind || props->fixed_buffers;
	const char *what = props->sqpoll   ? "sqpoll=on"
	                   : props->iopoll ? "iopoll=on"
	                   : wanted        ? "fixed-buffers=on"
	                                   : "aio=io_uring";
	int rc;

	if (wanted && props->aio == FILE_AIO_THREADS)
		return ob_error_set(err, -EINVAL,
		                    "%s can't be with aio=threads: it is a way to use io_uring",
		                    what);
	if (!wanted && props->aio != FILE_AIO_URING)
		return 0;
	rc = uring_probe(kind);
	if (!rc)
		return 0;
	return ob_error_set(err, rc, "%s can't be here (%s): aio=%s does without", what,
	                    strerror(-rc), wanted ? "io_uring alone" : "auto or aio=threads");
}

static int check_iopoll(const struct file_node *node, struct ob_error *err)
{
	off_t data = lseek(node->fd, 0, SEEK_DATA);
	uint64_t offset = data < 0 ? 0 : (uint64_t)data & ~(node->io_align - UINT64_C(1));
	int rc;

	if (!node->direct)
		return ob_error_set(err, -EINVAL,
		                    "iopoll=on needs direct I/O, which this file doesn't have");
	rc = uring_probe_iopoll(node->fd, offset, node->io_align);
	if (rc == -EOPNOTSUPP)
		return ob_error_set(err, rc,
		                    "iopoll=on can't be: the device behind this file has no queues "
		                    "to poll");
	return rc ? ob_error_set(err, rc, "iopoll=on can't be: %s", strerror(-rc)) : 0;
}

static void fill_info(struct file_node *node)
{
	const struct file_props *props = node->block.props;
	struct ob_block_info *info = &node->block.info;

	node->block.direct = node->direct;
	info->block_size = BLOCK_SECTOR;
	info->optimal_io = node->io_align > 4096 ? node->io_align : 4096;
	info->read_only = props->read_only;
	info->discard = node->can_punch && props->discard == FILE_DISCARD_UNMAP;
	/* A block device may forget or keep what was discarded, as it likes. */
	info->discard_zeroes = info->discard && !node->is_device;
	info->volatile_cache = !props->read_only;
}

static const char *file_place(const struct ob_block *block)
{
	const struct file_props *props = block->props;

	return props->filename;
}

static int file_open(struct ob_block *block, struct ob_error *err)
{
	struct file_node *node = container_of(block, struct file_node, block);
	const struct file_props *props = block->props;
	int rc;

	if (!props->filename || !*props->filename)
		return ob_error_set(err, -EINVAL, "filename= is missing: filename=disk.img");
	rc = check_engine(props, err);
	if (rc)
		return rc;
	rc = file_open_node(node, err);
	if (!rc && props->iopoll)
		rc = check_iopoll(node, err);
	if (rc) {
		file_unlock(node);
		fd_close(&node->fd);
		return ob_error_prefix(err, rc, "file '%s'", props->filename);
	}
	node->file = -1;
	node->iopoll = props->iopoll;
	file_queue_init(&node->held);
	file_queue_init(&node->waiting);
	list_init(&node->waits);
	file_sync_init(node);
	fill_info(node);
	return 0;
}

static void file_close(struct ob_block *block)
{
	struct file_node *node = container_of(block, struct file_node, block);

	file_unlock(node);
	fd_close(&node->fd);
}

static int file_attach(struct ob_block *block, struct ob_error *err)
{
	struct file_node *node = container_of(block, struct file_node, block);

	node->shared = file_shared_get(block->loop);
	return node->shared ? 0 : ob_error_set(err, -ENOMEM, "out of memory");
}

static void file_detach(struct ob_block *block)
{
	struct file_node *node = container_of(block, struct file_node, block);

	file_forget(node);
	file_shared_put(node->shared);
}

/* It has the size that it has: whoever made it larger says so with this. */
static int resize_device(const struct file_node *node, uint64_t size, struct ob_error *err)
{
	uint64_t has;

	if (ioctl(node->fd, BLKGETSIZE64, &has))
		return ob_error_set(err, -errno, "its size is not known: %s", strerror(errno));
	if (size > has)
		return ob_error_set(err, -EINVAL,
		                    "size=%" PRIu64 ": the block device has %" PRIu64
		                    " bytes: make it larger first",
		                    size, has);
	return 0;
}

static int file_resize(struct ob_block *block, uint64_t size, struct ob_error *err)
{
	struct file_node *node = container_of(block, struct file_node, block);

	if (size % node->io_align)
		return ob_error_set(err, -EINVAL,
		                    "size=%" PRIu64 ": direct I/O needs a multiple of %u; "
		                    "direct=off does not",
		                    size, node->io_align);
	if (node->is_device)
		return resize_device(node, size, err);
	if (size > INT64_MAX || ftruncate(node->fd, (off_t)size))
		return ob_error_set(err, size > INT64_MAX ? -EFBIG : -errno, "size=%" PRIu64 ": %s",
		                    size, strerror(size > INT64_MAX ? EFBIG : errno));
	return 0;
}

/* The descriptor may become another one. */
static void file_let_go(struct ob_block *block)
{
	file_forget(container_of(block, struct file_node, block));
}

static void file_inactivate(struct ob_block *block)
{
	file_give_up(container_of(block, struct file_node, block));
}

static int file_activate(struct ob_block *block, const atomic_bool *stop, struct ob_error *err)
{
	const struct file_props *props = block->props;
	int rc = file_take_back(container_of(block, struct file_node, block), stop, err);

	return rc ? ob_error_prefix(err, rc, "file '%s'", props->filename) : 0;
}

static const char *const on_off_auto[] = {
	[FILE_AUTO] = "auto", [FILE_ON] = "on", [FILE_OFF] = "off", NULL};
static const char *const aio_choices[] = {[FILE_AIO_AUTO] = "auto",
                                          [FILE_AIO_URING] = "io_uring",
                                          [FILE_AIO_THREADS] = "threads",
                                          NULL};
static const char *const discard_choices[] = {
	[FILE_DISCARD_UNMAP] = "unmap", [FILE_DISCARD_IGNORE] = "ignore", NULL};

static const char *const locking_choices[] = {
	[FILE_LOCKING_AUTO] = "auto", [FILE_LOCKING_ON] = "on", [FILE_LOCKING_OFF] = "off", NULL};

static const struct ob_prop file_table[] = {
	{"filename", OB_PROP_STRING, offsetof(struct file_props, filename),
         .help = "a regular file or a block device; required"},
	{"read-only", OB_PROP_BOOL, offsetof(struct file_props, read_only), .preset = "off",
         .help = "open for reading only"},
	{"direct", OB_PROP_ENUM, offsetof(struct file_props, direct), .preset = "auto",
         .choices = on_off_auto, .help = "bypass the host's page cache; auto: where that can be"},
	{"cache.direct", OB_PROP_ENUM, offsetof(struct file_props, direct), .choices = on_off_auto,
         .help = "another name for direct"},
	{"aio", OB_PROP_ENUM, offsetof(struct file_props, aio), .preset = "auto",
         .choices = aio_choices, .help = "how to do I/O; auto: io_uring, or threads where refused"},
	{"sqpoll", OB_PROP_BOOL, offsetof(struct file_props, sqpoll), .preset = "off",
         .help = "have a thread of the kernel look for requests, which takes a core while there "
                 "are "
                 "any"},
	{"iopoll", OB_PROP_BOOL, offsetof(struct file_props, iopoll), .preset = "off",
         .help = "poll the device for what is done, which takes a core meanwhile; needs a device "
                 "with queues for that"},
	{"fixed-buffers", OB_PROP_BOOL, offsetof(struct file_props, fixed_buffers), .preset = "off",
         .help = "register guest memory with io_uring where it is used, which pins it"},
	{"discard", OB_PROP_ENUM, offsetof(struct file_props, discard), .preset = "unmap",
         .choices = discard_choices,
         .help = "whether what the guest discards is given back; with -blockdev: ignore"},
	{"locking", OB_PROP_ENUM, offsetof(struct file_props, locking), .preset = "on",
         .choices = locking_choices,
         .help = "keep others from using the file; auto: where its file system has locks"},
	{.name = NULL},
};

const struct block_driver block_file = {
	.name = "file",
	.summary = "a regular file or a block device",
	.node_size = sizeof(struct file_node),
	.props_size = sizeof(struct file_props),
	.props = file_table,
	.may_sleep = true,
	.place = file_place,
	.open = file_open,
	.close = file_close,
	.attach = file_attach,
	.detach = file_detach,
	.submit = file_submit,
	.resize = file_resize,
	.forget = file_let_go,
	.inactivate = file_inactivate,
	.activate = file_activate,
};
