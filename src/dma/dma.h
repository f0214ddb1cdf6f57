/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DMA address space of one device: the memory that its client mapped with VFIO_USER_DMA_MAP, as
 * the device sees it. Map and unmap, look-up, pins, and access by messages to what was not shared.
 *
 * It knows no messages and no device: whoever owns it lends it a remote to reach memory without a
 * descriptor. Look-ups remember the last hit and otherwise search a sorted array.
 */
#ifndef DMA_DMA_H
#define DMA_DMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/dma.h"

struct dma_space;

enum dma_prot { DMA_READABLE = 1u << 0, DMA_WRITEABLE = 1u << 1 };

/*
 * How to reach memory without a descriptor. Both return 0 (done at once), -EINPROGRESS (done later
 * through dma_op_finish()) or -errno. The operation carries address, buffer, length and direction.
 */
struct dma_remote {
	int (*start)(struct dma_remote *remote, struct ob_dma_op *op);
	/* The operation must not be touched afterwards. */
	void (*cancel)(struct dma_remote *remote, struct ob_dma_op *op);
};

struct dma_waiter {
	void (*done)(struct dma_waiter *waiter);
	struct dma_waiter *next;
};

struct dma_map_info {
	uint64_t address, size;
	unsigned prot; /* enum dma_prot; 0 is allowed: nothing may be accessed */
	uint64_t offset; /* in fd */
	int fd;        /* -1: by message */
	bool mapped;   /* false: by message, or by pread / pwrite */
};

/* max_maps: dma_map() refuses more, with -ENOSPC. NULL on ENOMEM. */
struct dma_space *dma_space_new(unsigned max_maps);

/* All maps must be gone. */
void dma_space_free(struct dma_space *space);

/* Lends (or with NULL takes back) the remote. Taking back ends its operations with -ECANCELED. */
void dma_set_remote(struct dma_space *space, struct dma_remote *remote);

/*
 * Adds a map. Takes fd over on success only; a descriptor that cannot be mapped (mmap says ENODEV
 * or EACCES) is used with pread and pwrite. Returns 0, -EINVAL (size 0, address + size or offset +
 * size past 2^64, prot with unknown bits, fd smaller than offset + size where it is a file), -EEXIST
 * (overlaps another map), -ENOSPC (max_maps), -ENOMEM, or -errno of mmap.
 */
int dma_map(struct dma_space *space, uint64_t address, uint64_t size, unsigned prot, int fd,
	    uint64_t offset);

/*
 * Removes the map that has exactly this address and size. From now on no access reaches it, and
 * operations by message that touch it end with -EFAULT. Returns 0 when it is gone, -EINPROGRESS when
 * pins hold it: waiter->done is called when it is gone. -ENOENT.
 */
int dma_unmap(struct dma_space *space, uint64_t address, uint64_t size,
	      struct dma_waiter *waiter);

/* The same for all maps; never -ENOENT. */
int dma_unmap_all(struct dma_space *space, struct dma_waiter *waiter);

unsigned dma_map_count(const struct dma_space *space);

/* The map number index in order of address; false past the last. */
bool dma_map_at(const struct dma_space *space, unsigned index, struct dma_map_info *info);

/* As ob_dma_read() and so on say in outboard/dma.h. */
int dma_read(struct dma_space *space, uint64_t address, void *buffer, size_t length,
	     struct ob_dma_op *op);
int dma_write(struct dma_space *space, uint64_t address, const void *buffer, size_t length,
	      struct ob_dma_op *op);
void dma_cancel(struct dma_space *space, struct ob_dma_op *op);
void *dma_direct(struct dma_space *space, uint64_t address, size_t length, enum ob_dma_dir dir);

/* The remote says how an operation ended: calls op->done, unless it was cancelled. */
void dma_op_finish(struct dma_space *space, struct ob_dma_op *op, int status);

/*
 * Pins [address, address + length): appends the pieces of directly mapped memory that make it up to
 * iov[*count...], which has room for max. Pieces that follow each other in memory become one. Unmap
 * of what is pinned waits. Returns 0, -EFAULT (some byte not mapped for this direction), -ENOTSUP
 * (some byte is mapped, but not directly), -E2BIG; nothing is pinned after an error.
 */
int dma_pin(struct dma_space *space, uint64_t address, uint64_t length, enum ob_dma_dir dir,
	    struct iovec *iov, unsigned *count, unsigned max);

/* Undoes one dma_pin() of exactly this range. */
void dma_unpin(struct dma_space *space, uint64_t address, uint64_t length, enum ob_dma_dir dir);

#endif
