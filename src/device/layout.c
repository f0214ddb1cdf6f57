/* SPDX-License-Identifier: BSD-3-Clause */
/* What of a layout is no business of PCI: shared areas, regions beside the BARs, doorbells. */
#include <errno.h>
#include <inttypes.h>

#include "base/checked.h"
#include "internal.h"

enum {
	AREA_ALIGN = 4096, /* of hosts with larger pages, not all of an area can be mapped */
	MAX_REGIONS = 64,
	MAX_DOORBELLS = 65536,
};

static bool has_msix_in(const struct pci *pci, unsigned bar, const struct ob_bar_area *area)
{
	return pci_msix_covers(pci, bar, area->offset, 1) ||
	       pci_msix_next(pci, bar, area->offset) < area->offset + area->size;
}

static int check_shared(const struct pci *pci, unsigned number, struct ob_error *err)
{
	const struct ob_bar *bar = &pci_layout(pci)->bars[number];
	const struct ob_bar_area *shared = &bar->shared;

	if (!shared->size)
		return 0;
	if (bar->flags & (OB_BAR_RAM | OB_BAR_IO))
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: only a memory BAR with registers has a shared area",
		                    number);
	if (shared->offset % AREA_ALIGN || shared->size % AREA_ALIGN ||
	    !range_within(shared->offset, shared->size, bar->size))
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: shared area at 0x%" PRIx64 " of 0x%" PRIx64
		                    " bytes: multiples of 4096 within the BAR expected",
		                    number, shared->offset, shared->size);
	if (has_msix_in(pci, number, shared))
		return ob_error_set(err, -EINVAL, "BAR %u: shared area overlaps MSI-X structures",
		                    number);
	return 0;
}

static bool is_access_size(unsigned size)
{
	return is_power_of_2(size) && size <= 8;
}

static int check_region(const struct ob_region *region, unsigned number, struct ob_error *err)
{
	unsigned min = region->min_access ? region->min_access : 4;
	unsigned max = region->max_access ? region->max_access : 4;

	if (!is_access_size(min) || !is_access_size(max) || min > max)
		return ob_error_set(err, -EINVAL,
		                    "region %u: access sizes are 1, 2, 4 or 8 bytes, not %u to %u",
		                    number, min, max);
	if (!region->size || region->size % min)
		return ob_error_set(err, -EINVAL,
		                    "region %u: size: more than 0 and a multiple of %u expected",
		                    number, min);
	if (!region->read && (!region->write || min > 1))
		return ob_error_set(err, -EINVAL,
		                    "region %u: without read it needs write, and min_access 1",
		                    number);
	return 0;
}

static int check_doorbell(const struct ob_layout *layout, unsigned number, struct ob_error *err)
{
	const struct ob_doorbell *doorbell = &layout->doorbells[number];

	if (doorbell->bar >= PCI_BARS ||
	    !range_within(doorbell->offset, doorbell->size ? doorbell->size : 1,
	                  layout->bars[doorbell->bar].size))
		return ob_error_set(err, -EINVAL, "doorbell %u: not within a BAR", number);
	if (doorbell->size ? !is_access_size(doorbell->size) : doorbell->match)
		return ob_error_set(err, -EINVAL,
		                    "doorbell %u: size: 1, 2, 4 or 8 expected (0: any, without "
		                    "match)",
		                    number);
	return 0;
}

int device_check_layout(const struct pci *pci, struct ob_error *err)
{
	const struct ob_layout *layout = pci_layout(pci);
	int rc = 0;

	if (layout->nregions > MAX_REGIONS || layout->ndoorbells > MAX_DOORBELLS)
		return ob_error_set(err, -EINVAL, "at most %d regions and %d doorbells",
		                    MAX_REGIONS, MAX_DOORBELLS);
	for (unsigned i = 0; !rc && i < PCI_BARS; i++)
		rc = check_shared(pci, i, err);
	for (unsigned i = 0; !rc && i < layout->nregions; i++)
		rc = check_region(&layout->regions[i], i, err);
	for (unsigned i = 0; !rc && i < layout->ndoorbells; i++)
		rc = check_doorbell(layout, i, err);
	return rc;
}
