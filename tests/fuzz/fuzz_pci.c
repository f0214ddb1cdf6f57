/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes a PCI function: configuration space, the MSI-X table and its pending bits, and the
 * sources, wires and masks of interrupts, with a layout from the input.
 *
 * An input: a layout (18 bytes), then actions until it ends.
 */
#include "input.h"
#include "pci/pci.h"

enum { MAX_ACTIONS = 1024, MAX_INPUT = 16384, MOST_BYTES = 64 };

struct world {
	struct pci_irq_sink sink;
	struct pci *pci;
	uint64_t wired[PCI_IRQ_KINDS][PCI_MAX_MSIX / 64];
	bool listens; /* the sink is set */
};

static bool on_signal(struct pci_irq_sink *sink, enum pci_irq kind, unsigned vector)
{
	struct world *world = (struct world *)sink;

	must(world->listens && kind < PCI_IRQ_KINDS && vector < pci_irq_count(world->pci, kind));
	must(world->wired[kind][vector / 64] >> (vector % 64) & 1);
	return true;
}

static uint64_t read_nothing(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	return 0;
}

static void write_nothing(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
}

static const uint8_t rom[4096] = {0x55, 0xaa};

static void nothing_rang(struct ob_dev *dev, unsigned number)
{
}

static const struct ob_window plain[] = {
	{.read = read_nothing, .write = write_nothing},
	{OB_WINDOW_DOORBELLS, .count = 3, .rang = nothing_rang},
};

static void take_bar(struct ob_bar *bar, uint8_t how)
{
	if (!(how & 0x1f))
		return;
	*bar = (struct ob_bar){
		.size = UINT64_C(1) << (how & 0x1f),
		.flags = how >> 5,
		.windows = plain,
		.nwindows = 2,
	};
}

/* Anything, also what pci_new() has to refuse. */
static struct ob_layout take_layout(struct input *in, struct ob_window msix[2])
{
	static const uint16_t vectors[] = {0, 1, 2, 4, 8, 16, 32, 3};
	struct ob_layout layout = {.ident = {.vendor = 0x1234, .device = 0x5678}};
	uint8_t how = input_u8(in), msi = input_u8(in);

	layout.irqs.intx = how & 1;
	layout.pcie = how & 2;
	if (how & 4) {
		layout.rom = rom;
		layout.rom_size = 1u << (how >> 4) % 13;
	}
	layout.irqs.msi_vectors = vectors[msi & 7];
	layout.irqs.msix_bar = msi >> 3 & 7;
	layout.irqs.msix_vectors = input_u16(in);
	msix[0] = (struct ob_window){OB_WINDOW_MSIX_TABLE, .offset = input_u32(in)};
	msix[1] = (struct ob_window){OB_WINDOW_MSIX_PBA, .offset = input_u32(in)};
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct ob_bar *bar = &layout.bars[i];

		take_bar(bar, input_u8(in));
		if (!bar->size || i != layout.irqs.msix_bar)
			continue;
		bar->windows = msix;
		bar->nwindows = 2;
	}
	return layout;
}

static void access_config(struct world *world, struct input *in, bool write)
{
	unsigned offset = input_u16(in), length = 1 + input_u8(in) % MOST_BYTES;
	uint8_t bytes[MOST_BYTES], one;

	if (write) {
		input_copy(in, bytes, length);
		pci_config_write(world->pci, offset, bytes, length);
	}
	/* However it is read, it is the same. */
	pci_config_read(world->pci, offset, bytes, length);
	for (unsigned i = 0; i < length; i++) {
		pci_config_read(world->pci, offset + i, &one, 1);
		must(one == bytes[i]);
	}
}

static void access_table(struct world *world, struct input *in, bool write)
{
	const struct ob_layout *layout = pci_layout(world->pci);
	unsigned bar = layout->irqs.msix_bar, length = 1 + input_u8(in) % MOST_BYTES;
	uint64_t offset = input_u32(in), rest;
	uint8_t bytes[MOST_BYTES];

	input_copy(in, bytes, write ? length : 0);
	if (!pci_msix_covers(world->pci, bar, offset, length))
		return;
	must(pci_window_find(world->pci, bar, offset, &rest) && rest >= length);
	if (write)
		pci_msix_write(world->pci, bar, offset, bytes, length);
	else
		pci_msix_read(world->pci, bar, offset, bytes, length);
}

static void wire(struct world *world, enum pci_irq kind, unsigned vector, bool on)
{
	uint64_t *word = &world->wired[kind][vector % PCI_MAX_MSIX / 64];
	uint64_t bit = UINT64_C(1) << (vector % 64);

	if (vector < pci_irq_count(world->pci, kind))
		*word = on ? *word | bit : *word & ~bit;
	pci_irq_wire(world->pci, kind, vector, on);
}

static void set_sink(struct world *world, bool on)
{
	memset(world->wired, 0, sizeof(world->wired));
	pci_irq_set_sink(world->pci, NULL);
	world->listens = on;
	if (on)
		pci_irq_set_sink(world->pci, &world->sink);
}

/* Which, and of what: kind (and on or off), vector. */
static void act_irq(struct world *world, struct input *in)
{
	uint8_t how = input_u8(in);
	enum pci_irq kind = (how & 7) % PCI_IRQ_KINDS;
	bool on = how & 8;
	unsigned vector = input_u16(in);

	switch (how >> 4) {
	case 0:
		pci_irq_raise(world->pci, vector);
		break;
	case 1:
		pci_irq_lower(world->pci, vector);
		break;
	case 2:
	case 3:
		wire(world, kind, vector, on);
		break;
	case 4:
		pci_irq_mask(world->pci, kind, vector, on);
		break;
	case 5:
		pci_irq_trigger(world->pci, kind, vector);
		break;
	case 6:
		pci_irq_notify(world->pci, on ? PCI_IRQ_ERR : PCI_IRQ_REQ);
		break;
	case 7:
		pci_irq_unmask_held(world->pci);
		break;
	case 8:
		pci_irq_unmask_now(world->pci);
		break;
	case 9:
		set_sink(world, on);
		break;
	default:
		pci_reset(world->pci);
	}
}

static void check(struct world *world)
{
	uint8_t ids[4];
	uint64_t address;

	pci_config_read(world->pci, 0, ids, sizeof(ids));
	must(ids[0] == 0x34 && ids[1] == 0x12 && ids[2] == 0x78 && ids[3] == 0x56);
	for (unsigned i = 0; i <= PCI_BARS; i++)
		pci_bar_address(world->pci, i, &address);
	must(!pci_irq_is_pin(world->pci) || !pci_irq_is_message(world->pci));
}

static void act(struct world *world, struct input *in)
{
	switch (input_u8(in) & 7) {
	case 0:
		access_config(world, in, false);
		break;
	case 1:
	case 2:
		access_config(world, in, true);
		break;
	case 3:
		access_table(world, in, false);
		break;
	case 4:
		access_table(world, in, true);
		break;
	case 5:
		check(world);
		break;
	default:
		act_irq(world, in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct ob_window msix[2];
	struct ob_layout layout = take_layout(&in, msix);
	struct ob_error err = {""};
	struct world *world;

	if (size > MAX_INPUT)
		return 0;
	world = calloc(1, sizeof(*world));
	world->sink.signal = on_signal;
	world->pci = pci_new(&layout, &err);
	must(world->pci || err.message[0]);
	if (world->pci) {
		set_sink(world, true);
		for (unsigned i = 0; in.left && i < MAX_ACTIONS; i++)
			act(world, &in);
		check(world);
		set_sink(world, false);
		pci_free(world->pci);
	}
	free(world);
	return 0;
}
