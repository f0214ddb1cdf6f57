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

struct dma_budget;
struct dma_space;
struct ob_loop;

enum dma_prot { DMA_READABLE = 1u << 0, DMA_WRITEABLE = 1u << 1 };

/*
 * How to reach memory without a descriptor. start() is asked for one piece of an operation:
 *
 *	piece bytes, between address + transferred in the client's memory
 *	and buffer + transferred here; to the client if write is set, else from it
 *
 * It returns 0 (done at once), -EINPROGRESS (done later: dma_op_finish()), or -errno, which ends
 * the operation. A remote that cannot take the whole piece in one go lowers op->piece (not to 0)
 * before it returns, and is asked for the rest afterwards. An operation has one piece under way at
 * a time, and its pieces follow in order of address; different operations run side by side. A
 * piece lies in one map.
 *
 * While a piece is under way, message_id and owner of the operation are the remote's to use, and
 * piece, transferred, address, buffer, length and write are for it to read; the rest belongs to the
 * space. start() may be called from within dma_op_finish() (the next piece), and neither function
 * may call anything of this header for the same space.
 */
struct dma_remote {
	int (*start)(struct dma_remote *remote, struct ob_dma_op *op);
	/*
	 * The piece under way is not wanted any more: its operation was cancelled, its memory was
	 * unmapped, or the remote is taken back. The operation must not be touched afterwards, and
	 * dma_op_finish() not be called for it.
	 */
	void (*cancel)(struct dma_remote *remote, struct ob_dma_op *op);
};

/*
 * The bus that the device sits on: where an address leads that the client has not mapped. find()
 * says how many bytes from address on, at most length, lie together there and can be accessed as
 * want (enum dma_prot) says; 0: none. at is asked for such pieces, as a remote; it may find that
 * what was there is gone (-EFAULT). What it moves is not the client's memory and is not logged.
 */
struct dma_bus {
	uint64_t (*find)(struct dma_bus *bus, uint64_t address, uint64_t length, unsigned want);
	struct dma_remote at;
};

/*
 * done is called from within the dma_unpin() that gave the last pin back, as the last thing that it
 * does: the map is gone by then, and done may call anything of this header. A caller that is not
 * prepared for that position defers its work to the loop.
 */
struct dma_waiter {
	void (*done)(struct dma_waiter *waiter);
	uint64_t bytes; /* what the unmap removes: the sum of its maps' sizes */
	struct dma_waiter *next;
};

/*
 * lost(): the client cut the file behind a map, and the device touched what is gone; see
 * dma/guard.h. The first such map. unshared(): what the client writes does not appear in a map, see
 * dma_doubt(); may be NULL. Called from the event loop; may call anything of this header.
 */
struct dma_watcher {
	void (*lost)(struct dma_watcher *watcher, uint64_t address, uint64_t size);
	void (*unshared)(struct dma_watcher *watcher, uint64_t address, uint64_t size);
};

/*
 * Is told what memory of the client is mapped here: length bytes at base, whole pages, for one map
 * or many; and before they go, when nothing pins them any more. Must not call anything of this
 * header.
 */
struct dma_listener {
	void (*mapped)(struct dma_listener *listener, void *base, size_t length);
	void (*unmapping)(struct dma_listener *listener, void *base);
};

struct dma_map_info {
	uint64_t address, size;
	unsigned prot;   /* enum dma_prot; 0 is allowed: nothing may be accessed */
	uint64_t offset; /* in the descriptor that the client gave */
	int fd;          /* for pread / pwrite; -1: mapped, or by message */
	bool mapped;     /* false: by message, or by pread / pwrite */
	bool dying;      /* unmapped, but pinned still */
};

/* NULL on ENOMEM. max_maps as in dma_set_limits(); there is no bound on descriptors. */
struct dma_space *dma_space_new(unsigned max_maps);

/*
 * From now on dma_map() refuses more than max_maps maps (-ENOSPC), and more than max_fds maps that
 * keep their descriptor, or descriptors that are still to be closed (-EMFILE). What is there stays.
 */
void dma_set_limits(struct dma_space *space, unsigned max_maps, unsigned max_fds);

/* All maps must be gone. */
void dma_space_free(struct dma_space *space);

/*
 * What takes long is done by the loop's helpers from now on: unmapping and closing. Maps are gone
 * when dma_unmap() and the others say so; the process may have the memory for a moment longer.
 * NULL, as at first: it is done at once.
 */
void dma_set_loop(struct dma_space *space, struct ob_loop *loop);

/*
 * How many mappings clients' memory may take in the process, and how many bytes of address space,
 * shared out among the spaces that have this budget: dma_map() says -EDQUOT to one that has its
 * share. Nothing is mapped when it is set. A space without one has no bound. The budget is dropped
 * by its maker, and goes when its last user has. 0 or -ENOMEM.
 */
int dma_set_budget(struct dma_space *space, struct dma_budget *budget);
struct dma_budget *dma_budget_new(unsigned long mappings, uint64_t bytes); /* NULL on ENOMEM */
void dma_budget_drop(struct dma_budget *budget);                           /* may be NULL */

/* Of what the kernel lets this process have, with a reserve for all else. */
struct dma_budget *dma_budget_of_process(void);

/*
 * Whether fd is memory: of memfd_create(), tmpfs or hugetlbfs. Nothing that is done with such a
 * file waits for anybody, and asking does not either. With any other descriptor, whoever serves it
 * (a network, a FUSE of the client's) may have each call and each access sleep, for ever.
 */
bool dma_fd_is_memory(int fd);

/* NULL: nobody wants to know. */
void dma_set_watcher(struct dma_space *space, struct dma_watcher *watcher);

/* NULL: nobody listens. Nothing is mapped. */
void dma_set_listener(struct dma_space *space, struct dma_listener *listener);

/*
 * Lends (or with NULL takes back) the remote. Taking back ends the operations under way: cancel()
 * is called for each, then done with -ECANCELED, all before this returns.
 */
void dma_set_remote(struct dma_space *space, struct dma_remote *remote);
bool dma_has_remote(const struct dma_space *space);

/* Puts the device on a bus, or with NULL takes it off: no operation is under way there then. */
void dma_set_bus(struct dma_space *space, struct dma_bus *bus);

/*
 * Adds a map. fd is -1 for memory that is reached by messages. Takes fd over on success only (and
 * closes it then, unless it is needed further). Nothing needs to be aligned to pages. Maps of the
 * same file share one mapping. A descriptor that cannot be mapped (mmap says ENODEV, EACCES or
 * EPERM) is used with pread and pwrite. Where dma_fd_is_memory() says no, this may sleep, now and
 * with each access.
 *
 * Returns 0, -EINVAL (size 0, address + size or offset + size past 2^64, prot with unknown bits, fd
 * smaller than offset + size where it is a file or a block device), -EACCES (fd is not open for
 * what prot says), -ESPIPE (fd can neither be mapped nor read at an offset), -EEXIST (overlaps
 * another map, perhaps a dying one), -ENOSPC (max_maps), -EMFILE (max_fds), -EDQUOT (see
 * dma_set_budget()), -ENOMEM, or -errno of mmap.
 */
int dma_map(struct dma_space *space, uint64_t address, uint64_t size, unsigned prot, int fd,
            uint64_t offset);

/*
 * Removes all maps that lie in [address, address + size), as VFIO does: none is fine as well. From
 * then on no access reaches them, and operations by message that have still to touch them end with
 * -EFAULT: their done is called before this returns, and must not map or unmap. Returns
 *
 *	0             they are gone; waiter->bytes says how much that was
 *	-EINPROGRESS  pins hold some of them, or of those removed before ("dying"): waiter->done is
 *	              called when no map is dying any more
 *	-EAGAIN       there are many, and only DMA_UNMAP_BATCH of them, from the end on, are gone:
 *	              the caller goes on with dma_unmap_rest() when others had their turn, and
 *	              maps and unmaps nothing before; waiter->bytes grows
 *	-EINVAL       the range cuts a map, or is empty, or ends past 2^64: nothing is removed
 */
enum { DMA_UNMAP_BATCH = 256 };

int dma_unmap(struct dma_space *space, uint64_t address, uint64_t size, struct dma_waiter *waiter);

/* Goes on after -EAGAIN; returns 0, -EINPROGRESS or -EAGAIN. Waits for all that is dying. */
int dma_unmap_rest(struct dma_space *space, struct dma_waiter *waiter);

/*
 * The same for all maps, never -EINVAL. After -EAGAIN it may be called again as well. Without a
 * waiter nobody is told of the end of a wait.
 */
int dma_unmap_all(struct dma_space *space, struct dma_waiter *waiter);

/* Dying maps count until they are gone. */
unsigned dma_map_count(const struct dma_space *space);

/* How many of the maps keep a descriptor. */
unsigned dma_fd_count(const struct dma_space *space);

/* The map number index in order of address; false past the last. */
bool dma_map_at(struct dma_space *space, unsigned index, struct dma_map_info *info);

/*
 * As ob_dma_read() and so on say in outboard/dma.h. What is not mapped is looked for on the bus, if
 * there is one; it is never direct. Without a remote, memory that is reached by
 * messages counts as not mapped (-EFAULT); memory by descriptor works.
 */
int dma_read(struct dma_space *space, uint64_t address, void *buffer, size_t length,
             struct ob_dma_op *op);
int dma_write(struct dma_space *space, uint64_t address, const void *buffer, size_t length,
              struct ob_dma_op *op);
void dma_cancel(struct dma_space *space, struct ob_dma_op *op);
int dma_doubt(struct dma_space *space, uint64_t address, void *buffer, size_t length,
              struct ob_dma_op *op);
void *dma_direct(struct dma_space *space, uint64_t address, size_t length, enum ob_dma_dir dir);

/*
 * The remote says how the piece under way ended: 0 goes on with the rest of the operation, -errno
 * ends it. Calls op->done at the end, as the last thing. Nothing happens if no piece is under way.
 */
void dma_op_finish(struct dma_space *space, struct ob_dma_op *op, int status);

/*
 * Pins [address, address + length): appends the pieces of directly mapped memory that make it up to
 * iov[*count...], which has room for max. Pieces that follow each other in memory become one, also
 * with iov[*count - 1]. Unmap of what is pinned waits. Returns 0, -EFAULT (some byte not mapped for
 * this direction), -ENOTSUP (some byte is mapped, but not directly), -E2BIG; nothing is pinned
 * after an error.
 */
int dma_pin(struct dma_space *space, uint64_t address, uint64_t length, enum ob_dma_dir dir,
            struct iovec *iov, unsigned *count, unsigned max);

/*
 * The log of what the device writes. page_size is a hint, and becomes what is used: a power of 2
 * from 4096 on. ranges are sorted by this, in place; none of them means all that is mapped, now or
 * later. 0, -EBUSY (logging already, or the last log was not reaped), -EINVAL (not in whole pages,
 * or overlapping), -EOVERFLOW, -E2BIG (more than DMA_LOG_RANGES, which is what Linux takes),
 * -ENOSPC (more than DMA_LOG_BYTES of bitmaps), -ENOMEM.
 */
enum { DMA_LOG_RANGES = 256, DMA_LOG_BYTES = 64 << 20 };

struct dma_log_range {
	uint64_t address, length;
};
int dma_log_start(struct dma_space *space, uint64_t *page_size, struct dma_log_range *ranges,
                  unsigned count);
void dma_log_stop(struct dma_space *space); /* also if it is not on */
bool dma_log_active(const struct dma_space *space);

/*
 * Gives back some of the memory of a log that was stopped. Whether that was all: if not, the caller
 * goes on when others had their turn.
 */
bool dma_log_reap(struct dma_space *space);

/*
 * Sets the bits of pages (of page_size, a power of 2, counted from address) that were written since
 * they were last reported, and forgets them. length is not 0, and address + length at most 2^64.
 * bits is as long as they need, in whole words, and zeroed. 0; -EAGAIN: there is more, for another
 * call with the same struct when others had their turn; or -EINVAL: not logging.
 */
struct dma_log_report {
	uint64_t address, length, page_size;
	uint64_t *bits;
	uint64_t done; /* bytes; 0 at first */
};
int dma_log_report(struct dma_space *space, struct dma_log_report *asked);

/* Undoes one dma_pin() of exactly this range. May call waiters: see struct dma_waiter. */
void dma_unpin(struct dma_space *space, uint64_t address, uint64_t length, enum ob_dma_dir dir);

#endif
