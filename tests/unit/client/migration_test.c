/* SPDX-License-Identifier: BSD-3-Clause */
/* What the client asks of a device that moves, and servers that answer something else. */
#include "kit.h"

#define with_kit(test) cmocka_unit_test_setup_teardown(test, kit_setup, kit_teardown)

enum {
	GET = 1 << 16,
	SET = 1 << 17,
	PROBE = 1 << 18,
	PAGE = 4096,
	BASE = 1 << 20,
	HEAD = 8, /* argsz, flags */
};

/* A reply of that length; argsz says so. */
static void reply(struct kit *kit, uint32_t flags, const void *data, size_t length)
{
	uint8_t payload[4200];
	const uint32_t head[2] = {(uint32_t)(HEAD + length), flags};

	memcpy(payload, head, HEAD);
	if (length)
		memcpy(payload + HEAD, data, length);
	kit_reply(kit, WIRE_DEVICE_FEATURE, payload, HEAD + length);
}

/* What the client sent: its flags, and length bytes of data. */
static void assert_sent(struct kit *kit, uint32_t flags, const void *data, size_t length)
{
	uint32_t head[2];

	kit_take(kit);
	assert_int_equal(kit->header.command, WIRE_DEVICE_FEATURE);
	assert_int_equal(kit->length, HEAD + length);
	memcpy(head, kit->payload, HEAD);
	assert_true(head[0] >= HEAD + length);
	assert_int_equal(head[1], flags);
	if (length)
		assert_memory_equal(kit->payload + HEAD, data, length);
}

static void test_probe(void **state)
{
	struct kit *kit = *state;

	reply(kit, PROBE | SET | WIRE_FEATURE_DMA_LOGGING_START, NULL, 0);
	assert_int_equal(
		ob_client_feature_probe(kit->client, WIRE_FEATURE_DMA_LOGGING_START, false, true),
		0);
	assert_sent(kit, PROBE | SET | WIRE_FEATURE_DMA_LOGGING_START, NULL, 0);
	kit_reply_error(kit, WIRE_DEVICE_FEATURE, ENOTTY);
	assert_int_equal(ob_client_feature_probe(kit->client, 9, true, true), -ENOTTY);
	assert_sent(kit, PROBE | GET | SET | 9, NULL, 0);
}

static void test_flags(void **state)
{
	struct kit *kit = *state;
	struct ob_client_migration migration;
	uint64_t flags = WIRE_MIGRATION_STOP_COPY | WIRE_MIGRATION_PRE_COPY;

	reply(kit, GET | WIRE_FEATURE_MIGRATION, &flags, sizeof(flags));
	assert_int_equal(ob_client_migration(kit->client, &migration), 0);
	assert_true(migration.stop_copy && migration.pre_copy && !migration.p2p);
	assert_sent(kit, GET | WIRE_FEATURE_MIGRATION, NULL, 0);
	kit_reply_error(kit, WIRE_DEVICE_FEATURE, ENOTTY);
	assert_int_equal(ob_client_migration(kit->client, &migration), -ENOTTY);
	/* A device that migrates has STOP_COPY. */
	flags = WIRE_MIGRATION_PRE_COPY;
	reply(kit, GET | WIRE_FEATURE_MIGRATION, &flags, sizeof(flags));
	assert_int_equal(ob_client_migration(kit->client, &migration), -EPROTO);
	assert_non_null(strstr(ob_client_message(kit->client), "STOP_COPY"));
}

static void test_state(void **state)
{
	struct kit *kit = *state;
	struct wire_mig_device_state data = {.device_state = WIRE_STATE_STOP_COPY};
	enum ob_client_state now;

	reply(kit, GET | WIRE_FEATURE_MIG_DEVICE_STATE, &data, sizeof(data));
	assert_int_equal(ob_client_state(kit->client, &now), 0);
	assert_int_equal(now, OB_CLIENT_STATE_STOP_COPY);
	assert_string_equal(ob_client_state_name(now), "STOP_COPY");
	assert_string_equal(ob_client_state_name((enum ob_client_state)8), "unknown");
	assert_sent(kit, GET | WIRE_FEATURE_MIG_DEVICE_STATE, NULL, 0);

	reply(kit, SET | WIRE_FEATURE_MIG_DEVICE_STATE, &data, sizeof(data));
	assert_int_equal(ob_client_set_state(kit->client, OB_CLIENT_STATE_STOP_COPY), 0);
	assert_sent(kit, SET | WIRE_FEATURE_MIG_DEVICE_STATE, &data, sizeof(data));
	/* Refused: the connection stays. */
	kit_reply_error(kit, WIRE_DEVICE_FEATURE, EINVAL);
	assert_int_equal(ob_client_set_state(kit->client, OB_CLIENT_STATE_PRE_COPY), -EINVAL);
	kit_take(kit);
	/* Another state than it was asked for, and one that there is not. */
	reply(kit, SET | WIRE_FEATURE_MIG_DEVICE_STATE, &data, sizeof(data));
	assert_int_equal(ob_client_set_state(kit->client, OB_CLIENT_STATE_STOP), -EPROTO);
	assert_int_equal(ob_client_poll(kit->client), -EPROTO);
}

static void test_state_that_is_none(void **state)
{
	struct kit *kit = *state;
	const struct wire_mig_device_state data = {.device_state = 8};
	enum ob_client_state now;

	reply(kit, GET | WIRE_FEATURE_MIG_DEVICE_STATE, &data, sizeof(data));
	assert_int_equal(ob_client_state(kit->client, &now), -EPROTO);
}

static void test_replies_of_a_wrong_length(void **state)
{
	for (size_t length = 0; length <= 16; length += 4) {
		const uint32_t data[4] = {WIRE_STATE_RUNNING};
		enum ob_client_state now;
		struct kit *kit;

		kit_setup(state);
		kit = *state;
		reply(kit, GET | WIRE_FEATURE_MIG_DEVICE_STATE, data, length);
		assert_int_equal(ob_client_state(kit->client, &now), length == 8 ? 0 : -EPROTO);
		kit_teardown(state);
	}
}

static void test_logging(void **state)
{
	struct kit *kit = *state;
	const struct ob_client_range ranges[2] = {{BASE, 2 * PAGE}, {UINT64_C(1) << 40, PAGE}};
	struct {
		struct wire_dma_logging head;
		struct wire_dma_range ranges[2];
	} data = {{PAGE, 2, 0}, {{BASE, 2 * PAGE}, {UINT64_C(1) << 40, PAGE}}};
	uint64_t page_size = PAGE;

	/* The device cannot do pages so small. */
	data.head.page_size = 2 * PAGE;
	reply(kit, SET | WIRE_FEATURE_DMA_LOGGING_START, &data, sizeof(data));
	assert_int_equal(ob_client_dirty_start(kit->client, &page_size, ranges, 2), 0);
	assert_int_equal(page_size, 2 * PAGE);
	data.head.page_size = PAGE;
	assert_sent(kit, SET | WIRE_FEATURE_DMA_LOGGING_START, &data, sizeof(data));
	reply(kit, SET | WIRE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
	assert_int_equal(ob_client_dirty_stop(kit->client), 0);
	assert_sent(kit, SET | WIRE_FEATURE_DMA_LOGGING_STOP, NULL, 0);

	page_size = 3000;
	assert_int_equal(ob_client_dirty_start(kit->client, &page_size, ranges, 2), -EINVAL);
	kit_nothing_sent(kit);
	page_size = PAGE;
	data.head.page_size = 3000;
	reply(kit, SET | WIRE_FEATURE_DMA_LOGGING_START, &data, sizeof(data));
	assert_int_equal(ob_client_dirty_start(kit->client, &page_size, ranges, 2), -EPROTO);
	assert_int_equal(page_size, PAGE);
}

struct report {
	struct wire_dma_report head;
	uint64_t words[2];
};

static void test_report_adds_to_the_bitmap(void **state)
{
	struct kit *kit = *state;
	struct report data = {{BASE, 70 * PAGE, PAGE}, {1, 1u << 5}};
	uint64_t bitmap[2] = {2, 1};

	reply(kit, GET | WIRE_FEATURE_DMA_LOGGING_REPORT, &data, sizeof(data));
	assert_int_equal(ob_client_dirty_report(kit->client,
	                                        (struct ob_client_range){BASE, 70 * PAGE}, PAGE,
	                                        bitmap),
	                 0);
	assert_int_equal(bitmap[0], 3);
	assert_int_equal(bitmap[1], 1 | 1u << 5);
	assert_sent(kit, GET | WIRE_FEATURE_DMA_LOGGING_REPORT, &data.head, sizeof(data.head));
	/* Not of whole pages. */
	assert_int_equal(ob_client_dirty_report(kit->client,
	                                        (struct ob_client_range){BASE + 1, PAGE}, PAGE,
	                                        bitmap),
	                 -EINVAL);
	kit_nothing_sent(kit);
}

static void test_report_that_is_of_something_else(void **state)
{
	static const struct report wrong[] = {
		{{BASE + PAGE, 70 * PAGE, PAGE}, {0, 0}},
		{{BASE, 71 * PAGE, PAGE}, {0, 0}},
		{{BASE, 70 * PAGE, 2 * PAGE}, {0, 0}},
		{{BASE, 70 * PAGE, PAGE}, {0, 1u << 6}}, /* the 71st page of 70 */
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint64_t bitmap[2] = {0};
		struct kit *kit;

		kit_setup(state);
		kit = *state;
		reply(kit, GET | WIRE_FEATURE_DMA_LOGGING_REPORT, &wrong[i], sizeof(wrong[i]));
		assert_int_equal(ob_client_dirty_report(kit->client,
		                                        (struct ob_client_range){BASE, 70 * PAGE},
		                                        PAGE, bitmap),
		                 -EPROTO);
		assert_int_equal(bitmap[1], 0);
		kit_teardown(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_kit(test_probe),
		with_kit(test_flags),
		with_kit(test_state),
		with_kit(test_state_that_is_none),
		cmocka_unit_test(test_replies_of_a_wrong_length),
		with_kit(test_logging),
		with_kit(test_report_adds_to_the_bitmap),
		cmocka_unit_test(test_report_that_is_of_something_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
