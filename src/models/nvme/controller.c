/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller's life (NVMe 1.4, 7.3 and 7.6): enabled, reset by CC.EN, and shut down by CC.SHN.
 *
 * A reset drops all commands. What a drive works on cannot be taken back: CSTS.RDY stays set until
 * that has ended, so that a driver which waits for it, as it must, never has its memory written to
 * afterwards.
 */
#include <errno.h>

#include "internal.h"

/* Enable */

/* What is wrong with the registers that the driver set before CC.EN, or NULL. */
static const char *check_registers(const struct nvme *n)
{
	const struct nvme_state *s = n->state;
	unsigned mps = (s->cc & NVME_CC_MPS) >> NVME_CC_MPS_SHIFT;
	unsigned sqes = (s->cc & NVME_CC_IOSQES) >> NVME_CC_IOSQES_SHIFT;
	unsigned cqes = (s->cc & NVME_CC_IOCQES) >> NVME_CC_IOCQES_SHIFT;
	uint64_t offset = (UINT64_C(1) << (12 + mps)) - 1;

	if (mps > NVME_MAX_PAGE_SHIFT - 12)
		return "CC.MPS is larger than CAP.MPSMAX";
	if (s->cc & NVME_CC_CSS)
		return "CC.CSS names a command set that is not supported";
	if (s->cc & NVME_CC_AMS)
		return "CC.AMS names an arbitration that is not supported";
	/* They may also be set later, before the first I/O queue is created. */
	if ((sqes && sqes != NVME_SQES) || (cqes && cqes != NVME_CQES))
		return "CC.IOSQES or CC.IOCQES is not supported";
	if (!(s->aqa & 0xfff) || !(s->aqa >> 16 & 0xfff))
		return "AQA says less than two entries";
	if (s->asq & offset || s->acq & offset)
		return "ASQ or ACQ is not aligned to a page";
	return NULL;
}

static void enable(struct nvme *n)
{
	struct nvme_state *s = n->state;
	const char *wrong = check_registers(n);

	if (wrong) {
		nvme_fatal(n, wrong, s->cc);
		return;
	}
	n->page_size = 1u << (12 + ((s->cc & NVME_CC_MPS) >> NVME_CC_MPS_SHIFT));
	nvme_cq_open(n, 0, s->acq, (s->aqa >> 16 & 0xfff) + 1, true, 0);
	nvme_sq_open(n, 0, s->asq, (s->aqa & 0xfff) + 1, 0);
	s->csts = NVME_CSTS_RDY;
	/* A turn at whose end the page is watched: who has mapped it never rings. */
	ob_queues_schedule(&n->queues);
}

/* Reset */

static void disabled(struct nvme *n)
{
	struct nvme_state *s = n->state;

	n->disabling = false;
	ob_dev_recovered(n->dev);
	/* A shutdown that was asked for together with the reset goes on. */
	s->csts = s->cc & NVME_CC_SHN ? s->csts & NVME_CSTS_SHST : 0;
	if (s->cc & NVME_CC_EN)
		enable(n);
}

static void disable(struct nvme *n)
{
	struct nvme_state *s = n->state;

	n->disabling = true;
	nvme_queues_clear(n);
	ob_queue_interrupts_drop(&n->queues);
	nvme_features_reset(n);
	s->intms = 0;
	s->shadow = false;
	s->async_count = 0;
	s->event_count = 0;
	s->events_masked = 0;
	nvme_irq_update(n);
	if (!n->requests)
		disabled(n);
}

void nvme_request_ended(struct nvme *n)
{
	if (n->requests)
		return;
	if (n->disabling)
		disabled(n);
	if (n->quiescing && !n->flushing)
		ob_dev_quiet(n->dev);
}

/* Shutdown: flushes the drives one after the other */

static void flushed(struct ob_block_request *request, int error);

static void flush_failed(struct nvme *n, const struct ob_block *drive, int error)
{
	if (!error)
		return;
	/* There is no command that could fail, or be done again. */
	(void)ob_dev_block_error(n->dev, drive, OB_BLOCK_FLUSH, error);
	ob_dev_warn(n->dev, "flush of drive %s at shutdown failed: error %d", ob_block_name(drive),
	            -error);
}

void nvme_shutdown_continue(struct nvme *n)
{
	struct nvme_state *s = n->state;

	if ((s->csts & NVME_CSTS_SHST) != NVME_CSTS_SHST_BUSY || n->flushing)
		return;
	for (;;) {
		unsigned next = n->flush_next;
		const struct nvme_namespace *ns = nvme_next_drive(n, &next);
		int error;

		if (!ns)
			break;
		if (n->quiescing)
			return;
		n->flush_next = next;
		n->flush = (struct ob_block_request){.op = OB_BLOCK_FLUSH, .done = flushed};
		n->flush_drive = ns->block;
		error = ob_block_submit(ns->block, &n->flush);
		n->flushing = error == -EINPROGRESS;
		if (n->flushing)
			return;
		flush_failed(n, ns->block, error);
	}
	s->csts = (s->csts & ~(uint32_t)NVME_CSTS_SHST) | NVME_CSTS_SHST_DONE;
}

static void flushed(struct ob_block_request *request, int error)
{
	struct nvme *n = ob_container_of(request, struct nvme, flush);

	n->flushing = false;
	flush_failed(n, n->flush_drive, error);
	nvme_shutdown_continue(n);
	nvme_request_ended(n);
}

static void shut_down(struct nvme *n)
{
	struct nvme_state *s = n->state;

	/* Abrupt or normal makes no difference: a flush is all that there is to do. */
	s->csts = (s->csts & ~(uint32_t)NVME_CSTS_SHST) | NVME_CSTS_SHST_BUSY;
	n->flush_next = 0;
	nvme_shutdown_continue(n);
}

void nvme_set_cc(struct nvme *n, uint32_t value)
{
	const uint32_t fixed = NVME_CC_CSS | NVME_CC_MPS | NVME_CC_AMS;
	struct nvme_state *s = n->state;
	uint32_t old = s->cc;

	/* These may change while the controller is disabled only (3.1.5). */
	if (old & value & NVME_CC_EN)
		value = (value & ~fixed) | (old & fixed);
	s->cc = value & (fixed | NVME_CC_EN | NVME_CC_SHN | NVME_CC_IOSQES | NVME_CC_IOCQES);
	if (old & ~value & NVME_CC_EN)
		disable(n);
	else if (value & ~old & NVME_CC_EN && !n->disabling)
		enable(n);
	if (value & NVME_CC_SHN && !(old & NVME_CC_SHN))
		shut_down(n);
	else if (!(value & NVME_CC_SHN))
		s->csts &= ~(uint32_t)NVME_CSTS_SHST;
}
