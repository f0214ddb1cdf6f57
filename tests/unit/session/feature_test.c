/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_FEATURE with a table of the test's own, and without one; commands that carry a migration.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"
#include "session/feature.h"

enum { GET = WIRE_FEATURE_GET, SET = WIRE_FEATURE_SET, PROBE = WIRE_FEATURE_PROBE };

static unsigned sets;

static int get_twice(struct session *session, struct feature_call *call)
{
	uint8_t *reply = feature_reply(session, call, 2 * call->length);

	if (!reply)
		return 0;
	memcpy(reply, call->data, call->length);
	memcpy(reply + call->length, call->data, call->length);
	return 0;
}

static int set_or_not(struct session *session, struct feature_call *call)
{
	sets++;
	call->why = "because";
	return call->data[0] == 'n' ? -EBUSY : 0;
}

static const struct feature table[] = {
	{.index = WIRE_FEATURE_MIGRATION, .get_length = 4, .get = get_twice},
	{.index = WIRE_FEATURE_MIG_DEVICE_STATE, .set_length = 4, .set = set_or_not},
	{.index = WIRE_FEATURE_DMA_LOGGING_START, .get = get_twice, .set = set_or_not},
	{0},
};

static int set_up(void **state)
{
	sets = 0;
	return rig_set_up(state);
}

/* What feature_handle() returns, as the dispatcher would call it. */
static int call_table(struct rig *rig, uint32_t argsz, uint32_t flags, const char *data)
{
	uint8_t payload[64];
	const struct wire_device_feature header = {argsz, flags};
	struct request request = {
		.header = {.id = 77, .command = WIRE_DEVICE_FEATURE},
		.payload = payload,
		.length = sizeof(header) + strlen(data),
	};
	int rc;

	memcpy(payload, &header, sizeof(header));
	memcpy(payload + sizeof(header), data, strlen(data));
	rc = feature_handle(rig->session, &request, table);
	if (rc)
		assert_non_null(request.why);
	else
		assert_int_equal(rig_reply(rig, WIRE_DEVICE_FEATURE), 0);
	return rc;
}

static void get_has_the_data_in_the_reply(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(call_table(rig, 16, GET | 1, "abcd"), 0);
	assert_int_equal(rig->length, 16);
	assert_int_equal(ob_get_le32(rig->data), 16);
	assert_int_equal(ob_get_le32(rig->data + 4), GET | 1);
	assert_memory_equal(rig->data + 8, "abcdabcd", 8);
}

static void get_without_room_tells_how_much_is_needed(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(call_table(rig, 15, GET | 1, "abcd"), 0);
	assert_int_equal(rig->length, 8);
	assert_int_equal(ob_get_le32(rig->data), 16);
}

static void set_and_probe_echo(void **state)
{
	struct rig *rig = *state;
	static const uint32_t probes[] = {PROBE, PROBE | GET, PROBE | SET, PROBE | GET | SET};

	assert_int_equal(call_table(rig, 12, SET | 2, "yes!"), 0);
	assert_int_equal(sets, 1);
	assert_int_equal(rig->length, 12);
	assert_memory_equal(rig->data + 8, "yes!", 4);
	for (size_t i = 0; i < ARRAY_SIZE(probes); i++) {
		assert_int_equal(call_table(rig, 8, probes[i] | 6, ""), 0);
		assert_int_equal(rig->length, 8);
		assert_int_equal(ob_get_le32(rig->data + 4), probes[i] | 6);
	}
	assert_int_equal(sets, 1);
}

static void what_is_not_there(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(call_table(rig, 12, SET | 1, "abcd"), -EINVAL);
	assert_int_equal(call_table(rig, 12, GET | 2, "abcd"), -EINVAL);
	assert_int_equal(call_table(rig, 8, PROBE | SET | 1, ""), -EINVAL);
	assert_int_equal(call_table(rig, 8, PROBE | GET | SET | 2, ""), -EINVAL);
	assert_int_equal(call_table(rig, 12, GET | 3, "abcd"), -ENOTTY);
	assert_int_equal(call_table(rig, 12, PROBE | 0xffff, ""), -ENOTTY);
	assert_int_equal(call_table(rig, 12, GET | 1, "abc"), -EINVAL);
	assert_int_equal(call_table(rig, 12, SET | 2, "abc"), -EINVAL);
	assert_int_equal(sets, 0);
	assert_int_equal(call_table(rig, 12, SET | 2, "no.."), -EBUSY);
}

static void a_device_that_does_not_migrate_has_no_feature(void **state)
{
	static const uint32_t methods[] = {GET, SET, PROBE, PROBE | GET | SET};
	struct rig *rig = *state;

	for (uint32_t index = 0; index < 12; index++) {
		for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
			struct wire_device_feature feature = {8, methods[i] | index};

			assert_int_equal(
				rig_call(rig, WIRE_DEVICE_FEATURE, &feature, sizeof(feature)),
				ENOTTY);
		}
	}
}

static void a_device_that_does_not_migrate_has_no_data(void **state)
{
	struct rig *rig = *state;
	struct wire_mig_data data = {8 + 4096, 4096};

	assert_int_equal(rig_call(rig, WIRE_MIG_DATA_READ, &data, sizeof(data)), ENOTSUP);
	data.size = 4097;
	assert_int_equal(rig_call(rig, WIRE_MIG_DATA_READ, &data, sizeof(data)), EINVAL);
	data = (struct wire_mig_data){8, 0};
	assert_int_equal(rig_call(rig, WIRE_MIG_DATA_WRITE, &data, sizeof(data)), ENOTSUP);
	data.size = 1;
	assert_int_equal(rig_call(rig, WIRE_MIG_DATA_WRITE, &data, sizeof(data)), EINVAL);
	assert_int_equal(rig->closes, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(get_has_the_data_in_the_reply),
		test(get_without_room_tells_how_much_is_needed),
		test(set_and_probe_echo),
		test(what_is_not_there),
		test(a_device_that_does_not_migrate_has_no_feature),
		test(a_device_that_does_not_migrate_has_no_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
