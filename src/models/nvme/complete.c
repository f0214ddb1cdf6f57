/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How commands end: the status that the guest gets (NVMe 1.4, 4.6.1), the Error Information log
 * (5.14.1.1), and the way to the completion queue.
 */
#include "internal.h"

void nvme_log_error(struct nvme *n, const struct nvme_cmd *cmd, uint16_t sqid, uint16_t status)
{
	struct nvme_state *s = n->state;
	struct nvme_error_entry *entry = &s->errors[s->error_next];

	s->error_next = (uint8_t)((s->error_next + 1u) % NVME_ERROR_ENTRIES);
	s->health.error_count++;
	*entry = (struct nvme_error_entry){
		.count = htole64(s->health.error_count),
		.sqid = htole16(sqid),
		.cid = htole16(cmd ? nvme_cid(cmd) : 0xffff),
		.status = htole16((uint16_t)(status << 1)),
		.location = htole16(0xffff),
		.lba = htole64(cmd ? cmd->lba : 0),
		.nsid = htole32(cmd ? cmd->dw[1] : 0),
	};
}

/* Whether trying the same command once more may succeed (4.6.1.2, Do Not Retry). */
static bool is_permanent(int status)
{
	switch (status) {
	case NVME_DATA_TRANSFER_ERROR:
	case NVME_INTERNAL_ERROR:
	case NVME_ABORT_REQUESTED:
	case NVME_ABORT_SQ_DELETION:
	case NVME_FORMAT_IN_PROGRESS:
	case NVME_CAPACITY_EXCEEDED:
	case NVME_WRITE_FAULT:
	case NVME_READ_ERROR:
		return false;
	default:
		return true;
	}
}

/*
 * A Fabrics command is how some tools find out whether this is a controller over fabrics. It is
 * refused, and no entry of the error log: monitors raise an alarm when that becomes longer.
 */
static int error_status(struct nvme_cmd *cmd, int status)
{
	if (is_permanent(status))
		status |= NVME_DNR;
	if (status == NVME_ABORT_REQUESTED || status == NVME_ABORT_SQ_DELETION)
		return status;
	if (!cmd->sqid && nvme_opcode(cmd) == NVME_ADMIN_FABRICS)
		return status;
	status |= NVME_MORE;
	nvme_log_error(cmd->nvme, cmd, cmd->sqid, (uint16_t)status);
	return status;
}

/* The last command of a queue that is being deleted has completed. */
static void sq_drained(struct nvme_sq *sq)
{
	struct nvme_cmd *deleter = sq->deleter;

	nvme_sq_close(sq);
	nvme_complete(deleter, 0);
}

static void complete_oddly(struct nvme_cmd *cmd, int status)
{
	if (status)
		cmd->status = (uint16_t)error_status(cmd, status);
	if (cmd->nvme->trace)
		nvme_trace_completion(cmd);
}

void nvme_complete(struct nvme_cmd *cmd, int status)
{
	struct nvme *n = cmd->nvme;
	struct nvme_sq *sq = &n->sqs[cmd->sqid];
	struct nvme_cq *cq = &n->cqs[cmd->cqid];

	if (cmd->claims)
		nvme_namespaces_release(cmd);
	nvme_data_release(cmd);
	cmd->status = 0;
	cmd->wait = NVME_WAIT_POST;
	/* One branch for what is rare. */
	if (__builtin_expect((unsigned)status | n->trace, 0))
		complete_oddly(cmd, status);
	nvme_link_del(&cmd->link);
	nvme_link_add(&cq->pending, &cmd->link);
	sq->in_flight--;
	ob_queue_complete(&n->queues, cq->id);
	if (sq->throttled) {
		sq->throttled = false;
		nvme_sq_kick(sq);
	}
	if (sq->deleter && !sq->in_flight)
		sq_drained(sq);
}
