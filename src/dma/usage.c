/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What mappings of clients' memory take of the process: places in its table of mappings
 * (vm.max_map_count), and address space. Each space has a share, which can grow for as long as it
 * is not larger than what stays free for everybody else. So whatever some take, there is something
 * left for one more, and who is alone may have half.
 *
 * Counters are given back by the threads that unmap, perhaps after the space or the process's
 * machine is gone. So they are atomic, and both structs live until the last one lets go. They only
 * grow on the loop.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "internal.h"

struct dma_budget {
	atomic_uint users;
	unsigned long mappings; /* how many there may be; and bytes of address space */
	uint64_t bytes;
	atomic_ulong used_mappings;
	_Atomic uint64_t used_bytes;
};

/* For one more that has nothing yet, whatever others have. */
enum { LEAST_MAPPINGS = 4 };

/* Where the kernel does not say. */
enum { DEFAULT_MAX_MAP_COUNT = 65530 };

struct dma_budget *dma_budget_new(unsigned long mappings, uint64_t bytes)
{
	struct dma_budget *budget = calloc(1, sizeof(*budget));

	if (!budget)
		return NULL;
	budget->users = 1;
	budget->mappings = mappings;
	budget->bytes = bytes;
	return budget;
}

static unsigned long max_map_count(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	unsigned long count = 0;
	char line[32];

	if (file && fgets(line, sizeof(line), file))
		count = strtoul(line, NULL, 10);
	if (file)
		fclose(file);
	return count ? count : DEFAULT_MAX_MAP_COUNT;
}

/* Half of what the process can have: where the stack is says how far it reaches. */
static uint64_t address_space(void)
{
	uint64_t reach = UINT64_C(1) << (63 - __builtin_clzll((uintptr_t)&reach));
	struct rlimit limit;

	if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY &&
	    limit.rlim_cur < reach)
		reach = limit.rlim_cur;
	return reach / 2;
}

struct dma_budget *dma_budget_of_process(void)
{
	unsigned long count = max_map_count();

	/* The rest is for all else that the process does: threads, memory of its own, rings. */
	return dma_budget_new(count - count / 4, address_space());
}

void dma_budget_drop(struct dma_budget *budget)
{
	if (budget && atomic_fetch_sub(&budget->users, 1) == 1)
		free(budget);
}

struct dma_usage *dma_usage_new(struct dma_budget *budget)
{
	struct dma_usage *usage = calloc(1, sizeof(*usage));

	if (!usage)
		return NULL;
	usage->users = 1;
	usage->budget = budget;
	if (budget)
		atomic_fetch_add(&budget->users, 1);
	return usage;
}

void dma_usage_drop(struct dma_usage *usage)
{
	if (!usage || atomic_fetch_sub(&usage->users, 1) > 1)
		return;
	dma_budget_drop(usage->budget);
	free(usage);
}

/* Whether a share may grow to have, of total, of which used is in use now by all. */
static bool may_have(uint64_t have, uint64_t more, uint64_t total, uint64_t used)
{
	uint64_t left = total > used ? total - used : 0;

	return more <= left && have + more <= left - more;
}

int dma_usage_take(struct dma_usage *usage, unsigned mappings, uint64_t bytes)
{
	struct dma_budget *budget = usage->budget;
	unsigned long used_mappings = budget ? atomic_load(&budget->used_mappings) : 0;
	bool few = usage->mappings + mappings <= LEAST_MAPPINGS;

	if (budget && !may_have(usage->mappings, mappings, budget->mappings, used_mappings) &&
	    !(few && used_mappings + mappings <= budget->mappings))
		return -EDQUOT;
	if (budget && !may_have(usage->bytes, bytes, budget->bytes, budget->used_bytes))
		return -EDQUOT;
	atomic_fetch_add(&usage->users, 1);
	atomic_fetch_add(&usage->mappings, mappings);
	atomic_fetch_add(&usage->bytes, bytes);
	if (budget) {
		atomic_fetch_add(&budget->used_mappings, mappings);
		atomic_fetch_add(&budget->used_bytes, bytes);
	}
	return 0;
}

void dma_usage_begin_close(struct dma_usage *usage)
{
	atomic_fetch_add(&usage->users, 1);
	atomic_fetch_add(&usage->closing, 1);
}

void dma_usage_end_close(struct dma_usage *usage)
{
	atomic_fetch_sub(&usage->closing, 1);
	dma_usage_drop(usage);
}

void dma_usage_give(struct dma_usage *usage, unsigned mappings, uint64_t bytes)
{
	struct dma_budget *budget = usage->budget;

	atomic_fetch_sub(&usage->mappings, mappings);
	atomic_fetch_sub(&usage->bytes, bytes);
	if (budget) {
		atomic_fetch_sub(&budget->used_mappings, mappings);
		atomic_fetch_sub(&budget->used_bytes, bytes);
	}
	dma_usage_drop(usage);
}
