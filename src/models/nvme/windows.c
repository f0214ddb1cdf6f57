/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The windows of BAR 0: controller registers in its first 4 KiB, doorbells from there on. With
 * mmap-doorbells=on the page that holds the doorbells is memory, and with ioeventfds=on a client
 * may have eventfds for those of I/O queues.
 */
#include "internal.h"

enum { BEYOND = NVME_DOORBELLS + NVME_PAGE }; /* doorbells of more queues than there can be */

static inline uint64_t read_at(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	const struct nvme *n = ob_dev_runtime(dev);

	return n->trace_registers ? nvme_traced_read(dev, offset, size)
	                          : nvme_read(dev, offset, size);
}

static inline void write_at(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	const struct nvme *n = ob_dev_runtime(dev);

	if (n->trace_registers)
		nvme_traced_write(dev, offset, value, size);
	else
		nvme_write(dev, offset, value, size);
}

static uint64_t registers_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	return read_at(dev, offset, size);
}

static void registers_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	write_at(dev, offset, value, size);
}

static uint64_t doorbells_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	return read_at(dev, NVME_DOORBELLS + offset, size);
}

static void doorbells_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	write_at(dev, NVME_DOORBELLS + offset, value, size);
}

static uint64_t beyond_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	return read_at(dev, BEYOND + offset, size);
}

static void beyond_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	write_at(dev, BEYOND + offset, value, size);
}

static void submission_kicked(struct ob_dev *dev, unsigned number)
{
	nvme_doorbell_kicked(ob_dev_runtime(dev), 2 * (number + 1));
}

static void completion_kicked(struct ob_dev *dev, unsigned number)
{
	nvme_doorbell_kicked(ob_dev_runtime(dev), 2 * (number + 1) + 1);
}

/*
 * Those of submission first, as a client takes no more than fit in a message. The admin queue's are
 * always written with a value.
 */
static unsigned add_eventfds(struct nvme *n, unsigned count, unsigned pairs)
{
	struct ob_window doorbells = {.kind = OB_WINDOW_DOORBELLS,
	                              .offset = NVME_DOORBELLS + 8,
	                              .size = 4,
	                              .count = pairs,
	                              .stride = 8,
	                              .rang = submission_kicked};

	n->windows[count++] = doorbells;
	doorbells.offset += 4;
	doorbells.rang = completion_kicked;
	n->windows[count++] = doorbells;
	return count;
}

void nvme_windows_make(struct ob_dev *dev, const struct nvme_props *props, struct ob_bar *bar)
{
	struct nvme *n = ob_dev_runtime(dev);
	struct ob_window window = {.min_access = 4, .max_access = 8};
	unsigned count = 0;

	n->trace_registers = ob_dev_traces(dev, "register");
	window.size = NVME_DOORBELLS;
	window.read = registers_read;
	window.write = registers_write;
	n->windows[count++] = window;
	window.offset = NVME_DOORBELLS;
	window.kind = props->mmap_doorbells ? OB_WINDOW_MEMORY : OB_WINDOW_REGISTERS;
	window.size = props->mmap_doorbells ? NVME_PAGE : 0;
	window.read = doorbells_read;
	window.write = doorbells_write;
	n->windows[count++] = window;
	if (props->mmap_doorbells && bar->size > BEYOND) {
		n->windows[count++] = (struct ob_window){.offset = BEYOND,
		                                         .min_access = 4,
		                                         .max_access = 8,
		                                         .read = beyond_read,
		                                         .write = beyond_write};
	}
	if (props->ioeventfds)
		count = add_eventfds(n, count, props->num_queues);
	bar->windows = n->windows;
	bar->nwindows = count;
}
