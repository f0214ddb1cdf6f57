/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory behind a map: a descriptor that the client gave, mapped here where that is possible
 * (memory.c) and otherwise read and written at its offset.
 *
 * What is mapped must be there: touching a page past a file's end is SIGBUS. So a range that the
 * file does not cover is refused. (A file that is cut later: guard.c.)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/checked.h"
#include "internal.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/*
 * The kernel looks at which functions the file's pages have, and at nothing that a file system
 * does: mm/memfd.c, memfd_file_seals_ptr(). Files of all tmpfs have seals, not only those of
 * memfd_create().
 */
bool dma_fd_is_memory(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

/* Said now rather than by every access later. */
static int check_access_mode(int fd, unsigned prot, int *mode)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	*mode = flags & O_ACCMODE;
	if ((prot & DMA_READABLE) && *mode == O_WRONLY)
		return -EACCES;
	if ((prot & DMA_WRITEABLE) && *mode == O_RDONLY)
		return -EACCES;
	return 0;
}

/* What a mapping's ends must be multiples of: huge pages for hugetlbfs. */
static uint64_t granule_of(int fd)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && is_power_of_2(fs.f_bsize) &&
	    (uint64_t)fs.f_bsize > page)
		return (uint64_t)fs.f_bsize;
	return page;
}

/* A file that is not known may have these calls wait for whoever serves it: see dma_map(). */
static int look_at_file(int fd, int mode, struct dma_file *file)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*file = (struct dma_file){
		.device = st.st_dev,
		.inode = st.st_ino,
		.size = (uint64_t)st.st_size,
		.granule = granule_of(fd),
		.known = seals >= 0,
		.writeable = mode == O_RDWR &&
	                     (seals < 0 || !(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))),
	};
	if (S_ISREG(st.st_mode))
		return 0;
	/* A character device knows by itself what it maps, and not all of it is one thing. */
	file->alone = true;
	file->size = UINT64_MAX;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &file->size) < 0)
		return -errno;
	return 0;
}

/* Whether fd can be accessed at an offset at all: pipes, sockets and the like can not. */
static int probe_file(const struct dma_map *map, int fd)
{
	uint8_t nothing;
	ssize_t rc;

	if (map->prot & DMA_READABLE)
		rc = pread(fd, &nothing, 0, (off_t)map->offset);
	else
		rc = pwrite(fd, &nothing, 0, (off_t)map->offset);
	return rc < 0 ? -errno : 0;
}

/* 0, or -errno: it cannot be mapped as the map needs it. */
static int map_memory(struct dma_space *space, struct dma_map *map, const struct dma_file *file,
                      int mode, int fd)
{
	int rc;

	if (mode == O_WRONLY || ((map->prot & DMA_WRITEABLE) && !file->writeable))
		return -EACCES;
	rc = dma_memory_get(space, file, fd, map->offset, map->size, &map->memory);
	if (rc)
		return rc;
	map->kind = map->memory->unshared ? DMA_REMOTE : DMA_DIRECT;
	map->direct = map->memory->unshared ? 0 : map->prot;
	map->bytes = map->memory->bytes + (map->offset - map->memory->offset);
	return 0;
}

/*
 * Whether the space may have one more descriptor that is closed by a helper. There memory that is
 * given back may be in the way for a long time, or a close that sleeps, and a client could pile
 * them up meanwhile.
 */
static bool may_close(const struct dma_space *space)
{
	return atomic_load(&space->usage->closing) < space->max_fds;
}

int dma_backing_open(struct dma_space *space, struct dma_map *map, int fd)
{
	struct dma_file file = {0};
	int mode = O_RDONLY;
	int rc = check_access_mode(fd, map->prot, &mode);

	if (!rc)
		rc = look_at_file(fd, mode, &file);
	if (!rc && !range_within(map->offset, map->size, file.size))
		rc = -EINVAL;
	if (rc)
		return rc;
	map->kind = DMA_FILE;
	map->known = file.known;
	if ((map->prot == 0 || !file.known) && !may_close(space))
		return -EMFILE;
	if (map->prot == 0) { /* never touched */
		dma_close(space, fd, file.known);
		return 0;
	}
	rc = map_memory(space, map, &file, mode, fd);
	if (!rc && file.known)
		close(fd); /* the mapping holds the file: nothing ends with this */
	else if (!rc)
		dma_close(space, fd, false);
	if (rc == -ENODEV || rc == -EACCES || rc == -EPERM) {
		rc = space->fds < space->max_fds && may_close(space) ? probe_file(map, fd)
		                                                     : -EMFILE;
		if (!rc)
			map->fd = fd;
	}
	return rc;
}

void dma_backing_close(struct dma_space *space, struct dma_map *map)
{
	if (map->memory)
		dma_memory_put(space, map->memory);
	if (map->fd >= 0)
		dma_close(space, map->fd, map->known);
	map->memory = NULL;
	map->bytes = NULL;
	map->fd = -1;
}

int dma_file_read(const struct dma_map *map, uint64_t address, void *buffer, size_t length)
{
	off_t at = (off_t)(map->offset + (address - map->address));
	uint8_t *to = buffer;

	while (length > 0) {
		ssize_t n = pread(map->fd, to, length, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		to += n;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

int dma_file_write(const struct dma_map *map, uint64_t address, const void *buffer, size_t length)
{
	off_t at = (off_t)(map->offset + (address - map->address));
	const uint8_t *from = buffer;

	while (length > 0) {
		ssize_t n = pwrite(map->fd, from, length, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		from += n;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}
