/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fetching commands from submission queues (NVMe 1.4, 4.1.1), in batches of entries that follow
 * each other in memory, as the queue engine asks for them.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

enum { LEAST_SHARE = 8 }; /* commands in flight that any queue may have */

/* A queue's share of what may be in flight: see nvme_cmd_available(). */
static unsigned share(const struct nvme *n)
{
	unsigned queues = n->sq_count;

	if (queues > NVME_MAX_COMMANDS / LEAST_SHARE)
		return LEAST_SHARE;
	return queues ? NVME_MAX_COMMANDS / queues : NVME_MAX_COMMANDS;
}

/* An entry where not all is as usual: false if it is to be skipped. */
static bool check_unusual(struct nvme_sq *sq, const uint8_t *entry)
{
	struct nvme *n = sq->nvme;

	if (n->state->skip_count && nvme_skip_take(sq, nvme_sq_state(sq)->head))
		return false;
	if (n->trace)
		nvme_trace_entry(sq, entry);
	return true;
}

/*
 * Begins the commands whose entries stand in bytes. They were counted before, but in the meantime
 * somebody else may have taken the last command: the rest is fetched again later.
 */
static unsigned begin_commands(struct nvme_sq *sq, const uint8_t *bytes, unsigned count)
{
	struct nvme *n = sq->nvme;
	struct nvme_sq_state *st = nvme_sq_state(sq);
	unsigned done;

	/* Lines of another processor's cache: all at once they take little longer than one. */
	for (unsigned i = 0; i < count; i++)
		__builtin_prefetch(bytes + (size_t)i * NVME_SQE_SIZE);
	for (done = 0; done < count && !st->deleting; done++) {
		struct nvme_cmd *cmd;
		bool skip;

		if (!nvme_running(n) || !nvme_cmd_available(n, sq->id) ||
		    (done && ob_queues_spent(&n->queues)))
			break;
		ob_queues_work(&n->queues, 1);
		/* One branch for what is rare. */
		skip = (n->state->skip_count | n->trace) &&
		       !check_unusual(sq, bytes + (size_t)done * NVME_SQE_SIZE);
		st->head = (uint16_t)(st->head + 1u == st->entries ? 0 : st->head + 1);
		if (skip)
			continue;
		if (sq->id)
			ob_queue_answered(&n->queues);
		cmd = nvme_cmd_get(sq);
		memcpy(cmd->dw, bytes + (size_t)done * NVME_SQE_SIZE, NVME_SQE_SIZE);
		for (unsigned i = 0; i < NVME_SQE_SIZE / 4; i++)
			cmd->dw[i] = le32toh(cmd->dw[i]);
		if (sq->id && done + 1 < count)
			nvme_io_expect(n, bytes + (size_t)(done + 1) * NVME_SQE_SIZE);
		nvme_cmd_start(cmd);
		ob_queues_post_batch(&n->queues);
	}
	if (st->head == st->tail)
		ob_queue_emptied(&n->queues, sq->id);
	else if (done)
		nvme_sq_kick(sq);
	return done;
}

static void fetch_failed(struct nvme_sq *sq, int error)
{
	if (error != -ECANCELED)
		nvme_fatal(sq->nvme, "cannot read a submission queue", nvme_sq_state(sq)->base);
}

static void fetch_ended(struct ob_dma_op *op, int error)
{
	struct nvme_sq *sq = ob_container_of(op, struct nvme_sq, op);
	struct nvme *n = sq->nvme;
	unsigned count = sq->fetching;
	uint8_t *page = sq->page;

	sq->fetching = 0;
	sq->page = NULL;
	ob_queues_turn_began(&n->queues);
	if (error)
		fetch_failed(sq, error);
	else
		begin_commands(sq, page, count);
	nvme_page_put(n, page);
	ob_queues_schedule(&n->queues);
}

/* How many entries to fetch at once: they have to follow each other in memory. */
static unsigned wanted(struct nvme_sq *sq, unsigned max)
{
	const struct nvme *n = sq->nvme;
	const struct nvme_sq_state *st = nvme_sq_state(sq);
	unsigned count = nvme_distance(st->head, st->tail, st->entries);
	unsigned bound = share(n);

	if (n->cqs[st->cqid].full)
		return 0;
	if (sq->in_flight >= bound) {
		sq->throttled = true;
		return 0;
	}
	if (count > st->entries - st->head)
		count = st->entries - st->head;
	if (count > bound - sq->in_flight)
		count = bound - sq->in_flight;
	return count > max ? max : count;
}

/* An entry that no driver makes: all that says what to do is zero, or it is no known command. */
static bool is_absurd(const struct nvme_sq *sq, const uint8_t *entry)
{
	uint32_t most = sq->id ? NVME_IO_LAST : NVME_ADMIN_LAST;

	if (!ob_get_le32(entry) && !ob_get_le32(entry + 4) && !ob_get_le32(entry + 40))
		return true;
	return entry[0] > most;
}

/* The client has said what stands at the head; see ob_dma_doubt(). */
static void doubt_ended(struct ob_dma_op *op, int error)
{
	struct nvme_sq *sq = ob_container_of(op, struct nvme_sq, op);
	struct nvme *n = sq->nvme;

	sq->fetching = 0;
	nvme_page_put(n, sq->page);
	sq->page = NULL;
	/* Without a client, the queue is looked at when there is one again. */
	if (error != -ECANCELED)
		nvme_sq_kick(sq);
}

/* Whether the client is asked about an entry: it is fetched again afterwards. */
static bool is_doubted(struct nvme_sq *sq, uint64_t address)
{
	sq->page = nvme_page_get(sq->nvme);
	if (!sq->page)
		return false;
	sq->op.done = doubt_ended;
	if (ob_dma_doubt(sq->nvme->dev, address, sq->page, NVME_SQE_SIZE, &sq->op)) {
		sq->fetching = 1;
		return true;
	}
	nvme_page_put(sq->nvme, sq->page);
	sq->page = NULL;
	return false;
}

unsigned nvme_fetch(struct ob_queues *queues, unsigned id, unsigned max)
{
	struct nvme *n = ob_container_of(queues, struct nvme, queues);
	struct nvme_sq *sq = &n->sqs[id];
	const struct nvme_sq_state *st = nvme_sq_state(sq);
	uint64_t address = st->base + (uint64_t)st->head * NVME_SQE_SIZE;
	unsigned count;
	const uint8_t *entries;
	int error;

	if (!st->entries || st->deleting || sq->fetching)
		return 0;
	count = wanted(sq, max);
	if (!count || !nvme_cmd_available(n, sq->id))
		return 0;
	entries = ob_dma_direct(n->dev, address, (size_t)count * NVME_SQE_SIZE, OB_DMA_FROM_CLIENT);
	if (entries && is_absurd(sq, entries) && is_doubted(sq, address))
		return 1;
	if (entries)
		return begin_commands(sq, entries, count);
	sq->page = nvme_page_get(n);
	if (!sq->page) {
		ob_queues_park(&n->queues);
		return 0;
	}
	sq->fetching = count;
	sq->op.done = fetch_ended;
	error = ob_dma_read(n->dev, address, sq->page, (size_t)count * NVME_SQE_SIZE, &sq->op);
	if (error != -EINPROGRESS)
		fetch_ended(&sq->op, error);
	return count;
}
