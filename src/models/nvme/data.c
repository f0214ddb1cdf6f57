/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data of a command: from the PRPs or SGLs of its entry, through the guest's lists, to a
 * transfer (struct ob_xfer) that drives and functions here can use, and its end.
 *
 * A walk (prp.c, sgl.c) is a function that is called with a piece of the guest's list in cmd->page,
 * copied once, and says what it wants next. So it does not matter here whether reading the list was
 * over at once or took a message to the client.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

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

/* Guest memory could not be reached. A client that is gone took nothing with it yet. */
static int transfer_error(int error)
{
	switch (error) {
	case -ECANCELED:
		return NVME_SUSPEND;
	case -ENOMEM:
		return NVME_INTERNAL_ERROR;
	case -E2BIG:
		return NVME_INVALID_SGL_COUNT;
	default:
		return NVME_DATA_TRANSFER_ERROR;
	}
}

static int walk_begin(struct nvme_cmd *cmd)
{
	if ((cmd->dw[0] & NVME_CDW0_PSDT) == NVME_CDW0_PSDT)
		return NVME_INVALID_FIELD;
	if (cmd->data_length > cmd->nvme->max_data)
		return NVME_INVALID_FIELD;
	cmd->walk.left = cmd->data_length;
	return uses_sgl(cmd) ? nvme_sgl_begin(cmd) : nvme_prp_begin(cmd);
}

static int walk_more(struct nvme_cmd *cmd, int error)
{
	if (error)
		return transfer_error(error);
	return uses_sgl(cmd) ? nvme_sgl_more(cmd) : nvme_prp_more(cmd);
}

/*
 * Fetches the guest's list piece by piece for as long as the walk wants more. A list may have many
 * entries without data: others have their turn in between.
 */
static int fetch_list(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	struct nvme_walk *walk = &cmd->walk;
	int status = NVME_FETCH, error;

	for (unsigned fetched = 0; status == NVME_FETCH; fetched++) {
		if (fetched && ob_loop_spent(ob_dev_loop(n->dev))) {
			walk->state = NVME_WALK_FETCH;
			return NVME_YIELD;
		}
		ob_queues_work(&n->queues, walk->fetch / NVME_SGL_DESCRIPTOR / NVME_WORK_ENTRIES);
		if (!nvme_cmd_page(cmd))
			return NVME_INTERNAL_ERROR;
		error = ob_dma_read(n->dev, walk->address, cmd->page, walk->fetch, &cmd->list_op);
		if (error == -EINPROGRESS) {
			walk->state = NVME_WALK_READ;
			cmd->wait = NVME_WAIT_LIST;
			return NVME_PENDING;
		}
		status = walk_more(cmd, error);
	}
	return status;
}

int nvme_data_find(struct nvme_cmd *cmd, int error)
{
	int status = NVME_FETCH;

	if (cmd->walk.state == NVME_WALK_BEGIN)
		status = walk_begin(cmd);
	else if (cmd->walk.state == NVME_WALK_READ)
		status = walk_more(cmd, error);
	return status == NVME_FETCH ? fetch_list(cmd) : status;
}

int nvme_data_map(struct nvme_cmd *cmd)
{
	int error;

	/* The list was read: the next command can have its page. */
	if (cmd->page) {
		nvme_page_put(cmd->nvme, cmd->page);
		cmd->page = NULL;
	}
	if (!cmd->nranges)
		return 0;
	cmd->xfer.room = cmd->iovs;
	cmd->xfer.room_count = cmd->iovs ? cmd->range_room : 0;
	cmd->has_xfer = true;
	error = ob_xfer_begin(cmd->nvme->dev, &cmd->xfer, cmd->ranges, cmd->nranges, cmd->dir);
	if (error == -EINPROGRESS) {
		cmd->wait = NVME_WAIT_BEGIN;
		return NVME_PENDING;
	}
	return error ? nvme_data_mapped(cmd, error) : 0;
}

int nvme_data_mapped(struct nvme_cmd *cmd, int error)
{
	if (!error)
		return 0;
	cmd->has_xfer = false;
	return transfer_error(error);
}

int nvme_data_end(struct nvme_cmd *cmd, bool keep)
{
	int error = 0;

	if (!cmd->has_xfer)
		return 0;
	error = ob_xfer_end(&cmd->xfer, keep);
	if (error != -EINPROGRESS)
		return nvme_data_ended(cmd, error);
	/* A device that is to be quiet does not wait for its client: from the beginning, later. */
	if (cmd->nvme->quiescing)
		return NVME_SUSPEND;
	cmd->wait = NVME_WAIT_END;
	return NVME_PENDING;
}

int nvme_data_ended(struct nvme_cmd *cmd, int error)
{
	cmd->has_xfer = false;
	return error ? transfer_error(error) : 0;
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

	ob_queues_work(&cmd->nvme->queues,
	               cmd->data_length / NVME_WORK_BYTES + cmd->nholes / NVME_WORK_ENTRIES);
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
