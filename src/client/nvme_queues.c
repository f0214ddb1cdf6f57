/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What commands need: memory, queues, doorbells, interrupts. Vector n is queue n's; 0 would be the
 * admin queue's, which is polled.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "client/nvme_internal.h"

enum {
	DOORBELLS = 0x1000,
	LEAST_ENTRIES = 64,
	ADMIN_CREATE_SQ = 0x01,
	ADMIN_CREATE_CQ = 0x05,
	ADMIN_SET_FEATURES = 0x09,
	ADMIN_DOORBELL_BUFFER = 0x7c,
	FEATURE_QUEUES = 0x07,
	OACS_DOORBELL_BUFFER = 1 << 8,
	PCI_CAPABILITIES = 0x34,
	PCI_CAP_MSIX = 0x11,
};

/* Memory: one piece, handed out in pages. */

static size_t pages(size_t size)
{
	return (size + NVME_PAGE - 1) & ~(size_t)(NVME_PAGE - 1);
}

static void *take(struct nvme *nvme, size_t size)
{
	uint8_t *data = nvme->memory->data + nvme->used;

	nvme->used += pages(size);
	return data;
}

/*
 * At least one more than can be under way. Better are several times as many: with shadow doorbells,
 * a controller that polls is rung in vain when it has not moved its event index for a lap.
 */
static unsigned queue_entries(const struct nvme *nvme)
{
	unsigned most = (unsigned)(nvme->capabilities & 0xffff) + 1;
	unsigned wish = nvme->config.depth * 4;

	if (wish < LEAST_ENTRIES)
		wish = LEAST_ENTRIES;
	return wish < most ? wish : most;
}

static size_t queue_memory(const struct nvme *nvme)
{
	const struct nvme_config *config = &nvme->config;
	size_t slot =
		pages(config->slot_size) + (config->slot_size > 2 * NVME_PAGE ? NVME_PAGE : 0);

	return pages(queue_entries(nvme) * sizeof(struct nvme_sqe)) +
	       pages(queue_entries(nvme) * sizeof(struct nvme_cqe)) +
	       config->depth * slot * config->buffers;
}

int nvme_share(const struct nvme *nvme, struct ob_client *client, struct ob_client_memory *memory)
{
	unsigned flags =
		OB_CLIENT_READ | OB_CLIENT_WRITE | (nvme->config.unshared ? OB_CLIENT_UNSHARED : 0);

	return ob_client_map(client, NVME_MEMORY_ADDRESS, memory, 0, memory->size, flags);
}

int nvme_map_memory(struct nvme *nvme, struct ob_error *err)
{
	size_t size = 5 * NVME_PAGE + nvme->config.queues * queue_memory(nvme);
	int rc = ob_client_memory_new(size, &nvme->memory);

	if (rc)
		return ob_error_set(err, rc, "no %zu bytes of memory for the queues: %s", size,
		                    strerror(-rc));
	rc = nvme_share(nvme, nvme->client, nvme->memory);
	if (rc)
		return nvme_wrong(nvme, rc, "mapping memory for the controller", err);
	nvme->page = take(nvme, NVME_PAGE);
	nvme->shadow = take(nvme, NVME_PAGE);
	nvme->event = take(nvme, NVME_PAGE);
	return 0;
}

/* What the commands with a buffer have in common: their slot, and where their data is. */
static void make_buffer(struct nvme *nvme, struct nvme_queue *queue, unsigned index)
{
	struct nvme_sqe *sqe = &queue->slots[index];
	uint64_t buffer = nvme_address_of(nvme, queue->buffers + index * queue->stride);
	uint64_t *list;

	*sqe = (struct nvme_sqe){
		.cid = (uint16_t)(index % queue->depth), .nsid = nvme->config.nsid, .prp1 = buffer};
	if (nvme->config.slot_size > 2 * NVME_PAGE) {
		list = take(nvme, NVME_PAGE);
		for (size_t i = 1; i * NVME_PAGE < nvme->config.slot_size; i++)
			list[i - 1] = htole64(buffer + i * NVME_PAGE);
		sqe->prp2 = nvme_address_of(nvme, list);
	} else if (nvme->config.slot_size > NVME_PAGE) {
		sqe->prp2 = buffer + NVME_PAGE;
	}
}

int nvme_make_queue(struct nvme *nvme, struct nvme_queue *queue, unsigned id, unsigned entries,
                    unsigned depth)
{
	uint64_t stride = UINT64_C(4) << (nvme->capabilities >> 32 & 15);

	*queue = (struct nvme_queue){
		.nvme = nvme,
		.sq = take(nvme, entries * sizeof(struct nvme_sqe)),
		.cq = take(nvme, entries * sizeof(struct nvme_cqe)),
		.sq_bell = {.eventfd = -1, .offset = DOORBELLS + stride * 2 * id},
		.cq_bell = {.eventfd = -1, .offset = DOORBELLS + stride * (2 * id + 1)},
		.id = id,
		.entries = entries,
		.depth = depth,
		.buffer_count = depth * (id ? nvme->config.buffers : 1),
		.phase = 1,
		.eventfd = -1,
	};
	queue->slots = calloc(queue->buffer_count, sizeof(*queue->slots));
	queue->at = calloc(queue->depth, sizeof(*queue->at));
	queue->busy = calloc(queue->depth, sizeof(*queue->busy));
	queue->free = calloc(queue->depth, sizeof(*queue->free));
	return queue->slots && queue->at && queue->busy && queue->free ? 0 : -ENOMEM;
}

/* Doorbells */

/* Maps the part of BAR 0 that holds the doorbells of all queues, if the server offers one. */
int nvme_map_doorbells(struct nvme *nvme, struct ob_error *err)
{
	uint64_t end = nvme->admin.cq_bell.offset +
	               UINT64_C(2) * nvme->config.queues *
	                       (nvme->admin.cq_bell.offset - nvme->admin.sq_bell.offset) +
	               4;
	struct ob_client_region region;
	void *data;
	int rc = ob_client_region_info(nvme->client, OB_REGION_BAR0, &region);

	if (rc)
		return nvme_wrong(nvme, rc, "BAR 0", err);
	rc = -ENOENT;
	for (unsigned i = 0; i < region.area_count && rc; i++) {
		const struct ob_client_area *area = &region.areas[i];

		if (area->fd < 0 || area->offset > DOORBELLS || end > area->offset + area->size)
			continue;
		rc = ob_client_area_map(&region, i, &data);
		if (rc)
			continue;
		nvme->mapped = data;
		nvme->mapped_offset = area->offset;
		nvme->mapped_size = area->size;
	}
	ob_client_region_release(&region);
	return 0;
}

static int configure_shadow(struct nvme *nvme, struct ob_error *err)
{
	const struct nvme_sqe command = {.opcode = ADMIN_DOORBELL_BUFFER,
	                                 .prp1 = nvme_address_of(nvme, nvme->shadow),
	                                 .prp2 = nvme_address_of(nvme, nvme->event)};

	return nvme_admin(nvme, &command, NULL, err);
}

/* Eventfds stand for doorbells only where the values are in memory: an eventfd has none. */
int nvme_get_eventfds(struct nvme *nvme, struct ob_error *err)
{
	int rc = ob_client_region_io_fds(nvme->client, OB_REGION_BAR0, &nvme->io_fds);

	if (rc)
		return nvme_wrong(nvme, rc, "asking for eventfds", err);
	if (!nvme->io_fds.count)
		return ob_error_set(err, -ENOTSUP,
		                    "the server has no eventfds for the doorbells (outboard has "
		                    "with ioeventfds=on); say --doorbells=shadow");
	return 0;
}

static void wire_eventfd(const struct nvme *nvme, struct nvme_bell *bell)
{
	for (unsigned i = 0; i < nvme->io_fds.count; i++) {
		const struct ob_client_io_fd *entry = &nvme->io_fds.entries[i];

		if (!entry->type && entry->offset == bell->offset)
			bell->eventfd = entry->fd;
	}
}

static bool uses_shadow(enum nvme_doorbells doorbells)
{
	return doorbells == NVME_DOORBELLS_MMAP_SHADOW || doorbells == NVME_DOORBELLS_SHADOW ||
	       doorbells == NVME_DOORBELLS_EVENTFD;
}

/* The admin queue has no shadow. */
void nvme_wire_bell(struct nvme *nvme, struct nvme_bell *bell)
{
	uint64_t place = bell->offset - DOORBELLS;
	bool is_admin = bell == &nvme->admin.sq_bell || bell == &nvme->admin.cq_bell;

	if (nvme->mapped)
		bell->mapped = (volatile uint32_t *)(void *)(nvme->mapped + bell->offset -
		                                             nvme->mapped_offset);
	if (!is_admin && uses_shadow(nvme->doorbells) && place + 4 <= NVME_PAGE) {
		bell->shadow = (volatile uint32_t *)(void *)(nvme->shadow + place);
		bell->event = (volatile uint32_t *)(void *)(nvme->event + place);
		wire_eventfd(nvme, bell);
	}
}

/* What AUTO stands for; otherwise whether the device can do what was wished for. */
static int decide(struct nvme *nvme, enum nvme_doorbells *wish, struct ob_error *err)
{
	bool can_shadow = nvme->optional_admin & OACS_DOORBELL_BUFFER;
	bool wants_map = *wish == NVME_DOORBELLS_MMAP || *wish == NVME_DOORBELLS_MMAP_SHADOW;

	if (*wish == NVME_DOORBELLS_AUTO) {
		*wish = nvme->mapped                           ? NVME_DOORBELLS_MMAP
		        : can_shadow && !nvme->config.unshared ? NVME_DOORBELLS_SHADOW
		                                               : NVME_DOORBELLS_MESSAGE;
		return 0;
	}
	if (wants_map && !nvme->mapped)
		return ob_error_set(
			err, -ENOTSUP,
			"the server does not let the doorbells be mapped (outboard does "
			"with mmap-doorbells=on); say --doorbells=message");
	if (uses_shadow(*wish) && !can_shadow)
		return ob_error_set(err, -ENOTSUP,
		                    "the controller has no Doorbell Buffer Config; say "
		                    "--doorbells=message");
	return 0;
}

int nvme_choose_doorbells(struct nvme *nvme, struct ob_error *err)
{
	enum nvme_doorbells wish = nvme->config.doorbells;
	int rc = 0;

	if (wish <= NVME_DOORBELLS_MMAP_SHADOW)
		rc = nvme_map_doorbells(nvme, err);
	if (!rc)
		rc = decide(nvme, &wish, err);
	if (!rc && wish == NVME_DOORBELLS_EVENTFD)
		rc = nvme_get_eventfds(nvme, err);
	if (rc)
		return rc;
	nvme->doorbells = wish;
	nvme_wire_bell(nvme, &nvme->admin.sq_bell);
	nvme_wire_bell(nvme, &nvme->admin.cq_bell);
	return uses_shadow(wish) ? configure_shadow(nvme, err) : 0;
}

/* Interrupts */

static int find_msix(struct nvme *nvme, uint64_t *at)
{
	uint64_t id;
	int rc = ob_client_read_value(nvme->client, OB_REGION_CONFIG, PCI_CAPABILITIES, 1, at);

	for (unsigned n = 0; !rc && *at >= 0x40 && n < 48; n++) {
		rc = ob_client_read_value(nvme->client, OB_REGION_CONFIG, *at, 1, &id);
		if (rc || id == PCI_CAP_MSIX)
			return rc;
		rc = ob_client_read_value(nvme->client, OB_REGION_CONFIG, *at + 1, 1, at);
	}
	return rc ? rc : -ENOENT;
}

int nvme_wire_interrupts(struct nvme *nvme, struct ob_error *err)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < nvme->config.queues; i++)
		rc = ob_client_irq_eventfds(nvme->client, OB_IRQ_MSIX, i + 1, 1,
		                            &nvme->queues[i].eventfd);
	return rc ? nvme_wrong(nvme, rc, "wiring interrupts", err) : 0;
}

static int enable_msix(struct nvme *nvme, struct ob_error *err)
{
	struct ob_client_irq irq;
	uint64_t at, control;
	int rc = ob_client_irq_info(nvme->client, OB_IRQ_MSIX, &irq);

	if (!rc && irq.count <= nvme->config.queues)
		return ob_error_set(err, -ENOTSUP,
		                    "the device has %u MSI-X vectors; %u queues need %u", irq.count,
		                    nvme->config.queues, nvme->config.queues + 1);
	if (!rc)
		rc = find_msix(nvme, &at);
	if (rc == -ENOENT)
		return ob_error_set(err, -ENOTSUP, "the device has no MSI-X capability");
	if (!rc)
		rc = ob_client_read_value(nvme->client, OB_REGION_CONFIG, at + 2, 2, &control);
	if (!rc)
		rc = ob_client_write_value(nvme->client, OB_REGION_CONFIG, at + 2, 2,
		                           control | 0x8000);
	if (rc)
		return nvme_wrong(nvme, rc, "enabling MSI-X", err);
	for (unsigned i = 0; i < nvme->config.queues; i++) {
		nvme->queues[i].eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (nvme->queues[i].eventfd < 0)
			return ob_error_set(err, -errno, "eventfd: %s", strerror(errno));
	}
	return nvme_wire_interrupts(nvme, err);
}

/* I/O queues */

static int set_queue_count(struct nvme *nvme, struct ob_error *err)
{
	unsigned wish = nvme->config.queues - 1;
	const struct nvme_sqe command = {
		.opcode = ADMIN_SET_FEATURES, .cdw10 = FEATURE_QUEUES, .cdw11 = wish << 16 | wish};
	uint32_t got;
	int rc = nvme_admin(nvme, &command, &got, err);

	if (rc)
		return rc;
	if ((got & 0xffff) < wish || got >> 16 < wish)
		return ob_error_set(err, -EINVAL, "the controller has %u I/O queues, not %u",
		                    ((got & 0xffff) < got >> 16 ? got & 0xffff : got >> 16) + 1,
		                    nvme->config.queues);
	return 0;
}

static int create_queue(struct nvme *nvme, struct nvme_queue *queue, struct ob_error *err)
{
	const uint32_t size_and_id = (queue->entries - 1) << 16 | queue->id;
	const struct nvme_sqe cq = {
		.opcode = ADMIN_CREATE_CQ,
		.prp1 = nvme_address_of(nvme, queue->cq),
		.cdw10 = size_and_id,
		.cdw11 = nvme->config.msix ? queue->id << 16 | 3 : 1,
	};
	const struct nvme_sqe sq = {
		.opcode = ADMIN_CREATE_SQ,
		.prp1 = nvme_address_of(nvme, queue->sq),
		.cdw10 = size_and_id,
		.cdw11 = queue->id << 16 | 1,
	};
	int rc = nvme_admin(nvme, &cq, NULL, err);

	return rc ? rc : nvme_admin(nvme, &sq, NULL, err);
}

int nvme_make_queues(struct nvme *nvme, struct ob_error *err)
{
	int rc = set_queue_count(nvme, err);

	nvme->queues = calloc(nvme->config.queues, sizeof(*nvme->queues));
	if (!nvme->queues)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < nvme->config.queues; i++)
		nvme->queues[i].eventfd = -1;
	for (unsigned i = 0; i < nvme->config.queues && !rc; i++) {
		struct nvme_queue *queue = &nvme->queues[i];

		if (nvme_make_queue(nvme, queue, i + 1, queue_entries(nvme), nvme->config.depth))
			return ob_error_set(err, -ENOMEM, "out of memory");
		queue->stride = pages(nvme->config.slot_size);
		queue->buffers = take(nvme, queue->buffer_count * queue->stride);
		for (unsigned k = 0; k < queue->buffer_count; k++)
			make_buffer(nvme, queue, k);
		for (unsigned slot = queue->depth; slot--;) {
			queue->at[slot] = slot;
			nvme_slot_put(queue, slot);
		}
		nvme_wire_bell(nvme, &queue->sq_bell);
		nvme_wire_bell(nvme, &queue->cq_bell);
	}
	if (!rc && nvme->config.msix)
		rc = enable_msix(nvme, err);
	for (unsigned i = 0; i < nvme->config.queues && !rc; i++)
		rc = create_queue(nvme, &nvme->queues[i], err);
	return rc;
}

void nvme_free_queue(struct nvme_queue *queue)
{
	free(queue->slots);
	free(queue->at);
	free(queue->busy);
	free(queue->free);
	fd_close(&queue->eventfd);
}
