/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes device models without a session: registers, guest memory that is shared, reached by
 * messages, or both in turn, resets and quiesces at any time, drives that wait and fail.
 *
 * An input: three bytes (which model, setup, mode of the drive), then actions until it ends. An
 * action is a byte (enum action in its lower half) and what its function below takes.
 */
#include <errno.h>
#include <unistd.h>

#include "base/list.h"
#include "line.h"
#include "player.h"
#include "stage.h"

enum setup {
	SETUP_SHARED = 1 << 0,
	SETUP_PIECES = 1 << 1,  /* several maps, of one kind and the other */
	SETUP_ENABLED = 1 << 2, /* an nvme controller has its queues */
	SETUP_ANSWER = 1 << 3,  /* what is asked by message is answered by itself */
	SETUP_MSIX = 1 << 4,
	SETUP_INTX = 1 << 5,
	SETUP_MEM = 1 << 6, /* drives of the driver mem, and the other */
	SETUP_IOEVENTFDS = 1 << 7,
};

enum action {
	ACTION_WRITE,
	ACTION_READ,
	ACTION_BULK,
	ACTION_MEMORY,
	ACTION_COMMAND,
	ACTION_ENABLE,
	ACTION_TURNS,
	ACTION_ANSWER,
	ACTION_DRIVE,
	ACTION_IRQ,
	ACTION_QUIESCE,
	ACTION_UNMAP,
	ACTION_RING,
	ACTION_PAGE,
	ACTION_KINDS = 15,
};

enum {
	MAX_INPUT = 65536,
	MAX_ACTIONS = 256,
	MAX_ASKED = 4096,
	PIECES = 8,
	TURNS = 3,
};

struct rig {
	struct stage stage;
	struct player player;
	struct pci_irq_sink sink;
	struct dma_remote remote;
	struct dma_waiter waiter;
	uint8_t setup;
	bool answering, unmapped, is_waiting;
	struct ob_dma_op *asked[MAX_ASKED];
	unsigned asked_count;
	uint16_t most; /* bytes that a piece may have; 0: any number */
};

static bool on_signal(struct pci_irq_sink *sink, enum pci_irq kind, unsigned vector)
{
	struct rig *rig = container_of(sink, struct rig, sink);

	must(vector < pci_irq_count(device_pci(rig->stage.dev), kind));
	return true;
}

/* Guest memory by messages */

static int remote_start(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct rig *rig = container_of(remote, struct rig, remote);

	must(op->piece);
	if (rig->asked_count == MAX_ASKED)
		return -EIO;
	if (rig->most && op->piece > rig->most)
		op->piece = rig->most;
	rig->asked[rig->asked_count++] = op;
	return -EINPROGRESS;
}

static void remote_cancel(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct rig *rig = container_of(remote, struct rig, remote);
	unsigned i = 0;

	while (i < rig->asked_count && rig->asked[i] != op)
		i++;
	must(i < rig->asked_count);
	rig->asked[i] = rig->asked[--rig->asked_count];
}

static void answer(struct rig *rig, unsigned index, bool well)
{
	struct ob_dma_op *op;
	uint8_t *buffer;

	if (!rig->asked_count)
		return;
	op = rig->asked[index % rig->asked_count];
	buffer = (uint8_t *)op->buffer + op->transferred;
	remote_cancel(&rig->remote, op);
	if (op->write)
		stage_poke(&rig->stage, op->address + op->transferred, buffer, op->piece);
	else
		stage_peek(&rig->stage, op->address + op->transferred, buffer, op->piece);
	dma_op_finish(device_dma(rig->stage.dev), op, well ? 0 : -EIO);
}

static void turns(struct rig *rig, unsigned count)
{
	while (count--) {
		stage_turn(&rig->stage);
		for (unsigned i = rig->asked_count; rig->answering && i--;)
			answer(rig, 0, true);
	}
}

/* Maps */

static void map(struct rig *rig)
{
	struct dma_space *dma = device_dma(rig->stage.dev);
	unsigned pieces = rig->setup & SETUP_PIECES ? PIECES : 1;
	uint64_t size = STAGE_MEMORY / pieces;
	bool shared = rig->setup & SETUP_SHARED;

	if (dma_map_count(dma))
		return;
	for (unsigned i = 0; i < pieces; i++) {
		int fd = shared ? stage_dup(&rig->stage, STAGE_FD_MEMORY) : -1;

		must(!dma_map(dma, STAGE_BASE + size * i, size, DMA_READABLE | DMA_WRITEABLE, fd,
		              size * i));
		shared = !shared;
	}
}

static void on_unmapped(struct dma_waiter *waiter)
{
	struct rig *rig = container_of(waiter, struct rig, waiter);

	must(rig->is_waiting);
	rig->is_waiting = false;
	rig->unmapped = true;
}

/* All maps, or one of the pieces. */
static void unmap(struct rig *rig, uint8_t which)
{
	struct dma_space *dma = device_dma(rig->stage.dev);
	unsigned pieces = rig->setup & SETUP_PIECES ? PIECES : 1;
	uint64_t size = STAGE_MEMORY / pieces;
	int rc;

	if (rig->is_waiting)
		return;
	rig->unmapped = false;
	rig->waiter.done = on_unmapped;
	if (which & 1)
		rc = dma_unmap_all(dma, &rig->waiter);
	else
		rc = dma_unmap(dma, STAGE_BASE + size * ((which >> 1) % pieces), size,
		               &rig->waiter);
	must(!rc || rc == -EINPROGRESS);
	rig->is_waiting = rc == -EINPROGRESS;
}

/* The NVMe driver's ways */

static void write_region(struct rig *rig, unsigned region, uint64_t offset, const void *data,
                         size_t length)
{
	int rc = device_region_check(rig->stage.dev, region, offset, length, true);

	must(device_region_write(rig->stage.dev, region, offset, data, length) == rc);
}

static void player_write(struct player *player, uint64_t offset, uint64_t value, unsigned size)
{
	write_region(container_of(player, struct rig, player), 0, offset, &value, size);
}

static void player_peek(struct player *player, uint64_t address, void *bytes, size_t length)
{
	stage_peek(&container_of(player, struct rig, player)->stage, address, bytes, length);
}

static void player_poke(struct player *player, uint64_t address, const void *bytes, size_t length)
{
	stage_poke(&container_of(player, struct rig, player)->stage, address, bytes, length);
}

static void player_turn(struct player *player)
{
	turns(container_of(player, struct rig, player), TURNS);
}

/* Actions */

/* A register: region and size, offset (3 bytes), value if it is written. */
static void act_register(struct rig *rig, struct input *in, bool write)
{
	uint8_t which = input_u8(in);
	uint64_t offset = input_number(in, 3);
	size_t length = (size_t)1 << (which >> 4 & 3);
	uint8_t data[8];

	if (write) {
		input_copy(in, data, length);
		write_region(rig, which & 15, offset, data, length);
	} else {
		device_region_read(rig->stage.dev, which & 15, offset, data, length);
	}
}

/* Many of them at any alignment: region and direction, offset (3 bytes), length (2), data. */
static void act_bulk(struct rig *rig, struct input *in)
{
	uint8_t which = input_u8(in);
	uint64_t offset = input_number(in, 3);
	size_t length = input_u16(in) % 8192;
	uint8_t *data = malloc(length + 1);

	if (which & 0x80) {
		input_copy(in, data, length);
		write_region(rig, which & 15, offset, data, length);
	} else {
		device_region_read(rig->stage.dev, which & 15, offset, data, length);
	}
	free(data);
}

static void act_memory(struct rig *rig, struct input *in)
{
	uint32_t offset = input_u32(in);
	size_t length;
	const uint8_t *bytes = input_bytes(in, input_u16(in), &length);

	if (length)
		stage_poke(&rig->stage, offset, bytes, length);
}

static void act_answer(struct rig *rig, struct input *in)
{
	uint8_t how = input_u8(in);

	if (how & 0x80) {
		rig->answering = how & 1;
		rig->most = how & 2 ? input_u16(in) : 0;
	} else {
		answer(rig, how >> 1, how & 1);
	}
}

static void act_irq(struct rig *rig, struct input *in)
{
	struct pci *pci = device_pci(rig->stage.dev);
	uint8_t how = input_u8(in), vector = input_u8(in);
	enum pci_irq kind = (how & 7) % PCI_IRQ_KINDS;

	if (how & 0x80)
		pci_irq_mask(pci, kind, vector, how & 8);
	else
		pci_irq_wire(pci, kind, vector, how & 8);
}

/* A quiesce, perhaps a reset within, perhaps with turns in which nothing may happen. */
static void act_quiesce(struct rig *rig, struct input *in)
{
	uint8_t how = input_u8(in);

	stage_quiesce(&rig->stage);
	turns(rig, how >> 1 & 3);
	if (how & 1)
		device_reset(rig->stage.dev);
	device_release(rig->stage.dev, &rig->stage.hold);
}

static void act_unmap(struct rig *rig, struct input *in)
{
	uint8_t how = input_u8(in);

	unmap(rig, how & 0x7f);
	turns(rig, TURNS);
	if (how & 0x80) {
		if (rig->is_waiting)
			stage_until(&rig->stage, &rig->unmapped);
		map(rig);
	}
}

/* An eventfd of a doorbell. */
static void act_ring(struct rig *rig, struct input *in)
{
	struct device_doorbell list[16];
	const uint64_t one = 1;
	unsigned count = device_doorbells(rig->stage.dev, 0, list, 16);
	uint8_t which = input_u8(in);
	int fd;
	ssize_t n;

	if (!count)
		return;
	fd = device_doorbell_fd(rig->stage.dev, list[which % count].index);
	must(fd >= 0);
	n = write(fd, &one, sizeof(one));
	(void)n;
}

/* At the other end of a serial line: says and hears some, or sends a break. */
static void act_line(struct rig *rig, struct input *in)
{
	struct ob_chardev *line = rig->stage.line;
	uint8_t how = input_u8(in), heard[256];
	size_t length;
	const uint8_t *bytes = input_bytes(in, how & 0x3f, &length);

	line_say(line, bytes, length);
	if (how & 0x40)
		line_hear(line, heard, sizeof(heard));
	if (how & 0x80)
		chardev_send_break(line);
}

/* A doorbell in the page that the client has mapped: nobody is told. */
static void act_page(struct rig *rig, struct input *in)
{
	uint8_t place = input_u8(in);
	uint16_t value = input_u16(in);
	uint32_t *page = ob_dev_memory(rig->stage.dev, 0, 0x1000);

	if (!page)
		return;
	page[place % 64] = value == UINT16_MAX ? UINT32_MAX : value;
}

static void act_player(struct rig *rig, struct input *in, enum action action)
{
	if (action == ACTION_ENABLE)
		player_enable(&rig->player);
	else
		player_command(&rig->player, in);
}

static void act(struct rig *rig, struct input *in)
{
	enum action action = input_u8(in) & ACTION_KINDS;

	switch (action) {
	case ACTION_WRITE:
	case ACTION_READ:
		act_register(rig, in, action == ACTION_WRITE);
		break;
	case ACTION_BULK:
		act_bulk(rig, in);
		break;
	case ACTION_MEMORY:
		act_memory(rig, in);
		break;
	case ACTION_TURNS:
		turns(rig, input_u8(in) & 7);
		break;
	case ACTION_ANSWER:
		act_answer(rig, in);
		break;
	case ACTION_DRIVE:
		stage_drive_mode(&rig->stage, input_u8(in) % DRIVE_MODES);
		break;
	case ACTION_IRQ:
		act_irq(rig, in);
		break;
	case ACTION_QUIESCE:
		act_quiesce(rig, in);
		break;
	case ACTION_UNMAP:
		act_unmap(rig, in);
		break;
	case ACTION_RING:
		act_ring(rig, in);
		break;
	case ACTION_PAGE:
		if (rig->stage.line)
			act_line(rig, in);
		else
			act_page(rig, in);
		break;
	default:
		act_player(rig, in, action);
	}
}

/* Beginning and end */

static void wire_irqs(struct rig *rig)
{
	struct pci *pci = device_pci(rig->stage.dev);

	rig->sink.signal = on_signal;
	pci_irq_set_sink(pci, &rig->sink);
	if (rig->setup & SETUP_INTX)
		pci_irq_wire(pci, PCI_IRQ_INTX, 0, true);
	for (unsigned i = 0; rig->setup & SETUP_MSIX && i < PLAYER_PAIRS; i++)
		pci_irq_wire(pci, PCI_IRQ_MSIX, i, true);
}

static void begin(struct rig *rig, uint8_t which)
{
	const struct ob_model *const *models = device_models();
	unsigned count = 0;
	const char *name;
	bool nvme;

	while (models[count])
		count++;
	name = models[which % count]->name;
	nvme = !strcmp(name, "nvme");
	stage_begin(&rig->stage, name,
	            !strcmp(name, "pci-serial")     ? "chardev=c0"
	            : !nvme                         ? ""
	            : rig->setup & SETUP_IOEVENTFDS ? "drive=d0,drive=m0,serial=f,ioeventfds=on,"
	                                              "mmap-doorbells=on,idle-poll-us=1"
	            : rig->setup & SETUP_MEM        ? "drive=m0,drive=d0,serial=f,block-size=4096"
	                                     : "drive=d0,serial=f,namespaces=2,num-queues=2");
	rig->player.write = player_write;
	rig->player.peek = player_peek;
	rig->player.poke = player_poke;
	rig->player.turn = player_turn;
	rig->remote.start = remote_start;
	rig->remote.cancel = remote_cancel;
	rig->answering = rig->setup & SETUP_ANSWER;
	dma_set_remote(device_dma(rig->stage.dev), &rig->remote);
	wire_irqs(rig);
	map(rig);
	if (nvme && rig->setup & SETUP_ENABLED)
		player_enable(&rig->player);
}

/* As a session ends. */
static void end(struct rig *rig)
{
	struct dma_space *dma = device_dma(rig->stage.dev);

	dma_set_remote(dma, NULL);
	must(!rig->asked_count);
	stage_quiesce(&rig->stage);
	/* Nothing is pinned in a quiet device. */
	must(!rig->is_waiting);
	must(!dma_unmap_all(dma, &rig->waiter));
	pci_irq_set_sink(device_pci(rig->stage.dev), NULL);
	device_revoke(rig->stage.dev);
	device_release(rig->stage.dev, &rig->stage.hold);
	stage_end(&rig->stage);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct rig *rig;
	uint8_t which;

	if (size > MAX_INPUT)
		return 0;
	rig = calloc(1, sizeof(*rig));
	which = input_u8(&in);
	rig->setup = input_u8(&in);
	begin(rig, which);
	stage_drive_mode(&rig->stage, input_u8(&in) % DRIVE_MODES);
	for (unsigned i = 0; in.left && i < MAX_ACTIONS; i++)
		act(rig, &in);
	end(rig);
	free(rig);
	return 0;
}
