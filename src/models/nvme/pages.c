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

	ob_queues_unpark(&n->queues);
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
