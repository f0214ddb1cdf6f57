/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts: INTx (PCI Local Bus 3.0, 2.2.6 and 6.2.2 to 6.2.4), MSI and MSI-X (6.8).
 *
 * One kind is in use at a time, the mode: MSI-X if the guest enabled it or the client wired one of
 * its vectors, else MSI likewise, else INTx. The wiring counts because not every client shows us
 * the capability's enable bit.
 *
 * A message goes out if its vector is wired and nobody masks it; otherwise it stays pending and
 * goes out when the last obstacle goes, once, however often it came up. INTx is a level: the OR of
 * the sources that are raised. Sources are kept in every mode, so that the pin is right when the
 * mode changes to INTx; in the message modes they have no effect, and raising is an edge each time.
 *
 * A function that must keep off its bus sends no messages (Bus Master Enable, PCI Local Bus 3.0,
 * 6.2.2), and in D3hot does not drive the pin. What was signalled before that may not have reached
 * the guest: the client drops messages when the guest's registers say so, or nobody reads the
 * eventfd any more. So whenever what carries messages has changed, the device's model is told, and
 * raises again what its driver has not taken: pci_irq_next_changed(). docs/interrupts.md has all of
 * it.
 */
#include <string.h>

#include "internal.h"

static bool vector_exists(const struct pci *pci, enum pci_irq kind, unsigned vector)
{
	return (unsigned)kind < PCI_IRQ_KINDS && vector < pci_irq_count(pci, kind);
}

/* Whether the client's side lets a vector through. */
static bool client_takes(const struct pci *pci, enum pci_irq kind, unsigned vector)
{
	return pci->sink && bit_test(pci->wired[kind], vector) &&
	       !bit_test(pci->masked[kind], vector);
}

static void note_change(struct pci *pci, unsigned vector)
{
	if (vector < PCI_MAX_MSIX)
		bit_assign(pci->changed, vector, true);
	else
		pci->all_changed = true;
	pci->told_changes = false;
}

void pci_irq_moved(struct pci *pci)
{
	note_change(pci, PCI_MAX_MSIX);
	pci_irq_update(pci);
}

/* The last thing that is done: the model may raise interrupts at once. */
static void tell_changes(struct pci *pci)
{
	if (pci->told_changes || !pci->watcher)
		return;
	pci->told_changes = true;
	pci->watcher->changed(pci->watcher);
}

bool pci_irq_next_changed(struct pci *pci, unsigned *vector)
{
	if (pci->all_changed) {
		pci->all_changed = false;
		memset(pci->changed, 0, sizeof(pci->changed));
		*vector = PCI_MAX_MSIX;
		return true;
	}
	for (unsigned word = 0; word < VECTOR_WORDS; word++) {
		uint64_t bits = pci->changed[word];

		if (!bits)
			continue;
		pci->changed[word] &= bits - 1;
		*vector = word * 64 + (unsigned)__builtin_ctzll(bits);
		return true;
	}
	return false;
}

void pci_irq_set_watcher(struct pci *pci, struct pci_irq_watcher *watcher)
{
	pci->watcher = watcher;
}

/* INTx */

static bool pin_asserted(const struct pci *pci)
{
	return pci->layout.irqs.intx && pci->mode == PCI_IRQ_INTX && pci->raised_count > 0;
}

/*
 * Signals the pin where it can be. The client has no level to look at, so a signal masks the pin,
 * and unmasking it (the guest has handled the interrupt) signals again if it is asserted still.
 */
static void signal_pin(struct pci *pci)
{
	if ((config_get16(pci, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE) || pci_is_asleep(pci) ||
	    !client_takes(pci, PCI_IRQ_INTX, 0) || !pci->sink->signal(pci->sink, PCI_IRQ_INTX, 0))
		return;
	bit_assign(pci->masked[PCI_IRQ_INTX], 0, true);
	pci->intx_signalled = true;
}

static void update_pin(struct pci *pci)
{
	uint8_t *status = &pci->state.config[PCI_STATUS];

	if (!pin_asserted(pci)) {
		*status &= (uint8_t)~PCI_STATUS_INTERRUPT;
		pci->intx_signalled = false;
		if (pci->intx_held)
			pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
		return;
	}
	/* Shown whether or not the command register lets it out (6.2.3). */
	*status |= PCI_STATUS_INTERRUPT;
	signal_pin(pci);
}

/* MSI */

static bool msi_enabled(const struct pci *pci)
{
	return pci->layout.irqs.msi_vectors &&
	       (config_get16(pci, CAP_MSI + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_ENABLE);
}

/* How many messages the guest gave us (6.8.1.3); where it did not tell, what the client wired. */
static unsigned msi_vectors_in_use(const struct pci *pci)
{
	unsigned offered = pci->layout.irqs.msi_vectors;
	uint32_t wired = (uint32_t)pci->wired[PCI_IRQ_MSI][0];
	unsigned granted;

	if (!msi_enabled(pci))
		return wired ? 32 - (unsigned)__builtin_clz(wired) : 1;
	granted = 1u << ((config_get16(pci, CAP_MSI + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_QSIZE) >> 4);
	return granted < offered ? granted : offered;
}

static bool msi_is_pending(const struct pci *pci, unsigned vector)
{
	return config_get32(pci, CAP_MSI + PCI_MSI_PENDING_64) >> vector & 1;
}

static void send_msi(struct pci *pci, unsigned vector)
{
	uint32_t pending = config_get32(pci, CAP_MSI + PCI_MSI_PENDING_64);
	uint32_t masked = config_get32(pci, CAP_MSI + PCI_MSI_MASK_64);
	uint32_t bit = UINT32_C(1) << vector;
	bool out = !pci->stopped && !(masked & bit) && client_takes(pci, PCI_IRQ_MSI, vector) &&
	           pci->sink->signal(pci->sink, PCI_IRQ_MSI, vector);

	pending = out ? pending & ~bit : pending | bit;
	ob_put_le32(&pci->state.config[CAP_MSI + PCI_MSI_PENDING_64], pending);
}

static void send_pending_msi(struct pci *pci)
{
	uint32_t pending;

	if (pci->mode != PCI_IRQ_MSI)
		return;
	pending = config_get32(pci, CAP_MSI + PCI_MSI_PENDING_64);
	for (; pending; pending &= pending - 1)
		send_msi(pci, (unsigned)__builtin_ctz(pending));
}

/* MSI-X */

static bool msix_enabled(const struct pci *pci)
{
	return pci->layout.irqs.msix_vectors &&
	       (config_get16(pci, CAP_MSIX + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_ENABLE);
}

/*
 * Whether the guest's side lets a vector through.
 *
 * At reset all entries of the table are masked (6.8.2.9). A client like QEMU keeps the table to
 * itself and never writes ours, so that the vectors which it wires would be masked for ever. Hence
 * an entry's mask bit counts only once the client has written that entry since the last reset: one
 * that does not write it masks vectors by not wiring them.
 */
static bool guest_takes_msix(const struct pci *pci, unsigned vector)
{
	const uint8_t *entry = &pci->state.msix_table[(size_t)vector * MSIX_ENTRY_SIZE];
	uint16_t flags = config_get16(pci, CAP_MSIX + PCI_MSIX_FLAGS);

	if ((flags & PCI_MSIX_FLAGS_ENABLE) && (flags & PCI_MSIX_FLAGS_MASKALL))
		return false;
	return !bit_test(pci->state.msix_written, vector) ||
	       !(entry[PCI_MSIX_ENTRY_VECTOR_CTRL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

static void send_msix(struct pci *pci, unsigned vector)
{
	bool out = !pci->stopped && client_takes(pci, PCI_IRQ_MSIX, vector) &&
	           guest_takes_msix(pci, vector) &&
	           pci->sink->signal(pci->sink, PCI_IRQ_MSIX, vector);

	bit_assign(pci->state.msix_pending, vector, !out);
	if (out) /* the way of now: nothing is owed for what it was before */
		bit_assign(pci->changed, vector, false);
}

void pci_irq_update_msix(struct pci *pci, unsigned vector)
{
	if (bit_test(pci->state.msix_pending, vector))
		send_msix(pci, vector);
}

static void send_pending_msix(struct pci *pci)
{
	for (unsigned word = 0; word < VECTOR_WORDS; word++) {
		uint64_t pending = pci->state.msix_pending[word];

		for (; pending; pending &= pending - 1)
			send_msix(pci, word * 64 + (unsigned)__builtin_ctzll(pending));
	}
}

/* All kinds */

static enum pci_irq find_mode(const struct pci *pci)
{
	if (msix_enabled(pci) || pci->wired_count[PCI_IRQ_MSIX] > 0)
		return PCI_IRQ_MSIX;
	if (msi_enabled(pci) || pci->wired_count[PCI_IRQ_MSI] > 0)
		return PCI_IRQ_MSI;
	return PCI_IRQ_INTX;
}

/* Whether messages begin to get through, or another kind of interrupt is in use now. */
static bool update_mode(struct pci *pci)
{
	enum pci_irq mode = pci->mode;
	uint8_t enabled = pci->enabled;
	bool stopped = pci->stopped;

	pci->mode = find_mode(pci);
	pci->stopped = pci_is_stopped(pci);
	pci->enabled =
		(uint8_t)(msi_enabled(pci) << PCI_IRQ_MSI | msix_enabled(pci) << PCI_IRQ_MSIX);
	return pci->mode != mode || pci->enabled & ~enabled || (stopped && !pci->stopped);
}

void pci_irq_update(struct pci *pci)
{
	if (update_mode(pci))
		note_change(pci, PCI_MAX_MSIX);
	update_pin(pci);
	send_pending_msi(pci);
	send_pending_msix(pci);
	tell_changes(pci);
}

/* The same where nothing but one vector of the mode's kind can be concerned. */
static void update_vector(struct pci *pci, enum pci_irq kind, unsigned vector)
{
	if (kind == PCI_IRQ_INTX)
		update_pin(pci);
	else if (kind == PCI_IRQ_MSI)
		send_pending_msi(pci);
	else if (kind == PCI_IRQ_MSIX)
		pci_irq_update_msix(pci, vector);
}

void pci_irq_retry(struct pci *pci)
{
	pci_irq_update(pci);
}

static void drop_pending(struct pci *pci)
{
	memset(pci->state.msix_pending, 0, sizeof(pci->state.msix_pending));
	if (pci->layout.irqs.msi_vectors)
		ob_put_le32(&pci->state.config[CAP_MSI + PCI_MSI_PENDING_64], 0);
}

void pci_irq_reset(struct pci *pci)
{
	memset(pci->state.raised, 0, sizeof(pci->state.raised));
	pci->raised_count = 0;
	drop_pending(pci);
	memset(pci->state.msix_written, 0, sizeof(pci->state.msix_written));
	memset(pci->state.msix_table, 0, pci_layout_table_size(&pci->layout));
	for (unsigned i = 0; i < pci->layout.irqs.msix_vectors; i++)
		pci->state.msix_table[i * MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL] =
			PCI_MSIX_ENTRY_CTRL_MASKBIT;
	pci_irq_update(pci);
}

unsigned pci_irq_wired(const struct pci *pci, enum pci_irq kind)
{
	return pci->wired_count[kind];
}

unsigned pci_irq_count(const struct pci *pci, enum pci_irq kind)
{
	switch (kind) {
	case PCI_IRQ_INTX:
		return pci->layout.irqs.intx;
	case PCI_IRQ_MSI:
		return pci->layout.irqs.msi_vectors;
	case PCI_IRQ_MSIX:
		return pci->layout.irqs.msix_vectors;
	case PCI_IRQ_ERR:
	case PCI_IRQ_REQ:
		return 1;
	default:
		return 0;
	}
}

/* The device's side */

void pci_irq_raise(struct pci *pci, unsigned source)
{
	if (source >= PCI_MAX_MSIX)
		return;
	if (!bit_test(pci->state.raised, source)) {
		bit_assign(pci->state.raised, source, true);
		pci->raised_count++;
		if (pci->mode == PCI_IRQ_INTX && pci->raised_count == 1)
			update_pin(pci);
	}
	if (pci->mode == PCI_IRQ_MSIX && source < pci->layout.irqs.msix_vectors)
		send_msix(pci, source);
	else if (pci->mode == PCI_IRQ_MSI)
		send_msi(pci, source % msi_vectors_in_use(pci));
}

void pci_irq_lower(struct pci *pci, unsigned source)
{
	if (source >= PCI_MAX_MSIX || !bit_test(pci->state.raised, source))
		return;
	bit_assign(pci->state.raised, source, false);
	if (--pci->raised_count == 0)
		update_pin(pci);
}

bool pci_irq_is_message(const struct pci *pci)
{
	return pci->mode != PCI_IRQ_INTX;
}

bool pci_irq_is_pin(const struct pci *pci)
{
	return pci->mode == PCI_IRQ_INTX && pci->sink && bit_test(pci->wired[PCI_IRQ_INTX], 0) &&
	       !(config_get16(pci, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
}

void pci_irq_notify(struct pci *pci, enum pci_irq kind)
{
	if ((kind == PCI_IRQ_ERR || kind == PCI_IRQ_REQ) && client_takes(pci, kind, 0))
		(void)pci->sink->signal(pci->sink, kind, 0); /* nobody waits for these */
}

/* The client's side */

void pci_irq_set_sink(struct pci *pci, struct pci_irq_sink *sink)
{
	pci->sink = sink;
	memset(pci->wired, 0, sizeof(pci->wired));
	memset(pci->wired_count, 0, sizeof(pci->wired_count));
	memset(pci->masked, 0, sizeof(pci->masked));
	pci->intx_held = false;
	pci_irq_update(pci);
}

void pci_irq_wire(struct pci *pci, enum pci_irq kind, unsigned vector, bool wired)
{
	if (!vector_exists(pci, kind, vector))
		return;
	/* The mask goes with the wire: an INTx in service must not block the next user. */
	if (!wired)
		bit_assign(pci->masked[kind], vector, false);
	if (!wired && kind == PCI_IRQ_INTX)
		pci->intx_held = false;
	if (bit_test(pci->wired[kind], vector) == wired)
		return;
	bit_assign(pci->wired[kind], vector, wired);
	if (wired)
		pci->wired_count[kind]++;
	else
		pci->wired_count[kind]--;
	if (wired && kind == PCI_IRQ_MSIX)
		note_change(pci, vector);
	else if (wired && kind == PCI_IRQ_MSI && !msi_is_pending(pci, vector))
		note_change(pci, PCI_MAX_MSIX); /* several sources may share a vector */
	if (pci->mode != find_mode(pci))
		pci_irq_update(pci);
	else
		update_vector(pci, kind, vector);
	tell_changes(pci);
}

void pci_irq_mask(struct pci *pci, enum pci_irq kind, unsigned vector, bool masked)
{
	if (!vector_exists(pci, kind, vector))
		return;
	bit_assign(pci->masked[kind], vector, masked);
	if (kind == PCI_IRQ_INTX)
		pci->intx_held = false;
	if (!masked)
		update_vector(pci, kind, vector);
}

bool pci_irq_unmask_held(struct pci *pci)
{
	pci->intx_held =
		bit_test(pci->masked[PCI_IRQ_INTX], 0) && pci->intx_signalled && pin_asserted(pci);
	if (!pci->intx_held)
		pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
	return pci->intx_held;
}

void pci_irq_unmask_now(struct pci *pci)
{
	if (pci->intx_held)
		pci_irq_mask(pci, PCI_IRQ_INTX, 0, false);
}

void pci_irq_trigger(struct pci *pci, enum pci_irq kind, unsigned vector)
{
	if (!vector_exists(pci, kind, vector))
		return;
	if (kind == PCI_IRQ_INTX)
		signal_pin(pci);
	else if (kind == PCI_IRQ_MSI)
		send_msi(pci, vector);
	else if (kind == PCI_IRQ_MSIX)
		send_msix(pci, vector);
	else
		pci_irq_notify(pci, kind);
}
