/* SPDX-License-Identifier: BSD-3-Clause */
/* The client library and a server that breaks the protocol: negotiation, framing, replies. */
#include "kit.h"

#include <sys/mman.h>

#define with_kit(test) cmocka_unit_test_setup_teardown(test, kit_setup, kit_teardown)

static int read_something(struct kit *kit)
{
	uint8_t data[4];

	return ob_client_read(kit->client, OB_REGION_CONFIG, 0, data, sizeof(data));
}

/* The connection is over, and every call says why. */
static void assert_over(struct kit *kit, int error, const char *text)
{
	assert_int_equal(read_something(kit), error);
	assert_int_equal(ob_client_poll(kit->client), error);
	assert_non_null(strstr(ob_client_message(kit->client), text));
}

static void connect_and_fail(const struct ob_client_config *config, const char *text,
                             const int *fds, unsigned fd_count, int error, const char *said)
{
	struct kit kit = {0};

	kit_connect(&kit, config, text, fds, fd_count);
	close(kit.server);
	assert_int_equal(kit.result, error);
	assert_non_null(strstr(kit.err.message, said));
	assert_int_equal(kit_open_fds(), kit.open_before);
}

static void test_negotiation_is_checked(void **state)
{
	const struct ob_client_config twin = {.twin_socket = true};
	const char *with_twin = "{\"capabilities\":{\"twin_socket\":{\"supported\":true,"
				"\"fd_index\":1}}}";
	int fds[1] = {0};

	connect_and_fail(NULL, "{\"capabilities\":", NULL, 0, -EPROTO, "JSON");
	connect_and_fail(NULL, "{\"capabilities\":{\"max_msg_fds\":\"x\"}}", NULL, 0, -EPROTO,
	                 "max_msg_fds");
	connect_and_fail(NULL, with_twin, NULL, 0, -EPROTO, "not offered");
	connect_and_fail(&twin, with_twin, NULL, 0, -EPROTO, "fd_index");
	connect_and_fail(&twin, with_twin, fds, 1, -EPROTO, "fd_index");
	connect_and_fail(&twin, "{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}", fds, 1,
	                 -EPROTO, "fd_index");
	connect_and_fail(
		&twin, "{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":-1}}}",
		fds, 1, -EPROTO, "fd_index");
}

static void test_hang_up_instead_of_negotiating(void **state)
{
	struct ob_error err;
	struct ob_client *client;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	close(ends[1]);
	assert_int_equal(ob_client_new(ends[0], NULL, &client, &err), -ECONNRESET);
	assert_non_null(strstr(err.message, "hung up"));
}

static void test_what_was_agreed(void **state)
{
	struct kit *kit = *state;
	const struct ob_client_caps *caps = ob_client_caps(kit->client);

	assert_int_equal(caps->max_msg_fds, 2);
	assert_int_equal(caps->max_data_xfer_size, 4096);
	assert_int_equal(caps->max_dma_maps, 65535);
	assert_int_equal(caps->pgsizes, 4096);
	assert_false(caps->write_multiple || caps->twin_socket || caps->migration);
	assert_non_null(strstr(caps->json, "max_msg_fds"));
}

static void test_truncated_reply(void **state)
{
	struct kit *kit = *state;
	struct wire_header header = {
		.id = 0x100, .command = WIRE_REGION_READ, .size = 36, .flags = WIRE_TYPE_REPLY};

	kit_send(kit, &header, sizeof(header), NULL, 0);
	shutdown(kit->server, SHUT_WR);
	assert_int_equal(read_something(kit), -ECONNRESET);
	assert_over(kit, -ECONNRESET, "hung up");
}

static void test_message_sizes(void **state)
{
	struct kit *kit = *state;
	struct wire_header header = {
		.id = 0x100, .command = WIRE_RESET, .size = 0x7fffffff, .flags = WIRE_TYPE_REPLY};

	kit_send(kit, &header, sizeof(header), NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), -EMSGSIZE);
	assert_over(kit, -EMSGSIZE, "longer");
}

static void test_message_smaller_than_its_header(void **state)
{
	struct kit *kit = *state;
	struct wire_header header = {.size = 15, .flags = WIRE_TYPE_REPLY};

	kit_send(kit, &header, sizeof(header), NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), -EPROTO);
	assert_over(kit, -EPROTO, "bad size");
}

static void test_reply_to_nothing(void **state)
{
	struct kit *kit = *state;

	kit_message(kit, 0x101, WIRE_RESET, WIRE_TYPE_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), -EPROTO);
	assert_over(kit, -EPROTO, "nothing that was asked");
}

static void test_reply_of_an_earlier_call(void **state)
{
	struct kit *kit = *state;

	kit_message(kit, 0, WIRE_RESET, WIRE_TYPE_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), -EPROTO);
}

static void test_reply_with_another_command(void **state)
{
	struct kit *kit = *state;

	kit_reply(kit, WIRE_GET_INFO, NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), -EPROTO);
}

static void test_neither_command_nor_reply(void **state)
{
	struct kit *kit = *state;

	kit_message(kit, 0x100, WIRE_RESET, 2, NULL, 0, NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), -EPROTO);
	assert_over(kit, -EPROTO, "message type 2");
}

/* An error of the server's is the call's alone. */
static void test_error_replies(void **state)
{
	static const int errors[][2] = {{EINVAL, -EINVAL},
	                                {0, -EREMOTEIO},
	                                {EPROTO, -EPROTO},
	                                {ECONNRESET, -ECONNRESET},
	                                {ENOSPC, -ENOSPC},
	                                {5000, -EREMOTEIO},
	                                {(int)0xffffffff, -EREMOTEIO}};
	struct kit *kit = *state;
	struct ob_client_region region;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		kit_reply_error(kit, WIRE_GET_REGION_INFO, (uint32_t)errors[i][0]);
		assert_int_equal(ob_client_region_info(kit->client, 0, &region), errors[i][1]);
		kit_take(kit);
		assert_non_null(strstr(ob_client_message(kit->client), "DEVICE_GET_REGION_INFO"));
	}
	kit_reply(kit, WIRE_RESET, NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), 0);
}

static void test_no_answer_and_a_late_one(void **state)
{
	struct kit *kit = *state;
	const uint8_t late[] = {0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4};

	assert_int_equal(read_something(kit), -ETIMEDOUT);
	assert_non_null(strstr(ob_client_message(kit->client), "200 ms"));
	kit_take(kit);
	/* Its slot is taken until the answer comes, so the next call has another. */
	kit_message(kit, 0x100, WIRE_REGION_READ, WIRE_TYPE_REPLY, late, sizeof(late), NULL, 0);
	kit_message(kit, 1, WIRE_RESET, WIRE_TYPE_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(ob_client_reset(kit->client), 0);
}

static void test_short_payloads(void **state)
{
	static const uint16_t commands[] = {
		WIRE_GET_INFO,     WIRE_GET_REGION_INFO,   WIRE_GET_IRQ_INFO,   WIRE_REGION_READ,
		WIRE_REGION_WRITE, WIRE_GET_REGION_IO_FDS, WIRE_DEVICE_FEATURE, WIRE_MIG_DATA_READ};
	struct ob_client_device device;
	struct ob_client_region region;
	struct ob_client_io_fds io_fds;
	struct ob_client_irq irq;
	uint32_t got;
	uint8_t data[8] = {0};
	size_t size = 0;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		struct kit *kit;
		int rc = 0;

		kit_setup(state);
		kit = *state;
		kit_reply(kit, commands[i], data, 7);
		switch (commands[i]) {
		case WIRE_GET_INFO:
			rc = ob_client_device_info(kit->client, &device);
			break;
		case WIRE_GET_REGION_INFO:
			rc = ob_client_region_info(kit->client, 0, &region);
			break;
		case WIRE_GET_IRQ_INFO:
			rc = ob_client_irq_info(kit->client, 0, &irq);
			break;
		case WIRE_REGION_READ:
			rc = read_something(kit);
			break;
		case WIRE_REGION_WRITE:
			rc = ob_client_write(kit->client, 0, 0, data, 4);
			break;
		case WIRE_GET_REGION_IO_FDS:
			rc = ob_client_region_io_fds(kit->client, 0, &io_fds);
			break;
		case WIRE_DEVICE_FEATURE:
			rc = ob_client_feature(kit->client, 0x10001, NULL, 0, NULL, &size);
			break;
		default:
			rc = ob_client_mig_read(kit->client, data, 4, &got);
		}
		assert_int_equal(rc, -EPROTO);
		kit_teardown(state);
	}
}

static void read_reply(struct kit *kit, uint64_t offset, uint32_t region, uint32_t count,
                       size_t data)
{
	uint8_t payload[64] = {0};

	memcpy(payload, &(struct wire_region_access){offset, region, count}, 16);
	memset(payload + 16, 0x5a, data);
	kit_reply(kit, WIRE_REGION_READ, payload, 16 + data);
}

static void test_read_replies_that_do_not_fit(void **state)
{
	static const struct {
		uint64_t offset;
		uint32_t region, count;
		size_t data;
		int error;
	} cases[] = {
		{0, 7, 4, 4, 0},       {0, 7, 8, 8, -EPROTO},          {0, 7, 4, 8, -EPROTO},
		{0, 7, 8, 4, -EPROTO}, {4, 7, 4, 4, -EPROTO},          {0, 6, 4, 4, -EPROTO},
		{0, 7, 2, 2, -EIO},    {0, 7, 0xffffffff, 4, -EPROTO},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kit *kit;

		kit_setup(state);
		kit = *state;
		read_reply(kit, cases[i].offset, cases[i].region, cases[i].count, cases[i].data);
		assert_int_equal(read_something(kit), cases[i].error);
		kit_teardown(state);
	}
}

static void test_descriptors_nobody_wants(void **state)
{
	struct kit *kit = *state;
	int fds[3] = {0, 1, 2};

	kit_message(kit, kit->id, WIRE_RESET, WIRE_TYPE_REPLY, NULL, 0, fds, 3);
	assert_int_equal(ob_client_reset(kit->client), 0);
	/* The socket pair is all that is open. */
	assert_int_equal(kit_open_fds(), kit->open_before + 2);
}

static void test_more_descriptors_than_we_hold(void **state)
{
	struct kit *kit = *state;
	struct wire_header header = {.size = 4096, .flags = WIRE_TYPE_REPLY};
	int fds[STREAM_MAX_FDS] = {0};

	/* All with parts of one message that does not end. */
	kit_send(kit, &header, sizeof(header), fds, STREAM_MAX_FDS);
	kit_send(kit, &header, 1, fds, 1);
	assert_int_equal(ob_client_reset(kit->client), -EPROTO);
	assert_over(kit, -EPROTO, "too many descriptors");
}

static void region_reply(struct kit *kit, struct wire_region_info info, const void *caps,
                         size_t size)
{
	uint8_t payload[512];

	memcpy(payload, &info, sizeof(info));
	if (size)
		memcpy(payload + sizeof(info), caps, size);
	kit_reply(kit, WIRE_GET_REGION_INFO, payload, sizeof(info) + size);
}

struct sparse {
	struct wire_cap_sparse_mmap cap;
	struct wire_sparse_area areas[2];
};

static int ask_region(struct kit *kit, struct ob_client_region *region)
{
	return ob_client_region_info(kit->client, 2, region);
}

static void test_region_capabilities_are_checked(void **state)
{
	const struct wire_region_info good = {
		.argsz = 80, .flags = 0xf, .index = 2, .cap_offset = 32, .size = 0x2000};
	const struct sparse areas = {{{WIRE_REGION_CAP_SPARSE_MMAP, 1, 0}, 2, 0},
	                             {{0, 0x1000}, {0x1000, 0x1000}}};
	struct ob_client_region region;

	for (unsigned i = 0; i < 8; i++) {
		struct wire_region_info info = good;
		struct sparse sparse = areas;
		struct kit *kit;

		kit_setup(state);
		kit = *state;
		if (i == 1)
			sparse.areas[1].size = 0x1001; /* ends outside */
		else if (i == 2)
			sparse.areas[0].offset = UINT64_MAX;
		else if (i == 3)
			sparse.cap.nr_areas = 0x10000001;
		else if (i == 4)
			sparse.cap.header.next = 32; /* a ring */
		else if (i == 5)
			info.cap_offset = 81;
		else if (i == 6)
			info.cap_offset = 8; /* within the fixed part */
		else if (i == 7)
			info.index = 3;
		region_reply(kit, info, &sparse, sizeof(sparse));
		assert_int_equal(ask_region(kit, &region), i ? -EPROTO : 0);
		if (!i) {
			assert_int_equal(region.area_count, 2);
			assert_int_equal(region.areas[1].offset, 0x1000);
			assert_int_equal(region.areas[1].fd, -1);
			ob_client_region_release(&region);
		}
		kit_teardown(state);
	}
}

static void test_region_info_that_needs_more_room(void **state)
{
	struct kit *kit = *state;
	struct ob_client_region region;
	struct wire_region_info info = {.argsz = 8192, .flags = 3, .index = 2, .size = 4096};

	kit_script(kit, WIRE_GET_REGION_INFO, &info, sizeof(info));
	info.argsz = 32;
	kit_script(kit, WIRE_GET_REGION_INFO, &info, sizeof(info));
	kit_start_script(kit);
	assert_int_equal(ask_region(kit, &region), 0);
	kit_end_script(kit);
	assert_int_equal(region.size, 4096);
	memcpy(&info, kit->script[1].got, sizeof(info));
	assert_int_equal(info.argsz, 8192);
	/* More than anybody needs; and a second time more. */
	info = (struct wire_region_info){.argsz = 1 << 30, .index = 2};
	region_reply(kit, info, NULL, 0);
	assert_int_equal(ask_region(kit, &region), -EMSGSIZE);
	kit_take(kit);
	info.argsz = 8192;
	kit_script(kit, WIRE_GET_REGION_INFO, &info, sizeof(info));
	info.argsz = 16384;
	kit_script(kit, WIRE_GET_REGION_INFO, &info, sizeof(info));
	kit_start_script(kit);
	assert_int_equal(ask_region(kit, &region), -EPROTO);
	kit_end_script(kit);
}

/* A region that the server says is larger than its file: no mapping, so no SIGBUS. */
static void test_area_longer_than_its_file(void **state)
{
	struct kit *kit = *state;
	struct wire_region_info info = {.argsz = 32, .flags = 7, .index = 2, .size = 8192};
	struct ob_client_region region;
	int fd = memfd_create("area", MFD_CLOEXEC);
	void *data;

	assert_int_equal(ftruncate(fd, 4096), 0);
	kit_message(kit, kit->id, WIRE_GET_REGION_INFO, WIRE_TYPE_REPLY, &info, sizeof(info), &fd,
	            1);
	assert_int_equal(ask_region(kit, &region), 0);
	assert_int_equal(region.area_count, 1);
	assert_int_equal(ob_client_area_map(&region, 0, &data), -ENXIO);
	assert_int_equal(ob_client_area_map(&region, 1, &data), -EINVAL);
	region.file_offset = UINT64_MAX - 4095;
	assert_int_equal(ob_client_area_map(&region, 0, &data), -EINVAL);
	region.file_offset = 0;
	assert_int_equal(ftruncate(fd, 8192), 0);
	assert_int_equal(ob_client_area_map(&region, 0, &data), 0);
	munmap(data, 8192);
	ob_client_region_release(&region);
	close(fd);
}

static void test_io_fds(void **state)
{
	struct kit *kit = *state;
	struct {
		struct wire_region_io_fds head;
		struct wire_io_fd entries[2];
	} reply = {{sizeof(reply), 0, 0, 2},
	           {{0x1000, 4, 0, 0, 0, 0, 0}, {0x1004, 4, 1, 0, 0, 0, 0}}};
	struct ob_client_io_fds io_fds;
	int fds[2] = {0, 1};

	kit_message(kit, kit->id, WIRE_GET_REGION_IO_FDS, WIRE_TYPE_REPLY, &reply, sizeof(reply),
	            fds, 2);
	kit->id += 0x100;
	assert_int_equal(ob_client_region_io_fds(kit->client, 0, &io_fds), 0);
	assert_int_equal(io_fds.count, 2);
	assert_int_equal(io_fds.entries[1].fd, io_fds.fds[1]);
	ob_client_io_fds_release(&io_fds);
	/* An index that no descriptor has. */
	kit_message(kit, kit->id, WIRE_GET_REGION_IO_FDS, WIRE_TYPE_REPLY, &reply, sizeof(reply),
	            fds, 1);
	assert_int_equal(ob_client_region_io_fds(kit->client, 0, &io_fds), -EPROTO);
}

static void test_migration_data_that_is_too_long(void **state)
{
	struct kit *kit = *state;
	const uint32_t reply[4] = {16, 8, 1, 2};
	uint8_t data[8];
	uint32_t got;

	kit_reply(kit, WIRE_MIG_DATA_READ, reply, 16);
	assert_int_equal(ob_client_mig_read(kit->client, data, 8, &got), 0);
	assert_int_equal(got, 8);
	kit_reply(kit, WIRE_MIG_DATA_READ, reply, 16);
	assert_int_equal(ob_client_mig_read(kit->client, data, 4, &got), -EPROTO);
}

/* A server that does not read: we give up in time. */
static void test_server_that_does_not_read(void **state)
{
	struct kit *kit = *state;
	uint8_t data[4096] = {0};
	int rc = 0;

	for (unsigned i = 0; i < 10000 && !rc; i++)
		rc = ob_client_post(kit->client, 0, 0, data, sizeof(data));
	assert_int_equal(rc, -ETIMEDOUT);
	assert_over(kit, -ETIMEDOUT, "does not read");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_negotiation_is_checked),
		cmocka_unit_test(test_hang_up_instead_of_negotiating),
		with_kit(test_what_was_agreed),
		with_kit(test_truncated_reply),
		with_kit(test_message_sizes),
		with_kit(test_message_smaller_than_its_header),
		with_kit(test_reply_to_nothing),
		with_kit(test_reply_of_an_earlier_call),
		with_kit(test_reply_with_another_command),
		with_kit(test_neither_command_nor_reply),
		with_kit(test_error_replies),
		with_kit(test_no_answer_and_a_late_one),
		cmocka_unit_test(test_short_payloads),
		cmocka_unit_test(test_read_replies_that_do_not_fit),
		with_kit(test_descriptors_nobody_wants),
		with_kit(test_more_descriptors_than_we_hold),
		cmocka_unit_test(test_region_capabilities_are_checked),
		with_kit(test_region_info_that_needs_more_room),
		with_kit(test_area_longer_than_its_file),
		with_kit(test_io_fds),
		with_kit(test_migration_data_that_is_too_long),
		with_kit(test_server_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
