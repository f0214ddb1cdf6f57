/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe: interrupts when the client changes its mind about them, and how long they are held. */
#include <string.h>

#include "nvme_kit.h"
#include "outboard/loop.h"

enum { FLUSH = 0x00, DOORBELL_BUFFER = 0x7c };

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

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(messages_leave_nothing_on_the_pin),
		KIT_TEST(the_pin_goes_down_while_messages_are_in_use),
	};

	return KIT_RUN("nvme_irq", tests, nk_setup, nk_free);
}
