/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the NVMe driver share. */
#ifndef CLIENT_NVME_INTERNAL_H
#define CLIENT_NVME_INTERNAL_H

#include <assert.h>

#include "client/nvme.h"

#define NVME_PAGE ((size_t)4096)

/* Where the controller sees our memory. */
#define NVME_MEMORY_ADDRESS (UINT64_C(1) << 32)

static inline uint64_t nvme_address_of(const struct nvme *nvme, const void *data)
{
	assert(nvme->memory);
	return NVME_MEMORY_ADDRESS + (uint64_t)((const uint8_t *)data - nvme->memory->data);
}

/* Puts what the client's last failure was into err, behind a prefix. Returns rc. */
int nvme_wrong(const struct nvme *nvme, int rc, const char *what, struct ob_error *err);

/* Memory for everything, mapped for the controller. */
int nvme_map_memory(struct nvme *nvme, struct ob_error *err);

/*
 * Room and bookkeeping of a queue pair for depth commands at a time, without slots. -ENOMEM;
 * nvme_free_queue() in any case.
 */
int nvme_make_queue(struct nvme *nvme, struct nvme_queue *queue, unsigned id, unsigned entries,
                    unsigned depth);
void nvme_free_queue(struct nvme_queue *queue);

/* As the configuration says, of what the controller and the server can do. */
int nvme_choose_doorbells(struct nvme *nvme, struct ob_error *err);

/* The parts of that which depend on the server. nvme->mapped stays NULL if it offers no area. */
int nvme_map_doorbells(struct nvme *nvme, struct ob_error *err);
int nvme_get_eventfds(struct nvme *nvme, struct ob_error *err);
void nvme_wire_bell(struct nvme *nvme, struct nvme_bell *bell);

/* Vector n signals queue n's eventfd. */
int nvme_wire_interrupts(struct nvme *nvme, struct ob_error *err);

/* All I/O queues, with their slots and interrupts. */
int nvme_make_queues(struct nvme *nvme, struct ob_error *err);

#endif
