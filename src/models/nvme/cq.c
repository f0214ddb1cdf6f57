/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Completion queues (NVMe 1.4, 4.6): entries are staged in batches, written to the guest in order,
 * and only then is the guest interrupted, once for all of them. While a queue is full, commands
 * wait with their completions.
 *
 * The tail goes past entries when they are staged: the guest may see them, and ring for them,
 * before we hear that they were written.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static uint32_t free_entries(const struct nvme_cq_state *st)
{
	uint32_t used = nvme_distance(st->head, st->tail, st->entries);

	return st->entries - 1 - used;
}

static void encode_entry(const struct nvme_cmd *cmd, bool phase, uint8_t *bytes)
{
	const struct nvme_sq_state *sq = &cmd->nvme->state->sq[cmd->sqid];

	uint64_t status = (uint16_t)(cmd->status << 1 | phase);

	ob_put_le64(bytes, cmd->result);
	ob_put_le64(bytes + 8, sq->head | (uint64_t)cmd->sqid << 16 |
	                               (uint64_t)nvme_cid(cmd) << 32 | status << 48);
}

/* Takes pending completions as entries that follow each other in memory. Returns how many. */
static unsigned stage_entries(struct nvme_cq *cq)
{
	struct nvme_cq_state *st = nvme_cq_state(cq);
	uint32_t max = free_entries(st);

	if (max > NVME_POST_BATCH)
		max = NVME_POST_BATCH;
	if (max > st->entries - st->tail)
		max = st->entries - st->tail;
	cq->stage_at = st->tail;
	while (cq->staged < max && !nvme_link_empty(&cq->pending)) {
		struct nvme_cmd *cmd = nvme_cmd_of(cq->pending.next);

		encode_entry(cmd, st->phase, cq->stage + (size_t)cq->staged * NVME_CQE_SIZE);
		cq->staged++;
		nvme_cmd_free(cmd);
	}
	st->tail = (uint16_t)(st->tail + cq->staged);
	if (st->tail == st->entries) {
		st->tail = 0;
		st->phase = !st->phase;
	}
	return cq->staged;
}

/* The half with the phase bit last, and after the other one: it makes the entry valid. */
static void store_entry(uint8_t *entry, const uint8_t *bytes)
{
	uint64_t last;

	memcpy(entry, bytes, NVME_CQE_SIZE - 8);
	memcpy(&last, bytes + NVME_CQE_SIZE - 8, 8);
	__atomic_store_n((uint64_t *)(void *)(entry + NVME_CQE_SIZE - 8), last, __ATOMIC_RELEASE);
}

static int write_staged(struct nvme_cq *cq)
{
	struct nvme *n = cq->nvme;
	uint64_t address = nvme_cq_state(cq)->base + (uint64_t)cq->stage_at * NVME_CQE_SIZE;
	size_t length = (size_t)cq->staged * NVME_CQE_SIZE;
	uint8_t *entries = ob_dma_direct(n->dev, address, length, OB_DMA_TO_CLIENT);

	/* Where the client's memory is mapped here, entries may be misaligned. */
	if (!entries || (uintptr_t)entries & 7)
		return ob_dma_write(n->dev, address, cq->stage, length, &cq->op);
	for (unsigned i = 0; i < cq->staged; i++)
		store_entry(entries + (size_t)i * NVME_CQE_SIZE,
		            cq->stage + (size_t)i * NVME_CQE_SIZE);
	return 0;
}

static void write_failed(struct nvme_cq *cq, int error)
{
	if (error != -ECANCELED)
		nvme_fatal(cq->nvme, "cannot write a completion queue", nvme_cq_state(cq)->base);
}

static void write_ended(struct ob_dma_op *op, int error)
{
	struct nvme_cq *cq = ob_container_of(op, struct nvme_cq, op);
	unsigned count = cq->staged;

	cq->writing = false;
	if (error) {
		write_failed(cq, error);
		return;
	}
	cq->staged = 0;
	nvme_notify(&cq->nvme->queues, cq->id, count);
	ob_queue_complete(&cq->nvme->queues, cq->id);
}

/* No room: what comes next has to wait for the guest, which may have made some without ringing. */
static void wait_for_room(struct nvme_cq *cq)
{
	cq->nvme->full_count += !cq->full;
	cq->full = true;
	nvme_cq_poll_room(cq);
}

void nvme_post(struct ob_queues *queues, unsigned id)
{
	struct nvme_cq *cq = &ob_container_of(queues, struct nvme, queues)->cqs[id];
	unsigned posted = 0;
	int error = 0;

	if (!nvme_running(cq->nvme) || !nvme_cq_state(cq)->entries)
		return;
	while (!cq->writing && (cq->staged || stage_entries(cq))) {
		cq->op.done = write_ended;
		error = write_staged(cq);
		if (error)
			break;
		posted += cq->staged;
		cq->staged = 0;
	}
	cq->writing = error == -EINPROGRESS || cq->writing;
	if (posted)
		ob_queue_posted(queues, cq->id, posted, cq->id);
	if (error && error != -EINPROGRESS)
		write_failed(cq, error);
	else if (!cq->writing && !nvme_link_empty(&cq->pending))
		wait_for_room(cq);
}

/* A write under way ends. Its entries stay staged, to be written again: nothing else goes there. */
void nvme_cq_stop(struct nvme_cq *cq)
{
	if (cq->writing)
		ob_dma_cancel(cq->nvme->dev, &cq->op);
	cq->writing = false;
}

void nvme_cq_open(struct nvme *n, unsigned id, uint64_t base, uint32_t entries, bool irq,
                  uint16_t vector)
{
	n->state->cq[id] = (struct nvme_cq_state){
		.base = base, .entries = entries, .irq = irq, .vector = vector, .phase = true};
	n->cqs[id].seen = 0;
	nvme_page_clear(n, id, true);
}

void nvme_cq_close(struct nvme_cq *cq)
{
	nvme_cq_stop(cq);
	ob_queue_index_stop(&cq->shadow);
	cq->staged = 0;
	cq->nvme->full_count -= cq->full;
	cq->full = false;
	while (!nvme_link_empty(&cq->pending))
		nvme_cmd_free(nvme_cmd_of(cq->pending.next));
	cq->nvme->state->cq[cq->id] = (struct nvme_cq_state){0};
	ob_queue_completions_drop(&cq->nvme->queues, cq->id);
	nvme_irq_update(cq->nvme);
}
