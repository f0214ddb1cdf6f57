/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Access to the MSI-X table and the pending bit array in their BAR (PCI Local Bus 3.0, 6.8.2).
 *
 * Both are kept as the bytes that a guest sees. The specification asks for accesses of 4 or 8
 * aligned bytes; any other is taken as the bytes that it is, which needs no case of its own. What
 * an entry's contents mean for interrupts is in irq.c; its address and data mean nothing here,
 * since the client turns an interrupt into the message.
 */
#include <string.h>

#include "base/checked.h"
#include "internal.h"

static bool covers(const struct pci_place *place, unsigned bar, uint64_t offset, uint64_t length)
{
	return place->size && bar == place->bar && offset >= place->offset &&
	       range_within(offset - place->offset, length, place->size);
}

bool pci_msix_covers(const struct pci *pci, unsigned bar, uint64_t offset, uint64_t length)
{
	return covers(&pci->table, bar, offset, length) || covers(&pci->pba, bar, offset, length);
}

static void read_pba(const struct pci *pci, uint64_t offset, uint8_t *to, unsigned length)
{
	for (unsigned i = 0; i < length; i++, offset++)
		to[i] = (uint8_t)(pci->state.msix_pending[offset / 8] >> (offset % 8 * 8));
}

void pci_msix_read(struct pci *pci, unsigned bar, uint64_t offset, void *buffer, unsigned length)
{
	if (length == 0)
		return;
	if (covers(&pci->table, bar, offset, length))
		memcpy(buffer, &pci->state.msix_table[offset - pci->table.offset], length);
	else if (covers(&pci->pba, bar, offset, length))
		read_pba(pci, offset - pci->pba.offset, buffer, length);
	else
		memset(buffer, 0, length);
}

/* The bits of byte number n of an entry that hold something: 6.8.2.4 to 6.8.2.7. */
uint8_t pci_msix_entry_mask(unsigned n)
{
	if (n == PCI_MSIX_ENTRY_LOWER_ADDR)
		return 0xfc; /* messages are aligned to 4 bytes */
	if (n == PCI_MSIX_ENTRY_VECTOR_CTRL)
		return PCI_MSIX_ENTRY_CTRL_MASKBIT;
	return n > PCI_MSIX_ENTRY_VECTOR_CTRL ? 0 : 0xff;
}

void pci_msix_write(struct pci *pci, unsigned bar, uint64_t offset, const void *buffer,
                    unsigned length)
{
	const uint8_t *from = buffer;
	unsigned i, at, vector;

	if (length == 0 || !covers(&pci->table, bar, offset, length))
		return; /* the pending bits are read-only */
	at = (unsigned)(offset - pci->table.offset);
	for (i = 0; i < length; i++)
		pci->state.msix_table[at + i] =
			from[i] & pci_msix_entry_mask((at + i) % MSIX_ENTRY_SIZE);
	for (vector = at / MSIX_ENTRY_SIZE; vector * MSIX_ENTRY_SIZE < at + length; vector++) {
		bit_assign(pci->state.msix_written, vector, true);
		pci_irq_update_msix(pci, vector);
	}
}
