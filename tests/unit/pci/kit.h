/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of this folder share: a layout with everything, a sink that counts, and access to
 * registers by their width.
 */
#ifndef KIT_H
#define KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <linux/pci_regs.h>

#include "pci/pci.h"

/* Where the capabilities stand. Part of what a guest sees: a change here breaks migration. */
enum { PM = 0x40, MSI = 0x50, MSIX = 0x70, EXPRESS = 0x80 };

enum { VECTORS = 70, MSIX_BAR = 4, TABLE = 0x0, PBA = 0x1000 };

static const uint8_t kit_rom[3000];

static const struct ob_layout full_layout = {
	.ident = {.vendor = 0x1b36,
                  .device = 0x0010,
                  .subsystem_vendor = 0x1af4,
                  .subsystem = 0x1100,
                  .class_code = 0x010802,
                  .revision = 2},
	.bars = {[0] = {.size = 0x4000, .flags = OB_BAR_64},
                 [2] = {.size = 0x100000, .flags = OB_BAR_PREFETCH},
                 [3] = {.size = 0x40, .flags = OB_BAR_IO}},
	.irqs = {.intx = true, .msi_vectors = 8, .msix_vectors = VECTORS, .msix_bar = MSIX_BAR},
	.pcie = true,
	.rom = kit_rom,
	.rom_size = sizeof(kit_rom),
};

struct counting_sink {
	struct pci_irq_sink sink;
	unsigned count[PCI_IRQ_KINDS][PCI_MAX_MSIX];
	unsigned total;
	bool refuse; /* signals can not be given now */
};

static inline bool counting_signal(struct pci_irq_sink *sink, enum pci_irq kind, unsigned vector)
{
	struct counting_sink *counting = (struct counting_sink *)sink;

	if (counting->refuse)
		return false;
	counting->count[kind][vector]++;
	counting->total++;
	return true;
}

struct fixture {
	struct pci *pci;
	struct counting_sink sink;
};

static inline struct pci *make_pci(const struct ob_layout *layout)
{
	struct ob_error err = {""};
	struct pci *pci = pci_new(layout, &err);

	if (!pci)
		fail_msg("%s", err.message);
	return pci;
}

/* A function with everything, and a client that has wired nothing yet. */
static inline int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	fixture->pci = make_pci(&full_layout);
	fixture->sink.sink.signal = counting_signal;
	pci_irq_set_sink(fixture->pci, &fixture->sink.sink);
	*state = fixture;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *fixture = *state;

	pci_free(fixture->pci);
	free(fixture);
	return 0;
}

static inline uint8_t read8(struct pci *pci, unsigned offset)
{
	uint8_t value;

	pci_config_read(pci, offset, &value, 1);
	return value;
}

static inline uint16_t read16(struct pci *pci, unsigned offset)
{
	uint8_t bytes[2];

	pci_config_read(pci, offset, bytes, 2);
	return ob_get_le16(bytes);
}

static inline uint32_t read32(struct pci *pci, unsigned offset)
{
	uint8_t bytes[4];

	pci_config_read(pci, offset, bytes, 4);
	return ob_get_le32(bytes);
}

static inline void write8(struct pci *pci, unsigned offset, uint8_t value)
{
	pci_config_write(pci, offset, &value, 1);
}

static inline void write16(struct pci *pci, unsigned offset, uint16_t value)
{
	uint8_t bytes[2];

	ob_put_le16(bytes, value);
	pci_config_write(pci, offset, bytes, 2);
}

static inline void write32(struct pci *pci, unsigned offset, uint32_t value)
{
	uint8_t bytes[4];

	ob_put_le32(bytes, value);
	pci_config_write(pci, offset, bytes, 4);
}

/* Of the table and the pending bit array in their BAR. */
static inline uint32_t bar_read32(struct pci *pci, uint64_t offset)
{
	uint8_t bytes[4];

	pci_msix_read(pci, MSIX_BAR, offset, bytes, 4);
	return ob_get_le32(bytes);
}

static inline void bar_write32(struct pci *pci, uint64_t offset, uint32_t value)
{
	uint8_t bytes[4];

	ob_put_le32(bytes, value);
	pci_msix_write(pci, MSIX_BAR, offset, bytes, 4);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
