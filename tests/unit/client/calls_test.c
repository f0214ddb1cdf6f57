/* SPDX-License-Identifier: BSD-3-Clause */
/* What the client library sends, operations under way, and how it serves the server's requests. */
#include "kit.h"

#include <sys/eventfd.h>

#define with_kit(test) cmocka_unit_test_setup_teardown(test, kit_setup, kit_teardown)

enum { ADDRESS = 0x10000, SIZE = 0x2000 };

static void dma_request(struct kit *kit, int to, uint16_t id, bool write, uint64_t address,
                        uint64_t count, const void *data, size_t length)
{
	struct kit other = {.server = to};
	uint8_t payload[16384];

	memcpy(payload, &(struct wire_dma_access){address, count}, 16);
	if (length)
		memcpy(payload + 16, data, length);
	kit_message(&other, id, write ? WIRE_DMA_WRITE : WIRE_DMA_READ, WIRE_TYPE_COMMAND, payload,
	            16 + length, NULL, 0);
	(void)kit;
}

static struct ob_client_memory *map(struct kit *kit, unsigned flags)
{
	struct ob_client_memory *memory;

	assert_int_equal(ob_client_memory_new(SIZE, &memory), 0);
	kit_reply(kit, WIRE_DMA_MAP, NULL, 0);
	assert_int_equal(ob_client_map(kit->client, ADDRESS, memory, 0, SIZE, flags), 0);
	kit_take(kit);
	return memory;
}

static void test_map_and_unmap(void **state)
{
	struct kit *kit = *state;
	struct ob_client_memory *memory = map(kit, OB_CLIENT_READ | OB_CLIENT_WRITE);
	struct wire_dma_unmap unmap = {24, 0, ADDRESS, SIZE};
	struct wire_dma_map sent;

	memcpy(&sent, kit->payload, sizeof(sent));
	assert_int_equal(kit->fd_count, 1);
	assert_int_equal(sent.argsz, 32);
	assert_int_equal(sent.flags, 3);
	assert_int_equal(sent.address, ADDRESS);
	assert_int_equal(sent.size, SIZE);
	assert_int_equal(ob_client_map(kit->client, ADDRESS + SIZE - 1, memory, 0, 1, 1), -EEXIST);
	assert_int_equal(ob_client_map(kit->client, 0, memory, 1, SIZE, 1), -EINVAL);
	assert_int_equal(ob_client_map(kit->client, UINT64_MAX, memory, 0, 2, 1), -EINVAL);
	kit_reply(kit, WIRE_DMA_UNMAP, &unmap, sizeof(unmap));
	assert_int_equal(ob_client_unmap(kit->client, ADDRESS, SIZE), 0);
	kit_take(kit);
	/* A range: what lies inside is served no more, and may be mapped again. */
	kit_reply(kit, WIRE_DMA_MAP, NULL, 0);
	assert_int_equal(ob_client_map(kit->client, ADDRESS, memory, 0, SIZE / 2, 1), 0);
	kit_take(kit);
	kit_reply(kit, WIRE_DMA_MAP, NULL, 0);
	assert_int_equal(ob_client_map(kit->client, ADDRESS + SIZE / 2, memory, 0, 16, 1), 0);
	kit_take(kit);
	kit_reply(kit, WIRE_DMA_UNMAP, &unmap, sizeof(unmap));
	assert_int_equal(ob_client_unmap(kit->client, ADDRESS - 5, SIZE + 5), 0);
	kit_take(kit);
	/* Refused by the server: it is not served either. */
	kit_reply_error(kit, WIRE_DMA_MAP, ENOSPC);
	assert_int_equal(ob_client_map(kit->client, ADDRESS, memory, 0, SIZE, OB_CLIENT_READ),
	                 -ENOSPC);
	kit_take(kit);
	dma_request(kit, kit->server, 1, false, ADDRESS, 4, NULL, 0);
	assert_int_equal(ob_client_wait(kit->client, 1000), 0);
	kit_take(kit);
	assert_int_equal(kit->header.error, EFAULT);
	ob_client_memory_free(memory);
}

/* Requests before a reply: served while the call waits, in order. */
static void test_requests_while_a_call_waits(void **state)
{
	struct kit *kit = *state;
	struct ob_client_memory *memory =
		map(kit, OB_CLIENT_READ | OB_CLIENT_WRITE | OB_CLIENT_UNSHARED);
	struct wire_dma_access access;

	assert_int_equal(kit->fd_count, 0);
	memcpy(memory->data + 0x100, "abcd", 4);
	dma_request(kit, kit->server, 7, false, ADDRESS + 0x100, 4, NULL, 0);
	dma_request(kit, kit->server, 8, true, ADDRESS + 0x104, 3, "xyz", 3);
	kit_reply(kit, WIRE_RESET, NULL, 0);
	dma_request(kit, kit->server, 9, false, ADDRESS + 0x100, 8, NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), 0);
	kit_take(kit);
	assert_int_equal(kit->header.command, WIRE_RESET);
	kit_take(kit);
	assert_int_equal(kit->header.id, 7);
	assert_int_equal(kit->header.flags, WIRE_TYPE_REPLY);
	assert_int_equal(kit->length, 20);
	memcpy(&access, kit->payload, sizeof(access));
	assert_int_equal(access.address, ADDRESS + 0x100);
	assert_int_equal(access.count, 4);
	assert_memory_equal(kit->payload + 16, "abcd", 4);
	kit_take(kit);
	assert_int_equal(kit->header.id, 8);
	assert_int_equal(kit->length, 16);
	assert_memory_equal(memory->data + 0x104, "xyz", 3);
	kit_take(kit);
	assert_int_equal(kit->header.id, 9);
	assert_memory_equal(kit->payload + 16, "abcdxyz", 8);
	ob_client_memory_free(memory);
}

static void expect_error(struct kit *kit, bool write, uint64_t address, uint64_t count,
                         size_t length, int error)
{
	static const uint8_t zeroes[8192];

	dma_request(kit, kit->server, 3, write, address, count, zeroes, length);
	assert_int_equal(ob_client_wait(kit->client, 1000), 0);
	kit_take(kit);
	assert_int_equal(kit->header.id, 3);
	assert_int_equal(kit->header.flags, WIRE_TYPE_REPLY | (error ? WIRE_ERROR : 0));
	assert_int_equal(kit->header.error, error);
}

static void test_requests_that_go_too_far(void **state)
{
	struct kit *kit = *state;
	struct ob_client_memory *memory = map(kit, OB_CLIENT_READ);
	struct ob_client_memory *second;

	expect_error(kit, false, ADDRESS, 4, 0, 0);
	expect_error(kit, false, ADDRESS - 1, 4, 0, EFAULT);
	expect_error(kit, false, ADDRESS + SIZE - 3, 4, 0, EFAULT);
	expect_error(kit, false, UINT64_MAX, 2, 0, EFAULT);
	expect_error(kit, false, ADDRESS, UINT64_MAX, 0, EINVAL);
	expect_error(kit, false, ADDRESS, (1 << 20) + 1, 0, EINVAL);
	expect_error(kit, false, ADDRESS, 4, 4, EINVAL);
	expect_error(kit, false, ADDRESS, 0, 0, 0);
	expect_error(kit, true, ADDRESS, 4, 4, EACCES);
	expect_error(kit, true, ADDRESS, 8, 4, EINVAL);
	/* Over two maps that touch: fine. */
	assert_int_equal(ob_client_memory_new(4096, &second), 0);
	kit_reply(kit, WIRE_DMA_MAP, NULL, 0);
	assert_int_equal(ob_client_map(kit->client, ADDRESS + SIZE, second, 0, 4096,
	                               OB_CLIENT_READ | OB_CLIENT_WRITE),
	                 0);
	kit_take(kit);
	memory->data[SIZE - 1] = 'a';
	second->data[0] = 'b';
	expect_error(kit, false, ADDRESS + SIZE - 1, 2, 0, 0);
	assert_memory_equal(kit->payload + 16, "ab", 2);
	/* All of it or nothing. */
	second->data[0] = 'c';
	expect_error(kit, true, ADDRESS + SIZE - 1, 2, 2, EACCES);
	assert_int_equal(second->data[0], 'c');
	/* A command that only clients send. */
	kit_message(kit, 5, WIRE_RESET, WIRE_TYPE_COMMAND, NULL, 0, NULL, 0);
	assert_int_equal(ob_client_wait(kit->client, 1000), 0);
	kit_take(kit);
	assert_int_equal(kit->header.error, ENOTSUP);
	ob_client_memory_free(memory);
	ob_client_memory_free(second);
}

static int read_callback(void *context, uint64_t address, void *data, size_t length)
{
	if (address != 0x5000)
		return -EPERM;
	memset(data, 'r', length);
	return 0;
}

static int write_callback(void *context, uint64_t address, const void *data, size_t length)
{
	memcpy(context, data, length);
	return 0;
}

/* With a twin socket, and callbacks for memory that is not ours. */
static void test_twin_socket_and_callbacks(void **state)
{
	static const struct ob_client_dma_ops ops = {read_callback, write_callback};
	char written[8] = "";
	const struct ob_client_config config = {
		.timeout_ms = 50, .twin_socket = true, .dma = &ops, .context = written};
	struct kit kit = {0}, twin = {0};
	int ends[2], fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	kit_connect(&kit, &config,
	            "{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":0}}}",
	            &ends[0], 1);
	close(ends[0]);
	assert_int_equal(kit.result, 0);
	assert_true(ob_client_caps(kit.client)->twin_socket);
	ob_client_fds(kit.client, fds);
	assert_true(fds[1] >= 0);
	twin.server = ends[1];
	dma_request(&kit, twin.server, 1, false, 0x5000, 4, NULL, 0);
	dma_request(&kit, twin.server, 2, true, 0x6000, 4, "data", 4);
	dma_request(&kit, twin.server, 3, false, 0x6000, 4, NULL, 0);
	kit_reply(&kit, WIRE_RESET, NULL, 0);
	assert_int_equal(ob_client_reset(kit.client), 0);
	assert_int_equal(ob_client_poll(kit.client), 0);
	kit_take(&twin);
	assert_memory_equal(twin.payload + 16, "rrrr", 4);
	kit_take(&twin);
	assert_int_equal(twin.header.flags, WIRE_TYPE_REPLY);
	assert_string_equal(written, "data");
	kit_take(&twin);
	assert_int_equal(twin.header.error, EPERM);
	/* Nobody replies there. */
	kit_message(&twin, 0x200, WIRE_RESET, WIRE_TYPE_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(ob_client_wait(kit.client, 1000), -EPROTO);
	ob_client_free(kit.client);
	close(kit.server);
	close(twin.server);
}

enum { FLOOD = 3000, FLOOD_SIZE = 4096 };

/* Sends all its requests before it reads a single reply. */
static void *flood(void *opaque)
{
	struct kit *kit = opaque;
	struct {
		struct wire_header header;
		struct wire_dma_access access;
	} request = {{0, WIRE_DMA_READ, sizeof(request), 0, 0}, {ADDRESS, FLOOD_SIZE}};
	static uint8_t reply[sizeof(request) + FLOOD_SIZE];

	for (unsigned i = 0; i < FLOOD; i++) {
		request.header.id = (uint16_t)i;
		if (send(kit->server, &request, sizeof(request), 0) != sizeof(request))
			return "send";
	}
	for (unsigned i = 0; i < FLOOD; i++) {
		if (recv(kit->server, reply, sizeof(reply), MSG_WAITALL) != sizeof(reply))
			return "recv";
		memcpy(&request.header, reply, sizeof(request.header));
		if (request.header.id != i || reply[sizeof(request)] != 0x77)
			return "order";
	}
	return NULL;
}

/* Both sides' sockets are full in turn, and nobody blocks for ever. */
static void test_both_sides_send(void **state)
{
	struct kit *kit = *state;
	struct ob_client_memory *memory = map(kit, OB_CLIENT_READ);
	void *failed;
	int small = 4096;

	memset(memory->data, 0x77, SIZE);
	setsockopt(kit->server, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	assert_int_equal(pthread_create(&kit->thread, NULL, flood, kit), 0);
	while (ob_client_wait(kit->client, 500) == 0)
		;
	assert_string_equal(ob_client_message(kit->client), "");
	pthread_join(kit->thread, &failed);
	assert_null(failed);
	ob_client_memory_free(memory);
}

static void access_reply(struct kit *kit, uint16_t id, uint64_t offset, uint32_t value)
{
	uint8_t payload[20];

	memcpy(payload, &(struct wire_region_access){offset, 0, 4}, 16);
	memcpy(payload + 16, &value, 4);
	kit_message(kit, id, WIRE_REGION_READ, WIRE_TYPE_REPLY, payload, 20, NULL, 0);
}

static unsigned done_count;

static void count_done(struct ob_client_op *op)
{
	done_count++;
}

/* Several under way, answered in another order; a call that waits in between. */
static void test_operations_under_way(void **state)
{
	struct kit *kit = *state;
	struct ob_client_op ops[3] = {{.done = count_done}, {.done = count_done}, {0}};
	uint32_t values[3] = {0};

	done_count = 0;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
			ob_client_read_start(kit->client, &ops[i], 0, 4 * i, &values[i], 4), 0);
		kit_take(kit);
		/* Slot 0 was used once. */
		assert_int_equal(kit->header.id, i ? i : 0x100);
	}
	access_reply(kit, 2, 8, 30);
	access_reply(kit, 0x100, 0, 10);
	kit_message(kit, 3, WIRE_RESET, WIRE_TYPE_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), 0);
	assert_int_equal(done_count, 1);
	assert_int_equal(ops[0].status, 0);
	assert_int_equal(ops[1].status, -EINPROGRESS);
	assert_int_equal(ops[2].status, 0);
	assert_int_equal(values[0], 10);
	assert_int_equal(values[2], 30);
	/* The connection ends: so do they. */
	shutdown(kit->server, SHUT_WR);
	assert_int_equal(ob_client_wait(kit->client, 1000), -ECONNRESET);
	assert_int_equal(done_count, 2);
	assert_int_equal(ops[1].status, -ECONNRESET);
}

static void test_as_many_as_there_are_slots(void **state)
{
	struct kit *kit = *state;
	static struct ob_client_op ops[OB_CLIENT_MAX_OPS + 1];
	uint32_t value = 0;

	for (unsigned i = 0; i < OB_CLIENT_MAX_OPS; i++)
		assert_int_equal(ob_client_write_start(kit->client, &ops[i], 0, 0, &value, 4), 0);
	assert_int_equal(
		ob_client_write_start(kit->client, &ops[OB_CLIENT_MAX_OPS], 0, 0, &value, 4),
		-EAGAIN);
	assert_int_equal(ob_client_reset(kit->client), -EAGAIN);
}

/* Posted writes leave with what comes next, in one piece. */
static void test_posted(void **state)
{
	struct kit *kit = *state;
	const struct ob_client_small_write write = {.offset = 8, .size = 4, .value = 1};

	assert_int_equal(ob_client_post(kit->client, 0, 0x1000, "abcd", 4), 0);
	kit_nothing_sent(kit);
	assert_int_equal(ob_client_flush(kit->client), 0);
	kit_take(kit);
	assert_int_equal(kit->header.flags, WIRE_NO_REPLY);
	assert_int_equal(kit->length, 20);
	assert_int_equal(ob_client_post(kit->client, 0, 0, kit->payload, 4097), -EINVAL);
	assert_int_equal(ob_client_write_multi(kit->client, &write, 1, false, NULL), -EOPNOTSUPP);
}

static void test_write_multi(void **state)
{
	const struct ob_client_small_write writes[] = {{8, 0, 4, 0x11223344}, {16, 1, 8, 5}};
	struct kit kit = {0};
	struct wire_small_write sent;
	uint64_t count = 2, done = 0;

	kit_connect(&kit, NULL, "{\"capabilities\":{\"write_multiple\":true}}", NULL, 0);
	kit_reply(&kit, WIRE_REGION_WRITE_MULTI, &count, sizeof(count));
	assert_int_equal(ob_client_write_multi(kit.client, writes, 2, false, &done), 0);
	assert_int_equal(done, 2);
	kit_take(&kit);
	assert_int_equal(kit.length, 8 + 2 * 24);
	wire_small_write_at(kit.payload, 0, &sent);
	assert_int_equal(sent.offset, 8);
	assert_int_equal(sent.count, 4);
	assert_memory_equal(sent.data, "\x44\x33\x22\x11", 4);
	count = 3;
	kit_reply(&kit, WIRE_REGION_WRITE_MULTI, &count, sizeof(count));
	assert_int_equal(ob_client_write_multi(kit.client, writes, 2, false, &done), -EPROTO);
	ob_client_free(kit.client);
	close(kit.server);
}

/* What the server takes at a time: 4096 bytes, 2 descriptors. */
static void test_long_transfers_go_in_pieces(void **state)
{
	struct kit *kit = *state;
	static uint8_t data[5000];

	for (unsigned i = 0; i < 2; i++) {
		struct wire_region_access access = {i * 4096, 0, i ? 904 : 4096};

		kit_script(kit, WIRE_REGION_WRITE, &access, sizeof(access));
	}
	kit_start_script(kit);
	assert_int_equal(ob_client_write(kit->client, 0, 0, data, sizeof(data)), 0);
	kit_end_script(kit);
	assert_int_equal(kit->script[0].got_length, 16 + 4096);
	assert_int_equal(kit->script[1].got_length, 16 + 904);
}

static void test_many_eventfds_go_in_pieces(void **state)
{
	struct kit *kit = *state;
	int fd = eventfd(0, EFD_CLOEXEC);
	const int fds[3] = {fd, fd, fd};
	struct wire_irq_set sent;

	kit_script(kit, WIRE_SET_IRQS, NULL, 0);
	kit_script(kit, WIRE_SET_IRQS, NULL, 0);
	kit_start_script(kit);
	assert_int_equal(ob_client_irq_eventfds(kit->client, OB_IRQ_MSIX, 4, 3, fds), 0);
	kit_end_script(kit);
	assert_int_equal(kit->script[0].got_fds, 2);
	assert_int_equal(kit->script[1].got_fds, 1);
	memcpy(&sent, kit->script[1].got, sizeof(sent));
	assert_int_equal(sent.start, 6);
	assert_int_equal(sent.count, 1);
	assert_int_equal(sent.flags, WIRE_IRQ_DATA_EVENTFD | WIRE_IRQ_ACTION_TRIGGER);
	/* A descriptor that is not open is the caller's mistake: the connection goes on. */
	assert_int_equal(ob_client_irq_eventfds(kit->client, OB_IRQ_MSIX, 0, 1, (int[]){9999}),
	                 -EBADF);
	kit->id += 0x100;
	kit_reply(kit, WIRE_SET_IRQS, NULL, 0);
	assert_int_equal(ob_client_irq_act(kit->client, OB_IRQ_INTX, 0, 1, OB_CLIENT_IRQ_UNMASK,
	                                   (const uint8_t[]){1}),
	                 0);
	kit_take(kit);
	assert_int_equal(kit->length, 21);
	close(fd);
}

static void test_feature(void **state)
{
	struct kit *kit = *state;
	const uint32_t reply[4] = {16, 0x10001, 3, 0};
	uint8_t data[8];
	size_t size = sizeof(data);

	kit_reply(kit, WIRE_DEVICE_FEATURE, reply, sizeof(reply));
	assert_int_equal(ob_client_feature(kit->client, 0x10001, NULL, 0, data, &size), 0);
	assert_int_equal(size, 8);
	assert_int_equal(data[0], 3);
	/* Too little room: it says how much would do. */
	size = 4;
	kit_reply(kit, WIRE_DEVICE_FEATURE, reply, sizeof(reply));
	assert_int_equal(ob_client_feature(kit->client, 0x10001, NULL, 0, data, &size), -ENOSPC);
	assert_int_equal(size, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_kit(test_map_and_unmap),
		with_kit(test_requests_while_a_call_waits),
		with_kit(test_requests_that_go_too_far),
		cmocka_unit_test(test_twin_socket_and_callbacks),
		with_kit(test_both_sides_send),
		with_kit(test_operations_under_way),
		with_kit(test_as_many_as_there_are_slots),
		with_kit(test_posted),
		cmocka_unit_test(test_write_multi),
		with_kit(test_long_transfers_go_in_pieces),
		with_kit(test_many_eventfds_go_in_pieces),
		with_kit(test_feature),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
