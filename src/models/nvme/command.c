/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A command's way through its phases, and what becomes of commands when the controller is reset or
 * the device is quiesced.
 *
 * nvme_cmd_advance() goes through the phases from wherever the command stands, as far as it gets.
 * Each phase may be over at once or wait, for the client's memory or for a drive; what ends the
 * wait (wait.c) has the command advance again. What an opcode does in these phases is in its entry
 * of the table (opcodes.c). A command that waits for the client when the device is quiesced begins
 * again from its entry when the device resumes: what it did until then nobody has seen.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static bool moves_page(const struct nvme_cmd *cmd, enum nvme_data data)
{
	return cmd->op->data == data && cmd->data_length;
}

/* Finds the opcode, and checks what is the same for all of a command set. */
static int check(struct nvme_cmd *cmd)
{
	const struct nvme_op *op = nvme_op_find(cmd->sqid, nvme_opcode(cmd));

	if (cmd->dw[0] & NVME_CDW0_FUSE) /* fused operations are not offered */
		return NVME_INVALID_FIELD;
	if (!op)
		return NVME_INVALID_OPCODE;
	cmd->op = op;
	cmd->dir = op->data == NVME_DATA_TO_GUEST || op->data == NVME_PAGE_TO_GUEST
	                   ? OB_DMA_TO_CLIENT
	                   : OB_DMA_FROM_CLIENT;
	if (cmd->sqid) {
		cmd->ns = nvme_namespace(cmd->nvme, cmd->dw[1]);
		if (!cmd->ns && !(op->any_nsid && cmd->dw[1] == NVME_NSID_ALL))
			return nvme_namespace_status(cmd->nvme, cmd->dw[1]);
	} else if (cmd->dw[0] & NVME_CDW0_PSDT) {
		/* Over PCI Express, admin commands use PRPs (4.2). */
		return NVME_INVALID_FIELD;
	}
	return op->check ? op->check(cmd) : 0;
}

/* Before the drive works: what comes in a page is copied once, and the transfer is over. */
static int receive_page(struct nvme_cmd *cmd)
{
	if (!moves_page(cmd, NVME_PAGE_FROM_GUEST))
		return 0;
	if (!nvme_cmd_page(cmd))
		return NVME_INTERNAL_ERROR;
	nvme_data_copy(cmd, cmd->page, NVME_PAGE);
	return nvme_data_end(cmd, false);
}

/* Several requests come back here after each; a single one goes on with the next phase. */
static int work(struct nvme_cmd *cmd, int *error)
{
	const struct nvme_op *op = cmd->op;

	if (op->work) {
		int status = op->work(cmd, *error);

		*error = 0;
		if (status)
			return status;
	}
	cmd->phase = NVME_FINISH;
	if (op->data == NVME_DATA_TO_GUEST || op->data == NVME_DATA_FROM_GUEST)
		*error = nvme_submit_data(cmd);
	return *error == -EINPROGRESS ? NVME_PENDING : 0;
}

static int finish(struct nvme_cmd *cmd, int error)
{
	int status = 0;

	if (error)
		return nvme_block_error(cmd, error, cmd->op->block != OB_BLOCK_READ);
	if (moves_page(cmd, NVME_PAGE_TO_GUEST)) {
		if (!nvme_cmd_page(cmd))
			return NVME_INTERNAL_ERROR;
		memset(cmd->page, 0, NVME_PAGE);
	}
	if (cmd->op->finish)
		status = cmd->op->finish(cmd);
	if (!status && moves_page(cmd, NVME_PAGE_TO_GUEST))
		nvme_data_copy(cmd, cmd->page, NVME_PAGE);
	return status;
}

/* As far as the command gets: 0 when it is done, or why it goes no further. */
static int run_phases(struct nvme_cmd *cmd, int error)
{
	int status;

	switch (cmd->phase) {
	case NVME_CHECK:
		status = check(cmd);
		if (status)
			return status;
		cmd->phase = NVME_LIST;
		/* fallthrough */
	case NVME_LIST:
		status = cmd->data_length ? nvme_data_find(cmd, error) : 0;
		if (status)
			return status;
		error = 0;
		cmd->phase = NVME_MAPPED;
		status = cmd->data_length ? nvme_data_map(cmd) : 0;
		if (status)
			return status;
		/* fallthrough */
	case NVME_MAPPED:
		status = nvme_data_mapped(cmd, error);
		if (!status)
			status = receive_page(cmd);
		if (status)
			return status;
		error = 0;
		cmd->phase = NVME_WORK;
		/* fallthrough */
	case NVME_WORK:
		status = work(cmd, &error);
		if (status)
			return status;
		/* fallthrough */
	case NVME_FINISH:
		status = finish(cmd, error);
		if (status)
			return status;
		cmd->phase = NVME_ENDED;
		/* What an error left there, where that is ignored, is not for the guest. */
		status = nvme_data_end(cmd, error != NVME_IGNORED);
		error = 0;
		if (status)
			return status;
		/* fallthrough */
	default:
		return nvme_data_ended(cmd, error);
	}
}

static void yield(struct nvme_cmd *cmd)
{
	cmd->wait = NVME_WAIT_TURN;
	nvme_link_add(&cmd->nvme->yielded, &cmd->turn_link);
	ob_queues_yielded(&cmd->nvme->queues);
}

/* What remains of an Asynchronous Event Request is plain state: it may wait for ever. */
static void forget(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;

	n->sqs[cmd->sqid].in_flight--;
	nvme_cmd_free(cmd);
	nvme_events_post(n);
}

void nvme_cmd_advance(struct nvme_cmd *cmd, int error)
{
	int status;

	cmd->wait = NVME_WAIT_NONE;
	status = run_phases(cmd, error);
	switch (status) {
	case NVME_PENDING:
		break;
	case NVME_YIELD:
		yield(cmd);
		break;
	case NVME_SUSPEND:
		nvme_cmd_suspend(cmd);
		break;
	case NVME_KEPT:
		forget(cmd);
		break;
	default:
		nvme_complete(cmd, status);
		if (!status && cmd->op->completed)
			cmd->op->completed(cmd);
	}
}

void nvme_cmd_start(struct nvme_cmd *cmd)
{
	cmd->phase = NVME_CHECK;
	cmd->result = 0;
	cmd->step = 0;
	cmd->data_length = 0;
	cmd->nranges = 0;
	cmd->walk.state = NVME_WALK_BEGIN;
	nvme_cmd_advance(cmd, 0);
}

/* Those that yield again have their turn next time. */
void nvme_cmds_run_yielded(struct nvme *n)
{
	struct nvme_link *last = n->yielded.prev;

	while (!nvme_link_empty(&n->yielded)) {
		struct nvme_link *link = n->yielded.next;
		struct nvme_cmd *cmd = ob_container_of(link, struct nvme_cmd, turn_link);

		nvme_link_del(link);
		ob_queues_work(&n->queues, 1);
		/* One that was suspended begins again. */
		if (cmd->wait == NVME_WAIT_RESUME)
			nvme_cmd_start(cmd);
		else
			nvme_cmd_advance(cmd, 0);
		if (link == last || ob_queues_spent(&n->queues))
			break;
	}
	if (!nvme_link_empty(&n->yielded))
		ob_queues_yielded(&n->queues);
}

/* Takes a command out of what it waits for; false: a drive still works on it. */
static bool stop_waiting(struct nvme_cmd *cmd)
{
	if (cmd->wait == NVME_WAIT_LIST)
		ob_dma_cancel(cmd->nvme->dev, &cmd->list_op);
	return cmd->wait != NVME_WAIT_DRIVE;
}

static void drop_one(struct nvme_cmd *cmd)
{
	cmd->nvme->sqs[cmd->sqid].in_flight--;
	if (stop_waiting(cmd)) {
		nvme_cmd_free(cmd);
		return;
	}
	cmd->dropped = true;
	nvme_link_del(&cmd->link);
}

static void suspend_one(struct nvme_cmd *cmd)
{
	if (cmd->wait == NVME_WAIT_QUEUE || !stop_waiting(cmd))
		return;
	nvme_link_del(&cmd->turn_link);
	nvme_cmd_suspend(cmd);
}

void nvme_cmds_stop(struct nvme *n, bool drop)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		struct nvme_link *ring = &n->sqs[i].commands;

		for (struct nvme_link *at = ring->next, *next; at != ring; at = next) {
			next = at->next;
			if (drop)
				drop_one(nvme_cmd_of(at));
			else
				suspend_one(nvme_cmd_of(at));
		}
	}
}

void nvme_cmds_resume(struct nvme *n)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		struct nvme_link *ring = &n->sqs[i].commands;

		for (struct nvme_link *at = ring->next; at != ring; at = at->next) {
			struct nvme_cmd *cmd = nvme_cmd_of(at);

			if (cmd->wait == NVME_WAIT_RESUME)
				nvme_link_add(&n->yielded, &cmd->turn_link);
		}
	}
	ob_queues_yielded(&n->queues);
}
