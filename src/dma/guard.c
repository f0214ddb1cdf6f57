/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handler of SIGBUS; see guard.h.
 *
 * What runs in the handler is async-signal-safe: it reads tables that only the thread that it
 * interrupted changes, and that thread was not changing them, as it was touching a client's memory.
 * It calls mmap(), write() and sigaction(), which are plain system calls, and keeps errno.
 */
#include "dma/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

static struct {
	struct dma_space *spaces; /* all there are, whether the handler is installed or not */
	struct sigaction before;
	int event;
	bool installed;
} guard = {.event = -1};

void dma_guard_add(struct dma_space *space)
{
	space->guard_next = guard.spaces;
	space->guard_link = &guard.spaces;
	if (guard.spaces)
		guard.spaces->guard_link = &space->guard_next;
	guard.spaces = space;
}

void dma_guard_drop(struct dma_space *space)
{
	*space->guard_link = space->guard_next;
	if (space->guard_next)
		space->guard_next->guard_link = space->guard_link;
}

/* In the handler */

static struct dma_memory *memory_at(const struct dma_space *space, uintptr_t address)
{
	for (unsigned i = 0; i < space->bucket_count; i++) {
		struct dma_memory *memory = space->buckets[i];

		for (; memory; memory = memory->next) {
			if (address - (uintptr_t)memory->bytes < memory->length)
				return memory;
		}
	}
	return NULL;
}

static void *map_empty(void *at, size_t length, int prot, int flags)
{
	return mmap(at, length, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

static bool replace(void *start, size_t length)
{
	return map_empty(start, length, PROT_READ | PROT_WRITE, MAP_FIXED) == start;
}

/*
 * What is mapped of a large file goes elsewhere, which takes no time, and is unmapped there by a
 * helper, later. That needs one place more in the process's table of mappings, which was accounted
 * for (memory.c).
 */
static bool move_away(struct dma_memory *memory)
{
	void *to = map_empty(NULL, memory->length, PROT_NONE, 0);

	if (to == MAP_FAILED)
		return false;
	if (mremap(memory->bytes, memory->length, memory->length, MREMAP_MAYMOVE | MREMAP_FIXED,
	           to) == MAP_FAILED) {
		munmap(to, memory->length);
		return false;
	}
	memory->moved = to;
	return true;
}

/* With a table that is full to the last place. Nobody can be faster: mmap() fails for all. */
static bool replace_in_need(void *start, size_t length)
{
	return !munmap(start, length) &&
	       map_empty(start, length, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE) == start;
}

/* All of it, as pages of hugetlbfs can't be replaced by halves; or else what was touched. */
static bool heal(struct dma_memory *memory, uintptr_t address)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t offset = (address - (uintptr_t)memory->bytes) & ~(page - 1);

	if (memory->length > DMA_SMALL && !memory->moved)
		(void)move_away(memory);
	return replace(memory->bytes, memory->length) || replace(memory->bytes + offset, page) ||
	       replace_in_need(memory->bytes, memory->length);
}

/* Whether the address was in some client's memory, which now can be touched. */
static bool handle(uintptr_t address)
{
	const uint64_t one = 1;
	ssize_t n;

	for (struct dma_space *space = guard.spaces; space; space = space->guard_next) {
		struct dma_memory *memory = memory_at(space, address);

		if (!memory)
			continue;
		if (!heal(memory, address))
			return false;
		memory->lost = true;
		space->lost = true;
		n = write(guard.event, &one, sizeof(one));
		(void)n;
		return true;
	}
	return false;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	int error = errno;

	/* Codes above 0 come from a fault of this thread, all others from some kill(). */
	if (info->si_code > 0 && info->si_code != BUS_MCEERR_AO &&
	    handle((uintptr_t)info->si_addr)) {
		errno = error;
		return;
	}
	/* A fault happens again as soon as this returns, and a sent signal is sent again. */
	sigaction(SIGBUS, &guard.before, NULL);
	if (info->si_code <= 0 || info->si_code == BUS_MCEERR_AO)
		raise(number);
	errno = error;
}

/* Outside */

int dma_guard_install(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	if (guard.installed)
		return -EALREADY;
	guard.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (guard.event < 0)
		return -errno;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &guard.before)) {
		int error = errno;

		close(guard.event);
		guard.event = -1;
		return -error;
	}
	guard.installed = true;
	return guard.event;
}

void dma_guard_remove(void)
{
	if (!guard.installed)
		return;
	sigaction(SIGBUS, &guard.before, NULL);
	close(guard.event);
	guard.event = -1;
	guard.installed = false;
}

/* Nothing reaches what was lost from now on. The watcher hears of the first map of it. */
static void tell(struct dma_space *space)
{
	const struct dma_map *first = NULL;

	for (unsigned i = 0; i < space->count; i++) {
		struct dma_map *map = space->maps[i];

		if (!map->memory || !map->memory->lost)
			continue;
		map->prot = map->direct = 0;
		if (!first)
			first = map;
	}
	if (first && space->watcher)
		space->watcher->lost(space->watcher, first->address, first->size);
}

void dma_guard_tell(void)
{
	struct dma_space *space, *next;
	uint64_t count;
	ssize_t n = read(guard.event, &count, sizeof(count));

	(void)n;
	for (space = guard.spaces; space; space = next) {
		next = space->guard_next;
		if (!space->lost)
			continue;
		space->lost = false;
		tell(space);
	}
}
