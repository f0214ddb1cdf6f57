/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Namespaces and the drives behind them: requests, sweeps over a range in many requests, and what a
 * drive's errors are called in NVMe.
 */
#include <errno.h>

#include "internal.h"

int nvme_block_error(struct nvme_cmd *cmd, int error, bool write)
{
	struct nvme *n = cmd->nvme;

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

static void request_done(struct ob_block_request *request, int error)
{
	struct nvme_cmd *cmd = ob_container_of(request, struct nvme_cmd, request);
	struct nvme *n = cmd->nvme;

	n->requests--;
	cmd->phase = NVME_WORKING;
	if (cmd->dropped)
		nvme_cmd_free(cmd);
	else
		cmd->block_done(cmd, error);
	nvme_request_ended(n);
}

int nvme_submit(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags, uint64_t offset,
                uint64_t length, void (*done)(struct nvme_cmd *cmd, int error))
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
	request->done = request_done;
	request->block = cmd->ns->block;
	cmd->block_done = done;
	error = ob_block_submit(cmd->ns->block, request);
	if (error == -EINPROGRESS) {
		cmd->phase = NVME_BLOCK;
		n->requests++;
	} else {
		n->work += length / NVME_WORK_BYTES;
	}
	return error;
}

/*
 * A drive that frees or zeroes without looking at each byte takes a long piece in the time of a
 * short one, and one that writes zeroes takes time by the byte. So a piece grows while it is over
 * at once, and shrinks when everybody who wants this to end would have to wait for it. A long one
 * that meets data after a hole is ended by the drive before its end.
 */
static void pace(struct nvme_cmd *cmd)
{
	uint64_t now = ob_loop_now(), took = now - cmd->sweep_began;

	if (!cmd->sweep_most)
		return;
	if (took < NVME_SWEEP_QUICK && cmd->sweep_chunk <= cmd->sweep_most / 2)
		cmd->sweep_chunk *= 2;
	else if (took > NVME_SWEEP_SLOW && cmd->sweep_chunk > NVME_WORK_CHUNK)
		cmd->sweep_chunk /= 2;
	nvme_format_progress(cmd, now);
}

static void sweep(struct nvme_cmd *cmd, int error);

/* A piece has ended: as a whole, or with what was left of it to be asked for again. */
static void piece_ended(struct nvme_cmd *cmd)
{
	cmd->offset -= cmd->request.left;
	cmd->length += cmd->request.left;
	pace(cmd);
}

static void sweep_next(struct nvme_cmd *cmd, int error)
{
	piece_ended(cmd);
	sweep(cmd, error);
}

static void sweep_again(struct nvme_cmd *cmd)
{
	sweep(cmd, 0);
}

static void sweep(struct nvme_cmd *cmd, int error)
{
	uint64_t chunk = cmd->length < cmd->sweep_chunk ? cmd->length : cmd->sweep_chunk;
	uint64_t offset = cmd->offset;

	if (error || !chunk) {
		cmd->swept(cmd, error);
		return;
	}
	cmd->offset += chunk;
	cmd->length -= chunk;
	cmd->bulk_iov = (struct iovec){cmd->bulk, chunk};
	cmd->request.iov = &cmd->bulk_iov;
	cmd->request.iovcnt = 1;
	cmd->sweep_began = ob_loop_now();
	error = nvme_submit(cmd, cmd->sweep_op, cmd->sweep_flags, offset, chunk, sweep_next);
	if (error == -EINPROGRESS)
		return;
	piece_ended(cmd);
	if (error || !cmd->length)
		cmd->swept(cmd, error);
	else
		nvme_cmd_yield(cmd, sweep_again);
}

void nvme_sweep(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags, uint32_t chunk,
                void (*swept)(struct nvme_cmd *cmd, int error))
{
	uint32_t most = nvme_chunk_of(cmd->ns, op);

	cmd->sweep_op = op;
	cmd->sweep_flags = flags;
	cmd->sweep_chunk = chunk < most ? chunk : most;
	cmd->sweep_most = 0;
	cmd->swept = swept;
	sweep(cmd, 0);
}

void nvme_sweep_paced(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags,
                      void (*swept)(struct nvme_cmd *cmd, int error))
{
	bool copies = ob_block_info(cmd->ns->block)->copies;

	cmd->sweep_op = op;
	cmd->sweep_flags = flags | OB_BLOCK_PARTLY;
	cmd->sweep_chunk = nvme_chunk_of(cmd->ns, op);
	/* Memory is freed on the spot, by the page. */
	cmd->sweep_most = copies ? cmd->sweep_chunk : cmd->length / NVME_SWEEP_PIECES;
	cmd->swept = swept;
	sweep(cmd, 0);
}
