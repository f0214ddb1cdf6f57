/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X: the table and the pending bit array in their BAR, the masks, and the orders in which
 * different clients set it up.
 */
#include "kit.h"

enum {
	FLAGS = MSIX + PCI_MSIX_FLAGS,
	ENABLE = PCI_MSIX_FLAGS_ENABLE,
	MASKALL = PCI_MSIX_FLAGS_MASKALL,
	PBA_SIZE = 16, /* for 70 vectors */
	TABLE_SIZE = VECTORS * 16,
};

static unsigned signals(struct fixture *fixture, unsigned vector)
{
	return fixture->sink.count[PCI_IRQ_MSIX][vector];
}

static bool pending(struct fixture *fixture, unsigned vector)
{
	return bar_read32(fixture->pci, PBA + vector / 32 * 4) >> (vector % 32) & 1;
}

static void wire(struct fixture *fixture, unsigned vector)
{
	pci_irq_wire(fixture->pci, PCI_IRQ_MSIX, vector, true);
}

/* Writes an entry as a driver does, its control last. */
static void write_entry(struct fixture *fixture, unsigned vector, bool masked)
{
	bar_write32(fixture->pci, TABLE + vector * 16 + 0, 0xfee00000);
	bar_write32(fixture->pci, TABLE + vector * 16 + 4, 0);
	bar_write32(fixture->pci, TABLE + vector * 16 + 8, 0x4020 + vector);
	bar_write32(fixture->pci, TABLE + vector * 16 + 12, masked);
}

static void areas(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	assert_true(pci_msix_covers(pci, MSIX_BAR, TABLE, 1));
	assert_true(pci_msix_covers(pci, MSIX_BAR, TABLE, TABLE_SIZE));
	assert_true(pci_msix_covers(pci, MSIX_BAR, PBA + 8, 8));
	assert_false(pci_msix_covers(pci, MSIX_BAR, TABLE, TABLE_SIZE + 1));
	assert_false(pci_msix_covers(pci, MSIX_BAR, PBA + 8, 9));
	assert_false(pci_msix_covers(pci, MSIX_BAR, PBA - 1, 2));
	assert_false(pci_msix_covers(pci, MSIX_BAR, UINT64_MAX, 2));
	assert_false(pci_msix_covers(pci, MSIX_BAR, 8, UINT64_MAX));
	assert_false(pci_msix_covers(pci, 0, TABLE, 1));
}

static void what_is_between_them(void **state)
{
	struct fixture *fixture = *state;
	uint64_t rest;

	assert_int_equal(pci_window_find(fixture->pci, MSIX_BAR, TABLE + 5, &rest)->kind,
	                 OB_WINDOW_MSIX_TABLE);
	assert_int_equal(rest, TABLE_SIZE - 5);
	assert_null(pci_window_find(fixture->pci, MSIX_BAR, TABLE + TABLE_SIZE, &rest));
	assert_int_equal(rest, PBA - TABLE_SIZE);
	assert_int_equal(pci_window_find(fixture->pci, MSIX_BAR, PBA, &rest)->kind,
	                 OB_WINDOW_MSIX_PBA);
	assert_int_equal(rest, PBA_SIZE);
	assert_null(pci_window_find(fixture->pci, MSIX_BAR, PBA + PBA_SIZE, &rest));
	assert_int_equal(rest, 0x2000 - PBA - PBA_SIZE);
	assert_null(pci_window_find(fixture->pci, 0, 1, &rest));
	assert_int_equal(rest, 0x4000 - 1);
}

static void entries_are_masked_at_reset(void **state)
{
	struct fixture *fixture = *state;
	static const uint8_t entry[16] = {[12] = 1};
	uint8_t table[TABLE_SIZE];

	for (int round = 0; round < 2; round++) {
		pci_msix_read(fixture->pci, MSIX_BAR, TABLE, table, sizeof(table));
		for (unsigned i = 0; i < VECTORS; i++)
			assert_memory_equal(table + i * 16, entry, 16);
		write_entry(fixture, 0, false);
		write_entry(fixture, VECTORS - 1, false);
		pci_reset(fixture->pci);
	}
}

static void entries_hold_what_is_written(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;
	uint8_t ones[TABLE_SIZE], bytes[16], byte;
	static const uint8_t expected[16] = {0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	                                     0xff, 0xff, 0xff, 0xff, 0xff, 0x01};

	memset(ones, 0xff, sizeof(ones));
	pci_msix_write(pci, MSIX_BAR, TABLE, ones, sizeof(ones));
	for (unsigned i = 0; i < VECTORS; i++) {
		pci_msix_read(pci, MSIX_BAR, TABLE + i * 16, bytes, 16);
		assert_memory_equal(bytes, expected, 16);
	}
	/* By bytes, and across two entries. */
	pci_msix_write(pci, MSIX_BAR, TABLE + 5 * 16 + 9, "\x5a", 1);
	pci_msix_read(pci, MSIX_BAR, TABLE + 5 * 16 + 9, &byte, 1);
	assert_int_equal(byte, 0x5a);
	pci_msix_write(pci, MSIX_BAR, TABLE + 6 * 16 - 3, "\x11\x22\x33\x44\x55", 5);
	pci_msix_read(pci, MSIX_BAR, TABLE + 6 * 16 - 4, bytes, 6);
	assert_memory_equal(bytes, "\x01\x00\x00\x00\x44\x55", 6);
}

static void accesses_that_are_not_inside(void **state)
{
	struct fixture *fixture = *state;
	uint8_t bytes[32];

	memset(bytes, 0xff, sizeof(bytes));
	pci_msix_write(fixture->pci, MSIX_BAR, TABLE + TABLE_SIZE - 8, bytes, 16);
	pci_msix_write(fixture->pci, 0, TABLE, bytes, 16);
	pci_msix_write(fixture->pci, MSIX_BAR, UINT64_MAX - 3, bytes, 16);
	pci_msix_write(fixture->pci, MSIX_BAR, TABLE, bytes, 0);
	pci_msix_read(fixture->pci, MSIX_BAR, TABLE + TABLE_SIZE - 8, bytes, 16);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(bar_read32(fixture->pci, TABLE), 0);
	assert_int_equal(bar_read32(fixture->pci, TABLE + TABLE_SIZE - 4), 1);
	pci_msix_read(fixture->pci, 99, 0, bytes, 32);
	assert_int_equal(bytes[31], 0);
}

/*
 * QEMU: it wires the vectors and shows us the enable bit, but keeps the table to itself, so that
 * ours stays as it is at reset.
 */
static void a_client_that_keeps_the_table(void **state)
{
	struct fixture *fixture = *state;

	write16(fixture->pci, FLAGS, ENABLE | MASKALL);
	wire(fixture, 0);
	wire(fixture, 1);
	write16(fixture->pci, FLAGS, ENABLE);
	pci_irq_raise(fixture->pci, 0);
	pci_irq_raise(fixture->pci, 1);
	pci_irq_raise(fixture->pci, 1);
	assert_int_equal(signals(fixture, 0), 1);
	assert_int_equal(signals(fixture, 1), 2);
	assert_false(pending(fixture, 0));
	/* It wires others later, when the guest unmasks them. */
	pci_irq_raise(fixture->pci, 69);
	assert_true(pending(fixture, 69));
	wire(fixture, 69);
	assert_int_equal(signals(fixture, 69), 1);
	assert_false(pending(fixture, 69));
}

/* The same without the enable bit. */
static void a_client_that_keeps_the_capability(void **state)
{
	struct fixture *fixture = *state;

	wire(fixture, 3);
	pci_irq_raise(fixture->pci, 3);
	assert_int_equal(signals(fixture, 3), 1);
	/* The function mask belongs to the enable bit. */
	write16(fixture->pci, FLAGS, MASKALL);
	pci_irq_raise(fixture->pci, 3);
	assert_int_equal(signals(fixture, 3), 2);
}

/* A client that has no kernel behind it writes the table itself: now its mask bits count. */
static void a_client_that_writes_the_table(void **state)
{
	struct fixture *fixture = *state;

	wire(fixture, 2);
	write16(fixture->pci, FLAGS, ENABLE | MASKALL);
	write_entry(fixture, 2, true);
	write16(fixture->pci, FLAGS, ENABLE);
	pci_irq_raise(fixture->pci, 2);
	assert_int_equal(signals(fixture, 2), 0);
	assert_true(pending(fixture, 2));
	bar_write32(fixture->pci, TABLE + 2 * 16 + 12, 0);
	assert_int_equal(signals(fixture, 2), 1);
	assert_false(pending(fixture, 2));
	pci_irq_raise(fixture->pci, 2);
	assert_int_equal(signals(fixture, 2), 2);
	/* After a reset it has not been written again. */
	bar_write32(fixture->pci, TABLE + 2 * 16 + 12, 1);
	pci_irq_raise(fixture->pci, 2);
	assert_int_equal(signals(fixture, 2), 2);
	pci_reset(fixture->pci);
	assert_false(pending(fixture, 2));
	pci_irq_raise(fixture->pci, 2);
	assert_int_equal(signals(fixture, 2), 3);
}

/* Any part of an entry: it was masked at reset, and is until its control says otherwise. */
static void a_part_of_an_entry_is_written(void **state)
{
	struct fixture *fixture = *state;

	wire(fixture, 1);
	wire(fixture, 2);
	pci_msix_write(fixture->pci, MSIX_BAR, TABLE + 16, "\xfe", 1);
	pci_irq_raise(fixture->pci, 1);
	pci_irq_raise(fixture->pci, 2); /* its neighbour */
	assert_int_equal(signals(fixture, 1), 0);
	assert_int_equal(signals(fixture, 2), 1);
	pci_msix_write(fixture->pci, MSIX_BAR, TABLE + 16 + 12, "\x00", 1);
	assert_int_equal(signals(fixture, 1), 1);
}

static void the_function_mask(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned i = 0; i < VECTORS; i++)
		wire(fixture, i);
	write16(fixture->pci, FLAGS, ENABLE | MASKALL);
	for (unsigned i = 0; i < VECTORS; i += 3) {
		pci_irq_raise(fixture->pci, i);
		pci_irq_raise(fixture->pci, i);
	}
	assert_int_equal(fixture->sink.total, 0);
	write8(fixture->pci, FLAGS + 1, ENABLE >> 8);
	for (unsigned i = 0; i < VECTORS; i++)
		assert_int_equal(signals(fixture, i), i % 3 == 0); /* once, however often */
}

static void masked_by_the_client(void **state)
{
	struct fixture *fixture = *state;

	wire(fixture, 64);
	pci_irq_mask(fixture->pci, PCI_IRQ_MSIX, 64, true);
	pci_irq_raise(fixture->pci, 64);
	assert_true(pending(fixture, 64));
	assert_int_equal(fixture->sink.total, 0);
	pci_irq_mask(fixture->pci, PCI_IRQ_MSIX, 64, false);
	assert_int_equal(signals(fixture, 64), 1);
	assert_false(pending(fixture, 64));
}

/* Every obstacle holds it back until the last is gone, in whatever order they go. */
static void all_obstacles_must_go(void **state)
{
	static const char orders[][5] = {"wtfc", "ctfw", "fcwt", "tcfw", "cfwt", "ftwc"};

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		struct fixture *fixture;
		void *made = NULL;

		assert_int_equal(setup(&made), 0);
		fixture = made;
		pci_irq_mask(fixture->pci, PCI_IRQ_MSIX, 9, true);
		write16(fixture->pci, FLAGS, ENABLE | MASKALL);
		write_entry(fixture, 9, true);
		pci_irq_raise(fixture->pci, 9);
		for (const char *step = orders[i]; *step; step++) {
			assert_true(pending(fixture, 9));
			assert_int_equal(fixture->sink.total, 0);
			switch (*step) {
			case 'w':
				wire(fixture, 9);
				break;
			case 't':
				write_entry(fixture, 9, false);
				break;
			case 'f':
				write16(fixture->pci, FLAGS, ENABLE);
				break;
			default:
				pci_irq_mask(fixture->pci, PCI_IRQ_MSIX, 9, false);
			}
		}
		assert_false(pending(fixture, 9));
		assert_int_equal(signals(fixture, 9), 1);
		teardown(&made);
	}
	(void)state;
}

static void the_pending_bit_array(void **state)
{
	struct fixture *fixture = *state;
	uint8_t bytes[PBA_SIZE], expected[PBA_SIZE] = {0};

	write16(fixture->pci, FLAGS, ENABLE);
	pci_irq_raise(fixture->pci, 0);
	pci_irq_raise(fixture->pci, 9);
	pci_irq_raise(fixture->pci, 63);
	pci_irq_raise(fixture->pci, 69);
	expected[0] = 0x01;
	expected[1] = 0x02;
	expected[7] = 0x80;
	expected[8] = 0x20;
	pci_msix_read(fixture->pci, MSIX_BAR, PBA, bytes, sizeof(bytes));
	assert_memory_equal(bytes, expected, sizeof(bytes));
	pci_msix_read(fixture->pci, MSIX_BAR, PBA + 7, bytes, 2);
	assert_memory_equal(bytes, expected + 7, 2);
	memset(bytes, 0, sizeof(bytes));
	pci_msix_write(fixture->pci, MSIX_BAR, PBA, bytes, sizeof(bytes));
	assert_true(pending(fixture, 69)); /* read-only */
}

static void sources_past_the_last_vector(void **state)
{
	struct fixture *fixture = *state;

	wire(fixture, 0);
	pci_irq_raise(fixture->pci, VECTORS);
	pci_irq_raise(fixture->pci, 2047);
	pci_irq_raise(fixture->pci, UINT32_MAX);
	assert_int_equal(fixture->sink.total, 0);
	assert_int_equal(bar_read32(fixture->pci, PBA + 8), 0);
}

static void triggered_by_the_client(void **state)
{
	struct fixture *fixture = *state;

	wire(fixture, 1);
	pci_irq_trigger(fixture->pci, PCI_IRQ_MSIX, 1);
	assert_int_equal(signals(fixture, 1), 1);
	pci_irq_trigger(fixture->pci, PCI_IRQ_MSIX, 2);
	assert_true(pending(fixture, 2));
	wire(fixture, 2);
	assert_int_equal(signals(fixture, 2), 1);
}

/* A guest's driver goes and comes back: what was raised in between is not lost. */
static void unwired_and_wired_again(void **state)
{
	struct fixture *fixture = *state;

	write16(fixture->pci, FLAGS, ENABLE);
	wire(fixture, 0);
	pci_irq_mask(fixture->pci, PCI_IRQ_MSIX, 0, true);
	pci_irq_wire(fixture->pci, PCI_IRQ_MSIX, 0, false);
	pci_irq_raise(fixture->pci, 0);
	assert_true(pending(fixture, 0));
	wire(fixture, 0);
	assert_int_equal(signals(fixture, 0), 1);
}

static void the_client_goes_away(void **state)
{
	struct fixture *fixture = *state;

	write16(fixture->pci, FLAGS, ENABLE);
	wire(fixture, 0);
	pci_irq_raise(fixture->pci, 1);
	pci_irq_set_sink(fixture->pci, NULL);
	assert_true(pending(fixture, 1));              /* and so is what waits */
	assert_true(pci_irq_is_message(fixture->pci)); /* the guest's bit is kept */
	pci_irq_raise(fixture->pci, 0);                /* for whoever comes next */
	assert_true(pending(fixture, 0));
	pci_irq_set_sink(fixture->pci, &fixture->sink.sink);
	assert_int_equal(fixture->sink.total, 0);
	wire(fixture, 1);
	wire(fixture, 0);
	wire(fixture, 1);
	assert_int_equal(fixture->sink.total, 2);
	assert_int_equal(signals(fixture, 0), 1);
	assert_int_equal(signals(fixture, 1), 1);
}

/* What has changed since this was asked last, as bits; all of them: UINT64_MAX. */
static uint64_t changed(const struct fixture *fixture)
{
	uint64_t bits = 0;
	unsigned vector;

	while (pci_irq_next_changed(fixture->pci, &vector))
		bits |= vector == PCI_MAX_MSIX ? UINT64_MAX : UINT64_C(1) << vector;
	return bits;
}

/* Each way in which messages may have been lost on their way to the guest is told of. */
static void changes_are_told(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	(void)changed(fixture);
	wire(fixture, 3);
	assert_int_equal(changed(fixture), UINT64_MAX); /* messages are used from here on */
	wire(fixture, 5);
	wire(fixture, 6);
	wire(fixture, 6); /* another descriptor: the client has the old one, and reads it */
	assert_int_equal(changed(fixture), UINT64_C(3) << 5);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 5, false);
	assert_int_equal(changed(fixture), 0);
	write16(pci, FLAGS, ENABLE);
	assert_int_equal(changed(fixture), UINT64_MAX);
	write16(pci, FLAGS, ENABLE | MASKALL);
	write16(pci, FLAGS, ENABLE);
	pci_irq_mask(pci, PCI_IRQ_MSIX, 3, true);
	pci_irq_mask(pci, PCI_IRQ_MSIX, 3, false);
	assert_int_equal(changed(fixture), 0); /* what comes up meanwhile is pending */
	write16(pci, PCI_COMMAND, PCI_COMMAND_MASTER);
	write16(pci, PCI_COMMAND, 0);
	assert_int_equal(changed(fixture), 0);
	write16(pci, PCI_COMMAND, PCI_COMMAND_MASTER);
	assert_int_equal(changed(fixture), UINT64_MAX);
	write16(pci, PM + PCI_PM_CTRL, 3);
	assert_int_equal(changed(fixture), 0);
	write16(pci, PM + PCI_PM_CTRL, 0);
	assert_int_equal(changed(fixture), UINT64_MAX);
	write16(pci, FLAGS, 0);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 3, false);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 6, false);
	assert_int_equal(changed(fixture), UINT64_MAX); /* the pin is used from here on */
}

/* No message while the function keeps off its bus; one for each vector afterwards. */
static void nothing_is_sent_without_the_bus(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	write16(pci, FLAGS, ENABLE);
	wire(fixture, 0);
	pci_irq_raise(pci, 0); /* bus mastering was never on: not every client does that */
	assert_int_equal(signals(fixture, 0), 1);
	write16(pci, PCI_COMMAND, PCI_COMMAND_MASTER);
	write16(pci, PCI_COMMAND, 0);
	assert_true(pci_is_stopped(pci));
	pci_irq_raise(pci, 0);
	pci_irq_raise(pci, 0);
	pci_irq_trigger(pci, PCI_IRQ_MSIX, 0);
	assert_int_equal(signals(fixture, 0), 1);
	assert_true(pending(fixture, 0));
	write16(pci, PM + PCI_PM_CTRL, 3);
	write16(pci, PCI_COMMAND, PCI_COMMAND_MASTER);
	assert_int_equal(signals(fixture, 0), 1);
	write16(pci, PM + PCI_PM_CTRL, 0);
	assert_false(pci_is_stopped(pci));
	assert_int_equal(signals(fixture, 0), 2);
	/* A reset begins anew: nobody has switched it off. */
	write16(pci, PCI_COMMAND, 0);
	pci_reset(pci);
	assert_false(pci_is_stopped(pci));
}

/* The kernel had no memory to signal with: it stays pending until it could be done. */
static void what_could_not_be_signalled_is_tried_again(void **state)
{
	struct fixture *fixture = *state;

	write16(fixture->pci, FLAGS, ENABLE);
	wire(fixture, 2);
	fixture->sink.refuse = true;
	pci_irq_raise(fixture->pci, 2);
	assert_true(pending(fixture, 2));
	pci_irq_retry(fixture->pci);
	assert_true(pending(fixture, 2));
	fixture->sink.refuse = false;
	pci_irq_retry(fixture->pci);
	assert_false(pending(fixture, 2));
	assert_int_equal(signals(fixture, 2), 1);
}

static void the_largest_table(void **state)
{
	struct ob_layout layout = {.irqs = {.msix_vectors = 2048, .msix_bar = MSIX_BAR}};
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	fixture->pci = make_pci(&layout);
	fixture->sink.sink.signal = counting_signal;
	pci_irq_set_sink(fixture->pci, &fixture->sink.sink);
	assert_int_equal(read16(fixture->pci, FLAGS), 0x7ff);
	wire(fixture, 2047);
	write_entry(fixture, 2047, true);
	pci_irq_raise(fixture->pci, 2047);
	assert_int_equal(bar_read32(fixture->pci, 0x8000 + 252), 0x80000000);
	write_entry(fixture, 2047, false);
	assert_int_equal(signals(fixture, 2047), 1);
	pci_free(fixture->pci);
	free(fixture);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(areas),
		WITH_FIXTURE(what_is_between_them),
		WITH_FIXTURE(entries_are_masked_at_reset),
		WITH_FIXTURE(entries_hold_what_is_written),
		WITH_FIXTURE(accesses_that_are_not_inside),
		WITH_FIXTURE(a_client_that_keeps_the_table),
		WITH_FIXTURE(a_client_that_keeps_the_capability),
		WITH_FIXTURE(a_client_that_writes_the_table),
		WITH_FIXTURE(a_part_of_an_entry_is_written),
		WITH_FIXTURE(the_function_mask),
		WITH_FIXTURE(masked_by_the_client),
		cmocka_unit_test(all_obstacles_must_go),
		WITH_FIXTURE(the_pending_bit_array),
		WITH_FIXTURE(sources_past_the_last_vector),
		WITH_FIXTURE(triggered_by_the_client),
		WITH_FIXTURE(unwired_and_wired_again),
		WITH_FIXTURE(the_client_goes_away),
		WITH_FIXTURE(changes_are_told),
		WITH_FIXTURE(nothing_is_sent_without_the_bus),
		WITH_FIXTURE(what_could_not_be_signalled_is_tried_again),
		cmocka_unit_test(the_largest_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
