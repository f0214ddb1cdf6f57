/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI function as a whole: making it from a layout, and resetting it. The parts are in layout.c
 * (is the layout sound), config.c (header, BARs), caps.c (capabilities), msix.c (the table in its
 * BAR) and irq.c (interrupts).
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

struct pci *pci_new(const struct ob_layout *layout, struct ob_error *err)
{
	struct pci *pci = calloc(1, sizeof(*pci));

	if (!pci) {
		ob_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	pci->layout = *layout;
	if (pci_layout_check(layout, err) || pci_windows_complete(pci, err) ||
	    pci_capabilities_complete(pci, err)) {
		pci_free(pci);
		return NULL;
	}
	pci_reset(pci);
	return pci;
}

void pci_free(struct pci *pci)
{
	if (!pci)
		return;
	free(pci->windows);
	free(pci);
}

const struct ob_layout *pci_layout(const struct pci *pci)
{
	return &pci->layout;
}

uint32_t pci_rom_size(const struct pci *pci)
{
	return pci_layout_rom_size(&pci->layout);
}

void pci_reset(struct pci *pci)
{
	pci->reset_requested = false;
	pci->state.master_used = false;
	pci_config_reset(pci);
	pci_irq_reset(pci);
}

/*
 * Of the registers that a function level reset leaves alone (PCI Express Base 3.0, 6.6.2), these
 * are the ones that can be written here: they belong to the link, which goes on.
 */
void pci_function_reset(struct pci *pci)
{
	uint8_t *control = &pci->state.config[CAP_EXPRESS + PCI_EXP_LNKCTL];
	uint8_t *control2 = &pci->state.config[CAP_EXPRESS + PCI_EXP_LNKCTL2];
	uint16_t link = ob_get_le16(control), link2 = ob_get_le16(control2);

	pci_reset(pci);
	if (!pci->layout.pcie)
		return;
	ob_put_le16(control, link);
	ob_put_le16(control2, link2);
}
