/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admin commands (NVMe 1.4, 5): which there are, and Doorbell Buffer Config, which has no file of
 * its own.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static void page_sent(struct nvme_cmd *cmd)
{
	if (!nvme_cmd_page(cmd)) {
		nvme_complete(cmd, NVME_INTERNAL_ERROR);
		return;
	}
	memset(cmd->page, 0, NVME_PAGE);
	cmd->fill(cmd);
	nvme_data_copy(cmd, cmd->page, NVME_PAGE);
	nvme_data_end(cmd, 0, true);
}

int nvme_send_page(struct nvme_cmd *cmd, uint32_t length, void (*fill)(struct nvme_cmd *cmd))
{
	cmd->fill = fill;
	return nvme_map(cmd, length, OB_DMA_TO_CLIENT, page_sent);
}

/* Doorbell Buffer Config (5.7) */

static int doorbell_buffer(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	struct nvme_state *s = n->state;
	uint64_t shadow = nvme_dw64(cmd, 6), events = nvme_dw64(cmd, 8);

	if (!shadow || !events || (shadow | events) & (n->page_size - 1))
		return NVME_INVALID_FIELD;
	s->shadow = true;
	s->shadow_doorbells = shadow;
	s->event_indices = events;
	for (unsigned i = 1; i <= n->props->num_queues; i++) {
		if (s->sq[i].entries)
			nvme_shadow_open_sq(&n->sqs[i]);
		if (s->cq[i].entries)
			nvme_shadow_open_cq(&n->cqs[i]);
	}
	return 0;
}

static int (*find_handler(unsigned opcode))(struct nvme_cmd *cmd)
{
	switch (opcode) {
	case NVME_ADMIN_DELETE_SQ:
		return nvme_delete_sq;
	case NVME_ADMIN_CREATE_SQ:
		return nvme_create_sq;
	case NVME_ADMIN_GET_LOG:
		return nvme_get_log;
	case NVME_ADMIN_DELETE_CQ:
		return nvme_delete_cq;
	case NVME_ADMIN_CREATE_CQ:
		return nvme_create_cq;
	case NVME_ADMIN_IDENTIFY:
		return nvme_identify;
	case NVME_ADMIN_ABORT:
		return nvme_abort;
	case NVME_ADMIN_SET_FEATURES:
		return nvme_set_features;
	case NVME_ADMIN_GET_FEATURES:
		return nvme_get_features;
	case NVME_ADMIN_ASYNC_EVENT:
		return nvme_async_event;
	case NVME_ADMIN_DOORBELL_BUFFER:
		return doorbell_buffer;
	case NVME_ADMIN_FORMAT:
		return nvme_format;
	default:
		return NULL;
	}
}

int nvme_admin(struct nvme_cmd *cmd)
{
	int (*handler)(struct nvme_cmd * cmd) = find_handler(nvme_opcode(cmd));

	if (!handler)
		return NVME_INVALID_OPCODE;
	/* Over PCI Express, admin commands use PRPs (4.2). */
	if (cmd->dw[0] & NVME_CDW0_PSDT)
		return NVME_INVALID_FIELD;
	return handler(cmd);
}
