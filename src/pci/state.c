/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a function takes along when its device moves: struct pci_state, described field by field,
 * and checked before it becomes the function's own.
 *
 * The bytes may come from anywhere. Of configuration space and MSI-X table only those bits may
 * differ from this function's at reset that software can change, so that a stream can make no other
 * function of it; bits of vectors that there are not must be clear. One that an older version made
 * has no function level reset, and goes on without it until it is reset: its guest knows no other.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

const struct ob_field pci_state_fields[] = {
	OB_FIELD_BLOB(struct pci_state, config),
	OB_FIELD_BLOB(struct pci_state, msix_table),
	OB_FIELD_ARRAY(U64, struct pci_state, msix_pending),
	OB_FIELD_ARRAY(U64, struct pci_state, msix_written),
	OB_FIELD_ARRAY(U64, struct pci_state, raised),
	OB_FIELD(BOOL, struct pci_state, master_used, .optional = true),
	OB_FIELDS_END,
};

const size_t pci_state_size = sizeof(struct pci_state);

const void *pci_state(const struct pci *pci)
{
	return &pci->state;
}

/* Bits of a byte of configuration space that change in use, by software or by the function. */
static uint8_t variable_bits(const struct pci *pci, unsigned offset)
{
	uint8_t bits = pci->wmask[offset] | pci->w1cmask[offset];

	if (offset == PCI_STATUS)
		bits |= PCI_STATUS_INTERRUPT;
	if (pci->layout.irqs.msi_vectors && offset >= CAP_MSI + PCI_MSI_PENDING_64 &&
	    offset < CAP_MSI + PCI_MSI_PENDING_64 + 4)
		bits |= pci->wmask[offset - PCI_MSI_PENDING_64 + PCI_MSI_MASK_64];
	return bits;
}

/* Who the stream's function is: the properties that make this one the same. */
static int check_ident(const struct pci *pci, const uint8_t *config, struct ob_error *err)
{
	const uint8_t *ours = pci->state.config;
	unsigned vendor = ob_get_le16(config + PCI_VENDOR_ID);
	unsigned device = ob_get_le16(config + PCI_DEVICE_ID);
	unsigned subsystem_vendor = ob_get_le16(config + PCI_SUBSYSTEM_VENDOR_ID);
	unsigned subsystem = ob_get_le16(config + PCI_SUBSYSTEM_ID);

	if (!memcmp(config, ours, 4) &&
	    !memcmp(config + PCI_SUBSYSTEM_VENDOR_ID, ours + PCI_SUBSYSTEM_VENDOR_ID, 4))
		return 0;
	if (vendor == subsystem_vendor && device == subsystem)
		return ob_error_set(err, -EINVAL,
		                    "the stream is of a function %04x:%04x, and this one is "
		                    "%04x:%04x: one with vendor-id=0x%04x,device-id=0x%04x can "
		                    "load it",
		                    vendor, device, ob_get_le16(ours + PCI_VENDOR_ID),
		                    ob_get_le16(ours + PCI_DEVICE_ID), vendor, device);
	return ob_error_set(err, -EINVAL,
	                    "the stream is of a function %04x:%04x, subsystem %04x:%04x: one with "
	                    "vendor-id=0x%04x,device-id=0x%04x,subsystem-vendor-id=0x%04x,"
	                    "subsystem-id=0x%04x can load it",
	                    vendor, device, subsystem_vendor, subsystem, vendor, device,
	                    subsystem_vendor, subsystem);
}

static int check_config(const struct pci *pci, const uint8_t *config, struct ob_error *err)
{
	unsigned power_state = config[CAP_PM + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK;
	bool older = pci_caps_is_older(pci, config);
	int rc = check_ident(pci, config, err);

	if (rc)
		return rc;
	for (unsigned i = 0; i < PCIE_CONFIG_SIZE; i++) {
		uint8_t fixed = (uint8_t)~variable_bits(pci, i);
		uint8_t expected = older ? pci_caps_older_value(pci, i) : pci->state.config[i];

		if ((config[i] ^ expected) & fixed)
			return ob_error_set(
				err, -EINVAL,
				"configuration space, byte 0x%x: the stream has 0x%02x, "
				"which this function cannot have (0x%02x at reset)",
				i, config[i], expected);
	}
	if (power_state == 1 || power_state == 2)
		return ob_error_set(err, -EINVAL, "power state D%u, which the function lacks",
		                    power_state);
	return 0;
}

static int check_table(const struct pci *pci, const uint8_t *table, struct ob_error *err)
{
	size_t size = pci_layout_table_size(&pci->layout);

	for (size_t i = 0; i < sizeof(pci->state.msix_table); i++) {
		uint8_t mask = i < size ? pci_msix_entry_mask((unsigned)i % MSIX_ENTRY_SIZE) : 0;

		if (table[i] & ~mask)
			return ob_error_set(err, -EINVAL,
			                    "MSI-X table, byte 0x%zx: 0x%02x has bits that an "
			                    "entry lacks",
			                    i, table[i]);
	}
	return 0;
}

/* Whether all bits are those of MSI-X vectors. */
static bool are_vectors(const struct pci *pci, const uint64_t *bits)
{
	for (unsigned i = pci->layout.irqs.msix_vectors; i < PCI_MAX_MSIX; i++) {
		if (bit_test(bits, i))
			return false;
	}
	return true;
}

int pci_state_load(struct pci *pci, const void *loaded, struct ob_error *err)
{
	const struct pci_state *state = loaded;
	int rc = check_config(pci, state->config, err);

	if (!rc)
		rc = check_table(pci, state->msix_table, err);
	if (rc)
		return rc;
	if (!are_vectors(pci, state->msix_pending) || !are_vectors(pci, state->msix_written))
		return ob_error_set(err, -EINVAL, "MSI-X: a vector past the last is pending");
	pci->state = *state;
	/* An older version does not say so. */
	if (config_get16(pci, PCI_COMMAND) & PCI_COMMAND_MASTER)
		pci->state.master_used = true;
	pci->raised_count = 0;
	for (unsigned i = 0; i < VECTOR_WORDS; i++)
		pci->raised_count += (unsigned)__builtin_popcountll(state->raised[i]);
	pci_irq_moved(pci);
	return 0;
}
