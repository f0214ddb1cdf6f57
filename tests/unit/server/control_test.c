/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine as a monitor sees it: events, walks, properties, pause and reset, sizes, the end. */
#include "kit.h"

/* What a listener heard, as text: "connected s0 d0; hangup s0 d0; ". */
struct heard {
	struct machine_listener listener;
	char text[1024];
};

static void hear(struct machine_listener *listener, const struct machine_event *event)
{
	static const char *const kinds[] = {
		[MACHINE_CLIENT_CONNECTED] = "connected",
		[MACHINE_CLIENT_HANGUP] = "hangup",
		[MACHINE_DEVICE_DELETED] = "deleted",
		[MACHINE_DEVICE_ERROR] = "error",
		[MACHINE_BLOCK_IO_ERROR] = "I/O error",
		[MACHINE_STOP] = "stop",
		[MACHINE_RESUME] = "resume",
		[MACHINE_RESET] = "reset",
		[MACHINE_SHUTDOWN] = "shutdown",
	};
	struct heard *heard = container_of(listener, struct heard, listener);
	size_t used = strlen(heard->text);
	const char *what = event->device_path;

	if (!what)
		what = event->kind == MACHINE_SHUTDOWN ? machine_shutdown_name(event->reason) : "";
	snprintf(heard->text + used, sizeof(heard->text) - used, "%s %s %s; ", kinds[event->kind],
	         event->path ? event->path : "", what);
}

static void listen_to(struct world *world, struct heard *heard)
{
	*heard = (struct heard){.listener.event = hear};
	machine_listen(world->machine, &heard->listener);
}

static void assert_heard(struct heard *heard, const char *text)
{
	assert_string_equal(heard->text, text);
	heard->text[0] = '\0';
}

static void clients_that_come_and_go_are_told(void **state)
{
	struct world *world = *state;
	struct heard heard, other;
	int client;

	listen_to(world, &heard);
	listen_to(world, &other);
	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	client = connect_client(world);
	turn(world);
	assert_heard(&heard, "connected /objects/s0 /machine/peripheral/d0; ");
	machine_unlisten(&other.listener);
	close(client);
	turn(world);
	assert_heard(&heard, "hangup /objects/s0 /machine/peripheral/d0; ");
	assert_heard(&other, "connected /objects/s0 /machine/peripheral/d0; ");
	assert_int_equal(remove_object(world, "s0"), 0);
	assert_int_equal(remove_device(world, "d0"), 0);
	assert_heard(&heard, "");
	turn(world);
	assert_heard(&heard, "deleted /machine/peripheral/d0 ; ");
	machine_unlisten(&heard.listener);
}

static void pause_makes_all_quiet_and_newcomers_too(void **state)
{
	struct world *world = *state;
	struct heard heard;

	listen_to(world, &heard);
	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(machine_pause(world->machine, NULL), 0);
	assert_true(machine_is_paused(world->machine));
	assert_int_equal(machine_pause(world->machine, NULL), 0);
	assert_heard(&heard, "stop  ; ");
	assert_int_equal(add_device(world, "edu,id=d1"), 0);
	machine_reset(world->machine);
	assert_heard(&heard, "reset  ; ");
	machine_resume(world->machine);
	machine_resume(world->machine);
	assert_false(machine_is_paused(world->machine));
	assert_heard(&heard, "resume  ; ");
	machine_pause(world->machine, NULL);
	machine_unlisten(&heard.listener);
}

struct waited {
	struct machine_waiter waiter;
	unsigned calls;
};

static void on_waited(struct machine_waiter *waiter)
{
	container_of(waiter, struct waited, waiter)->calls++;
}

static void whoever_removes_may_wait_for_the_end(void **state)
{
	struct world *world = *state;
	struct waited object = {.waiter.done = on_waited}, block = object, other = object;
	int client;

	assert_int_equal(add_block(world, "mem,node-name=b0,size=1M"), 0);
	assert_int_equal(add_device(world, "nvme,id=d0,drive=b0"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	client = connect_client(world);
	turn(world);
	assert_int_equal(machine_wait_object(world->machine, "s0", &object.waiter), 0);
	assert_int_equal(remove_object(world, "s0"), 0);
	if (machine_wait_object(world->machine, "s0", &object.waiter)) {
		assert_int_equal(object.calls, 0);
		turn(world);
		assert_int_equal(object.calls, 1);
	}
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	assert_int_equal(remove_object(world, "s0"), 0);
	assert_int_equal(machine_wait_object(world->machine, "s0", &object.waiter), 0);
	assert_int_equal(remove_device(world, "d0"), 0);
	turn(world);
	assert_int_equal(remove_block(world, "b0"), 0);
	assert_int_equal(machine_wait_block(world->machine, "b0", &block.waiter), -EINPROGRESS);
	assert_int_equal(machine_wait_block(world->machine, "b0", &other.waiter), -EINPROGRESS);
	machine_cancel_wait(&other.waiter);
	turn(world);
	assert_int_equal(block.calls, 1);
	assert_int_equal(other.calls, 0);
	assert_int_equal(add_block(world, "mem,node-name=b0,size=1M"), 0);
	close(client);
}

/* Walks */

struct seen {
	unsigned count;
	char text[512];
};

static int see_device(void *context, const struct machine_device_info *info)
{
	struct seen *seen = context;
	size_t used = strlen(seen->text);

	seen->count++;
	snprintf(seen->text + used, sizeof(seen->text) - used, "%s on %s at %02x.%x for %s; ",
	         info->path, info->root, info->slot, info->function,
	         info->server ? info->server : "nobody");
	return 0;
}

static void devices_are_seen_where_they_are(void **state)
{
	struct world *world = *state;
	struct seen seen = {0};

	assert_int_equal(add_device(world, "pci-root-bus,id=rb1"), 0);
	assert_int_equal(add_device(world, "edu,id=d0,bus=rb1,addr=0x3.1"), 0);
	assert_int_equal(add_device(world, "edu,id=d1,bus=rb1"), 0);
	assert_int_equal(add_device(world, "edu,id=d2,addr=1f"), 0);
	assert_int_equal(add_device(world, "edu,id=d3,bus=rb1,addr=03.0"), 0);
	assert_int_equal(add_server(world, "s0", "d1"), 0);
	assert_int_equal(machine_each_device(world->machine, see_device, &seen), 0);
	assert_string_equal(seen.text, "/machine/peripheral/d0 on rb1 at 03.1 for nobody; "
	                               "/machine/peripheral/d1 on rb1 at 00.0 for s0; "
	                               "/machine/peripheral/d2 on d2 at 1f.0 for nobody; "
	                               "/machine/peripheral/d3 on rb1 at 03.0 for nobody; ");
}

static uint8_t header_type(struct world *world, const char *id)
{
	uint8_t type = 0xff;

	assert_int_equal(machine_config_read(world->machine, id, 0x0e, &type, 1, NULL), 0);
	return type;
}

static void functions_of_a_slot_know_of_each_other(void **state)
{
	struct world *world = *state;

	assert_int_equal(add_device(world, "pci-root-bus,id=rb1"), 0);
	assert_int_equal(add_device(world, "edu,id=d0,bus=rb1,addr=3"), 0);
	assert_int_equal(header_type(world, "d0"), 0);
	assert_int_equal(add_device(world, "edu,id=d1,bus=rb1,addr=3.7"), 0);
	assert_int_equal(header_type(world, "d0"), 0x80);
	assert_int_equal(header_type(world, "d1"), 0x80);
	machine_reset(world->machine);
	assert_int_equal(header_type(world, "d0"), 0x80);
	assert_int_equal(add_device(world, "edu,id=d2,bus=rb1,addr=3.7"), -EBUSY);
	assert_said(world, "taken on bus 'rb1' by device 'd1'");
	assert_int_equal(remove_device(world, "d1"), 0);
	turn(world);
	assert_int_equal(header_type(world, "d0"), 0);
}

static void wrong_places_are_refused(void **state)
{
	static const char *const wrong[] = {"20", "3.8", "x", "", "3.", ".1", "3.1.1", "0x", "-1"};
	struct world *world = *state;
	char text[64];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(text, sizeof(text), "edu,id=d0,addr=%s", wrong[i]);
		assert_int_equal(add_device(world, text), -EINVAL);
		assert_said(world, "addr=");
	}
}

static int see_block(void *context, const struct machine_block_info *info)
{
	struct seen *seen = context;

	seen->count++;
	snprintf(seen->text, sizeof(seen->text), "%s %s %s %llu", info->node_name, info->driver,
	         info->user ? info->user : "", (unsigned long long)info->info->size);
	return 0;
}

static int see_server(void *context, const struct machine_server_info *info)
{
	struct seen *seen = context;

	seen->count++;
	snprintf(seen->text, sizeof(seen->text), "%s %d %s", info->id, (int)info->state,
	         info->missing ? info->missing : "");
	return seen->count == 1 ? -EALREADY : 0;
}

static int count_root(void *context, const struct machine_root_info *info)
{
	((struct seen *)context)->count += 1 + 100 * info->own;
	return 0;
}

static void blocks_servers_and_roots_are_seen(void **state)
{
	struct world *world = *state;
	struct seen seen = {0};

	assert_int_equal(add_block(world, "null,node-name=b0,size=1M"), 0);
	assert_int_equal(add_device(world, "nvme,id=d0,drive=b0"), 0);
	assert_int_equal(add_device(world, "pci-root-bus,id=rb1"), 0);
	machine_each_block(world->machine, see_block, &seen);
	assert_string_equal(seen.text, "b0 null d0 1048576");
	assert_int_equal(make(world, machine_add_object, "qom-type=vfio-user-server,id=s0"), 0);
	assert_int_equal(make(world, machine_add_object, "qom-type=vfio-user-server,id=s1"), 0);
	seen.count = 0;
	assert_int_equal(machine_each_server(world->machine, see_server, &seen), -EALREADY);
	assert_int_equal(seen.count, 1);
	assert_string_equal(seen.text, "s0 0 device");
	seen.count = 0;
	machine_each_root(world->machine, count_root, &seen);
	assert_int_equal(seen.count, 102);
}

static void a_function_is_seen_as_programmed(void **state)
{
	struct world *world = *state;
	struct machine_pci_info info;

	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(machine_pci_info(world->machine, "d0", &info, NULL), 0);
	assert_int_equal(info.vendor, 0x1234);
	assert_int_equal(info.device, 0x11e8);
	assert_true(info.bar_count >= 1);
	assert_int_equal(info.bars[0].size, 1 << 20);
	assert_false(info.bars[0].decodes);
	assert_int_equal(machine_pci_info(world->machine, "d1", &info, &world->err), -ENOENT);
	assert_said(world, "did you mean 'd0'");
}

/* Properties */

static int set(struct world *world, const char *path, const char *name, const char *text)
{
	struct opts opts = {0};
	int rc;

	world->err.message[0] = '\0';
	assert_int_equal(opts_parse(&opts, text, NULL, NULL), 0);
	rc = machine_set_property(world->machine, path, name, &opts, &world->err);
	assert_int_equal(rc != 0, world->err.message[0] != '\0');
	opts_free(&opts);
	return rc;
}

static void assert_property(struct world *world, const char *path, const char *name,
                            const char *key, const char *value, const char *type)
{
	struct opts out = {0};
	const char *found = NULL;

	assert_int_equal(machine_get_property(world->machine, path, name, &out, &found, NULL), 0);
	assert_string_equal(found, type);
	if (value)
		assert_string_equal(opts_get(&out, key), value);
	else
		assert_int_equal(out.count, 0);
	opts_free(&out);
}

static void a_server_waits_for_device_and_socket(void **state)
{
	struct world *world = *state;
	char socket[128];

	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(add_device(world, "edu,id=d1"), 0);
	assert_int_equal(add_device(world, "pci-root-bus,id=rb1"), 0);
	assert_int_equal(make(world, machine_add_object, "qom-type=x-vfio-user-server,id=s0"), 0);
	assert_int_equal(set(world, "/objects/s0", "device", "device=d2"), -ENOENT);
	assert_said(world, "device=d2");
	assert_int_equal(set(world, "/objects/s0", "device", "device=rb1"), -EINVAL);
	assert_said(world, "PCI");
	assert_int_equal(set(world, "/objects/s0", "device", "device=d0"), 0);
	assert_int_equal(set(world, "/objects/s0", "device", "device=d1"), 0);
	/* It has d1 now, and d0 no more. */
	assert_int_equal(remove_device(world, "d1"), -EBUSY);
	assert_said(world, "'s0'");
	assert_int_equal(remove_device(world, "d0"), 0);
	assert_property(world, "s0", "device", "device", "d1", "str");
	assert_property(world, "s0", "socket", "socket.path", NULL, "SocketAddress");
	assert_int_equal(set(world, "s0", "socket", "socket.type=inet,socket.path=x"), -EINVAL);
	assert_said(world, "type=inet");
	assert_int_equal(set(world, "s0", "queue", "queue=on"), 0);
	snprintf(socket, sizeof(socket), "socket.type=unix,socket.path=%s", world->path);
	assert_int_equal(set(world, "s0", "socket", socket), 0);
	close(connect_client(world));
	assert_property(world, "s0", "socket", "socket.path", world->path, "SocketAddress");
	assert_property(world, "s0", "queue", "queue", "on", "bool");
	assert_property(world, "s0", "max-dma-maps", "max-dma-maps", "65535", "uint32");
	assert_property(world, "s0", "type", "type", "x-vfio-user-server", "string");
	assert_int_equal(set(world, "s0", "socket", socket), -EBUSY);
	assert_said(world, "socket: server object 's0' serves already");
	assert_int_equal(set(world, "s0", "device", "device=d1"), -EBUSY);
	assert_said(world, "device: server object 's0' serves already");
}

static void a_socket_may_come_first(void **state)
{
	struct world *world = *state;
	char text[256];

	snprintf(text, sizeof(text), "qom-type=x-vfio-user-server,id=s0,socket.path=%s",
	         world->path);
	assert_int_equal(make(world, machine_add_object, text), 0);
	assert_int_equal(access(world->path, F_OK), -1);
	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(set(world, "s0", "device", "device=d0"), 0);
	close(connect_client(world));
	/* One that waits goes as easily as one that serves. */
	assert_int_equal(make(world, machine_add_object, "qom-type=x-vfio-user-server,id=s1"), 0);
	assert_int_equal(remove_object(world, "s1"), 0);
	assert_int_equal(remove_object(world, "s1"), -ENOENT);
}

static int find_property(void *context, const struct machine_property_info *info)
{
	return !strcmp(info->name, context) ? 1 + info->writeable : 0;
}

static void properties_of_devices_and_machine(void **state)
{
	struct world *world = *state;

	assert_int_equal(add_block(world, "null,node-name=b0"), 0);
	assert_int_equal(add_block(world, "null,node-name=b1"), 0);
	assert_int_equal(add_device(world, "nvme,id=d0,drive=b0,drive=b1,serial=me,addr=2"), 0);
	assert_property(world, "/machine/peripheral/d0", "type", "type", "nvme", "string");
	assert_property(world, "d0", "serial", "serial", "me", "str");
	assert_property(world, "d0", "drive", "drive", "b0", "list");
	assert_property(world, "d0", "addr", "addr", "02.0", "str");
	assert_property(world, "d0", "num-queues", "num-queues", "15", "uint32");
	assert_int_equal(set(world, "d0", "serial", "serial=you"), -EBUSY);
	assert_int_equal(set(world, "d0", "seriel", "seriel=you"), -ENOENT);
	assert_said(world, "did you mean 'serial'");
	assert_int_equal(set(world, "d9", "serial", "serial=you"), -ENOENT);
	assert_int_equal(set(world, "/machine", "auto-shutdown", "auto-shutdown=on"), 0);
	assert_true(machine_auto_shutdown(world->machine));
	assert_property(world, "/machine", "auto-shutdown", "auto-shutdown", "on", "bool");
	assert_int_equal(machine_each_property(world->machine, "d0", find_property, "serial", NULL),
	                 1);
	assert_int_equal(machine_each_property(world->machine, "/machine", find_property,
	                                       "auto-shutdown", NULL),
	                 2);
	assert_int_equal(
		machine_each_property(world->machine, "/objects/d0", find_property, "", NULL),
		-ENOENT);
}

static int find_type(void *context, const struct machine_type_info *info)
{
	if (strcmp(info->name, context))
		return 0;
	return info->is_device ? 1 : 2;
}

static void types_are_listed(void **state)
{
	assert_int_equal(machine_each_type(find_type, "nvme"), 1);
	assert_int_equal(machine_each_type(find_type, "pci-root-bus"), 1);
	assert_int_equal(machine_each_type(find_type, "x-vfio-user-server"), 2);
	assert_int_equal(machine_each_type(find_type, "toaster"), 0);
}

/* Sizes */

static uint64_t size_of(struct world *world)
{
	struct seen seen = {0};
	unsigned long long size = 0;

	machine_each_block(world->machine, see_block, &seen);
	sscanf(strrchr(seen.text, ' '), "%llu", &size);
	return size;
}

static void block_nodes_change_their_size(void **state)
{
	struct world *world = *state;
	struct machine *machine = world->machine;

	assert_int_equal(add_block(world, "mem,node-name=b0,size=1M"), 0);
	assert_int_equal(machine_resize_block(machine, "b0", 4 << 20, NULL, &world->err), 0);
	assert_int_equal(size_of(world), 4 << 20);
	assert_int_equal(machine_resize_block(machine, "b0", 1000, NULL, &world->err), -EINVAL);
	assert_int_equal(machine_resize_block(machine, "b1", 4096, NULL, &world->err), -ENOENT);
	assert_int_equal(add_device(world, "nvme,id=d0,drive=b0"), 0);
	assert_int_equal(machine_resize_block(machine, "b0", 8 << 20, NULL, &world->err), 0);
	assert_int_equal(machine_resize_block(machine, "b0", 512, NULL, &world->err), -EINVAL);
	assert_int_equal(size_of(world), 8 << 20);
	assert_int_equal(remove_device(world, "d0"), 0);
	turn(world);
	assert_int_equal(add_device(world, "nvme,id=d0,drive=b0,namespaces=2"), 0);
	assert_int_equal(machine_resize_block(machine, "b0", 16 << 20, NULL, &world->err),
	                 -ENOTSUP);
	assert_said(world, "namespaces");
	assert_int_equal(size_of(world), 8 << 20);
}

/* The end */

static void note_reason(void *context, enum machine_shutdown reason)
{
	*(int *)context = (int)reason;
}

/* The shortest VERSION: a header of 16 bytes, and 0.0 without JSON. */
static void send_version(int client)
{
	static const uint8_t version[20] = {[2] = 1, [4] = sizeof(version)};

	assert_int_equal(send(client, version, sizeof(version), 0), sizeof(version));
}

static void the_last_client_ends_it_if_it_may(void **state)
{
	struct world *world = *state;
	struct heard heard;
	int reason = -1, client;

	machine_on_shutdown(world->machine, note_reason, &reason);
	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	client = connect_client(world);
	turn(world);
	close(client);
	turn(world);
	assert_int_equal(reason, -1);
	machine_set_auto_shutdown(world->machine, true);
	/* Who says nothing was no client. */
	client = connect_client(world);
	turn(world);
	close(client);
	turn(world);
	assert_int_equal(reason, -1);
	client = connect_client(world);
	send_version(client);
	turn(world);
	listen_to(world, &heard);
	close(client);
	turn(world);
	assert_int_equal(reason, MACHINE_SHUTDOWN_LAST_CLIENT);
	assert_heard(&heard, "hangup /objects/s0 /machine/peripheral/d0; "
	                     "shutdown  guest-shutdown; ");
	machine_shutdown(world->machine, MACHINE_SHUTDOWN_QUIT);
	assert_heard(&heard, "");
	machine_unlisten(&heard.listener);
}

/* What was asked for before the end began, and comes only then. */
static void nothing_is_made_at_the_end(void **state)
{
	struct world *world = *state;
	int reason = -1;

	machine_on_shutdown(world->machine, note_reason, &reason);
	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_false(machine_is_ending(world->machine));
	machine_shutdown(world->machine, MACHINE_SHUTDOWN_QUIT);
	assert_true(machine_is_ending(world->machine));
	assert_int_equal(add_block(world, "driver=null,node-name=b0,size=1M"), -ESHUTDOWN);
	assert_said(world, "about to end");
	assert_int_equal(add_device(world, "edu,id=d1"), -ESHUTDOWN);
	assert_int_equal(add_server(world, "s0", "d0"), -ESHUTDOWN);
	assert_int_equal(make(world, machine_add_chardev, "backend=null,id=c0"), -ESHUTDOWN);
	turn(world);
	assert_int_equal(reason, MACHINE_SHUTDOWN_QUIT);
}

static void the_last_object_ends_it_too(void **state)
{
	struct world *world = *state;
	int reason = -1;

	machine_on_shutdown(world->machine, note_reason, &reason);
	machine_set_auto_shutdown(world->machine, true);
	assert_int_equal(add_device(world, "edu,id=d0"), 0);
	assert_int_equal(add_server(world, "s0", "d0"), 0);
	assert_int_equal(remove_object(world, "s0"), 0);
	turn(world);
	assert_int_equal(reason, MACHINE_SHUTDOWN_LAST_CLIENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(clients_that_come_and_go_are_told),
		test(pause_makes_all_quiet_and_newcomers_too),
		test(whoever_removes_may_wait_for_the_end),
		test(devices_are_seen_where_they_are),
		test(functions_of_a_slot_know_of_each_other),
		test(wrong_places_are_refused),
		test(blocks_servers_and_roots_are_seen),
		test(a_function_is_seen_as_programmed),
		test(a_server_waits_for_device_and_socket),
		test(a_socket_may_come_first),
		test(properties_of_devices_and_machine),
		test(types_are_listed),
		test(block_nodes_change_their_size),
		test(the_last_client_ends_it_if_it_may),
		test(the_last_object_ends_it_too),
		test(nothing_is_made_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
