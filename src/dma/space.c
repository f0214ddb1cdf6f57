/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of maps: adding, removing, looking up, and pinning.
 *
 * A map that is unmapped while it is pinned stays in the table, dying: nothing can be accessed
 * through it any more and nothing can be mapped in its place, but the pins' ranges still find it.
 * With its last pin it goes, and whoever waits for that is called.
 *
 * The place of a map that went is closed up later, together with others: moving the rest of a long
 * table for each of a thousand pins would hold up everybody else.
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
	space->rest_first = UINT64_MAX;
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
	assert(dma_map_count(space) == 0);
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

/* Closes up the places of maps that went. What lies behind them moves once. */
static void compact(struct dma_space *space)
{
	unsigned to = space->gone_first, from = space->gone_first;
	size_t behind = space->count - (space->gone_last + 1);

	if (!space->gone)
		return;
	for (; from <= space->gone_last; from++) {
		if (space->maps[from] == &space->none)
			continue;
		space->starts[to] = space->starts[from];
		space->maps[to++] = space->maps[from];
	}
	memmove(&space->starts[to], &space->starts[from], behind * sizeof(uint64_t));
	memmove(&space->maps[to], &space->maps[from], behind * sizeof(struct dma_map *));
	space->count -= space->gone;
	space->gone = 0;
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
	compact(space);
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

/* Whoever waits until nothing is dying is made ready, not called. */
static void wake_all(struct dma_space *space)
{
	while (space->all_waiters) {
		struct dma_waiter *waiter = space->all_waiters;

		space->all_waiters = waiter->next;
		waiter->next = space->woken;
		space->woken = waiter;
	}
}

/* The map at a place is unmapped and nothing pins it: it goes. Its place is closed up later. */
static void release(struct dma_space *space, unsigned place)
{
	struct dma_map *map = space->maps[place];

	if (!space->gone || place < space->gone_first)
		space->gone_first = place;
	if (!space->gone || place > space->gone_last)
		space->gone_last = place;
	space->gone++;
	space->maps[place] = &space->none;
	space->dying--;
	if (space->last == map)
		space->last = &space->none;
	if (space->dying == 0)
		wake_all(space);
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

/* The places [first, end) of the maps that go next: the last ones of what is left of the range. */
static bool next_batch(const struct dma_space *space, unsigned *first, unsigned *end)
{
	unsigned place;

	if (space->rest_first > space->rest_last)
		return false;
	place = dma_search(space, space->rest_last);
	if (place == space->count)
		return false;
	*end = ++place;
	while (place > 0 && *end - place < DMA_UNMAP_BATCH &&
	       space->starts[place - 1] >= space->rest_first)
		place--;
	*first = place;
	return place < *end;
}

/* Unmaps what is at these places, and returns how many bytes that was. */
static uint64_t unmap_places(struct dma_space *space, unsigned first, unsigned end)
{
	uint64_t bytes = 0;

	for (unsigned i = first; i < end; i++) {
		if (space->maps[i]->dying)
			continue;
		begin_dying(space, space->maps[i]);
		bytes += space->maps[i]->size;
	}
	/* Places stay as they are while a map is dying, and what is called here maps nothing. */
	if (bytes)
		dma_fault_ops(space, space->starts[first], space->rest_last);
	for (unsigned i = first; i < end; i++) {
		struct dma_map *map = space->maps[i];

		if (!map->held)
			continue;
		map->held = false;
		if (--map->pins == 0)
			release(space, i);
	}
	return bytes;
}

int dma_unmap_rest(struct dma_space *space, struct dma_waiter *waiter)
{
	unsigned first, end;
	bool more = next_batch(space, &first, &end);

	if (more) {
		uint64_t begin = space->starts[first];
		uint64_t bytes = unmap_places(space, first, end);

		if (waiter)
			waiter->bytes += bytes;
		space->rest_last = begin - 1;
		more = begin > space->rest_first && next_batch(space, &first, &end);
		compact(space);
	}
	if (!more) {
		space->rest_first = UINT64_MAX;
		space->rest_last = 0;
	}
	call_woken(space);
	if (more)
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

int dma_unmap(struct dma_space *space, uint64_t address, uint64_t size, struct dma_waiter *waiter)
{
	uint64_t last = address + (size - 1);

	compact(space);
	if (size == 0 || last < address || cuts_map(space, address, last))
		return -EINVAL;
	space->rest_first = address;
	space->rest_last = last;
	waiter->bytes = 0;
	return dma_unmap_rest(space, waiter);
}

int dma_unmap_all(struct dma_space *space, struct dma_waiter *waiter)
{
	compact(space);
	space->rest_first = 0;
	space->rest_last = UINT64_MAX;
	if (waiter)
		waiter->bytes = 0;
	return dma_unmap_rest(space, waiter);
}

unsigned dma_map_count(const struct dma_space *space)
{
	return space->count - space->gone;
}

unsigned dma_fd_count(const struct dma_space *space)
{
	return space->fds;
}

bool dma_map_at(struct dma_space *space, unsigned index, struct dma_map_info *info)
{
	const struct dma_map *map;

	compact(space);
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
			release(space, dma_search(space, map->address));
		address += piece;
		length -= piece;
	}
	call_woken(space);
}
