/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transfers between the client's memory and a backend (struct ob_xfer of outboard/dma.h).
 *
 * Memory that is mapped here is pinned and used where it is: no copy. If any byte of a transfer is
 * reached by messages only, all of it goes through a bounce buffer, which is filled from the client
 * before the transfer is ready, or brought to the client when it ends. Nothing is pinned then, so
 * that nobody who waits for an unmap waits for the client.
 *
 * A client that does not answer has its device hold those buffers. So there is a bound for each
 * device, and a budget for all of them; transfers past that wait for their turn, in order, and hold
 * nothing. A device that holds nothing may always have one: whatever others hold, it goes on.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/fd.h"
#include "base/list.h"
#include "internal.h"

enum {
	MAX_IOV = 1024,
	BOUNCE_MAX = 16 << 20, /* bytes of a device, unless a single transfer is larger */
};

/* Whether the iovecs are memory that was allocated for this transfer. */
static bool is_allocated(const struct ob_xfer *xfer)
{
	return xfer->iov != xfer->inline_iov && xfer->iov != xfer->room;
}

/* Buffers, and transfers that wait for one */

static void waiters_append(struct device_bounce *bounce, struct ob_xfer *xfer)
{
	struct ob_xfer *first = bounce->first;

	xfer->waiting = 1;
	xfer->next_waiting = first ? first : xfer;
	xfer->prev_waiting = first ? first->prev_waiting : xfer;
	xfer->prev_waiting->next_waiting = xfer->next_waiting->prev_waiting = xfer;
	if (!first)
		bounce->first = xfer;
}

static void waiters_remove(struct device_bounce *bounce, struct ob_xfer *xfer)
{
	xfer->waiting = 0;
	if (bounce->first == xfer)
		bounce->first = xfer->next_waiting == xfer ? NULL : xfer->next_waiting;
	xfer->next_waiting->prev_waiting = xfer->prev_waiting;
	xfer->prev_waiting->next_waiting = xfer->next_waiting;
}

/* Counts what is not there when nothing else is: budget_take() has no exception for a first one. */
static bool may_bounce(const struct device_bounce *bounce, uint64_t length)
{
	const struct budget_share *bytes = &bounce->bytes;

	if (!bytes->own)
		return true;
	return bytes->own + length <= BOUNCE_MAX && budget_has_room(bytes, length);
}

static uint64_t bounce_size(const struct ob_xfer *xfer)
{
	return xfer->length ? xfer->length : 1;
}

static void bounce_free(struct ob_xfer *xfer)
{
	struct device_bounce *bounce = &xfer->dev->bounce;

	if (!xfer->bounce)
		return;
	free(take_ptr(&xfer->bounce));
	budget_give(&bounce->bytes, bounce_size(xfer));
	if (bounce->first)
		ob_task_schedule(ob_dev_loop(xfer->dev), &bounce->turn);
}

static void release(struct ob_xfer *xfer)
{
	if (is_allocated(xfer))
		free(xfer->iov);
	bounce_free(xfer);
	xfer->iov = NULL;
	xfer->iovcnt = 0;
	xfer->active = 0;
}

static void unpin(struct ob_xfer *xfer, unsigned nranges)
{
	for (unsigned i = 0; i < nranges; i++)
		dma_unpin(xfer->dev->dma, xfer->ranges[i].address, xfer->ranges[i].length,
		          xfer->dir);
}

static int grow_iov(struct ob_xfer *xfer, unsigned capacity)
{
	struct iovec *iov, *before = xfer->iov;

	if (capacity <= xfer->iov_capacity)
		return 0;
	iov = xfer->room;
	if (capacity > xfer->room_count) {
		iov = reallocarray(is_allocated(xfer) ? before : NULL, capacity, sizeof(*iov));
		if (!iov)
			return -ENOMEM;
	}
	if (!is_allocated(xfer))
		memcpy(iov, before, xfer->iovcnt * sizeof(*iov));
	xfer->iov = iov;
	xfer->iov_capacity = capacity;
	return 0;
}

static int pin_range(struct ob_xfer *xfer, const struct ob_dma_range *range)
{
	struct dma_space *dma = xfer->dev->dma;
	int rc = dma_pin(dma, range->address, range->length, xfer->dir, xfer->iov, &xfer->iovcnt,
	                 xfer->iov_capacity);

	/* Rare: a range that is spread over several maps needs more than one piece. */
	if (rc == -E2BIG && xfer->iov_capacity < MAX_IOV) {
		rc = grow_iov(xfer, MAX_IOV);
		if (!rc)
			rc = dma_pin(dma, range->address, range->length, xfer->dir, xfer->iov,
			             &xfer->iovcnt, xfer->iov_capacity);
	}
	return rc;
}

/* All ranges, or none. */
static int pin_all(struct ob_xfer *xfer)
{
	int rc = grow_iov(xfer, xfer->nranges);

	for (unsigned i = 0; !rc && i < xfer->nranges; i++) {
		rc = pin_range(xfer, &xfer->ranges[i]);
		if (rc)
			unpin(xfer, i);
	}
	return rc;
}

static int sum_ranges(struct ob_xfer *xfer)
{
	xfer->length = 0;
	for (unsigned i = 0; i < xfer->nranges; i++) {
		if (!checked_add(xfer->length, xfer->ranges[i].length, &xfer->length))
			return -EFAULT;
	}
	return 0;
}

/* Moves the bounce buffer's bytes range by range, from next_range on. */
static int move_bounced(struct ob_xfer *xfer)
{
	while (xfer->next_range < xfer->nranges) {
		const struct ob_dma_range *range = &xfer->ranges[xfer->next_range++];
		uint8_t *bytes = xfer->bounce + xfer->offset;
		int rc;

		xfer->offset += range->length;
		if (xfer->ending)
			rc = dma_write(xfer->dev->dma, range->address, bytes, range->length,
			               &xfer->op);
		else
			rc = dma_read(xfer->dev->dma, range->address, bytes, range->length,
			              &xfer->op);
		if (rc)
			return rc;
	}
	return 0;
}

static void moved(struct ob_dma_op *op, int status)
{
	struct ob_xfer *xfer = container_of(op, struct ob_xfer, op);

	if (!status)
		status = move_bounced(xfer);
	if (status == -EINPROGRESS)
		return;
	if (status || xfer->ending)
		release(xfer);
	xfer->ready(xfer, status);
}

/* 0, -EINPROGRESS or -errno; -EAGAIN: it is not its turn. */
static int start_bounce(struct ob_xfer *xfer)
{
	struct device_bounce *bounce = &xfer->dev->bounce;

	if (!may_bounce(bounce, bounce_size(xfer)))
		return -EAGAIN;
	xfer->bounce = malloc(bounce_size(xfer));
	if (!xfer->bounce) /* a buffer that comes back may help */
		return bounce->bytes.own ? -EAGAIN : -ENOMEM;
	budget_add(&bounce->bytes, bounce_size(xfer));
	xfer->iov[0] = (struct iovec){xfer->bounce, xfer->length};
	xfer->iovcnt = 1;
	xfer->op.done = moved;
	return xfer->dir == OB_DMA_FROM_CLIENT ? move_bounced(xfer) : 0;
}

static int bounce(struct ob_xfer *xfer)
{
	int rc = xfer->dev->bounce.first ? -EAGAIN : start_bounce(xfer);

	if (rc != -EAGAIN)
		return rc;
	waiters_append(&xfer->dev->bounce, xfer);
	return -EINPROGRESS;
}

/* Buffers came back. A client that is gone answers none of those that wait. */
static void run_turn(struct ob_task *task)
{
	struct device_bounce *bounce = container_of(task, struct device_bounce, turn);

	while (bounce->first) {
		struct ob_xfer *xfer = bounce->first;
		int rc = dma_has_remote(xfer->dev->dma) ? start_bounce(xfer) : -ECANCELED;

		if (rc == -EAGAIN)
			return;
		waiters_remove(bounce, xfer);
		if (rc == -EINPROGRESS)
			continue;
		if (rc)
			release(xfer);
		xfer->ready(xfer, rc);
	}
}

void device_bounce_init(struct ob_dev *dev)
{
	dev->bounce.bytes.budget = dev->env.bounce;
	dev->bounce.turn.run = run_turn;
}

int ob_xfer_begin(struct ob_dev *dev, struct ob_xfer *xfer, const struct ob_dma_range *ranges,
                  unsigned nranges, enum ob_dma_dir dir)
{
	int rc;

	xfer->dev = dev;
	xfer->ranges = ranges;
	xfer->nranges = nranges;
	xfer->dir = dir;
	xfer->next_range = 0;
	xfer->offset = 0;
	xfer->ending = xfer->waiting = 0;
	xfer->active = 1;
	xfer->iov = xfer->inline_iov;
	xfer->iov_capacity = OB_XFER_INLINE_IOV;
	xfer->iovcnt = 0;
	rc = nranges > MAX_IOV ? -E2BIG : sum_ranges(xfer);
	if (!rc)
		rc = pin_all(xfer);
	if (rc == -ENOTSUP)
		rc = bounce(xfer);
	if (rc && rc != -EINPROGRESS)
		release(xfer);
	return rc;
}

int ob_xfer_end(struct ob_xfer *xfer, int keep)
{
	int rc = 0;

	if (!xfer->bounce) {
		unpin(xfer, xfer->nranges);
	} else if (keep && xfer->dir == OB_DMA_TO_CLIENT) {
		xfer->ending = 1;
		rc = move_bounced(xfer);
	}
	if (rc != -EINPROGRESS)
		release(xfer);
	return rc;
}

void ob_xfer_abort(struct ob_xfer *xfer)
{
	if (!xfer->active)
		return;
	if (xfer->waiting)
		waiters_remove(&xfer->dev->bounce, xfer);
	else if (xfer->bounce)
		dma_cancel(xfer->dev->dma, &xfer->op);
	else
		unpin(xfer, xfer->nranges);
	release(xfer);
}
