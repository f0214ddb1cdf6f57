/* SPDX-License-Identifier: BSD-3-Clause */
/* What of a layout is no business of PCI: regions beside the BARs. */
#include <errno.h>

#include "base/checked.h"
#include "internal.h"

enum { MAX_REGIONS = 64 };

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

int device_check_layout(const struct pci *pci, struct ob_error *err)
{
	const struct ob_layout *layout = pci_layout(pci);
	int rc = 0;

	if (layout->nregions > MAX_REGIONS)
		return ob_error_set(err, -EINVAL, "at most %d regions", MAX_REGIONS);
	for (unsigned i = 0; !rc && i < layout->nregions; i++)
		rc = check_region(&layout->regions[i], i, err);
	return rc;
}
