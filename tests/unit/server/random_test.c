/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine whose objects come and go at random, with clients that do too, while it is paused,
 * resumed and reset: whatever happens, everything is gone at the end. RANDOM_SEED begins elsewhere,
 * RANDOM_STEPS says how long.
 */
#include <dirent.h>
#include <inttypes.h>

#include "kit.h"
#include "wire/protocol.h"
#include "wire/wire.h"

enum { DEVICES = 4, SERVERS = 3, BLOCKS = 3, CLIENTS = 4, ROUNDS = 20 };

struct chaos {
	struct world *world;
	uint64_t random;
	int clients[CLIENTS];
	struct machine_waiter waiters[2]; /* of a pause, of a block node */
	bool waiting[2];
	unsigned deleted, connected, left;
	struct machine_listener listener;
};

static unsigned below(struct chaos *chaos, unsigned n)
{
	chaos->random = chaos->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (unsigned)(chaos->random >> 33) % n;
}

static void on_event(struct machine_listener *listener, const struct machine_event *event)
{
	struct chaos *chaos = container_of(listener, struct chaos, listener);

	chaos->deleted += event->kind == MACHINE_DEVICE_DELETED;
	chaos->connected += event->kind == MACHINE_CLIENT_CONNECTED;
	chaos->left += event->kind == MACHINE_CLIENT_HANGUP;
}

static void on_paused(struct machine_waiter *waiter)
{
	container_of(waiter, struct chaos, waiters[0])->waiting[0] = false;
}

static void on_gone(struct machine_waiter *waiter)
{
	container_of(waiter, struct chaos, waiters[1])->waiting[1] = false;
}

static void try_make(struct chaos *chaos,
                     int (*add)(struct machine *machine, struct opts *opts, struct ob_error *err),
                     const char *text)
{
	make(chaos->world, add, text);
}

static void make_something(struct chaos *chaos)
{
	unsigned n = below(chaos, DEVICES), block = below(chaos, BLOCKS);
	static const char *const addresses[] = {"", ",addr=1", ",addr=1.1", ",bus=rb",
	                                        ",bus=rb,addr=2.3"};
	const char *address = addresses[below(chaos, ARRAY_SIZE(addresses))];
	char text[256];

	switch (below(chaos, 5)) {
	case 0:
		snprintf(text, sizeof(text), "mem,node-name=b%u,size=1M", block);
		try_make(chaos, machine_add_block, text);
		break;
	case 1:
		snprintf(text, sizeof(text), "nvme,id=d%u,drive=b%u%s", n, block, address);
		try_make(chaos, machine_add_device, text);
		break;
	case 2:
		snprintf(text, sizeof(text), "edu,id=d%u%s", n, address);
		try_make(chaos, machine_add_device, text);
		break;
	case 3:
		try_make(chaos, machine_add_device, "pci-root-bus,id=rb");
		break;
	default:
		n = below(chaos, SERVERS);
		snprintf(text, sizeof(text), "qom-type=vfio-user-server,id=s%u", n);
		if (below(chaos, 4))
			snprintf(text + strlen(text), sizeof(text) - strlen(text), ",device=d%u",
			         below(chaos, DEVICES));
		if (below(chaos, 4))
			snprintf(text + strlen(text), sizeof(text) - strlen(text), ",path=%s/%u",
			         chaos->world->folder, n);
		try_make(chaos, machine_add_object, text);
	}
}

static void remove_something(struct chaos *chaos)
{
	struct world *world = chaos->world;
	char name[16];

	switch (below(chaos, 4)) {
	case 0:
		snprintf(name, sizeof(name), "b%u", below(chaos, BLOCKS));
		if (remove_block(world, name) || chaos->waiting[1])
			break;
		chaos->waiters[1].done = on_gone;
		chaos->waiting[1] =
			machine_wait_block(world->machine, name, &chaos->waiters[1]) != 0;
		break;
	case 1:
		snprintf(name, sizeof(name), "d%u", below(chaos, DEVICES));
		remove_device(world, name);
		break;
	case 2:
		remove_device(world, "rb");
		break;
	default:
		snprintf(name, sizeof(name), "s%u", below(chaos, SERVERS));
		remove_object(world, name);
	}
}

static void set_something(struct chaos *chaos)
{
	struct world *world = chaos->world;
	unsigned n = below(chaos, SERVERS);
	const char *name = below(chaos, 2) ? "device" : "socket";
	struct opts opts = {0};
	char text[128], server[16];

	snprintf(server, sizeof(server), "s%u", n);
	if (!strcmp(name, "device"))
		snprintf(text, sizeof(text), "device=d%u", below(chaos, DEVICES));
	else
		snprintf(text, sizeof(text), "socket.path=%s/%u", world->folder, n);
	assert_int_equal(opts_parse(&opts, text, NULL, NULL), 0);
	(void)machine_set_property(world->machine, server, name, &opts, &world->err);
	opts_free(&opts);
	snprintf(text, sizeof(text), "b%u", below(chaos, BLOCKS));
	(void)machine_resize_block(world->machine, text, (1 + below(chaos, 8)) << 18, NULL,
	                           &world->err);
}

/* As a client that means it: the version, a reset, and registers that begin something. */
static void speak(int fd, unsigned what)
{
	uint8_t message[64] = {0};
	const struct wire_version_header version = {0, 0};
	const struct wire_region_access access = {0x14, 0, 4};
	size_t size = sizeof(struct wire_header);

	if (what == WIRE_VERSION) {
		memcpy(message + size, &version, sizeof(version));
		size += sizeof(version);
	} else if (what == WIRE_REGION_WRITE) {
		memcpy(message + size, &access, sizeof(access));
		message[size + sizeof(access)] = 0x71; /* CC of an nvme: a fatal status */
		size += sizeof(access) + 4;
	}
	wire_encode_command(message, 1, (uint16_t)what, (uint32_t)size);
	(void)send(fd, message, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void be_a_client(struct chaos *chaos)
{
	int *fd = &chaos->clients[below(chaos, CLIENTS)];
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (*fd >= 0 && below(chaos, 2)) {
		static const unsigned commands[] = {WIRE_RESET, WIRE_REGION_WRITE, WIRE_VERSION};

		speak(*fd, commands[below(chaos, 3)]);
		return;
	}
	if (*fd >= 0) {
		close(*fd);
		*fd = -1;
		return;
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%u", chaos->world->folder,
	         below(chaos, SERVERS));
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connect(*fd, (struct sockaddr *)&address, sizeof(address))) {
		close(*fd);
		*fd = -1;
		return;
	}
	speak(*fd, WIRE_VERSION);
}

static void run_the_machine(struct chaos *chaos)
{
	struct machine *machine = chaos->world->machine;

	switch (below(chaos, 4)) {
	case 0:
		if (chaos->waiting[0])
			machine_cancel_wait(&chaos->waiters[0]);
		chaos->waiters[0].done = on_paused;
		chaos->waiting[0] = machine_pause(machine, &chaos->waiters[0]) != 0;
		break;
	case 1:
		machine_reset(machine);
		break;
	default:
		machine_resume(machine);
	}
}

static void step(struct chaos *chaos)
{
	switch (below(chaos, 8)) {
	case 0:
	case 1:
		make_something(chaos);
		break;
	case 2:
		remove_something(chaos);
		break;
	case 3:
		set_something(chaos);
		break;
	case 4:
	case 5:
		be_a_client(chaos);
		break;
	case 6:
		run_the_machine(chaos);
		break;
	default:
		assert_int_equal(loop_turn(chaos->world->loop, 0), 0);
	}
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

static void one_round(uint64_t seed, unsigned steps)
{
	struct chaos chaos = {.random = seed, .listener.event = on_event};
	unsigned before = open_descriptors();

	assert_int_equal(set_up((void **)&chaos.world), 0);
	machine_listen(chaos.world->machine, &chaos.listener);
	for (unsigned i = 0; i < CLIENTS; i++)
		chaos.clients[i] = -1;
	while (steps--)
		step(&chaos);
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (chaos.clients[i] >= 0)
			close(chaos.clients[i]);
	}
	/* The kit's end asserts that all stops, and that no socket is left. */
	machine_stop(chaos.world->machine, on_stopped, chaos.world);
	for (int i = 0; i < 1000 && !chaos.world->stopped; i++)
		assert_int_equal(loop_turn(chaos.world->loop, 0), 0);
	assert_true(chaos.world->stopped);
	assert_false(chaos.waiting[0] || chaos.waiting[1]);
	print_message("seed %" PRIu64 ": %u clients, %u devices\n", seed, chaos.connected,
	              chaos.deleted);
	assert_int_equal(chaos.connected, chaos.left);
	machine_free(chaos.world->machine);
	loop_free(chaos.world->loop);
	close(chaos.world->log.fd);
	assert_int_equal(rmdir(chaos.world->folder), 0);
	free(chaos.world);
	/* Helper threads close what clients may have filled. */
	for (unsigned i = 0; i < 10000 && open_descriptors() != before; i++)
		usleep(1000);
	assert_int_equal(open_descriptors(), before);
}

static void nothing_is_left_of_any_of_it(void **state)
{
	const char *seed = getenv("RANDOM_SEED"), *steps = getenv("RANDOM_STEPS");

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t at = (seed ? strtoull(seed, NULL, 10) : 1) + i;

		one_round(at, steps ? (unsigned)strtoul(steps, NULL, 10) : 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_left_of_any_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
