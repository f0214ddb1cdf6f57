/* SPDX-License-Identifier: BSD-3-Clause */
/* What requests without bytes do to holes, and how much of one is done at a time. */
#include <sys/mman.h>

#include "block/file.h"
#include "kit.h"

#define MIB (UINT64_C(1) << 20)
#define HUGE_SIZE ((uint64_t)INT64_MAX & ~UINT64_C(4095))

enum { SIZE = 4 << 20, RUN = 64 << 10 };

/* Files of both kinds, and both engines for what follows the look. */
static const struct variant {
	const char *name, *options;
	bool memory;
	uint32_t align; /* pretended; 0: the real one */
} variants[] = {
	{"memory", "aio=auto", true, 0},
	{"disk, direct", "aio=auto", false, 0},
	{"disk, direct, 4K", "aio=auto", false, 4096},
	{"disk, cached", "aio=auto,direct=off", false, 0},
	{"disk, threads", "aio=threads", false, 0},
};

struct setup {
	struct ob_loop *loop;
	struct ob_block *block;
	struct file_node *node;
	int fd;
};

static int new_memory(uint64_t size)
{
	int fd = memfd_create("range-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void set_up(struct setup *setup, int fd, const char *options)
{
	setup->fd = fd;
	setup->loop = new_loop();
	setup->block = open_block(setup->loop, "file,node-name=b0,filename=/proc/self/fd/%d,%s", fd,
	                          options);
	setup->node = container_of(setup->block, struct file_node, block);
}

static void tear_down(struct setup *setup)
{
	assert_int_equal(setup->block->in_flight, 0);
	block_close(setup->block);
	loop_free(setup->loop);
	close(setup->fd);
}

static bool set_up_variant(struct setup *setup, const struct variant *variant, const char *options)
{
	char text[128];

	snprintf(text, sizeof(text), "%s,%s", variant->options, options);
	set_up(setup, variant->memory ? new_memory(SIZE) : new_file(SIZE), text);
	if (variant->align && setup->node->direct)
		setup->node->io_align = setup->node->mem_align = variant->align;
	if (setup->node->knows_holes)
		return true;
	fprintf(stderr, "# SKIPPED %s: not a file system whose holes are known\n", variant->name);
	tear_down(setup);
	return false;
}

/* Data with holes between. Returns what it takes. */
static uint64_t write_runs(int fd)
{
	uint8_t bytes[RUN];

	fill(bytes, RUN, 1);
	for (uint64_t at = RUN; at < SIZE; at += UINT64_C(8) * RUN)
		assert_int_equal(pwrite(fd, bytes, RUN, (off_t)at), RUN);
	return allocated(fd);
}

static bool reads_zero(int fd, uint64_t offset, uint64_t length)
{
	uint8_t *bytes = malloc(length);
	bool zero;

	assert_int_equal(pread(fd, bytes, length, (off_t)offset), length);
	zero = all_zero(bytes, length);
	free(bytes);
	return zero;
}

#define for_each_variant(setup, options)                                                           \
	for (unsigned variant_ = 0; variant_ < ARRAY_SIZE(variants); variant_++)                   \
		if (set_up_variant(&(setup), &variants[variant_], options))

/* A thick image keeps its space, and a sparse one its holes. */
static void zeroes_leave_holes(void **state)
{
	struct setup setup;

	for_each_variant(setup, "discard=ignore")
	{
		uint64_t before = write_runs(setup.fd);

		assert_true(before < SIZE / 2);
		assert_int_equal(
			do_range(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0, SIZE), 0);
		assert_true(reads_zero(setup.fd, 0, SIZE));
		assert_int_equal(allocated(setup.fd), before);
		/* Who wants the space gets it. */
		assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, 0, 0, SIZE), 0);
		assert_true(allocated(setup.fd) >= SIZE);
		tear_down(&setup);
	}
}

/* Ends that lie in a hole, in data, and in the midst of a block of the file. */
static void zeroes_end_where_they_should(void **state)
{
	static const uint64_t ranges[][2] = {
		{512, SIZE - 1024},       {RUN + 512, 512},   {RUN + 4096 - 512, 1024},
		{2 * RUN - 512, 8 * RUN}, {2 * RUN, 4 * RUN},
	};
	uint8_t *bytes = malloc(SIZE), *expected = malloc(SIZE);
	struct setup setup;

	for_each_variant(setup, "discard=ignore")
	{
		for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
			uint64_t before = write_runs(setup.fd);

			assert_int_equal(pread(setup.fd, expected, SIZE, 0), SIZE);
			memset(expected + ranges[i][0], 0, ranges[i][1]);
			assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES,
			                          OB_BLOCK_HOLES, ranges[i][0], ranges[i][1]),
			                 0);
			assert_int_equal(pread(setup.fd, bytes, SIZE, 0), SIZE);
			assert_memory_equal(bytes, expected, SIZE);
			assert_int_equal(allocated(setup.fd), before);
		}
		tear_down(&setup);
	}
	free(expected);
	free(bytes);
}

/* Small ones are made on the spot, where files are memory: these keep the space as well. */
static void a_thick_file_stays_thick(void **state)
{
	struct setup setup;
	uint8_t *bytes = malloc(SIZE);

	fill(bytes, SIZE, 1);
	for_each_variant(setup, "discard=ignore")
	{
		assert_int_equal(pwrite(setup.fd, bytes, SIZE, 0), SIZE);
		for (uint64_t at = 0; at < SIZE; at += RUN)
			assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES,
			                          OB_BLOCK_UNMAP, at, RUN),
			                 0);
		assert_true(allocated(setup.fd) >= SIZE);
		assert_true(reads_zero(setup.fd, 0, SIZE));
		tear_down(&setup);
	}
	free(bytes);
}

/* A filter that keeps space over a file that would give it back. */
static void a_filter_leaves_holes(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_error error = {""};
	struct opts opts = {0};
	int fd = new_memory(SIZE);
	struct ob_block *file = open_block(loop, "file,node-name=b0,filename=/proc/self/fd/%d", fd);
	struct ob_block *raw;
	uint64_t before = write_runs(fd);

	assert_int_equal(opts_parse(&opts, "raw,node-name=b1,discard=ignore", "driver", &error), 0);
	raw = block_open_filter(file, quiet_log(), &opts, &error);
	opts_free(&opts);
	assert_non_null(raw);
	assert_int_equal(do_range(raw, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0, SIZE), 0);
	assert_true(reads_zero(fd, 0, SIZE));
	assert_int_equal(allocated(fd), before);
	block_close(raw);
	block_close(file);
	close(fd);
	loop_free(loop);
}

/* Returns what was left. */
static uint64_t partly(struct ob_block *block, enum ob_block_op op, unsigned flags, uint64_t offset)
{
	struct call call = {.request = {.op = op,
	                                .flags = flags | OB_BLOCK_PARTLY,
	                                .offset = offset,
	                                .length = block->info.size - offset}};

	begin(block, &call);
	assert_int_equal(finish_call(block->loop, &call), 0);
	assert_true(call.request.left < call.request.length);
	return call.request.left;
}

/* A hole of 8 EiB is passed in one step, and data ends a step after so many bytes. */
static void a_step_is_bounded_by_data(void **state)
{
	enum { DATA = 80 }; /* MiB */
	static uint8_t bytes[1 << 20];
	struct setup setup;
	uint64_t left;

	set_up(&setup, new_memory(HUGE_SIZE), "discard=ignore");
	for (unsigned i = 0; i < DATA; i++) {
		fill(bytes, MIB, i + 1);
		assert_int_equal(pwrite(setup.fd, bytes, MIB, (off_t)((4096 + i) * MIB)), MIB);
	}
	/* Here zeroes are written, 64 MiB in a step. */
	left = partly(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0);
	assert_true(left == HUGE_SIZE - (4096 + 64) * MIB);
	assert_true(reads_zero(setup.fd, 4096 * MIB, 64 * MIB));
	assert_false(reads_zero(setup.fd, (4096 + 64) * MIB, MIB));
	assert_true(setup.block->stats.bytes[OB_BLOCK_WRITE_ZEROES] == (4096 + 64) * MIB);
	assert_true(!partly(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, HUGE_SIZE - left));
	assert_true(reads_zero(setup.fd, 4096 * MIB, DATA * MIB));
	assert_true(allocated(setup.fd) == DATA * MIB);
	tear_down(&setup);
}

static void a_step_is_bounded_by_runs(void **state)
{
	enum { RUNS = 100, APART = 1 << 20 };
	uint8_t bytes[4096];
	struct setup setup;
	uint64_t at = 0, left;
	unsigned steps = 0;

	fill(bytes, sizeof(bytes), 1);
	set_up(&setup, new_memory((uint64_t)RUNS * APART * 32), "discard=unmap");
	for (uint64_t i = 0; i < RUNS; i++)
		assert_int_equal(pwrite(setup.fd, bytes, sizeof(bytes), (off_t)(i * APART)),
		                 sizeof(bytes));
	do {
		left = partly(setup.block, OB_BLOCK_DISCARD, 0, at);
		at = setup.block->info.size - left;
		steps++;
	} while (left);
	assert_int_equal(steps, 2);
	assert_int_equal(allocated(setup.fd), 0);
	/* Who does not say that a part will do gets all. */
	for (uint64_t i = 0; i < RUNS; i++)
		assert_int_equal(pwrite(setup.fd, bytes, sizeof(bytes), (off_t)(i * APART)),
		                 sizeof(bytes));
	assert_int_equal(do_range(setup.block, OB_BLOCK_DISCARD, 0, 0, setup.block->info.size), 0);
	assert_int_equal(allocated(setup.fd), 0);
	tear_down(&setup);
}

/* Then a step is a part of the whole, so that it ends. */
static void holes_that_are_not_known(void **state)
{
	struct setup setup;
	uint64_t at = 0, left;
	unsigned steps = 0;

	set_up(&setup, new_memory(HUGE_SIZE), "discard=unmap");
	setup.node->knows_holes = false;
	left = partly(setup.block, OB_BLOCK_DISCARD, 0, 0);
	assert_true(left == HUGE_SIZE - (HUGE_SIZE / 256 & ~(MIB - 1)));
	tear_down(&setup);
	set_up(&setup, new_memory(UINT64_C(3) << 30), "discard=unmap");
	setup.node->knows_holes = false;
	do {
		left = partly(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, at);
		at = setup.block->info.size - left;
		steps++;
	} while (left);
	assert_int_equal(steps, 3);
	/* Nothing is looked for, so holes are filled. */
	tear_down(&setup);
	set_up(&setup, new_memory(SIZE), "discard=ignore");
	setup.node->knows_holes = false;
	assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0, SIZE), 0);
	assert_true(allocated(setup.fd) >= SIZE);
	tear_down(&setup);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zeroes_leave_holes),
		cmocka_unit_test(zeroes_end_where_they_should),
		cmocka_unit_test(a_thick_file_stays_thick),
		cmocka_unit_test(a_filter_leaves_holes),
		cmocka_unit_test(a_step_is_bounded_by_data),
		cmocka_unit_test(a_step_is_bounded_by_runs),
		cmocka_unit_test(holes_that_are_not_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
