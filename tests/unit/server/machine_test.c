/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects that come and go in a running process: who is in whose way, and that nothing stays. */
#include <dirent.h>

#include "kit.h"

static void a_served_device_is_not_removed(void **state)
{
	struct world *world = *state;

	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	assert_int_equal(remove_device(world, "d0"), -EBUSY);
	assert_said(world, "server object 's0'");
	assert_int_equal(remove_object(world, "s0"), 0);
	assert_int_equal(access(world->path, F_OK), -1);
	assert_int_equal(remove_device(world, "d0"), 0);
	turn(world);
	assert_int_equal(remove_device(world, "d0"), -ENOENT);
}

static void a_used_block_node_is_not_removed(void **state)
{
	struct world *world = *state;

	assert_int_equal(add_block(world, "mem,node-name=b0,size=1M"), 0);
	assert_int_equal(add_device(world, "nvme,id=d0,drive=b0"), 0);
	assert_int_equal(remove_block(world, "b0"), -EBUSY);
	assert_said(world, "device 'd0'");
	assert_true(add_device(world, "nvme,id=d1,drive=b0") < 0);
	assert_said(world, "device 'd0'");
	assert_int_equal(remove_device(world, "d0"), 0);
	turn(world);
	assert_int_equal(add_device(world, "nvme,id=d1,drive=b0"), 0);
	assert_int_equal(remove_device(world, "d1"), 0);
	turn(world);
	assert_int_equal(remove_block(world, "b0"), 0);
	turn(world);
	assert_int_equal(add_block(world, "mem,node-name=b0,size=1M"), 0);
}

static void a_device_that_fails_lets_its_blocks_go(void **state)
{
	struct world *world = *state;

	assert_int_equal(add_block(world, "mem,node-name=b0,size=1M"), 0);
	assert_true(add_device(world, "nvme,id=d0,drive=b0,drive=b9") < 0);
	assert_said(world, "'b9'");
	assert_int_equal(remove_block(world, "b0"), 0);
}

static void removing_with_a_client_ends_its_session(void **state)
{
	struct world *world = *state;
	int client;

	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	client = connect_client(world);
	turn(world);
	assert_false(has_hung_up(client));
	assert_int_equal(remove_object(world, "s0"), 0);
	assert_int_equal(remove_object(world, "s0"), -ENOENT);
	assert_int_equal(remove_device(world, "d0"), 0);
	turn(world);
	assert_true(has_hung_up(client));
	close(client);
	/* Both names are free again. */
	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
}

static void a_device_has_one_server(void **state)
{
	struct world *world = *state;

	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	assert_int_equal(add_server(world, "s1", "d0"), -EBUSY);
	assert_said(world, "'s0'");
	assert_int_equal(add_server(world, "s1", "d1"), -ENOENT);
	assert_said(world, "did you mean 'd0'");
	assert_int_equal(add_device(world, "edu,id=d1"), 0);
	assert_int_equal(add_server(world, "s0", "d1"), -EEXIST);
	/* The path is in use. */
	assert_true(add_server(world, "s1", "d1") < 0);
	assert_said(world, "in use");
	assert_ptr_equal(machine_server_at(world->machine, 1), NULL);
}

/* Two that have it would close it twice, and the second time it may be a third one's. */
static void a_descriptor_has_one_owner(void **state)
{
	struct world *world = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char text[128];

	/* An address that the kernel chooses, which is no file. */
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address.sun_family)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(add_device(world, "driver=edu,id=d0"), 0);
	assert_int_equal(add_device(world, "driver=edu,id=d1"), 0);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "qom-type=x-vfio-user-server,id=s%u,device=d%u,fd=%d",
		         i, i, fd);
		assert_int_equal(make(world, machine_add_object, text) == 0, i == 0);
	}
	assert_said(world, "in use in this process");
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

static void a_bus_holds_as_many_devices_as_it_has_slots(void **state)
{
	struct world *world = *state;
	char text[64];

	assert_true(add_device(world, "edu,id=d0,bus=rb1") < 0);
	assert_said(world, "pci-root-bus,id=rb1");
	assert_int_equal(add_device(world, "pci-root-bus,id=rb1"), 0);
	for (int i = 0; i < 32; i++) {
		snprintf(text, sizeof(text), "edu,id=d%d,bus=rb1", i);
		assert_int_equal(add_device(world, text), 0);
	}
	assert_true(add_device(world, "edu,id=d32,bus=rb1") < 0);
	assert_said(world, "full");
	assert_int_equal(remove_device(world, "rb1"), -EBUSY);
	assert_int_equal(remove_device(world, "d7"), 0);
	turn(world);
	assert_int_equal(add_device(world, "edu,id=d32,bus=rb1"), 0);
}

static void a_devices_own_root_goes_with_it(void **state)
{
	struct world *world = *state;

	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	/* It is the device's own: nobody else gets on it. */
	assert_true(add_device(world, "edu,id=d1,bus=d0") < 0);
	assert_int_equal(remove_device(world, "d0"), 0);
	turn(world);
	assert_int_equal(add_device(world, "pci-root-bus,id=d0"), 0);
	assert_int_equal(remove_device(world, "d0"), 0);
	assert_int_equal(remove_device(world, "d0"), -ENOENT);
}

static void devices_without_ids_get_some(void **state)
{
	struct world *world = *state;

	assert_int_equal(add_device(world, "edu,id=edu1"), 0);
	assert_int_equal(add_device(world, "edu"), 0);
	assert_int_equal(add_device(world, "edu"), 0);
	assert_int_equal(remove_device(world, "edu0"), 0);
	assert_int_equal(remove_device(world, "edu1"), 0);
	assert_int_equal(remove_device(world, "edu2"), 0);
}

static unsigned open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void many_rounds_leave_nothing_behind(void **state)
{
	struct world *world = *state;
	unsigned before = open_descriptors();

	for (int i = 0; i < 500; i++) {
		int client = -1;

		assert_int_equal(add_device(world, "edu,id=d0"), 0);
		assert_int_equal(add_server(world, "s0", "d0"), 0);
		if (i & 1) {
			client = connect_client(world);
			loop_turn(world->loop, 0);
		}
		assert_int_equal(remove_object(world, "s0"), 0);
		assert_int_equal(remove_device(world, "d0"), 0);
		turn(world);
		if (client >= 0) {
			assert_true(has_hung_up(client));
			close(client);
		}
	}
	/* Helper threads close what clients may have filled; they may have had some of other tests.
	 */
	for (unsigned i = 0; i < 10000 && open_descriptors() > before; i++)
		usleep(1000);
	assert_true(open_descriptors() <= before);
}

static void everything_stops_at_once(void **state)
{
	struct world *world = *state;
	int client;

	assert_int_equal(add_block(world, "mem,node-name=b0,size=1M"), 0);
	assert_int_equal(add_block(world, "mem,node-name=b1,size=1M"), 0);
	assert_int_equal(add_device(world, "pci-root-bus,id=rb1"), 0);
	assert_int_equal(add_device(world, "nvme,id=d0,drive=b0,bus=rb1"), 0);
	assert_int_equal(add_device(world, "edu,id=d1"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	client = connect_client(world);
	turn(world);
	/* One removal is under way already when everything else is told to go. */
	assert_int_equal(remove_device(world, "d1"), 0);
	close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_served_device_is_not_removed),
		test(a_used_block_node_is_not_removed),
		test(a_device_that_fails_lets_its_blocks_go),
		test(removing_with_a_client_ends_its_session),
		test(a_device_has_one_server),
		test(a_descriptor_has_one_owner),
		test(a_bus_holds_as_many_devices_as_it_has_slots),
		test(a_devices_own_root_goes_with_it),
		test(devices_without_ids_get_some),
		test(many_rounds_leave_nothing_behind),
		test(everything_stops_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
