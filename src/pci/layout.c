/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks a layout before a function is made of it; what is in the BARs is checked in window.c.
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
};

static const uint64_t max_memory_bar_32 = UINT64_C(1) << 31;
static const uint32_t known_flags = OB_BAR_IO | OB_BAR_64 | OB_BAR_PREFETCH;

static uint64_t round_up_to_power_of_2(uint64_t n)
{
	uint64_t power = 1;

	while (power < n && power < UINT64_C(1) << 63)
		power *= 2;
	return power;
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
	return bar->flags & OB_BAR_IO ? check_io_bar(bar, number, err)
	                              : check_memory_bar(layout, number, err);
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

int pci_layout_check(const struct ob_layout *layout, struct ob_error *err)
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
	return check_rom(layout, err);
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
