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

struct device_bell {
	struct ob_dev *dev;
	const struct ob_window *window;
	unsigned number;      /* in the window */
	struct loop_fd watch; /* .fd is -1 while no client asked for it */
	bool pending;         /* rang while the device was quiet */
};

static unsigned count_of(const struct ob_dev *dev)
{
	return dev->bells ? pci_doorbells(dev->pci) : 0;
}

static void ring(struct device_bell *bell)
{
	struct ob_dev *dev = bell->dev;

	bell->pending = dev->quieting || dev->quiet;
	if (!bell->pending)
		bell->window->rang(dev, bell->number);
}

static void on_ring(struct loop_fd *watch, uint32_t events)
{
	struct device_bell *bell = container_of(watch, struct device_bell, watch);

	ring(bell);
	device_client_uses(bell->dev);
}

/* Those of a BAR, from the given place in dev->bells on. Returns the place after them. */
static unsigned fill_in(struct ob_dev *dev, unsigned bar, unsigned at)
{
	const struct ob_bar *layout = &pci_layout(dev->pci)->bars[bar];

	for (unsigned i = 0; i < layout->nwindows; i++) {
		const struct ob_window *window = &layout->windows[i];

		if (window->kind != OB_WINDOW_DOORBELLS)
			continue;
		for (unsigned n = 0; n < window->count; n++)
			dev->bells[at++] = (struct device_bell){
				.dev = dev, .window = window, .number = n, .watch.fd = -1};
	}
	return at;
}

int device_doorbells_alloc(struct ob_dev *dev, struct ob_error *err)
{
	unsigned count = pci_doorbells(dev->pci), at = 0;

	if (!count)
		return 0;
	dev->bells = calloc(count, sizeof(*dev->bells));
	if (!dev->bells)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (unsigned bar = 0; bar < PCI_BARS; bar++)
		at = fill_in(dev, bar, at);
	return 0;
}

void device_doorbells_revoke(struct ob_dev *dev)
{
	for (unsigned i = 0; i < count_of(dev); i++) {
		struct loop_fd *watch = &dev->bells[i].watch;

		if (watch->fd < 0)
			continue;
		loop_fd_remove(dev->env.loop, watch);
		fd_close(&watch->fd);
	}
}

void device_doorbells_free(struct ob_dev *dev)
{
	device_doorbells_revoke(dev);
	free(dev->bells);
}

void device_doorbells_resume(struct ob_dev *dev)
{
	for (unsigned i = 0; i < count_of(dev); i++) {
		if (dev->bells[i].pending)
			ring(&dev->bells[i]);
	}
}

void device_doorbells_reset(struct ob_dev *dev)
{
	for (unsigned i = 0; i < count_of(dev); i++)
		dev->bells[i].pending = false;
}

/* Windows of doorbells of the BARs before this one. */
static unsigned first_of(const struct ob_dev *dev, unsigned bar)
{
	const struct ob_layout *layout = pci_layout(dev->pci);
	unsigned first = 0;

	while (bar--) {
		for (unsigned i = 0; i < layout->bars[bar].nwindows; i++) {
			if (layout->bars[bar].windows[i].kind == OB_WINDOW_DOORBELLS)
				first += layout->bars[bar].windows[i].count;
		}
	}
	return first;
}

unsigned device_doorbells(struct ob_dev *dev, unsigned region, struct device_doorbell *list,
                          unsigned max)
{
	unsigned first, end, count = 0;

	if (region >= PCI_BARS || !dev->bells)
		return 0;
	first = first_of(dev, region);
	end = first_of(dev, region + 1);
	for (unsigned i = first; i < end && count < max; i++) {
		const struct device_bell *bell = &dev->bells[i];
		const struct ob_window *window = bell->window;

		list[count++] = (struct device_doorbell){
			.index = i,
			.bar = (uint8_t)region,
			.size = (uint8_t)window->size,
			.match = window->match,
			.offset = window->offset + (uint64_t)bell->number * window->stride,
			.value = window->value + bell->number * window->value_step,
		};
	}
	return count;
}

int device_doorbell_fd(struct ob_dev *dev, unsigned index)
{
	struct loop_fd *watch = &dev->bells[index].watch;
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
