/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Something that the process has so and so much of, shared out among those for whom it is used. A
 * share can grow for as long as it is not larger than what stays free for everybody else: who is
 * alone may have half, and whatever some have taken, there is something left for one more.
 *
 * For one thread. src/dma/usage.c has the same rule for what other threads give back.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct budget {
	uint64_t total, used;
};

struct budget_share {
	struct budget *budget; /* NULL: no bound */
	uint64_t own;
	uint64_t least; /* can be had even if others have more than their share left over */
};

static inline bool budget_has_room(const struct budget_share *share, uint64_t more)
{
	const struct budget *budget = share->budget;
	uint64_t left;

	if (!budget)
		return true;
	left = budget->total > budget->used ? budget->total - budget->used : 0;
	if (more > left)
		return false;
	return share->own + more <= share->least || share->own + more <= left - more;
}

/* Counts what is there already, whether there is room for it or not. */
static inline void budget_add(struct budget_share *share, uint64_t more)
{
	share->own += more;
	if (share->budget)
		share->budget->used += more;
}

static inline bool budget_take(struct budget_share *share, uint64_t more)
{
	if (!budget_has_room(share, more))
		return false;
	budget_add(share, more);
	return true;
}

static inline void budget_give(struct budget_share *share, uint64_t less)
{
	share->own -= less;
	if (share->budget)
		share->budget->used -= less;
}

#endif
