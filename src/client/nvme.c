/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bringing an NVMe controller up and down (NVMe 1.4, 7.6.1), and admin commands. The controller is
 * not trusted any more than the server: what it says about itself is checked before it is used.
 */
#include "client/nvme.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/stream.h"
#include "outboard/endian.h"

enum {
	REG_CAP = 0x00,
	REG_CC = 0x14,
	REG_CSTS = 0x1c,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,
	DOORBELLS = 0x1000,

	CC_ENABLE = 6 << 16 | 4 << 20 | 1, /* entries of 64 and 16 bytes, pages of 4096 */
	CC_SHUTDOWN = 1 << 14,
	CSTS_READY = 1,
	CSTS_FATAL = 2,
	CSTS_SHUT = 2 << 2,

	ADMIN_CREATE_SQ = 0x01,
	ADMIN_CREATE_CQ = 0x05,
	ADMIN_IDENTIFY = 0x06,
	ADMIN_SET_FEATURES = 0x09,
	ADMIN_DOORBELL_BUFFER = 0x7c,
	FEATURE_QUEUES = 0x07,
	OACS_DOORBELL_BUFFER = 1 << 8,

	PAGE = 4096,
	ADMIN_ENTRIES = 32,
	ADMIN_TIMEOUT_S = 30,

	PCI_COMMAND = 0x04,
	PCI_CAPABILITIES = 0x34,
	PCI_CAP_MSIX = 0x11,
};

static const uint64_t MEMORY_ADDRESS = UINT64_C(1) << 32;

static int wrong(const struct nvme *nvme, int rc, const char *what, struct ob_error *err)
{
	return ob_error_set(err, rc, "%s: %s", what, ob_client_message(nvme->client));
}

static int get(struct nvme *nvme, uint64_t reg, unsigned size, uint64_t *value,
               struct ob_error *err)
{
	int rc = ob_client_read_value(nvme->client, OB_REGION_BAR0, reg, size, value);

	return rc ? wrong(nvme, rc, "reading a register", err) : 0;
}

static int put(struct nvme *nvme, uint64_t reg, unsigned size, uint64_t value, struct ob_error *err)
{
	int rc = ob_client_write_value(nvme->client, OB_REGION_BAR0, reg, size, value);

	return rc ? wrong(nvme, rc, "writing a register", err) : 0;
}

/* Memory: one piece, handed out in pages. */

static uint64_t address_of(const struct nvme *nvme, const void *data)
{
	return MEMORY_ADDRESS + (uint64_t)((const uint8_t *)data - nvme->memory->data);
}

static size_t pages(size_t size)
{
	return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static void *take(struct nvme *nvme, size_t size)
{
	uint8_t *data = nvme->memory->data + nvme->used;

	nvme->used += pages(size);
	return data;
}

static size_t queue_memory(const struct nvme_config *config)
{
	size_t slot = pages(config->slot_size) + (config->slot_size > 2 * PAGE ? PAGE : 0);

	return pages((config->depth + 1) * sizeof(struct nvme_sqe)) +
	       pages((config->depth + 1) * sizeof(struct nvme_cqe)) + config->depth * slot;
}

static int map_memory(struct nvme *nvme, struct ob_error *err)
{
	size_t size = 5 * PAGE + nvme->config.queues * queue_memory(&nvme->config);
	unsigned flags =
		OB_CLIENT_READ | OB_CLIENT_WRITE | (nvme->config.unshared ? OB_CLIENT_UNSHARED : 0);
	int rc = ob_client_memory_new(size, &nvme->memory);

	if (rc)
		return ob_error_set(err, rc, "no %zu bytes of memory for the queues: %s", size,
		                    strerror(-rc));
	rc = ob_client_map(nvme->client, MEMORY_ADDRESS, nvme->memory, 0, nvme->memory->size,
	                   flags);
	if (rc)
		return wrong(nvme, rc, "mapping memory for the controller", err);
	nvme->page = take(nvme, PAGE);
	nvme->shadow = take(nvme, PAGE);
	nvme->event = take(nvme, PAGE);
	return 0;
}

/* A slot's part of its commands: where its data is. */
static void make_slot(struct nvme *nvme, struct nvme_queue *queue, unsigned slot)
{
	struct nvme_sqe *sqe = &queue->slots[slot];
	uint64_t buffer = address_of(nvme, nvme_buffer(queue, slot));
	uint64_t *list;

	*sqe = (struct nvme_sqe){.cid = (uint16_t)slot, .nsid = nvme->config.nsid, .prp1 = buffer};
	if (nvme->config.slot_size > 2 * PAGE) {
		list = take(nvme, PAGE);
		for (size_t i = 1; i * PAGE < nvme->config.slot_size; i++)
			list[i - 1] = htole64(buffer + i * PAGE);
		sqe->prp2 = address_of(nvme, list);
	} else if (nvme->config.slot_size > PAGE) {
		sqe->prp2 = buffer + PAGE;
	}
	nvme_slot_put(queue, slot);
}

static int make_queue(struct nvme *nvme, struct nvme_queue *queue, unsigned id, unsigned entries)
{
	uint64_t stride = UINT64_C(4) << (nvme->capabilities >> 32 & 15);

	*queue = (struct nvme_queue){
		.nvme = nvme,
		.sq = take(nvme, entries * sizeof(struct nvme_sqe)),
		.cq = take(nvme, entries * sizeof(struct nvme_cqe)),
		.sq_bell = {.offset = DOORBELLS + 2 * id * stride},
		.cq_bell = {.offset = DOORBELLS + (2 * id + 1) * stride},
		.id = id,
		.entries = entries,
		.depth = entries - 1,
		.phase = 1,
		.eventfd = -1,
	};
	queue->slots = calloc(queue->depth, sizeof(*queue->slots));
	queue->busy = calloc(queue->depth, sizeof(*queue->busy));
	queue->free = calloc(queue->depth, sizeof(*queue->free));
	return queue->slots && queue->busy && queue->free ? 0 : -ENOMEM;
}

/* The registers */

static int wait_status(struct nvme *nvme, uint32_t mask, uint32_t value, struct ob_error *err)
{
	uint64_t deadline = clock_now() + ((nvme->capabilities >> 24 & 255) + 1) * 500000000;
	uint64_t csts;

	for (;;) {
		int rc = get(nvme, REG_CSTS, 4, &csts, err);

		if (rc)
			return rc;
		if ((csts & mask) == value)
			return 0;
		if (csts & CSTS_FATAL)
			return ob_error_set(err, -EIO,
			                    "the controller says that it failed (CSTS.CFS)");
		if (clock_now() > deadline)
			return ob_error_set(err, -ETIMEDOUT,
			                    "the controller does not become %s (CSTS is 0x%llx)",
			                    value ? "ready" : "idle", (unsigned long long)csts);
		usleep(100);
	}
}

static int check_controller(const struct nvme *nvme, struct ob_error *err)
{
	const struct nvme_config *config = &nvme->config;
	unsigned most = (unsigned)(nvme->capabilities & 0xffff);

	if (!(nvme->capabilities >> 37 & 1))
		return ob_error_set(err, -ENODEV,
		                    "the device's BAR 0 does not look like an NVMe controller "
		                    "(CAP is 0x%llx)",
		                    (unsigned long long)nvme->capabilities);
	if (nvme->capabilities >> 48 & 15)
		return ob_error_set(err, -ENOTSUP, "the controller has no pages of 4096 bytes");
	if (config->depth > most)
		return ob_error_set(err, -EINVAL, "a depth of %u is more than its queues take: %u",
		                    config->depth, most);
	return 0;
}

static int enable(struct nvme *nvme, struct ob_error *err)
{
	const uint32_t aqa = (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1);
	int rc = ob_client_write_value(nvme->client, OB_REGION_CONFIG, PCI_COMMAND, 2, 6);

	if (rc)
		return wrong(nvme, rc, "enabling the function", err);
	rc = get(nvme, REG_CAP, 8, &nvme->capabilities, err);
	if (!rc)
		rc = check_controller(nvme, err);
	if (!rc)
		rc = put(nvme, REG_CC, 4, 0, err);
	if (!rc)
		rc = wait_status(nvme, CSTS_READY, 0, err);
	if (!rc)
		rc = map_memory(nvme, err);
	if (rc)
		return rc;
	if (make_queue(nvme, &nvme->admin, 0, ADMIN_ENTRIES))
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = put(nvme, REG_AQA, 4, aqa, err);
	if (!rc)
		rc = put(nvme, REG_ASQ, 8, address_of(nvme, nvme->admin.sq), err);
	if (!rc)
		rc = put(nvme, REG_ACQ, 8, address_of(nvme, nvme->admin.cq), err);
	if (!rc)
		rc = put(nvme, REG_CC, 4, CC_ENABLE, err);
	if (!rc)
		rc = wait_status(nvme, CSTS_READY, CSTS_READY, err);
	nvme->enabled = !rc;
	return rc;
}

/* Admin commands, one at a time: the slot is always 0. */
int nvme_admin(struct nvme *nvme, const struct nvme_sqe *command, uint32_t *result,
               struct ob_error *err)
{
	struct nvme_queue *queue = &nvme->admin;
	struct nvme_cqe *cqe = &queue->cq[queue->head];
	uint64_t deadline = clock_now() + ADMIN_TIMEOUT_S * UINT64_C(1000000000);
	struct nvme_done done;
	int n;

	queue->sq[queue->tail] = *command;
	queue->tail = (queue->tail + 1) % queue->entries;
	queue->busy[0] = true;
	queue->busy_count++;
	queue->unrung++;
	n = nvme_ring(queue);
	for (unsigned spins = 0; !n; spins++) {
		n = nvme_reap(queue, &done, 1);
		if (n)
			break;
		if (clock_now() > deadline)
			return ob_error_set(err, -ETIMEDOUT,
			                    "admin command 0x%02x does not end within %d seconds",
			                    command->opcode, ADMIN_TIMEOUT_S);
		n = ob_client_poll(nvme->client);
		if (spins < 1000)
			sched_yield();
		else
			usleep(50);
	}
	if (n == -EPROTO)
		return ob_error_set(err, n, "the controller completed what was not asked for");
	if (n < 0)
		return wrong(nvme, n, "an admin command", err);
	if (done.status)
		return ob_error_set(err, -EIO,
		                    "admin command 0x%02x fails with status 0x%03x (type %u, code "
		                    "0x%02x)",
		                    command->opcode, done.status & 0x7ff, done.status >> 8 & 7,
		                    done.status & 0xff);
	if (result)
		*result = cqe->result;
	return 0;
}

static int identify(struct nvme *nvme, uint32_t cns, uint32_t nsid, struct ob_error *err)
{
	const struct nvme_sqe command = {.opcode = ADMIN_IDENTIFY,
	                                 .nsid = nsid,
	                                 .prp1 = address_of(nvme, nvme->page),
	                                 .cdw10 = cns};

	memset(nvme->page, 0, PAGE);
	return nvme_admin(nvme, &command, NULL, err);
}

/* ASCII, padded with spaces. */
static void copy_text(char *out, const uint8_t *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		out[i] = text[i] >= ' ' && text[i] < 0x7f ? (char)text[i] : '?';
	while (length && out[length - 1] == ' ')
		length--;
	out[length] = 0;
}

static int identify_controller(struct nvme *nvme, struct ob_error *err)
{
	int rc = identify(nvme, 1, 0, err);
	unsigned mdts;

	if (rc)
		return rc;
	copy_text(nvme->serial, nvme->page + 4, 20);
	copy_text(nvme->model, nvme->page + 24, 40);
	copy_text(nvme->firmware, nvme->page + 64, 8);
	mdts = nvme->page[77];
	nvme->max_transfer = mdts && mdts < 20 ? (uint32_t)PAGE << mdts : UINT32_MAX;
	nvme->optional_admin = ob_get_le16(nvme->page + 256);
	if (nvme->config.slot_size > nvme->max_transfer)
		return ob_error_set(
			err, -EINVAL,
			"%zu bytes are more than the controller transfers at a time: %u",
			nvme->config.slot_size, nvme->max_transfer);
	return 0;
}

static int identify_namespace(struct nvme *nvme, struct ob_error *err)
{
	unsigned format, shift;
	int rc = identify(nvme, 0, nvme->config.nsid, err);

	if (rc)
		return ob_error_prefix(err, rc, "namespace %u", nvme->config.nsid);
	format = nvme->page[26] & 15;
	shift = nvme->page[128 + 4 * format + 2];
	nvme->blocks = ob_get_le64(nvme->page);
	if (!nvme->blocks)
		return ob_error_set(err, -ENODEV, "there is no namespace %u", nvme->config.nsid);
	if (shift < 9 || shift > 16 || nvme->blocks > UINT64_MAX >> shift)
		return ob_error_set(err, -EPROTO, "namespace %u has blocks of 2^%u bytes",
		                    nvme->config.nsid, shift);
	nvme->block_size = 1u << shift;
	return 0;
}

/* Doorbells */

/* Maps the part of BAR 0 that holds the doorbells of all queues, if the server offers one. */
static int map_doorbells(struct nvme *nvme, struct ob_error *err)
{
	uint64_t end = nvme->admin.cq_bell.offset +
	               2 * nvme->config.queues *
	                       (nvme->admin.cq_bell.offset - nvme->admin.sq_bell.offset) +
	               4;
	struct ob_client_region region;
	void *data;
	int rc = ob_client_region_info(nvme->client, OB_REGION_BAR0, &region);

	if (rc)
		return wrong(nvme, rc, "BAR 0", err);
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
	                                 .prp1 = address_of(nvme, nvme->shadow),
	                                 .prp2 = address_of(nvme, nvme->event)};

	return nvme_admin(nvme, &command, NULL, err);
}

static int choose_doorbells(struct nvme *nvme, struct ob_error *err)
{
	bool can_shadow = nvme->optional_admin & OACS_DOORBELL_BUFFER;
	enum nvme_doorbells wish = nvme->config.doorbells;
	int rc;

	if (wish == NVME_DOORBELLS_AUTO || wish == NVME_DOORBELLS_MMAP) {
		rc = map_doorbells(nvme, err);
		if (rc)
			return rc;
	}
	if (nvme->mapped)
		wish = NVME_DOORBELLS_MMAP;
	else if (wish == NVME_DOORBELLS_MMAP)
		return ob_error_set(err, -ENOTSUP,
		                    "the server does not let the doorbells be mapped; say "
		                    "--doorbells=message");
	else if (wish == NVME_DOORBELLS_AUTO)
		wish = can_shadow && !nvme->config.unshared ? NVME_DOORBELLS_SHADOW
		                                            : NVME_DOORBELLS_MESSAGE;
	else if (wish == NVME_DOORBELLS_SHADOW && !can_shadow)
		return ob_error_set(err, -ENOTSUP,
		                    "the controller has no Doorbell Buffer Config; say "
		                    "--doorbells=message");
	nvme->doorbells = wish;
	return wish == NVME_DOORBELLS_SHADOW ? configure_shadow(nvme, err) : 0;
}

static void wire_bell(struct nvme *nvme, struct nvme_bell *bell)
{
	uint64_t place = bell->offset - DOORBELLS;

	if (nvme->mapped)
		bell->mapped = (volatile uint32_t *)(void *)(nvme->mapped + bell->offset -
		                                             nvme->mapped_offset);
	if (nvme->doorbells == NVME_DOORBELLS_SHADOW && place + 4 <= PAGE) {
		bell->shadow = (volatile uint32_t *)(void *)(nvme->shadow + place);
		bell->event = (volatile uint32_t *)(void *)(nvme->event + place);
	}
}

/* Interrupts: vector n is queue n's; 0 belongs to the admin queue, which is polled. */

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
	for (unsigned i = 0; !rc && i < nvme->config.queues; i++) {
		nvme->queues[i].eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (nvme->queues[i].eventfd < 0)
			return ob_error_set(err, -errno, "eventfd: %s", strerror(errno));
		rc = ob_client_irq_eventfds(nvme->client, OB_IRQ_MSIX, i + 1, 1,
		                            &nvme->queues[i].eventfd);
	}
	return rc ? wrong(nvme, rc, "setting up MSI-X", err) : 0;
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
		.prp1 = address_of(nvme, queue->cq),
		.cdw10 = size_and_id,
		.cdw11 = nvme->config.msix ? queue->id << 16 | 3 : 1,
	};
	const struct nvme_sqe sq = {
		.opcode = ADMIN_CREATE_SQ,
		.prp1 = address_of(nvme, queue->sq),
		.cdw10 = size_and_id,
		.cdw11 = queue->id << 16 | 1,
	};
	int rc = nvme_admin(nvme, &cq, NULL, err);

	return rc ? rc : nvme_admin(nvme, &sq, NULL, err);
}

static int make_queues(struct nvme *nvme, struct ob_error *err)
{
	int rc = set_queue_count(nvme, err);

	nvme->queues = calloc(nvme->config.queues, sizeof(*nvme->queues));
	if (!nvme->queues)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < nvme->config.queues; i++)
		nvme->queues[i].eventfd = -1;
	for (unsigned i = 0; i < nvme->config.queues && !rc; i++) {
		struct nvme_queue *queue = &nvme->queues[i];

		if (make_queue(nvme, queue, i + 1, nvme->config.depth + 1))
			return ob_error_set(err, -ENOMEM, "out of memory");
		queue->stride = pages(nvme->config.slot_size);
		queue->buffers = take(nvme, queue->depth * queue->stride);
		for (unsigned slot = queue->depth; slot--;)
			make_slot(nvme, queue, slot);
		wire_bell(nvme, &queue->sq_bell);
		wire_bell(nvme, &queue->cq_bell);
	}
	if (!rc && nvme->config.msix)
		rc = enable_msix(nvme, err);
	for (unsigned i = 0; i < nvme->config.queues && !rc; i++)
		rc = create_queue(nvme, &nvme->queues[i], err);
	return rc;
}

int nvme_open(struct ob_client *client, const struct nvme_config *config, struct nvme **out,
              struct ob_error *err)
{
	struct nvme *nvme = calloc(1, sizeof(*nvme));
	int rc;

	if (!nvme)
		return ob_error_set(err, -ENOMEM, "out of memory");
	nvme->client = client;
	nvme->config = *config;
	if (!config->queues || config->queues > NVME_MAX_QUEUES || !config->depth ||
	    config->depth > NVME_MAX_DEPTH || !config->slot_size ||
	    config->slot_size > NVME_MAX_SLOT)
		rc = ob_error_set(err, -EINVAL, "queues, depth or size out of range");
	else
		rc = enable(nvme, err);
	if (!rc)
		rc = identify_controller(nvme, err);
	if (!rc)
		rc = identify_namespace(nvme, err);
	if (!rc)
		rc = choose_doorbells(nvme, err);
	/* The admin queue's too, now that it is known whether they are mapped. */
	if (!rc && nvme->mapped) {
		wire_bell(nvme, &nvme->admin.sq_bell);
		wire_bell(nvme, &nvme->admin.cq_bell);
	}
	if (!rc)
		rc = make_queues(nvme, err);
	if (rc) {
		nvme_close(nvme);
		return rc;
	}
	*out = nvme;
	return 0;
}

static void free_queue(struct nvme_queue *queue)
{
	free(queue->slots);
	free(queue->busy);
	free(queue->free);
	fd_close(&queue->eventfd);
}

/* In order if the controller still answers; errors are of no interest any more. */
static void shut_down(struct nvme *nvme)
{
	struct ob_error err;

	if (!nvme->enabled || put(nvme, REG_CC, 4, CC_ENABLE | CC_SHUTDOWN, &err))
		return;
	if (wait_status(nvme, 3 << 2, CSTS_SHUT, &err) || put(nvme, REG_CC, 4, 0, &err))
		return;
	wait_status(nvme, CSTS_READY, 0, &err);
}

void nvme_close(struct nvme *nvme)
{
	if (!nvme)
		return;
	shut_down(nvme);
	if (nvme->config.msix && nvme->queues)
		ob_client_irq_disable(nvme->client, OB_IRQ_MSIX);
	if (nvme->memory)
		ob_client_unmap(nvme->client, MEMORY_ADDRESS, nvme->memory->size);
	if (nvme->admin.nvme)
		free_queue(&nvme->admin);
	for (unsigned i = 0; nvme->queues && i < nvme->config.queues; i++)
		free_queue(&nvme->queues[i]);
	free(nvme->queues);
	if (nvme->mapped)
		munmap(nvme->mapped, nvme->mapped_size);
	ob_client_memory_free(nvme->memory);
	free(nvme);
}

const char *nvme_doorbells_name(enum nvme_doorbells doorbells)
{
	static const char *const names[] = {
		[NVME_DOORBELLS_AUTO] = "auto",
		[NVME_DOORBELLS_MMAP] = "mmap",
		[NVME_DOORBELLS_SHADOW] = "shadow",
		[NVME_DOORBELLS_MESSAGE] = "message",
	};

	return names[doorbells];
}
