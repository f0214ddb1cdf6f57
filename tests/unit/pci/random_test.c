/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random accesses, interrupts and wiring. After each step, what must always be true of a function
 * is checked against notes that are kept beside it. The sequence is the same in every run.
 */
#include "kit.h"

enum { ROUNDS = 300000, SOURCES = VECTORS + 3, MOST_BYTES = 24 };

struct world {
	struct pci_irq_sink sink;
	struct pci *pci;
	bool wired[PCI_IRQ_KINDS][VECTORS], masked[PCI_IRQ_KINDS][VECTORS];
	bool written[VECTORS], raised[SOURCES];
	unsigned signals;
	uint32_t random;
};

static unsigned pick(struct world *world, unsigned below)
{
	world->random = world->random * 1664525 + 1013904223;
	return (world->random >> 8) % below;
}

/* Nothing is signalled that is not wired, or that the client masks. */
static bool check_signal(struct pci_irq_sink *sink, enum pci_irq kind, unsigned vector)
{
	struct world *world = (struct world *)sink;

	assert_true(world->wired[kind][vector]);
	assert_false(world->masked[kind][vector]);
	if (kind == PCI_IRQ_INTX)
		world->masked[kind][vector] = true;
	world->signals++;
	return true;
}

static void some_bytes(struct world *world, uint8_t *bytes, unsigned length)
{
	static const uint8_t favourites[] = {0x00, 0xff, 0x80, 0xc0, 0x01, 0x04};
	bool plain = pick(world, 2);

	for (unsigned i = 0; i < length; i++)
		bytes[i] = plain ? favourites[pick(world, 6)] : (uint8_t)pick(world, 256);
}

static void access_config(struct world *world)
{
	static const unsigned places[] = {PCI_COMMAND, MSI, MSIX, PM, PCI_BASE_ADDRESS_0, 0};
	unsigned length = 1 + pick(world, 8);
	unsigned offset = places[pick(world, 6)] + pick(world, 24);
	uint8_t bytes[8];

	if (pick(world, 8) == 0)
		offset = pick(world, 4096 + 16);
	some_bytes(world, bytes, length);
	if (pick(world, 2))
		pci_config_write(world->pci, offset, bytes, length);
	else
		pci_config_read(world->pci, offset, bytes, length);
}

static void access_table(struct world *world)
{
	uint64_t offset = pick(world, VECTORS * 16 + 8);
	unsigned length = 1 + pick(world, MOST_BYTES);
	uint8_t bytes[MOST_BYTES];

	if (pick(world, 3))
		offset |= 12; /* the controls are what matters */
	some_bytes(world, bytes, length);
	if (pick(world, 4) == 0) {
		pci_msix_read(world->pci, MSIX_BAR, offset, bytes, length);
		return;
	}
	if (pci_msix_covers(world->pci, MSIX_BAR, offset, length)) {
		for (uint64_t i = offset; i < offset + length; i++)
			world->written[i / 16] = true;
	}
	pci_msix_write(world->pci, MSIX_BAR, offset, bytes, length);
}

static void raise_or_lower(struct world *world)
{
	unsigned source = pick(world, SOURCES);

	world->raised[source] = pick(world, 2);
	if (world->raised[source])
		pci_irq_raise(world->pci, source);
	else
		pci_irq_lower(world->pci, source);
}

static void wire_or_mask(struct world *world)
{
	enum pci_irq kind = (enum pci_irq)pick(world, PCI_IRQ_KINDS);
	unsigned vector = pick(world, VECTORS);
	bool on = pick(world, 2);

	if (vector >= pci_irq_count(world->pci, kind))
		vector = 0;
	switch (pick(world, 5)) {
	case 0:
		pci_irq_trigger(world->pci, kind, vector);
		break;
	case 1:
	case 2:
		world->masked[kind][vector] = on;
		pci_irq_mask(world->pci, kind, vector, on);
		break;
	default:
		world->wired[kind][vector] = on;
		if (!on)
			world->masked[kind][vector] = false;
		pci_irq_wire(world->pci, kind, vector, on);
	}
}

static void start_over(struct world *world)
{
	if (pick(world, 500))
		return;
	if (pick(world, 2)) {
		memset(world->raised, 0, sizeof(world->raised));
		memset(world->written, 0, sizeof(world->written));
		pci_reset(world->pci);
		return;
	}
	memset(world->wired, 0, sizeof(world->wired));
	memset(world->masked, 0, sizeof(world->masked));
	pci_irq_set_sink(world->pci, NULL);
	pci_irq_set_sink(world->pci, &world->sink);
}

/* Nothing waits that could be sent. */
static void check_pending(struct world *world, bool msi_mode)
{
	uint16_t flags = read16(world->pci, MSIX + PCI_MSIX_FLAGS);
	uint32_t msi = read32(world->pci, MSI + PCI_MSI_PENDING_64);
	uint32_t msi_masked = read32(world->pci, MSI + PCI_MSI_MASK_64);
	bool all_masked = (flags & PCI_MSIX_FLAGS_ENABLE) && (flags & PCI_MSIX_FLAGS_MASKALL);
	unsigned i;

	if (pci_is_stopped(world->pci))
		return;

	for (i = 0; i < VECTORS; i++) {
		bool waits = bar_read32(world->pci, PBA + i / 32 * 4) >> (i % 32) & 1;
		bool masked = bar_read32(world->pci, TABLE + i * 16 + 12) & 1;

		assert_false(waits && world->wired[PCI_IRQ_MSIX][i] &&
		             !world->masked[PCI_IRQ_MSIX][i] && !all_masked &&
		             !(masked && world->written[i]));
	}
	for (i = 0; i < 8 && msi_mode; i++)
		assert_false((msi & ~msi_masked) >> i & 1 && world->wired[PCI_IRQ_MSI][i] &&
		             !world->masked[PCI_IRQ_MSI][i]);
}

static bool any(const bool *flags, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (flags[i])
			return true;
	}
	return false;
}

static void check(struct world *world)
{
	bool msix = (read16(world->pci, MSIX + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_ENABLE) ||
	            any(world->wired[PCI_IRQ_MSIX], VECTORS);
	bool msi = (read16(world->pci, MSI + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_ENABLE) ||
	           any(world->wired[PCI_IRQ_MSI], 8);
	bool asserted = !msix && !msi && any(world->raised, SOURCES);
	bool disabled = read16(world->pci, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
	uint8_t power = read8(world->pci, PM + PCI_PM_CTRL);

	assert_int_equal(pci_irq_is_message(world->pci), msix || msi);
	assert_int_equal(!!(read16(world->pci, PCI_STATUS) & PCI_STATUS_INTERRUPT), asserted);
	/* An asserted pin has been signalled, unless something is in the way. */
	assert_false(asserted && !disabled && power == 0x08 && world->wired[PCI_IRQ_INTX][0] &&
	             !world->masked[PCI_IRQ_INTX][0]);
	assert_true(power == 0x08 || power == 0x0b);
	check_pending(world, msi && !msix);
}

static void random_walk(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	void (*const steps[])(struct world *) = {access_config,  access_table, access_table,
	                                         raise_or_lower, wire_or_mask, raise_or_lower,
	                                         start_over};

	assert_non_null(world);
	world->sink.signal = check_signal;
	world->pci = make_pci(&full_layout);
	pci_irq_set_sink(world->pci, &world->sink);
	for (unsigned i = 0; i < ROUNDS; i++) {
		steps[pick(world, sizeof(steps) / sizeof(steps[0]))](world);
		if (i % 16 == 0 || i < 1000)
			check(world);
	}
	assert_true(world->signals > ROUNDS / 100);
	pci_free(world->pci);
	free(world);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_walk)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
