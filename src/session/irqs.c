/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts: what GET_IRQ_INFO says about them, SET_IRQS, and the way from the PCI function to the
 * client's eventfds.
 *
 * A vector may have three eventfds: for being triggered, masked, and unmasked. The latter two are
 * told of what happens here, which is the client's own SET_IRQS and INTx masking itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "internal.h"

enum { CLOCK_ACTS = 4 }; /* of a SET_IRQS, between two looks at the clock */

/* How long an asserted pin waits after UNMASK: see unmask_pin(). */
static const uint64_t PIN_HOLD_NS = 1000000;

/* Until a signal is tried again for which the kernel had no memory. */
static const uint64_t RETRY_NS = 1000000;

/* MASKABLE for MSI-X has QEMU send UNMASK; nothing here depends on whether a client does. */
static const uint32_t irq_flags[PCI_IRQ_KINDS] = {
	[PCI_IRQ_INTX] = WIRE_IRQ_EVENTFD | WIRE_IRQ_MASKABLE | WIRE_IRQ_AUTOMASKED,
	[PCI_IRQ_MSI] = WIRE_IRQ_EVENTFD,
	[PCI_IRQ_MSIX] = WIRE_IRQ_EVENTFD | WIRE_IRQ_MASKABLE,
	[PCI_IRQ_ERR] = WIRE_IRQ_EVENTFD,
	[PCI_IRQ_REQ] = WIRE_IRQ_EVENTFD,
};

int session_get_irq_info(struct session *session, struct request *request)
{
	struct wire_irq_info info;
	int rc = wire_decode_get_irq_info(request->payload, request->length, &info, &request->why);

	if (rc)
		return rc;
	if (info.index >= PCI_IRQ_KINDS)
		return refuse(request, -EINVAL, "index: below 5 expected");
	info.argsz = sizeof(info);
	info.flags = irq_flags[info.index];
	info.count = pci_irq_count(session->pci, info.index);
	return session_reply(session, &request->header, &info, sizeof(info));
}

static int notify(struct session *session, enum pci_irq kind, unsigned vector,
                  enum session_irq_event event)
{
	const int *fds = session->irqs.fds[kind][event];

	return fds && fds[vector] >= 0 ? notifier_signal(session->irqs.notifier, fds[vector]) : 0;
}

/*
 * A signal that the kernel has no memory for is tried again: nobody would ask for it. That it was
 * masked is only said, and whoever asks is told anyway.
 */
static bool signal_irq(struct pci_irq_sink *sink, enum pci_irq kind, unsigned vector)
{
	struct session *session = container_of(sink, struct session, irqs.sink);

	if (notify(session, kind, vector, IRQ_ON_TRIGGER)) {
		struct ob_loop *loop = ob_dev_loop(session->dev);

		/* Without memory for that, too, the next turn does. */
		if (ob_timer_arm(loop, &session->irqs.retry, RETRY_NS))
			ob_task_schedule(loop, &session->irqs.retry_soon);
		return false;
	}
	session->stats.irqs[kind]++;
	if (kind == PCI_IRQ_INTX)
		(void)notify(session, kind, vector, IRQ_ON_MASK);
	return true;
}

static void try_again(struct ob_timer *timer)
{
	struct session *session = container_of(timer, struct session, irqs.retry);

	pci_irq_retry(session->pci);
}

static void try_again_soon(struct ob_task *task)
{
	struct session *session = container_of(task, struct session, irqs.retry_soon);

	pci_irq_retry(session->pci);
}

/* Takes the place of the vector's eventfd; fd -1: none. */
static void set_fd(struct session *session, enum pci_irq kind, unsigned vector,
                   enum session_irq_event event, int fd)
{
	int *fds = session->irqs.fds[kind][event];

	/* No interrupt is sent while there is nobody to send it to: it stays pending. */
	if (event == IRQ_ON_TRIGGER && fd < 0)
		pci_irq_wire(session->pci, kind, vector, false);
	if (fds) {
		session->irqs.held -= fds[vector] >= 0;
		fd_close(&fds[vector]);
		fds[vector] = fd;
		session->irqs.held += fd >= 0;
	}
	if (event == IRQ_ON_TRIGGER && fd >= 0)
		pci_irq_wire(session->pci, kind, vector, true);
}

/* The index as it was before the client used it. */
static void disable(struct session *session, enum pci_irq kind)
{
	unsigned count = pci_irq_count(session->pci, kind);

	for (unsigned event = 0; event < IRQ_EVENTS; event++) {
		for (unsigned vector = 0; vector < count; vector++)
			set_fd(session, kind, vector, event, -1);
		free(take_ptr(&session->irqs.fds[kind][event]));
	}
	/* After all of it is unwired, so that nothing is sent. */
	for (unsigned vector = 0; (irq_flags[kind] & WIRE_IRQ_MASKABLE) && vector < count; vector++)
		pci_irq_mask(session->pci, kind, vector, false);
}

static int make_fds(struct session *session, enum pci_irq kind, enum session_irq_event event)
{
	unsigned count = pci_irq_count(session->pci, kind);
	int *fds;

	if (session->irqs.fds[kind][event])
		return 0;
	fds = malloc(count * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++)
		fds[i] = -1;
	session->irqs.fds[kind][event] = fds;
	return 0;
}

/* How many descriptors would be held in addition: a new one may take an old one's place. */
static unsigned added_by(const struct session *session, const struct wire_set_irqs *set,
                         enum session_irq_event event)
{
	const int *fds = session->irqs.fds[set->index][event];
	unsigned added = set->count;

	for (unsigned i = 0; fds && i < set->count; i++)
		added -= fds[set->start + i] >= 0;
	return added;
}

/* DATA_EVENTFD: all of them are assigned, or nothing is. Without descriptors: de-assigned. */
static int assign(struct session *session, const struct wire_set_irqs *set,
                  enum session_irq_event event, struct request *request)
{
	int rc;

	if (!request->fd_count) {
		for (unsigned i = 0; i < set->count; i++)
			set_fd(session, set->index, set->start + i, event, -1);
		return 0;
	}
	if (request->fd_count != set->count)
		return refuse(request, -EINVAL, "count: as many as descriptors (or none) expected");
	for (unsigned i = 0; i < set->count; i++) {
		if (notifier_accept(session->irqs.notifier, request->fds[i]))
			return refuse(request, -EINVAL, "descriptors: eventfds expected");
	}
	if (!session_may_hold(session, added_by(session, set, event)))
		return refuse(
			request, -EMFILE,
			"the server holds max-fds descriptors, or the client's share of those "
			"that the process has, already");
	rc = make_fds(session, set->index, event);
	if (rc)
		return rc;
	for (unsigned i = 0; i < set->count; i++)
		set_fd(session, set->index, set->start + i, event, take_fd(&request->fds[i]));
	return 0;
}

/*
 * A client without a way to see the guest's end of interrupt takes any access to a BAR for it: QEMU
 * unmasks when a driver rings a doorbell that has nothing to do with the interrupt. A signal then,
 * while the handler is on its way, comes after the handler has lowered the pin: the guest sees a
 * pin that nothing lowers, and does nothing but call its handlers. So the signal is held back until
 * the pin was low once, or for a time that a handler may take.
 */
static void unmask_pin(struct session *session)
{
	struct ob_loop *loop = ob_dev_loop(session->dev);

	if (!pci_irq_unmask_held(session->pci))
		ob_timer_cancel(loop, &session->irqs.hold);
	else if (ob_timer_arm(loop, &session->irqs.hold, PIN_HOLD_NS))
		pci_irq_mask(session->pci, PCI_IRQ_INTX, 0, false);
}

static void hold_over(struct ob_timer *timer)
{
	struct session *session = container_of(timer, struct session, irqs.hold);

	pci_irq_unmask_now(session->pci);
}

static void act(struct session *session, enum pci_irq kind, unsigned vector, uint32_t action)
{
	if (action == WIRE_IRQ_ACTION_TRIGGER) {
		pci_irq_trigger(session->pci, kind, vector);
		return;
	}
	if (kind == PCI_IRQ_INTX && action == WIRE_IRQ_ACTION_UNMASK)
		unmask_pin(session);
	else
		pci_irq_mask(session->pci, kind, vector, action == WIRE_IRQ_ACTION_MASK);
	(void)notify(session, kind, vector,
	             action == WIRE_IRQ_ACTION_MASK ? IRQ_ON_MASK : IRQ_ON_UNMASK);
}

/* A signal is a system call, and there may be 2,048 vectors: as many as there is time for. */
static bool act_some(struct session *session)
{
	struct session_irq_acts *acts = &session->wait.irq_acts;
	const struct wire_set_irqs *set = &acts->set;

	for (unsigned i = acts->done; i < set->count; i++) {
		if (i != acts->done && i % CLOCK_ACTS == 0 &&
		    ob_loop_spent(ob_dev_loop(session->dev))) {
			acts->done = i;
			return false;
		}
		if (set->data == WIRE_IRQ_DATA_NONE || set->bools[i])
			act(session, set->index, set->start + i, set->action);
	}
	return true;
}

static int act_step(struct session *session)
{
	return act_some(session) ? 0 : -EAGAIN;
}

static void act_reply(struct session *session, int status)
{
	session_reply(session, &session->wait.request, NULL, 0);
}

const struct session_wait_ops session_wait_irqs = {
	.name = "SET_IRQS",
	.slices = true,
	.step = act_step,
	.reply = act_reply,
};

static int act_all(struct session *session, const struct wire_set_irqs *set,
                   const struct request *request)
{
	struct session_irq_acts *acts = &session->wait.irq_acts;

	*acts = (struct session_irq_acts){.set = *set};
	/* Before anything is done: some of it can't be taken back. */
	if (set->data == WIRE_IRQ_DATA_BOOL && set->count > CLOCK_ACTS) {
		acts->bools = malloc(set->count);
		if (!acts->bools)
			return -ENOMEM;
		memcpy(acts->bools, set->bools, set->count);
		acts->set.bools = acts->bools;
	}
	if (act_some(session)) {
		free(take_ptr(&acts->bools));
		return 0;
	}
	return session_wait_begin_later(session, SESSION_WAIT_IRQS, &request->header);
}

static int set_irqs(struct session *session, const struct wire_set_irqs *set,
                    struct request *request)
{
	static const enum session_irq_event events[] = {
		[WIRE_IRQ_ACTION_TRIGGER] = IRQ_ON_TRIGGER,
		[WIRE_IRQ_ACTION_MASK] = IRQ_ON_MASK,
		[WIRE_IRQ_ACTION_UNMASK] = IRQ_ON_UNMASK,
	};

	if (set->disable_all) {
		disable(session, set->index);
		return 0;
	}
	if (set->data == WIRE_IRQ_DATA_EVENTFD)
		return assign(session, set, events[set->action], request);
	return act_all(session, set, request);
}

int session_set_irqs(struct session *session, struct request *request)
{
	struct wire_set_irqs set;
	int rc = wire_decode_set_irqs(request->payload, request->length, &set, &request->why);

	if (rc)
		return rc;
	if (set.index >= PCI_IRQ_KINDS)
		return refuse(request, -EINVAL, "index: below 5 expected");
	if (set.start + set.count > pci_irq_count(session->pci, set.index))
		return refuse(request, -EINVAL,
		              "start + count: at most the index's count expected");
	if (set.action != WIRE_IRQ_ACTION_TRIGGER && !(irq_flags[set.index] & WIRE_IRQ_MASKABLE))
		return refuse(request, -EINVAL, "flags: this index cannot be masked");
	rc = set_irqs(session, &set, request);
	return rc ? rc : session_reply(session, &request->header, NULL, 0);
}

void session_irqs_init(struct session *session)
{
	session->irqs.hold.expired = hold_over;
	session->irqs.retry.expired = try_again;
	session->irqs.retry_soon.run = try_again_soon;
	session->irqs.sink.signal = signal_irq;
	pci_irq_set_sink(session->pci, &session->irqs.sink);
}

void session_irqs_end(struct session *session)
{
	ob_timer_cancel(ob_dev_loop(session->dev), &session->irqs.hold);
	ob_timer_cancel(ob_dev_loop(session->dev), &session->irqs.retry);
	ob_task_cancel(&session->irqs.retry_soon);
	pci_irq_set_sink(session->pci, NULL);
	for (unsigned kind = 0; kind < PCI_IRQ_KINDS; kind++) {
		for (unsigned event = 0; event < IRQ_EVENTS; event++) {
			int *fds = take_ptr(&session->irqs.fds[kind][event]);

			for (unsigned i = 0; fds && i < pci_irq_count(session->pci, kind); i++)
				fd_close(&fds[i]);
			free(fds);
		}
	}
	session->irqs.held = 0;
	notifier_put(ob_dev_loop(session->dev));
}
