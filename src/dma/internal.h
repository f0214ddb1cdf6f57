/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this folder share: the table of maps and its look-up.
 *
 * Every access begins with dma_find(): the map of the last hit is tried first, and only then the
 * sorted array is searched. That map is never NULL (an empty one stands in), so that the fast path
 * is one subtraction and one comparison.
 */
#ifndef DMA_INTERNAL_H
#define DMA_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/checked.h"
#include "base/list.h"
#include "dma/dma.h"
#include "loop/offload.h"

enum dma_kind {
	DMA_DIRECT, /* mapped here */
	DMA_FILE,   /* by pread and pwrite */
	DMA_REMOTE, /* by messages */
};

/* What is known of a file before it is mapped. */
struct dma_file {
	uint64_t device, inode; /* together they are the file */
	uint64_t size;
	uint64_t granule; /* a mapping begins and ends at multiples of it */
	bool writeable;   /* it can be mapped so */
	bool known;       /* dma_fd_is_memory(): nothing that is done with it sleeps */
	bool alone;       /* each map of it has a mapping of its own */
};

enum { DMA_SMALL = 2 << 20 }; /* mappings that are unmapped in no time */

/* waste.c: something that may take for ever to be given back. */
struct dma_waste_item {
	void (*give_back)(struct dma_waste_item *item); /* on a helper thread; frees the item */
	struct dma_waste_item *next;
};

/* memory.c: a file of the client that is mapped here, for all maps that lie in it. */
struct dma_memory {
	struct dma_memory *next; /* in its bucket */
	struct dma_file file;
	uint64_t offset; /* in the file, of bytes[0] */
	uint8_t *bytes;
	size_t length;
	unsigned maps;
	bool asked;                 /* the client was, whether it has the same there: dma_doubt() */
	bool proven;                /* it has */
	bool unshared;              /* it has not: all is reached by messages */
	bool lost;                  /* the file was cut: guard.c put empty memory in its place */
	void *moved;                /* and moved what was there to here; or NULL */
	struct loop_job job;        /* gives it all back, */
	struct dma_waste_item item; /* or this does, if what it is of is not known */
	struct dma_usage *usage;
};

/* usage.c: what a space's mappings take of the process. */
struct dma_usage {
	atomic_uint users;
	struct dma_budget *budget; /* NULL: no bound */
	atomic_ulong mappings;
	_Atomic uint64_t bytes;
	atomic_uint closing; /* descriptors that wait to be closed by a helper thread */
};

struct dma_map {
	uint64_t address, size;
	uint8_t *bytes;       /* where address stands; NULL unless DMA_DIRECT */
	uint8_t prot, direct; /* enum dma_prot; direct: of these, what bytes can be used for */
	uint8_t kind;
	bool dying, held; /* held: one of the pins is dma_unmap()'s own */
	bool known;       /* of fd: see struct dma_file */
	unsigned pins;
	int fd; /* DMA_FILE; else -1 */
	uint64_t offset;
	struct dma_memory *memory; /* DMA_DIRECT; else NULL */
};

/*
 * Of an operation: with the remote, or on the bus. In the two last ones, done is about to be
 * called.
 */
enum dma_op_state {
	DMA_OP_IDLE,
	DMA_OP_UNDER_WAY,
	DMA_OP_ON_BUS,
	DMA_OP_FAULTED,
	DMA_OP_CANCELED,
};

struct dma_log;

struct dma_space {
	struct dma_map *last; /* the last hit */
	struct dma_remote *remote;
	struct dma_bus *bus;

	/*
	 * Sorted by address. The addresses stand apart from the maps, so that a search touches few
	 * cache lines.
	 */
	uint64_t *starts;
	struct dma_map **maps;
	unsigned count, room, max_maps, dying;
	unsigned fds, max_fds;                /* of maps that keep theirs */
	uint64_t rest_first, rest_last;       /* still to be unmapped; first > last: nothing is */
	unsigned gone, gone_first, gone_last; /* places in which `none` stands: see compact() */

	struct dma_log *log;     /* NULL: not logging */
	struct dma_log *old_log; /* see dma_log_reap() */

	/* Files mapped here: a table with chains, its size a power of 2, or 0 at first. */
	struct dma_memory **buckets;
	unsigned bucket_count, memories;
	bool unshared; /* what the client gives is not to be trusted: dma_memory_give_up() */
	struct dma_usage *usage;
	struct dma_waste *waste;
	struct ob_loop *loop; /* for what takes long; NULL: it is done at once */

	struct ob_dma_op under_way, ending;     /* heads of rings */
	struct dma_waiter *all_waiters, *woken; /* woken: done is about to be called */
	struct dma_map none;                    /* what last is when there was no hit */

	struct dma_listener *listener;
	struct dma_watcher *watcher;
	bool lost; /* some memory was, and the watcher has not been told */
	struct dma_space *guard_next, **guard_link;
};

/* log.c: notes a write. */
void dma_log_wrote(struct dma_log *log, uint64_t address, uint64_t length);

/* The place of the last map that begins at or before address; count if there is none. */
unsigned dma_search(const struct dma_space *space, uint64_t address);

/* The map that contains address, or NULL; not by the last hit. */
struct dma_map *dma_find_slow(struct dma_space *space, uint64_t address);

static inline struct dma_map *dma_find(struct dma_space *space, uint64_t address)
{
	struct dma_map *map = space->last;

	if (__builtin_expect(address - map->address < map->size, 1))
		return map;
	return dma_find_slow(space, address);
}

/*
 * The last hit if [address, address + length) lies wholly in it, is mapped here, and may be used
 * as want (enum dma_prot) says; else NULL. length 0 is NULL.
 */
static inline struct dma_map *dma_hit(const struct dma_space *space, uint64_t address,
                                      uint64_t length, unsigned want)
{
	struct dma_map *map = space->last;
	uint64_t offset = address - map->address;

	if (__builtin_expect(offset < map->size && length - 1 < map->size - offset &&
	                             (map->direct & want),
	                     1))
		return map;
	return NULL;
}

/* How much of [address, address + length) lies in map, which contains address. */
static inline uint64_t dma_piece(const struct dma_map *map, uint64_t address, uint64_t length)
{
	uint64_t room = map->size - (address - map->address);

	return length < room ? length : room;
}

static inline unsigned dma_prot_for(enum ob_dma_dir dir)
{
	return dir == OB_DMA_TO_CLIENT ? DMA_WRITEABLE : DMA_READABLE;
}

/*
 * Every write into the client's memory passes here, whichever way it takes: copies, files, messages
 * when they have arrived, failed or were given up, pointers that were given out, pins when they are
 * given back. log.c says why that is soon enough. length is not 0.
 */
static inline void dma_wrote(struct dma_space *space, uint64_t address, uint64_t length)
{
	if (__builtin_expect(space->log != NULL, 0))
		dma_log_wrote(space->log, address, length);
}

/*
 * Whether all of [address, address + length) can be accessed as want says: 0 or -EFAULT. *direct
 * says whether all of it is mapped here.
 */
int dma_survey(struct dma_space *space, uint64_t address, uint64_t length, unsigned want,
               bool *direct);

/*
 * Makes map's memory accessible through fd, which it takes over on success. address, size, prot and
 * offset are set. The errors of dma_map().
 */
int dma_backing_open(struct dma_space *space, struct dma_map *map, int fd);
void dma_backing_close(struct dma_space *space, struct dma_map *map);

/*
 * [offset, offset + size) of a file, mapped: an old mapping or a new one. 0, or the errors of
 * dma_map(). fd stays the caller's.
 */
int dma_memory_get(struct dma_space *space, const struct dma_file *file, int fd, uint64_t offset,
                   uint64_t size, struct dma_memory **memory);
/* For each get. With the last one it is unmapped, soon. */
void dma_memory_put(struct dma_space *space, struct dma_memory *memory);

/*
 * The client's writes don't appear in some memory: all maps of any that is not proven to be shared
 * are reached by messages from now on, and those that come as well.
 */
void dma_memory_give_up(struct dma_space *space);

/* Closes fd elsewhere: with what is known to be memory, this may free much of it. */
void dma_close(struct dma_space *space, int fd, bool known);

/* budget may be NULL, and is used until the last mapping has gone. NULL on ENOMEM. */
struct dma_usage *dma_usage_new(struct dma_budget *budget);
void dma_usage_drop(struct dma_usage *usage);
/* On the loop. 0 or -EDQUOT. What was taken keeps usage there until it was given back. */
int dma_usage_take(struct dma_usage *usage, unsigned mappings, uint64_t bytes);
/* From any thread. */
void dma_usage_give(struct dma_usage *usage, unsigned mappings, uint64_t bytes);
/* A descriptor waits to be closed by a helper thread, and was closed there. */
void dma_usage_begin_close(struct dma_usage *usage);
void dma_usage_end_close(struct dma_usage *usage);

/* waste.c. NULL on ENOMEM. What was added is given back after the drop as well. */
struct dma_waste *dma_waste_new(void);
void dma_waste_drop(struct dma_waste *waste); /* may be NULL */
void dma_waste_add(struct dma_waste *waste, struct ob_loop *loop, struct dma_waste_item *item);

/* All of length bytes by pread or pwrite: 0 or -EIO. */
int dma_file_read(const struct dma_map *map, uint64_t address, void *buffer, size_t length);
int dma_file_write(const struct dma_map *map, uint64_t address, const void *buffer, size_t length);

/* guard.c: the list of all spaces, for the handler to search. */
void dma_guard_add(struct dma_space *space);
void dma_guard_drop(struct dma_space *space);

/* Ends the operations under way that have still to touch [address, last] with -EFAULT. */
void dma_fault_ops(struct dma_space *space, uint64_t address, uint64_t last);

#endif
