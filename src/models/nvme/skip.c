/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands that were aborted while their entries stood in a queue (NVMe 1.4, 5.1): the places of
 * these entries, which are skipped when they are fetched. They are part of the state.
 */
#include "internal.h"

/* The place of a skipped entry in state->skips, or skip_count. */
unsigned nvme_skip_find(const struct nvme_state *s, unsigned sqid, unsigned index)
{
	unsigned i = 0;

	while (i < s->skip_count && (s->skips[i].sqid != sqid || s->skips[i].index != index))
		i++;
	return i;
}

bool nvme_skip_take(struct nvme_sq *sq, unsigned index)
{
	struct nvme_state *s = sq->nvme->state;
	unsigned at = nvme_skip_find(s, sq->id, index);

	if (at == s->skip_count)
		return false;
	s->skips[at] = s->skips[--s->skip_count];
	return true;
}

void nvme_skips_clear(struct nvme_sq *sq)
{
	struct nvme_state *s = sq->nvme->state;
	unsigned kept = 0;

	for (unsigned i = 0; i < s->skip_count; i++) {
		if (s->skips[i].sqid != sq->id)
			s->skips[kept++] = s->skips[i];
	}
	s->skip_count = (uint8_t)kept;
}

static bool is_queued(const struct nvme_state *s, const struct nvme_skip *skip)
{
	const struct nvme_sq_state *sq = &s->sq[skip->sqid];

	return skip->index < sq->entries && nvme_distance(sq->head, skip->index, sq->entries) <
	                                            nvme_distance(sq->head, sq->tail, sq->entries);
}

void nvme_skips_rebuild(struct nvme_state *s)
{
	unsigned count = s->skip_count;

	s->skip_count = 0;
	for (unsigned i = 0; i < count; i++) {
		struct nvme_skip skip = s->skips[i];

		if (is_queued(s, &skip) &&
		    nvme_skip_find(s, skip.sqid, skip.index) == s->skip_count)
			s->skips[s->skip_count++] = skip;
	}
}
