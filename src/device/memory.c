/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of BARs: that of their windows of kind OB_WINDOW_MEMORY.
 *
 * It is an anonymous file, so that a client can be given it. Its size is sealed: a client that
 * could cut it would have us run into SIGBUS. A client that is gone may still have it mapped. So
 * after each client that was given it, the file is replaced by a copy, at the same address: nothing
 * that an old client writes reaches the next one's device.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "internal.h"

void device_memory_init(struct ob_dev *dev)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		dev->memory[i].fd = -1;
}

/* A new file of this size, or -errno. */
static int make_file(uint64_t size)
{
	cleanup_fd int fd = memfd_create("outboard-bar", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	return take_fd(&fd);
}

static void *map_file(int fd, uint64_t size)
{
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return bytes == MAP_FAILED ? NULL : bytes;
}

/* The next window of memory after *at, or the first one if that is NULL. */
static const struct ob_window *next_memory(const struct ob_dev *dev, unsigned bar,
                                           const struct ob_window *at)
{
	const struct ob_bar *layout = &pci_layout(dev->pci)->bars[bar];
	unsigned i = at ? (unsigned)(at - layout->windows) + 1 : 0;

	for (; i < layout->nwindows; i++) {
		if (layout->windows[i].kind == OB_WINDOW_MEMORY)
			return &layout->windows[i];
	}
	return NULL;
}

int device_memory_alloc(struct ob_dev *dev, struct ob_error *err)
{
	const struct ob_layout *layout = pci_layout(dev->pci);

	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct device_memory *memory = &dev->memory[i];

		if (!next_memory(dev, i, NULL))
			continue;
		memory->size = layout->bars[i].size;
		memory->fd = make_file(memory->size);
		if (memory->fd >= 0)
			memory->bytes = map_file(memory->fd, memory->size);
		if (!memory->bytes)
			return ob_error_set(err, -ENOMEM, "no memory for BAR %u", i);
	}
	return 0;
}

void device_memory_free(struct ob_dev *dev)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (dev->memory[i].bytes)
			munmap(dev->memory[i].bytes, dev->memory[i].size);
		fd_close(&dev->memory[i].fd);
	}
}

void device_memory_reset(struct ob_dev *dev)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct ob_window *window = NULL;

		while ((window = next_memory(dev, i, window)))
			memset((uint8_t *)dev->memory[i].bytes + window->offset, 0, window->size);
	}
}

/* Holes stay holes. Where the file can't say what is a hole, all is copied. */
static void copy_data(const struct device_memory *from, uint8_t *to)
{
	off_t size = (off_t)from->size, begin = 0, end;

	while (begin < size) {
		begin = lseek(from->fd, begin, SEEK_DATA);
		if (begin < 0 && errno == ENXIO)
			return;
		end = begin < 0 ? -1 : lseek(from->fd, begin, SEEK_HOLE);
		if (end < 0) {
			begin = 0;
			end = size;
		}
		memcpy(to + begin, (const uint8_t *)from->bytes + begin, (size_t)(end - begin));
		begin = end;
	}
}

static int replace(struct device_memory *memory)
{
	cleanup_fd int fd = make_file(memory->size);
	void *copy = fd >= 0 ? map_file(fd, memory->size) : NULL;

	/* Better memory that can't be given to anybody than memory that somebody else has. */
	if (!copy) {
		fd_close(&fd);
		copy = mmap(NULL, memory->size, PROT_READ | PROT_WRITE,
		            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (copy == MAP_FAILED)
			return -errno;
	}
	copy_data(memory, copy);
	if (mremap(copy, memory->size, memory->size, MREMAP_MAYMOVE | MREMAP_FIXED,
	           memory->bytes) == MAP_FAILED) {
		int error = errno;

		munmap(copy, memory->size);
		return -error;
	}
	fd_close(&memory->fd);
	memory->fd = take_fd(&fd);
	memory->given = false;
	return 0;
}

void device_memory_revoke(struct ob_dev *dev)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		int rc = dev->memory[i].given ? replace(&dev->memory[i]) : 0;

		if (rc)
			log_fact(&dev->log, LOG_ERROR,
			         "BAR %u: cannot take its memory from the client that left: %s", i,
			         strerror(-rc));
		else if (dev->memory[i].bytes && dev->memory[i].fd < 0)
			log_fact(&dev->log, LOG_WARN, "BAR %u: no client can map it any more", i);
	}
}

/* What is left of [begin, end) when pages are not cut. False: nothing. */
static bool whole_pages(uint64_t begin, uint64_t end, struct device_area *area)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	begin = (begin + page - 1) & ~(page - 1);
	end &= ~(page - 1);
	if (begin >= end)
		return false;
	*area = (struct device_area){begin, end - begin};
	return true;
}

unsigned device_memory_areas(struct ob_dev *dev, unsigned bar, struct device_area *areas)
{
	const struct ob_window *window = NULL;
	unsigned count = 0;

	if (dev->memory[bar].fd < 0 || pci_layout(dev->pci)->bars[bar].flags & OB_BAR_IO)
		return 0;
	while (count < DEVICE_AREAS && (window = next_memory(dev, bar, window)))
		count += whole_pages(window->offset, window->offset + window->size, &areas[count]);
	return count;
}

int device_region_fd(struct ob_dev *dev, unsigned region)
{
	dev->memory[region].given = true;
	return dev->memory[region].fd;
}

void *ob_dev_memory(struct ob_dev *dev, unsigned bar, uint64_t offset)
{
	const struct ob_window *window;
	uint64_t rest;

	if (bar >= PCI_BARS || offset >= pci_layout(dev->pci)->bars[bar].size)
		return NULL;
	window = pci_window_find(dev->pci, bar, offset, &rest);
	if (!window || window->kind != OB_WINDOW_MEMORY)
		return NULL;
	return (uint8_t *)dev->memory[bar].bytes + offset;
}

uint8_t *device_own_memory(struct ob_dev *dev, unsigned bar, uint64_t *size)
{
	const struct ob_window *first = next_memory(dev, bar, NULL), *window, *last;

	if (!first)
		return NULL;
	for (window = last = first; window; window = next_memory(dev, bar, window))
		last = window;
	*size = last->offset + last->size - first->offset;
	return (uint8_t *)dev->memory[bar].bytes + first->offset;
}
