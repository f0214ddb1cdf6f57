/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Turns. A turn goes round the queues that were kicked, has a bounded number of entries fetched
 * from each, and then posts what was completed in the meantime, in batches. So nothing that one
 * queue does keeps another waiting for long, and many completions share a notification. Queues that
 * have to wait leave the round, and whoever ends that wait kicks them again.
 */
#include <string.h>

#include "queue/queue.h"

/* Sets of queues */

static unsigned words(const struct ob_queues *queues)
{
	return (queues->options.count + 63) / 64;
}

static bool any(const struct ob_queues *queues, const uint64_t *set)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < words(queues); i++)
		bits |= set[i];
	return bits;
}

static void take(uint64_t *set, unsigned id)
{
	set[id / 64] &= ~(UINT64_C(1) << (id % 64));
}

/* Takes the first one from id on, or else the first one. There is one. */
static unsigned take_next(uint64_t *set, unsigned id)
{
	uint64_t bits = set[id / 64] & UINT64_MAX << (id % 64);
	unsigned word = id / 64;

	while (!bits) {
		word = (word + 1) % OB_QUEUE_WORDS;
		bits = set[word];
	}
	id = word * 64 + (unsigned)__builtin_ctzll(bits);
	take(set, id);
	return id;
}

void ob_queues_schedule(struct ob_queues *queues)
{
	if (!queues->in_turn && queues->ops->running(queues))
		ob_task_schedule(queues->loop, &queues->task);
}

void ob_queue_add(struct ob_queues *queues, unsigned id)
{
	ob_queue_set_add(queues->live, id);
}

void ob_queue_remove(struct ob_queues *queues, unsigned id)
{
	take(queues->live, id);
	take(queues->kicked, id);
	take(queues->emptied, id);
}

void ob_queue_completions_drop(struct ob_queues *queues, unsigned id)
{
	take(queues->posting, id);
	take(queues->notifying, id);
	queues->count[id] = 0;
}

void ob_queues_unpark_all(struct ob_queues *queues)
{
	queues->parked = false;
	for (unsigned i = 0; i < words(queues); i++)
		queues->kicked[i] |= queues->live[i];
	ob_queues_wake(queues);
}

/* Whether any entries were fetched. One at least, even if what yielded took all the time. */
static bool fetch_round(struct ob_queues *queues)
{
	unsigned budget = OB_QUEUE_BUDGET;

	while (budget && any(queues, queues->kicked)) {
		unsigned id = take_next(queues->kicked, queues->next);

		queues->next = id + 1 < OB_QUEUE_MAX ? id + 1 : 0;
		budget -= queues->ops->fetch(queues, id,
		                             budget < OB_QUEUE_BATCH ? budget : OB_QUEUE_BATCH);
		if (budget < OB_QUEUE_BUDGET && ob_queues_spent(queues))
			break;
	}
	return budget < OB_QUEUE_BUDGET;
}

void ob_queues_post(struct ob_queues *queues)
{
	queues->unposted = 0;
	for (unsigned i = 0; i < words(queues); i++) {
		uint64_t bits = queues->posting[i];

		queues->posting[i] = 0;
		for (; bits; bits &= bits - 1)
			queues->ops->post(queues, i * 64 + (unsigned)__builtin_ctzll(bits));
	}
}

void ob_queue_posted(struct ob_queues *queues, unsigned id, unsigned count, bool answers)
{
	queues->count[id] += count;
	ob_queue_set_add(queues->notifying, id);
	if (answers)
		queues->poll.owed += count;
}

/* One notification for all that a queue has got in this turn. */
void ob_queues_notify(struct ob_queues *queues)
{
	for (unsigned i = 0; i < words(queues); i++) {
		uint64_t bits = queues->notifying[i];

		queues->notifying[i] = 0;
		for (; bits; bits &= bits - 1) {
			unsigned id = i * 64 + (unsigned)__builtin_ctzll(bits);
			unsigned count = queues->count[id];

			queues->count[id] = 0;
			queues->ops->notify(queues, id, count);
		}
	}
}

bool queue_has_work(const struct ob_queues *queues)
{
	return any(queues, queues->kicked) || any(queues, queues->posting) || queues->yielded;
}

static void begin_share(struct ob_queues *queues)
{
	queues->work = 0;
	queues->spent = false;
}

void ob_queues_turn_began(struct ob_queues *queues)
{
	if (!queues->in_turn)
		begin_share(queues);
}

bool queue_work(struct ob_queues *queues)
{
	bool found;

	queues->in_turn = true;
	begin_share(queues);
	if (queues->yielded) {
		queues->yielded = false;
		queues->ops->resume(queues);
	}
	found = fetch_round(queues);
	ob_queues_post(queues);
	ob_queues_notify(queues);
	queues->in_turn = false;
	return found;
}

void queue_schedule_rest(struct ob_queues *queues)
{
	if (queue_has_work(queues))
		ob_queues_schedule(queues);
}

void queue_arm(struct ob_queues *queues, const uint64_t *set)
{
	for (unsigned i = 0; i < words(queues); i++) {
		for (uint64_t bits = set[i]; bits; bits &= bits - 1)
			queues->ops->arm(queues, i * 64 + (unsigned)__builtin_ctzll(bits));
	}
	memset(queues->emptied, 0, sizeof(queues->emptied));
}

void ob_queues_arm(struct ob_queues *queues)
{
	queue_arm(queues, queues->emptied);
}

static void turn(struct ob_task *task)
{
	struct ob_queues *queues = ob_container_of(task, struct ob_queues, task);
	bool found;

	if (!queues->ops->running(queues))
		return;
	queue_poll_turn_begins(queues, any(queues, queues->posting));
	found = queue_work(queues);
	/* What the guest has in its queues may make the device fail, which stops the engine. */
	if (!queues->ops->running(queues))
		return;
	queue_poll_turn_ended(queues, found);
	queue_schedule_rest(queues);
}

void ob_queues_init(struct ob_queues *queues, struct ob_loop *loop, const struct ob_queue_ops *ops,
                    const struct ob_queue_options *options)
{
	queues->loop = loop;
	queues->ops = ops;
	queues->options = *options;
	queues->task.run = turn;
	queue_interrupt_init(queues);
	queue_poll_init(queues);
}

void ob_queues_stop(struct ob_queues *queues, bool notify)
{
	if (notify)
		ob_queues_notify(queues);
	queue_poll_stop(queues, notify);
	ob_task_cancel(&queues->task);
}
