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
	dma_set_limits(space, max_maps, UINT_MAX);
	space->last = &space->none;
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

void dma_space_free(struct dma_space *space)
{
	if (!space)
		return;
	assert(space->count == 0);
	assert(space->under_way.next == &space->under_way);
	dma_guard_drop(space);
	dma_log_stop(space);
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
		rc = dma_backing_open(map, fd, space->fds < space->max_fds);
	if (rc < 0) {
		free(map);
		return rc;
	}
	space->fds += map->fd >= 0;
	insert(space, place, map);
	if (space->log)
		dma_log_mapped(space->log, address, size);
	if (space->listener && map->mapping)
		space->listener->mapped(space->listener, map->mapping, map->mapping_length);
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
	if (map->waiter) {
		map->waiter->next = space->woken;
		space->woken = map->waiter;
	}
	if (space->dying == 0) {
		while (space->all_waiters) {
			struct dma_waiter *waiter = space->all_waiters;

			space->all_waiters = waiter->next;
			waiter->next = space->woken;
			space->woken = waiter;
		}
	}
	space->fds -= map->fd >= 0;
	if (space->listener && map->mapping)
		space->listener->unmapping(space->listener, map->mapping);
	dma_backing_close(map);
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

/* Gives the hold back. Whether the map is gone. */
static bool let_go(struct dma_space *space, struct dma_map *map)
{
	map->held = false;
	if (--map->pins > 0)
		return false;
	release(space, map);
	return true;
}

/* Gives back holds, from the end: nothing has to move up. False: there may be more of them. */
static bool let_some_go(struct dma_space *space)
{
	unsigned budget = DMA_UNMAP_BATCH;

	for (unsigned i = space->count; i-- > 0;) {
		if (!space->maps[i]->held)
			continue;
		if (!budget--)
			return false;
		let_go(space, space->maps[i]);
	}
	return true;
}

int dma_unmap_rest(struct dma_space *space, struct dma_waiter *waiter)
{
	bool done = let_some_go(space);

	call_woken(space);
	if (!done)
		return -EAGAIN;
	if (space->dying == 0)
		return 0;
	waiter->next = space->all_waiters;
	space->all_waiters = waiter;
	return -EINPROGRESS;
}

/*
 * The maps that lie in a range: *first is the first of them, and *count how many there are, dying
 * ones included. -ENOENT if none is alive, or the range cuts one.
 */
static int maps_within(const struct dma_space *space, uint64_t address, uint64_t last,
                       unsigned *first, unsigned *count)
{
	unsigned before = dma_search(space, address), i;
	bool alive = false;

	*first = before == space->count ? 0 : before;
	if (before < space->count && space->starts[before] < address) {
		const struct dma_map *map = space->maps[before];

		if (!map->dying && address - map->address < map->size)
			return -ENOENT;
		(*first)++;
	}
	for (i = *first; i < space->count && space->starts[i] <= last; i++) {
		const struct dma_map *map = space->maps[i];

		if (map->dying)
			continue;
		if (map->size - 1 > last - map->address)
			return -ENOENT;
		alive = true;
	}
	*count = i - *first;
	return alive ? 0 : -ENOENT;
}

int dma_unmap_within(struct dma_space *space, uint64_t address, uint64_t size,
                     struct dma_waiter *waiter)
{
	unsigned first, count;
	int rc;

	if (size == 0 || size - 1 > UINT64_MAX - address)
		return -ENOENT;
	rc = maps_within(space, address, address + (size - 1), &first, &count);
	if (rc)
		return rc;
	for (unsigned i = first; i < first + count; i++) {
		if (!space->maps[i]->dying)
			begin_dying(space, space->maps[i]);
	}
	dma_fault_ops(space, address, address + (size - 1));
	return dma_unmap_rest(space, waiter);
}

int dma_unmap(struct dma_space *space, uint64_t address, uint64_t size, struct dma_waiter *waiter)
{
	unsigned place = dma_search(space, address);
	struct dma_map *map;
	bool gone;

	if (place == space->count || space->maps[place]->address != address ||
	    space->maps[place]->size != size || space->maps[place]->dying)
		return -ENOENT;
	map = space->maps[place];
	begin_dying(space, map);
	dma_fault_ops(space, address, address + (size - 1));
	gone = let_go(space, map);
	if (!gone)
		map->waiter = waiter;
	call_woken(space);
	return gone ? 0 : -EINPROGRESS;
}

int dma_unmap_all(struct dma_space *space, struct dma_waiter *waiter)
{
	if (space->dying < space->count) {
		for (unsigned i = 0; i < space->count; i++) {
			if (!space->maps[i]->dying)
				begin_dying(space, space->maps[i]);
		}
		dma_fault_ops(space, 0, UINT64_MAX);
	}
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
