/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to the drives behind namespaces, sweeps over a range in many requests, and what a
 * drive's errors are called in NVMe.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

int nvme_block_error(struct nvme_cmd *cmd, int error, bool write)
{
	struct nvme *n = cmd->nvme;

	if (error == NVME_IGNORED)
		return 0;
	switch (-error) {
	case ENOSPC:
	case EDQUOT:
		return NVME_CAPACITY_EXCEEDED;
	case EROFS:
	case EPERM:
		return NVME_READ_ONLY_RANGE;
	case ENOMEM:
	case EINVAL:
		return NVME_INTERNAL_ERROR;
	default:
		n->state->health.media_errors++;
		ob_dev_warn(n->dev, "%s of drive %s failed at byte %llu: error %d",
		            write ? "write" : "read", ob_block_name(cmd->request.block),
		            (unsigned long long)cmd->request.offset, -error);
		return write ? NVME_WRITE_FAULT : NVME_READ_ERROR;
	}
}

/* A command that is kept waits as one does that was waiting for its client in a quiesce. */
int nvme_block_settle(struct nvme_cmd *cmd, int error)
{
	enum ob_block_op op = cmd->request.op;

	switch (ob_dev_block_error(cmd->nvme->dev, cmd->ns->block, op, error)) {
	case OB_ERROR_IGNORE:
		cmd->request.left = 0;
		return op == OB_BLOCK_READ ? NVME_IGNORED : 0;
	case OB_ERROR_STOP:
		nvme_cmd_suspend(cmd);
		return -EINPROGRESS;
	case OB_ERROR_REPORT:
		break;
	}
	return error;
}

int nvme_submit(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags, uint64_t offset,
                uint64_t length)
{
	struct ob_block_request *request = &cmd->request;
	struct nvme *n = cmd->nvme;
	int error;

	if (n->quiescing) {
		nvme_cmd_suspend(cmd);
		return -EINPROGRESS;
	}
	request->op = op;
	request->flags = flags;
	request->offset = offset;
	request->length = length;
	request->block = cmd->ns->block;
	error = ob_block_submit(cmd->ns->block, request);
	if (error == -EINPROGRESS) {
		cmd->wait = NVME_WAIT_DRIVE;
		n->requests++;
		return error;
	}
	ob_queues_work(&n->queues, length / NVME_WORK_BYTES);
	return error ? nvme_block_settle(cmd, error) : 0;
}

bool nvme_make_bulk(struct nvme_cmd *cmd, size_t size)
{
	free(cmd->bulk);
	cmd->bulk = malloc(size);
	return cmd->bulk;
}

static void use_bulk(struct nvme_cmd *cmd, size_t length)
{
	cmd->bulk_iov = (struct iovec){cmd->bulk, length};
	cmd->request.iov = &cmd->bulk_iov;
	cmd->request.iovcnt = 1;
}

/*
 * Data goes between guest and drive directly. Where the drive's bytes have gaps on their way to the
 * guest (bit buckets), or are compared, they go to a buffer of ours.
 */
int nvme_submit_data(struct nvme_cmd *cmd)
{
	enum ob_block_op op = cmd->op->block;
	bool read = op == OB_BLOCK_READ;

	if (read && (cmd->nholes || cmd->op->data == NVME_DATA_FROM_GUEST)) {
		if (!nvme_make_bulk(cmd, cmd->length))
			return -ENOMEM;
		use_bulk(cmd, cmd->length);
	} else {
		cmd->request.iov = cmd->xfer.iov;
		cmd->request.iovcnt = cmd->xfer.iovcnt;
	}
	return nvme_submit(cmd, op, read ? 0 : nvme_write_flags(cmd), cmd->offset, cmd->length);
}

/* Sweeps */

/*
 * A drive that frees or zeroes without looking at each byte takes a long piece in the time of a
 * short one, and one that writes zeroes takes time by the byte. So a piece grows while it is over
 * at once, and shrinks when everybody who wants this to end would have to wait for it. A long one
 * that meets data after a hole is ended by the drive before its end.
 */
static void pace(struct nvme_sweep *sweep)
{
	uint64_t took = ob_loop_now() - sweep->began;

	if (!sweep->most)
		return;
	if (took < NVME_SWEEP_QUICK && sweep->chunk <= sweep->most / 2)
		sweep->chunk *= 2;
	else if (took > NVME_SWEEP_SLOW && sweep->chunk > NVME_WORK_CHUNK)
		sweep->chunk /= 2;
}

/* A piece has ended: as a whole, or with what was left of it to be asked for again. */
static void piece_ended(struct nvme_cmd *cmd)
{
	cmd->offset -= cmd->request.left;
	cmd->length += cmd->request.left;
	pace(&cmd->sweep);
	cmd->sweep.began = 0;
}

static int submit_piece(struct nvme_cmd *cmd)
{
	struct nvme_sweep *sweep = &cmd->sweep;
	uint64_t chunk = cmd->length < sweep->chunk ? cmd->length : sweep->chunk;
	uint64_t offset = cmd->offset;

	cmd->offset += chunk;
	cmd->length -= chunk;
	use_bulk(cmd, chunk);
	sweep->began = ob_loop_now();
	return nvme_submit(cmd, sweep->op, sweep->flags, offset, chunk);
}

int nvme_sweep(struct nvme_cmd *cmd, int error)
{
	if (cmd->sweep.began)
		piece_ended(cmd);
	if (!error && cmd->length) {
		error = submit_piece(cmd);
		if (error == -EINPROGRESS)
			return NVME_PENDING;
		piece_ended(cmd);
		if (!error && cmd->length)
			return NVME_YIELD;
	}
	return nvme_block_status(cmd, error, cmd->sweep.op != OB_BLOCK_READ);
}

void nvme_sweep_begin(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags, uint32_t chunk)
{
	uint32_t most = nvme_chunk_of(cmd->ns, op);

	cmd->sweep =
		(struct nvme_sweep){.op = op, .flags = flags, .chunk = chunk < most ? chunk : most};
}

void nvme_sweep_begin_paced(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags)
{
	uint64_t chunk = nvme_chunk_of(cmd->ns, op);
	bool copies = ob_block_info(cmd->ns->block)->copies;

	/* Memory is freed on the spot, by the page. */
	cmd->sweep = (struct nvme_sweep){
		.op = op,
		.flags = flags | OB_BLOCK_PARTLY,
		.chunk = chunk,
		.most = copies ? chunk : cmd->length / NVME_SWEEP_PIECES,
	};
}
