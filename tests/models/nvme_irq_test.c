/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe: interrupts when the client changes its mind about them, and how long they are held. */
#include <string.h>

#include "nvme_kit.h"

enum { FLUSH = 0x00 };

static void unwire_msix(struct kit *kit)
{
	for (unsigned i = 0; i < 16; i++)
		pci_irq_wire(device_pci(kit->dev), PCI_IRQ_MSIX, i, false);
}

/* A guest's driver that goes from messages to the pin finds it low when it consumed everything. */
static void messages_leave_nothing_on_the_pin(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;

	kit_use_intx(kit);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	kit_settle(kit);
	assert_true(kit_signals(kit, PCI_IRQ_MSIX, 1) > 0);
	unwire_msix(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 0);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	assert_false(kit_intx_again(kit));
}

/* What was consumed while messages were in use does not keep the pin up. */
static void the_pin_goes_down_while_messages_are_in_use(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	struct cqe cqe;

	kit_use_intx(kit);
	unwire_msix(kit);
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	kit_use_msix(kit, 16);
	assert_true(nk_take(nk, &nk->io, &cqe, true));
	kit_settle(kit);
	unwire_msix(kit);
	assert_false(kit_intx_again(kit));
}

static void bus_master(struct kit *kit, bool on)
{
	kit_write(kit, DEVICE_REGION_CONFIG, 4, on ? 6 : 2, 2);
}

/* A command is completed, the guest is interrupted, and does not take the entry. */
static unsigned leave_one(struct nk *nk)
{
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(nk->kit);
	assert_true(nk_has(nk, &nk->io));
	return kit_signals(nk->kit, PCI_IRQ_MSIX, 1);
}

/* VMMs drop a message that comes while bus mastering is off, and nobody else repeats it. */
static void bus_mastering_comes_on_with_entries_not_taken(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	struct cqe cqe;
	unsigned before;

	bus_master(kit, true);
	before = leave_one(nk);
	bus_master(kit, false);
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before);
	bus_master(kit, true);
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before + 1);
	assert_true(nk_take(nk, &nk->io, &cqe, true));
	bus_master(kit, false);
	bus_master(kit, true);
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before + 1);
}

/* Registers go on, and doorbells count later; neither memory nor interrupts are touched. */
static void nothing_happens_without_the_bus(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	unsigned before = kit_signals(kit, PCI_IRQ_MSIX, 1);
	struct cqe cqe;

	bus_master(kit, true);
	bus_master(kit, false);
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), 1);
	assert_int_equal(kit->asked_count, 0);
	assert_false(nk_has(nk, &nk->io));
	bus_master(kit, true);
	cqe = nk_wait(nk, &nk->io);
	assert_int_equal(cqe.status, 0);
	kit_settle(kit);
	assert_true(kit_signals(kit, PCI_IRQ_MSIX, 1) > before);
}

/* In flight when the bus is taken: done, posted afterwards, told of afterwards. */
static void the_bus_is_taken_from_a_command_in_flight(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	unsigned before = kit_signals(kit, PCI_IRQ_MSIX, 1);

	bus_master(kit, true);
	nk->drive->hold = true;
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	bus_master(kit, false);
	assert_true(kit_read(kit, DEVICE_REGION_CONFIG, 0x8a, 2) & 0x20); /* pending */
	kit_drive_release(kit, nk->drive);
	kit_settle(kit);
	assert_false(kit_read(kit, DEVICE_REGION_CONFIG, 0x8a, 2) & 0x20);
	assert_false(nk_has(nk, &nk->io));
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before);
	bus_master(kit, true);
	nk_wait(nk, &nk->io);
	kit_settle(kit);
	assert_true(kit_signals(kit, PCI_IRQ_MSIX, 1) > before);
}

/* A client that never sets the enable bit takes its last eventfd away, and gives it back. */
static void unwired_with_entries_not_taken(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	unsigned before = leave_one(nk);

	unwire_msix(kit);
	kit_settle(kit);
	kit_use_msix(kit, 16);
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before + 1);
	/* The same where they come while nobody listens. */
	unwire_msix(kit);
	leave_one(nk);
	kit_use_msix(kit, 16);
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before + 2);
}

static void from_messages_to_the_pin_with_entries_not_taken(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	struct cqe cqe;

	kit_use_intx(kit);
	leave_one(nk);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 0);
	unwire_msix(kit);
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	assert_true(nk_take(nk, &nk->io, &cqe, true));
	kit_settle(kit);
	assert_false(kit_intx_again(kit));
}

/* A function level reset is a controller reset; what was in flight touches nothing any more. */
static void function_level_reset(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;

	nk->drive->hold = true;
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	kit_write(kit, DEVICE_REGION_CONFIG, 0x88, 0x8000, 2);
	assert_int_equal(kit_read(kit, DEVICE_REGION_CONFIG, 0, 4), UINT32_MAX);
	assert_int_equal(nk_reg(nk, REG_CSTS), UINT32_MAX);
	kit_drive_release(kit, nk->drive);
	kit_settle(kit);
	assert_int_equal(kit_read(kit, DEVICE_REGION_CONFIG, 0, 4), 0x10f01af4);
	assert_int_equal(nk_reg(nk, REG_CC), 0);
	assert_int_equal(nk_reg(nk, REG_CSTS), 0);
	assert_false(nk_has(nk, &nk->io));
	nk_enable(nk);
	nk_create_io(nk);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
}

/* A device that was stopped by its guest is stopped where it moves to. */
static void it_moves_without_the_bus(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;

	bus_master(kit, true);
	bus_master(kit, false);
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_migrate(kit);
	kit_settle(kit);
	assert_false(nk_has(nk, &nk->io));
	bus_master(kit, true);
	nk_wait(nk, &nk->io);
	kit_settle(kit);
	assert_true(kit_signals(kit, PCI_IRQ_MSIX, 1) > 0);
}

/* Shadow doorbells, as a guest's driver uses them. */
struct shadow {
	struct nk *nk;
	uint32_t *values, *events;
};

static struct shadow make_shadow(struct nk *nk)
{
	nk_start_shadow(nk);
	return (struct shadow){nk, kit_at(nk->kit, nk->shadow), kit_at(nk->kit, nk->events)};
}

static void ring(const struct shadow *shadow, const struct nq *q, bool completion)
{
	unsigned place = q->id * 2 + completion;
	uint16_t value = (uint16_t)(completion ? q->head : q->tail);
	uint16_t old = (uint16_t)shadow->values[place];

	shadow->values[place] = value;
	if ((uint16_t)(value - (uint16_t)shadow->events[place] - 1) < (uint16_t)(value - old))
		nk_doorbell(shadow->nk, q->id, completion, value);
}

/* Puts depth commands and waits for interrupts until all are done. Returns turns of the loop. */
static unsigned work(const struct shadow *shadow, unsigned depth)
{
	struct nk *nk = shadow->nk;
	unsigned done = 0, turns = 0, seen = kit_signals(nk->kit, PCI_IRQ_MSIX, 1);

	for (unsigned i = 0; i < depth; i++) {
		nk_put(nk, &nk->io, nk_sqe(FLUSH, 1));
		ring(shadow, &nk->io, false);
		kit_turn(nk->kit);
	}
	while (done < depth) {
		struct cqe cqe;

		for (; kit_signals(nk->kit, PCI_IRQ_MSIX, 1) == seen; turns++)
			kit_turn(nk->kit);
		seen = kit_signals(nk->kit, PCI_IRQ_MSIX, 1);
		for (; nk_take(nk, &nk->io, &cqe, false); done++)
			ring(shadow, &nk->io, true);
	}
	return turns;
}

/* Completions share interrupts, but not with those that come only when the guest has seen them. */
static void a_guest_that_waits_is_not_kept_waiting(void **state)
{
	static const unsigned depths[] = {1, 2, 4, 9, 1};
	enum { ROUNDS = 300, FEW_TURNS = 40 };
	struct nk *nk = *state;
	enum kit_mode mode = nk->kit->mode;
	struct shadow shadow;

	nk_free(nk);
	*state = nk = nk_new(mode);
	nk_start(nk, "drive=d0,poll-max-us=1000");
	nk_enable(nk);
	nk_create_io(nk);
	kit_use_msix(nk->kit, 16);
	shadow = make_shadow(nk);
	for (unsigned i = 0; i < sizeof(depths) / sizeof(*depths); i++) {
		unsigned slow = 0;

		for (unsigned round = 0; round < ROUNDS; round++)
			slow += work(&shadow, depths[i]) > FEW_TURNS;
		assert_in_range(slow, 0, ROUNDS * depths[i] / 16);
	}
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(messages_leave_nothing_on_the_pin),
		KIT_TEST(the_pin_goes_down_while_messages_are_in_use),
		KIT_TEST(bus_mastering_comes_on_with_entries_not_taken),
		KIT_TEST(nothing_happens_without_the_bus),
		KIT_TEST(the_bus_is_taken_from_a_command_in_flight),
		KIT_TEST(unwired_with_entries_not_taken),
		KIT_TEST(from_messages_to_the_pin_with_entries_not_taken),
		KIT_TEST(function_level_reset),
		KIT_TEST(it_moves_without_the_bus),
		KIT_TEST(a_guest_that_waits_is_not_kept_waiting),
	};

	return KIT_RUN("nvme_irq", tests, nk_setup, nk_free);
}
