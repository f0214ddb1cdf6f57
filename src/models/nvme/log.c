/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Get Log Page (NVMe 1.4, 5.14): errors, health, firmware slots, changed namespaces, effects of
 * commands. A page is made when it is sent; what comes after its end is zeroes. Reading one, unless
 * the guest says otherwise (RAE), lets the next event come that leads to it.
 */
#include <string.h>

#include "internal.h"

enum { RETAIN_ASYNC_EVENT = 1 << 15 };

/* Newest first. */
static void fill_errors(struct nvme_cmd *cmd)
{
	const struct nvme_state *s = cmd->nvme->state;

	for (unsigned i = 0; i < NVME_ERROR_ENTRIES; i++) {
		unsigned from = (s->error_next + NVME_ERROR_ENTRIES - 1 - i) % NVME_ERROR_ENTRIES;

		memcpy(cmd->page + (size_t)i * sizeof(*s->errors), &s->errors[from],
		       sizeof(*s->errors));
	}
}

/* Thousands of 512 bytes, rounded up. */
static uint64_t data_units(uint64_t bytes)
{
	return (bytes + 511999) / 512000;
}

static void fill_health(struct nvme_cmd *cmd)
{
	const struct nvme_health *h = &cmd->nvme->state->health;
	uint64_t seconds = (ob_loop_now() - h->started) / UINT64_C(1000000000);
	uint8_t *log = cmd->page;

	log[0] = nvme_critical_warning(cmd->nvme);
	ob_put_le16(log + 1, NVME_TEMPERATURE);
	log[3] = 100; /* available spare, % */
	log[4] = 10;  /* and its threshold */
	ob_put_le64(log + 32, data_units(h->bytes_read));
	ob_put_le64(log + 48, data_units(h->bytes_written));
	ob_put_le64(log + 64, h->reads);
	ob_put_le64(log + 80, h->writes);
	ob_put_le64(log + 112, 1); /* power cycles */
	ob_put_le64(log + 128, seconds / 3600);
	ob_put_le64(log + 144, h->unsafe_shutdowns);
	ob_put_le64(log + 160, h->media_errors);
	ob_put_le64(log + 176, h->error_count);
}

static void fill_firmware(struct nvme_cmd *cmd)
{
	const char *firmware = cmd->nvme->props->firmware;

	cmd->page[0] = 1; /* slot 1 is active */
	memset(cmd->page + 8, ' ', NVME_FIRMWARE_LENGTH);
	memcpy(cmd->page + 8, firmware, strnlen(firmware, NVME_FIRMWARE_LENGTH));
}

static void fill_changed(struct nvme_cmd *cmd)
{
	const struct nvme *n = cmd->nvme;
	uint8_t *at = cmd->page;

	for (unsigned i = 0; i < NVME_MAX_NAMESPACES; i++) {
		if (!(n->state->changed[i / 8] & 1u << i % 8))
			continue;
		ob_put_le32(at, i + 1);
		at += 4;
	}
}

/* Commands Supported and Effects (5.14.1.5): admin commands, and I/O commands after them. */
static void fill_effects(struct nvme_cmd *cmd)
{
	for (unsigned i = 0; i < 512; i++) {
		const struct nvme_op *op = nvme_op_find(i >= 256, i % 256);

		if (op)
			ob_put_le32(cmd->page + (size_t)i * 4, op->effects);
	}
}

struct log_page {
	void (*fill)(struct nvme_cmd *cmd);
	uint32_t size;
	int event_type; /* that is masked until this is read, or -1 */
};

static const struct log_page *find_page(unsigned id)
{
	static const struct log_page pages[] = {
		[NVME_LOG_ERROR] = {fill_errors, 4096, NVME_EVENT_ERROR},
		[NVME_LOG_SMART] = {fill_health, 512, NVME_EVENT_HEALTH},
		[NVME_LOG_FIRMWARE] = {fill_firmware, 512, -1},
		[NVME_LOG_CHANGED] = {fill_changed, 4096, NVME_EVENT_NOTICE},
		[NVME_LOG_EFFECTS] = {fill_effects, 4096, -1},
	};

	return id < sizeof(pages) / sizeof(*pages) && pages[id].fill ? &pages[id] : NULL;
}

static const struct log_page *page_of(const struct nvme_cmd *cmd)
{
	return find_page(cmd->dw[10] & 0xff);
}

int nvme_get_log_check(struct nvme_cmd *cmd)
{
	uint64_t dwords = (cmd->dw[10] >> 16 | (uint64_t)(cmd->dw[11] & 0xffff) << 16) + 1;
	uint64_t offset = nvme_dw64(cmd, 12);
	const struct log_page *page = page_of(cmd);
	uint32_t nsid = cmd->dw[1];

	if (!page)
		return NVME_INVALID_LOG_PAGE;
	if (offset & 3 || offset > page->size || dwords * 4 > cmd->nvme->max_data)
		return NVME_INVALID_FIELD;
	/* Health is the controller's, not a namespace's (LPA bit 0). */
	if (page->fill == fill_health && nsid && nsid != NVME_NSID_ALL)
		return nvme_namespace(cmd->nvme, nsid) ? NVME_INVALID_FIELD
		                                       : NVME_INVALID_NAMESPACE;
	cmd->data_length = (uint32_t)dwords * 4;
	return 0;
}

int nvme_get_log_finish(struct nvme_cmd *cmd)
{
	uint32_t offset = cmd->dw[12];

	page_of(cmd)->fill(cmd);
	memmove(cmd->page, cmd->page + offset, NVME_PAGE - offset);
	memset(cmd->page + NVME_PAGE - offset, 0, offset);
	return 0;
}

/* The guest has it: the events that led here are cleared. */
void nvme_get_log_completed(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	const struct log_page *page = page_of(cmd);

	if (page->event_type < 0 || cmd->dw[10] & RETAIN_ASYNC_EVENT)
		return;
	if (page->fill == fill_changed)
		memset(n->state->changed, 0, sizeof(n->state->changed));
	n->state->events_masked &= (uint8_t) ~(1u << page->event_type);
	nvme_events_post(n);
}
