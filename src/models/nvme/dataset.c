/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dataset Management (NVMe 1.4, 6.7): what the guest no longer needs is discarded on the drive,
 * range by range. The other attributes are hints, and are not used.
 */
#include <errno.h>

#include "internal.h"

static uint64_t range_lba(const struct nvme_cmd *cmd, unsigned i)
{
	return ob_get_le64(cmd->page + i * sizeof(struct nvme_dataset_range) +
	                   offsetof(struct nvme_dataset_range, lba));
}

static uint64_t range_blocks(const struct nvme_cmd *cmd, unsigned i)
{
	return ob_get_le32(cmd->page + i * sizeof(struct nvme_dataset_range) +
	                   offsetof(struct nvme_dataset_range, blocks));
}

static unsigned range_count(const struct nvme_cmd *cmd)
{
	return (cmd->dw[10] & 0xff) + 1;
}

/* Makes the next range that is not empty the one at hand; false: there are no more. */
static bool next_range(struct nvme_cmd *cmd)
{
	unsigned shift = nvme_lba_shift(cmd->nvme, cmd->ns);

	while (!cmd->length && cmd->step < range_count(cmd)) {
		unsigned i = cmd->step++;

		cmd->offset = cmd->ns->offset + (range_lba(cmd, i) << shift);
		cmd->length = range_blocks(cmd, i) << shift;
	}
	return cmd->length;
}

/* 0 or a status. They are our copy. */
static int check_ranges(const struct nvme_cmd *cmd)
{
	uint64_t size = nvme_blocks(cmd->nvme, cmd->ns);

	for (unsigned i = 0; i < range_count(cmd); i++) {
		uint64_t lba = range_lba(cmd, i);

		if (lba > size || range_blocks(cmd, i) > size - lba)
			return NVME_LBA_RANGE;
	}
	return 0;
}

/*
 * One after the other, and so much at a time that everybody else has turns: a drive may do it on
 * the spot.
 */
static int discard_ranges(struct nvme_cmd *cmd, int error)
{
	uint64_t chunk = nvme_chunk_of(cmd->ns, OB_BLOCK_DISCARD), budget = chunk;
	bool begun = false;

	while (!error && next_range(cmd)) {
		uint64_t offset = cmd->offset, length = cmd->length;

		if (length > chunk)
			length = chunk;
		if (length > budget || (begun && ob_loop_spent(ob_dev_loop(cmd->nvme->dev))))
			return NVME_YIELD;
		begun = true;
		budget -= length;
		cmd->offset += length;
		cmd->length -= length;
		error = nvme_submit(cmd, OB_BLOCK_DISCARD, 0, offset, length);
	}
	return error == -EINPROGRESS ? NVME_PENDING : nvme_block_status(cmd, error, true);
}

int nvme_dataset_check(struct nvme_cmd *cmd)
{
	if (ob_block_info(cmd->ns->block)->read_only)
		return NVME_WRITE_PROTECTED;
	if (cmd->ns->formatting)
		return NVME_FORMAT_IN_PROGRESS;
	if (cmd->dw[11] & NVME_DATASET_DEALLOCATE)
		cmd->data_length = range_count(cmd) * (uint32_t)sizeof(struct nvme_dataset_range);
	cmd->length = 0;
	return 0;
}

int nvme_dataset_work(struct nvme_cmd *cmd, int error)
{
	int status = 0;

	if (!cmd->data_length)
		return 0;
	if (!cmd->step)
		status = check_ranges(cmd);
	if (status || !ob_block_info(cmd->ns->block)->discard)
		return status;
	return discard_ranges(cmd, error);
}
