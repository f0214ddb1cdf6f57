/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of maps: adding, removing, looking up, and pinning.
 *
 * A map that is unmapped while it is pinned stays in the table, dying: nothing can be accessed
 * through it any more and nothing can be mapped in its place, but the pins' ranges still find it.
 * With its last pin it goes, and whoever waits for that is called.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

enum { FIRST_ROOM = 16 };

struct dma_space *dma_space_new(unsigned max_maps)
{
	struct dma_space *space = calloc(1, sizeof(*space));

	if (!space)
		return NULL;
	space->usage = dma_usage_new(NULL);
	space->waste = dma_waste_new();
	if (!space->usage || !space->waste) {
		dma_usage_drop(space->usage);
		dma_waste_drop(space->waste);
		free(space);
		return NULL;
	}
	dma_set_limits(space, max_maps, UINT_MAX);
	space->last = &space->none;
	space->held_first = UINT64_MAX;
	space->under_way.next = space->under_way.prev = &space->under_way;
	space->ending.next = space->ending.prev = &space->ending;
	dma_guard_add(space);
	return space;
}

void dma_set_limits(struct dma_space *space, unsigned max_maps, unsigned max_fds)
{
	space->max_maps = max_maps;
	space->max_fds = max_fds;
}

void dma_set_loop(struct dma_space *space, struct ob_loop *loop)
{
	space->loop = loop;
}

int dma_set_budget(struct dma_space *space, struct dma_budget *budget)
{
	struct dma_usage *usage = dma_usage_new(budget);

	if (!usage)
		return -ENOMEM;
	dma_usage_drop(space->usage);
	space->usage = usage;
	return 0;
}

void dma_space_free(struct dma_space *space)
{
	if (!space)
		return;
	assert(space->count == 0);
	assert(space->under_way.next == &space->under_way);
	dma_guard_drop(space);
	dma_log_stop(space);
	while (!dma_log_reap(space))
		;
	dma_usage_drop(space->usage);
	dma_waste_drop(space->waste);
	free(space->buckets);
	free(space->starts);
	free(space->maps);
	free(space);
}

void dma_set_listener(struct dma_space *space, struct dma_listener *listener)
{
	space->listener = listener;
}

void dma_set_watcher(struct dma_space *space, struct dma_watcher *watcher)
{
	space->watcher = watcher;
}

/*
 * Halves what is left without a branch that could be guessed wrong, and fetches both places that
 * may be asked next: among many maps it is memory that takes the time.
 */
unsigned dma_search(const struct dma_space *space, uint64_t address)
{
	const uint64_t *at = space->starts;
	unsigned left = space->count;

	if (!left || *at > address)
		return space->count;
	while (left > 1) {
		unsigned half = left / 2, next = (left - half) / 2;

		__builtin_prefetch(at + next);
		__builtin_prefetch(at + half + next);
		at += half & -(unsigned)(at[half] <= address);
		left -= half;
	}
	return (unsigned)(at - space->starts);
}

struct dma_map *dma_find_slow(struct dma_space *space, uint64_t address)
{
	unsigned index = dma_search(space, address);
	struct dma_map *map;

	if (index == space->count)
		return NULL;
	map = space->maps[index];
	if (address - map->address >= map->size)
		return NULL;
	space->last = map;
	return map;
}

static int make_room(struct dma_space *space)
{
	unsigned room = space->room ? space->room * 2 : FIRST_ROOM;
	uint64_t *starts;
	struct dma_map **maps;

	if (space->count < space->room)
		return 0;
	starts = reallocarray(space->starts, room, sizeof(*starts));
	if (!starts)
		return -ENOMEM;
	space->starts = starts;
	maps = reallocarray(space->maps, room, sizeof(struct dma_map *));
	if (!maps)
		return -ENOMEM;
	space->maps = maps;
	space->room = room;
	return 0;
}

/* Where a map of this range belongs in the table. -EEXIST where it overlaps one. */
static int place_for(const struct dma_space *space, uint64_t address, uint64_t size,
                     unsigned *place)
{
	unsigned before = dma_search(space, address);
	unsigned after = before == space->count ? 0 : before + 1;

	if (before < space->count) {
		const struct dma_map *map = space->maps[before];

		if (ranges_overlap(address, size, map->address, map->size))
			return -EEXIST;
	}
	if (after < space->count && space->starts[after] - address < size)
		return -EEXIST;
	*place = after;
	return 0;
}

static void insert(struct dma_space *space, unsigned place, struct dma_map *map)
{
	size_t behind = space->count - place;

	memmove(&space->starts[place + 1], &space->starts[place], behind * sizeof(uint64_t));
	memmove(&space->maps[place + 1], &space->maps[place], behind * sizeof(struct dma_map *));
	space->starts[place] = map->address;
	space->maps[place] = map;
	space->count++;
}

int dma_map(struct dma_space *space, uint64_t address, uint64_t size, unsigned prot, int fd,
            uint64_t offset)
{
	struct dma_map *map;
	uint64_t end;
	unsigned place;
	int rc;

	if (size == 0 || size - 1 > UINT64_MAX - address || !checked_add(offset, size, &end) ||
	    (prot & ~(unsigned)(DMA_READABLE | DMA_WRITEABLE)))
		return -EINVAL;
	rc = place_for(space, address, size, &place);
	if (rc < 0)
		return rc;
	if (space->count >= space->max_maps)
		return -ENOSPC;
	rc = make_room(space);
	if (rc < 0)
		return rc;
	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	map->address = address;
	map->size = size;
	map->prot = (uint8_t)prot;
	map->offset = offset;
	map->kind = DMA_REMOTE;
	map->fd = -1;
	if (fd >= 0)
		rc = dma_backing_open(space, map, fd);
	if (rc < 0) {
		free(map);
		return rc;
	}
	space->fds += map->fd >= 0;
	insert(space, place, map);
	return 0;
}

/* The map is unmapped and nothing pins it: it goes. Waiters are made ready, not called. */
static void release(struct dma_space *space, struct dma_map *map)
{
	unsigned place = dma_search(space, map->address);
	size_t behind = space->count - place - 1;

	assert(space->maps[place] == map);
	memmove(&space->starts[place], &space->starts[place + 1], behind * sizeof(uint64_t));
	memmove(&space->maps[place], &space->maps[place + 1], behind * sizeof(struct dma_map *));
	space->count--;
	space->dying--;
	if (space->last == map)
		space->last = &space->none;
	if (space->dying == 0) {
		while (space->all_waiters) {
			struct dma_waiter *waiter = space->all_waiters;

			space->all_waiters = waiter->next;
			waiter->next = space->woken;
			space->woken = waiter;
		}
	}
	space->fds -= map->fd >= 0;
	dma_backing_close(space, map);
	free(map);
}

static void call_woken(struct dma_space *space)
{
	while (space->woken) {
		struct dma_waiter *waiter = space->woken;

		space->woken = waiter->next;
		waiter->done(waiter);
	}
}

/*
 * From here on nothing reaches the map. Held, so that it is there still when the callbacks of
 * operations have run, whatever they unpin.
 */
static void begin_dying(struct dma_space *space, struct dma_map *map)
{
	map->dying = map->held = true;
	map->prot = map->direct = 0;
	map->pins++;
	space->dying++;
}

/* Gives the hold back. */
static void let_go(struct dma_space *space, struct dma_map *map)
{
	map->held = false;
	if (--map->pins == 0)
		release(space, map);
}

/* Gives back holds, from the end of where they are. False: there may be more of them. */
static bool let_some_go(struct dma_space *space)
{
	unsigned budget = DMA_UNMAP_BATCH;
	unsigned last = dma_search(space, space->held_last);

	if (last == space->count)
		return true;
	for (unsigned i = last + 1; i-- > 0 && space->starts[i] >= space->held_first;) {
		struct dma_map *map = space->maps[i];

		if (!map->held)
			continue;
		space->held_last = map->address;
		if (!budget--)
			return false;
		let_go(space, map);
	}
	return true;
}

int dma_unmap_rest(struct dma_space *space, struct dma_waiter *waiter)
{
	bool done = let_some_go(space);

	if (done) {
		space->held_first = UINT64_MAX;
		space->held_last = 0;
	}
	call_woken(space);
	if (!done)
		return -EAGAIN;
	if (space->dying == 0)
		return 0;
	if (!waiter)
		return -EINPROGRESS;
	waiter->next = space->all_waiters;
	space->all_waiters = waiter;
	return -EINPROGRESS;
}

/* Whether the range ends, or begins, in the middle of a map. Maps that are dying do not count. */
static bool cuts_map(const struct dma_space *space, uint64_t address, uint64_t last)
{
	unsigned first = dma_search(space, address), end = dma_search(space, last);
	const struct dma_map *map;

	if (first < space->count) {
		map = space->maps[first];
		if (!map->dying && map->address < address && address - map->address < map->size)
			return true;
	}
	if (end == space->count)
		return false;
	map = space->maps[end];
	return !map->dying && map->address >= address && map->size - 1 > last - map->address;
}

/* From here on nothing reaches the maps in the range. Returns how many bytes they have. */
static uint64_t hold_maps(struct dma_space *space, uint64_t address, uint64_t last)
{
	unsigned i = dma_search(space, address);
	uint64_t bytes = 0;

	if (i == space->count)
		i = 0;
	for (; i < space->count && space->starts[i] <= last; i++) {
		if (space->starts[i] < address || space->maps[i]->dying)
			continue;
		begin_dying(space, space->maps[i]);
		bytes += space->maps[i]->size;
	}
	if (address < space->held_first)
		space->held_first = address;
	if (last > space->held_last)
		space->held_last = last;
	return bytes;
}

int dma_unmap(struct dma_space *space, uint64_t address, uint64_t size, struct dma_waiter *waiter)
{
	uint64_t last = address + (size - 1);

	if (size == 0 || last < address || cuts_map(space, address, last))
		return -EINVAL;
	waiter->bytes = hold_maps(space, address, last);
	if (!waiter->bytes && !space->dying)
		return 0;
	dma_fault_ops(space, address, last);
	return dma_unmap_rest(space, waiter);
}

int dma_unmap_all(struct dma_space *space, struct dma_waiter *waiter)
{
	uint64_t bytes = 0;

	if (space->dying < space->count) {
		bytes = hold_maps(space, 0, UINT64_MAX);
		dma_fault_ops(space, 0, UINT64_MAX);
	}
	if (waiter)
		waiter->bytes = bytes;
	return dma_unmap_rest(space, waiter);
}

unsigned dma_map_count(const struct dma_space *space)
{
	return space->count;
}

unsigned dma_fd_count(const struct dma_space *space)
{
	return space->fds;
}

bool dma_map_at(const struct dma_space *space, unsigned index, struct dma_map_info *info)
{
	const struct dma_map *map;

	if (index >= space->count)
		return false;
	map = space->maps[index];
	*info = (struct dma_map_info){
		.address = map->address,
		.size = map->size,
		.prot = map->prot,
		.offset = map->offset,
		.fd = map->fd,
		.mapped = map->kind == DMA_DIRECT,
		.dying = map->dying,
	};
	return true;
}

/* Adds a piece of memory to iov, to its last element where it follows that. False: no room. */
static bool add_piece(struct iovec *iov, unsigned *count, unsigned max, uint8_t *bytes,
                      uint64_t length)
{
	if (*count > 0 && (uint8_t *)iov[*count - 1].iov_base + iov[*count - 1].iov_len == bytes) {
		iov[*count - 1].iov_len += length;
		return true;
	}
	if (*count >= max)
		return false;
	iov[*count] = (struct iovec){.iov_base = bytes, .iov_len = length};
	(*count)++;
	return true;
}

/* A range that dma_survey() found to be all direct, piece by piece. On -E2BIG, iov is as before. */
static int pin_pieces(struct dma_space *space, uint64_t address, uint64_t length, struct iovec *iov,
                      unsigned *count, unsigned max)
{
	unsigned count_before = *count;
	size_t last_before = *count > 0 ? iov[*count - 1].iov_len : 0;
	uint64_t pinned = 0;

	while (pinned < length) {
		struct dma_map *map = dma_find(space, address + pinned);
		uint64_t piece = dma_piece(map, address + pinned, length - pinned);
		uint8_t *bytes = map->bytes + (address + pinned - map->address);

		if (!add_piece(iov, count, max, bytes, piece))
			break;
		map->pins++;
		pinned += piece;
	}
	if (pinned == length)
		return 0;
	if (pinned > 0) /* nothing was written: no matter which direction */
		dma_unpin(space, address, pinned, OB_DMA_FROM_CLIENT);
	*count = count_before;
	if (*count > 0)
		iov[*count - 1].iov_len = last_before;
	return -E2BIG;
}

int dma_pin(struct dma_space *space, uint64_t address, uint64_t length, enum ob_dma_dir dir,
            struct iovec *iov, unsigned *count, unsigned max)
{
	unsigned want = dma_prot_for(dir);
	struct dma_map *map = dma_hit(space, address, length, want);
	bool direct;
	int rc;

	if (map) {
		if (!add_piece(iov, count, max, map->bytes + (address - map->address), length))
			return -E2BIG;
		map->pins++;
		return 0;
	}
	rc = dma_survey(space, address, length, want, &direct);
	if (rc < 0)
		return rc;
	if (!direct)
		return -ENOTSUP;
	return pin_pieces(space, address, length, iov, count, max);
}

void dma_unpin(struct dma_space *space, uint64_t address, uint64_t length, enum ob_dma_dir dir)
{
	if (length > 0 && dir == OB_DMA_TO_CLIENT)
		dma_wrote(space, address, length);
	while (length > 0) {
		struct dma_map *map = dma_find(space, address);
		uint64_t piece;

		assert(map && map->pins > 0);
		piece = dma_piece(map, address, length);
		map->pins--;
		if (map->pins == 0 && map->dying)
			release(space, map);
		address += piece;
		length -= piece;
	}
	call_woken(space);
}
