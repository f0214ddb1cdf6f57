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

static struct dma_map *map_at(struct dma_space *space, uintptr_t address)
{
	for (unsigned i = 0; i < space->count; i++) {
		struct dma_map *map = space->maps[i];

		if (map->mapping && address - (uintptr_t)map->mapping < map->mapping_length)
			return map;
	}
	return NULL;
}

static bool replace(void *start, size_t length)
{
	return mmap(start, length, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == start;
}

/* All of the map, as pages of hugetlbfs can't be replaced by halves; or else what was touched. */
static bool heal(struct dma_map *map, uintptr_t address)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t offset = (address - (uintptr_t)map->mapping) & ~(page - 1);

	return replace(map->mapping, map->mapping_length) ||
	       replace((uint8_t *)map->mapping + offset, page);
}

/* Whether the address was in some client's memory, which now can be touched. */
static bool handle(uintptr_t address)
{
	const uint64_t one = 1;
	ssize_t n;

	for (struct dma_space *space = guard.spaces; space; space = space->guard_next) {
		struct dma_map *map = map_at(space, address);

		if (!map)
			continue;
		if (!heal(map, address))
			return false;
		map->lost = true;
		map->prot = map->direct = 0;
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

static void tell(struct dma_space *space)
{
	for (unsigned i = 0; i < space->count; i++) {
		const struct dma_map *map = space->maps[i];

		if (!map->lost)
			continue;
		space->watcher->lost(space->watcher, map->address, map->size);
		return;
	}
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
		if (space->watcher)
			tell(space);
	}
}
