/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVM command set (NVMe 1.4, 6) but for Dataset Management: Read, Write, Flush, Write Zeroes,
 * Compare and Verify. Data goes between guest and drive directly; only a read into bit buckets and
 * a comparison go through a buffer.
 */
#include <errno.h>
#include <stdlib.h>
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

/* The data fits into 32 bits: 65536 blocks of 4096 bytes are 256 MiB. */
static int map(struct nvme_cmd *cmd, enum ob_dma_dir dir, void (*mapped)(struct nvme_cmd *cmd))
{
	return nvme_map(cmd, (uint32_t)cmd->length, dir, mapped);
}

static bool make_bulk(struct nvme_cmd *cmd, size_t size)
{
	free(cmd->bulk);
	cmd->bulk = malloc(size);
	return cmd->bulk;
}

static unsigned write_flags(const struct nvme_cmd *cmd)
{
	/* Without a volatile write cache, each write is on stable storage when it completes. */
	if (cmd->dw[12] & NVME_RW_FUA || !cmd->nvme->state->features.write_cache)
		return OB_BLOCK_FUA;
	return 0;
}

static void count_read(struct nvme_cmd *cmd)
{
	cmd->nvme->state->health.reads++;
	cmd->nvme->state->health.bytes_read += cmd->data_length;
}

/* Read */

static void read_done(struct nvme_cmd *cmd, int error)
{
	if (!error) {
		count_read(cmd);
		if (cmd->bulk)
			nvme_data_copy(cmd, cmd->bulk, cmd->data_length);
	}
	nvme_data_end(cmd, nvme_block_status(cmd, error, false), !error);
}

static void submit_read(struct nvme_cmd *cmd, void (*done)(struct nvme_cmd *cmd, int error))
{
	int error;

	if (cmd->bulk) {
		cmd->bulk_iov = (struct iovec){cmd->bulk, cmd->length};
		cmd->request.iov = &cmd->bulk_iov;
		cmd->request.iovcnt = 1;
	} else {
		cmd->request.iov = cmd->xfer.iov;
		cmd->request.iovcnt = cmd->xfer.iovcnt;
	}
	error = nvme_submit(cmd, OB_BLOCK_READ, 0, cmd->offset, cmd->length, done);
	if (error != -EINPROGRESS)
		done(cmd, error);
}

static void read_mapped(struct nvme_cmd *cmd)
{
	/* Bit buckets: the drive's bytes have gaps on their way to the guest. */
	if (cmd->nholes && !make_bulk(cmd, cmd->length))
		nvme_complete(cmd, NVME_INTERNAL_ERROR);
	else
		submit_read(cmd, read_done);
}

static int do_read(struct nvme_cmd *cmd)
{
	int status = locate(cmd);

	return status ? status : map(cmd, OB_DMA_TO_CLIENT, read_mapped);
}

/* Write */

static void write_done(struct nvme_cmd *cmd, int error)
{
	if (!error) {
		cmd->nvme->state->health.writes++;
		cmd->nvme->state->health.bytes_written += cmd->data_length;
	}
	nvme_data_end(cmd, nvme_block_status(cmd, error, true), false);
}

static void write_mapped(struct nvme_cmd *cmd)
{
	int error;

	cmd->request.iov = cmd->xfer.iov;
	cmd->request.iovcnt = cmd->xfer.iovcnt;
	error = nvme_submit(cmd, OB_BLOCK_WRITE, write_flags(cmd), cmd->offset, cmd->length,
	                    write_done);
	if (error != -EINPROGRESS)
		write_done(cmd, error);
}

static int do_write(struct nvme_cmd *cmd)
{
	int status = locate(cmd);

	if (!status && ob_block_info(cmd->ns->block)->read_only)
		status = NVME_WRITE_PROTECTED;
	return status ? status : map(cmd, OB_DMA_FROM_CLIENT, write_mapped);
}

/* Compare */

/* Whether the drive's bytes are the guest's, piece by piece. */
static bool is_same(const struct nvme_cmd *cmd)
{
	const uint8_t *bytes = cmd->bulk;

	for (unsigned i = 0; i < cmd->xfer.iovcnt; i++) {
		if (memcmp(bytes, cmd->xfer.iov[i].iov_base, cmd->xfer.iov[i].iov_len) != 0)
			return false;
		bytes += cmd->xfer.iov[i].iov_len;
	}
	return true;
}

static void compare_done(struct nvme_cmd *cmd, int error)
{
	int status = nvme_block_status(cmd, error, false);

	if (!status) {
		count_read(cmd);
		status = is_same(cmd) ? 0 : NVME_COMPARE_FAILURE;
	}
	nvme_data_end(cmd, status, false);
}

static void compare_mapped(struct nvme_cmd *cmd)
{
	if (make_bulk(cmd, cmd->length))
		submit_read(cmd, compare_done);
	else
		nvme_complete(cmd, NVME_INTERNAL_ERROR);
}

static int do_compare(struct nvme_cmd *cmd)
{
	int status = locate(cmd);

	return status ? status : map(cmd, OB_DMA_FROM_CLIENT, compare_mapped);
}

/* Verify: reads, and tells only whether that worked */

static void verified(struct nvme_cmd *cmd, int error)
{
	nvme_complete(cmd, nvme_block_status(cmd, error, false));
}

static int do_verify(struct nvme_cmd *cmd)
{
	uint32_t chunk = VERIFY_CHUNK;
	int status = locate(cmd);

	if (status)
		return status;
	if (chunk > cmd->length)
		chunk = (uint32_t)cmd->length;
	if (!make_bulk(cmd, chunk))
		return NVME_INTERNAL_ERROR;
	nvme_sweep(cmd, OB_BLOCK_READ, 0, chunk, verified);
	return NVME_PENDING;
}

/* Write Zeroes */

static void zeroed(struct nvme_cmd *cmd, int error)
{
	nvme_complete(cmd, nvme_block_status(cmd, error, true));
}

static int do_write_zeroes(struct nvme_cmd *cmd)
{
	unsigned flags = write_flags(cmd);
	int status = locate(cmd);

	if (!status && ob_block_info(cmd->ns->block)->read_only)
		status = NVME_WRITE_PROTECTED;
	if (status)
		return status;
	if (cmd->length > NVME_ZEROES_MAX)
		return NVME_INVALID_FIELD;
	if (cmd->dw[12] & NVME_ZEROES_DEAC)
		flags |= OB_BLOCK_UNMAP;
	nvme_sweep(cmd, OB_BLOCK_WRITE_ZEROES, flags, NVME_WORK_CHUNK, zeroed);
	return NVME_PENDING;
}

/* Flush: a namespace's drive, or all of them */

static void flush_next(struct nvme_cmd *cmd, int error)
{
	const struct ob_block_list *drives = &cmd->nvme->props->drives;
	bool all = cmd->dw[1] == NVME_NSID_ALL;

	while (!error && cmd->step < (all ? drives->count : 1)) {
		/* Namespaces of a drive follow each other, the same number on each. */
		if (all)
			cmd->ns = &cmd->nvme->ns[(size_t)cmd->step * cmd->nvme->props->namespaces];
		cmd->step++;
		error = nvme_submit(cmd, OB_BLOCK_FLUSH, 0, 0, 0, flush_next);
		if (error == -EINPROGRESS)
			return;
	}
	nvme_complete(cmd, nvme_block_status(cmd, error, true));
}

static int do_flush(struct nvme_cmd *cmd)
{
	flush_next(cmd, 0);
	return NVME_PENDING;
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

int nvme_io(struct nvme_cmd *cmd)
{
	static int (*const handlers[])(struct nvme_cmd * cmd) = {
		[NVME_IO_FLUSH] = do_flush,
		[NVME_IO_WRITE] = do_write,
		[NVME_IO_READ] = do_read,
		[NVME_IO_COMPARE] = do_compare,
		[NVME_IO_WRITE_ZEROES] = do_write_zeroes,
		[NVME_IO_DATASET] = nvme_dataset,
		[NVME_IO_VERIFY] = do_verify,
	};
	unsigned opcode = nvme_opcode(cmd);

	if (opcode >= sizeof(handlers) / sizeof(*handlers) || !handlers[opcode])
		return NVME_INVALID_OPCODE;
	cmd->ns = nvme_namespace(cmd->nvme, cmd->dw[1]);
	if (!cmd->ns && !(opcode == NVME_IO_FLUSH && cmd->dw[1] == NVME_NSID_ALL))
		return NVME_INVALID_NAMESPACE;
	return handlers[opcode](cmd);
}
