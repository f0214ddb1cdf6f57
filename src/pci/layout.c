/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks a layout before a function is made of it, and fills in what is the core's to choose: the
 * BAR of the MSI-X structures where the model leaves it to us.
 *
 * The messages are for whoever writes a model or sets its properties: they name the place and say
 * what would be right. Limits are those of PCI Local Bus 3.0: 6.2.5 (BARs), 6.8 (MSI, MSI-X).
 */
#include <errno.h>
#include <inttypes.h>

#include "base/checked.h"
#include "internal.h"

enum {
	MIN_MEMORY_BAR = 16,
	MIN_IO_BAR = 4,
	MAX_IO_BAR = 256,
	MIN_ROM_BAR = 2048, /* bits 10:1 of the register are reserved */
	MAX_ROM = 1 << 20,  /* QEMU gives a larger one to its guest without its contents */
	MSIX_ALIGN = 4096,  /* of what the core places: a page of its own for each structure */
	MIN_MSIX_BAR = 8192,
};

static const uint64_t max_memory_bar_32 = UINT64_C(1) << 31;
static const uint32_t known_flags = OB_BAR_IO | OB_BAR_64 | OB_BAR_PREFETCH | OB_BAR_RAM;

static uint64_t round_up_to_power_of_2(uint64_t n)
{
	uint64_t power = 1;

	while (power < n && power < UINT64_C(1) << 63)
		power *= 2;
	return power;
}

static bool is_access_size(unsigned size)
{
	return size == 0 || size == 1 || size == 2 || size == 4 || size == 8;
}

static int check_access(const struct ob_bar *bar, unsigned number, struct ob_error *err)
{
	unsigned min = bar->min_access ? bar->min_access : 4;
	unsigned max = bar->max_access ? bar->max_access : 4;

	if (!is_access_size(bar->min_access) || !is_access_size(bar->max_access))
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: access sizes are 1, 2, 4 or 8 bytes, not %u to %u",
		                    number, min, max);
	if (min > max)
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: min_access %u is above max_access %u (0 stands for 4)",
		                    number, min, max);
	if (max > bar->size)
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: max_access %u is more than its size of %" PRIu64,
		                    number, max, bar->size);
	return 0;
}

static int check_io_bar(const struct ob_bar *bar, unsigned number, struct ob_error *err)
{
	if (bar->flags & (OB_BAR_64 | OB_BAR_PREFETCH))
		return ob_error_set(
			err, -EINVAL,
			"BAR %u: an I/O BAR is neither 64-bit nor prefetchable, memory BARs are",
			number);
	if (bar->size < MIN_IO_BAR || bar->size > MAX_IO_BAR)
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: an I/O BAR has %d to %d bytes, not 0x%" PRIx64, number,
		                    MIN_IO_BAR, MAX_IO_BAR, bar->size);
	return 0;
}

static int check_memory_bar(const struct ob_layout *layout, unsigned number, struct ob_error *err)
{
	const struct ob_bar *bar = &layout->bars[number];

	if (bar->size < MIN_MEMORY_BAR)
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: a memory BAR has at least %d bytes, not %" PRIu64,
		                    number, MIN_MEMORY_BAR, bar->size);
	if (!(bar->flags & OB_BAR_64)) {
		if (bar->size > max_memory_bar_32)
			return ob_error_set(err, -EINVAL,
			                    "BAR %u: size 0x%" PRIx64
			                    " needs a 64-bit BAR (a 32-bit one has 2 GiB at most)",
			                    number, bar->size);
		return 0;
	}
	if (number == PCI_BARS - 1)
		return ob_error_set(
			err, -EINVAL,
			"BAR %u: a 64-bit BAR takes two places and starts at BAR 0 to 4", number);
	if (layout->bars[number + 1].size)
		return ob_error_set(
			err, -EINVAL,
			"BAR %u: taken by the upper half of the 64-bit BAR %u, use BAR %u",
			number + 1, number, number + 2);
	return 0;
}

static int check_bar(const struct ob_layout *layout, unsigned number, struct ob_error *err)
{
	const struct ob_bar *bar = &layout->bars[number];
	int rc;

	if (!bar->size) {
		if (bar->flags)
			return ob_error_set(err, -EINVAL, "BAR %u: has flags but no size", number);
		return 0;
	}
	if (bar->flags & ~known_flags)
		return ob_error_set(err, -EINVAL, "BAR %u: unknown flags 0x%x", number,
		                    (unsigned)(bar->flags & ~known_flags));
	if (!is_power_of_2(bar->size))
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: size 0x%" PRIx64 " is not a power of 2; 0x%" PRIx64
		                    " would be",
		                    number, bar->size, round_up_to_power_of_2(bar->size));
	rc = bar->flags & OB_BAR_IO ? check_io_bar(bar, number, err)
	                            : check_memory_bar(layout, number, err);
	return rc ? rc : check_access(bar, number, err);
}

/* One of the two MSI-X structures, in a BAR that the model made. */
static int check_msix_area(const struct ob_layout *layout, const char *name, uint32_t offset,
                           uint32_t size, struct ob_error *err)
{
	const struct ob_irqs *irqs = &layout->irqs;
	const struct ob_bar *bar = &layout->bars[irqs->msix_bar];

	if (offset % 8)
		return ob_error_set(err, -EINVAL, "MSI-X: %s at 0x%x must be a multiple of 8", name,
		                    offset);
	if (!range_within(offset, size, bar->size))
		return ob_error_set(err, -EINVAL,
		                    "MSI-X: %s for %u vectors takes 0x%x bytes at 0x%x, past the "
		                    "end of BAR %u (0x%" PRIx64 " bytes)",
		                    name, irqs->msix_vectors, size, offset, irqs->msix_bar,
		                    bar->size);
	return 0;
}

static void make_msix_bar(struct ob_layout *layout)
{
	struct ob_irqs *irqs = &layout->irqs;
	uint32_t table = pci_layout_table_size(layout);
	uint64_t size;

	irqs->msix_table = 0;
	irqs->msix_pba = (table + MSIX_ALIGN - 1) / MSIX_ALIGN * MSIX_ALIGN;
	size = round_up_to_power_of_2(irqs->msix_pba + pci_layout_pba_size(layout));
	layout->bars[irqs->msix_bar] = (struct ob_bar){
		.size = size < MIN_MSIX_BAR ? MIN_MSIX_BAR : size,
		.min_access = 4,
		.max_access = 8,
	};
}

static int complete_msix(struct ob_layout *layout, struct ob_error *err)
{
	struct ob_irqs *irqs = &layout->irqs;
	uint32_t table = pci_layout_table_size(layout), pba = pci_layout_pba_size(layout);
	unsigned bar = irqs->msix_bar;
	int rc;

	if (irqs->msix_vectors > PCI_MAX_MSIX)
		return ob_error_set(err, -EINVAL, "MSI-X: %u vectors, but %d is the most",
		                    irqs->msix_vectors, PCI_MAX_MSIX);
	if (bar >= PCI_BARS)
		return ob_error_set(err, -EINVAL, "MSI-X: msix_bar is 0 to 5, not %u", bar);
	if (bar > 0 && layout->bars[bar - 1].size && (layout->bars[bar - 1].flags & OB_BAR_64))
		return ob_error_set(err, -EINVAL,
		                    "MSI-X: BAR %u is the upper half of the 64-bit BAR %u", bar,
		                    bar - 1);
	if (!layout->bars[bar].size) {
		make_msix_bar(layout);
		return 0;
	}
	if (layout->bars[bar].flags & OB_BAR_IO)
		return ob_error_set(err, -EINVAL,
		                    "MSI-X: the table needs a memory BAR, BAR %u is I/O", bar);
	rc = check_msix_area(layout, "table", irqs->msix_table, table, err);
	if (!rc)
		rc = check_msix_area(layout, "pending bit array", irqs->msix_pba, pba, err);
	if (!rc && ranges_overlap(irqs->msix_table, table, irqs->msix_pba, pba))
		rc = ob_error_set(err, -EINVAL,
		                  "MSI-X: table (0x%x bytes at 0x%x) and pending bit array (0x%x "
		                  "bytes at 0x%x) overlap in BAR %u",
		                  table, irqs->msix_table, pba, irqs->msix_pba, bar);
	return rc;
}

static int check_rom(const struct ob_layout *layout, struct ob_error *err)
{
	if (!layout->rom != !layout->rom_size)
		return ob_error_set(err, -EINVAL,
		                    "expansion ROM: an image without a size, or a "
		                    "size without an image");
	if (layout->rom_size > MAX_ROM)
		return ob_error_set(
			err, -EINVAL,
			"expansion ROM: %u bytes, but 1 MiB is the most: QEMU reads no more",
			layout->rom_size);
	return 0;
}

int pci_layout_complete(struct ob_layout *layout, struct ob_error *err)
{
	unsigned msi = layout->irqs.msi_vectors;
	unsigned i;
	int rc;

	for (i = 0; i < PCI_BARS; i++) {
		rc = check_bar(layout, i, err);
		if (rc)
			return rc;
	}
	if (msi && (!is_power_of_2(msi) || msi > MSI_MAX_VECTORS))
		return ob_error_set(err, -EINVAL,
		                    "MSI: %u vectors, but it must be 1, 2, 4, 8, 16 or 32", msi);
	if (layout->ident.class_code > 0xffffff)
		return ob_error_set(err, -EINVAL, "class code 0x%x has more than 24 bits",
		                    (unsigned)layout->ident.class_code);
	rc = check_rom(layout, err);
	if (!rc && layout->irqs.msix_vectors)
		rc = complete_msix(layout, err);
	return rc;
}

bool pci_layout_has_bar(const struct ob_layout *layout, bool io)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct ob_bar *bar = &layout->bars[i];

		if (bar->size && io == !!(bar->flags & OB_BAR_IO))
			return true;
	}
	return !io && layout->rom_size;
}

uint32_t pci_layout_rom_size(const struct ob_layout *layout)
{
	if (!layout->rom_size)
		return 0;
	if (layout->rom_size < MIN_ROM_BAR)
		return MIN_ROM_BAR;
	return (uint32_t)round_up_to_power_of_2(layout->rom_size);
}

uint32_t pci_layout_table_size(const struct ob_layout *layout)
{
	return layout->irqs.msix_vectors * (uint32_t)MSIX_ENTRY_SIZE;
}

/* A bit for each vector, in whole quadwords (6.8.2.10). */
uint32_t pci_layout_pba_size(const struct ob_layout *layout)
{
	return (layout->irqs.msix_vectors + 63u) / 64 * 8;
}
