/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA from device to device: who reaches whom, who does not, and that nothing recurses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/bus.h"
#include "device/device.h"
#include "loop/loop.h"

enum {
	REGS = 0x10000,
	RAM = 0x4000,
	REG_TARGET = 0x00, /* 8 bytes: where a write to REG_GO sends 4 bytes */
	REG_GO = 0x08,
	REG_COUNT = 0x10, /* how often REG_GO was written */
	DEVICES = 4,
};

#define REGS_AT UINT64_C(0xe0000000)
#define RAM_AT UINT64_C(0x800000000)
#define ROM_AT UINT64_C(0xe8000000)
#define MEMORY_AT UINT64_C(0x100000)

struct peer {
	struct ob_dev *dev;
	struct ob_dma_op op;
	uint64_t target;
	uint32_t value, count;
	unsigned depth; /* of calls in each other */
	uint8_t regs[REGS];
};

static void peer_done(struct ob_dma_op *op, int status)
{
}

static uint64_t peer_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	struct peer *peer = ob_dev_runtime(dev);

	return offset == REG_COUNT ? peer->count : ob_get_le(peer->regs + offset, size);
}

static void peer_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct peer *peer = ob_dev_runtime(dev);

	assert_int_equal(peer->depth++, 0);
	ob_put_le(peer->regs + offset, value, size);
	if (offset == REG_TARGET)
		peer->target = ob_get_le64(peer->regs + REG_TARGET);
	if (offset == REG_GO) {
		peer->count++;
		peer->value = (uint32_t)value;
		ob_dma_cancel(dev, &peer->op);
		peer->op.done = peer_done;
		ob_dma_write(dev, peer->target, &peer->value, 4, &peer->op);
	}
	peer->depth--;
}

static void peer_reset(struct ob_dev *dev)
{
}

static void peer_quiesce(struct ob_dev *dev)
{
	struct peer *peer = ob_dev_runtime(dev);

	ob_dma_cancel(dev, &peer->op);
	ob_dev_quiet(dev);
}

static const uint8_t rom[4096] = {0x55, 0xaa, 7};

static const struct ob_model peer_model =
	{
		.name = "peer",
		.summary = "for tests",
		.runtime_size = sizeof(struct peer),
		.layout =
			{
				.ident = {.vendor = 0x1234, .device = 0x5678},
				.bars = {{.size = REGS,
                                          OB_WINDOWS({.max_access = 8,
                                                      .read = peer_read,
                                                      .write = peer_write})},
                                         {.size = 256,
                                          .flags = OB_BAR_IO,
                                          OB_WINDOWS({.min_access = 1,
                                                      .read = peer_read,
                                                      .write = peer_write})},
                                         [2] = {.size = RAM,
                                                .flags = OB_BAR_64,
                                                OB_WINDOWS({OB_WINDOW_MSIX_TABLE},
                                                           {OB_WINDOW_MEMORY, .offset = 64,
                                                            .size = 0x800 - 64},
                                                           {OB_WINDOW_MSIX_PBA, .offset = 0x800},
                                                           {OB_WINDOW_MEMORY, .offset = 0x808})}},
				.irqs = {.msix_vectors = 4},
				.rom = rom,
				.rom_size = sizeof(rom),
			},
		.reset = peer_reset,
		.quiesce = peer_quiesce,
};

struct world {
	struct ob_loop *loop;
	struct log log;
	struct device_bus bus[2];
	struct ob_dev *dev[DEVICES]; /* of bus 0: 0 to 2, of bus 1: 3 */
	uint8_t *memory[DEVICES];    /* of the clients of each, at MEMORY_AT */
	struct dma_waiter waiter;
	struct ob_dma_op op;
	int status;
};

static void set_config(struct ob_dev *dev, unsigned offset, uint64_t value, unsigned size)
{
	uint8_t bytes[8];

	ob_put_le(bytes, value, size);
	pci_config_write(device_pci(dev), offset, bytes, size);
}

/* As a guest programs it: number n of its bus. */
static void enable(struct ob_dev *dev, unsigned n)
{
	set_config(dev, PCI_BASE_ADDRESS_0, REGS_AT + (uint64_t)n * REGS, 4);
	set_config(dev, PCI_BASE_ADDRESS_2, RAM_AT + (uint64_t)n * RAM, 8);
	set_config(dev, PCI_ROM_ADDRESS, ROM_AT + (uint64_t)n * sizeof(rom) + 1, 4);
	set_config(dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
}

static void give_memory(struct world *world, unsigned n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 4096), 0);
	world->memory[n] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(world->memory[n], MAP_FAILED);
	memset(world->memory[n], 0x10 + (int)n, 4096);
	assert_int_equal(dma_map(device_dma(world->dev[n]), MEMORY_AT, 4096,
	                         DMA_READABLE | DMA_WRITEABLE, fd, 0),
	                 0);
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct device_env env = {0};

	world->log = (struct log){.fd = -1};
	world->loop = loop_new();
	env.loop = world->loop;
	env.log = &world->log;
	device_bus_init(&world->bus[0]);
	device_bus_init(&world->bus[1]);
	for (unsigned i = 0; i < DEVICES; i++) {
		struct opts opts = {0};
		struct ob_error err;

		world->dev[i] = device_new(&peer_model, "peer", &env, &opts, &err);
		assert_non_null(world->dev[i]);
		device_bus_add(&world->bus[i == 3], world->dev[i]);
		enable(world->dev[i], i == 3 ? 0 : i);
		give_memory(world, i);
	}
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	struct world *world = *state;
	for (unsigned i = 0; i < DEVICES; i++) {
		struct device_hold hold = {0};

		assert_int_equal(device_hold(world->dev[i], &hold, DEVICE_HOLD_UNPLUG), 0);
		assert_int_equal(dma_unmap_all(device_dma(world->dev[i]), &world->waiter), 0);
		device_free(world->dev[i]);
		munmap(world->memory[i], 4096);
	}
	loop_free(world->loop);
	free(world);
	return 0;
}

static void op_done(struct ob_dma_op *op, int status)
{
	((struct world *)((char *)op - offsetof(struct world, op)))->status = status;
}

static int wait_for(struct world *world, int rc)
{
	world->status = rc;
	for (int i = 0; i < 200 && world->status == -EINPROGRESS; i++)
		assert_int_equal(loop_turn(world->loop, 0), 0);
	return world->status;
}

static int from(struct world *world, unsigned n, uint64_t address, void *buffer, size_t length)
{
	world->op = (struct ob_dma_op){.done = op_done};
	return wait_for(world, ob_dma_read(world->dev[n], address, buffer, length, &world->op));
}

static int to(struct world *world, unsigned n, uint64_t address, const void *buffer, size_t length)
{
	world->op = (struct ob_dma_op){.done = op_done};
	return wait_for(world, ob_dma_write(world->dev[n], address, buffer, length, &world->op));
}

static struct peer *peer_of(struct world *world, unsigned n)
{
	return ob_dev_runtime(world->dev[n]);
}

/* The memory of the second device, MSI-X structures in its midst included. */
static uint8_t *ram_of(struct world *world)
{
	return (uint8_t *)ob_dev_memory(world->dev[1], 2, 0x1000) - 0x1000;
}

static void memory_of_a_neighbour_is_reached_at_once(void **state)
{
	struct world *world = *state;
	uint8_t *ram = ram_of(world);
	uint64_t at = RAM_AT + RAM + 0x1000;
	uint8_t buffer[16] = "abc";

	world->op = (struct ob_dma_op){.done = op_done};
	assert_int_equal(ob_dma_write(world->dev[0], at, "0123", 4, &world->op), 0);
	assert_memory_equal(ram + 0x1000, "0123", 4);
	assert_int_equal(ob_dma_read(world->dev[2], at, buffer, 4, &world->op), 0);
	assert_memory_equal(buffer, "0123", 4);
	/* Its own, too. */
	assert_int_equal(ob_dma_read(world->dev[1], at, buffer, 4, &world->op), 0);
	assert_memory_equal(buffer, "0123", 4);
	assert_null(ob_dma_direct(world->dev[0], at, 4, OB_DMA_FROM_CLIENT));
}

static void registers_are_reached_from_the_loop(void **state)
{
	struct world *world = *state;
	uint32_t value = 0;

	world->op = (struct ob_dma_op){.done = op_done};
	assert_int_equal(ob_dma_write(world->dev[0], REGS_AT + REGS + 0x100, "0123", 4, &world->op),
	                 -EINPROGRESS);
	assert_int_equal(ob_get_le32(peer_of(world, 1)->regs + 0x100), 0);
	assert_int_equal(wait_for(world, -EINPROGRESS), 0);
	assert_memory_equal(peer_of(world, 1)->regs + 0x100, "0123", 4);
	assert_int_equal(from(world, 2, REGS_AT + REGS + 0x100, &value, 4), 0);
	assert_memory_equal(&value, "0123", 4);
	assert_int_equal(to(world, 0, REGS_AT + REGS + 0x200, "xyz", 0), 0);
}

static void nothing_is_reached_that_is_switched_off(void **state)
{
	struct world *world = *state;
	uint8_t buffer[4];

	set_config(world->dev[1], PCI_COMMAND, 0, 2);
	assert_int_equal(from(world, 0, RAM_AT + RAM + 0x1000, buffer, 4), -EFAULT);
	assert_int_equal(from(world, 0, REGS_AT + REGS, buffer, 4), -EFAULT);
	set_config(world->dev[1], PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(from(world, 0, RAM_AT + RAM + 0x1000, buffer, 4), 0);
	set_config(world->dev[1], PCI_BASE_ADDRESS_0, 0, 4);
	assert_int_equal(from(world, 0, 0, buffer, 4), -EFAULT);
	/* A range is checked before any of it moves: the end is past the last BAR. */
	assert_int_equal(from(world, 0, RAM_AT + 3 * RAM - 2, buffer, 4), -EFAULT);
	assert_int_equal(from(world, 0, ROM_AT, buffer, 4), 0);
	assert_memory_equal(buffer, rom, 4);
	assert_int_equal(to(world, 0, ROM_AT, buffer, 4), -EFAULT);
}

static void what_vanishes_meanwhile_is_an_error(void **state)
{
	struct world *world = *state;

	world->op = (struct ob_dma_op){.done = op_done};
	assert_int_equal(ob_dma_write(world->dev[0], REGS_AT + REGS + 0x100, "0123", 4, &world->op),
	                 -EINPROGRESS);
	set_config(world->dev[1], PCI_COMMAND, 0, 2);
	assert_int_equal(wait_for(world, -EINPROGRESS), -EFAULT);
	assert_int_equal(ob_get_le32(peer_of(world, 1)->regs + 0x100), 0);
}

static void cancelled_is_cancelled(void **state)
{
	struct world *world = *state;
	struct ob_dma_op ops[3] = {{.done = peer_done}, {.done = peer_done}, {.done = peer_done}};

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ob_dma_write(world->dev[0], REGS_AT + REGS + 0x100 + 4 * i, "0123",
		                              4, &ops[i]),
		                 -EINPROGRESS);
	ob_dma_cancel(world->dev[0], &ops[2]);
	ob_dma_cancel(world->dev[0], &ops[0]);
	assert_int_equal(ob_dma_write(world->dev[0], REGS_AT + REGS + 0x10c, "0123", 4, &ops[2]),
	                 -EINPROGRESS);
	for (int i = 0; i < 5; i++)
		loop_turn(world->loop, 0);
	assert_memory_equal(peer_of(world, 1)->regs + 0x100,
	                    "\0\0\0\0"
	                    "0123\0\0\0\0"
	                    "0123",
	                    16);
}

static void long_accesses_take_several_turns(void **state)
{
	struct world *world = *state;
	uint8_t *bytes = malloc(REGS), *back = malloc(REGS);

	for (unsigned i = 0; i < REGS; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	world->op = (struct ob_dma_op){.done = op_done};
	assert_int_equal(ob_dma_write(world->dev[0], REGS_AT + REGS + 0x100, bytes, REGS - 0x100,
	                              &world->op),
	                 -EINPROGRESS);
	loop_turn(world->loop, 0);
	assert_int_equal(peer_of(world, 1)->regs[REGS - 1], 0);
	assert_int_equal(wait_for(world, -EINPROGRESS), 0);
	assert_int_equal(from(world, 0, REGS_AT + REGS + 0x100, back, REGS - 0x100), 0);
	assert_memory_equal(bytes, back, REGS - 0x100);
	free(bytes);
	free(back);
}

static void the_clients_memory_comes_first(void **state)
{
	struct world *world = *state;
	struct dma_space *space = device_dma(world->dev[0]);
	int fd = memfd_create("test", MFD_CLOEXEC);
	uint8_t bytes[0x3000], *ram = ram_of(world);

	/* In the midst of a BAR: an access goes from the BAR to the map and back. */
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(pwrite(fd, "client", 6, 0), 6);
	assert_int_equal(dma_map(space, RAM_AT + RAM + 0x2000, 4096, DMA_READABLE, fd, 0), 0);
	memset(ram, 0, 16); /* a table entry; the rest is memory */
	memset(ram + 0x1000, 0xbb, 0x3000);
	assert_int_equal(from(world, 0, RAM_AT + RAM + 0x1000, bytes, sizeof(bytes)), 0);
	assert_int_equal(bytes[0xfff], 0xbb);
	assert_memory_equal(bytes + 0x1000, "client", 6);
	assert_int_equal(bytes[0x2000], 0xbb);
	/* Where the client forbids it, the BAR is not the way around. */
	assert_int_equal(to(world, 0, RAM_AT + RAM + 0x2000, bytes, 16), -EFAULT);
	assert_int_equal(from(world, 2, RAM_AT + RAM + 0x2000, bytes, 16), 0);
	assert_int_equal(bytes[0], 0xbb);
}

static void msix_structures_are_reached_too(void **state)
{
	struct world *world = *state;
	uint8_t entry[16] = {0, 0, 0xe0, 0xfe}, back[16];

	assert_int_equal(to(world, 0, RAM_AT + RAM + 16, entry, sizeof(entry)), 0);
	assert_int_equal(device_region_read(world->dev[1], 2, 16, back, sizeof(back)), 0);
	assert_memory_equal(entry, back, sizeof(entry));
}

/* Two devices that write to each other's registers, and one that writes to its own. */
static void rings_turn_without_recursion(void **state)
{
	struct world *world = *state;
	uint64_t target[3] = {REGS_AT + REGS + REG_GO, REGS_AT + REG_GO,
	                      REGS_AT + 2 * REGS + REG_GO};

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(device_region_write(world->dev[i], 0, REG_TARGET, &target[i], 8),
		                 0);
		if (i)
			assert_int_equal(device_region_write(world->dev[i], 0, REG_GO, "go!", 4),
			                 0);
	}
	for (int i = 0; i < 100; i++)
		loop_turn(world->loop, 0);
	assert_true(peer_of(world, 0)->count > 10);
	assert_in_range(peer_of(world, 2)->count, 50, 100 * 17);
	assert_memory_equal(peer_of(world, 1)->regs + REG_GO, "go!", 4);
}

static void transfers_go_to_bars(void **state)
{
	struct world *world = *state;
	struct ob_dma_range ranges[3] = {
		{MEMORY_AT, 64}, {RAM_AT + RAM + 0x1000, 64}, {REGS_AT + REGS + 0x100, 64}};
	struct ob_xfer xfer = {0};

	assert_int_equal(ob_xfer_begin(world->dev[0], &xfer, ranges, 3, OB_DMA_TO_CLIENT), 0);
	assert_int_equal(xfer.iovcnt, 1);
	memset(xfer.iov[0].iov_base, 0x77, 192);
	assert_int_equal(ob_xfer_end(&xfer, 0), 0);
	xfer = (struct ob_xfer){0};
	assert_int_equal(ob_xfer_begin(world->dev[0], &xfer, ranges, 2, OB_DMA_TO_CLIENT), 0);
	memset(xfer.iov[0].iov_base, 0x77, 128);
	assert_int_equal(ob_xfer_end(&xfer, 1), 0);
	assert_int_equal(world->memory[0][63], 0x77);
	assert_int_equal((ram_of(world))[0x103f], 0x77);
	assert_int_equal((ram_of(world))[0x1040], 0);
}

/*
 * Two buses with BARs and memory at the same addresses: each byte that a device of one of them
 * writes is only there, and none that it reads is the other's.
 */
static void buses_never_meet(void **state)
{
	struct world *world = *state;
	static const uint64_t bars[] = {REGS_AT, RAM_AT, MEMORY_AT};
	static const size_t sizes[] = {REGS, RAM, 4096};
	uint8_t nowhere[4];

	for (unsigned i = 0; i < 3; i++) {
		/* Beyond the registers and the MSI-X structures that do something. */
		uint64_t begin = bars[i] == MEMORY_AT ? 0 : 0x1000;

		for (uint64_t at = begin; at < sizes[i]; at++) {
			uint8_t mine = (uint8_t)(at ^ (at >> 8)), other = (uint8_t)~mine, got[2];

			if (bars[i] == REGS_AT && at % 64)
				continue; /* each a turn of the loop: one in a line will do */
			assert_int_equal(to(world, 0, bars[i] + at, &mine, 1), 0);
			assert_int_equal(to(world, 3, bars[i] + at, &other, 1), 0);
			assert_int_equal(from(world, 0, bars[i] + at, &got[0], 1), 0);
			assert_int_equal(from(world, 3, bars[i] + at, &got[1], 1), 0);
			assert_int_equal(got[0], mine);
			assert_int_equal(got[1], other);
		}
	}
	/* What is on one bus only is nowhere on the other. */
	assert_int_equal(from(world, 3, REGS_AT + REGS, nowhere, 4), -EFAULT);
	device_bus_remove(world->dev[0]);
	assert_int_equal(from(world, 0, RAM_AT + 0x1000, nowhere, 4), -EFAULT);
	assert_int_equal(from(world, 2, RAM_AT + 0x1000, nowhere, 4), -EFAULT);
	assert_int_equal(from(world, 3, RAM_AT + 0x1000, nowhere, 4), 0);
}

#define test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(memory_of_a_neighbour_is_reached_at_once),
		test(registers_are_reached_from_the_loop),
		test(nothing_is_reached_that_is_switched_off),
		test(what_vanishes_meanwhile_is_an_error),
		test(cancelled_is_cancelled),
		test(long_accesses_take_several_turns),
		test(the_clients_memory_comes_first),
		test(msix_structures_are_reached_too),
		test(rings_turn_without_recursion),
		test(transfers_go_to_bars),
		test(buses_never_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
