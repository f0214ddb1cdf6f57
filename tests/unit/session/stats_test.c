/* SPDX-License-Identifier: BSD-3-Clause */
/* What a session counts, and what it tells about its client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"
#include "session/stats.h"

static struct session_info describe(struct rig *rig)
{
	struct session_info info;

	session_describe(rig->session, &info);
	return info;
}

static void what_was_agreed_on_is_told(void **state)
{
	struct rig *rig = *state;
	int fd = -1;

	assert_false(describe(rig).negotiated);
	assert_int_equal(describe(rig).max_data_xfer_size, 0);
	rig_negotiate(rig, "{\"capabilities\":{\"max_msg_fds\":7,\"write_multiple\":true}}");
	assert_true(describe(rig).negotiated);
	assert_int_equal(describe(rig).max_msg_fds, 7);
	assert_true(describe(rig).write_multiple);
	assert_false(describe(rig).twin_socket);
	assert_int_equal(describe(rig).maps, 0);
	assert_int_equal(rig_map(rig, 0x100000, 4096, &fd), 0);
	assert_int_equal(describe(rig).maps, 1);
	assert_int_equal(describe(rig).map_fds, 0);
}

static void messages_bytes_and_errors_are_counted(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access read = {0, DEVICE_REGION_CONFIG, 4}, wrong = {0, 99, 4};
	const struct session_command_stats *stats;

	rig_negotiate(rig, "{}");
	for (int i = 0; i < 33; i++)
		assert_int_equal(rig_call(rig, WIRE_REGION_READ, &read, sizeof(read)), 0);
	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &wrong, sizeof(wrong)), EINVAL);
	stats = &describe(rig).stats->command[WIRE_REGION_READ];
	assert_int_equal(stats->messages, 34);
	assert_int_equal(stats->errors, 1);
	/* Header and payload, there and back; an error's reply is a header. */
	assert_int_equal(stats->bytes, 34 * 32 + 33 * 36 + 16);
	assert_int_equal(stats->timed, 3);
	assert_true(stats->max_ns <= stats->total_ns);
	assert_int_equal(describe(rig).stats->command[WIRE_VERSION].timed, 1);
	assert_int_equal(rig_call(rig, 250, NULL, 0), ENOTSUP);
	assert_int_equal(describe(rig).stats->command[0].errors, 1);
}

static void every_time_is_in_one_bucket(void **state)
{
	struct rig *rig = *state;
	const struct session_command_stats *stats;
	uint64_t sum = 0;

	rig_negotiate(rig, "{}");
	for (int i = 0; i < 20; i++)
		assert_int_equal(rig_call(rig, WIRE_RESET, NULL, 0), 0);
	stats = &describe(rig).stats->command[WIRE_RESET];
	for (unsigned i = 0; i < SESSION_LATENCY_BUCKETS; i++)
		sum += stats->latency[i];
	assert_int_equal(sum, stats->timed);
	assert_int_equal(stats->timed, 20);
}

/* Its time is that of the wait, and not of the message's handling. */
static void what_waits_is_timed_to_its_reply(void **state)
{
	struct rig *rig = *state;
	const struct session_command_stats *stats;

	rig_negotiate(rig, "{}");
	rig_state(rig)->slow = true;
	rig_send(rig, 9, WIRE_RESET, 0, NULL, 0, NULL, 0, NULL, 0);
	rig_turns(rig);
	stats = &describe(rig).stats->command[WIRE_RESET];
	assert_int_equal(stats->messages, 1);
	assert_int_equal(stats->timed, 0);
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_int_equal(stats->timed, 1);
	assert_true(rig_receive(rig));
	rig_state(rig)->slow = false;
}

static void commands_have_names(void **state)
{
	assert_string_equal(session_command_name(WIRE_DMA_MAP), "DMA_MAP");
	assert_null(session_command_name(0));
	assert_null(session_command_name(1000));
}

#define test(function) cmocka_unit_test_setup_teardown(function, rig_set_up_raw, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_was_agreed_on_is_told),      test(messages_bytes_and_errors_are_counted),
		test(every_time_is_in_one_bucket),     test(what_waits_is_timed_to_its_reply),
		cmocka_unit_test(commands_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
