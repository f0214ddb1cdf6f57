/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All queues of a controller together: made, stopped and resumed with it; and what the queue engine
 * (outboard/queue.h) calls for them.
 */
#include "internal.h"

static bool is_running(const struct ob_queues *queues)
{
	return nvme_running(ob_container_of(queues, const struct nvme, queues));
}

static void resume_commands(struct ob_queues *queues)
{
	nvme_cmds_run_yielded(ob_container_of(queues, struct nvme, queues));
}

static const struct ob_queue_ops queue_ops = {
	.running = is_running,
	.fetch = nvme_fetch,
	.post = nvme_post,
	.notify = nvme_notify,
	.interrupt = nvme_interrupt,
	.resume = resume_commands,
	.can_poll = nvme_doorbells_can_poll,
	.poll = nvme_doorbells_poll,
	.suppress = nvme_doorbells_suppress,
	.arm = nvme_doorbells_arm,
};

void nvme_queues_init(struct nvme *n)
{
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		n->sqs[i] = (struct nvme_sq){.nvme = n, .id = (uint16_t)i};
		nvme_link_init(&n->sqs[i].commands);
		n->cqs[i].nvme = n;
		n->cqs[i].id = (uint16_t)i;
		nvme_link_init(&n->cqs[i].pending);
	}
	nvme_shadow_init(n);
	nvme_page_clear_all(n);
	ob_queues_init(&n->queues, ob_dev_loop(n->dev), &queue_ops,
	               &(struct ob_queue_options){.count = n->props->num_queues + 1,
	                                          .polling = n->props->poll,
	                                          .poll_max_us = n->props->poll_max_us,
	                                          .idle_poll_us = n->props->idle_poll_us,
	                                          .kicks_are_silent = n->page});
}

void nvme_queues_clear(struct nvme *n)
{
	ob_queues_stop(&n->queues, false);
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
	ob_queues_stop(&n->queues, true);
	ob_queue_interrupts_flush(&n->queues);
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		nvme_sq_stop(&n->sqs[i]);
		ob_queue_index_stop(&n->sqs[i].shadow);
		nvme_cq_stop(&n->cqs[i]);
		ob_queue_index_stop(&n->cqs[i].shadow);
	}
	nvme_cmds_stop(n, false);
}

void nvme_queues_resume(struct nvme *n)
{
	nvme_cmds_resume(n);
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		if (n->state->cq[i].entries) {
			n->cqs[i].seen = n->state->cq[i].head;
			ob_queue_complete(&n->queues, i);
			nvme_shadow_resume_cq(&n->cqs[i]);
		}
		if (n->state->sq[i].entries) {
			n->sqs[i].seen = n->state->sq[i].tail;
			ob_queue_add(&n->queues, i);
			nvme_sq_kick(&n->sqs[i]);
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
		ob_queue_add(&n->queues, i);
	}
	nvme_skips_rebuild(s);
}
