/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tells a file or block device from all others, here and on other hosts, and stays the same
 * whatever it is called and wherever it is mounted: disks' serial numbers are made of it.
 *
 * A file keeps it as an extended attribute, so that it goes along when the image is moved or
 * restored with its attributes. The first time that it is opened for writing it is made: of the
 * file system's UUID, the inode and its generation. A block device has what the disk says of itself
 * (wwid, UUID, serial number). Where there is nothing of that kind, numbers have to do that only
 * this host gives out, and so its machine-id comes in.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "file.h"

static const char attribute[] = "user.outboard.identity";

enum { HEX_DIGITS = 16, TEXT_MAX = 256 };

/* Linux 6.9; older headers do not have it. */
struct file_system_uuid {
	uint8_t length;
	uint8_t uuid[16];
};
#define GET_FILE_SYSTEM_UUID _IOR(0x15, 0, struct file_system_uuid)

/* FNV-1a, and at the end its bits are spread (Fibonacci hashing): who uses some has all. */
struct digest {
	uint64_t sum;
};

static void digest_add(struct digest *digest, const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		digest->sum = (digest->sum ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
}

static void digest_add_number(struct digest *digest, uint64_t number)
{
	digest_add(digest, &number, sizeof(number));
}

static uint64_t digest_end(const struct digest *digest)
{
	return ((digest->sum ^ digest->sum >> 32) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
}

/* A short file of one line. False: it is not there, or empty. */
static bool read_line(const char *path, char *text, size_t room)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, room - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text[0];
}

static void add_host(struct digest *digest)
{
	char text[TEXT_MAX];

	if (read_line("/etc/machine-id", text, sizeof(text)))
		digest_add(digest, text, strlen(text));
}

/* What a disk says of itself, or the disk that a partition is of. */
static bool add_disk(struct digest *digest, const char *folder)
{
	static const char *const names[] = {
		"wwid",          "device/wwid", "dm/uuid",          "md/uuid",
		"device/serial", "serial",      "loop/backing_file"};
	char path[PATH_MAX], text[TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		if (!read_line(path, text, sizeof(text)))
			continue;
		digest_add(digest, names[i], strlen(names[i]));
		digest_add(digest, text, strlen(text));
		/* Which file it is only this host knows. */
		if (!strcmp(names[i], "loop/backing_file"))
			add_host(digest);
		return true;
	}
	return false;
}

static uint64_t device_identity(const struct stat *st)
{
	struct digest digest = {UINT64_C(0xcbf29ce484222325)};
	char folder[64], parent[80], path[80], partition[TEXT_MAX] = "";

	snprintf(folder, sizeof(folder), "/sys/dev/block/%u:%u", major(st->st_rdev),
	         minor(st->st_rdev));
	snprintf(path, sizeof(path), "%s/partition", folder);
	snprintf(parent, sizeof(parent), "%s/..", folder);
	if (read_line(path, partition, sizeof(partition)))
		digest_add(&digest, partition, strlen(partition));
	if (!add_disk(&digest, partition[0] ? parent : folder)) {
		add_host(&digest);
		digest_add_number(&digest, st->st_rdev);
	}
	return digest_end(&digest);
}

static void add_file_system(struct digest *digest, int fd, const struct stat *st)
{
	struct file_system_uuid uuid = {0};
	struct statfs fs = {0};

	if (!ioctl(fd, GET_FILE_SYSTEM_UUID, &uuid) && uuid.length &&
	    uuid.length <= sizeof(uuid.uuid)) {
		digest_add(digest, uuid.uuid, uuid.length);
		return;
	}
	/* Of some file systems it is a device's number, and of some it is zero. */
	add_host(digest);
	if (!fstatfs(fd, &fs) && (fs.f_fsid.__val[0] || fs.f_fsid.__val[1]))
		digest_add(digest, &fs.f_fsid, sizeof(fs.f_fsid));
	else
		digest_add_number(digest, st->st_dev);
}

/* An inode's number is used again after its file was removed; the generation tells them apart. */
static uint64_t place_identity(int fd, const struct stat *st)
{
	struct digest digest = {UINT64_C(0xcbf29ce484222325)};
	long generation = 0; /* some file systems write an int */

	add_file_system(&digest, fd, st);
	digest_add_number(&digest, st->st_ino);
	if (ioctl(fd, FS_IOC_GETVERSION, &generation))
		generation = 0;
	digest_add(&digest, &generation, sizeof(generation));
	return digest_end(&digest);
}

/* 0: it has none, or one that is not ours. */
static uint64_t kept_identity(int fd)
{
	char text[HEX_DIGITS + 1];
	ssize_t n = fgetxattr(fd, attribute, text, HEX_DIGITS);
	uint64_t identity = 0;

	if (n != HEX_DIGITS)
		return 0;
	text[n] = '\0';
	/* 16 digits fit. NOLINTBEGIN(cert-err34-c) */
	if (strspn(text, "0123456789abcdef") != HEX_DIGITS ||
	    sscanf(text, "%" SCNx64, &identity) != 1)
		return 0;
	/* NOLINTEND(cert-err34-c) */
	return identity;
}

uint64_t file_identity(struct file_node *node, const struct stat *st)
{
	const struct file_props *props = node->block.props;
	uint64_t identity = node->is_device ? device_identity(st) : kept_identity(node->fd);
	char text[HEX_DIGITS + 1];

	if (identity)
		return identity;
	identity = place_identity(node->fd, st);
	/* Where it cannot be kept, it is the same as long as the file stays where it is. */
	snprintf(text, sizeof(text), "%016" PRIx64, identity);
	if (!props->read_only && !node->block.inactive &&
	    fsetxattr(node->fd, attribute, text, HEX_DIGITS, XATTR_CREATE))
		log_debug(&node->block.log, "its identity cannot be kept with it: %s",
		          strerror(errno));
	return identity;
}
