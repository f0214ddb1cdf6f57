/* SPDX-License-Identifier: BSD-3-Clause */
/* Long accesses, and many maps at once: they take several turns, in which others have theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

enum { SIZE = 256 << 10, WRITES = 2000 };

/* Beside the state that the rig's model has, so that its callbacks fit. */
struct wide_state {
	struct rig_state rig;
	uint8_t bytes[SIZE];
	unsigned calls;
};

static uint64_t wide_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	struct wide_state *wide = ob_dev_state(dev);

	wide->calls++;
	return ob_get_le(wide->bytes + offset, size);
}

static void wide_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct wide_state *wide = ob_dev_state(dev);

	wide->calls++;
	ob_put_le(wide->bytes + offset, value, size);
}

static const struct ob_model wide_model = {
	.name = "wide",
	.summary = "for tests",
	.state_size = sizeof(struct wide_state),
	.runtime_size = sizeof(struct rig_runtime),
	.layout =
		{
			.ident = {.vendor = 0x1234, .device = 0x5678},
			.bars = {{.size = SIZE,
                                  OB_WINDOWS({.read = wide_read, .write = wide_write})}},
		},
	.reset = rig_model_reset,
};

static int set_up(void **state)
{
	rig_set_up_with(state, &wide_model);
	rig_negotiate(*state, "{\"capabilities\":{\"write_multiple\":true,\"max_msg_fds\":16}}");
	return 0;
}

static struct wide_state *wide_of(struct rig *rig)
{
	return ob_dev_state(rig->dev);
}

/* Until the session takes commands again. Returns how many turns that took. */
static unsigned wait_for_it(struct rig *rig)
{
	unsigned turns = 0;

	for (; rig->paused; turns++) {
		unsigned before = wide_of(rig)->calls;

		assert_int_equal(loop_turn(rig->loop, 0), 0);
		assert_true(wide_of(rig)->calls - before <= 8192 / 4);
	}
	return turns;
}

static void a_long_read(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access access = {6, 0, SIZE - 10};

	for (size_t i = 0; i < SIZE; i++)
		wide_of(rig)->bytes[i] = (uint8_t)(i ^ i >> 8);
	rig_send(rig, 77, WIRE_REGION_READ, 0, &access, sizeof(access), NULL, 0, NULL, 0);
	assert_true(rig->paused);
	assert_int_equal(wait_for_it(rig), SIZE / 8192);
	assert_int_equal(rig_reply(rig, WIRE_REGION_READ), 0);
	assert_int_equal(rig->length, sizeof(access) + access.count);
	assert_memory_equal(rig->data, &access, sizeof(access));
	assert_memory_equal(rig->data + sizeof(access), wide_of(rig)->bytes + 6, access.count);
	/* No register was read twice, though the first and the last are read in part. */
	assert_int_equal(wide_of(rig)->calls, SIZE / 4 - 2);
}

static void a_long_write(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access access = {4096, 0, 100000};
	uint8_t *data = malloc(access.count);

	for (size_t i = 0; i < access.count; i++)
		data[i] = (uint8_t)(i ^ i >> 8);
	rig_send(rig, 77, WIRE_REGION_WRITE, 0, &access, sizeof(access), data, access.count, NULL,
	         0);
	assert_true(wait_for_it(rig) > 1);
	assert_int_equal(rig_reply(rig, WIRE_REGION_WRITE), 0);
	assert_int_equal(rig->length, sizeof(access));
	assert_memory_equal(wide_of(rig)->bytes + 4096, data, access.count);
	free(data);
}

static void long_ones_without_a_reply(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access access = {0, 0, 20000};

	rig_send(rig, 1, WIRE_REGION_READ, WIRE_NO_REPLY, &access, sizeof(access), NULL, 0, NULL,
	         0);
	wait_for_it(rig);
	assert_false(rig_receive(rig));
	assert_int_equal(wide_of(rig)->calls, 20000 / 4);
}

static void what_cannot_be_done_is_not_begun(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access access = {8, 0, SIZE};

	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &access, sizeof(access)), EINVAL);
	assert_false(rig->paused);
	assert_int_equal(wide_of(rig)->calls, 0);
}

struct many {
	uint64_t count;
	struct wire_small_write writes[WRITES];
};

static struct many *make_many(void)
{
	struct many *many = calloc(1, sizeof(*many));

	many->count = WRITES;
	for (uint32_t i = 0; i < WRITES; i++)
		many->writes[i] = (struct wire_small_write){4 * i, 0, 4, {(uint8_t)i, 1, 2, 3}};
	return many;
}

static uint64_t written(struct rig *rig, const struct many *many)
{
	rig_send(rig, 77, WIRE_REGION_WRITE_MULTI, 0, many, sizeof(*many), NULL, 0, NULL, 0);
	assert_true(wait_for_it(rig) > 0 || many->writes[0].region);
	if (rig_reply(rig, WIRE_REGION_WRITE_MULTI))
		return UINT64_MAX;
	assert_int_equal(rig->length, 8);
	return ob_get_le64(rig->data);
}

static void many_writes(void **state)
{
	struct rig *rig = *state;
	struct many *many = make_many();

	assert_int_equal(written(rig, many), WRITES);
	for (unsigned i = 0; i < WRITES; i++)
		assert_memory_equal(wide_of(rig)->bytes + 4 * i, many->writes[i].data, 4);
	many->writes[1500].offset = SIZE;
	assert_int_equal(written(rig, many), 1500);
	many->writes[0].region = 5;
	assert_true(written(rig, many) == UINT64_MAX);
	free(many);
}

/* Also few writes, when they take long: some at a time. */
static void writes_that_take_long(void **state)
{
	struct rig *rig = *state;
	struct many *many = make_many();

	many->count = 100;
	loop_set_share(rig->loop, 0);
	rig_send(rig, 77, WIRE_REGION_WRITE_MULTI, 0, many,
	         offsetof(struct many, writes) + 100 * sizeof(many->writes[0]), NULL, 0, NULL, 0);
	assert_int_equal(wide_of(rig)->calls, 16);
	assert_true(rig->paused);
	assert_int_equal(wait_for_it(rig), 6);
	assert_int_equal(wide_of(rig)->calls, 100);
	loop_set_share(rig->loop, UINT64_MAX);
	free(many);
}

static void the_end_in_the_middle(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access access = {0, 0, SIZE};
	unsigned calls;

	rig_send(rig, 77, WIRE_REGION_READ, 0, &access, sizeof(access), NULL, 0, NULL, 0);
	loop_turn(rig->loop, 0);
	loop_turn(rig->loop, 0);
	calls = wide_of(rig)->calls;
	assert_true(calls > 0 && calls < SIZE / 4);
	rig_end(rig);
	rig_turns(rig);
	assert_int_equal(rig->ends, 1);
	assert_int_equal(wide_of(rig)->calls, calls);
	assert_false(rig_receive(rig));
}

static void make_maps(struct rig *rig, unsigned count)
{
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(rig_map(rig, i << 12, 0x1000, NULL), 0);
}

static void many_maps_go_in_several_turns(void **state)
{
	struct rig *rig = *state;
	const struct wire_dma_unmap all = {24, WIRE_DMA_UNMAP_ALL, 0, 0};

	make_maps(rig, 3 * DMA_UNMAP_BATCH);
	rig_send(rig, 77, WIRE_DMA_UNMAP, 0, &all, sizeof(all), NULL, 0, NULL, 0);
	assert_true(rig->paused);
	assert_int_equal(wait_for_it(rig), 2);
	assert_int_equal(rig_reply(rig, WIRE_DMA_UNMAP), 0);
	assert_int_equal(dma_map_count(device_dma(rig->dev)), 0);
}

static void many_maps_at_the_end(void **state)
{
	struct rig *rig = *state;
	const struct wire_dma_unmap all = {24, WIRE_DMA_UNMAP_ALL, 0, 0};

	make_maps(rig, 3 * DMA_UNMAP_BATCH);
	rig_end(rig);
	assert_int_equal(rig->ends, 0);
	rig_turns(rig);
	assert_int_equal(rig->ends, 1);
	/* And when it ends while they go. */
	rig_new_session(rig);
	rig_negotiate(rig, "{}");
	make_maps(rig, 3 * DMA_UNMAP_BATCH);
	rig_send(rig, 77, WIRE_DMA_UNMAP, 0, &all, sizeof(all), NULL, 0, NULL, 0);
	rig_end(rig);
	rig_turns(rig);
	assert_int_equal(rig->ends, 2);
	assert_int_equal(dma_map_count(device_dma(rig->dev)), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_long_read),
		test(a_long_write),
		test(long_ones_without_a_reply),
		test(what_cannot_be_done_is_not_begun),
		test(many_writes),
		test(writes_that_take_long),
		test(the_end_in_the_middle),
		test(many_maps_go_in_several_turns),
		test(many_maps_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
