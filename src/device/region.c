/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads and writes of a device's regions: configuration space, expansion ROM, BARs.
 *
 * A client may use any size and alignment. What a model gets are naturally aligned accesses of the
 * sizes that it said it takes; the MSI-X table and pending bits that lie in a BAR go to src/pci,
 * the memory of RAM BARs is copied.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"
#include "outboard/endian.h"

/* A run of bytes in one region that the client reads into, or writes from, `data`. */
struct access {
	struct ob_dev *dev;
	unsigned region;
	uint64_t offset;
	uint8_t *data;
	size_t length;
	bool write;
};

/* A ROM BAR's size is a power of 2, and at least 2 KiB (PCI Local Bus 3.0, 6.2.5.2). */
static uint64_t rom_bar_size(const struct ob_layout *layout)
{
	uint64_t size = 2048;

	while (size < layout->rom_size)
		size *= 2;
	return size;
}

void device_region_info(struct ob_dev *dev, unsigned region, struct device_region_info *info)
{
	const struct ob_layout *layout = pci_layout(dev->pci);

	*info = (struct device_region_info){.readable = true, .writeable = true};
	if (region < PCI_BARS) {
		info->size = layout->bars[region].size;
	} else if (region == DEVICE_REGION_CONFIG) {
		info->size = pci_config_size(dev->pci);
	} else if (region == DEVICE_REGION_ROM && layout->rom) {
		info->size = rom_bar_size(layout);
		info->writeable = false;
	}
	if (!info->size)
		info->readable = info->writeable = false;
}

/* Bytes past the image, up to the size of the BAR, read as ones. */
static void read_rom(const struct ob_layout *layout, uint64_t offset, uint8_t *data, size_t length)
{
	size_t have = 0;

	if (offset < layout->rom_size) {
		have = layout->rom_size - offset;
		if (have > length)
			have = length;
		memcpy(data, (const uint8_t *)layout->rom + offset, have);
	}
	memset(data + have, 0xff, length - have);
}

/* The largest naturally aligned access at offset that does not exceed length and max. */
static unsigned access_size(uint64_t offset, size_t length, unsigned max)
{
	unsigned size = max;

	while (size > length || offset & (size - 1))
		size /= 2;
	return size;
}

/*
 * One access of size bytes that is smaller than the model takes: as part of the aligned min bytes
 * around it.
 */
static void narrow(const struct access *a, const struct ob_bar *bar, unsigned size, unsigned min)
{
	uint64_t start = a->offset & ~(uint64_t)(min - 1);
	uint8_t bytes[8];

	ob_put_le(bytes, bar->read(a->dev, start, min), min);
	if (!a->write) {
		memcpy(a->data, bytes + (a->offset - start), size);
		return;
	}
	memcpy(bytes + (a->offset - start), a->data, size);
	bar->write(a->dev, start, ob_get_le(bytes, min), min);
}

/* The first access that a model's BAR makes of *a. Returns the bytes that it covers. */
static size_t model_step(const struct access *a, const struct ob_bar *bar)
{
	unsigned min = bar->min_access ? bar->min_access : 4;
	unsigned max = bar->max_access ? bar->max_access : 4;
	unsigned size = access_size(a->offset, a->length, max);

	if (size < min)
		narrow(a, bar, size, min);
	else if (a->write)
		bar->write(a->dev, a->offset, ob_get_le(a->data, size), size);
	else
		ob_put_le(a->data, bar->read(a->dev, a->offset, size), size);
	return size;
}

static size_t at_most(size_t length, uint64_t limit)
{
	return length < limit ? length : (size_t)limit;
}

/* The first part of *a that one of MSI-X, RAM and model handles. Returns the bytes it covers. */
static size_t bar_step(const struct access *a, const struct ob_bar *bar)
{
	struct pci *pci = a->dev->pci;
	struct access part = *a;

	if (pci_msix_covers(pci, a->region, a->offset, 1)) {
		part.length =
			at_most(a->length, pci_msix_end(pci, a->region, a->offset) - a->offset);
		if (a->write)
			pci_msix_write(pci, a->region, a->offset, a->data, (unsigned)part.length);
		else
			pci_msix_read(pci, a->region, a->offset, a->data, (unsigned)part.length);
		return part.length;
	}
	part.length = at_most(a->length, pci_msix_next(pci, a->region, a->offset) - a->offset);
	if (bar->flags & OB_BAR_RAM) {
		uint8_t *memory = (uint8_t *)a->dev->ram[a->region].memory + a->offset;

		if (a->write)
			memcpy(memory, a->data, part.length);
		else
			memcpy(a->data, memory, part.length);
		return part.length;
	}
	if (bar->read && bar->write)
		return model_step(&part, bar);
	/* A BAR that holds nothing but the MSI-X structures: reads as zeroes around them. */
	if (!a->write)
		memset(a->data, 0, part.length);
	return part.length;
}

static int access_region(struct access a)
{
	const struct ob_layout *layout = pci_layout(a.dev->pci);
	struct device_region_info info;

	if (a.region >= DEVICE_REGIONS)
		return -EINVAL;
	device_region_info(a.dev, a.region, &info);
	if (!(a.write ? info.writeable : info.readable) ||
	    !range_within(a.offset, a.length, info.size))
		return -EINVAL;
	if (a.region == DEVICE_REGION_CONFIG) {
		if (a.write)
			pci_config_write(a.dev->pci, (unsigned)a.offset, a.data,
			                 (unsigned)a.length);
		else
			pci_config_read(a.dev->pci, (unsigned)a.offset, a.data, (unsigned)a.length);
		return 0;
	}
	if (a.region == DEVICE_REGION_ROM) {
		read_rom(layout, a.offset, a.data, a.length);
		return 0;
	}
	while (a.length) {
		size_t done = bar_step(&a, &layout->bars[a.region]);

		a.offset += done;
		a.data += done;
		a.length -= done;
	}
	return 0;
}

int device_region_read(struct ob_dev *dev, unsigned region, uint64_t offset, void *buffer,
                       size_t length)
{
	return access_region((struct access){dev, region, offset, buffer, length, false});
}

int device_region_write(struct ob_dev *dev, unsigned region, uint64_t offset, const void *buffer,
                        size_t length)
{
	return access_region((struct access){dev, region, offset, (uint8_t *)buffer, length, true});
}
