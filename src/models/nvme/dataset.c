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

static void discard_again(struct nvme_cmd *cmd);

/*
 * One after the other, and so much at a time that everybody else has turns: a drive may do it on
 * the spot. The ranges were checked, and are our copy.
 */
static void discard_next(struct nvme_cmd *cmd, int error)
{
	uint64_t chunk = nvme_chunk_of(cmd->ns, OB_BLOCK_DISCARD), budget = chunk;
	bool begun = false;

	while (!error && next_range(cmd)) {
		uint64_t offset = cmd->offset, length = cmd->length;

		if (length > chunk)
			length = chunk;
		if (length > budget || (begun && ob_loop_spent(ob_dev_loop(cmd->nvme->dev)))) {
			nvme_cmd_yield(cmd, discard_again);
			return;
		}
		begun = true;
		budget -= length;
		cmd->offset += length;
		cmd->length -= length;
		error = nvme_submit(cmd, OB_BLOCK_DISCARD, 0, offset, length, discard_next);
		if (error == -EINPROGRESS)
			return;
	}
	nvme_complete(cmd, nvme_block_status(cmd, error, true));
}

static void discard_again(struct nvme_cmd *cmd)
{
	discard_next(cmd, 0);
}

static void received(struct nvme_cmd *cmd)
{
	uint64_t size = nvme_blocks(cmd->nvme, cmd->ns);

	for (unsigned i = 0; i < range_count(cmd); i++) {
		cmd->lba = range_lba(cmd, i);
		if (cmd->lba > size || range_blocks(cmd, i) > size - cmd->lba) {
			nvme_complete(cmd, NVME_LBA_RANGE);
			return;
		}
	}
	cmd->length = 0;
	if (ob_block_info(cmd->ns->block)->discard)
		discard_next(cmd, 0);
	else
		nvme_complete(cmd, 0);
}

static void mapped(struct nvme_cmd *cmd)
{
	if (!nvme_cmd_page(cmd)) {
		nvme_complete(cmd, NVME_INTERNAL_ERROR);
		return;
	}
	nvme_data_copy(cmd, cmd->page, NVME_PAGE);
	cmd->ended = received;
	nvme_data_end(cmd, 0, false);
}

int nvme_dataset(struct nvme_cmd *cmd)
{
	uint32_t length = range_count(cmd) * (uint32_t)sizeof(struct nvme_dataset_range);

	if (ob_block_info(cmd->ns->block)->read_only)
		return NVME_WRITE_PROTECTED;
	if (cmd->ns->formatting)
		return NVME_FORMAT_IN_PROGRESS;
	if (!(cmd->dw[11] & NVME_DATASET_DEALLOCATE))
		return 0;
	return nvme_map(cmd, length, OB_DMA_FROM_CLIENT, mapped);
}
