/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capabilities of a model's own: a device with those of a modern virtio device, whose fifth one
 * reaches into the BAR through configuration space (virtio 1.2, 4.1.4.9), and extended ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "device/device.h"
#include "loop/loop.h"

enum {
	REGS = 0x1000,
	CFG_BAR = 4, /* offsets in struct virtio_pci_cap */
	CFG_OFFSET = 8,
	CFG_LENGTH = 12,
	CFG_DATA = 16,
	CFG_SIZE = 20,
};

struct state {
	uint32_t regs[4];
	unsigned reads;
	uint32_t cfg_bar, cfg_offset, cfg_length;
};

static uint64_t regs_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	struct state *s = ob_dev_state(dev);

	s->reads++;
	return offset < sizeof(s->regs) ? s->regs[offset / 4] : 0;
}

static void regs_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct state *s = ob_dev_state(dev);

	if (offset < sizeof(s->regs))
		s->regs[offset / 4] = (uint32_t)value;
}

/* Bytes of pci_cfg_data are what stands in the BAR at the place that the driver chose. */
static void cfg_read(struct ob_dev *dev, unsigned offset, uint8_t *bytes, unsigned length)
{
	struct state *s = ob_dev_state(dev);
	uint8_t data[4] = {0};

	if (offset + length <= CFG_DATA || s->cfg_length > 4)
		return;
	ob_dev_bar_read(dev, s->cfg_bar, s->cfg_offset, data, s->cfg_length);
	for (unsigned i = 0; i < length; i++) {
		if (offset + i >= CFG_DATA)
			bytes[i] = data[offset + i - CFG_DATA];
	}
}

static void cfg_written(struct ob_dev *dev, unsigned offset, const uint8_t *bytes, unsigned length)
{
	struct state *s = ob_dev_state(dev);

	if (offset == CFG_BAR)
		s->cfg_bar = bytes[0];
	else if (offset == CFG_OFFSET)
		s->cfg_offset = ob_get_le32(bytes);
	else if (offset == CFG_LENGTH)
		s->cfg_length = ob_get_le32(bytes);
	else if (offset == CFG_DATA && s->cfg_length <= length)
		ob_dev_bar_write(dev, s->cfg_bar, s->cfg_offset, bytes, s->cfg_length);
}

static void reset(struct ob_dev *dev)
{
	memset(ob_dev_state(dev), 0, sizeof(struct state));
}

static const uint8_t common[16] = {[2] = 16, [3] = 1, [12] = 56};
static const uint8_t notify[20] = {[2] = 20, [3] = 2, [16] = 4};
static const uint8_t isr[16] = {[2] = 16, [3] = 3};
static const uint8_t device_config[16] = {[2] = 16, [3] = 4};
static const uint8_t cfg[CFG_SIZE] = {[2] = CFG_SIZE, [3] = 5};
static const uint8_t cfg_mask[CFG_SIZE] = {
	[4] = 0xff, [8] = 0xff, 0xff, 0xff, 0xff, [12] = 0xff, 0xff,
	0xff,       0xff,       0xff, 0xff, 0xff, 0xff};
static const uint8_t serial[12] = {[4] = 1, 2, 3, 4, 5, 6, 7, 8};

static const struct ob_capability capabilities[] = {
	{.id = PCI_CAP_ID_VNDR, .size = 16, .contents = common},
	{.id = PCI_CAP_ID_VNDR, .size = 20, .contents = notify},
	{.id = PCI_CAP_ID_VNDR, .size = 16, .contents = isr},
	{.id = PCI_CAP_ID_VNDR, .size = 16, .contents = device_config},
	{.id = PCI_CAP_ID_VNDR,
         .size = CFG_SIZE,
         .contents = cfg,
         .writable = cfg_mask,
         .read = cfg_read,
         .written = cfg_written},
	{.id = PCI_EXT_CAP_ID_DSN, .version = 1, .size = 12, .contents = serial},
	{.id = PCI_EXT_CAP_ID_VNDR, .version = 1, .place = 0x200, .size = 16},
};

static const struct ob_model virtio = {
	.name = "virtio-like",
	.summary = "for tests",
	.state_size = sizeof(struct state),
	.layout =
		{
			.ident = {.vendor = 0x1af4, .device = 0x1042},
			.bars = {[2] = {.size = REGS,
                                        OB_WINDOWS({.min_access = 4,
                                                    .read = regs_read,
                                                    .write = regs_write})}},
			.irqs = {.intx = true, .msix_vectors = 4, .msix_bar = 1},
			.pcie = true,
			.capabilities = capabilities,
			.ncapabilities = 7,
		},
	.reset = reset,
};

struct world {
	struct log log;
	struct ob_loop *loop;
	struct ob_dev *dev;
	struct ob_error err;
};

static struct ob_dev *make(struct world *world, const struct ob_model *model)
{
	struct device_env env = {.loop = world->loop, .log = &world->log};
	struct opts opts = {0};

	world->err.message[0] = '\0';
	return device_new(model, "v0", &env, &opts, &world->err);
}

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	world->log = (struct log){.fd = 2, .level = LOG_ERROR};
	world->loop = loop_new();
	world->dev = make(world, &virtio);
	if (!world->dev)
		fprintf(stderr, "%s\n", world->err.message);
	*state = world;
	return world->dev ? 0 : -1;
}

static int teardown(void **state)
{
	struct world *world = *state;

	device_free(world->dev);
	loop_free(world->loop);
	free(world);
	return 0;
}

static uint32_t get(struct world *world, unsigned offset, unsigned size)
{
	uint8_t bytes[4] = {0};

	assert_int_equal(device_region_read(world->dev, DEVICE_REGION_CONFIG, offset, bytes, size),
	                 0);
	return ob_get_le32(bytes);
}

static void put(struct world *world, unsigned offset, uint32_t value, unsigned size)
{
	uint8_t bytes[4];

	ob_put_le32(bytes, value);
	assert_int_equal(device_region_write(world->dev, DEVICE_REGION_CONFIG, offset, bytes, size),
	                 0);
}

/* The vendor's capability with this cfg_type, as a driver finds it; 0: there is none. */
static unsigned find(struct world *world, uint8_t type)
{
	unsigned at = get(world, PCI_CAPABILITY_LIST, 1), hops = 0;

	for (; at; at = get(world, at + PCI_CAP_LIST_NEXT, 1)) {
		assert_true(++hops < 48);
		assert_int_equal(at % 4, 0);
		if (get(world, at, 1) == PCI_CAP_ID_VNDR && get(world, at + 3, 1) == type)
			return at;
	}
	return 0;
}

static void each_is_found(void **state)
{
	struct world *world = *state;
	unsigned place[6];

	for (uint8_t type = 1; type <= 5; type++) {
		unsigned size = type == 2 || type == 5 ? 20 : 16;

		place[type] = find(world, type);
		assert_int_not_equal(place[type], 0);
		assert_true(place[type] + size <= 0x100);
		assert_int_equal(get(world, place[type] + 2, 1), size);
		for (uint8_t other = 1; other < type; other++)
			assert_true(place[type] >= place[other] + 16 ||
			            place[other] >= place[type] + size);
	}
	assert_int_equal(get(world, place[1] + 12, 4), 56);
	/* Fixed, but for where the mask lets writes through. */
	put(world, place[1] + 12, 0xffffffff, 4);
	assert_int_equal(get(world, place[1] + 12, 4), 56);
	put(world, place[5] + 2, 0xff, 1);
	assert_int_equal(get(world, place[5] + 2, 1), CFG_SIZE);
}

static void extended_ones_are_linked(void **state)
{
	struct world *world = *state;

	assert_int_equal(get(world, 0x100, 4), PCI_EXT_CAP_ID_DSN | 1 << 16 | 0x200u << 20);
	assert_int_equal(get(world, 0x104, 4), 0x04030201);
	assert_int_equal(get(world, 0x200, 4), PCI_EXT_CAP_ID_VNDR | 1 << 16);
}

static void a_bar_is_reached_through_configuration_space(void **state)
{
	struct world *world = *state;
	struct state *s = ob_dev_state(world->dev);
	unsigned at = find(world, 5);

	put(world, at + CFG_BAR, 2, 1);
	put(world, at + CFG_OFFSET, 8, 4);
	put(world, at + CFG_LENGTH, 4, 4);
	assert_int_equal(s->reads, 0);
	put(world, at + CFG_DATA, 0x11223344, 4);
	assert_int_equal(s->regs[2], 0x11223344);
	assert_int_equal(get(world, at + CFG_DATA, 4), 0x11223344);
	assert_int_equal(s->reads, 1);
	s->regs[2] = 7;
	assert_int_equal(get(world, at + CFG_DATA, 4), 7);
	/* A place that is not there. */
	put(world, at + CFG_OFFSET, REGS, 4);
	assert_int_equal(get(world, at + CFG_DATA, 4), 0);
	put(world, at + CFG_BAR, 9, 1);
	assert_int_equal(get(world, at + CFG_DATA, 4), 0);
	/* What a driver wrote stays until a reset. */
	assert_int_equal(get(world, at + CFG_BAR, 1), 9);
	device_reset(world->dev);
	assert_int_equal(get(world, at + CFG_BAR, 1), 0);
	assert_int_equal(find(world, 5), at);
}

static void a_read_of_everything_has_the_hook_s_bytes(void **state)
{
	struct world *world = *state;
	unsigned at = find(world, 5);
	uint8_t all[PCIE_CONFIG_SIZE];

	put(world, at + CFG_BAR, 2, 1);
	put(world, at + CFG_LENGTH, 4, 4);
	put(world, at + CFG_DATA, 0x55667788, 4);
	assert_int_equal(device_region_read(world->dev, DEVICE_REGION_CONFIG, 0, all, sizeof(all)),
	                 0);
	assert_int_equal(ob_get_le32(&all[at + CFG_DATA]), 0x55667788);
	assert_int_equal(get(world, at + CFG_DATA + 1, 2), 0x6677);
}

static void wrong_ones_are_refused(void **state)
{
	static const struct {
		struct ob_capability cap;
		const char *why;
	} bad[] = {
		{{.id = PCI_CAP_ID_MSI, .size = 8}, "is the core's"},
		{{.id = 0x100, .size = 8}, "id below 0x100"},
		{{.id = PCI_CAP_ID_VNDR, .size = 1}, "size: 2 to"},
		{{.id = PCI_CAP_ID_VNDR, .size = 193}, "size: 2 to 192"},
		{{.id = PCI_CAP_ID_VNDR, .size = 128}, "no room for 128 bytes"},
		{{.id = PCI_CAP_ID_VNDR, .place = 0x82, .size = 8}, "multiple of 4"},
		{{.id = PCI_CAP_ID_VNDR, .place = 0x40, .size = 8}, "taken until 0x48"},
		{{.id = PCI_CAP_ID_VNDR, .place = 0xfc, .size = 8}, "within 0x40 to 0x100"},
		{{.id = PCI_EXT_CAP_ID_DSN, .version = 1, .size = 3}, "size: 4 to"},
		{{.id = PCI_EXT_CAP_ID_DSN, .version = 16, .size = 12}, "version 1 to 15"},
		{{.id = PCI_EXT_CAP_ID_DSN, .version = 1, .place = 0x80, .size = 12},
	         "within 0x100"},
		{{.id = PCI_EXT_CAP_ID_DSN, .version = 1, .place = 0x104, .size = 12}, "at 0x100"},
	};
	struct world *world = *state;
	struct ob_model model = virtio;

	model.layout.ncapabilities = 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		model.layout.capabilities = &bad[i].cap;
		assert_null(make(world, &model));
		if (!strstr(world->err.message, bad[i].why))
			fail_msg("case %zu: '%s' is not in '%s'", i, bad[i].why,
			         world->err.message);
	}
	model.layout.pcie = false;
	assert_null(make(world, &model));
	assert_non_null(strstr(world->err.message, "need pcie"));
	model.layout.ncapabilities = 33;
	assert_null(make(world, &model));
	assert_non_null(strstr(world->err.message, "32 are the most"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(each_is_found),
		TEST(extended_ones_are_linked),
		TEST(a_bar_is_reached_through_configuration_space),
		TEST(a_read_of_everything_has_the_hook_s_bytes),
		TEST(wrong_ones_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
