/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page of doorbells that clients may map (mmap-doorbells=on). Who writes there notifies nobody.
 */
#include "internal.h"

/* What no doorbell's value is: nothing was written here. */
static const uint32_t NO_KICK = UINT32_MAX;

static uint32_t load_word(const uint32_t *place)
{
	return le32toh(__atomic_load_n(place, __ATOMIC_ACQUIRE));
}

static uint32_t *page_place(const struct nvme *n, unsigned id, bool completion)
{
	return n->page + (size_t)2 * id + completion;
}

void nvme_page_clear(struct nvme *n, unsigned id, bool completion)
{
	if (n->page)
		__atomic_store_n(page_place(n, id, completion), NO_KICK, __ATOMIC_RELAXED);
}

void nvme_page_clear_all(struct nvme *n)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		nvme_page_clear(n, i, false);
		nvme_page_clear(n, i, true);
	}
}

/* Whether the page's word was written since this was asked last. */
bool nvme_page_was_kicked(const struct nvme *n, unsigned id, bool completion)
{
	uint32_t *place;

	if (!n->page)
		return false;
	place = page_place(n, id, completion);
	return load_word(place) != NO_KICK &&
	       __atomic_exchange_n(place, NO_KICK, __ATOMIC_ACQ_REL) != NO_KICK;
}

bool nvme_page_read(const struct nvme *n, unsigned id, bool completion, uint32_t *value)
{
	uint32_t word = load_word(page_place(n, id, completion));

	*value = word & 0xffff; /* the rest is reserved */
	return word != NO_KICK;
}
