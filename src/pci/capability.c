/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capabilities that a model brings along (struct ob_capability): those of configuration space's
 * first 256 bytes, linked behind the core's own (PCI Local Bus 3.0, 6.7), and extended ones of a
 * PCI Express function (PCI Express Base 3.0, 7.9), linked in order of address.
 *
 * What they contain at reset and which bits software may write is plain bytes and masks here. What
 * a read or a write of them sets off is the device's: see src/device/region.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

enum {
	HEADER = 2, /* ID, link */
	EXTENDED_HEADER = 4,
	FIRST = PCI_STD_HEADER_SIZEOF,
	ALIGN = 4,
	EXPRESS_SIZE = 0x3c, /* of version 2 */
	CORE_RANGES = 4,
};

/* A range of configuration space. */
struct range {
	unsigned begin, size;
};

/* Where the core's capabilities of this function are; returns how many. */
static unsigned core_ranges(const struct ob_layout *layout, struct range ranges[CORE_RANGES])
{
	unsigned count = 0;

	ranges[count++] = (struct range){CAP_PM, PCI_PM_SIZEOF};
	if (layout->irqs.msi_vectors)
		ranges[count++] = (struct range){CAP_MSI, PCI_MSI_PENDING_64 + 4};
	if (layout->irqs.msix_vectors)
		ranges[count++] = (struct range){CAP_MSIX, PCI_CAP_MSIX_SIZEOF};
	if (layout->pcie)
		ranges[count++] = (struct range){CAP_EXPRESS, EXPRESS_SIZE};
	else
		ranges[count++] = (struct range){CAP_AF, PCI_CAP_AF_SIZEOF};
	return count;
}

/* Where the range at begin ends that a new one there would overlap; 0: it is free. */
static unsigned end_of_taken(const struct pci *pci, unsigned begin, unsigned size)
{
	struct range core[CORE_RANGES];
	unsigned count = core_ranges(&pci->layout, core);

	for (unsigned i = 0; i < count; i++) {
		if (ranges_overlap(begin, size, core[i].begin, core[i].size))
			return core[i].begin + core[i].size;
	}
	for (unsigned i = 0; i < pci->layout.ncapabilities; i++) {
		const struct ob_capability *own = &pci->capabilities[i];

		if (own->place && ranges_overlap(begin, size, own->place, own->size))
			return own->place + own->size;
	}
	return 0;
}

static int check(const struct pci *pci, const struct ob_capability *cap, struct ob_error *err)
{
	unsigned header = cap->version ? EXTENDED_HEADER : HEADER;
	unsigned begin = cap->version ? PCI_CONFIG_SIZE : FIRST;
	unsigned end = cap->version ? PCIE_CONFIG_SIZE : PCI_CONFIG_SIZE;

	if (cap->version && !pci->layout.pcie)
		return ob_error_set(err, -EINVAL,
		                    "capability 0x%x: extended ones need pcie in the layout",
		                    cap->id);
	if (cap->version > 0xf || (!cap->version && cap->id > 0xff))
		return ob_error_set(err, -EINVAL,
		                    "capability 0x%x: version 1 to 15, or 0 and an id below 0x100",
		                    cap->id);
	if (!cap->version &&
	    (cap->id == PCI_CAP_ID_PM || cap->id == PCI_CAP_ID_MSI || cap->id == PCI_CAP_ID_MSIX ||
	     cap->id == PCI_CAP_ID_EXP || cap->id == PCI_CAP_ID_AF))
		return ob_error_set(err, -EINVAL, "capability 0x%x is the core's", cap->id);
	if (cap->size < header || cap->size > end - begin)
		return ob_error_set(err, -EINVAL,
		                    "capability 0x%x: size: %u to %u expected, not %u", cap->id,
		                    header, end - begin, cap->size);
	if (cap->place &&
	    (cap->place % ALIGN || cap->place < begin || !range_within(cap->place, cap->size, end)))
		return ob_error_set(
			err, -EINVAL,
			"capability 0x%x: a multiple of 4 within 0x%x to 0x%x expected, "
			"not 0x%x of 0x%x bytes",
			cap->id, begin, end, cap->place, cap->size);
	return 0;
}

static int find_place(struct pci *pci, struct ob_capability *cap, struct ob_error *err)
{
	unsigned place = cap->version ? PCI_CONFIG_SIZE : FIRST;
	unsigned end = cap->version ? PCIE_CONFIG_SIZE : PCI_CONFIG_SIZE;
	unsigned taken;

	while ((taken = end_of_taken(pci, place, cap->size)))
		place = (taken + ALIGN - 1) / ALIGN * ALIGN;
	if (!range_within(place, cap->size, end))
		return ob_error_set(err, -ENOSPC, "capability 0x%x: no room for %u bytes", cap->id,
		                    cap->size);
	cap->place = (uint16_t)place;
	return 0;
}

/* The list of extended capabilities begins at its first byte, or is empty (7.9.1). */
static int check_first_extended(const struct pci *pci, struct ob_error *err)
{
	bool some = false;

	for (unsigned i = 0; i < pci->layout.ncapabilities; i++) {
		some |= pci->capabilities[i].version != 0;
		if (pci->capabilities[i].place == PCI_CONFIG_SIZE)
			return 0;
	}
	return some ? ob_error_set(err, -EINVAL, "one extended capability has to be at 0x100") : 0;
}

int pci_capabilities_complete(struct pci *pci, struct ob_error *err)
{
	const struct ob_capability *from = pci->layout.capabilities;
	unsigned count = pci->layout.ncapabilities;
	int rc = 0;

	if (count > PCI_MAX_CAPABILITIES)
		return ob_error_set(err, -EINVAL, "%u capabilities, but %d are the most", count,
		                    PCI_MAX_CAPABILITIES);
	/* Those with a place of their own come first, so that no other takes it. */
	for (unsigned i = 0; !rc && i < count; i++) {
		unsigned taken = 0;

		rc = check(pci, &from[i], err);
		if (!rc && from[i].place)
			taken = end_of_taken(pci, from[i].place, from[i].size);
		if (taken)
			rc = ob_error_set(err, -EINVAL, "capability 0x%x at 0x%x: taken until 0x%x",
			                  from[i].id, from[i].place, taken);
		pci->capabilities[i] = from[i];
	}
	for (unsigned i = 0; !rc && i < count; i++) {
		if (!pci->capabilities[i].place)
			rc = find_place(pci, &pci->capabilities[i], err);
	}
	pci->layout.capabilities = pci->capabilities;
	return rc ? rc : check_first_extended(pci, err);
}

/* The bytes of a capability but for its header, and what of them software may write. */
static void put_body(struct pci *pci, const struct ob_capability *cap, unsigned header)
{
	for (unsigned i = header; i < cap->size; i++) {
		pci->state.config[cap->place + i] = cap->contents ? cap->contents[i] : 0;
		pci->wmask[cap->place + i] = cap->writable ? cap->writable[i] : 0;
	}
}

/* The extended capability that follows place; 0: none. */
static unsigned next_extended(const struct pci *pci, unsigned place)
{
	unsigned next = 0;

	for (unsigned i = 0; i < pci->layout.ncapabilities; i++) {
		const struct ob_capability *cap = &pci->capabilities[i];

		if (cap->version && cap->place > place && (!next || cap->place < next))
			next = cap->place;
	}
	return next;
}

void pci_capabilities_reset(struct pci *pci, uint8_t *link)
{
	for (unsigned i = 0; i < pci->layout.ncapabilities; i++) {
		const struct ob_capability *cap = &pci->capabilities[i];
		uint8_t *header = &pci->state.config[cap->place];

		if (cap->version) {
			unsigned next = next_extended(pci, cap->place);

			put_body(pci, cap, EXTENDED_HEADER);
			ob_put_le32(header, cap->id | (uint32_t)cap->version << 16 | next << 20);
			continue;
		}
		put_body(pci, cap, HEADER);
		header[PCI_CAP_LIST_ID] = (uint8_t)cap->id;
		header[PCI_CAP_LIST_NEXT] = 0;
		*link = (uint8_t)cap->place;
		link = &header[PCI_CAP_LIST_NEXT];
	}
}
