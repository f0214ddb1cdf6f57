/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What ends the waits of commands: the client's memory was read or written, or a drive is done. A
 * command whose wait has ended is advanced; nothing else is ever called back. These are the only
 * functions that are called from below.
 */
#include <errno.h>

#include "internal.h"

static void list_read(struct ob_dma_op *op, int error)
{
	nvme_cmd_advance(ob_container_of(op, struct nvme_cmd, list_op), error);
}

static void xfer_ready(struct ob_xfer *xfer, int error)
{
	nvme_cmd_advance(ob_container_of(xfer, struct nvme_cmd, xfer), error);
}

static void request_done(struct ob_block_request *request, int error)
{
	struct nvme_cmd *cmd = ob_container_of(request, struct nvme_cmd, request);
	struct nvme *n = cmd->nvme;

	n->requests--;
	if (error && !cmd->dropped)
		error = nvme_block_settle(cmd, error);
	if (cmd->dropped)
		nvme_cmd_free(cmd);
	else if (error != -EINPROGRESS)
		nvme_cmd_advance(cmd, error);
	/* A reset and a quiesce wait for the last request. */
	nvme_request_ended(n);
}

const struct nvme_waits nvme_waits = {list_read, xfer_ready, request_done};
