/* SPDX-License-Identifier: BSD-3-Clause */
/* A session whose device moves: changes of state that take time, and clients that do not wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "migrate/migrate.h"
#include "rig.h"

static const struct ob_field fields[] = {
	OB_FIELD_BLOB(struct rig_state, bar),
	OB_FIELDS_END,
};

static const struct ob_migration migration = {.version = 1, .fields = fields};

static int set_up(void **state)
{
	static struct ob_model model;

	model = rig_model;
	model.migration = &migration;
	rig_set_up_with(state, &model);
	rig_negotiate(*state, "{\"capabilities\":{\"migration\":{}}}");
	return 0;
}

struct set_state {
	struct wire_device_feature header;
	struct wire_mig_device_state state;
};

static struct set_state request_for(enum migrate_state state)
{
	return (struct set_state){
		{sizeof(struct set_state), WIRE_FEATURE_SET | WIRE_FEATURE_MIG_DEVICE_STATE},
		{state, 77}};
}

static int go(struct rig *rig, enum migrate_state state)
{
	const struct set_state request = request_for(state);

	return rig_call(rig, WIRE_DEVICE_FEATURE, &request, sizeof(request));
}

static void post(struct rig *rig, enum migrate_state state)
{
	const struct set_state request = request_for(state);

	rig_send(rig, 77, WIRE_DEVICE_FEATURE, 0, &request, sizeof(request), NULL, 0, NULL, 0);
}

static enum migrate_state now(struct rig *rig)
{
	return migrate_state(migrate_of(rig->dev));
}

static void a_change_that_takes_time_is_answered_late(void **state)
{
	const struct set_state request = request_for(MIGRATE_STOP_COPY);
	struct rig *rig = *state;

	rig_state(rig)->slow = true;
	post(rig, MIGRATE_STOP_COPY);
	assert_true(rig->paused);
	rig_turns(rig);
	assert_int_equal(rig->sent_start, rig->sent_end);
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_false(rig->paused);
	assert_int_equal(rig_reply(rig, WIRE_DEVICE_FEATURE), 0);
	assert_int_equal(rig->length, sizeof(request));
	assert_memory_equal(rig->data, &request, sizeof(request));
	assert_int_equal(now(rig), MIGRATE_STOP_COPY);
}

static void a_client_that_leaves_meanwhile(void **state)
{
	struct rig *rig = *state;

	rig_state(rig)->slow = true;
	post(rig, MIGRATE_STOP);
	rig_end(rig);
	rig_turns(rig);
	assert_int_equal(rig->ends, 0);
	rig_state(rig)->slow = false;
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_int_equal(rig->ends, 1);
	assert_int_equal(now(rig), MIGRATE_RUNNING);
	assert_int_equal(rig_state(rig)->quiesces, rig_state(rig)->resumes + 1); /* no client */
}

static void a_client_that_leaves_a_stopped_device(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(go(rig, MIGRATE_STOP_COPY), 0);
	assert_int_equal(rig_state(rig)->resumes, 0);
	rig_restart(rig, "{}");
	assert_int_equal(now(rig), MIGRATE_RUNNING);
	assert_int_equal(rig_state(rig)->resumes, 1);
}

static void a_reset_of_a_stopped_device(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(go(rig, MIGRATE_RESUMING), 0);
	assert_int_equal(rig_call(rig, WIRE_RESET, NULL, 0), 0);
	assert_int_equal(now(rig), MIGRATE_RUNNING);
	assert_int_equal(rig_state(rig)->resumes, 1);
	assert_int_equal(go(rig, MIGRATE_STOP), 0);
	assert_int_equal(go(rig, MIGRATE_ERROR), EINVAL);
	assert_int_equal(now(rig), MIGRATE_STOP);
}

/* Nobody would get the bytes, so the stream does not move on. */
static void data_that_nobody_wants_stays(void **state)
{
	const struct wire_mig_data read = {8 + 8, 8};
	struct rig *rig = *state;

	assert_int_equal(go(rig, MIGRATE_STOP_COPY), 0);
	rig_send(rig, 77, WIRE_MIG_DATA_READ, WIRE_NO_REPLY, &read, sizeof(read), NULL, 0, NULL, 0);
	assert_int_equal(rig->sent_start, rig->sent_end);
	assert_int_equal(rig_call(rig, WIRE_MIG_DATA_READ, &read, sizeof(read)), 0);
	assert_memory_equal(rig->data + 8, "outboard", 8);
}

static void a_report_that_nobody_wants_clears_nothing(void **state)
{
	const struct {
		struct wire_device_feature header;
		struct wire_dma_logging logging;
	} start = {{24, WIRE_FEATURE_SET | WIRE_FEATURE_DMA_LOGGING_START}, {4096, 0, 0}};
	const struct {
		struct wire_device_feature header;
		struct wire_dma_report report;
	} report = {{40, WIRE_FEATURE_GET | WIRE_FEATURE_DMA_LOGGING_REPORT}, {0, 4096, 4096}};
	struct rig *rig = *state;
	int fd = rig_memory();

	assert_int_equal(rig_map(rig, 0, RIG_MEMORY, &fd), 0);
	assert_int_equal(rig_call(rig, WIRE_DEVICE_FEATURE, &start, sizeof(start)), 0);
	assert_non_null(ob_dma_direct(rig->dev, 8, 8, OB_DMA_TO_CLIENT));
	rig_send(rig, 77, WIRE_DEVICE_FEATURE, WIRE_NO_REPLY, &report, sizeof(report), NULL, 0,
	         NULL, 0);
	assert_int_equal(rig->sent_start, rig->sent_end);
	assert_int_equal(rig_call(rig, WIRE_DEVICE_FEATURE, &report, sizeof(report)), 0);
	assert_int_equal(rig->length, 40);
	assert_int_equal(rig->data[32], 1);
	assert_int_equal(rig_call(rig, WIRE_DEVICE_FEATURE, &report, sizeof(report)), 0);
	assert_int_equal(rig->data[32], 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_change_that_takes_time_is_answered_late),
		test(a_client_that_leaves_meanwhile),
		test(a_client_that_leaves_a_stopped_device),
		test(a_reset_of_a_stopped_device),
		test(data_that_nobody_wants_stays),
		test(a_report_that_nobody_wants_clears_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
