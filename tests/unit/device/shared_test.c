/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client is given by descriptor: memory of BARs and eventfds of doorbells; and what it still
 * has of them when it is gone, which is nothing. Also regions that are no BAR.
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
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/device.h"
#include "loop/loop.h"

enum { PAGE = 4096, REGISTERS = 0, RAM = 2, RAM_WITH_MSIX = 4, OWN = DEVICE_REGIONS };

struct shelf_state {
	char log[512];
	bool slow;
};

#define note(dev, ...)                                                                             \
	do {                                                                                       \
		char *log_ = ((struct shelf_state *)ob_dev_state(dev))->log;                       \
		size_t used_ = strlen(log_);                                                       \
		snprintf(log_ + used_, 512 - used_, __VA_ARGS__);                                  \
	} while (0)

static uint64_t shelf_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	note(dev, "r%x/%u ", (unsigned)offset, size);
	return 0x1111111111111111;
}

static void shelf_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	note(dev, "w%x/%u=%llx ", (unsigned)offset, size, (unsigned long long)value);
}

static void shelf_rang(struct ob_dev *dev, unsigned number)
{
	note(dev, "rang%u ", number);
}

static void shelf_rang_match(struct ob_dev *dev, unsigned number)
{
	note(dev, "match%u ", number);
}

static void shelf_reset(struct ob_dev *dev)
{
	note(dev, "reset ");
}

static void shelf_quiesce(struct ob_dev *dev)
{
	if (!((struct shelf_state *)ob_dev_state(dev))->slow)
		ob_dev_quiet(dev);
}

static const struct ob_region own_regions[] = {
	{.type = 7, .subtype = 9, .size = 24, .read = shelf_read, .write = shelf_write},
	{.type = 7,
         .subtype = 10,
         .size = 3,
         .min_access = 1,
         .max_access = 1,
         .write = shelf_write},
	{.type = 7, .subtype = 11, .size = 8, .read = shelf_read},
};

enum { WINDOWS = 5, MEMORY = 1, RANG = 3, RANG_MATCH = 4 };

static const struct ob_window windows[WINDOWS] = {
	{OB_WINDOW_REGISTERS, 2, 4, .size = PAGE, .read = shelf_read, .write = shelf_write},
	{OB_WINDOW_MEMORY, 2, 4, .offset = PAGE, .size = 2 * PAGE, .write = shelf_write},
	{OB_WINDOW_REGISTERS, 2, 4, .offset = 3 * PAGE, .read = shelf_read, .write = shelf_write},
	{OB_WINDOW_DOORBELLS, .offset = 0x100, .size = 4, .rang = shelf_rang},
	{OB_WINDOW_DOORBELLS, .match = true, .offset = 0x104, .size = 4, .count = 2, .value = 3,
         .value_step = 7, .rang = shelf_rang_match},
};

static const struct ob_model shelf =
	{
		.name = "shelf",
		.summary = "for tests",
		.state_size = sizeof(struct shelf_state),
		.layout =
			{
				.ident = {.vendor = 0x1234, .device = 0x5678},
				.bars = {[REGISTERS] = {.size = 4 * PAGE,
                                                        .nwindows = WINDOWS,
                                                        .windows = windows},
                                         [RAM] = {.size = 2 * PAGE,
                                                  OB_WINDOWS({OB_WINDOW_MEMORY},
                                                             {OB_WINDOW_DOORBELLS,
                                                              .rang = shelf_rang})},
                                         [RAM_WITH_MSIX] =
                                                 {.size = 8 * PAGE,
                                                  OB_WINDOWS(
							  {OB_WINDOW_MEMORY, .size = 2 * PAGE + 64},
							  {OB_WINDOW_MSIX_TABLE, .offset = 2 * PAGE +
                                                                                           64},
							  {OB_WINDOW_MEMORY,
                                                           .offset = 2 *
                                                                             PAGE +
                                                                     128,
                                                           .size = 3 *
                                                                           PAGE -
                                                                   128},
							  {OB_WINDOW_MSIX_PBA, .offset = 5 * PAGE},
							  {OB_WINDOW_MEMORY, .offset = 5 * PAGE +
                                                                                       8})}},
				.irqs = {.msix_vectors = 4},
				.regions = own_regions,
				.nregions = 3,
			},
		.reset = shelf_reset,
		.quiesce = shelf_quiesce,
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
	return device_new(model, "s0", &env, &opts, &world->err);
}

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	world->log = (struct log){.fd = 2, .level = LOG_ERROR};
	world->loop = loop_new();
	world->dev = make(world, &shelf);
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

static struct shelf_state *shelf_of(struct world *world)
{
	return ob_dev_state(world->dev);
}

static void check_log(struct world *world, const char *expected)
{
	assert_string_equal(shelf_of(world)->log, expected);
	shelf_of(world)->log[0] = '\0';
}

/* The region as a client maps it. */
static uint8_t *map_region(struct world *world, unsigned region, size_t size)
{
	int fd = device_region_fd(world->dev, region);
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(bytes != MAP_FAILED);
	return bytes;
}

static void areas(void **state)
{
	struct world *world = *state;
	struct device_region_info info;

	device_region_info(world->dev, REGISTERS, &info);
	assert_int_equal(info.areas, 1);
	assert_int_equal(info.area[0].offset, PAGE);
	assert_int_equal(info.area[0].size, 2 * PAGE);
	device_region_info(world->dev, RAM, &info);
	assert_int_equal(info.areas, 1);
	assert_int_equal(info.area[0].size, 2 * PAGE);
	device_region_info(world->dev, RAM_WITH_MSIX, &info);
	assert_int_equal(info.areas, 3);
	assert_int_equal(info.area[0].size, 2 * PAGE);
	assert_int_equal(info.area[1].offset, 3 * PAGE);
	assert_int_equal(info.area[1].size, 2 * PAGE);
	assert_int_equal(info.area[2].offset, 6 * PAGE);
	assert_int_equal(info.area[2].size, 2 * PAGE);
	device_region_info(world->dev, DEVICE_REGION_CONFIG, &info);
	assert_int_equal(info.areas, 0);
}

static void messages_and_mappings_reach_the_same_bytes(void **state)
{
	struct world *world = *state;
	uint8_t *bytes = map_region(world, REGISTERS, 4 * PAGE);
	uint8_t *ours = ob_dev_memory(world->dev, REGISTERS, PAGE);
	uint8_t data[16];

	assert_int_equal(device_region_write(world->dev, REGISTERS, PAGE, "abcd", 4), 0);
	check_log(world, "w0/4=64636261 ");
	assert_memory_equal(bytes + PAGE, "abcd", 4);
	assert_memory_equal(ours, "abcd", 4);
	memcpy(bytes + PAGE + 4, "efgh", 4);
	assert_int_equal(device_region_read(world->dev, REGISTERS, PAGE, data, 8), 0);
	assert_memory_equal(data, "abcdefgh", 8);
	assert_memory_equal(ours + 4, "efgh", 4);
	check_log(world, "");
	munmap(bytes, 4 * PAGE);
}

static void a_narrow_write_tells_of_what_is_around_it(void **state)
{
	struct world *world = *state;
	uint8_t data[3];

	assert_int_equal(device_region_write(world->dev, REGISTERS, PAGE, "abcd", 4), 0);
	check_log(world, "w0/4=64636261 ");
	assert_int_equal(device_region_write(world->dev, REGISTERS, PAGE + 1, "XYZ", 3), 0);
	check_log(world, "w0/2=5861 w2/2=5a59 ");
	assert_int_equal(device_region_read(world->dev, REGISTERS, PAGE + 1, data, 3), 0);
	assert_memory_equal(data, "XYZ", 3);
}

static void an_access_across_the_edges_is_cut(void **state)
{
	struct world *world = *state;
	uint8_t data[8];

	assert_int_equal(device_region_write(world->dev, REGISTERS, PAGE - 4, "12345678", 8), 0);
	check_log(world, "wffc/4=34333231 w0/4=38373635 ");
	assert_int_equal(device_region_read(world->dev, REGISTERS, PAGE - 4, data, 8), 0);
	check_log(world, "rffc/4 ");
	assert_memory_equal(data + 4, "5678", 4);
	assert_int_equal(device_region_read(world->dev, REGISTERS, 3 * PAGE - 4, data, 8), 0);
	check_log(world, "r0/4 ");
}

static void reset_zeroes_it(void **state)
{
	struct world *world = *state;
	struct device_hold hold = {0};
	uint8_t *bytes = ob_dev_memory(world->dev, REGISTERS, PAGE);

	memset(bytes, 1, PAGE);
	memset(ob_dev_memory(world->dev, RAM, 0), 1, PAGE);
	assert_int_equal(device_hold(world->dev, &hold, DEVICE_HOLD_RESET), 0);
	device_reset(world->dev);
	device_release(world->dev, &hold);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(*(uint8_t *)ob_dev_memory(world->dev, RAM, 0), 0);
}

static void its_size_is_fixed(void **state)
{
	struct world *world = *state;

	assert_int_equal(ftruncate(device_region_fd(world->dev, RAM), 0), -1);
	assert_int_equal(ftruncate(device_region_fd(world->dev, RAM), 4 * PAGE), -1);
}

static void who_left_reaches_nothing(void **state)
{
	struct world *world = *state;
	uint8_t *mine = map_region(world, REGISTERS, 4 * PAGE), *next;
	uint8_t *ours = ob_dev_memory(world->dev, REGISTERS, PAGE);

	memcpy(mine + PAGE, "kept", 4);
	device_revoke(world->dev);
	memcpy(mine + PAGE, "evil", 4);
	assert_memory_equal(ours, "kept", 4);
	assert_ptr_equal(ob_dev_memory(world->dev, REGISTERS, PAGE), ours);
	next = map_region(world, REGISTERS, 4 * PAGE);
	memcpy(next + PAGE, "next", 4);
	assert_memory_equal(ours, "next", 4);
	assert_memory_equal(mine + PAGE, "evil", 4);
	munmap(mine, 4 * PAGE);
	munmap(next, 4 * PAGE);
}

static void what_was_not_given_is_left_as_it_is(void **state)
{
	struct world *world = *state;
	uint8_t *mine = map_region(world, RAM, 2 * PAGE);

	device_revoke(world->dev);
	munmap(mine, 2 * PAGE);
	mine = map_region(world, RAM, 2 * PAGE);
	device_revoke(world->dev);
	device_revoke(world->dev);
	memcpy(mine, "evil", 4);
	assert_memory_not_equal(ob_dev_memory(world->dev, RAM, 0), "evil", 4);
	munmap(mine, 2 * PAGE);
}

static void regions_of_its_own(void **state)
{
	struct world *world = *state;
	struct device_region_info info;
	uint8_t data[24];

	assert_int_equal(device_regions(world->dev), DEVICE_REGIONS + 3);
	device_region_info(world->dev, OWN, &info);
	assert_true(info.typed && info.readable && info.writeable);
	assert_int_equal(info.size, 24);
	assert_int_equal(info.type, 7);
	assert_int_equal(info.subtype, 9);
	assert_int_equal(device_region_read(world->dev, OWN, 16, data, 8), 0);
	check_log(world, "r10/4 r14/4 ");
	assert_int_equal(device_region_read(world->dev, OWN, 20, data, 8), -EINVAL);
	assert_int_equal(device_region_write(world->dev, OWN + 1, 0, "abc", 3), 0);
	check_log(world, "w0/1=61 w1/1=62 w2/1=63 ");
	assert_int_equal(device_region_read(world->dev, OWN + 1, 0, data, 1), -EINVAL);
	assert_int_equal(device_region_write(world->dev, OWN + 2, 0, data, 1), -EINVAL);
	assert_int_equal(device_region_read(world->dev, OWN + 3, 0, data, 1), -EINVAL);
}

static int fd_of(struct world *world, unsigned index)
{
	return device_doorbell_fd(world->dev, index);
}

static void doorbells_by_region(void **state)
{
	struct world *world = *state;
	struct device_doorbell list[4];

	assert_int_equal(device_doorbells(world->dev, REGISTERS, list, 4), 3);
	assert_int_equal(list[0].offset, 0x100);
	assert_false(list[0].match);
	for (unsigned i = 1; i < 3; i++) { /* two values at one place */
		assert_int_equal(list[i].index, i);
		assert_int_equal(list[i].offset, 0x104);
		assert_true(list[i].match);
		assert_int_equal(list[i].value, 3 + 7 * (i - 1));
	}
	assert_int_equal(device_doorbells(world->dev, REGISTERS, list, 1), 1);
	assert_int_equal(device_doorbells(world->dev, RAM, list, 4), 1);
	assert_int_equal(list[0].index, 3);
	assert_int_equal(list[0].size, 0);
	assert_int_equal(device_doorbells(world->dev, OWN, list, 4), 0);
	assert_int_equal(fd_of(world, 0), fd_of(world, 0));
	assert_int_not_equal(fd_of(world, 0), fd_of(world, 1));
}

static void each_ring_is_heard(void **state)
{
	struct world *world = *state;
	int fd = fd_of(world, 0);

	fd_of(world, 1);
	loop_turn(world->loop, 0);
	check_log(world, "");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(eventfd_write(fd, 1), 0);
		loop_turn(world->loop, 0);
		check_log(world, "rang0 ");
		loop_turn(world->loop, 0);
		check_log(world, "");
	}
	/* Though nothing is read, nothing is lost when a client reads, nor when it does not. */
	eventfd_write(fd, 1);
	eventfd_write(fd, 5);
	loop_turn(world->loop, 0);
	check_log(world, "rang0 ");
}

static void rings_wait_while_the_device_is_quiet(void **state)
{
	struct world *world = *state;
	struct device_hold hold = {0};
	int fd = fd_of(world, 1);

	assert_int_equal(device_hold(world->dev, &hold, DEVICE_HOLD_RESET), 0);
	eventfd_write(fd, 1);
	loop_turn(world->loop, 0);
	check_log(world, "");
	device_release(world->dev, &hold);
	check_log(world, "match0 ");
	assert_int_equal(device_hold(world->dev, &hold, DEVICE_HOLD_RESET), 0);
	eventfd_write(fd, 1);
	loop_turn(world->loop, 0);
	device_reset(world->dev);
	device_release(world->dev, &hold);
	check_log(world, "reset ");
}

static void who_left_rings_in_vain(void **state)
{
	struct world *world = *state;
	int mine = dup(fd_of(world, 0));

	device_revoke(world->dev);
	eventfd_write(mine, 1);
	loop_turn(world->loop, 0);
	check_log(world, "");
	eventfd_write(fd_of(world, 0), 1);
	loop_turn(world->loop, 0);
	check_log(world, "rang0 ");
	close(mine);
}

static void a_bar_without_windows(void **state)
{
	struct world *world = *state;
	static struct ob_model model;
	uint8_t data[16];

	device_free(world->dev);
	model = shelf;
	model.layout.bars[REGISTERS].nwindows = 0;
	world->dev = make(world, &model);
	assert_non_null(world->dev);
	assert_int_equal(device_region_write(world->dev, REGISTERS, PAGE - 4, "12345678", 8), 0);
	memset(data, 1, sizeof(data));
	assert_int_equal(device_region_read(world->dev, REGISTERS, PAGE - 4, data, 16), 0);
	assert_memory_equal(data, (uint8_t[16]){0}, 16);
	assert_int_equal(device_region_read(world->dev, REGISTERS, 4 * PAGE - 4, data, 8), -EINVAL);
	assert_null(ob_dev_memory(world->dev, REGISTERS, PAGE));
	check_log(world, "");
}

static void memory_is_found_by_its_place(void **state)
{
	struct world *world = *state;
	uint8_t *bytes = ob_dev_memory(world->dev, REGISTERS, PAGE);

	assert_ptr_equal(ob_dev_memory(world->dev, REGISTERS, 3 * PAGE - 1), bytes + 2 * PAGE - 1);
	assert_null(ob_dev_memory(world->dev, REGISTERS, PAGE - 1));
	assert_null(ob_dev_memory(world->dev, REGISTERS, 3 * PAGE));
	assert_null(ob_dev_memory(world->dev, REGISTERS, UINT64_MAX));
	assert_null(ob_dev_memory(world->dev, RAM_WITH_MSIX, 2 * PAGE + 64));
	assert_null(ob_dev_memory(world->dev, 6, 0));
}

static void layouts_are_checked(void **state)
{
	struct world *world = *state;
	struct ob_region region = own_regions[0];
	struct ob_window mine[WINDOWS];
	struct ob_model model = shelf;
	const struct {
		void *field;
		uint64_t value;
		size_t size;
		const char *why;
	} bad[] = {
		{&mine[MEMORY].offset, 100, 8, "multiples of 8"},
		{&mine[MEMORY].size, 100, 8, "multiples of 8"},
		{&mine[MEMORY].size, 4 * PAGE, 8, "not within"},
		{&mine[MEMORY].offset, PAGE - 8, 8, "overlap"},
		{&mine[MEMORY].kind, 5, sizeof(enum ob_window_kind), "unknown kind"},
		{&mine[MEMORY].kind, OB_WINDOW_MSIX_PBA, sizeof(enum ob_window_kind),
	         "one of each"},
		{&mine[2].offset, 3 * PAGE + 1, 8, "multiples of min_access"},
		{&mine[2].offset, 4 * PAGE, 8, "not within"},
		{&mine[2].min_access, 3, 1, "access sizes"},
		{&mine[2].min_access, 8, 1, "above max_access"},
		{&model.layout.nregions, 65, sizeof(unsigned), "regions"},
		{&model.layout.bars[REGISTERS].nwindows, 65, sizeof(unsigned), "64 is the most"},
		{&model.layout.bars[5].nwindows, 1, sizeof(unsigned), "no size"},
		{&region.size, 0, 8, "size"},
		{&region.size, 5, 8, "size"},
		{&region.min_access, 3, 1, "access sizes"},
		{&region.min_access, 8, 1, "access sizes"},
		{&region.read, 0, sizeof(region.read), "read"},
		{&mine[RANG].rang, 0, sizeof(mine[RANG].rang), "rang"},
		{&mine[RANG].offset, 4 * PAGE - 3, 8, "not within"},
		{&mine[RANG].size, 3, 8, "1, 2, 4 or 8"},
		{&mine[RANG].count, 65537, 4, "65536"},
		{&mine[RANG].count, 65536, 4, "doorbells"},
		{&mine[RANG_MATCH].stride, 4 * PAGE, 4, "not within"},
		{&mine[RANG_MATCH].size, 0, 8, "without match"},
	};

	memcpy(mine, windows, sizeof(mine));
	model.layout.bars[REGISTERS].windows = mine;
	model.layout.regions = &region;
	model.layout.nregions = 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t before[8];

		memcpy(before, bad[i].field, bad[i].size);
		memcpy(bad[i].field, &bad[i].value, bad[i].size);
		assert_null(make(world, &model));
		if (!strstr(world->err.message, bad[i].why))
			fail_msg("case %zu: '%s' is not in '%s'", i, bad[i].why,
			         world->err.message);
		memcpy(bad[i].field, before, bad[i].size);
	}
	device_free(make(world, &model));
	assert_int_equal(world->err.message[0], '\0');
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(areas),
		TEST(messages_and_mappings_reach_the_same_bytes),
		TEST(a_narrow_write_tells_of_what_is_around_it),
		TEST(an_access_across_the_edges_is_cut),
		TEST(reset_zeroes_it),
		TEST(its_size_is_fixed),
		TEST(who_left_reaches_nothing),
		TEST(what_was_not_given_is_left_as_it_is),
		TEST(regions_of_its_own),
		TEST(doorbells_by_region),
		TEST(each_ring_is_heard),
		TEST(rings_wait_while_the_device_is_quiet),
		TEST(who_left_rings_in_vain),
		TEST(a_bar_without_windows),
		TEST(memory_is_found_by_its_place),
		TEST(layouts_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
