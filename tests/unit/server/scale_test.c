/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thousand devices on a thousand roots with a thousand sockets, and what each of them costs;
 * objects that come and go thousands of times. SCALE_COUNT and SCALE_ROUNDS change the numbers.
 */
#include <dirent.h>
#include <malloc.h>
#include <sys/resource.h>
#include <time.h>

#include "kit.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { MOST_PER_DEVICE = 256 << 10 };

static unsigned number(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

/* As many descriptors as the system lets us have; whether that is enough. */
static bool may_open(unsigned count)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	return !setrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur >= count;
}

static size_t memory_used(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long size, resident;

	assert_int_equal(fscanf(file, "%lu %lu", &size, &resident), 2);
	fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
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

static double now(void)
{
	return (double)ob_loop_now() / 1e9;
}

static void set_path(struct world *world, unsigned n)
{
	snprintf(world->path, sizeof(world->path), "%s/%u", world->folder, n);
}

/* One device with all that belongs to it, by what kind says: 0 edu, 1 nvme over null, 2 over mem.
 */
static void add_one(struct world *world, unsigned n, unsigned kind)
{
	char id[32], server[32], text[128];

	snprintf(id, sizeof(id), "d%u", n);
	snprintf(server, sizeof(server), "s%u", n);
	set_path(world, n);
	if (kind) {
		snprintf(text, sizeof(text), "%s,node-name=b%u,size=16M",
		         kind == 1 ? "null" : "mem", n);
		assert_int_equal(add_block(world, text), 0);
		snprintf(text, sizeof(text), "nvme,id=d%u,drive=b%u", n, n);
	} else {
		snprintf(text, sizeof(text), "edu,id=d%u", n);
	}
	assert_int_equal(add_device(world, text), 0);
	assert_int_equal(add_server(world, server, id), 0);
}

static void remove_one(struct world *world, unsigned n, unsigned kind)
{
	char name[32];

	snprintf(name, sizeof(name), "s%u", n);
	assert_int_equal(remove_object(world, name), 0);
	snprintf(name, sizeof(name), "d%u", n);
	assert_int_equal(remove_device(world, name), 0);
	loop_turn(world->loop, 0);
	snprintf(name, sizeof(name), "b%u", n);
	if (kind)
		assert_int_equal(remove_block(world, name), 0);
}

/* Helper threads close what clients may have a part in: soon, and all of it. (So there may have
 * been some when they were counted before.) */
static void assert_descriptors(const struct world *world, unsigned before)
{
	for (unsigned i = 0; open_descriptors() > before && i < 1000; i++)
		loop_turn(world->loop, 10);
	assert_in_range(open_descriptors(), 0, before);
}

static void scale(struct world *world, unsigned kind)
{
	static const char *const kinds[] = {"edu", "nvme over null", "nvme over mem"};
	unsigned count = number("SCALE_COUNT", SANITIZED ? 100 : 1000);
	unsigned before = open_descriptors();
	size_t first, all;
	double begin;

	if (!may_open(3 * count + 100))
		skip();
	add_one(world, 0, kind);
	turn(world);
	malloc_trim(0);
	first = memory_used();
	begin = now();
	for (unsigned n = 1; n < count; n++)
		add_one(world, n, kind);
	print_message("%s: %u in %.3f s, ", kinds[kind], count, now() - begin);
	turn(world);
	all = memory_used();
	print_message("%zu KiB each\n", (all - first) / 1024 / (count - 1));
	if (!SANITIZED)
		assert_true((all - first) / (count - 1) < MOST_PER_DEVICE);
	begin = now();
	for (unsigned n = 0; n < count; n++)
		remove_one(world, n, kind);
	turn(world);
	print_message("removed in %.3f s\n", now() - begin);
	assert_descriptors(world, before);
}

static void a_thousand_teaching_devices(void **state)
{
	scale(*state, 0);
}

static void a_thousand_disks_over_nothing(void **state)
{
	scale(*state, 1);
}

static void a_thousand_disks_in_memory(void **state)
{
	scale(*state, 2);
}

/* With a client in every second round: nothing is left behind, and no crash. */
static void rounds_leave_nothing_behind(void **state)
{
	struct world *world = *state;
	unsigned rounds = number("SCALE_ROUNDS", 1000);
	unsigned before = 0;
	size_t memory = 0;
	double begin = now();

	for (unsigned n = 0; n < rounds; n++) {
		int client = -1;

		if (n == rounds / 10) {
			before = open_descriptors();
			memory = memory_used();
		}
		add_one(world, 0, n % 3);
		if (n & 1) {
			client = connect_client(world);
			loop_turn(world->loop, 0);
		}
		remove_one(world, 0, 0);
		turn(world);
		if (n % 3)
			assert_int_equal(remove_block(world, "b0"), 0);
		turn(world);
		if (client >= 0) {
			assert_true(has_hung_up(client));
			close(client);
		}
	}
	print_message("%u rounds in %.3f s\n", rounds, now() - begin);
	assert_descriptors(world, before);
	if (!SANITIZED)
		assert_in_range(memory_used(), 0, memory + (512 << 10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_thousand_teaching_devices),
		test(a_thousand_disks_over_nothing),
		test(a_thousand_disks_in_memory),
		test(rounds_leave_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
