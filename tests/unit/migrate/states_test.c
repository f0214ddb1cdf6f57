/* SPDX-License-Identifier: BSD-3-Clause */
/* The states of a migration: every way there is, every way there is not, and what has to wait. */
#include "kit.h"

#include "base/list.h"

enum {
	E = MIGRATE_ERROR,
	S = MIGRATE_STOP,
	R = MIGRATE_RUNNING,
	C = MIGRATE_STOP_COPY,
	L = MIGRATE_RESUMING,
	P = MIGRATE_PRE_COPY,
};

static const unsigned states[] = {E, S, R, C, L, P};

/* All ways between two different states, as vfio-user's specification has them; others fail. */
static const struct {
	unsigned from, to;
	unsigned path[4]; /* ended by 0 */
} ways[] = {
	{S, R, {R}},    {S, C, {C}},    {S, L, {L}},    {S, P, {R, P}},    {R, S, {S}},
	{R, C, {S, C}}, {R, L, {S, L}}, {R, P, {P}},    {C, S, {S}},       {C, R, {S, R}},
	{C, L, {S, L}}, {L, S, {S}},    {L, R, {S, R}}, {L, C, {S, C}},    {L, P, {S, R, P}},
	{P, S, {R, S}}, {P, R, {R}},    {P, C, {C}},    {P, L, {R, S, L}},
};

static int set_up(void **state)
{
	struct side *side = malloc(sizeof(*side));

	side_init(side, loop_new());
	side_start(side, &mover_model, "");
	*state = side;
	return 0;
}

static int tear_down(void **state)
{
	struct side *side = *state;
	struct ob_loop *loop = side->loop;

	migrate_abandon(side->migration);
	side_free(side);
	loop_free(loop);
	free(side);
	return 0;
}

static const unsigned *find_way(unsigned from, unsigned to)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		if (ways[i].from == from && ways[i].to == to)
			return ways[i].path;
	}
	return NULL;
}

static void ways_are_the_shortest(void **state)
{
	for (unsigned from = 0; from < 10; from++) {
		for (unsigned to = 0; to < 10; to++) {
			const unsigned *path = find_way(from, to);
			unsigned at = from;

			for (; path && *path; path++) {
				assert_int_equal(migrate_next(at, to), *path);
				at = *path;
			}
			if (path)
				assert_int_equal(at, to);
			else if (from == to && from != E && from < 8 && from != 5 && from != 7)
				assert_int_equal(migrate_next(from, to), to);
			else
				assert_int_equal(migrate_next(from, to), -EINVAL);
		}
	}
}

/* From anywhere to a state: with a stream of the device's own where there has to be one. */
static void go_from_running(struct side *side, unsigned to)
{
	struct bytes bad = {(uint8_t *)"nonsense, and enough of it", 26};

	(void)migrate_reset(side->migration, NULL);
	assert_int_equal(migrate_state(side->migration), R);
	if (to != E) {
		assert_int_equal(side_go(side, to), 0);
		return;
	}
	assert_int_equal(side_go(side, L), 0);
	assert_int_equal(side_write(side, &bad, 5), -EINVAL);
	assert_int_equal(side_go(side, S), -EINVAL);
	assert_int_equal(migrate_state(side->migration), E);
}

static void fill_if_resuming(struct side *side, const struct bytes *stream, unsigned from)
{
	if (from == L)
		assert_int_equal(side_write(side, stream, 4096), 0);
}

static void save_own(struct side *side, struct bytes *stream)
{
	assert_int_equal(side_go(side, C), 0);
	side_read(side, stream, 100);
	assert_int_equal(side_go(side, R), 0);
}

/* Each pair of states, on a device. What is refused changes nothing. */
static void each_way_is_gone_and_no_other(void **state)
{
	struct side *side = *state;
	struct bytes stream = {0};

	side_mover(side)->slow = false;
	mover_reset(side->dev);
	save_own(side, &stream);
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(states); k++) {
			unsigned from = states[i], to = states[k];
			bool possible = find_way(from, to) || (from == to && from != E);
			bool stopped;

			go_from_running(side, from);
			if (from != to)
				fill_if_resuming(side, &stream, from);
			assert_int_equal(side_go(side, to), possible ? 0 : -EINVAL);
			assert_int_equal(migrate_state(side->migration), possible ? to : from);
			if (!possible)
				assert_true(migrate_why(side->migration)[0]);
			to = possible ? to : from;
			stopped = to != R && to != P;
			assert_int_equal(side_mover(side)->quiesces - side_mover(side)->resumes,
			                 stopped);
		}
	}
	free(stream.data);
}

static void states_that_are_none(void **state)
{
	static const unsigned none[] = {0, 5, 7, 8, 9, 255, 256, UINT32_MAX};
	struct side *side = *state;

	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		assert_int_equal(side_go(side, none[i]), -EINVAL);
		assert_int_equal(migrate_state(side->migration), R);
		assert_string_equal(migrate_state_name(none[i]), none[i] ? "?" : "ERROR");
	}
}

static void stopping_waits_for_work_in_flight(void **state)
{
	struct side *side = *state;

	side_mover(side)->slow = true;
	assert_int_equal(migrate_set_state(side->migration, C, &side->waiter), -EINPROGRESS);
	assert_int_equal(migrate_state(side->migration), R);
	side_turns(side);
	assert_int_equal(side->calls, 0);
	assert_int_equal(migrate_set_state(side->migration, S, &side->waiter), -EBUSY);
	assert_int_equal(migrate_read(side->migration, side, 1), -EINVAL);
	ob_dev_quiet(side->dev);
	side_turns(side);
	assert_int_equal(side->calls, 1);
	assert_int_equal(side->status, 0);
	assert_int_equal(migrate_state(side->migration), C);
}

/* The copy goes on while the device comes to rest. */
static void pre_copy_to_stop_copy_waits_too(void **state)
{
	struct side *side = *state;
	uint8_t byte;

	assert_int_equal(side_go(side, P), 0);
	assert_int_equal(migrate_read(side->migration, &byte, 1), 1);
	side_mover(side)->slow = true;
	assert_int_equal(migrate_set_state(side->migration, C, &side->waiter), -EINPROGRESS);
	assert_int_equal(migrate_state(side->migration), P);
	ob_dev_quiet(side->dev);
	side_turns(side);
	assert_int_equal(migrate_state(side->migration), C);
	assert_int_equal(migrate_read(side->migration, &byte, 1), 1);
	assert_int_equal(byte, 'u');
}

static void reset_leads_to_running(void **state)
{
	struct side *side = *state;

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		go_from_running(side, states[i]);
		(void)migrate_reset(side->migration, NULL);
		assert_int_equal(migrate_state(side->migration), R);
		assert_int_equal(side_mover(side)->quiesces, side_mover(side)->resumes);
		assert_int_equal(migrate_pending(side->migration), 0);
	}
}

/* Somebody who wants the device reset, and came before the migration did. */
struct resetter {
	struct device_hold hold;
	struct side *side;
};

static void reset_now(struct device_hold *hold)
{
	struct side *side = ((struct resetter *)hold)->side;

	device_reset(side->dev);
	(void)migrate_reset(side->migration, NULL);
	device_release(side->dev, hold);
}

static void a_reset_ends_a_wait(void **state)
{
	struct side *side = *state;
	struct resetter resetter = {.hold.done = reset_now, .side = side};

	assert_int_equal(side_go(side, P), 0);
	side_mover(side)->slow = true;
	assert_int_equal(device_hold(side->dev, &resetter.hold, DEVICE_HOLD_RESET), -EINPROGRESS);
	assert_int_equal(migrate_set_state(side->migration, C, &side->waiter), -EINPROGRESS);
	ob_dev_quiet(side->dev);
	side_turns(side);
	assert_int_equal(side->calls, 1);
	assert_int_equal(side->status, -ECANCELED);
	assert_int_equal(migrate_state(side->migration), R);
	assert_int_equal(side_mover(side)->quiesces, side_mover(side)->resumes);
	side_mover(side)->slow = false;
	assert_int_equal(side_go(side, C), 0);
}

static void a_device_that_goes_ends_a_wait(void **state)
{
	struct side *side = *state;

	side_mover(side)->slow = true;
	assert_int_equal(migrate_set_state(side->migration, C, &side->waiter), -EINPROGRESS);
	device_free(side->dev);
	assert_int_equal(side->calls, 1);
	assert_int_equal(side->status, -ENODEV);
	side_start(side, &mover_model, "");
}

/* Whoever moved it has left: what was stopped runs, what was half loaded is in ERROR. */
static void departure_in_each_state(void **state)
{
	static const unsigned then[] = {[E] = E, [S] = R, [R] = R, [C] = R, [L] = R, [P] = R};
	struct side *side = *state;
	struct bytes some = {(uint8_t *)"out", 3};

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		go_from_running(side, states[i]);
		migrate_abandon(side->migration);
		assert_int_equal(migrate_state(side->migration), then[states[i]]);
	}
	go_from_running(side, L);
	assert_int_equal(side_write(side, &some, 3), 0);
	migrate_abandon(side->migration);
	assert_int_equal(migrate_state(side->migration), E);
	(void)migrate_reset(side->migration, NULL);
	assert_int_equal(migrate_state(side->migration), R);
}

static void data_belongs_to_states(void **state)
{
	struct side *side = *state;
	uint8_t byte = 'o';

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		bool saves = states[i] == C || states[i] == P;

		go_from_running(side, states[i]);
		assert_int_equal(migrate_read(side->migration, &byte, 1), saves ? 1 : -EINVAL);
		assert_int_equal(migrate_pending(side->migration) > 0, saves);
		byte = 'o';
		assert_int_equal(migrate_write(side->migration, &byte, 1),
		                 states[i] == L ? 0 : -EINVAL);
	}
}

/* A stream begins anew in each saving state that is entered from outside. */
static void a_stream_that_is_dropped_begins_anew(void **state)
{
	struct bytes first = {0}, second = {0};
	struct side *side = *state;

	assert_int_equal(side_go(side, P), 0);
	side_read(side, &first, 64);
	assert_int_equal(side_go(side, R), 0);
	assert_int_equal(side_go(side, C), 0);
	side_read(side, &second, 64);
	assert_memory_equal(first.data, second.data, first.size);
	assert_true(second.size > first.size);
	free(first.data);
	free(second.data);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(ways_are_the_shortest),
		test(each_way_is_gone_and_no_other),
		test(states_that_are_none),
		test(stopping_waits_for_work_in_flight),
		test(pre_copy_to_stop_copy_waits_too),
		test(reset_leads_to_running),
		test(a_reset_ends_a_wait),
		test(a_device_that_goes_ends_a_wait),
		test(departure_in_each_state),
		test(data_belongs_to_states),
		test(a_stream_that_is_dropped_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
