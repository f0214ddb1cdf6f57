/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scatter gather lists (NVMe 1.4, 4.4). The entry of a command holds one descriptor: the data, or
 * where a segment of descriptors is. The last descriptor of a segment may lead to another segment;
 * one that was announced as the last segment must not.
 *
 * Bit buckets are bytes of a read that the guest does not want; other commands pass over them.
 * Offsets instead of addresses, keyed and transport descriptors are for fabrics and controller
 * memory buffers, and refused.
 */
#include "internal.h"

/* A walk over segments without data would never end by itself. */
enum { MAX_DESCRIPTORS = 16384 };

static int data_block(struct nvme_cmd *cmd, uint64_t address, uint32_t length)
{
	int status = 0;

	if (length > cmd->walk.left)
		return NVME_DATA_SGL_LENGTH;
	if (length)
		status = nvme_add_range(cmd, address, length);
	cmd->walk.left -= length;
	return status;
}

static int bit_bucket(struct nvme_cmd *cmd, uint32_t length)
{
	int status;

	if (cmd->dir == OB_DMA_FROM_CLIENT)
		return 0;
	if (length > cmd->walk.left)
		return NVME_DATA_SGL_LENGTH;
	status = nvme_add_hole(cmd, length);
	cmd->walk.left -= length;
	return status;
}

static int fetch(struct nvme_cmd *cmd)
{
	struct nvme_walk *walk = &cmd->walk;

	walk->fetch = walk->segment_left < NVME_PAGE ? (uint32_t)walk->segment_left : NVME_PAGE;
	return NVME_FETCH;
}

static int segment(struct nvme_cmd *cmd, uint64_t address, uint32_t length, bool last)
{
	if (cmd->walk.last || !length || length % NVME_SGL_DESCRIPTOR || address & 7)
		return NVME_INVALID_SGL_SEGMENT;
	cmd->walk.address = address;
	cmd->walk.segment_left = length;
	cmd->walk.last = last;
	return fetch(cmd);
}

static int descriptor(struct nvme_cmd *cmd, const uint8_t *bytes, bool at_end)
{
	uint64_t address = ob_get_le64(bytes);
	uint32_t length = ob_get_le32(bytes + 8);
	unsigned type = bytes[15] >> 4, subtype = bytes[15] & 15;

	if (++cmd->walk.descriptors > MAX_DESCRIPTORS)
		return NVME_INVALID_SGL_COUNT;
	if (subtype || type > NVME_SGL_LAST_SEGMENT)
		return NVME_SGL_TYPE;
	if (type == NVME_SGL_DATA)
		return data_block(cmd, address, length);
	if (type == NVME_SGL_BIT_BUCKET)
		return bit_bucket(cmd, length);
	if (!cmd->walk.last && !at_end)
		return NVME_INVALID_SGL_COUNT;
	return segment(cmd, address, length, type == NVME_SGL_LAST_SEGMENT);
}

int nvme_sgl_begin(struct nvme_cmd *cmd)
{
	uint8_t bytes[NVME_SGL_DESCRIPTOR];
	int status;

	for (unsigned i = 0; i < 4; i++)
		ob_put_le32(bytes + (size_t)i * 4, cmd->dw[6 + i]);
	cmd->walk.last = false;
	cmd->walk.descriptors = 0;
	status = descriptor(cmd, bytes, true);
	if (!status && cmd->walk.left)
		status = NVME_DATA_SGL_LENGTH;
	return status;
}

int nvme_sgl_more(struct nvme_cmd *cmd)
{
	struct nvme_walk *walk = &cmd->walk;

	for (size_t at = 0; at < walk->fetch; at += NVME_SGL_DESCRIPTOR) {
		int status;

		walk->segment_left -= NVME_SGL_DESCRIPTOR;
		status = descriptor(cmd, cmd->page + at, !walk->segment_left);
		if (status)
			return status;
	}
	if (walk->segment_left) {
		walk->address += walk->fetch;
		return fetch(cmd);
	}
	return walk->left ? NVME_DATA_SGL_LENGTH : 0;
}
