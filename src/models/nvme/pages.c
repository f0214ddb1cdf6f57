/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages of memory, for whatever takes a little of it for a while: PRP lists and SGL segments, what
 * admin commands carry, entries that are fetched by messages. Some are kept to be used again.
 */
#include <stdlib.h>

#include "internal.h"

struct nvme_page {
	union {
		struct nvme_page *next;
		uint8_t bytes[NVME_PAGE];
	};
};

void nvme_wake_starved(struct nvme *n)
{
	if (!n->starved)
		return;
	n->starved = false;
	for (unsigned i = 0; i <= n->props->num_queues; i++)
		nvme_sq_ready(&n->sqs[i]);
}

uint8_t *nvme_page_get(struct nvme *n)
{
	struct nvme_page *page = n->pages;

	if (!page) {
		page = malloc(sizeof(*page));
		return page ? page->bytes : NULL;
	}
	n->pages = page->next;
	n->spare_pages--;
	return page->bytes;
}

void nvme_page_put(struct nvme *n, uint8_t *bytes)
{
	struct nvme_page *page = (struct nvme_page *)bytes;

	nvme_wake_starved(n);
	if (n->spare_pages >= NVME_SPARE_PAGES) {
		free(page);
		return;
	}
	page->next = n->pages;
	n->pages = page;
	n->spare_pages++;
}

void nvme_pages_free(struct nvme *n)
{
	while (n->pages) {
		struct nvme_page *page = n->pages;

		n->pages = page->next;
		free(page);
	}
}
