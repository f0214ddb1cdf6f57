/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA from device to device on one bus; see bus.h.
 *
 * Memory (OB_WINDOW_MEMORY) is copied at once. An access to registers runs a model's code, and the
 * one who asks is a model in the midst of its own: so it always waits for the loop, also where a
 * device reaches itself. Thus nothing recurses, however a guest has devices point at each other; a
 * ring of them goes on for ever as it would in hardware, a slice of a turn at a time.
 */
#include "bus.h"

#include <errno.h>
#include <string.h>

#include "internal.h"

enum {
	SLICE = 8192, /* bytes of registers for each turn of the loop, as for clients */
	LEAST = 512,  /* what an access counts for at least: it runs a model's code */
};

/* A BAR, and the place in it that an address leads to. */
struct target {
	struct ob_dev *dev;
	unsigned bar; /* PCI_BARS: the expansion ROM */
	uint64_t offset, rest;
};

static uint64_t bar_size(const struct ob_dev *dev, unsigned bar)
{
	return bar == PCI_BARS ? pci_rom_size(dev->pci) : pci_layout(dev->pci)->bars[bar].size;
}

/* Address 0 is where a BAR stands that nobody has programmed. */
static bool find_in_device(struct ob_dev *dev, uint64_t address, struct target *target)
{
	for (unsigned bar = 0; bar <= PCI_BARS; bar++) {
		uint64_t size = bar_size(dev, bar), at;

		if (!size || (bar < PCI_BARS && pci_layout(dev->pci)->bars[bar].flags & OB_BAR_IO))
			continue;
		if (!pci_bar_address(dev->pci, bar, &at) || !at || address - at >= size)
			continue;
		*target = (struct target){dev, bar, address - at, size - (address - at)};
		return true;
	}
	return false;
}

static bool find_target(const struct device_port *port, uint64_t address, struct target *target)
{
	struct ob_dev *dev;

	list_for_each (dev, &port->on->devices, struct ob_dev, port.link) {
		if (find_in_device(dev, address, target))
			return true;
	}
	return false;
}

static uint64_t find(struct dma_bus *bus, uint64_t address, uint64_t length, unsigned want)
{
	struct device_port *port = container_of(bus, struct device_port, bus);
	struct target target;

	if (!find_target(port, address, &target))
		return 0;
	if (target.bar == PCI_BARS && want & DMA_WRITEABLE)
		return 0;
	return length < target.rest ? length : target.rest;
}

/* Whether an access runs nobody's code: memory, in one window. */
static bool is_plain(const struct target *target, uint64_t length, bool write)
{
	const struct ob_window *window;
	uint64_t rest;

	if (target->bar == PCI_BARS)
		return true;
	window = pci_window_find(target->dev->pci, target->bar, target->offset, &rest);
	return window && window->kind == OB_WINDOW_MEMORY && rest >= length &&
	       !(write && window->write);
}

static int access_target(const struct target *target, void *buffer, size_t length, bool write)
{
	int rc = write ? device_region_write(target->dev, target->bar, target->offset, buffer,
	                                     length)
	               : device_region_read(target->dev, target->bar, target->offset, buffer,
	                                    length);

	return rc ? -EFAULT : 0;
}

/*
 * The piece of an operation whose turn has come, and whose target may be gone meanwhile. A device
 * that reaches its own registers may cancel the operation from within, free its buffer, or begin it
 * anew: so what moves is a copy. -ECANCELED: it is not ours any more.
 */
static int move_queued(struct device_port *port, struct ob_dma_op *op)
{
	uint8_t *buffer = (uint8_t *)op->buffer + op->transferred, bytes[SLICE];
	size_t length = op->piece;
	bool write = op->write;
	struct target target;
	int rc;

	if (!find_target(port, op->address + op->transferred, &target) || target.rest < length)
		return -EFAULT;
	if (write)
		memcpy(bytes, buffer, length);
	port->moving = op;
	rc = access_target(&target, bytes, length, write);
	if (port->moving != op)
		return -ECANCELED;
	port->moving = NULL;
	if (!rc && !write)
		memcpy(buffer, bytes, length);
	return rc;
}

/* The queue is linked by the operations' owner, which is ours while they wait. */

static void run_queue(struct ob_task *task)
{
	struct device_port *port = container_of(task, struct device_port, step);
	struct ob_dev *dev = container_of(port, struct ob_dev, port);
	size_t moved = 0;

	while (port->first && moved < SLICE) {
		struct ob_dma_op *op = port->first;
		int rc;

		port->first = op->owner;
		moved += op->piece < LEAST ? LEAST : op->piece;
		rc = move_queued(port, op);
		if (rc != -ECANCELED)
			dma_op_finish(dev->dma, op, rc);
	}
	if (port->first)
		ob_task_schedule(dev->env.loop, task);
}

static int start(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct device_port *port = container_of(remote, struct device_port, bus.at);
	struct ob_dev *dev = container_of(port, struct ob_dev, port);
	struct target target;

	if (!find_target(port, op->address + op->transferred, &target))
		return -EFAULT;
	if (is_plain(&target, op->piece, op->write))
		return access_target(&target, (uint8_t *)op->buffer + op->transferred, op->piece,
		                     op->write);
	if (op->piece > SLICE)
		op->piece = SLICE;
	op->owner = NULL;
	if (port->first)
		port->last->owner = op;
	else
		port->first = op;
	port->last = op;
	ob_task_schedule(dev->env.loop, &port->step);
	return -EINPROGRESS;
}

static void cancel(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct device_port *port = container_of(remote, struct device_port, bus.at);
	struct ob_dma_op *before = NULL;

	if (port->moving == op)
		port->moving = NULL;
	for (struct ob_dma_op *at = port->first; at; before = at, at = at->owner) {
		if (at != op)
			continue;
		if (before)
			before->owner = op->owner;
		else
			port->first = op->owner;
		if (port->last == op)
			port->last = before;
		return;
	}
}

void device_bus_init(struct device_bus *bus)
{
	list_init(&bus->devices);
}

void device_bus_add(struct device_bus *bus, struct ob_dev *dev)
{
	struct device_port *port = &dev->port;

	*port = (struct device_port){
		.on = bus,
		.bus = {.find = find, .at = {.start = start, .cancel = cancel}},
		.step.run = run_queue,
	};
	list_append(&bus->devices, &port->link);
	dma_set_bus(dev->dma, &port->bus);
}

void device_bus_remove(struct ob_dev *dev)
{
	struct device_port *port = &dev->port;

	if (!port->on)
		return;
	ob_task_cancel(&port->step);
	dma_set_bus(dev->dma, NULL);
	list_remove(&port->link);
	port->on = NULL;
}
