/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What software does to the PCI function by its configuration space, where that is about the whole
 * device: Bus Master Enable and the power state stop and start it, function level reset resets it,
 * and a change of what carries interrupts is told to the model.
 *
 * All of it goes through quiesce and resume. No write waits for that: the guest's processor stands
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

static void on_stopped(struct device_waiter *waiter)
{
	struct ob_dev *dev = container_of(waiter, struct ob_dev, stop_waiter);

	dev->stopping = false;
	pci_show_pending(dev->pci, false);
}

void device_follow_function(struct ob_dev *dev)
{
	bool stopped = pci_is_stopped(dev->pci);

	if (stopped == dev->stopped)
		return;
	dev->stopped = stopped;
	log_trace(&dev->log, stopped ? "is stopped by its function" : "may use its bus again");
	if (stopped) {
		dev->stopping = device_quiesce(dev, &dev->stop_waiter) != 0;
		pci_show_pending(dev->pci, dev->stopping);
	} else if (dev->stopping) {
		on_stopped(&dev->stop_waiter);
		device_quiesce_cancel(dev, &dev->stop_waiter);
	} else {
		device_resume(dev);
	}
}

/* Function level reset */

static void reset_function(struct ob_dev *dev)
{
	dev->resetting = false;
	device_reset_by(dev, pci_function_reset);
	device_resume(dev);
}

static void on_quiet_for_reset(struct device_waiter *waiter)
{
	reset_function(container_of(waiter, struct ob_dev, reset_waiter));
}

void device_config_written(struct ob_dev *dev)
{
	bool reset = pci_take_reset_request(dev->pci);

	if (reset) {
		log_debug(&dev->log, "function level reset");
		dev->resetting = device_quiesce(dev, &dev->reset_waiter) != 0;
		if (!dev->resetting)
			reset_function(dev);
	}
	device_follow_function(dev);
}

void device_function_init(struct ob_dev *dev)
{
	dev->irq_watcher.changed = irqs_changed;
	dev->stop_waiter.done = on_stopped;
	dev->reset_waiter.done = on_quiet_for_reset;
	pci_irq_set_watcher(dev->pci, &dev->irq_watcher);
}
