/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The capabilities, each at its fixed place, linked in order of address:
 *
 *	power management    PCI Power Management 1.2, 3.2
 *	MSI                 PCI Local Bus 3.0, 6.8.1 (64-bit addresses, a mask bit for each vector)
 *	MSI-X               PCI Local Bus 3.0, 6.8.2
 *	PCI Express         PCI Express Base 3.0, 7.8 (version 2, endpoint)
 *
 * The extended space of an Express function begins with an empty list: a header of zeroes (7.9.1).
 *	Advanced Features   ECN of 2006 to PCI Local Bus 3.0 (in functions without PCI Express)
 *
 * The last two offer function level reset (PCI Express Base 3.0, 6.6.2). The bits that ask for it
 * read as zero; what happens then is the device's: see pci_take_reset_request().
 */
#include "internal.h"

struct chain {
	struct pci *pci;
	uint8_t *link; /* where the next capability's place is to be written */
};

static void add_cap(struct chain *chain, unsigned place, uint8_t id)
{
	*chain->link = (uint8_t)place;
	chain->pci->state.config[place + PCI_CAP_LIST_ID] = id;
	chain->link = &chain->pci->state.config[place + PCI_CAP_LIST_NEXT];
}

/*
 * D0 and D3hot. No soft reset: a function that comes back from D3hot is as it was, so its driver
 * need not set it up anew, and we need not reset it.
 */
static void add_pm(struct chain *chain)
{
	const uint16_t version_1_2 = 3;

	add_cap(chain, CAP_PM, PCI_CAP_ID_PM);
	config_set16(chain->pci, CAP_PM + PCI_PM_PMC, version_1_2, 0);
	config_set16(chain->pci, CAP_PM + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET,
	             PCI_PM_CTRL_STATE_MASK);
}

static void add_msi(struct chain *chain)
{
	struct pci *pci = chain->pci;
	unsigned vectors = pci->layout.irqs.msi_vectors;
	unsigned log2 = (unsigned)__builtin_ctz(vectors);
	uint32_t all = vectors == MSI_MAX_VECTORS ? UINT32_MAX : (UINT32_C(1) << vectors) - 1;

	add_cap(chain, CAP_MSI, PCI_CAP_ID_MSI);
	config_set16(pci, CAP_MSI + PCI_MSI_FLAGS,
	             (uint16_t)(PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | log2 << 1),
	             PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	config_set32(pci, CAP_MSI + PCI_MSI_ADDRESS_LO, 0, ~UINT32_C(3));
	config_set32(pci, CAP_MSI + PCI_MSI_ADDRESS_HI, 0, UINT32_MAX);
	config_set16(pci, CAP_MSI + PCI_MSI_DATA_64, 0, UINT16_MAX);
	config_set32(pci, CAP_MSI + PCI_MSI_MASK_64, 0, all);
	config_set32(pci, CAP_MSI + PCI_MSI_PENDING_64, 0, 0);
}

static void add_msix(struct chain *chain)
{
	struct pci *pci = chain->pci;
	const struct ob_irqs *irqs = &pci->layout.irqs;

	add_cap(chain, CAP_MSIX, PCI_CAP_ID_MSIX);
	config_set16(pci, CAP_MSIX + PCI_MSIX_FLAGS, (uint16_t)(irqs->msix_vectors - 1),
	             PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	config_set32(pci, CAP_MSIX + PCI_MSIX_TABLE, pci->table.offset | pci->table.bar, 0);
	config_set32(pci, CAP_MSIX + PCI_MSIX_PBA, pci->pba.offset | pci->pba.bar, 0);
}

/*
 * What lspci shows of the link is a plausible PCIe 3.0 device: x4 at 8 GT/s, trained. Nothing here
 * has an effect: there is no link.
 */
static void add_express(struct chain *chain)
{
	enum {
		VERSION = 2,
		WIDTH_X4 = 4,
		MAX_READ_REQUEST_512 = 2 << 12,
		CORRECTABLE_TO_UNSUPPORTED = 0xf, /* the four kinds of errors, 7.8.4 and 7.8.5 */
		ALL_SPEEDS = PCI_EXP_LNKCAP2_SLS_2_5GB | PCI_EXP_LNKCAP2_SLS_5_0GB |
		             PCI_EXP_LNKCAP2_SLS_8_0GB,
	};
	struct pci *pci = chain->pci;

	add_cap(chain, CAP_EXPRESS, PCI_CAP_ID_EXP);
	config_set16(pci, CAP_EXPRESS + PCI_EXP_FLAGS, VERSION | PCI_EXP_TYPE_ENDPOINT << 4, 0);
	/* Payloads of 128 bytes, so that field of the control register is hardwired (7.8.4). */
	config_set32(pci, CAP_EXPRESS + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR,
	             0);
	config_set16(pci, CAP_EXPRESS + PCI_EXP_DEVCTL,
	             PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | MAX_READ_REQUEST_512,
	             CORRECTABLE_TO_UNSUPPORTED | PCI_EXP_DEVCTL_RELAX_EN |
	                     PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ);
	config_set16(pci, CAP_EXPRESS + PCI_EXP_DEVSTA, 0, 0);
	ob_put_le16(&pci->w1cmask[CAP_EXPRESS + PCI_EXP_DEVSTA], CORRECTABLE_TO_UNSUPPORTED);
	/* ASPM optionality compliance: set in every device of this version (7.8.6). */
	config_set32(pci, CAP_EXPRESS + PCI_EXP_LNKCAP,
	             PCI_EXP_LNKCAP_SLS_8_0GB | WIDTH_X4 << 4 | UINT32_C(1) << 22, 0);
	config_set16(pci, CAP_EXPRESS + PCI_EXP_LNKCTL, 0,
	             PCI_EXP_LNKCTL_RCB | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES);
	config_set16(pci, CAP_EXPRESS + PCI_EXP_LNKSTA,
	             PCI_EXP_LNKSTA_CLS_8_0GB | WIDTH_X4 << 4 | PCI_EXP_LNKSTA_SLC, 0);
	/* Endpoints of version 2 must be able to switch the completion timeout off (7.8.15). */
	config_set32(pci, CAP_EXPRESS + PCI_EXP_DEVCAP2, PCI_EXP_DEVCAP2_COMP_TMOUT_DIS, 0);
	config_set16(pci, CAP_EXPRESS + PCI_EXP_DEVCTL2, 0, PCI_EXP_DEVCTL2_COMP_TMOUT_DIS);
	config_set32(pci, CAP_EXPRESS + PCI_EXP_LNKCAP2, ALL_SPEEDS, 0);
	config_set16(pci, CAP_EXPRESS + PCI_EXP_LNKCTL2, PCI_EXP_LNKCTL2_TLS_8_0GT,
	             PCI_EXP_LNKCTL2_TLS);
}

static void add_advanced_features(struct chain *chain)
{
	enum { LENGTH = 6 };

	add_cap(chain, CAP_AF, PCI_CAP_ID_AF);
	chain->pci->state.config[CAP_AF + PCI_AF_LENGTH] = LENGTH;
	chain->pci->state.config[CAP_AF + PCI_AF_CAP] = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
}

/* Functions that came from an older version have no such capability, or not that bit of it. */
bool pci_caps_is_reset(const struct pci *pci, unsigned offset, uint8_t value)
{
	if (!pci->layout.pcie)
		return offset == CAP_AF + PCI_AF_CTRL && value & PCI_AF_CTRL_FLR &&
		       pci->state.config[CAP_AF] == PCI_CAP_ID_AF;
	return offset == CAP_EXPRESS + PCI_EXP_DEVCTL + 1 && value & PCI_EXP_DEVCTL_BCR_FLR >> 8 &&
	       config_get32(pci, CAP_EXPRESS + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR;
}

uint8_t pci_caps_older_value(const struct pci *pci, unsigned offset)
{
	uint8_t value = pci->state.config[offset];

	if (pci->layout.pcie)
		return offset == CAP_EXPRESS + PCI_EXP_DEVCAP + 3
		               ? value & (uint8_t) ~(PCI_EXP_DEVCAP_FLR >> 24)
		               : value;
	if (offset >= CAP_AF && offset < CAP_AF + PCI_CAP_AF_SIZEOF)
		return 0;
	/* The last capability's link: no capability is there otherwise. */
	return offset >= CAP_PM && offset < CAP_AF && value == CAP_AF &&
	                       (offset - PCI_CAP_LIST_NEXT) % 0x10 == 0
	               ? 0
	               : value;
}

bool pci_caps_is_older(const struct pci *pci, const uint8_t *config)
{
	if (!pci->layout.pcie)
		return !config[CAP_AF];
	return !(config[CAP_EXPRESS + PCI_EXP_DEVCAP + 3] & PCI_EXP_DEVCAP_FLR >> 24);
}

void pci_show_pending(struct pci *pci, bool pending)
{
	uint8_t *byte = &pci->state.config[CAP_EXPRESS + PCI_EXP_DEVSTA];
	uint8_t bit = PCI_EXP_DEVSTA_TRPND;

	if (!pci->layout.pcie) {
		byte = &pci->state.config[CAP_AF + PCI_AF_STATUS];
		bit = PCI_AF_STATUS_TP;
		pending = pending && pci->state.config[CAP_AF] == PCI_CAP_ID_AF;
	}
	*byte = pending ? *byte | bit : *byte & (uint8_t)~bit;
}

void pci_caps_reset(struct pci *pci)
{
	struct chain chain = {.pci = pci, .link = &pci->state.config[PCI_CAPABILITY_LIST]};

	add_pm(&chain);
	if (pci->layout.irqs.msi_vectors)
		add_msi(&chain);
	if (pci->layout.irqs.msix_vectors)
		add_msix(&chain);
	if (pci->layout.pcie)
		add_express(&chain);
	else
		add_advanced_features(&chain);
	pci_capabilities_reset(pci, chain.link);
}
