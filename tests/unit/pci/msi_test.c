/* SPDX-License-Identifier: BSD-3-Clause */
/* MSI: how many vectors are in use, masks, and pending bits. */
#include "kit.h"

enum {
	FLAGS = MSI + PCI_MSI_FLAGS,
	MASK = MSI + PCI_MSI_MASK_64,
	PENDING = MSI + PCI_MSI_PENDING_64
};

/* 1 << log2 vectors granted. */
static void enable(struct pci *pci, unsigned log2)
{
	write16(pci, FLAGS, (uint16_t)(PCI_MSI_FLAGS_ENABLE | log2 << 4));
}

static void wire_all(struct pci *pci)
{
	for (unsigned i = 0; i < 8; i++)
		pci_irq_wire(pci, PCI_IRQ_MSI, i, true);
}

static unsigned signals(struct fixture *fixture, unsigned vector)
{
	return fixture->sink.count[PCI_IRQ_MSI][vector];
}

static void each_raise_is_a_message(void **state)
{
	struct fixture *fixture = *state;

	enable(fixture->pci, 3);
	wire_all(fixture->pci);
	pci_irq_raise(fixture->pci, 5);
	pci_irq_raise(fixture->pci, 5);
	assert_int_equal(signals(fixture, 5), 2);
	pci_irq_lower(fixture->pci, 5);
	assert_int_equal(fixture->sink.total, 2);
}

static void vectors_are_modulo_what_was_granted(void **state)
{
	struct fixture *fixture = *state;

	wire_all(fixture->pci);
	enable(fixture->pci, 1);
	pci_irq_raise(fixture->pci, 5);
	assert_int_equal(signals(fixture, 1), 1);
	enable(fixture->pci, 0);
	pci_irq_raise(fixture->pci, 5);
	assert_int_equal(signals(fixture, 0), 1);
	enable(fixture->pci, 7); /* more than there are */
	pci_irq_raise(fixture->pci, 13);
	assert_int_equal(signals(fixture, 5), 1);
}

/* The client keeps the capability to itself: what it wired is what it granted. */
static void modulo_what_was_wired(void **state)
{
	struct fixture *fixture = *state;

	pci_irq_wire(fixture->pci, PCI_IRQ_MSI, 0, true);
	pci_irq_raise(fixture->pci, 7);
	assert_int_equal(signals(fixture, 0), 1);
	pci_irq_wire(fixture->pci, PCI_IRQ_MSI, 1, true);
	pci_irq_wire(fixture->pci, PCI_IRQ_MSI, 2, true);
	pci_irq_wire(fixture->pci, PCI_IRQ_MSI, 3, true);
	pci_irq_raise(fixture->pci, 7);
	assert_int_equal(signals(fixture, 3), 1);
}

static void masked_by_the_guest(void **state)
{
	struct fixture *fixture = *state;

	enable(fixture->pci, 3);
	wire_all(fixture->pci);
	write32(fixture->pci, MASK, 0x6);
	pci_irq_raise(fixture->pci, 1);
	pci_irq_raise(fixture->pci, 1);
	pci_irq_raise(fixture->pci, 2);
	pci_irq_raise(fixture->pci, 3);
	assert_int_equal(fixture->sink.total, 1);
	assert_int_equal(read32(fixture->pci, PENDING), 0x6);
	write32(fixture->pci, PENDING, UINT32_MAX); /* read-only */
	assert_int_equal(read32(fixture->pci, PENDING), 0x6);
	write8(fixture->pci, MASK, 0x4);
	assert_int_equal(signals(fixture, 1), 1);
	assert_int_equal(read32(fixture->pci, PENDING), 0x4);
	write32(fixture->pci, MASK, 0);
	assert_int_equal(signals(fixture, 2), 1);
	assert_int_equal(read32(fixture->pci, PENDING), 0);
}

static void masked_by_the_client(void **state)
{
	struct fixture *fixture = *state;

	enable(fixture->pci, 3);
	wire_all(fixture->pci);
	pci_irq_mask(fixture->pci, PCI_IRQ_MSI, 4, true);
	pci_irq_raise(fixture->pci, 4);
	write32(fixture->pci, MASK, 0x10);
	assert_int_equal(read32(fixture->pci, PENDING), 0x10);
	pci_irq_mask(fixture->pci, PCI_IRQ_MSI, 4, false);
	assert_int_equal(fixture->sink.total, 0); /* the guest's mask is still there */
	write32(fixture->pci, MASK, 0);
	assert_int_equal(signals(fixture, 4), 1);
}

static void pending_until_it_is_wired(void **state)
{
	struct fixture *fixture = *state;

	enable(fixture->pci, 3);
	pci_irq_raise(fixture->pci, 6);
	assert_int_equal(read32(fixture->pci, PENDING), 0x40);
	pci_irq_wire(fixture->pci, PCI_IRQ_MSI, 5, true);
	assert_int_equal(fixture->sink.total, 0);
	pci_irq_wire(fixture->pci, PCI_IRQ_MSI, 6, true);
	assert_int_equal(signals(fixture, 6), 1);
	assert_int_equal(read32(fixture->pci, PENDING), 0);
}

static void triggered_by_the_client(void **state)
{
	struct fixture *fixture = *state;

	wire_all(fixture->pci);
	pci_irq_trigger(fixture->pci, PCI_IRQ_MSI, 7);
	assert_int_equal(signals(fixture, 7), 1);
	write32(fixture->pci, MASK, 0x80);
	pci_irq_trigger(fixture->pci, PCI_IRQ_MSI, 7);
	assert_int_equal(read32(fixture->pci, PENDING), 0x80);
	write32(fixture->pci, MASK, 0);
	assert_int_equal(signals(fixture, 7), 2);
}

static void pending_waits_while_msix_is_in_use(void **state)
{
	struct fixture *fixture = *state;

	wire_all(fixture->pci);
	write32(fixture->pci, MASK, 0xff);
	pci_irq_raise(fixture->pci, 2);
	pci_irq_wire(fixture->pci, PCI_IRQ_MSIX, 0, true);
	write32(fixture->pci, MASK, 0);
	assert_int_equal(fixture->sink.total, 0);
	pci_irq_wire(fixture->pci, PCI_IRQ_MSIX, 0, false);
	assert_int_equal(signals(fixture, 2), 1);
}

static void a_reset_drops_what_is_pending_and_a_departure_does_not(void **state)
{
	struct fixture *fixture = *state;

	enable(fixture->pci, 3);
	pci_irq_raise(fixture->pci, 0);
	pci_reset(fixture->pci);
	wire_all(fixture->pci);
	assert_int_equal(fixture->sink.total, 0);
	write32(fixture->pci, MASK, 1);
	pci_irq_raise(fixture->pci, 0);
	assert_int_equal(read32(fixture->pci, PENDING), 1);
	pci_irq_set_sink(fixture->pci, NULL);
	write32(fixture->pci, MASK, 0);
	assert_int_equal(read32(fixture->pci, PENDING), 1);
	pci_irq_set_sink(fixture->pci, &fixture->sink.sink);
	wire_all(fixture->pci);
	assert_int_equal(read32(fixture->pci, PENDING), 0);
	assert_int_equal(signals(fixture, 0), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(each_raise_is_a_message),
		WITH_FIXTURE(vectors_are_modulo_what_was_granted),
		WITH_FIXTURE(modulo_what_was_wired),
		WITH_FIXTURE(masked_by_the_guest),
		WITH_FIXTURE(masked_by_the_client),
		WITH_FIXTURE(pending_until_it_is_wired),
		WITH_FIXTURE(triggered_by_the_client),
		WITH_FIXTURE(pending_waits_while_msix_is_in_use),
		WITH_FIXTURE(a_reset_drops_what_is_pending_and_a_departure_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
