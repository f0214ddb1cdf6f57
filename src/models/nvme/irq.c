/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts (NVMe 1.4, 7.5). With MSI-X, completions of a queue send its vector's message, or are
 * coalesced first as the Interrupt Coalescing feature says (5.21.1.8). Otherwise INTA# is asserted
 * for as long as a queue with interrupts has entries that the guest did not consume, and INTMS does
 * not mask it. INTMS and INTMC mean nothing while MSI-X is in use.
 */
#include "internal.h"

/*
 * The source does not stay raised: a message is over when it is sent, and what is raised would
 * assert the pin when the guest goes back to it. Who has gone back by now is notified by the pin.
 */
static void send_message(struct nvme *n, unsigned vector)
{
	if (!ob_irq_is_message(n->dev)) {
		nvme_irq_update(n);
		return;
	}
	ob_irq_raise(n->dev, vector);
	ob_irq_lower(n->dev, vector);
}

void nvme_interrupt(struct ob_queues *queues, unsigned vector)
{
	send_message(ob_container_of(queues, struct nvme, queues), vector);
}

void nvme_notify(struct ob_queues *queues, unsigned id, unsigned count)
{
	struct nvme *n = ob_container_of(queues, struct nvme, queues);
	const struct nvme_cq_state *st = &n->state->cq[id];
	const struct nvme_features *f = &n->state->features;
	unsigned threshold = (f->coalescing & 0xff) + 1, time = f->coalescing >> 8 & 0xff;

	if (!st->irq)
		return;
	if (!ob_irq_is_message(n->dev)) {
		nvme_irq_update(n);
		if (nvme_shadowed(n, id))
			ob_queue_index_poll(&n->cqs[id].shadow);
		return;
	}
	if (!id || f->no_coalescing[st->vector])
		threshold = 0;
	ob_queue_interrupt(queues, st->vector, count, threshold, time * UINT64_C(100000), id);
}

/* Whether there are entries that were written and not consumed. */
static bool has_entries(const struct nvme_cq *cq)
{
	const struct nvme_cq_state *st = nvme_cq_state(cq);
	uint32_t used = nvme_distance(st->head, st->tail, st->entries);

	return used > cq->staged;
}

void nvme_irq_update(struct nvme *n)
{
	bool message = ob_irq_is_message(n->dev), level = false;

	for (unsigned i = 0; !message && i <= n->props->num_queues && !level; i++)
		level = n->state->cq[i].irq && has_entries(&n->cqs[i]);
	level = level && !(n->state->intms & 1);
	if (level == n->irq_raised)
		return;
	n->irq_raised = level;
	if (level)
		ob_irq_raise(n->dev, 0);
	else
		ob_irq_lower(n->dev, 0);
}

void nvme_irq_changed(struct ob_dev *dev, unsigned vector)
{
	struct nvme *n = ob_dev_runtime(dev);

	nvme_irq_update(n);
	if (!ob_irq_is_message(dev))
		return;
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		const struct nvme_cq_state *st = &n->state->cq[i];

		if (st->irq && (vector == OB_IRQ_ALL || vector == st->vector) &&
		    has_entries(&n->cqs[i]))
			send_message(n, st->vector);
	}
}

/*
 * The guest's handler has been here: what is left in the queues, it has not seen. So the pin goes
 * low even if it has to come up again at once, which says that this is a new interrupt.
 */
void nvme_irq_consumed(struct nvme *n)
{
	if (n->irq_raised && !ob_irq_is_message(n->dev)) {
		n->irq_raised = false;
		ob_irq_lower(n->dev, 0);
	}
	nvme_irq_update(n);
}

/*
 * Shadow doorbells are not offered to a guest that listens to the pin: a handler that consumes
 * entries without a doorbell would not lower the pin, nor end the interrupt at the VMM, which takes
 * any access to the device for that.
 */
bool nvme_may_shadow(const struct nvme *n)
{
	return !ob_irq_is_pin(n->dev);
}
