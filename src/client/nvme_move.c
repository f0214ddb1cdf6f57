/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe driver goes to another server, without noticing as far as commands go: what it knows of
 * queues stays, what it has of the server (doorbells, interrupts) and where its memory lies
 * changes.
 */
#include <errno.h>
#include <sys/mman.h>

#include "client/nvme_internal.h"

/* Where the same byte is in the other memory. */
static void *moved(const void *data, const struct ob_client_memory *from,
                   const struct ob_client_memory *to)
{
	return to->data + ((const uint8_t *)data - from->data);
}

static void move_queue(struct nvme_queue *queue, const struct ob_client_memory *from,
                       const struct ob_client_memory *to)
{
	queue->sq = moved(queue->sq, from, to);
	queue->cq = moved(queue->cq, from, to);
	if (queue->buffers)
		queue->buffers = moved(queue->buffers, from, to);
}

static void move_memory(struct nvme *nvme, struct ob_client_memory *to)
{
	const struct ob_client_memory *from = nvme->memory;

	nvme->page = moved(nvme->page, from, to);
	nvme->shadow = moved(nvme->shadow, from, to);
	nvme->event = moved(nvme->event, from, to);
	move_queue(&nvme->admin, from, to);
	for (unsigned i = 0; i < nvme->config.queues; i++)
		move_queue(&nvme->queues[i], from, to);
	nvme->memory = to;
}

static void leave_doorbells(struct nvme *nvme)
{
	if (nvme->mapped)
		munmap(nvme->mapped, nvme->mapped_size);
	nvme->mapped = NULL;
	ob_client_io_fds_release(&nvme->io_fds);
	nvme->io_fds = (struct ob_client_io_fds){0};
}

/* A bell keeps what it said last: with shadows, that decides whether to ring. */
static void rewire(struct nvme *nvme, struct nvme_bell *bell)
{
	bell->mapped = NULL;
	bell->eventfd = -1;
	nvme_wire_bell(nvme, bell);
}

static int take_doorbells(struct nvme *nvme, struct ob_error *err)
{
	bool wants_map = nvme->doorbells == NVME_DOORBELLS_MMAP ||
	                 nvme->doorbells == NVME_DOORBELLS_MMAP_SHADOW;
	int rc = 0;

	if (wants_map)
		rc = nvme_map_doorbells(nvme, err);
	else if (nvme->doorbells == NVME_DOORBELLS_EVENTFD)
		rc = nvme_get_eventfds(nvme, err);
	if (rc)
		return rc;
	if (wants_map && !nvme->mapped)
		return ob_error_set(err, -ENOTSUP,
		                    "the other server does not let the doorbells be mapped");
	if (nvme->mapped) {
		rewire(nvme, &nvme->admin.sq_bell);
		rewire(nvme, &nvme->admin.cq_bell);
	}
	for (unsigned i = 0; i < nvme->config.queues; i++) {
		rewire(nvme, &nvme->queues[i].sq_bell);
		rewire(nvme, &nvme->queues[i].cq_bell);
	}
	return 0;
}

int nvme_move(struct nvme *nvme, struct ob_client *client, struct ob_client_memory *memory,
              struct ob_error *err)
{
	int rc;

	assert(memory->size == nvme->memory->size);
	leave_doorbells(nvme);
	nvme->client = client;
	move_memory(nvme, memory);
	rc = take_doorbells(nvme, err);
	if (!rc && nvme->config.msix)
		rc = nvme_wire_interrupts(nvme, err);
	return rc;
}
