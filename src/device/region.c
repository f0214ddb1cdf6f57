/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads and writes of a device's regions: configuration space, expansion ROM, BARs.
 *
 * A client may use any size and alignment. What a model gets are naturally aligned accesses of the
 * sizes that it said it takes, in the window where they are; MSI-X structures go to src/pci, memory
 * is copied.
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

unsigned device_regions(const struct ob_dev *dev)
{
	return DEVICE_REGIONS + pci_layout(dev->pci)->nregions;
}

/* Without what only clients ask about: this is on the way of every access. */
static void describe(const struct ob_dev *dev, unsigned region, struct device_region_info *info)
{
	const struct ob_layout *layout = pci_layout(dev->pci);

	*info = (struct device_region_info){.readable = true, .writeable = true};
	if (region < PCI_BARS) {
		info->size = layout->bars[region].size;
	} else if (region == DEVICE_REGION_CONFIG) {
		info->size = pci_config_size(dev->pci);
	} else if (region == DEVICE_REGION_ROM && layout->rom) {
		info->size = pci_rom_size(dev->pci);
		info->writeable = false;
	} else if (region >= DEVICE_REGIONS && region < device_regions(dev)) {
		const struct ob_region *own = &layout->regions[region - DEVICE_REGIONS];

		info->size = own->size;
		info->readable = own->read;
		info->writeable = own->write;
	}
	if (!info->size)
		info->readable = info->writeable = false;
}

void device_region_info(struct ob_dev *dev, unsigned region, struct device_region_info *info)
{
	const struct ob_layout *layout = pci_layout(dev->pci);

	describe(dev, region, info);
	if (region < PCI_BARS)
		info->areas = device_memory_areas(dev, region, info->area);
	if (region < DEVICE_REGIONS || region >= device_regions(dev))
		return;
	info->typed = true;
	info->type = layout->regions[region - DEVICE_REGIONS].type;
	info->subtype = layout->regions[region - DEVICE_REGIONS].subtype;
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

/* What stands between the model and a place in a region: a window, and where it begins. */
struct part {
	const struct ob_window *window;
	uint64_t begin;
};

static uint64_t call_read(const struct access *a, const struct part *part, uint64_t offset,
                          unsigned size)
{
	if (!part->window->read)
		return 0;
	return part->window->read(a->dev, offset - part->begin, size);
}

static void call_write(const struct access *a, const struct part *part, uint64_t offset,
                       uint64_t value, unsigned size)
{
	if (part->window->write)
		part->window->write(a->dev, offset - part->begin, value, size);
}

/*
 * One access of size bytes that is smaller than the model takes: as part of the aligned min bytes
 * around it.
 */
static void narrow(const struct access *a, const struct part *part, unsigned size, unsigned min)
{
	uint64_t start = a->offset & ~(uint64_t)(min - 1);
	uint8_t bytes[8];

	ob_put_le(bytes, call_read(a, part, start, min), min);
	if (!a->write) {
		memcpy(a->data, bytes + (a->offset - start), size);
		return;
	}
	memcpy(bytes + (a->offset - start), a->data, size);
	call_write(a, part, start, ob_get_le(bytes, min), min);
}

static unsigned min_access(const struct ob_window *window)
{
	return window->min_access ? window->min_access : 4;
}

static unsigned max_access(const struct ob_window *window)
{
	return window->max_access ? window->max_access : 4;
}

/* The first access that a window of registers makes of *a. Returns the bytes that it covers. */
static size_t register_step(const struct access *a, const struct part *part)
{
	unsigned min = min_access(part->window);
	unsigned size = access_size(a->offset, a->length, max_access(part->window));

	if (size < min)
		narrow(a, part, size, min);
	else if (a->write)
		call_write(a, part, a->offset, ob_get_le(a->data, size), size);
	else
		ob_put_le(a->data, call_read(a, part, a->offset, size), size);
	return size;
}

/*
 * Bytes that a client has mapped, too: as one access where a size is natural, so that neither side
 * sees half of what the other one writes.
 */
static void load_shared(const uint8_t *from, uint8_t *to, unsigned size)
{
	switch (size) {
	case 8:
		ob_put_le(to, le64toh(__atomic_load_n((const uint64_t *)from, __ATOMIC_ACQUIRE)),
		          8);
		break;
	case 4:
		ob_put_le(to, le32toh(__atomic_load_n((const uint32_t *)from, __ATOMIC_ACQUIRE)),
		          4);
		break;
	case 2:
		ob_put_le(to, le16toh(__atomic_load_n((const uint16_t *)from, __ATOMIC_ACQUIRE)),
		          2);
		break;
	default:
		*to = __atomic_load_n(from, __ATOMIC_ACQUIRE);
	}
}

static void store_shared(uint8_t *to, const uint8_t *from, unsigned size)
{
	uint64_t value = ob_get_le(from, size);

	switch (size) {
	case 8:
		__atomic_store_n((uint64_t *)to, htole64(value), __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n((uint32_t *)to, htole32((uint32_t)value), __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n((uint16_t *)to, htole16((uint16_t)value), __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n(to, *from, __ATOMIC_RELEASE);
	}
}

/* The first access that is made of *a, all of it in a window of memory. */
static size_t memory_step(const struct access *a, const struct part *part)
{
	uint8_t *memory = (uint8_t *)a->dev->memory[a->region].bytes;
	bool told = a->write && part->window->write;
	unsigned min = min_access(part->window);
	unsigned size = access_size(a->offset, a->length, told ? max_access(part->window) : 8);
	unsigned told_size = size < min ? min : size;
	uint64_t start = a->offset & ~(uint64_t)(told_size - 1);
	uint8_t bytes[8];

	if (!a->write) {
		load_shared(memory + a->offset, a->data, size);
		return size;
	}
	store_shared(memory + a->offset, a->data, size);
	if (!told)
		return size;
	load_shared(memory + start, bytes, told_size);
	if (told_size == size) /* what was written, whatever the client has put there since */
		memcpy(bytes, a->data, size);
	call_write(a, part, start, ob_get_le(bytes, told_size), told_size);
	return size;
}

/* All of *a, in a window of memory, where nobody is told. */
static size_t memory_copy(const struct access *a)
{
	uint8_t *memory = (uint8_t *)a->dev->memory[a->region].bytes + a->offset;

	if (a->write)
		memcpy(memory, a->data, a->length);
	else
		memcpy(a->data, memory, a->length);
	return a->length;
}

static size_t msix_copy(const struct access *a)
{
	if (a->write)
		pci_msix_write(a->dev->pci, a->region, a->offset, a->data, (unsigned)a->length);
	else
		pci_msix_read(a->dev->pci, a->region, a->offset, a->data, (unsigned)a->length);
	return a->length;
}

/* The first part of *a that one window, or none, handles. Returns the bytes that it covers. */
static size_t bar_step(struct access a)
{
	enum { WORD = 8 };
	uint64_t rest;
	const struct ob_window *window = pci_window_find(a.dev->pci, a.region, a.offset, &rest);
	struct part part = {window, window ? window->offset : 0};

	if (a.length > rest)
		a.length = (size_t)rest;
	if (!window) {
		if (!a.write)
			memset(a.data, 0, a.length);
		return a.length;
	}
	switch (window->kind) {
	case OB_WINDOW_MEMORY:
		if (a.length > WORD && !(a.write && window->write))
			return memory_copy(&a);
		return memory_step(&a, &part);
	case OB_WINDOW_MSIX_TABLE:
	case OB_WINDOW_MSIX_PBA:
		return msix_copy(&a);
	default:
		return register_step(&a, &part);
	}
}

static struct ob_window as_window(const struct ob_region *region)
{
	return (struct ob_window){
		.min_access = region->min_access,
		.max_access = region->max_access,
		.read = region->read,
		.write = region->write,
	};
}

int device_region_check(struct ob_dev *dev, unsigned region, uint64_t offset, size_t length,
                        bool write)
{
	struct device_region_info info;

	describe(dev, region, &info);
	if (!(write ? info.writeable : info.readable) || !range_within(offset, length, info.size))
		return -EINVAL;
	return 0;
}

/* The hooks of the model's capabilities that *a touches. */
static void call_capabilities(const struct access *a)
{
	const struct ob_layout *layout = pci_layout(a->dev->pci);

	for (unsigned i = 0; i < layout->ncapabilities; i++) {
		const struct ob_capability *cap = &layout->capabilities[i];
		uint64_t begin = a->offset > cap->place ? a->offset : cap->place;
		uint64_t end = a->offset + a->length, own_end = (uint64_t)cap->place + cap->size;
		uint8_t *bytes = a->data + (begin - a->offset);
		unsigned offset = (unsigned)(begin - cap->place), length;

		if (end > own_end)
			end = own_end;
		if (begin >= end)
			continue;
		length = (unsigned)(end - begin);
		if (a->write && cap->written)
			cap->written(a->dev, offset, bytes, length);
		else if (!a->write && cap->read)
			cap->read(a->dev, offset, bytes, length);
	}
}

static void access_config(const struct access *a)
{
	unsigned offset = (unsigned)a->offset, length = (unsigned)a->length;

	if (!a->write) {
		pci_config_read(a->dev->pci, offset, a->data, length);
		call_capabilities(a);
		return;
	}
	pci_config_write(a->dev->pci, offset, a->data, length);
	call_capabilities(a);
	device_config_written(a->dev);
}

static int access_region(struct access a)
{
	const struct ob_layout *layout = pci_layout(a.dev->pci);
	struct ob_window own = {0};
	const struct part part = {&own, 0};
	int rc = device_region_check(a.dev, a.region, a.offset, a.length, a.write);

	if (rc)
		return rc;
	/* Nobody is there who would answer: see function.c. */
	if (a.dev->function_reset.held && a.region < DEVICE_REGIONS) {
		if (!a.write)
			memset(a.data, 0xff, a.length);
		return 0;
	}
	if (a.region == DEVICE_REGION_CONFIG) {
		access_config(&a);
		return 0;
	}
	if (a.region == DEVICE_REGION_ROM) {
		read_rom(layout, a.offset, a.data, a.length);
		return 0;
	}
	if (a.region >= DEVICE_REGIONS)
		own = as_window(&layout->regions[a.region - DEVICE_REGIONS]);
	while (a.length) {
		size_t done = a.region < PCI_BARS ? bar_step(a) : register_step(&a, &part);

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

int ob_dev_bar_read(struct ob_dev *dev, unsigned bar, uint64_t offset, void *buffer, size_t length)
{
	return bar < PCI_BARS ? device_region_read(dev, bar, offset, buffer, length) : -EINVAL;
}

int ob_dev_bar_write(struct ob_dev *dev, unsigned bar, uint64_t offset, const void *buffer,
                     size_t length)
{
	return bar < PCI_BARS ? device_region_write(dev, bar, offset, buffer, length) : -EINVAL;
}
