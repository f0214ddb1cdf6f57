/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration space: the type 0 header (PCI Local Bus 3.0, 6.1 to 6.2.5), and access to it.
 *
 * A byte that is written changes only in the bits of its wmask, and bits of its w1cmask are cleared
 * where a 1 is written. BAR sizing needs nothing more: the low bits of an address are not writable,
 * so all ones read back as the size. What a write sets off happens once, after all of its bytes.
 */
#include <string.h>

#include "internal.h"

enum {
	COMMAND_ALWAYS = PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
	                 PCI_COMMAND_INTX_DISABLE,
	/* Errors that the function found, cleared by writing 1 (6.2.3). */
	STATUS_W1C = PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |
	             PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR |
	             PCI_STATUS_DETECTED_PARITY,
	PIN_INTA = 1,
	HEADER_MULTIFUNCTION = 0x80, /* of the header type (6.2.1) */
};

static unsigned bar_register(unsigned bar)
{
	return bar == ROM_BAR ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS_0 + 4 * bar;
}

static void reset_bar(struct pci *pci, unsigned number)
{
	const struct ob_bar *bar = &pci->layout.bars[number];
	unsigned offset = bar_register(number);
	uint64_t mask = ~(bar->size - 1);
	uint32_t flags = 0;

	if (!bar->size)
		return;
	if (bar->flags & OB_BAR_IO) {
		config_set32(pci, offset, PCI_BASE_ADDRESS_SPACE_IO,
		             (uint32_t)(mask & PCI_BASE_ADDRESS_IO_MASK));
		return;
	}
	if (bar->flags & OB_BAR_64)
		flags |= PCI_BASE_ADDRESS_MEM_TYPE_64;
	if (bar->flags & OB_BAR_PREFETCH)
		flags |= PCI_BASE_ADDRESS_MEM_PREFETCH;
	config_set32(pci, offset, flags, (uint32_t)(mask & PCI_BASE_ADDRESS_MEM_MASK));
	if (bar->flags & OB_BAR_64)
		config_set32(pci, offset + 4, 0, (uint32_t)(mask >> 32));
}

static void reset_header(struct pci *pci)
{
	const struct ob_layout *layout = &pci->layout;
	const struct ob_pci_ident *ident = &layout->ident;
	uint32_t rom = pci_layout_rom_size(layout);
	uint16_t command = COMMAND_ALWAYS;
	unsigned i;

	/* A space that the function has no BAR in can not be switched on (6.2.2). */
	if (pci_layout_has_bar(layout, true))
		command |= PCI_COMMAND_IO;
	if (pci_layout_has_bar(layout, false))
		command |= PCI_COMMAND_MEMORY;
	config_set16(pci, PCI_VENDOR_ID, ident->vendor, 0);
	config_set16(pci, PCI_DEVICE_ID, ident->device, 0);
	config_set16(pci, PCI_COMMAND, 0, command);
	config_set16(pci, PCI_STATUS, PCI_STATUS_CAP_LIST, 0);
	ob_put_le16(&pci->w1cmask[PCI_STATUS], STATUS_W1C);
	config_set32(pci, PCI_CLASS_REVISION, ident->class_code << 8 | ident->revision, 0);
	/*
	 * Without effect either way. On PCI Express the latency timer is hardwired to 0 (PCI
	 * Express Base 3.0, 7.5.1.5); before, its lower three bits may be (6.2.4).
	 */
	pci->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	pci->wmask[PCI_LATENCY_TIMER] = layout->pcie ? 0 : 0xf8;
	for (i = 0; i < PCI_BARS; i++)
		reset_bar(pci, i);
	config_set16(pci, PCI_SUBSYSTEM_VENDOR_ID,
	             ident->subsystem_vendor ? ident->subsystem_vendor : ident->vendor, 0);
	config_set16(pci, PCI_SUBSYSTEM_ID, ident->subsystem ? ident->subsystem : ident->device, 0);
	if (rom)
		config_set32(pci, PCI_ROM_ADDRESS, 0, ~(rom - 1) | PCI_ROM_ADDRESS_ENABLE);
	pci->wmask[PCI_INTERRUPT_LINE] = 0xff;
	pci->state.config[PCI_INTERRUPT_PIN] = layout->irqs.intx ? PIN_INTA : 0;
}

void pci_set_multifunction(struct pci *pci, bool on)
{
	pci->multifunction = on;
	pci->state.config[PCI_HEADER_TYPE] = on ? HEADER_MULTIFUNCTION : 0;
}

void pci_config_reset(struct pci *pci)
{
	/* The rest of the 4 KiB stays zero from the beginning: no page of it is touched. */
	memset(pci->state.config, 0, PCI_CONFIG_SIZE);
	reset_header(pci);
	pci_set_multifunction(pci, pci->multifunction);
	pci_caps_reset(pci);
}

unsigned pci_config_size(const struct pci *pci)
{
	return pci->layout.pcie ? PCIE_CONFIG_SIZE : PCI_CONFIG_SIZE;
}

/* Callers stay within the size; for those that do not, there is nothing outside. */
static unsigned clip(const struct pci *pci, unsigned offset, unsigned length)
{
	unsigned size = pci_config_size(pci);

	if (offset >= size)
		return 0;
	return length < size - offset ? length : size - offset;
}

void pci_config_read(struct pci *pci, unsigned offset, void *buffer, unsigned length)
{
	unsigned inside = clip(pci, offset, length);

	if (inside > 0)
		memcpy(buffer, &pci->state.config[offset], inside);
	if (length > inside)
		memset((uint8_t *)buffer + inside, 0, length - inside);
}

void pci_config_write(struct pci *pci, unsigned offset, const void *buffer, unsigned length)
{
	unsigned inside = clip(pci, offset, length);
	uint8_t *pmcsr = &pci->state.config[CAP_PM + PCI_PM_CTRL];
	uint8_t power_state = *pmcsr & PCI_PM_CTRL_STATE_MASK;
	unsigned i;

	for (i = 0; i < inside; i++) {
		uint8_t value = ((const uint8_t *)buffer)[i];
		uint8_t *byte = &pci->state.config[offset + i];
		uint8_t wmask = pci->wmask[offset + i];

		pci->reset_requested |= pci_caps_is_reset(pci, offset + i, value);
		*byte = (uint8_t)((*byte & ~wmask) | (value & wmask));
		*byte &= (uint8_t) ~(value & pci->w1cmask[offset + i]);
	}
	/*
	 * A write of a power state that we do not have (D1, D2) completes and changes nothing (PCI
	 * Power Management 1.2, 3.2.4).
	 */
	if ((*pmcsr & PCI_PM_CTRL_STATE_MASK) == 1 || (*pmcsr & PCI_PM_CTRL_STATE_MASK) == 2)
		*pmcsr = (uint8_t)((*pmcsr & ~PCI_PM_CTRL_STATE_MASK) | power_state);
	if (config_get16(pci, PCI_COMMAND) & PCI_COMMAND_MASTER)
		pci->state.master_used = true;
	pci_irq_update(pci);
}

bool pci_is_asleep(const struct pci *pci)
{
	return config_get16(pci, CAP_PM + PCI_PM_CTRL) & PCI_PM_CTRL_STATE_MASK;
}

bool pci_is_stopped(const struct pci *pci)
{
	bool master = config_get16(pci, PCI_COMMAND) & PCI_COMMAND_MASTER;

	if (pci_layout(pci)->no_dma)
		return pci_is_asleep(pci);
	return (pci->state.master_used && !master) || pci_is_asleep(pci);
}

bool pci_take_reset_request(struct pci *pci)
{
	bool requested = pci->reset_requested;

	pci->reset_requested = false;
	return requested;
}

bool pci_bar_address(const struct pci *pci, unsigned bar, uint64_t *address)
{
	const struct ob_layout *layout = &pci->layout;
	uint16_t enable = PCI_COMMAND_MEMORY;
	uint32_t low;

	*address = 0;
	if (bar > ROM_BAR)
		return false;
	low = config_get32(pci, bar_register(bar));
	if (bar == ROM_BAR) {
		if (!layout->rom_size)
			return false;
		*address = low & ~(pci_layout_rom_size(layout) - 1);
		if (!(low & PCI_ROM_ADDRESS_ENABLE))
			return false;
	} else if (!layout->bars[bar].size) {
		return false;
	} else if (layout->bars[bar].flags & OB_BAR_IO) {
		*address = low & (uint32_t)PCI_BASE_ADDRESS_IO_MASK;
		enable = PCI_COMMAND_IO;
	} else {
		*address = low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
		if (layout->bars[bar].flags & OB_BAR_64)
			*address |= (uint64_t)config_get32(pci, bar_register(bar + 1)) << 32;
	}
	/* In D3hot a function answers configuration requests only (PM 1.2, 5.4.1). */
	return !pci_is_asleep(pci) && config_get16(pci, PCI_COMMAND) & enable;
}
