/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions: how a client's accesses of any size and alignment become the aligned accesses that a
 * model takes, and who gets them: model, RAM, MSI-X structures, ROM, configuration space.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "device/device.h"
#include "loop/loop.h"
#include "probe.h"

static void read_log(struct probe *probe, unsigned bar, uint64_t offset, size_t length,
                     const char *expected)
{
	uint8_t data[64];

	probe_log_clear(probe);
	assert_int_equal(device_region_read(probe->dev, bar, offset, data, length), 0);
	assert_string_equal(probe_log(probe), expected);
	/* Each byte of BAR 0 reads as its own offset. */
	for (size_t i = 0; bar == 0 && i < length; i++)
		assert_int_equal(data[i], (offset + i) & 0xff);
}

static void a_read_is_cut_into_aligned_accesses(void **state)
{
	struct probe *probe = *state;

	read_log(probe, 0, 0, 4, "r0/4 ");
	read_log(probe, 0, 8, 8, "r8/8 ");
	read_log(probe, 0, 4, 8, "r4/4 r8/4 ");
	read_log(probe, 0, 4, 20, "r4/4 r8/8 r10/8 ");
}

static void a_narrow_read_takes_its_part_of_a_wider_one(void **state)
{
	struct probe *probe = *state;

	read_log(probe, 0, 1, 1, "r0/4 ");
	read_log(probe, 0, 3, 3, "r0/4 r4/4 ");
	read_log(probe, 0, 2, 2, "r0/4 ");
}

static void a_narrow_write_keeps_its_neighbours(void **state)
{
	struct probe *probe = *state;
	uint8_t byte = 0xaa;

	probe_log_clear(probe);
	assert_int_equal(device_region_write(probe->dev, 0, 5, &byte, 1), 0);
	assert_string_equal(probe_log(probe), "r4/4 w4/4=706aa04 ");
}

static void writes_are_cut_too(void **state)
{
	struct probe *probe = *state;
	const uint8_t data[12] = {1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0};

	probe_log_clear(probe);
	assert_int_equal(device_region_write(probe->dev, 0, 4, data, 12), 0);
	assert_string_equal(probe_log(probe), "w4/4=1 w8/8=300000002 ");
}

static void nothing_happens_past_the_end(void **state)
{
	struct probe *probe = *state;
	uint8_t data[8] = {0};

	probe_log_clear(probe);
	assert_int_equal(device_region_read(probe->dev, 0, PROBE_BAR_SIZE - 4, data, 8), -EINVAL);
	assert_int_equal(device_region_write(probe->dev, 0, PROBE_BAR_SIZE, data, 1), -EINVAL);
	assert_int_equal(device_region_read(probe->dev, 0, UINT64_MAX, data, 8), -EINVAL);
	assert_int_equal(device_region_read(probe->dev, 5, 0, data, 1), -EINVAL);
	assert_int_equal(device_region_read(probe->dev, 8, 0, data, 1), -EINVAL);
	assert_int_equal(device_region_read(probe->dev, 9, 0, data, 1), -EINVAL);
	assert_int_equal(device_region_read(probe->dev, UINT32_MAX, 0, data, 1), -EINVAL);
	assert_string_equal(probe_log(probe), "");
	assert_int_equal(device_region_read(probe->dev, 0, PROBE_BAR_SIZE, data, 0), 0);
}

static void ram_is_memory(void **state)
{
	struct probe *probe = *state;
	uint8_t data[7] = "0123456", back[7];

	assert_int_equal(device_region_write(probe->dev, 2, 33, data, sizeof(data)), 0);
	assert_int_equal(device_region_read(probe->dev, 2, 33, back, sizeof(back)), 0);
	assert_memory_equal(data, back, sizeof(data));
	assert_memory_equal((uint8_t *)ob_dev_memory(probe->dev, 2, 0) + 33, data, sizeof(data));
	device_reset(probe->dev);
	assert_int_equal(device_region_read(probe->dev, 2, 33, back, 1), 0);
	assert_int_equal(back[0], 0);
}

static void rom_reads_ones_behind_the_image(void **state)
{
	struct probe *probe = *state;
	struct device_region_info info;
	uint8_t data[4];

	device_region_info(probe->dev, DEVICE_REGION_ROM, &info);
	assert_int_equal(info.size, 4096);
	assert_true(info.readable);
	assert_false(info.writeable);
	assert_int_equal(device_region_read(probe->dev, 6, PROBE_ROM_SIZE - 2, data, 4), 0);
	assert_memory_equal(data, "\x5a\x5a\xff\xff", 4);
	assert_int_equal(device_region_write(probe->dev, 6, 0, data, 4), -EINVAL);
}

/* BAR 4 is made by the core: table at 0, pending bits behind; a read over both works. */
static void msix_structures_are_not_the_models(void **state)
{
	struct probe *probe = *state;
	uint32_t control = 0, entry[4];
	struct device_region_info info;
	static uint8_t all[65536];

	device_region_info(probe->dev, 4, &info);
	assert_true(info.size >= 8192 && info.size <= sizeof(all));
	assert_int_equal(device_region_read(probe->dev, 4, 0, entry, sizeof(entry)), 0);
	assert_int_equal(entry[3], 1);
	assert_int_equal(device_region_write(probe->dev, 4, 12, &control, 4), 0);
	assert_int_equal(device_region_read(probe->dev, 4, 0, all, info.size), 0);
	assert_int_equal(all[12], 0);
	assert_int_equal(all[28], 1);
}

static void config_space_is_a_region(void **state)
{
	struct probe *probe = *state;
	uint8_t id[4];

	assert_int_equal(device_region_read(probe->dev, DEVICE_REGION_CONFIG, 0, id, 4), 0);
	assert_memory_equal(id, "\x34\x12\x78\x56", 4);
	assert_int_equal(device_region_read(probe->dev, DEVICE_REGION_CONFIG, 4095, id, 2),
	                 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_is_cut_into_aligned_accesses),
		cmocka_unit_test(a_narrow_read_takes_its_part_of_a_wider_one),
		cmocka_unit_test(a_narrow_write_keeps_its_neighbours),
		cmocka_unit_test(writes_are_cut_too),
		cmocka_unit_test(nothing_happens_past_the_end),
		cmocka_unit_test(ram_is_memory),
		cmocka_unit_test(rom_reads_ones_behind_the_image),
		cmocka_unit_test(msix_structures_are_not_the_models),
		cmocka_unit_test(config_space_is_a_region),
	};

	return cmocka_run_group_tests(tests, probe_setup, probe_teardown);
}
