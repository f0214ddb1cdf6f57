/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data of a command: from the PRPs or SGLs of its entry, through the guest's lists, to a
 * transfer (struct ob_xfer) that drives and functions here can use, and its end.
 *
 * A walk (prp.c, sgl.c) is a function that is called with a piece of the guest's list in cmd->page,
 * copied once, and says what it wants next. So it does not matter here whether reading the list was
 * over at once or took a message to the client. Where a command stands is in cmd->phase.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static void walk(struct nvme_cmd *cmd, int status);
static void begun(struct nvme_cmd *cmd, int error);
static void ended(struct nvme_cmd *cmd, int error);

static bool uses_sgl(const struct nvme_cmd *cmd)
{
	return cmd->dw[0] & NVME_CDW0_PSDT;
}

bool nvme_cmd_page(struct nvme_cmd *cmd)
{
	if (!cmd->page)
		cmd->page = nvme_page_get(cmd->nvme);
	return cmd->page;
}

void nvme_data_free(struct nvme_cmd *cmd)
{
	if (cmd->has_xfer)
		ob_xfer_abort(&cmd->xfer);
	cmd->has_xfer = false;
	if (cmd->page)
		nvme_page_put(cmd->nvme, cmd->page);
	cmd->page = NULL;
	free(cmd->bulk);
	cmd->bulk = NULL;
	free(cmd->holes);
	cmd->holes = NULL;
	cmd->nholes = 0;
}

/* Guest memory could not be reached: a status. A client that is gone took nothing with it yet. */
static int transfer_error(struct nvme_cmd *cmd, int error)
{
	switch (error) {
	case -ECANCELED:
		nvme_cmd_suspend(cmd);
		return NVME_PENDING;
	case -ENOMEM:
		return NVME_INTERNAL_ERROR;
	case -E2BIG:
		return NVME_INVALID_SGL_COUNT;
	default:
		return NVME_DATA_TRANSFER_ERROR;
	}
}

/* What a command has room for once, it keeps: it is used again. */
static int grow_ranges(struct nvme_cmd *cmd)
{
	bool was_inline = cmd->ranges == cmd->inline_ranges;
	unsigned room = cmd->range_room * 4;
	struct ob_dma_range *ranges;
	struct iovec *iovs;

	if (cmd->range_room >= NVME_MAX_RANGES)
		return NVME_INVALID_SGL_COUNT;
	iovs = reallocarray(cmd->iovs, room, sizeof(*iovs));
	if (!iovs)
		return NVME_INTERNAL_ERROR;
	cmd->iovs = iovs;
	ranges = reallocarray(was_inline ? NULL : cmd->ranges, room, sizeof(*ranges));
	if (!ranges)
		return NVME_INTERNAL_ERROR;
	if (was_inline)
		memcpy(ranges, cmd->inline_ranges, sizeof(cmd->inline_ranges));
	cmd->ranges = ranges;
	cmd->range_room = room;
	return 0;
}

int nvme_add_range(struct nvme_cmd *cmd, uint64_t address, uint64_t length)
{
	struct ob_dma_range *last = cmd->ranges + cmd->nranges - 1;

	if (cmd->nranges && last->address + last->length == address) {
		last->length += length;
		return 0;
	}
	if (cmd->nranges == cmd->range_room) {
		int status = grow_ranges(cmd);

		if (status)
			return status;
	}
	cmd->ranges[cmd->nranges++] = (struct ob_dma_range){address, length};
	return 0;
}

static void list_read(struct ob_dma_op *op, int error)
{
	struct nvme_cmd *cmd = ob_container_of(op, struct nvme_cmd, op);

	cmd->phase = NVME_WORKING;
	if (error)
		nvme_complete(cmd, transfer_error(cmd, error));
	else
		walk(cmd, uses_sgl(cmd) ? nvme_sgl_more(cmd) : nvme_prp_more(cmd));
}

static void xfer_ready(struct ob_xfer *xfer, int error)
{
	struct nvme_cmd *cmd = ob_container_of(xfer, struct nvme_cmd, xfer);

	if (cmd->phase == NVME_BEGINNING)
		begun(cmd, error);
	else
		ended(cmd, error);
}

static void walk_again(struct nvme_cmd *cmd)
{
	walk(cmd, NVME_FETCH);
}

/*
 * Fetches the guest's list piece by piece for as long as the walk wants more. A list may have many
 * entries without data: others have their turn in between.
 */
static void walk(struct nvme_cmd *cmd, int status)
{
	unsigned fetched = 0;

	while (status == NVME_FETCH) {
		int error;

		if (fetched++ && ob_loop_spent(ob_dev_loop(cmd->nvme->dev))) {
			nvme_cmd_yield(cmd, walk_again);
			return;
		}
		cmd->nvme->work += cmd->walk.fetch / NVME_SGL_DESCRIPTOR / NVME_WORK_ENTRIES;
		if (!nvme_cmd_page(cmd)) {
			status = NVME_INTERNAL_ERROR;
			break;
		}
		cmd->op.done = list_read;
		error = ob_dma_read(cmd->nvme->dev, cmd->walk.address, cmd->page, cmd->walk.fetch,
		                    &cmd->op);
		if (error == -EINPROGRESS) {
			cmd->phase = NVME_LISTING;
			return;
		}
		if (error)
			status = transfer_error(cmd, error);
		else
			status = uses_sgl(cmd) ? nvme_sgl_more(cmd) : nvme_prp_more(cmd);
	}
	if (status) {
		nvme_complete(cmd, status);
		return;
	}
	/* The list was read: the next command can have its page. */
	if (cmd->page) {
		nvme_page_put(cmd->nvme, cmd->page);
		cmd->page = NULL;
	}
	if (!cmd->nranges) {
		cmd->mapped(cmd);
		return;
	}
	cmd->xfer.room = cmd->iovs;
	cmd->xfer.room_count = cmd->iovs ? cmd->range_room : 0;
	cmd->xfer.ready = xfer_ready;
	cmd->has_xfer = true;
	cmd->phase = NVME_BEGINNING;
	begun(cmd, ob_xfer_begin(cmd->nvme->dev, &cmd->xfer, cmd->ranges, cmd->nranges, cmd->dir));
}

static void begun(struct nvme_cmd *cmd, int error)
{
	if (error == -EINPROGRESS)
		return;
	cmd->phase = NVME_WORKING;
	if (!error) {
		cmd->mapped(cmd);
		return;
	}
	cmd->has_xfer = false;
	nvme_complete(cmd, transfer_error(cmd, error));
}

int nvme_map(struct nvme_cmd *cmd, uint32_t length, enum ob_dma_dir dir,
             void (*mapped)(struct nvme_cmd *cmd))
{
	if ((cmd->dw[0] & NVME_CDW0_PSDT) == NVME_CDW0_PSDT)
		return NVME_INVALID_FIELD;
	if (length > cmd->nvme->max_data)
		return NVME_INVALID_FIELD;
	cmd->dir = dir;
	cmd->mapped = mapped;
	cmd->ended = NULL;
	cmd->data_length = length;
	cmd->nranges = 0;
	cmd->walk.left = length;
	walk(cmd, uses_sgl(cmd) ? nvme_sgl_begin(cmd) : nvme_prp_begin(cmd));
	return NVME_PENDING;
}

void nvme_data_end(struct nvme_cmd *cmd, int status, bool keep)
{
	int error = 0;

	cmd->status = (uint16_t)status;
	if (cmd->has_xfer) {
		cmd->phase = NVME_ENDING;
		error = ob_xfer_end(&cmd->xfer, keep);
	}
	/* A device that is to be quiet does not wait for its client: from the beginning, later. */
	if (error == -EINPROGRESS && cmd->nvme->quiescing)
		nvme_cmd_suspend(cmd);
	else
		ended(cmd, error);
}

static void ended(struct nvme_cmd *cmd, int error)
{
	if (error == -EINPROGRESS)
		return;
	cmd->has_xfer = false;
	cmd->phase = NVME_WORKING;
	if (error)
		nvme_complete(cmd, transfer_error(cmd, error));
	else if (cmd->ended && !cmd->status)
		cmd->ended(cmd);
	else
		nvme_complete(cmd, cmd->status);
}

/* The bytes from offset on that belong together: up to the next hole. */
static uint32_t run_length(const struct nvme_cmd *cmd, unsigned hole, uint64_t offset)
{
	uint64_t end = hole < cmd->nholes ? cmd->holes[hole].address : cmd->data_length;

	return (uint32_t)(end - offset);
}

static void copy_run(const struct nvme_cmd *cmd, uint8_t *memory, uint8_t *buffer, uint64_t offset,
                     uint32_t room, size_t length)
{
	size_t have = offset < room ? room - offset : 0;

	if (have > length)
		have = length;
	if (cmd->dir == OB_DMA_FROM_CLIENT) {
		memcpy(buffer + offset, memory, have);
		return;
	}
	if (have)
		memcpy(memory, buffer + offset, have);
	memset(memory + have, 0, length - have);
}

void nvme_data_copy(struct nvme_cmd *cmd, uint8_t *buffer, uint32_t length)
{
	uint64_t offset = 0;
	unsigned hole = 0;

	cmd->nvme->work += cmd->data_length / NVME_WORK_BYTES + cmd->nholes / NVME_WORK_ENTRIES;
	for (unsigned i = 0; cmd->has_xfer && i < cmd->xfer.iovcnt; i++) {
		uint8_t *memory = cmd->xfer.iov[i].iov_base;
		size_t left = cmd->xfer.iov[i].iov_len;

		while (left) {
			size_t run = run_length(cmd, hole, offset);

			if (!run) {
				offset += cmd->holes[hole++].length;
				continue;
			}
			if (run > left)
				run = left;
			copy_run(cmd, memory, buffer, offset, length, run);
			memory += run;
			left -= run;
			offset += run;
		}
	}
}
