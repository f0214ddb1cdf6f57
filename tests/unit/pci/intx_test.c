/* SPDX-License-Identifier: BSD-3-Clause */
/* INTx, the choice between the kinds of interrupts, and the error and request notifications. */
#include "kit.h"

static unsigned signals(struct fixture *fixture)
{
	return fixture->sink.count[PCI_IRQ_INTX][0];
}

static bool status_bit(struct fixture *fixture)
{
	return read16(fixture->pci, PCI_STATUS) & PCI_STATUS_INTERRUPT;
}

static void counts(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	assert_int_equal(pci_irq_count(pci, PCI_IRQ_INTX), 1);
	assert_int_equal(pci_irq_count(pci, PCI_IRQ_MSI), 8);
	assert_int_equal(pci_irq_count(pci, PCI_IRQ_MSIX), VECTORS);
	assert_int_equal(pci_irq_count(pci, PCI_IRQ_ERR), 1);
	assert_int_equal(pci_irq_count(pci, PCI_IRQ_REQ), 1);
	assert_int_equal(pci_irq_count(pci, PCI_IRQ_KINDS), 0);
}

/* QEMU's round: signal, the guest handles it and lowers the pin, unmask. */
static void signals_once_and_masks_itself(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 1);
	pci_irq_raise(pci, 0);
	pci_irq_raise(pci, 1);
	pci_irq_lower(pci, 0);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 1);
	pci_irq_lower(pci, 0);
	pci_irq_lower(pci, 1);
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
	assert_int_equal(signals(fixture), 1);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 2);
}

static void lowered_and_raised_while_masked(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	pci_irq_lower(pci, 0);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 1);
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
	assert_int_equal(signals(fixture), 2);
}

static void unmasking_signals_again_while_asserted(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	for (unsigned i = 2; i < 5; i++) {
		pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
		assert_int_equal(signals(fixture), i);
	}
}

static void the_pin_is_the_or_of_all_sources(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;
	static const unsigned sources[] = {0, 63, 64, 2047};
	unsigned i;

	for (i = 0; i < 4; i++) {
		pci_irq_raise(pci, sources[i]);
		pci_irq_raise(pci, sources[i]); /* is one, not two */
		assert_true(status_bit(fixture));
	}
	for (i = 0; i < 4; i++) {
		assert_true(status_bit(fixture));
		pci_irq_lower(pci, sources[i]);
		pci_irq_lower(pci, sources[i]);
	}
	assert_false(status_bit(fixture));
	pci_irq_lower(pci, 5);
	pci_irq_raise(pci, 5);
	assert_true(status_bit(fixture));
	/* No such source. */
	pci_irq_lower(pci, 5);
	pci_irq_raise(pci, PCI_MAX_MSIX);
	pci_irq_raise(pci, UINT32_MAX);
	pci_irq_lower(pci, UINT32_MAX);
	assert_false(status_bit(fixture));
}

static void wiring_an_asserted_pin_signals(void **state)
{
	struct fixture *fixture = *state;

	pci_irq_raise(fixture->pci, 0);
	assert_int_equal(signals(fixture), 0);
	pci_irq_wire(fixture->pci, PCI_IRQ_INTX, 0, true);
	assert_int_equal(signals(fixture), 1);
	pci_irq_wire(fixture->pci, PCI_IRQ_INTX, 0, true); /* another eventfd: no change */
	assert_int_equal(signals(fixture), 1);
}

/* An interrupt that was in service when the client let go must not block the next wiring. */
static void unwiring_drops_the_mask(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, false);
	pci_irq_lower(pci, 0);
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 2);
}

static void masked_by_the_client_before_it_wires(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_mask(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 0);
	assert_true(status_bit(fixture));
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
	assert_int_equal(signals(fixture), 1);
}

static void the_command_register_disables_it(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	write16(pci, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 0);
	assert_true(status_bit(fixture)); /* shown all the same */
	write16(pci, PCI_COMMAND, 0);
	assert_int_equal(signals(fixture), 1);
	/* Masked by itself now, which the register does not undo. */
	write16(pci, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE);
	write16(pci, PCI_COMMAND, 0);
	assert_int_equal(signals(fixture), 1);
}

static void a_function_without_a_pin(void **state)
{
	struct ob_layout layout = {.irqs = {.msi_vectors = 1}};
	struct counting_sink *sink = calloc(1, sizeof(*sink));
	struct pci *pci = make_pci(&layout);

	assert_non_null(sink);
	sink->sink.signal = counting_signal;
	pci_irq_set_sink(pci, &sink->sink);
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	assert_int_equal(sink->total, 0);
	assert_int_equal(read16(pci, PCI_STATUS) & PCI_STATUS_INTERRUPT, 0);
	pci_free(pci);
	free(sink);
	(void)state;
}

static void mode_by_enable_bits(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	assert_false(pci_irq_is_message(pci));
	write16(pci, MSI + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
	assert_true(pci_irq_is_message(pci));
	write16(pci, MSI + PCI_MSI_FLAGS, 0);
	assert_false(pci_irq_is_message(pci));
	write8(pci, MSIX + PCI_MSIX_FLAGS + 1, PCI_MSIX_FLAGS_ENABLE >> 8); /* one byte of it */
	assert_true(pci_irq_is_message(pci));
	pci_reset(pci);
	assert_false(pci_irq_is_message(pci));
}

static void mode_by_wiring(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_wire(pci, PCI_IRQ_ERR, 0, true);
	assert_false(pci_irq_is_message(pci));
	pci_irq_wire(pci, PCI_IRQ_MSI, 7, true);
	assert_true(pci_irq_is_message(pci));
	pci_irq_wire(pci, PCI_IRQ_MSIX, 3, true);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 4, true);
	pci_irq_wire(pci, PCI_IRQ_MSI, 7, false);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 3, false);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 3, false);
	assert_true(pci_irq_is_message(pci));
	pci_irq_wire(pci, PCI_IRQ_MSIX, 4, false);
	assert_false(pci_irq_is_message(pci));
}

/* MSI-X wins over MSI, by whichever of the two ways each is in use. */
static void one_kind_at_a_time(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_wire(pci, PCI_IRQ_MSI, 0, true);
	write16(pci, MSI + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
	pci_irq_raise(pci, 0);
	assert_int_equal(fixture->sink.count[PCI_IRQ_MSI][0], 1);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 0, true);
	pci_irq_raise(pci, 0);
	assert_int_equal(fixture->sink.count[PCI_IRQ_MSIX][0], 1);
	assert_int_equal(fixture->sink.total, 2);
}

static void the_pin_follows_the_mode(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	assert_true(status_bit(fixture));
	write16(pci, MSIX + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
	assert_false(status_bit(fixture));
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
	assert_int_equal(signals(fixture), 1); /* not asserted any more */
	pci_irq_raise(pci, 1);
	pci_irq_lower(pci, 0);
	write16(pci, MSIX + PCI_MSIX_FLAGS, 0);
	assert_true(status_bit(fixture)); /* source 1 */
	assert_int_equal(signals(fixture), 2);
	pci_irq_lower(pci, 1);
	assert_false(status_bit(fixture));
}

static void errors_and_requests(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_notify(pci, PCI_IRQ_ERR);
	pci_irq_wire(pci, PCI_IRQ_ERR, 0, true);
	assert_int_equal(fixture->sink.total, 0); /* nothing stays behind */
	pci_irq_notify(pci, PCI_IRQ_ERR);
	pci_irq_notify(pci, PCI_IRQ_REQ);
	assert_int_equal(fixture->sink.count[PCI_IRQ_ERR][0], 1);
	pci_irq_trigger(pci, PCI_IRQ_ERR, 0);
	assert_int_equal(fixture->sink.count[PCI_IRQ_ERR][0], 2);
	pci_irq_wire(pci, PCI_IRQ_REQ, 0, true);
	pci_irq_trigger(pci, PCI_IRQ_REQ, 0);
	assert_int_equal(fixture->sink.count[PCI_IRQ_REQ][0], 1);
	pci_irq_notify(pci, PCI_IRQ_MSIX); /* neither of the two */
	assert_int_equal(fixture->sink.total, 3);
}

static void triggered_by_the_client(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_trigger(pci, PCI_IRQ_INTX, 0);
	assert_int_equal(signals(fixture), 0);
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_trigger(pci, PCI_IRQ_INTX, 0);
	assert_int_equal(signals(fixture), 1);
	pci_irq_trigger(pci, PCI_IRQ_INTX, 0); /* masks itself like any other */
	assert_int_equal(signals(fixture), 1);
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, false); /* no source is raised */
	assert_int_equal(signals(fixture), 1);
}

static void vectors_that_do_not_exist(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;
	static const struct {
		enum pci_irq kind;
		unsigned vector;
	} cases[] = {
		{PCI_IRQ_INTX, 1},    {PCI_IRQ_MSI, 8},        {PCI_IRQ_MSIX, VECTORS},
		{PCI_IRQ_MSIX, 2048}, {PCI_IRQ_ERR, 1},        {PCI_IRQ_MSIX, UINT32_MAX},
		{PCI_IRQ_KINDS, 0},   {(enum pci_irq)1000, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pci_irq_wire(pci, cases[i].kind, cases[i].vector, true);
		pci_irq_mask(pci, cases[i].kind, cases[i].vector, true);
		pci_irq_mask(pci, cases[i].kind, cases[i].vector, false);
		pci_irq_trigger(pci, cases[i].kind, cases[i].vector);
		pci_irq_notify(pci, cases[i].kind);
	}
	assert_false(pci_irq_is_message(pci));
	assert_int_equal(fixture->sink.total, 0);
}

static void reset_lowers_and_keeps_the_wiring(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 7);
	pci_reset(pci);
	assert_false(status_bit(fixture));
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
	assert_int_equal(signals(fixture), 1);
	pci_irq_raise(pci, 7);
	assert_int_equal(signals(fixture), 2);
}

static void the_sink_goes_away(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	pci_irq_set_sink(pci, NULL);
	assert_true(status_bit(fixture)); /* the device's state is kept */
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
	pci_irq_trigger(pci, PCI_IRQ_INTX, 0);
	pci_irq_notify(pci, PCI_IRQ_ERR);
	pci_irq_set_sink(pci, &fixture->sink.sink);
	assert_int_equal(signals(fixture), 1);
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	assert_int_equal(signals(fixture), 2);
}

/* A guest that has not dealt with the interrupt yet is not told of it again at once. */
static void an_unmask_is_held_while_the_pin_stays_up(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	assert_true(pci_irq_unmask_held(pci));
	assert_true(pci_irq_unmask_held(pci)); /* asking again changes nothing */
	pci_irq_raise(pci, 1);
	pci_irq_lower(pci, 0);
	assert_int_equal(signals(fixture), 1);
	/* Lowered, it is unmasked: the next one comes through. */
	pci_irq_lower(pci, 1);
	assert_int_equal(signals(fixture), 1);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 2);
	/* Or when its time has come. */
	assert_true(pci_irq_unmask_held(pci));
	pci_irq_unmask_now(pci);
	assert_int_equal(signals(fixture), 3);
	pci_irq_unmask_now(pci); /* nothing is held any more */
	assert_int_equal(signals(fixture), 3);
	pci_irq_lower(pci, 0);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 3);
}

static void an_unmask_is_not_held_without_need(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	assert_false(pci_irq_unmask_held(pci));
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	pci_irq_lower(pci, 0);
	assert_false(pci_irq_unmask_held(pci)); /* down */
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 2);
	/* Down and up again: that is another interrupt. */
	pci_irq_lower(pci, 0);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 2);
	assert_false(pci_irq_unmask_held(pci));
	assert_int_equal(signals(fixture), 3);
	/* The client masked it before anything was signalled. */
	pci_irq_lower(pci, 0);
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	assert_false(pci_irq_unmask_held(pci));
	assert_int_equal(signals(fixture), 4);
}

/* What the client says after that counts, and what it is no longer there for does not. */
static void a_held_unmask_ends(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	for (unsigned how = 0; how < 4; how++) {
		unsigned before = signals(fixture);

		pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
		pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
		pci_irq_raise(pci, 0);
		assert_true(pci_irq_unmask_held(pci));
		if (how == 0) {
			pci_irq_mask(pci, PCI_IRQ_INTX, 0, true);
		} else if (how == 1) {
			pci_irq_wire(pci, PCI_IRQ_INTX, 0, false);
			pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
			before++; /* an asserted pin is signalled when it is wired */
		} else {
			pci_irq_set_sink(pci, how == 2 ? NULL : &fixture->sink.sink);
			pci_irq_set_sink(pci, &fixture->sink.sink);
			pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
			before++;
		}
		pci_irq_lower(pci, 0);
		pci_irq_raise(pci, 0);
		assert_int_equal(signals(fixture), before + 1);
		pci_irq_lower(pci, 0);
	}
}

static void a_reset_ends_a_held_unmask(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	pci_irq_raise(pci, 0);
	assert_true(pci_irq_unmask_held(pci));
	pci_reset(pci);
	pci_irq_unmask_now(pci);
	assert_int_equal(signals(fixture), 1);
	pci_irq_raise(pci, 0);
	assert_int_equal(signals(fixture), 2);
}

/* Whether a model's pin reaches anybody. */
static void the_pin_is_in_use(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	assert_false(pci_irq_is_pin(pci));
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	assert_true(pci_irq_is_pin(pci));
	pci_irq_mask(pci, PCI_IRQ_INTX, 0, true); /* for a moment */
	assert_true(pci_irq_is_pin(pci));
	write16(pci, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE);
	assert_false(pci_irq_is_pin(pci));
	write16(pci, PCI_COMMAND, 0);
	assert_true(pci_irq_is_pin(pci));
	pci_irq_wire(pci, PCI_IRQ_MSI, 0, true);
	assert_false(pci_irq_is_pin(pci));
	pci_irq_wire(pci, PCI_IRQ_MSI, 0, false);
	write16(pci, MSIX + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
	assert_false(pci_irq_is_pin(pci));
	write16(pci, MSIX + PCI_MSIX_FLAGS, 0);
	assert_true(pci_irq_is_pin(pci));
	pci_irq_set_sink(pci, NULL);
	assert_false(pci_irq_is_pin(pci));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(counts),
		WITH_FIXTURE(signals_once_and_masks_itself),
		WITH_FIXTURE(lowered_and_raised_while_masked),
		WITH_FIXTURE(unmasking_signals_again_while_asserted),
		WITH_FIXTURE(an_unmask_is_held_while_the_pin_stays_up),
		WITH_FIXTURE(an_unmask_is_not_held_without_need),
		WITH_FIXTURE(a_held_unmask_ends),
		WITH_FIXTURE(a_reset_ends_a_held_unmask),
		WITH_FIXTURE(the_pin_is_in_use),
		WITH_FIXTURE(the_pin_is_the_or_of_all_sources),
		WITH_FIXTURE(wiring_an_asserted_pin_signals),
		WITH_FIXTURE(unwiring_drops_the_mask),
		WITH_FIXTURE(masked_by_the_client_before_it_wires),
		WITH_FIXTURE(the_command_register_disables_it),
		cmocka_unit_test(a_function_without_a_pin),
		WITH_FIXTURE(mode_by_enable_bits),
		WITH_FIXTURE(mode_by_wiring),
		WITH_FIXTURE(one_kind_at_a_time),
		WITH_FIXTURE(the_pin_follows_the_mode),
		WITH_FIXTURE(errors_and_requests),
		WITH_FIXTURE(triggered_by_the_client),
		WITH_FIXTURE(vectors_that_do_not_exist),
		WITH_FIXTURE(reset_lowers_and_keeps_the_wiring),
		WITH_FIXTURE(the_sink_goes_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
