/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sampler: a device that has one of everything the protocol can describe, for the tests of
 * conformance. It is built into a program of its own, beside the models that users have.
 *
 * BAR 0: registers, and a shared area at 0x1000 of 0x2000 bytes.
 *  - 0x00, 0x04, 0x08: how often the doorbell of 0x100, 0x104, 0x108 rang or was written
 *  - 0x0c: the same of the I/O BAR's doorbell
 *  - 0x100: doorbell, writes of 4 bytes
 *  - 0x104: doorbell, writes of 4 bytes with value 3; others count at 0x180
 *  - 0x108: doorbell, writes of any size
 *
 * BAR 1: I/O, a doorbell of 1 byte at 0. BAR 2: memory, all of which can be mapped. BAR 4: memory,
 * which can be mapped around the MSI-X structures in its midst. ROM: 3000 bytes. And two regions
 * beside those: 64 bytes to read and write, 24 bytes to read.
 */
#include "outboard/device.h"

enum {
	PAGE = 4096,
	DOORBELLS = 4,
	OTHER_VALUES = 0x180,
	MATCHED_VALUE = 3,
	ROM_SIZE = 3000,
};

struct sampler_state {
	uint32_t rung[DOORBELLS];
	uint32_t other_values;
	uint8_t bytes[64];
};

static const struct ob_doorbell doorbells[DOORBELLS] = {
	{.bar = 0, .offset = 0x100, .size = 4},
	{.bar = 0, .offset = 0x104, .size = 4, .match = true, .value = MATCHED_VALUE},
	{.bar = 0, .offset = 0x108},
	{.bar = 1, .offset = 0, .size = 1},
};

static void sampler_rang(struct ob_dev *dev, const struct ob_doorbell *doorbell)
{
	struct sampler_state *s = ob_dev_state(dev);

	s->rung[doorbell - doorbells]++;
}

static uint64_t registers_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	const struct sampler_state *s = ob_dev_state(dev);

	if (offset == OTHER_VALUES)
		return s->other_values;
	return offset < sizeof(s->rung) ? s->rung[offset / sizeof(s->rung[0])] : 0;
}

static void registers_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct sampler_state *s = ob_dev_state(dev);

	if (offset == doorbells[1].offset && value != MATCHED_VALUE)
		s->other_values++;
	else if (offset >= doorbells[0].offset && offset <= doorbells[2].offset)
		s->rung[(offset - doorbells[0].offset) / 4]++;
}

static uint64_t io_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	return 0;
}

static void io_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct sampler_state *s = ob_dev_state(dev);

	if (!offset)
		s->rung[3]++;
}

static uint64_t bytes_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	const struct sampler_state *s = ob_dev_state(dev);

	return ob_get_le(s->bytes + offset, size);
}

static void bytes_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct sampler_state *s = ob_dev_state(dev);

	ob_put_le(s->bytes + offset, value, size);
}

static void sampler_reset(struct ob_dev *dev)
{
	struct sampler_state *s = ob_dev_state(dev);

	*s = (struct sampler_state){0};
}

static const uint8_t rom[ROM_SIZE] = {0x55, 0xaa, [ROM_SIZE - 1] = 0x77};

static const struct ob_region regions[] = {
	{.type = 7,
         .subtype = 1,
         .size = 64,
         .min_access = 1,
         .max_access = 8,
         .read = bytes_read,
         .write = bytes_write},
	{.type = 7, .subtype = 2, .size = 24, .min_access = 1, .max_access = 8, .read = bytes_read},
};

static const struct ob_model sampler_model = {
	.name = "sampler",
	.summary = "for tests: one of everything",
	.state_size = sizeof(struct sampler_state),
	.layout =
		{
			.ident = {.vendor = 0x1234, .device = 0x5a5a, .class_code = 0x00ff00},
			.bars = {{.size = 4 * PAGE,
                                  .read = registers_read,
                                  .write = registers_write,
                                  .shared = {PAGE, 2 * PAGE}},
                                 {.size = 64,
                                  .flags = OB_BAR_IO,
                                  .min_access = 1,
                                  .read = io_read,
                                  .write = io_write},
                                 {.size = 16 * PAGE, .flags = OB_BAR_RAM | OB_BAR_64},
                                 [4] = {.size = 8 * PAGE, .flags = OB_BAR_RAM}},
			.irqs = {.intx = true,
                                 .msix_vectors = 4,
                                 .msix_bar = 4,
                                 .msix_table = 2 * PAGE + 64,
                                 .msix_pba = 5 * PAGE},
			.rom = rom,
			.rom_size = ROM_SIZE,
			.regions = regions,
			.nregions = 2,
			.doorbells = doorbells,
			.ndoorbells = DOORBELLS,
		},
	.reset = sampler_reset,
	.rang = sampler_rang,
};

/* In place of the program's own list. */
const struct ob_model *const ob_models[] = {&sampler_model, NULL};
