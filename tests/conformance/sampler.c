/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sampler: a device that has one of everything the protocol can describe, for the tests of
 * conformance. It is built into a program of its own, beside the models that users have.
 *
 * BAR 0: registers, and memory at 0x1000 of 0x2000 bytes.
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
	FIRST = 0x100,
	SECOND = 0x104,
	THIRD = 0x108,
	OTHER_VALUES = 0x180,
	MATCHED_VALUE = 3,
	ROM_SIZE = 3000,
};

struct sampler_state {
	uint32_t rung[DOORBELLS];
	uint32_t other_values;
	uint8_t bytes[64];
};

static void ring(struct ob_dev *dev, unsigned number)
{
	struct sampler_state *s = ob_dev_state(dev);

	s->rung[number]++;
}

static void first_rang(struct ob_dev *dev, unsigned number)
{
	ring(dev, 0);
}

static void second_rang(struct ob_dev *dev, unsigned number)
{
	ring(dev, 1);
}

static void third_rang(struct ob_dev *dev, unsigned number)
{
	ring(dev, 2);
}

static void io_rang(struct ob_dev *dev, unsigned number)
{
	ring(dev, 3);
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

	if (offset == SECOND && value != MATCHED_VALUE)
		s->other_values++;
	else if (offset >= FIRST && offset <= THIRD)
		s->rung[(offset - FIRST) / 4]++;
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

static const struct ob_model sampler_model =
	{
		.name = "sampler",
		.summary = "for tests: one of everything",
		.state_size = sizeof(struct sampler_state),
		.layout =
			{
				.ident = {.vendor = 0x1234,
                                          .device = 0x5a5a,
                                          .class_code = 0x00ff00},
				.bars = {{.size = 4 * PAGE,
                                          OB_WINDOWS({.size = PAGE,
                                                      .read = registers_read,
                                                      .write = registers_write},
                                                     {OB_WINDOW_MEMORY, .offset = PAGE,
                                                      .size = 2 * PAGE},
                                                     {OB_WINDOW_DOORBELLS, .offset = FIRST,
                                                      .size = 4, .rang = first_rang},
                                                     {OB_WINDOW_DOORBELLS, .offset = SECOND,
                                                      .size = 4, .match = true,
                                                      .value = MATCHED_VALUE, .rang = second_rang},
                                                     {OB_WINDOW_DOORBELLS, .offset = THIRD,
                                                      .rang = third_rang})},
                                         {.size = 64,
                                          .flags = OB_BAR_IO,
                                          OB_WINDOWS({.min_access = 1,
                                                      .read = io_read,
                                                      .write = io_write},
                                                     {OB_WINDOW_DOORBELLS, .size = 1,
                                                      .rang = io_rang})},
                                         {.size = 16 * PAGE,
                                          .flags = OB_BAR_64,
                                          OB_WINDOWS({OB_WINDOW_MEMORY})},
                                         [4] =
                                                 {
							 .size = 8 * PAGE,
							 OB_WINDOWS(
								 {OB_WINDOW_MEMORY, .size = 2 * PAGE +
                                                                                            64},
								 {OB_WINDOW_MSIX_TABLE, .offset = 2 * PAGE +
                                                                                                  64},
								 {OB_WINDOW_MEMORY,
                                                                  .offset = 2 * PAGE + 128, .size = 3 * PAGE - 128},
								 {OB_WINDOW_MSIX_PBA, .offset =
                                                                                              5 *
                                                                                              PAGE},
								 {OB_WINDOW_MEMORY, .offset =
                                                                                            5 *
                                                                                                    PAGE +
                                                                                            8})}},
				.irqs = {.intx = true, .msix_vectors = 4},
				.rom = rom,
				.rom_size = ROM_SIZE,
				.regions = regions,
				.nregions = 2,
			},
		.reset = sampler_reset,
};

/* In place of the program's own list. */
const struct ob_model *const ob_models[] = {&sampler_model, NULL};
