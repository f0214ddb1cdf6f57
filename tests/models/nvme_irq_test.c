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
		KIT_TEST(a_guest_that_waits_is_not_kept_waiting),
	};

	return KIT_RUN("nvme_irq", tests, nk_setup, nk_free);
}
