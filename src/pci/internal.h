/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this folder share: a function's state, and what is known about it.
 *
 * struct pci_state holds what a guest could notice the loss of, and nothing else: plain bytes, in
 * the byte order of the bus, without pointers. All the rest of struct pci follows from the layout
 * (the masks), from the client (wiring and its masks), or from the state (mode, counts).
 */
#ifndef PCI_INTERNAL_H
#define PCI_INTERNAL_H

#include <linux/pci_regs.h>

#include "pci.h"

/*
 * Where the capabilities stand. The same in every layout, whichever of them it has, so that a
 * function looks the same in every version of this program.
 */
enum {
	CAP_PM = 0x40,
	CAP_MSI = 0x50,
	CAP_MSIX = 0x70,
	CAP_EXPRESS = 0x80,
	CAP_AF = 0xc0,
};

enum {
	MSIX_ENTRY_SIZE = 16,
	MSI_MAX_VECTORS = 32,
	VECTOR_WORDS = PCI_MAX_MSIX / 64,
	ROM_BAR = PCI_BARS,
};

struct pci_state {
	uint8_t config[PCIE_CONFIG_SIZE];
	uint8_t msix_table[PCI_MAX_MSIX * MSIX_ENTRY_SIZE];
	uint64_t msix_pending[VECTOR_WORDS];
	uint64_t msix_written[VECTOR_WORDS]; /* entries the client wrote since reset: see irq.c */
	uint64_t raised[VECTOR_WORDS];       /* sources */
	bool master_used; /* Bus Master Enable was on since reset: see pci_is_stopped() */
};

/* A range of a BAR. */
struct pci_place {
	uint8_t bar;
	uint32_t offset, size; /* 0 bytes: it is not there */
};

struct pci {
	struct pci_state state;

	struct ob_layout layout;
	struct ob_window *windows; /* of all BARs: see window.c */
	struct ob_window made[2];  /* the core's own */
	unsigned doorbells;
	struct ob_capability capabilities[PCI_MAX_CAPABILITIES]; /* the layout's: capability.c */
	struct pci_place table, pba;                             /* MSI-X */
	uint8_t wmask[PCIE_CONFIG_SIZE];                         /* bits that writes change */
	uint8_t w1cmask[PCIE_CONFIG_SIZE];                       /* bits that writing 1 clears */
	bool multifunction;                                      /* there are others in the slot */

	bool reset_requested; /* see pci_take_reset_request() */

	struct pci_irq_sink *sink;
	struct pci_irq_watcher *watcher;
	uint64_t wired[PCI_IRQ_KINDS][VECTOR_WORDS];
	uint64_t masked[PCI_IRQ_KINDS][VECTOR_WORDS]; /* by the client, or INTx by itself */
	unsigned wired_count[PCI_IRQ_KINDS];

	enum pci_irq mode; /* INTX, MSI or MSIX */
	bool stopped;      /* pci_is_stopped() */
	uint8_t enabled;   /* enum pci_irq, as bits: kinds that the guest has enabled */
	bool all_changed;  /* see pci_irq_next_changed() */
	bool told_changes; /* the watcher knows that there are some */
	uint64_t changed[VECTOR_WORDS];
	bool intx_signalled; /* since the pin was asserted */
	bool intx_held;      /* to be unmasked when the pin is lowered: see pci_irq_unmask_held() */
	unsigned raised_count;
};

static inline bool bit_test(const uint64_t *bits, unsigned n)
{
	return bits[n / 64] >> (n % 64) & 1;
}

static inline void bit_assign(uint64_t *bits, unsigned n, bool value)
{
	uint64_t bit = UINT64_C(1) << (n % 64);

	bits[n / 64] = value ? bits[n / 64] | bit : bits[n / 64] & ~bit;
}

static inline uint16_t config_get16(const struct pci *pci, unsigned offset)
{
	return ob_get_le16(&pci->state.config[offset]);
}

static inline uint32_t config_get32(const struct pci *pci, unsigned offset)
{
	return ob_get_le32(&pci->state.config[offset]);
}

/* A register's value at reset, and the bits of it that software may write. */
static inline void config_set16(struct pci *pci, unsigned offset, uint16_t value, uint16_t wmask)
{
	ob_put_le16(&pci->state.config[offset], value);
	ob_put_le16(&pci->wmask[offset], wmask);
}

static inline void config_set32(struct pci *pci, unsigned offset, uint32_t value, uint32_t wmask)
{
	ob_put_le32(&pci->state.config[offset], value);
	ob_put_le32(&pci->wmask[offset], wmask);
}

/* layout.c: 0, or -EINVAL with a message. */
int pci_layout_check(const struct ob_layout *layout, struct ob_error *err);
bool pci_layout_has_bar(const struct ob_layout *layout, bool io);
uint32_t pci_layout_rom_size(const struct ob_layout *layout); /* of the BAR; 0: no ROM */
uint32_t pci_layout_table_size(const struct ob_layout *layout);
uint32_t pci_layout_pba_size(const struct ob_layout *layout);

/* window.c: 0 or -errno with a message. Copies windows, and makes those that the core chooses. */
int pci_windows_complete(struct pci *pci, struct ob_error *err);

/*
 * capability.c: the model's capabilities. 0 or -errno with a message; finds their places. And puts
 * them into configuration space, linked from *link on.
 */
int pci_capabilities_complete(struct pci *pci, struct ob_error *err);
void pci_capabilities_reset(struct pci *pci, uint8_t *link);

/* msix.c: bits of byte number n of a table entry that can be set. */
uint8_t pci_msix_entry_mask(unsigned n);

/* config.c: the power state is not D0. */
bool pci_is_asleep(const struct pci *pci);

/* caps.c: whether a write of value to byte number offset asks for a function level reset. */
bool pci_caps_is_reset(const struct pci *pci, unsigned offset, uint8_t value);
/*
 * The value that a byte of configuration space at reset has in functions of versions that had no
 * function level reset.
 */
uint8_t pci_caps_older_value(const struct pci *pci, unsigned offset);
/* Whether config is of a function without function level reset. */
bool pci_caps_is_older(const struct pci *pci, const uint8_t *config);

/* config.c and caps.c: everything to its value at reset, with its masks. */
void pci_config_reset(struct pci *pci);
void pci_caps_reset(struct pci *pci);

/*
 * irq.c: after anything changed that interrupts depend on (registers, wiring): finds the mode anew,
 * drives the pin, sends what was pending and is not held back any more.
 */
void pci_irq_update(struct pci *pci);
/* The same for one MSI-X vector, whose table entry was written. */
void pci_irq_update_msix(struct pci *pci, unsigned vector);
void pci_irq_reset(struct pci *pci);
/* After a state was loaded: what was signalled elsewhere may not have been read there. */
void pci_irq_moved(struct pci *pci);

#endif
