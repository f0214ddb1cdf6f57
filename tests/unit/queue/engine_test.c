/* SPDX-License-Identifier: BSD-3-Clause */
/* The queue engine with a model that does as it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "loop/loop.h"
#include "outboard/device.h"
#include "outboard/queue.h"

enum { VECTORS = 2 };

struct rig {
	struct ob_loop *loop;
	struct ob_queues queues;
	bool runs, fails;
	unsigned fetches, polls, interrupts[VECTORS];
};

static struct rig *rig_of(const struct ob_queues *queues)
{
	return ob_container_of(queues, struct rig, queues);
}

static bool running(const struct ob_queues *queues)
{
	return rig_of(queues)->runs;
}

/* One entry; or the one that makes the device fail, as nvme does with what it can't reach. */
static unsigned fetch(struct ob_queues *queues, unsigned id, unsigned max)
{
	struct rig *rig = rig_of(queues);

	rig->fetches++;
	if (rig->fails) {
		rig->runs = false;
		ob_queues_stop(queues, true);
	}
	return 1;
}

static void post(struct ob_queues *queues, unsigned id)
{
}

static void notify(struct ob_queues *queues, unsigned id, unsigned count)
{
}

static void interrupt(struct ob_queues *queues, unsigned vector)
{
	rig_of(queues)->interrupts[vector]++;
}

static bool can_poll(struct ob_queues *queues)
{
	return true;
}

static bool poll(struct ob_queues *queues)
{
	struct rig *rig = rig_of(queues);

	rig->polls++;
	if (rig->fails)
		ob_queue_kick(queues, 0);
	return rig->fails;
}

static void suppress(struct ob_queues *queues)
{
}

static void arm(struct ob_queues *queues, unsigned id)
{
}

static const struct ob_queue_ops ops = {
	.running = running,
	.fetch = fetch,
	.post = post,
	.notify = notify,
	.interrupt = interrupt,
	.can_poll = can_poll,
	.poll = poll,
	.suppress = suppress,
	.arm = arm,
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	rig->loop = loop_new();
	rig->runs = true;
	ob_queues_init(&rig->queues, rig->loop, &ops,
	               &(struct ob_queue_options){
			       .count = 1, .polling = OB_QUEUE_POLL_ON, .poll_max_us = 1000000});
	ob_queue_add(&rig->queues, 0);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	ob_queues_stop(&rig->queues, false);
	ob_queue_interrupts_drop(&rig->queues);
	loop_free(rig->loop);
	free(rig);
	return 0;
}

static void turn(struct rig *rig)
{
	assert_int_equal(loop_turn(rig->loop, 0), 0);
}

/* Polls from now on. */
static void begin_to_poll(struct rig *rig)
{
	ob_queue_kick(&rig->queues, 0);
	turn(rig);
	assert_true(rig->queues.poll.active);
}

static void is_not_polled(struct rig *rig)
{
	unsigned polls = rig->polls;

	assert_false(rig->queues.poll.active);
	for (unsigned i = 0; i < 3; i++)
		turn(rig);
	assert_int_equal(rig->polls, polls);
}

static void a_device_that_fails_in_a_turn_is_not_polled(void **state)
{
	struct rig *rig = *state;

	rig->fails = true;
	ob_queue_kick(&rig->queues, 0);
	turn(rig);
	assert_int_equal(rig->fetches, 1);
	is_not_polled(rig);
}

static void a_device_that_fails_while_polled_is_not_polled(void **state)
{
	struct rig *rig = *state;

	begin_to_poll(rig);
	rig->fails = true;
	turn(rig);
	assert_int_equal(rig->fetches, 2);
	is_not_polled(rig);
}

/* Of one vector an interrupt is held, of the other it is coalesced. */
static void hold_both(struct rig *rig)
{
	begin_to_poll(rig);
	ob_queue_interrupt(&rig->queues, 0, 1, 0, 0, true);
	ob_queue_interrupt(&rig->queues, 1, 3, 4, UINT64_C(3600000000000), true);
	assert_int_equal(rig->interrupts[0] + rig->interrupts[1], 0);
}

static void all_interrupts_are_flushed(void **state)
{
	struct rig *rig = *state;

	hold_both(rig);
	ob_queue_interrupts_flush(&rig->queues);
	assert_int_equal(rig->interrupts[0], 1);
	assert_int_equal(rig->interrupts[1], 1);
	ob_queue_interrupts_flush(&rig->queues);
	assert_int_equal(rig->interrupts[0] + rig->interrupts[1], 2);
}

/* What was dropped counts for no later one. */
static void all_interrupts_are_dropped(void **state)
{
	struct rig *rig = *state;

	hold_both(rig);
	ob_queue_interrupts_drop(&rig->queues);
	ob_queue_interrupts_flush(&rig->queues);
	ob_queue_interrupt(&rig->queues, 1, 3, 4, UINT64_C(3600000000000), false);
	assert_int_equal(rig->interrupts[0] + rig->interrupts[1], 0);
	ob_queue_interrupt(&rig->queues, 1, 1, 4, UINT64_C(3600000000000), false);
	assert_int_equal(rig->interrupts[1], 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_device_that_fails_in_a_turn_is_not_polled, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_device_that_fails_while_polled_is_not_polled,
	                                        setup, teardown),
		cmocka_unit_test_setup_teardown(all_interrupts_are_flushed, setup, teardown),
		cmocka_unit_test_setup_teardown(all_interrupts_are_dropped, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
