/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues (NVMe 1.4, 4.1): doorbells, fetching of commands, and the turn in which a controller does
 * what came up since the last one.
 *
 * A turn goes round the submission queues that have something, takes a bounded number of entries
 * from each, and then posts what was completed in the meantime, in batches. So nothing that one
 * queue does keeps another waiting for long, and many completions share an interrupt. Queues that
 * have to wait (for commands to become free, for room in their completion queue, for the client's
 * memory) leave the round, and whoever ends that wait puts them back.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

enum { LEAST_SHARE = 8 }; /* commands in flight that any queue may have */

static void fetched(struct ob_dma_op *op, int error);
static void post_round(struct nvme *n);

/* Sets of queues */

static bool any(const uint64_t *set)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < NVME_SET; i++)
		bits |= set[i];
	return bits;
}

static void add(uint64_t *set, unsigned id)
{
	set[id / 64] |= UINT64_C(1) << (id % 64);
}

static bool take(uint64_t *set, unsigned id)
{
	uint64_t bit = UINT64_C(1) << (id % 64);

	if (!(set[id / 64] & bit))
		return false;
	set[id / 64] &= ~bit;
	return true;
}

/* Takes the first one from id on, or else the first one. There is one. */
static unsigned take_next(uint64_t *set, unsigned id)
{
	uint64_t bits = set[id / 64] & UINT64_MAX << (id % 64);
	unsigned word = id / 64;

	while (!bits) {
		word = (word + 1) % NVME_SET;
		bits = set[word];
	}
	id = word * 64 + (unsigned)__builtin_ctzll(bits);
	take(set, id);
	return id;
}

void nvme_schedule(struct nvme *n)
{
	if (!n->in_turn && !n->quiescing)
		ob_task_schedule(ob_dev_loop(n->dev), &n->turn);
}

void nvme_sq_ready(struct nvme_sq *sq)
{
	const struct nvme_sq_state *st = nvme_sq_state(sq);

	if (st->head == st->tail || st->deleting)
		return;
	add(sq->nvme->ready, sq->id);
	nvme_schedule(sq->nvme);
}

void nvme_cq_post(struct nvme_cq *cq)
{
	add(cq->nvme->posting, cq->id);
	nvme_schedule(cq->nvme);
}

/* Doorbells (3.1.23, 3.1.24) */

static bool bad_value(struct nvme *n, const char *which, unsigned qid, uint32_t value)
{
	ob_dev_guest_error(n->dev, "invalid value %u for the doorbell of %s queue %u", value, which,
	                   qid);
	nvme_log_error(n, NULL, (uint16_t)qid, 0);
	nvme_event(n, NVME_EVENT_ERROR, NVME_ERROR_DOORBELL_VALUE, NVME_LOG_ERROR);
	return false;
}

bool nvme_sq_set_tail(struct nvme_sq *sq, uint32_t value)
{
	struct nvme_sq_state *st = nvme_sq_state(sq);
	uint32_t used = nvme_distance(st->head, st->tail, st->entries);

	if (value == st->tail)
		return false;
	/* One entry stays free, so that a full queue is not an empty one. */
	if (value >= st->entries ||
	    nvme_distance(st->tail, value, st->entries) > st->entries - 1 - used)
		return bad_value(sq->nvme, "submission", sq->id, value);
	st->tail = (uint16_t)value;
	sq->shadow.armed = false;
	return true;
}

/* Queues whose completions had no room may go on. */
static void wake_users(struct nvme_cq *cq)
{
	struct nvme *n = cq->nvme;

	cq->full = false;
	n->full_count--;
	nvme_cq_post(cq);
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		if (n->state->sq[i].entries && n->state->sq[i].cqid == cq->id)
			nvme_sq_ready(&n->sqs[i]);
	}
}

bool nvme_cq_set_head(struct nvme_cq *cq, uint32_t value)
{
	struct nvme_cq_state *st = nvme_cq_state(cq);

	if (value == st->head)
		return false;
	if (value >= st->entries || nvme_distance(st->head, value, st->entries) >
	                                    nvme_distance(st->head, st->tail, st->entries))
		return bad_value(cq->nvme, "completion", cq->id, value);
	st->head = (uint16_t)value;
	cq->shadow.armed = false;
	if (cq->full)
		wake_users(cq);
	nvme_irq_consumed(cq->nvme);
	return true;
}

bool nvme_sq_saw(struct nvme_sq *sq, uint32_t value)
{
	if (value == sq->seen)
		return false;
	sq->seen = value;
	return nvme_sq_set_tail(sq, value);
}

bool nvme_cq_saw(struct nvme_cq *cq, uint32_t value)
{
	if (value == cq->seen)
		return false;
	cq->seen = value;
	return nvme_cq_set_head(cq, value);
}

/* In the page, the value stands already: the next look finds nothing new there. */
static void ring_sq(struct nvme_sq *sq, uint32_t value)
{
	sq->shadow.fresh = false;
	if (nvme_shadowed(sq->nvme, sq->id)) {
		nvme_shadow_look_sq(sq);
		return;
	}
	sq->seen = value;
	if (nvme_sq_set_tail(sq, value))
		nvme_sq_ready(sq);
}

static void ring_cq(struct nvme_cq *cq, uint32_t value)
{
	cq->shadow.fresh = false;
	if (nvme_shadowed(cq->nvme, cq->id)) {
		nvme_shadow_look_cq(cq);
		return;
	}
	cq->seen = value;
	nvme_cq_set_head(cq, value);
}

void nvme_doorbell(struct nvme *n, unsigned index, uint32_t value)
{
	const struct nvme_state *s = n->state;
	unsigned qid = index / 2;
	bool completion = index & 1;

	if ((s->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) != NVME_CSTS_RDY || n->disabling) {
		ob_dev_guest_error(n->dev, "doorbell %u rung while the controller is not ready",
		                   index);
		return;
	}
	if (qid > n->props->num_queues || !(completion ? s->cq[qid].entries : s->sq[qid].entries)) {
		ob_dev_guest_error(n->dev, "doorbell of %s queue %u, which does not exist",
		                   completion ? "completion" : "submission", qid);
		nvme_log_error(n, NULL, (uint16_t)qid, 0);
		nvme_event(n, NVME_EVENT_ERROR, NVME_ERROR_DOORBELL_REGISTER, NVME_LOG_ERROR);
		return;
	}
	/* Bits 31:16 are reserved. */
	if (completion)
		ring_cq(&n->cqs[qid], value & 0xffff);
	else
		ring_sq(&n->sqs[qid], value & 0xffff);
}

void nvme_doorbell_rang(struct nvme *n, unsigned index)
{
	/* The guest wrote the shadow, or the page, before it rang: the value stands there. */
	if (nvme_shadowed(n, index / 2))
		nvme_doorbell(n, index, 0);
	else if (n->page && nvme_running(n))
		nvme_look(n);
	else
		ob_dev_guest_error(n->dev,
		                   "doorbell %u rung by an eventfd: its value is lost, as the "
		                   "guest uses no shadow doorbells (ioeventfds=off helps)",
		                   index);
}

/* Fetching */

/* A queue's share of what may be in flight: see nvme_cmd_available(). */
static unsigned share(const struct nvme *n)
{
	unsigned queues = n->sq_count;

	if (queues > NVME_MAX_COMMANDS / LEAST_SHARE)
		return LEAST_SHARE;
	return queues ? NVME_MAX_COMMANDS / queues : NVME_MAX_COMMANDS;
}

/* An entry where not all is as usual: false if it is to be skipped. */
static bool look_closer(struct nvme_sq *sq, const uint8_t *entry)
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
static unsigned begin(struct nvme_sq *sq, const uint8_t *bytes, unsigned count)
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
		    (done && nvme_turn_spent(n)))
			break;
		n->work++;
		/* One branch for what is rare. */
		skip = (n->state->skip_count | n->trace) &&
		       !look_closer(sq, bytes + (size_t)done * NVME_SQE_SIZE);
		st->head = (uint16_t)(st->head + 1u == st->entries ? 0 : st->head + 1);
		if (skip)
			continue;
		if (sq->id)
			nvme_poll_fetched(n);
		cmd = nvme_cmd_get(sq);
		memcpy(cmd->dw, bytes + (size_t)done * NVME_SQE_SIZE, NVME_SQE_SIZE);
		for (unsigned i = 0; i < NVME_SQE_SIZE / 4; i++)
			cmd->dw[i] = le32toh(cmd->dw[i]);
		if (sq->id && done + 1 < count)
			nvme_io_expect(n, bytes + (size_t)(done + 1) * NVME_SQE_SIZE);
		nvme_cmd_start(cmd);
		/* Whoever keeps us busy is likely to look for completions as well. */
		if (n->unposted >= (n->poll.active ? NVME_POST_EARLY : NVME_POST_BATCH))
			post_round(n);
	}
	if (st->head == st->tail)
		add(n->emptied, sq->id);
	else if (done)
		nvme_sq_ready(sq);
	return done;
}

static void fetch_failed(struct nvme_sq *sq, int error)
{
	if (error != -ECANCELED)
		nvme_fatal(sq->nvme, "cannot read a submission queue", nvme_sq_state(sq)->base);
}

static void fetched(struct ob_dma_op *op, int error)
{
	struct nvme_sq *sq = ob_container_of(op, struct nvme_sq, op);
	struct nvme *n = sq->nvme;
	unsigned count = sq->fetching;
	uint8_t *page = sq->page;

	sq->fetching = 0;
	sq->page = NULL;
	if (!n->in_turn)
		nvme_turn_begin(n);
	if (error)
		fetch_failed(sq, error);
	else
		begin(sq, page, count);
	nvme_page_put(n, page);
	nvme_schedule(n);
}

/* How many entries to fetch at once: they have to follow each other in memory. */
static unsigned wanted(const struct nvme_sq *sq, unsigned max)
{
	const struct nvme *n = sq->nvme;
	const struct nvme_sq_state *st = nvme_sq_state(sq);
	unsigned count = nvme_distance(st->head, st->tail, st->entries);
	unsigned bound = share(n);

	if (n->cqs[st->cqid].full || sq->in_flight >= bound)
		return 0;
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
		nvme_sq_ready(sq);
}

/* Whether the client is asked about an entry: it is fetched again afterwards. */
static bool doubts(struct nvme_sq *sq, uint64_t address)
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

static unsigned fetch(struct nvme_sq *sq, unsigned max)
{
	struct nvme *n = sq->nvme;
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
	if (entries && is_absurd(sq, entries) && doubts(sq, address))
		return 1;
	if (entries)
		return begin(sq, entries, count);
	sq->page = nvme_page_get(n);
	if (!sq->page) {
		n->starved = true;
		return 0;
	}
	sq->fetching = count;
	sq->op.done = fetched;
	error = ob_dma_read(n->dev, address, sq->page, (size_t)count * NVME_SQE_SIZE, &sq->op);
	if (error != -EINPROGRESS)
		fetched(&sq->op, error);
	return count;
}

/* The turn */

/* Whether there was any. One command at least, even if those that yielded took all the time. */
static bool fetch_round(struct nvme *n)
{
	unsigned budget = NVME_TURN_BUDGET;

	while (budget && any(n->ready)) {
		unsigned id = take_next(n->ready, n->next_sq);

		n->next_sq = id < NVME_MAX_PAIRS ? id + 1 : 0;
		budget -= fetch(&n->sqs[id], budget < NVME_FETCH_BATCH ? budget : NVME_FETCH_BATCH);
		if (budget < NVME_TURN_BUDGET && nvme_turn_spent(n))
			break;
	}
	return budget < NVME_TURN_BUDGET;
}

static void post_round(struct nvme *n)
{
	n->unposted = 0;
	for (unsigned i = 0; i < NVME_SET; i++) {
		uint64_t bits = n->posting[i];

		n->posting[i] = 0;
		for (; bits; bits &= bits - 1)
			nvme_cq_flush(&n->cqs[i * 64 + (unsigned)__builtin_ctzll(bits)]);
	}
}

/* One interrupt for all that a queue has got in this turn. */
void nvme_tell(struct nvme *n)
{
	for (unsigned i = 0; i < NVME_SET; i++) {
		uint64_t bits = n->telling[i];

		n->telling[i] = 0;
		for (; bits; bits &= bits - 1)
			nvme_cq_tell(&n->cqs[i * 64 + (unsigned)__builtin_ctzll(bits)]);
	}
}

static bool has_work(const struct nvme *n)
{
	return any(n->ready) || any(n->posting) || !nvme_link_empty(&n->yielded);
}

/* Whether commands were fetched. */
static bool work(struct nvme *n)
{
	bool found;

	n->in_turn = true;
	nvme_turn_begin(n);
	nvme_cmds_run_yielded(n);
	found = fetch_round(n);
	post_round(n);
	nvme_tell(n);
	n->in_turn = false;
	return found;
}

void nvme_schedule_rest(struct nvme *n)
{
	if (has_work(n))
		nvme_schedule(n);
}

void nvme_turn(struct ob_task *task)
{
	struct nvme *n = ob_container_of(task, struct nvme, turn);

	if (!nvme_running(n))
		return;
	nvme_poll_turning(n, any(n->posting));
	nvme_poll_turned(n, work(n));
	nvme_schedule_rest(n);
}

bool nvme_turn_of_poller(struct nvme *n)
{
	bool found;

	/* What is found is for this turn, not for a task. */
	n->in_turn = true;
	found = nvme_look(n);
	n->in_turn = false;
	if (found || has_work(n))
		work(n);
	return found;
}

/* Queues come and go */

void nvme_queues_init(struct nvme *n)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		n->sqs[i] = (struct nvme_sq){.nvme = n, .id = (uint16_t)i, .op.done = fetched};
		nvme_link_init(&n->sqs[i].commands);
		n->cqs[i].nvme = n;
		n->cqs[i].id = (uint16_t)i;
		nvme_link_init(&n->cqs[i].pending);
	}
	nvme_shadow_init(n);
}

void nvme_sq_open(struct nvme *n, unsigned id, uint64_t base, uint32_t entries, uint16_t cqid)
{
	n->state->sq[id] = (struct nvme_sq_state){.base = base, .entries = entries, .cqid = cqid};
	n->state->cq[cqid].users++;
	n->sq_count++;
	n->sqs[id].seen = 0;
	nvme_page_clear(n, id, false);
	add(n->live, id);
}

/* Ends a fetch under way: the entries stay in the queue. */
static void stop_fetch(struct nvme_sq *sq)
{
	if (!sq->fetching)
		return;
	ob_dma_cancel(sq->nvme->dev, &sq->op);
	sq->fetching = 0;
	nvme_page_put(sq->nvme, sq->page);
	sq->page = NULL;
}

/* Its commands were completed or dropped. */
void nvme_sq_close(struct nvme_sq *sq)
{
	struct nvme_state *s = sq->nvme->state;

	stop_fetch(sq);
	nvme_shadow_stop(sq->nvme, &sq->shadow);
	sq->deleter = NULL;
	s->cq[s->sq[sq->id].cqid].users--;
	sq->nvme->sq_count--;
	s->sq[sq->id] = (struct nvme_sq_state){0};
	take(sq->nvme->live, sq->id);
	take(sq->nvme->ready, sq->id);
	take(sq->nvme->emptied, sq->id);
	nvme_skips_clear(sq);
}

void nvme_cq_open(struct nvme *n, unsigned id, uint64_t base, uint32_t entries, bool irq,
                  uint16_t vector)
{
	n->state->cq[id] = (struct nvme_cq_state){
		.base = base, .entries = entries, .irq = irq, .vector = vector, .phase = true};
	n->cqs[id].seen = 0;
	n->cqs[id].untold = 0;
	nvme_page_clear(n, id, true);
}

void nvme_cq_close(struct nvme_cq *cq)
{
	nvme_cq_stop(cq);
	nvme_shadow_stop(cq->nvme, &cq->shadow);
	cq->staged = 0;
	cq->nvme->full_count -= cq->full;
	cq->full = false;
	while (!nvme_link_empty(&cq->pending))
		nvme_cmd_free(nvme_cmd_of(cq->pending.next));
	cq->nvme->state->cq[cq->id] = (struct nvme_cq_state){0};
	take(cq->nvme->posting, cq->id);
	take(cq->nvme->telling, cq->id);
	nvme_irq_update(cq->nvme);
}

void nvme_queues_clear(struct nvme *n)
{
	nvme_poll_stop(n, false);
	nvme_cmds_stop(n, true);
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		if (n->state->sq[i].entries)
			nvme_sq_close(&n->sqs[i]);
	}
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		if (n->state->cq[i].entries)
			nvme_cq_close(&n->cqs[i]);
	}
}

void nvme_queues_stop(struct nvme *n)
{
	nvme_tell(n);
	nvme_poll_stop(n, true);
	nvme_irq_flush(n);
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		stop_fetch(&n->sqs[i]);
		nvme_shadow_stop(n, &n->sqs[i].shadow);
		nvme_cq_stop(&n->cqs[i]);
		nvme_shadow_stop(n, &n->cqs[i].shadow);
	}
	nvme_cmds_stop(n, false);
}

void nvme_queues_resume(struct nvme *n)
{
	nvme_cmds_resume(n);
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		if (n->state->cq[i].entries) {
			n->cqs[i].seen = n->state->cq[i].head;
			nvme_cq_post(&n->cqs[i]);
			nvme_shadow_resume_cq(&n->cqs[i]);
		}
		if (n->state->sq[i].entries) {
			n->sqs[i].seen = n->state->sq[i].tail;
			add(n->live, i);
			nvme_sq_ready(&n->sqs[i]);
			nvme_shadow_resume_sq(&n->sqs[i]);
		}
	}
}

void nvme_queues_rebuild(struct nvme *n)
{
	struct nvme_state *s = n->state;

	n->sq_count = 0;
	for (unsigned i = 0; i <= n->props->num_queues; i++)
		s->cq[i].users = 0;
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		n->sqs[i].shadow.fresh = s->sq[i].fresh;
		n->cqs[i].shadow.fresh = s->cq[i].fresh;
		if (!s->sq[i].entries)
			continue;
		s->cq[s->sq[i].cqid].users++;
		n->sq_count++;
		add(n->live, i);
	}
	nvme_skips_rebuild(s);
}
