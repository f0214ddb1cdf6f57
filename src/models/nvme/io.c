/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVM command set (NVMe 1.4, 6) but for Dataset Management: Read, Write, Flush, Write Zeroes,
 * Compare and Verify: what each checks before its data is looked for, and what it does when the
 * drive is done.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

enum { VERIFY_CHUNK = 256 * 1024 };

/* The blocks that a command names: checked, and turned into bytes of the drive. 0 or a status. */
static int locate(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	uint64_t size = nvme_blocks(n, cmd->ns), blocks = (cmd->dw[12] & 0xffff) + 1;
	unsigned shift = nvme_lba_shift(n, cmd->ns);

	cmd->lba = nvme_dw64(cmd, 10);
	if (cmd->lba > size || blocks > size - cmd->lba)
		return NVME_LBA_RANGE;
	if (cmd->ns->formatting)
		return NVME_FORMAT_IN_PROGRESS;
	cmd->offset = cmd->ns->offset + (cmd->lba << shift);
	cmd->length = blocks << shift;
	return 0;
}

static int locate_writable(struct nvme_cmd *cmd)
{
	int status = locate(cmd);

	return !status && ob_block_info(cmd->ns->block)->read_only ? NVME_WRITE_PROTECTED : status;
}

static void count_read(struct nvme_cmd *cmd)
{
	cmd->nvme->state->health.reads++;
	cmd->nvme->state->health.bytes_read += cmd->data_length;
}

/* The data fits into 32 bits: 65536 blocks of 4096 bytes are 256 MiB. */
int nvme_read_check(struct nvme_cmd *cmd)
{
	int status = locate(cmd);

	cmd->data_length = (uint32_t)cmd->length;
	return status;
}

int nvme_read_finish(struct nvme_cmd *cmd)
{
	count_read(cmd);
	if (cmd->bulk)
		nvme_data_copy(cmd, cmd->bulk, cmd->data_length);
	return 0;
}

int nvme_write_check(struct nvme_cmd *cmd)
{
	int status = locate_writable(cmd);

	cmd->data_length = (uint32_t)cmd->length;
	return status;
}

int nvme_write_finish(struct nvme_cmd *cmd)
{
	cmd->nvme->state->health.writes++;
	cmd->nvme->state->health.bytes_written += cmd->data_length;
	return 0;
}

/* Compare: whether the drive's bytes are the guest's, piece by piece. */
int nvme_compare_finish(struct nvme_cmd *cmd)
{
	const uint8_t *bytes = cmd->bulk;

	count_read(cmd);
	for (unsigned i = 0; i < cmd->xfer.iovcnt; i++) {
		if (memcmp(bytes, cmd->xfer.iov[i].iov_base, cmd->xfer.iov[i].iov_len) != 0)
			return NVME_COMPARE_FAILURE;
		bytes += cmd->xfer.iov[i].iov_len;
	}
	return 0;
}

/* Verify reads, and tells only whether that worked. */
int nvme_verify_check(struct nvme_cmd *cmd)
{
	uint32_t chunk = VERIFY_CHUNK;
	int status = locate(cmd);

	if (status)
		return status;
	if (chunk > cmd->length)
		chunk = (uint32_t)cmd->length;
	if (!nvme_make_bulk(cmd, chunk))
		return NVME_INTERNAL_ERROR;
	nvme_sweep_begin(cmd, OB_BLOCK_READ, 0, chunk);
	return 0;
}

int nvme_write_zeroes_check(struct nvme_cmd *cmd)
{
	unsigned flags = nvme_write_flags(cmd);
	int status = locate_writable(cmd);

	if (status)
		return status;
	if (cmd->length > NVME_ZEROES_MAX)
		return NVME_INVALID_FIELD;
	if (cmd->dw[12] & NVME_ZEROES_DEAC)
		flags |= OB_BLOCK_UNMAP;
	nvme_sweep_begin(cmd, OB_BLOCK_WRITE_ZEROES, flags, NVME_WORK_CHUNK);
	return 0;
}

/* Flush: a namespace's drive, or all of them. */
int nvme_flush_work(struct nvme_cmd *cmd, int error)
{
	bool all = cmd->dw[1] == NVME_NSID_ALL;

	while (!error) {
		if (all)
			cmd->ns = nvme_next_drive(cmd->nvme, &cmd->step);
		else if (cmd->step++)
			break;
		if (!cmd->ns)
			break;
		error = nvme_submit(cmd, OB_BLOCK_FLUSH, 0, 0, 0);
	}
	return error == -EINPROGRESS ? NVME_PENDING : nvme_block_status(cmd, error, true);
}

void nvme_io_expect(struct nvme *n, const uint8_t *entry)
{
	const struct nvme_namespace *ns = nvme_namespace(n, ob_get_le32(entry + 4));
	uint8_t opcode = entry[0];
	struct ob_block_hint hint;

	if (!ns || !ob_block_info(ns->block)->copies ||
	    (opcode != NVME_IO_READ && opcode != NVME_IO_WRITE))
		return;
	hint = (struct ob_block_hint){
		.op = opcode == NVME_IO_READ ? OB_BLOCK_READ : OB_BLOCK_WRITE,
		.offset = ns->offset + (ob_get_le64(entry + 40) << nvme_lba_shift(n, ns)),
		.length = (ob_get_le16(entry + 48) + UINT64_C(1)) << nvme_lba_shift(n, ns),
	};
	if (hint.op == OB_BLOCK_WRITE) {
		/* The first PRP, or SGL descriptor: to the end of its page. */
		uint64_t address = ob_get_le64(entry + 24);
		uint64_t rest = n->page_size - (address & (n->page_size - 1));

		hint.memory_length = hint.length < rest ? hint.length : rest;
		hint.memory =
			ob_dma_direct(n->dev, address, hint.memory_length, OB_DMA_FROM_CLIENT);
	}
	ob_block_expect(ns->block, &hint);
}
