/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a walk of PRPs or SGLs has found: ranges of the guest's memory, and holes, bytes of the data
 * that the guest does not want.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

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

/* Room for one more: as many as the next power of 2. */
static bool grow_holes(struct nvme_cmd *cmd)
{
	struct ob_dma_range *holes;

	if (cmd->holes && (cmd->nholes & (cmd->nholes - 1)))
		return true;
	holes = reallocarray(cmd->holes, cmd->nholes ? 2 * (size_t)cmd->nholes : 1, sizeof(*holes));
	if (!holes)
		return false;
	cmd->holes = holes;
	return true;
}

int nvme_add_hole(struct nvme_cmd *cmd, uint64_t length)
{
	uint64_t offset = cmd->data_length - cmd->walk.left;
	struct ob_dma_range *last = cmd->nholes ? &cmd->holes[cmd->nholes - 1] : NULL;

	if (!length)
		return 0;
	if (last && last->address + last->length == offset) {
		last->length += length;
		return 0;
	}
	/* They are held while the client takes its time to answer. */
	if (cmd->nholes == NVME_MAX_RANGES)
		return NVME_INVALID_SGL_COUNT;
	if (!grow_holes(cmd))
		return NVME_INTERNAL_ERROR;
	cmd->holes[cmd->nholes++] = (struct ob_dma_range){offset, length};
	return 0;
}
