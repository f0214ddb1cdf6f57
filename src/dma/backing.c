/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory behind a map: a descriptor that the client gave, mapped here where that is possible
 * and otherwise read and written at its offset.
 *
 * What is mapped must be there: touching a page past a file's end is SIGBUS. So a range that the
 * file does not cover is refused. (A file that is cut later: guard.c.)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/checked.h"
#include "internal.h"

/* Said now rather than by every access later. */
static int check_access_mode(int fd, unsigned prot)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags &= O_ACCMODE;
	if ((prot & DMA_READABLE) && flags == O_WRONLY)
		return -EACCES;
	if ((prot & DMA_WRITEABLE) && flags == O_RDONLY)
		return -EACCES;
	return 0;
}

static int check_size(int fd, uint64_t offset, uint64_t size)
{
	struct stat st;
	uint64_t there;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode))
		there = (uint64_t)st.st_size;
	else if (!S_ISBLK(st.st_mode))
		return 0; /* a character device knows what it maps */
	else if (ioctl(fd, BLKGETSIZE64, &there) < 0)
		return -errno;
	return range_within(offset, size, there) ? 0 : -EINVAL;
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

/* Maps the pages around [offset, offset + size). 0 or -errno. */
static int map_pages(struct dma_map *map, int fd)
{
	uint64_t granule = granule_of(fd);
	uint64_t begin = map->offset & ~(granule - 1);
	uint64_t end;
	int prot = 0;
	void *mapping;

	if (!checked_add(map->offset + map->size, granule - 1, &end))
		return -EINVAL;
	end &= ~(granule - 1);
	if (end > INT64_MAX)
		return -EINVAL;
	if (map->prot & DMA_READABLE)
		prot |= PROT_READ;
	if (map->prot & DMA_WRITEABLE)
		prot |= PROT_WRITE;
	mapping = mmap(NULL, end - begin, prot, MAP_SHARED, fd, (off_t)begin);
	if (mapping == MAP_FAILED)
		return -errno;
	/* The guest's memory is not for our core dumps. Best effort. */
	(void)madvise(mapping, end - begin, MADV_DONTDUMP);
	map->mapping = mapping;
	map->mapping_length = end - begin;
	map->bytes = (uint8_t *)mapping + (map->offset - begin);
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

int dma_backing_open(struct dma_map *map, int fd, bool may_keep)
{
	int rc = check_access_mode(fd, map->prot);

	if (rc == 0)
		rc = check_size(fd, map->offset, map->size);
	if (rc < 0)
		return rc;
	map->kind = DMA_FILE;
	map->fd = -1;
	if (map->prot == 0) { /* never touched */
		close(fd);
		return 0;
	}
	rc = map_pages(map, fd);
	if (rc == 0) {
		/* The mapping holds the file: no need to hold a descriptor for each map. */
		map->kind = DMA_DIRECT;
		map->direct = map->prot;
		close(fd);
		return 0;
	}
	if (rc == -ENODEV || rc == -EACCES || rc == -EPERM) {
		rc = may_keep ? probe_file(map, fd) : -EMFILE;
		if (rc == 0)
			map->fd = fd;
	}
	return rc;
}

void dma_backing_close(struct dma_map *map)
{
	if (map->mapping)
		munmap(map->mapping, map->mapping_length);
	if (map->fd >= 0)
		close(map->fd);
	map->mapping = NULL;
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
