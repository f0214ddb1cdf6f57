/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One PCI function: configuration space, BARs, capabilities and interrupts. It knows neither
 * messages nor models: reads and writes come in, interrupts go out through a sink.
 *
 * Specifications: PCI Local Bus 3.0 (header, BARs, MSI, MSI-X), PCI Power Management 1.2, PCI
 * Express Base 3.0 (endpoint capability).
 */
#ifndef PCI_PCI_H
#define PCI_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/device.h"
#include "outboard/error.h"

enum {
	PCI_CONFIG_SIZE = 256,
	PCIE_CONFIG_SIZE = 4096,
	PCI_BARS = 6,
	PCI_MAX_MSIX = 2048,
	PCI_MAX_WINDOWS = 64,      /* of a BAR */
	PCI_MAX_CAPABILITIES = 32, /* of a model's own */
};

/* Interrupt kinds, with the numbers of VFIO_PCI_*_IRQ_INDEX. */
enum pci_irq { PCI_IRQ_INTX, PCI_IRQ_MSI, PCI_IRQ_MSIX, PCI_IRQ_ERR, PCI_IRQ_REQ, PCI_IRQ_KINDS };

/*
 * Where interrupts go: whoever serves the client. signal() is called for a vector that is wired
 * (see pci_irq_wire()) and not masked by anybody. It must not call anything of this header. False:
 * the client could not be told. Then the interrupt stays pending, and pci_irq_retry() tries again.
 */
struct pci_irq_sink {
	bool (*signal)(struct pci_irq_sink *sink, enum pci_irq kind, unsigned vector);
};

/*
 * Told when messages may have been lost on their way, or would take another way now: see
 * pci_irq_next_changed(). It may raise and lower interrupts then.
 */
struct pci_irq_watcher {
	void (*changed)(struct pci_irq_watcher *watcher);
};

struct pci;

/*
 * Makes a function with the given layout, checked: refuses, with a message, BARs of sizes that are
 * no power of 2, 64-bit BARs without room, MSI-X tables that do not fit, and so on. layout is
 * copied, with its windows (the ROM image is not: it must outlive the function); pci_layout() shows
 * the copy, with the MSI-X BAR filled in where the core was to make it, every window's size and
 * count, the windows of a BAR by offset, doorbells last, and every capability's place. NULL and
 * *err.
 */
struct pci *pci_new(const struct ob_layout *layout, struct ob_error *err);
void pci_free(struct pci *pci);
const struct ob_layout *pci_layout(const struct pci *pci);

/* Bytes of the expansion ROM's BAR: a power of 2, 2 KiB at least (6.2.5.2); 0: no ROM. */
uint32_t pci_rom_size(const struct pci *pci);

/* Whether the header says that there are other functions in the same slot. */
void pci_set_multifunction(struct pci *pci, bool on);

/* Power-on state of everything but the wiring and the client's masks. Lowers all interrupts. */
void pci_reset(struct pci *pci);

/*
 * Whether the function must keep off its bus: Bus Master Enable is off, or it is in D3hot. Bus
 * Master Enable counts once it was on since the last reset: some clients never set it.
 */
bool pci_is_stopped(const struct pci *pci);

/*
 * Whether software has asked for a function level reset since this was asked last. Whoever makes
 * the function quiet for it calls pci_function_reset() then, which leaves alone what that reset
 * does not touch.
 */
bool pci_take_reset_request(struct pci *pci);
void pci_function_reset(struct pci *pci);

/* Whether the function shows that transactions are pending (Device Status, or AF Status). */
void pci_show_pending(struct pci *pci, bool pending);

/*
 * What moves when the device does: pci_state() is pci_state_size bytes of plain data as
 * pci_state_fields describes them. Load checks that the state is one that this function can have,
 * which was reset before, and makes it its own; interrupts follow. 0, or -EINVAL with a message,
 * and nothing changed.
 */
extern const struct ob_field pci_state_fields[];
extern const size_t pci_state_size;
const void *pci_state(const struct pci *pci);
int pci_state_load(struct pci *pci, const void *loaded, struct ob_error *err);

/*
 * Configuration space, any size and alignment within pci_config_size(). What the masks do not let
 * through is dropped silently, as hardware does. Beyond the size there are zeroes.
 */
unsigned pci_config_size(const struct pci *pci);
void pci_config_read(struct pci *pci, unsigned offset, void *buffer, unsigned length);
void pci_config_write(struct pci *pci, unsigned offset, const void *buffer, unsigned length);

/*
 * The address that the guest gave a BAR (index 6: the expansion ROM), valid or not, 0 if there is
 * no such BAR. True if the BAR decodes it: the command register lets it, the ROM's enable bit is
 * set, and the function is not in D3hot.
 */
bool pci_bar_address(const struct pci *pci, unsigned bar, uint64_t *address);

/*
 * The window that offset of a BAR lies in, doorbells aside; NULL: none. *rest is how many bytes are
 * left from offset to its end, or to the next window or the end of the BAR. offset is below the
 * BAR's size.
 */
const struct ob_window *pci_window_find(const struct pci *pci, unsigned bar, uint64_t offset,
                                        uint64_t *rest);

/* How many doorbells all windows have. */
unsigned pci_doorbells(const struct pci *pci);

/*
 * The MSI-X table and the pending bit array: true if [offset, offset + length) of a BAR lies wholly
 * in one of them. Any size and alignment; the pending bits are read-only.
 */
bool pci_msix_covers(const struct pci *pci, unsigned bar, uint64_t offset, uint64_t length);
void pci_msix_read(struct pci *pci, unsigned bar, uint64_t offset, void *buffer, unsigned length);
void pci_msix_write(struct pci *pci, unsigned bar, uint64_t offset, const void *buffer,
                    unsigned length);

/* How many vectors of a kind are wired: see pci_irq_wire(). */
unsigned pci_irq_wired(const struct pci *pci, enum pci_irq kind);

/* Vectors of a kind: 0 or 1 for INTx, 1 for ERR and REQ. */
unsigned pci_irq_count(const struct pci *pci, enum pci_irq kind);

/*
 * The device's side, as ob_irq_raise() and so on say in outboard/device.h. Sources are counted in
 * every mode: when the client goes over from messages to INTx, the pin is asserted if a source is
 * raised at that time; when it goes over to messages, the pin is deasserted. So a model lowers what
 * it raised in every mode, even where that is seen in one only. Sources that do not exist
 * (PCI_MAX_MSIX and above) and vectors past the last of MSI-X are ignored.
 */
void pci_irq_raise(struct pci *pci, unsigned source);
void pci_irq_lower(struct pci *pci, unsigned source);
bool pci_irq_is_message(const struct pci *pci);
bool pci_irq_is_pin(const struct pci *pci); /* as ob_irq_is_pin() */

/*
 * Vectors whose messages may not have reached the guest, because what carries them has changed
 * since: the kind in use, the vector's wiring, Bus Master Enable, the power state. Returns false if
 * there is no further one; *vector is PCI_MAX_MSIX for all of them.
 */
bool pci_irq_next_changed(struct pci *pci, unsigned *vector);
void pci_irq_set_watcher(struct pci *pci, struct pci_irq_watcher *watcher);

/* The sink could not signal something: everything that is pending is tried again. */
void pci_irq_retry(struct pci *pci);

/* Sends ERR or REQ if the client wired it; otherwise nothing stays behind. */
void pci_irq_notify(struct pci *pci, enum pci_irq kind);

/*
 * The client's side. NULL takes the sink away. Either way, everything is unwired and unmasked; what
 * is pending stays so until it can be sent, or a reset.
 */
void pci_irq_set_sink(struct pci *pci, struct pci_irq_sink *sink);

/*
 * Whether somebody listens to a vector (has an eventfd for it). Wiring a message vector means that
 * the client uses that kind, even where the guest's enable bit was not seen: some clients keep the
 * capability to themselves. An interrupt that comes up while its vector is not wired stays pending.
 * Unwiring takes the client's mask of the vector away, too. A vector that does not exist is ignored
 * here and below.
 */
void pci_irq_wire(struct pci *pci, enum pci_irq kind, unsigned vector, bool wired);

/*
 * The client's own mask (SET_IRQS with MASK, UNMASK), beside what the guest masks in the table.
 * INTx masks itself when it is signalled and stays so until it is unmasked here; it is signalled
 * again right then if the pin is still asserted.
 */
void pci_irq_mask(struct pci *pci, enum pci_irq kind, unsigned vector, bool masked);

/*
 * Unmasks INTx. If the pin has been asserted without a break since it was last signalled, that
 * takes effect only when it is lowered, or with pci_irq_unmask_now(): then this returns true, and
 * the caller sees to it that the latter comes. See session/irqs.c for what it is good for.
 */
bool pci_irq_unmask_held(struct pci *pci);
void pci_irq_unmask_now(struct pci *pci);

/* SET_IRQS with TRIGGER and NONE or BOOL: signals as if the device had. */
void pci_irq_trigger(struct pci *pci, enum pci_irq kind, unsigned vector);

#endif
