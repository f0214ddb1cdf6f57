/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bringing an NVMe controller up and down (NVMe 1.4, 7.6.1), and admin commands. The controller is
 * not trusted any more than the server: what it says about itself is checked before it is used.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/nvme_internal.h"
#include "client/stream.h"
#include "outboard/endian.h"

enum {
	REG_CAP = 0x00,
	REG_CC = 0x14,
	REG_CSTS = 0x1c,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,

	CC_ENABLE = 6 << 16 | 4 << 20 | 1, /* entries of 64 and 16 bytes, pages of 4096 */
	CC_SHUTDOWN = 1 << 14,
	CSTS_READY = 1,
	CSTS_FATAL = 2,
	CSTS_SHUT = 2 << 2,

	ADMIN_IDENTIFY = 0x06,
	ADMIN_ENTRIES = 32,
	ADMIN_TIMEOUT_S = 30,

	PCI_COMMAND = 0x04,
};

int nvme_wrong(const struct nvme *nvme, int rc, const char *what, struct ob_error *err)
{
	return ob_error_set(err, rc, "%s: %s", what, ob_client_message(nvme->client));
}

static int get(struct nvme *nvme, uint64_t reg, unsigned size, uint64_t *value,
               struct ob_error *err)
{
	int rc = ob_client_read_value(nvme->client, OB_REGION_BAR0, reg, size, value);

	return rc ? nvme_wrong(nvme, rc, "reading a register", err) : 0;
}

static int put(struct nvme *nvme, uint64_t reg, unsigned size, uint64_t value, struct ob_error *err)
{
	int rc = ob_client_write_value(nvme->client, OB_REGION_BAR0, reg, size, value);

	return rc ? nvme_wrong(nvme, rc, "writing a register", err) : 0;
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
		return nvme_wrong(nvme, rc, "enabling the function", err);
	rc = get(nvme, REG_CAP, 8, &nvme->capabilities, err);
	if (!rc)
		rc = check_controller(nvme, err);
	if (!rc)
		rc = put(nvme, REG_CC, 4, 0, err);
	if (!rc)
		rc = wait_status(nvme, CSTS_READY, 0, err);
	if (!rc)
		rc = nvme_map_memory(nvme, err);
	if (rc)
		return rc;
	if (nvme_make_queue(nvme, &nvme->admin, 0, ADMIN_ENTRIES, 1))
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = put(nvme, REG_AQA, 4, aqa, err);
	if (!rc)
		rc = put(nvme, REG_ASQ, 8, nvme_address_of(nvme, nvme->admin.sq), err);
	if (!rc)
		rc = put(nvme, REG_ACQ, 8, nvme_address_of(nvme, nvme->admin.cq), err);
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
	struct nvme_done done = {0};
	int n;

	nvme_wrote(nvme, &queue->sq[queue->tail], sizeof(*command));
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
	/* Now, as the pin stays up until then. */
	if (n > 0 && nvme_ring(queue))
		n = -EIO;
	if (n == -EPROTO)
		return ob_error_set(err, n, "the controller completed what was not asked for");
	if (n < 0)
		return nvme_wrong(nvme, n, "an admin command", err);
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
	                                 .prp1 = nvme_address_of(nvme, nvme->page),
	                                 .cdw10 = cns};

	nvme_wrote(nvme, nvme->page, NVME_PAGE);
	memset(nvme->page, 0, NVME_PAGE);
	return nvme_admin(nvme, &command, NULL, err);
}

/* ASCII, padded with spaces. */
static void copy_text(char *out, const uint8_t *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		out[i] = (char)(text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?');
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
	nvme->max_transfer = mdts && mdts < 20 ? (uint32_t)NVME_PAGE << mdts : UINT32_MAX;
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

int nvme_open(struct ob_client *client, const struct nvme_config *config, struct nvme **out,
              struct ob_error *err)
{
	struct nvme *nvme;
	int rc;

	if (!config->queues || config->queues > NVME_MAX_QUEUES || !config->depth ||
	    config->depth > NVME_MAX_DEPTH || !config->slot_size ||
	    config->slot_size > NVME_MAX_SLOT || config->buffers > NVME_MAX_BUFFERS)
		return ob_error_set(err, -EINVAL, "queues, depth or size out of range");
	nvme = calloc(1, sizeof(*nvme));
	if (!nvme)
		return ob_error_set(err, -ENOMEM, "out of memory");
	nvme->client = client;
	nvme->config = *config;
	if (!nvme->config.buffers)
		nvme->config.buffers = 1;
	rc = enable(nvme, err);
	if (!rc)
		rc = identify_controller(nvme, err);
	if (!rc)
		rc = identify_namespace(nvme, err);
	if (!rc)
		rc = nvme_choose_doorbells(nvme, err);
	if (!rc)
		rc = nvme_make_queues(nvme, err);
	if (rc) {
		nvme_close(nvme);
		return rc;
	}
	*out = nvme;
	return 0;
}

/* In order if the controller still answers. An error: it does not, and need not be asked again. */
static int shut_down(struct nvme *nvme)
{
	struct ob_error err;
	int rc;

	if (!nvme->enabled)
		return 0;
	rc = put(nvme, REG_CC, 4, CC_ENABLE | CC_SHUTDOWN, &err);
	if (!rc)
		rc = wait_status(nvme, 3 << 2, CSTS_SHUT, &err);
	if (!rc)
		rc = put(nvme, REG_CC, 4, 0, &err);
	return rc ? rc : wait_status(nvme, CSTS_READY, 0, &err);
}

void nvme_close(struct nvme *nvme)
{
	int rc;

	if (!nvme)
		return;
	rc = shut_down(nvme);
	if (!rc && nvme->config.msix && nvme->queues)
		rc = ob_client_irq_disable(nvme->client, OB_IRQ_MSIX);
	if (!rc && nvme->memory)
		ob_client_unmap(nvme->client, NVME_MEMORY_ADDRESS, nvme->memory->size);
	if (nvme->admin.nvme)
		nvme_free_queue(&nvme->admin);
	for (unsigned i = 0; nvme->queues && i < nvme->config.queues; i++)
		nvme_free_queue(&nvme->queues[i]);
	free(nvme->queues);
	if (nvme->mapped)
		munmap(nvme->mapped, nvme->mapped_size);
	ob_client_io_fds_release(&nvme->io_fds);
	ob_client_memory_free(nvme->memory);
	free(nvme);
}

const char *nvme_doorbells_name(enum nvme_doorbells doorbells)
{
	static const char *const names[] = {
		[NVME_DOORBELLS_AUTO] = "auto",
		[NVME_DOORBELLS_MMAP] = "mmap",
		[NVME_DOORBELLS_MMAP_SHADOW] = "mmap-shadow",
		[NVME_DOORBELLS_SHADOW] = "shadow",
		[NVME_DOORBELLS_EVENTFD] = "eventfd",
		[NVME_DOORBELLS_MESSAGE] = "message",
	};

	return names[doorbells];
}
