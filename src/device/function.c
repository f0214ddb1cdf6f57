/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What software does to the PCI function by its configuration space, where that is about the whole
 * device: Bus Master Enable and the power state stop and start it, function level reset resets it,
 * and a change of what carries interrupts is told to the model.
 *
 * All of it goes through holds. No write waits for that: the guest's processor stands
 * still meanwhile. Instead the function shows that transactions are pending, and one that is being
 * reset answers reads with all ones, as the specifications have it (PCI Express Base 3.0, 2.3.1 and
 * 6.6.2): drivers of operating systems wait for both.
 */
#include "base/list.h"
#include "internal.h"

_Static_assert((int)OB_IRQ_ALL == (int)PCI_MAX_MSIX, "one number for all vectors");

/* Interrupts */

void device_tell_irqs(struct ob_dev *dev)
{
	unsigned vector;

	if (dev->quiet || dev->quieting || !dev->model->irq_changed)
		return; /* after resume then */
	while (pci_irq_next_changed(dev->pci, &vector))
		dev->model->irq_changed(dev, vector);
}

static void irqs_changed(struct pci_irq_watcher *watcher)
{
	device_tell_irqs(container_of(watcher, struct ob_dev, irq_watcher));
}

/* Bus Master Enable, power state */

static void on_bus_off(struct device_hold *hold)
{
	pci_show_pending(container_of(hold, struct ob_dev, bus_off)->pci, false);
}

void device_follow_function(struct ob_dev *dev)
{
	bool stopped = pci_is_stopped(dev->pci);

	if (stopped == dev->bus_off.held)
		return;
	if (stopped) {
		pci_show_pending(dev->pci, device_hold(dev, &dev->bus_off, DEVICE_HOLD_BUS) != 0);
	} else {
		pci_show_pending(dev->pci, false);
		device_release(dev, &dev->bus_off);
	}
}

/* Function level reset */

static void reset_function(struct ob_dev *dev)
{
	device_reset_by(dev, pci_function_reset);
	device_release(dev, &dev->function_reset);
}

static void on_quiet_for_reset(struct device_hold *hold)
{
	reset_function(container_of(hold, struct ob_dev, function_reset));
}

void device_config_written(struct ob_dev *dev)
{
	bool reset = pci_take_reset_request(dev->pci);

	if (reset && !dev->function_reset.held) {
		log_debug(&dev->log, "function level reset");
		if (!device_hold(dev, &dev->function_reset, DEVICE_HOLD_FUNCTION_RESET))
			reset_function(dev);
	}
	device_follow_function(dev);
}

void device_function_init(struct ob_dev *dev)
{
	dev->irq_watcher.changed = irqs_changed;
	dev->bus_off.done = on_bus_off;
	dev->function_reset.done = on_quiet_for_reset;
	pci_irq_set_watcher(dev->pci, &dev->irq_watcher);
}
