/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA by message: what is asked of the client, in what order and amount, and odd answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

struct op {
	struct ob_dma_op op;
	unsigned done;
	int status;
};

static void op_done(struct ob_dma_op *op, int status)
{
	struct op *mine = container_of(op, struct op, op);

	mine->done++;
	mine->status = status;
}

static int read_op(struct rig *rig, struct op *op, uint64_t address, void *buffer, size_t length)
{
	*op = (struct op){.op = {.done = op_done}};
	return ob_dma_read(rig->dev, address, buffer, length, &op->op);
}

static int write_op(struct rig *rig, struct op *op, uint64_t address, const void *buffer,
                    size_t length)
{
	*op = (struct op){.op = {.done = op_done}};
	return ob_dma_write(rig->dev, address, buffer, length, &op->op);
}

/* The next request of the server: its id, and what it asks for. */
static uint16_t request(struct rig *rig, uint16_t command, struct wire_dma_access *access)
{
	assert_true(rig_receive(rig));
	assert_int_equal(rig->reply.command, command);
	assert_int_equal(rig->reply.flags, WIRE_TYPE_COMMAND);
	assert_true(rig->length >= sizeof(*access));
	memcpy(access, rig->data, sizeof(*access));
	assert_int_equal(rig->length,
	                 sizeof(*access) + (command == WIRE_DMA_WRITE ? access->count : 0));
	return rig->reply.id;
}

static void answer(struct rig *rig, uint16_t id, uint16_t command, uint64_t address, uint64_t count,
                   const void *data, size_t length)
{
	const struct wire_dma_access access = {address, count};

	rig_send(rig, id, command, WIRE_TYPE_REPLY, &access, sizeof(access), data, length, NULL, 0);
}

static int set_up(void **state)
{
	rig_set_up_raw(state);
	rig_negotiate(*state, "{\"capabilities\":{\"max_data_xfer_size\":4096}}");
	assert_int_equal(rig_map(*state, 0, 1 << 20, NULL), 0);
	return 0;
}

static void a_read(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	char buffer[5] = "";
	struct op op;
	uint16_t id;

	assert_int_equal(read_op(rig, &op, 0x1000, buffer, 4), -EINPROGRESS);
	id = request(rig, WIRE_DMA_READ, &access);
	assert_int_equal(access.address, 0x1000);
	assert_int_equal(access.count, 4);
	/* A command in between is served. */
	assert_int_equal(rig_call(rig, WIRE_GET_INFO, &(struct wire_device_info){.argsz = 16}, 16),
	                 0);
	assert_int_equal(op.done, 0);
	answer(rig, id, WIRE_DMA_READ, 0x1000, 4, "abcd", 4);
	assert_int_equal(op.done, 1);
	assert_int_equal(op.status, 0);
	assert_string_equal(buffer, "abcd");
	assert_false(rig_receive(rig));
	assert_int_equal(rig->closes, 0);
}

static void a_write_with_either_reply(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	struct op op;
	uint16_t id;

	for (int shorter = 0; shorter < 2; shorter++) {
		assert_int_equal(write_op(rig, &op, 0x2000, "abcdefgh", 8), -EINPROGRESS);
		id = request(rig, WIRE_DMA_WRITE, &access);
		assert_int_equal(access.address, 0x2000);
		assert_int_equal(access.count, 8);
		assert_memory_equal(rig->data + 16, "abcdefgh", 8);
		rig_send(rig, id, WIRE_DMA_WRITE, WIRE_TYPE_REPLY, &access, shorter ? 12 : 16, NULL,
		         0, NULL, 0);
		assert_int_equal(op.done, 1);
		assert_int_equal(op.status, 0);
	}
}

static void long_ones_are_cut(void **state)
{
	struct rig *rig = *state;
	static uint8_t buffer[10000], memory[10000];
	struct wire_dma_access access;
	struct op op;
	uint16_t id;

	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(i / 13);
	assert_int_equal(read_op(rig, &op, 0x1000, buffer, sizeof(buffer)), -EINPROGRESS);
	for (uint64_t at = 0; at < sizeof(buffer); at += 4096) {
		id = request(rig, WIRE_DMA_READ, &access);
		assert_int_equal(access.address, 0x1000 + at);
		assert_int_equal(access.count, at < 8192 ? 4096 : 10000 - 8192);
		assert_int_equal(op.done, 0);
		answer(rig, id, WIRE_DMA_READ, access.address, access.count, memory + at,
		       access.count);
	}
	assert_int_equal(op.done, 1);
	assert_memory_equal(buffer, memory, sizeof(memory));
}

static void answers_in_any_order(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	char buffers[3][4];
	struct op ops[3];
	uint16_t ids[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(read_op(rig, &ops[i], 0x1000 * i, buffers[i], 4), -EINPROGRESS);
	for (unsigned i = 0; i < 3; i++)
		ids[i] = request(rig, WIRE_DMA_READ, &access);
	for (unsigned i = 3; i-- > 0;) {
		answer(rig, ids[i], WIRE_DMA_READ, 0x1000 * i, 4, &"aaaabbbbcccc"[4 * i], 4);
		assert_int_equal(ops[i].done, 1);
		assert_memory_equal(buffers[i], &"aaaabbbbcccc"[4 * i], 4);
	}
}

/* Bounded: so many requests at a time, the others follow the answers. Ids are used again. */
static void requests_queue(void **state)
{
	enum { OPS = 1000 };
	struct rig *rig = *state;
	struct op *ops = calloc(OPS, sizeof(*ops));
	static uint8_t buffer[4096], memory[4096];
	struct wire_dma_access access;
	unsigned asked = 0, answered = 0;
	uint16_t ids[OPS];

	for (unsigned i = 0; i < OPS; i++)
		assert_int_equal(read_op(rig, &ops[i], 4096 * (i % 256), buffer, 4096),
		                 -EINPROGRESS);
	while (answered < OPS) {
		while (rig->sent_start != rig->sent_end)
			ids[asked++] = request(rig, WIRE_DMA_READ, &access);
		assert_true(asked - answered <= 64);
		assert_true(asked > answered);
		answer(rig, ids[answered], WIRE_DMA_READ, 4096 * (answered % 256), 4096, memory,
		       4096);
		assert_int_equal(ops[answered++].done, 1);
	}
	assert_int_equal(asked, OPS);
	free(ops);
}

static void the_client_says_no(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	char buffer[4];
	struct op op;
	uint16_t id;

	assert_int_equal(read_op(rig, &op, 0, buffer, 4), -EINPROGRESS);
	id = request(rig, WIRE_DMA_READ, &access);
	rig_send(rig, id, WIRE_DMA_READ, WIRE_TYPE_REPLY | WIRE_ERROR, NULL, 0, NULL, 0, NULL, 0);
	assert_int_equal(op.done, 1);
	assert_int_equal(op.status, -EIO);
	assert_int_equal(read_op(rig, &op, 0, buffer, 4), -EINPROGRESS);
	id = request(rig, WIRE_DMA_READ, &access);
	answer(rig, id, WIRE_DMA_READ, 0, 3, "abc", 3); /* less than was asked for */
	assert_int_equal(op.done, 1);
	assert_int_equal(op.status, -EIO);
	assert_int_equal(rig->closes, 0);
}

static void odd_replies_end_the_session(void **state)
{
	static const struct {
		uint16_t id_off, command;
		uint64_t address, count;
		size_t length;
	} odd[] = {
		{1, WIRE_DMA_READ, 0x1000, 4, 4},    {0, WIRE_DMA_WRITE, 0x1000, 4, 0},
		{0, WIRE_RESET, 0x1000, 4, 4},       {0, WIRE_DMA_READ, 0x1001, 4, 4},
		{0, WIRE_DMA_READ, 0x1000, 5, 5},    {0, WIRE_DMA_READ, 0x1000, 4, 3},
		{0, WIRE_DMA_READ, 0x1000, 3, 4},    {0, WIRE_DMA_READ, 0x1000, UINT64_MAX, 4},
		{9999, WIRE_DMA_READ, 0x1000, 4, 4},
	};
	struct wire_dma_access access;
	char buffer[8];
	struct op op;

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		struct rig *rig = *state;
		uint16_t id;

		assert_int_equal(read_op(rig, &op, 0x1000, buffer, 4), -EINPROGRESS);
		id = request(rig, WIRE_DMA_READ, &access);
		answer(rig, (uint16_t)(id + odd[i].id_off), odd[i].command, odd[i].address,
		       odd[i].count, "abcdefgh", odd[i].length);
		assert_int_equal(rig->closes, 1);
		assert_int_equal(rig->close_reason, -EPROTO);
		/* Nothing new is begun, and what was under way ends with the session. */
		rig_end(rig);
		assert_int_equal(op.done, 1);
		assert_true(op.status == -EIO || op.status == -ECANCELED);
		rig_tear_down(state);
		set_up(state);
	}
}

static void a_reply_to_nothing(void **state)
{
	struct rig *rig = *state;

	answer(rig, 0, WIRE_DMA_READ, 0, 4, "abcd", 4);
	assert_int_equal(rig->close_reason, -EPROTO);
}

/* A late reply to what was cancelled is no violation, and its id is not used before it came. */
static void cancelled_then_answered(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	char buffer[5] = "keep";
	struct op op, other;
	uint16_t id, other_id;

	assert_int_equal(read_op(rig, &op, 0x1000, buffer, 4), -EINPROGRESS);
	id = request(rig, WIRE_DMA_READ, &access);
	ob_dma_cancel(rig->dev, &op.op);
	assert_int_equal(read_op(rig, &other, 0x1000, buffer, 4), -EINPROGRESS);
	other_id = request(rig, WIRE_DMA_READ, &access);
	assert_int_not_equal(id, other_id);
	answer(rig, id, WIRE_DMA_READ, 0x1000, 4, "abcd", 4);
	assert_string_equal(buffer, "keep");
	assert_int_equal(op.done, 0);
	answer(rig, other_id, WIRE_DMA_READ, 0x1000, 4, "abcd", 4);
	assert_string_equal(buffer, "abcd");
	assert_int_equal(rig->closes, 0);
	/* But only once. */
	answer(rig, id, WIRE_DMA_READ, 0x1000, 4, "abcd", 4);
	assert_int_equal(rig->closes, 1);
}

static void cancelled_while_queued(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	struct op ops[70];
	char buffer[4];
	unsigned asked = 0;
	uint16_t id = 0;

	for (unsigned i = 0; i < 70; i++)
		assert_int_equal(read_op(rig, &ops[i], 0x1000, buffer, 4), -EINPROGRESS);
	while (rig->sent_start != rig->sent_end && ++asked)
		id = request(rig, WIRE_DMA_READ, &access);
	assert_int_equal(asked, 64);
	for (unsigned i = 64; i < 69; i++)
		ob_dma_cancel(rig->dev, &ops[i].op);
	answer(rig, id, WIRE_DMA_READ, 0x1000, 4, "abcd", 4);
	id = request(rig, WIRE_DMA_READ, &access); /* the last one's */
	answer(rig, id, WIRE_DMA_READ, 0x1000, 4, "abcd", 4);
	assert_int_equal(ops[69].done, 1);
	assert_false(rig_receive(rig));
	for (unsigned i = 0; i < 64; i++)
		ob_dma_cancel(rig->dev, &ops[i].op);
}

static void unmap_ends_what_waits(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	char buffer[4];
	struct op op;
	uint16_t id;

	assert_int_equal(read_op(rig, &op, 0x1000, buffer, 4), -EINPROGRESS);
	id = request(rig, WIRE_DMA_READ, &access);
	assert_int_equal(rig_unmap(rig, 0, 1 << 20), 0);
	assert_int_equal(op.done, 1);
	assert_int_equal(op.status, -EFAULT);
	answer(rig, id, WIRE_DMA_READ, 0x1000, 4, "abcd", 4);
	assert_int_equal(rig->closes, 0);
}

/* The device asks from within a register access: after that one's reply, not in the middle of it.
 */
static void requests_follow_the_reply(void **state)
{
	static const uint8_t address[8] = {0x00, 0x20};
	struct rig *rig = *state;
	struct rig_runtime *runtime = ob_dev_runtime(rig->dev);
	struct wire_region_access region = {RIG_DMA_AT_WRITE, 0, 8};
	struct wire_dma_access access;
	uint16_t id;

	rig_send(rig, 77, WIRE_REGION_WRITE, 0, &region, 16, address, 8, NULL, 0);
	assert_int_equal(rig_reply(rig, WIRE_REGION_WRITE), 0);
	id = request(rig, WIRE_DMA_READ, &access);
	assert_int_equal(access.address, 0x2000);
	answer(rig, id, WIRE_DMA_READ, 0x2000, 16, "0123456789abcdef", 16);
	assert_memory_equal(runtime->buffer, "0123456789abcdef", 16);
	region = (struct wire_region_access){RIG_DMA_AT_READ, 0, 4};
	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &region, 16), 0);
	assert_int_equal(rig->length, 20);
	assert_memory_equal(rig->data, &region, 16);
	request(rig, WIRE_DMA_READ, &access);
	assert_int_equal(access.address, 0);
}

static void the_end_cancels(void **state)
{
	struct rig *rig = *state;
	char buffer[4];
	struct op ops[100];

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(read_op(rig, &ops[i], 0x1000, buffer, 4), -EINPROGRESS);
	rig_end(rig);
	assert_int_equal(rig->ends, 1);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(ops[i].done, 1);
		assert_int_equal(ops[i].status, -ECANCELED);
	}
	assert_int_equal(read_op(rig, &ops[0], 0x1000, buffer, 4), -EFAULT);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, rig_tear_down)

/* The twin */

static const char twin_proposed[] =
	"{\"capabilities\":{\"max_msg_fds\":1,\"twin_socket\":{\"supported\":true}}}";

static void by_the_twin(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	char buffer[5] = "";
	struct op op;
	struct {
		struct wire_dma_access access;
		char data[4];
	} reply = {{0x1000, 4}, "wxyz"};
	uint16_t id;

	rig_restart(rig, twin_proposed);
	assert_true(rig->has_twin);
	assert_int_equal(rig->fd_count, 1);
	assert_non_null(strstr((const char *)rig->data + 4,
	                       "\"twin_socket\":{\"supported\":true,\"fd_index\":0}"));
	assert_int_equal(rig_map(rig, 0, 1 << 20, NULL), 0);
	assert_int_equal(read_op(rig, &op, 0x1000, buffer, 4), -EINPROGRESS);
	assert_int_equal(rig->twin_sent, 1);
	id = request(rig, WIRE_DMA_READ, &access);
	rig_send_twin(rig, id, WIRE_DMA_READ, WIRE_TYPE_REPLY, &reply, 16 + 4);
	assert_int_equal(op.done, 1);
	assert_int_equal(op.status, 0);
	assert_string_equal(buffer, "wxyz");
}

/* While the main socket is paused, the other one is not. */
static void by_the_twin_while_a_command_waits(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	char buffer[4];
	struct op op;
	struct {
		struct wire_dma_access access;
		char data[4];
	} reply = {{0, 4}, "abcd"};
	uint16_t id;

	rig_restart(rig, twin_proposed);
	assert_int_equal(rig_map(rig, 0, 1 << 20, NULL), 0);
	rig_state(rig)->slow = true;
	rig_send(rig, 77, WIRE_RESET, 0, NULL, 0, NULL, 0, NULL, 0);
	assert_true(rig->paused);
	assert_int_equal(read_op(rig, &op, 0, buffer, 4), -EINPROGRESS);
	id = request(rig, WIRE_DMA_READ, &access);
	rig_send_twin(rig, id, WIRE_DMA_READ, WIRE_TYPE_REPLY, &reply, 16 + 4);
	assert_int_equal(op.done, 1);
	assert_memory_equal(buffer, "abcd", 4);
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_int_equal(rig_reply(rig, WIRE_RESET), 0);
	assert_false(rig->paused);
	rig_state(rig)->slow = false;
}

static void a_twin_only_for_who_can_take_it(void **state)
{
	struct rig *rig = *state;

	rig_restart(rig, "{\"capabilities\":{\"twin_socket\":{\"supported\":false}}}");
	assert_false(rig->has_twin);
	rig_restart(rig, "{\"capabilities\":{\"max_msg_fds\":0,"
	                 "\"twin_socket\":{\"supported\":true}}}");
	assert_false(rig->has_twin);
	rig->limits.twin_socket = false;
	rig_restart(rig, twin_proposed);
	assert_false(rig->has_twin);
	assert_null(strstr((const char *)rig->data + 4, "twin_socket"));
	assert_int_equal(rig->fd_count, 0);
}

static void commands_do_not_come_by_the_twin(void **state)
{
	struct rig *rig = *state;

	rig_restart(rig, twin_proposed);
	rig_send_twin(rig, 1, WIRE_RESET, WIRE_TYPE_COMMAND, "", 0);
	assert_int_equal(rig->close_reason, -EPROTO);
	rig_send_twin(rig, 1, WIRE_RESET, WIRE_TYPE_COMMAND, "", 0);
	assert_int_equal(rig->closes, 1);
	assert_int_equal(rig_state(rig)->resets, 0);
}

static void replies_do_not_come_by_the_main_socket(void **state)
{
	struct rig *rig = *state;
	struct wire_dma_access access;
	char buffer[4];
	struct op op;
	uint16_t id;

	rig_restart(rig, twin_proposed);
	assert_int_equal(rig_map(rig, 0, 1 << 20, NULL), 0);
	assert_int_equal(read_op(rig, &op, 0, buffer, 4), -EINPROGRESS);
	id = request(rig, WIRE_DMA_READ, &access);
	answer(rig, id, WIRE_DMA_READ, 0, 4, "abcd", 4);
	assert_int_equal(rig->close_reason, -EPROTO);
	assert_int_equal(op.done, 0);
	rig_end(rig);
	rig_turns(rig);
	assert_int_equal(op.status, -ECANCELED);
}

/* The reply to each has to fit into a socket at once, whatever the client says that it sends. */
static void reads_are_short(void **state)
{
	struct rig *rig = *state;
	static uint8_t buffer[80 << 10], memory[80 << 10];
	struct wire_dma_access access;
	struct op op;
	uint16_t id;

	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(i / 11);
	rig_restart(rig, "{\"capabilities\":{\"max_data_xfer_size\":1048576}}");
	assert_int_equal(rig_map(rig, 0, 1 << 20, NULL), 0);
	assert_int_equal(read_op(rig, &op, 0, buffer, sizeof(buffer)), -EINPROGRESS);
	for (uint64_t at = 0; at < sizeof(buffer); at += 32 << 10) {
		id = request(rig, WIRE_DMA_READ, &access);
		assert_int_equal(access.address, at);
		assert_int_equal(access.count, at < 64 << 10 ? 32 << 10 : 16 << 10);
		answer(rig, id, WIRE_DMA_READ, access.address, access.count, memory + at,
		       access.count);
	}
	assert_int_equal(op.done, 1);
	assert_memory_equal(buffer, memory, sizeof(buffer));
	assert_int_equal(write_op(rig, &op, 0, memory, sizeof(memory)), -EINPROGRESS);
	id = request(rig, WIRE_DMA_WRITE, &access);
	assert_int_equal(access.count, sizeof(memory));
	answer(rig, id, WIRE_DMA_WRITE, 0, sizeof(memory), NULL, 0);
	assert_int_equal(op.done, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_read),
		test(a_write_with_either_reply),
		test(long_ones_are_cut),
		test(reads_are_short),
		test(answers_in_any_order),
		test(requests_queue),
		test(the_client_says_no),
		test(odd_replies_end_the_session),
		test(a_reply_to_nothing),
		test(cancelled_then_answered),
		test(cancelled_while_queued),
		test(unmap_ends_what_waits),
		test(requests_follow_the_reply),
		test(the_end_cancels),
		test(by_the_twin),
		test(by_the_twin_while_a_command_waits),
		test(a_twin_only_for_who_can_take_it),
		test(commands_do_not_come_by_the_twin),
		test(replies_do_not_come_by_the_main_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
