/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client is told of regions that it can map, of regions beside the BARs, and of doorbells.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/eventfd.h>

#include "rig.h"

enum { PAGE = 4096, OWN = DEVICE_REGIONS, DOORBELLS = 70 };

static unsigned rings;

static uint64_t read_nothing(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	return 0;
}

static void write_nothing(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
}

static void reset_nothing(struct ob_dev *dev)
{
}

static void count_rings(struct ob_dev *dev, unsigned number)
{
	rings++;
}

static const struct ob_region own_regions[] = {
	{.type = 7, .subtype = 9, .size = 64, .read = read_nothing},
};

#define REGISTERS                                                                                  \
	{                                                                                          \
		.read = read_nothing, .write = write_nothing                                       \
	}

static const struct ob_model shelf =
	{
		.name = "shelf",
		.summary = "for tests",
		.state_size = sizeof(struct rig_state),
		.runtime_size = sizeof(struct rig_runtime),
		.layout =
			{
				.ident = {.vendor = 0x1234, .device = 0x5678},
				.bars = {[0] = {.size = 2 * PAGE,
                                                OB_WINDOWS({.size = PAGE,
                                                            .read = read_nothing,
                                                            .write = write_nothing},
                                                           {OB_WINDOW_MEMORY, .offset = PAGE},
                                                           {OB_WINDOW_DOORBELLS, .offset = 8,
                                                            .rang = count_rings})},
                                         [1] = {.size = 16,
                                                .flags = OB_BAR_IO,
                                                OB_WINDOWS(
							REGISTERS, {OB_WINDOW_DOORBELLS,
                                                                    .offset = 4, .size = 4, .match = true,
                                                                    .value = 0x1122334455667788,
                                                                    .rang = count_rings})},
                                         [2] = {.size = 2 * PAGE, OB_WINDOWS({OB_WINDOW_MEMORY})},
                                         [3] =
                                                 {.size = PAGE,
                                                  OB_WINDOWS(
							  REGISTERS, {OB_WINDOW_DOORBELLS,
                                                                      .size = 4, .count = DOORBELLS,
                                                                      .stride = 4, .rang = count_rings})},
                                         [4] =
                                                 {
							 .size = 4 * PAGE,
							 OB_WINDOWS(
								 {OB_WINDOW_MEMORY, .size = PAGE},
								 {OB_WINDOW_MSIX_TABLE, .offset =
                                                                                                PAGE},
								 {OB_WINDOW_MSIX_PBA, .offset =
                                                                                              PAGE +
                                                                                              64},
								 {OB_WINDOW_MEMORY, .offset =
                                                                                            PAGE +
                                                                                            72})},
                                         [5] = {.size = 16, OB_WINDOWS({OB_WINDOW_MEMORY})}},
				.irqs = {.msix_vectors = 4},
				.regions = own_regions,
				.nregions = 1,
			},
		.reset = reset_nothing,
};

static int set_up(void **state)
{
	rings = 0;
	rig_set_up_with(state, &shelf);
	rig_negotiate(*state, "{\"capabilities\":{\"max_msg_fds\":16}}");
	return 0;
}

static struct wire_region_info ask(struct rig *rig, uint32_t index, uint32_t argsz)
{
	struct wire_region_info info = {.argsz = argsz, .index = index};

	assert_int_equal(rig_call(rig, WIRE_GET_REGION_INFO, &info, sizeof(info)), 0);
	assert_true(rig->length >= sizeof(info));
	memcpy(&info, rig->data, sizeof(info));
	assert_int_equal(info.index, index);
	return info;
}

static void a_region_that_can_be_mapped_whole(void **state)
{
	struct rig *rig = *state;
	struct wire_region_info info = ask(rig, 2, 32);
	void *bytes;

	assert_int_equal(rig->length, 32);
	assert_int_equal(info.argsz, 32);
	assert_int_equal(info.flags,
	                 WIRE_REGION_READABLE | WIRE_REGION_WRITEABLE | WIRE_REGION_MMAP);
	assert_int_equal(info.cap_offset, 0);
	assert_int_equal(rig->fd_count, 1);
	bytes = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, rig->fds[0],
	             (off_t)info.offset);
	assert_true(bytes != MAP_FAILED);
	memcpy(bytes, "here", 4);
	assert_memory_equal(ob_dev_memory(rig->dev, 2, 0), "here", 4);
	munmap(bytes, info.size);
}

static void too_small_for_a_page(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(ask(rig, 5, 32).flags, WIRE_REGION_READABLE | WIRE_REGION_WRITEABLE);
	assert_int_equal(rig->fd_count, 0);
}

static void a_region_with_an_area(void **state)
{
	struct rig *rig = *state;
	struct wire_region_info info = ask(rig, 0, 64);
	struct wire_cap_sparse_mmap cap;
	struct wire_sparse_area area;

	assert_int_equal(rig->length, 64);
	assert_int_equal(info.argsz, 64);
	assert_int_equal(info.flags, WIRE_REGION_READABLE | WIRE_REGION_WRITEABLE |
	                                     WIRE_REGION_MMAP | WIRE_REGION_CAPS);
	assert_int_equal(info.cap_offset, 32);
	assert_int_equal(rig->fd_count, 1);
	memcpy(&cap, rig->data + 32, sizeof(cap));
	memcpy(&area, rig->data + 48, sizeof(area));
	assert_int_equal(cap.header.id, 1);
	assert_int_equal(cap.header.version, 1);
	assert_int_equal(cap.header.next, 0);
	assert_int_equal(cap.nr_areas, 1);
	assert_int_equal(cap.reserved, 0);
	assert_int_equal(area.offset, PAGE);
	assert_int_equal(area.size, PAGE);
}

static void areas_around_msix(void **state)
{
	struct rig *rig = *state;
	struct wire_region_info info = ask(rig, 4, 4096);
	struct wire_sparse_area areas[2];

	assert_int_equal(info.argsz, 32 + 16 + 2 * 16);
	assert_int_equal(rig->length, info.argsz);
	memcpy(areas, rig->data + 48, sizeof(areas));
	assert_int_equal(areas[0].offset, 0);
	assert_int_equal(areas[0].size, PAGE);
	assert_int_equal(areas[1].offset, 2 * PAGE);
	assert_int_equal(areas[1].size, 2 * PAGE);
}

static void too_little_room_tells_how_much_is_needed(void **state)
{
	struct rig *rig = *state;

	for (uint32_t argsz = 32; argsz < 64; argsz++) {
		struct wire_region_info info = ask(rig, 0, argsz);

		assert_int_equal(rig->length, 32);
		assert_int_equal(info.argsz, 64);
		assert_int_equal(info.flags, WIRE_REGION_READABLE | WIRE_REGION_WRITEABLE);
		assert_int_equal(info.cap_offset, 0);
		assert_int_equal(info.size, 2 * PAGE);
		assert_int_equal(rig->fd_count, 0);
	}
}

static void who_takes_no_descriptors_maps_nothing(void **state)
{
	struct rig *rig = *state;

	rig_restart(rig, "{\"capabilities\":{\"max_msg_fds\":0}}");
	assert_int_equal(ask(rig, 2, 64).flags, WIRE_REGION_READABLE | WIRE_REGION_WRITEABLE);
	assert_int_equal(ask(rig, 0, 64).argsz, 32);
	assert_int_equal(rig->fd_count, 0);
}

static void a_region_of_its_own(void **state)
{
	struct rig *rig = *state;
	struct wire_device_info device = {.argsz = 16};
	struct wire_region_info info;
	struct wire_region_access access = {0, OWN, 8};
	struct wire_cap_type cap;

	assert_int_equal(rig_call(rig, WIRE_GET_INFO, &device, sizeof(device)), 0);
	memcpy(&device, rig->data, sizeof(device));
	assert_int_equal(device.num_regions, OWN + 1);
	info = ask(rig, OWN, 32);
	assert_int_equal(info.argsz, 48);
	assert_int_equal(info.flags, WIRE_REGION_READABLE);
	info = ask(rig, OWN, 48);
	assert_int_equal(rig->length, 48);
	assert_int_equal(info.flags, WIRE_REGION_READABLE | WIRE_REGION_CAPS);
	assert_int_equal(info.size, 64);
	assert_int_equal(info.cap_offset, 32);
	memcpy(&cap, rig->data + 32, sizeof(cap));
	assert_int_equal(cap.header.id, 2);
	assert_int_equal(cap.header.version, 1);
	assert_int_equal(cap.header.next, 0);
	assert_int_equal(cap.type, 7);
	assert_int_equal(cap.subtype, 9);
	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &access, sizeof(access)), 0);
	access.region = OWN + 1;
	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &access, sizeof(access)), EINVAL);
	info = (struct wire_region_info){.argsz = 32, .index = OWN + 1};
	assert_int_equal(rig_call(rig, WIRE_GET_REGION_INFO, &info, sizeof(info)), EINVAL);
}

static struct wire_region_io_fds ask_fds(struct rig *rig, uint32_t index, uint32_t argsz)
{
	struct wire_region_io_fds info = {.argsz = argsz, .index = index};

	assert_int_equal(rig_call(rig, WIRE_GET_REGION_IO_FDS, &info, sizeof(info)), 0);
	memcpy(&info, rig->data, sizeof(info));
	assert_int_equal(info.flags, 0);
	assert_int_equal(info.index, index);
	return info;
}

static void doorbells_are_told(void **state)
{
	struct rig *rig = *state;
	struct wire_region_io_fds info = ask_fds(rig, 1, 56);
	struct wire_io_fd fd;

	assert_int_equal(info.argsz, 56);
	assert_int_equal(info.count, 1);
	assert_int_equal(rig->length, 56);
	memcpy(&fd, rig->data + 16, sizeof(fd));
	assert_int_equal(fd.offset, 4);
	assert_int_equal(fd.size, 4);
	assert_int_equal(fd.fd_index, 0);
	assert_int_equal(fd.type, WIRE_IO_FD_IOEVENTFD);
	assert_int_equal(fd.flags, WIRE_IOEVENTFD_DATAMATCH | WIRE_IOEVENTFD_PIO);
	assert_true(fd.datamatch == 0x1122334455667788);
	assert_int_equal(rig->fd_count, 1);
	eventfd_write(rig->fds[0], 1);
	rig_turns(rig);
	assert_int_equal(rings, 1);
	ask_fds(rig, 0, 56);
	memcpy(&fd, rig->data + 16, sizeof(fd));
	assert_int_equal(fd.offset, 8);
	assert_int_equal(fd.size, 0);
	assert_int_equal(fd.flags, 0);
}

static void doorbells_are_made_when_there_is_room(void **state)
{
	struct rig *rig = *state;
	int before = rig_open_fds();
	struct wire_region_io_fds info = ask_fds(rig, 1, 55);

	assert_int_equal(info.argsz, 56);
	assert_int_equal(info.count, 1);
	assert_int_equal(rig->length, 16);
	assert_int_equal(rig->fd_count, 0);
	assert_int_equal(rig_open_fds(), before);
}

static void as_many_doorbells_as_a_message_takes(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(ask_fds(rig, 3, 65536).count, 16);
	assert_int_equal(rig->fd_count, 16);
	rig_restart(rig, "{\"capabilities\":{\"max_msg_fds\":1000}}");
	assert_int_equal(ask_fds(rig, 3, 65536).count, 64);
	assert_int_equal(rig->fd_count, 64);
	assert_int_equal(ask_fds(rig, OWN, 65536).count, 0);
	rig_restart(rig, "{\"capabilities\":{\"max_msg_fds\":0}}");
	assert_int_equal(ask_fds(rig, 3, 65536).count, 0);
}

static void the_end_takes_it_all_back(void **state)
{
	struct rig *rig = *state;
	uint8_t *bytes;
	int fd;

	ask(rig, 2, 32);
	bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, rig->fds[0], 0);
	assert_true(bytes != MAP_FAILED);
	ask_fds(rig, 1, 56);
	fd = dup(rig->fds[0]);
	memcpy(bytes, "kept", 4);
	rig_restart(rig, "{}");
	memcpy(bytes, "evil", 4);
	eventfd_write(fd, 1);
	rig_turns(rig);
	assert_int_equal(rings, 0);
	assert_memory_equal(ob_dev_memory(rig->dev, 2, 0), "kept", 4);
	munmap(bytes, PAGE);
	close(fd);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_region_that_can_be_mapped_whole),
		test(too_small_for_a_page),
		test(a_region_with_an_area),
		test(areas_around_msix),
		test(too_little_room_tells_how_much_is_needed),
		test(who_takes_no_descriptors_maps_nothing),
		test(a_region_of_its_own),
		test(doorbells_are_told),
		test(doorbells_are_made_when_there_is_room),
		test(as_many_doorbells_as_a_message_takes),
		test(the_end_takes_it_all_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
