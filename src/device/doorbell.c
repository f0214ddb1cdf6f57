/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells: places in a BAR for which a client may have an eventfd, which its hypervisor signals
 * instead of sending the write.
 *
 * The client has the same eventfd, and could make a read() of ours block by reading before us. So
 * it is never read: watched for edges, it wakes us for each write, whatever the counter is at.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/list.h"
#include "internal.h"
#include "loop/loop.h"

struct device_doorbell {
	struct ob_dev *dev;
	struct loop_fd watch; /* .fd is -1 while no client asked for it */
	bool pending;         /* rang while the device was quiet */
};

static unsigned count_of(const struct ob_dev *dev)
{
	return dev->doorbells ? pci_layout(dev->pci)->ndoorbells : 0;
}

static void ring(struct device_doorbell *doorbell)
{
	struct ob_dev *dev = doorbell->dev;

	doorbell->pending = dev->quieting || dev->quiet;
	if (!doorbell->pending)
		dev->model->rang(dev, &pci_layout(dev->pci)->doorbells[doorbell - dev->doorbells]);
}

static void on_ring(struct loop_fd *watch, uint32_t events)
{
	struct device_doorbell *doorbell = container_of(watch, struct device_doorbell, watch);

	ring(doorbell);
	device_client_uses(doorbell->dev);
}

int device_doorbells_alloc(struct ob_dev *dev, struct ob_error *err)
{
	unsigned count = pci_layout(dev->pci)->ndoorbells;

	if (!count)
		return 0;
	if (!dev->model->rang)
		return ob_error_set(err, -EINVAL, "%s has doorbells, and no rang()",
		                    dev->model->name);
	dev->doorbells = calloc(count, sizeof(*dev->doorbells));
	if (!dev->doorbells)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < count; i++)
		dev->doorbells[i] = (struct device_doorbell){.dev = dev, .watch.fd = -1};
	return 0;
}

void device_doorbells_revoke(struct ob_dev *dev)
{
	for (unsigned i = 0; i < count_of(dev); i++) {
		struct loop_fd *watch = &dev->doorbells[i].watch;

		if (watch->fd < 0)
			continue;
		loop_fd_remove(dev->env.loop, watch);
		fd_close(&watch->fd);
	}
}

void device_doorbells_free(struct ob_dev *dev)
{
	device_doorbells_revoke(dev);
	free(dev->doorbells);
}

void device_doorbells_resume(struct ob_dev *dev)
{
	for (unsigned i = 0; i < count_of(dev); i++) {
		if (dev->doorbells[i].pending)
			ring(&dev->doorbells[i]);
	}
}

void device_doorbells_reset(struct ob_dev *dev)
{
	for (unsigned i = 0; i < count_of(dev); i++)
		dev->doorbells[i].pending = false;
}

unsigned device_doorbells(struct ob_dev *dev, unsigned region, const struct ob_doorbell **list,
                          unsigned max)
{
	const struct ob_layout *layout = pci_layout(dev->pci);
	unsigned count = 0;

	for (unsigned i = 0; i < count_of(dev) && count < max; i++) {
		if (layout->doorbells[i].bar == region)
			list[count++] = &layout->doorbells[i];
	}
	return count;
}

int device_doorbell_fd(struct ob_dev *dev, const struct ob_doorbell *doorbell)
{
	struct loop_fd *watch = &dev->doorbells[doorbell - pci_layout(dev->pci)->doorbells].watch;
	cleanup_fd int fd = -1;
	int rc;

	if (watch->fd >= 0)
		return watch->fd;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	*watch = (struct loop_fd){.fd = fd, .events = EPOLLIN | EPOLLET, .ready = on_ring};
	rc = loop_fd_add(dev->env.loop, watch);
	if (rc) {
		watch->fd = -1;
		return rc;
	}
	return take_fd(&fd);
}
