/* SPDX-License-Identifier: BSD-3-Clause */
/* Negotiation, information, regions, maps, reset, and the end of a session in each of its states.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "dma/guard.h"
#include "rig.h"

/* Negotiation */

static void version_is_agreed_on(void **state)
{
	struct rig *rig = *state;
	struct {
		struct wire_version_header version;
		char json[64];
	} request = {{0, 7}, "{\"capabilities\":{\"pgsizes\":69632}}"};

	assert_int_equal(rig_call(rig, WIRE_VERSION, &request, sizeof(request)), 0);
	assert_int_equal(ob_get_le16(rig->data + 2), 1);
	assert_string_equal((const char *)rig->data + 4,
	                    "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"
	                    "\"max_dma_maps\":65535,\"pgsizes\":69632}}");
	/* Once is enough. */
	assert_int_equal(rig_call(rig, WIRE_VERSION, &request, sizeof(request)), EINVAL);
	assert_int_equal(rig->closes, 0);
}

static void a_lower_minor_is_kept(void **state)
{
	struct rig *rig = *state;
	const struct wire_version_header version = {0, 0};

	assert_int_equal(rig_call(rig, WIRE_VERSION, &version, sizeof(version)), 0);
	assert_int_equal(ob_get_le16(rig->data + 2), 0);
	assert_null(strstr((const char *)rig->data + 4, "write_multiple"));
}

static void write_multiple_is_offered_to_who_has_it(void **state)
{
	struct rig *rig = *state;

	rig_negotiate(rig, "{\"capabilities\":{\"write_multiple\":true}}");
	assert_non_null(strstr((const char *)rig->data + 4, "\"write_multiple\":true"));
}

static void another_major_ends_it(void **state)
{
	struct rig *rig = *state;
	const struct wire_version_header version = {1, 0};

	assert_int_equal(rig_call(rig, WIRE_VERSION, &version, sizeof(version)), EINVAL);
	assert_int_equal(rig->closes, 1);
	assert_int_equal(rig->close_reason, -EPROTO);
	/* What still comes is not looked at. */
	rig_send(rig, 1, WIRE_RESET, 0, NULL, 0, NULL, 0, NULL, 0);
	assert_false(rig_receive(rig));
}

static void version_comes_first(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(rig_call(rig, WIRE_RESET, NULL, 0), EINVAL);
	assert_int_equal(rig->closes, 1);
	assert_int_equal(rig_state(rig)->resets, 0);
}

static void bad_json_ends_it(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(rig_call(rig, WIRE_VERSION, "\0\0\0\0{", 6), EINVAL);
	assert_int_equal(rig->closes, 1);
}

/* Messages */

static void unknown_commands_are_refused(void **state)
{
	static const uint16_t commands[] = {0, 11, 12, 14, 19, 65535};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		assert_int_equal(rig_call(rig, commands[i], NULL, 0), ENOTSUP);
	assert_int_equal(rig->closes, 0);
}

static void message_types_other_than_two_end_it(void **state)
{
	struct rig *rig = *state;

	rig_send(rig, 1, WIRE_RESET, 2, NULL, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig->close_reason, -EPROTO);
	assert_false(rig_receive(rig));
}

static void no_reply_means_none(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access read = {0, 0, 4}, bad = {0, 9, 4};
	const struct wire_dma_map map = {32, 3, 0, 0x1000, 0x1000};
	const struct wire_dma_unmap unmap = {24, 0, 0x1000, 0x1000};
	const struct wire_irq_set set = {20, WIRE_IRQ_DATA_NONE | WIRE_IRQ_ACTION_TRIGGER, 0, 0, 0};
	const struct wire_region_info info = {.argsz = 32};

	rig_send(rig, 1, WIRE_RESET, WIRE_NO_REPLY, NULL, 0, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_REGION_READ, WIRE_NO_REPLY, &read, 16, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_REGION_READ, WIRE_NO_REPLY, &bad, 16, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_REGION_WRITE, WIRE_NO_REPLY, &read, 16, "abcd", 4, NULL, 0);
	rig_send(rig, 1, WIRE_DMA_MAP, WIRE_NO_REPLY, &map, 32, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_DMA_UNMAP, WIRE_NO_REPLY, &unmap, 24, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_DMA_UNMAP, WIRE_NO_REPLY, &unmap, 24, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_SET_IRQS, WIRE_NO_REPLY, &set, 20, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_GET_INFO, WIRE_NO_REPLY, &info, 32, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_GET_REGION_INFO, WIRE_NO_REPLY, &info, 32, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_GET_REGION_IO_FDS, WIRE_NO_REPLY, &info, 32, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_GET_IRQ_INFO, WIRE_NO_REPLY, &info, 32, NULL, 0, NULL, 0);
	rig_send(rig, 1, 999, WIRE_NO_REPLY, NULL, 0, NULL, 0, NULL, 0);
	assert_false(rig_receive(rig));
	assert_int_equal(rig_state(rig)->resets, 1);
	assert_memory_equal(rig_state(rig)->bar, "abcd", 4);
}

static void too_many_descriptors_are_refused(void **state)
{
	struct rig *rig = *state;
	const struct wire_device_info info = {.argsz = 16};
	int fds[17];

	memset(fds, 0xff, sizeof(fds));
	assert_int_equal(rig_call_fds(rig, WIRE_GET_INFO, &info, 16, fds, 16), 0);
	assert_int_equal(rig_call_fds(rig, WIRE_GET_INFO, &info, 16, fds, 17), EINVAL);
}

/* Information */

static void device_info(void **state)
{
	struct rig *rig = *state;
	struct wire_device_info info = {.argsz = 100};

	assert_int_equal(rig_call(rig, WIRE_GET_INFO, &info, sizeof(info)), 0);
	assert_int_equal(rig->length, sizeof(info));
	memcpy(&info, rig->data, sizeof(info));
	assert_int_equal(info.argsz, 16);
	assert_int_equal(info.flags, WIRE_DEVICE_RESET | WIRE_DEVICE_PCI);
	assert_int_equal(info.num_regions, 9);
	assert_int_equal(info.num_irqs, 5);
	info.argsz = 15;
	assert_int_equal(rig_call(rig, WIRE_GET_INFO, &info, sizeof(info)), EINVAL);
}

static void region_info(void **state)
{
	struct rig *rig = *state;
	static const uint64_t sizes[9] = {RIG_BAR_SIZE, 0, 0, 0, 8192, 0, 2048, 4096, 0};

	for (uint32_t i = 0; i < 9; i++) {
		struct wire_region_info info = {.argsz = 4096, .index = i, .flags = 99};
		uint32_t flags = sizes[i] ? WIRE_REGION_READABLE | WIRE_REGION_WRITEABLE : 0;

		if (i == DEVICE_REGION_ROM)
			flags = WIRE_REGION_READABLE;
		assert_int_equal(rig_call(rig, WIRE_GET_REGION_INFO, &info, sizeof(info)), 0);
		assert_int_equal(rig->length, sizeof(info));
		memcpy(&info, rig->data, sizeof(info));
		assert_int_equal(info.argsz, 32);
		assert_int_equal(info.index, i);
		assert_int_equal(info.size, sizes[i]);
		assert_int_equal(info.flags, flags);
		assert_int_equal(info.cap_offset, 0);
		info = (struct wire_region_info){.argsz = 31, .index = i};
		assert_int_equal(rig_call(rig, WIRE_GET_REGION_INFO, &info, sizeof(info)), EINVAL);
	}
	assert_int_equal(rig_call(rig, WIRE_GET_REGION_INFO,
	                          &(struct wire_region_info){.argsz = 32, .index = 9}, 32),
	                 EINVAL);
}

static void region_io_fds(void **state)
{
	struct rig *rig = *state;
	struct wire_region_io_fds info = {.argsz = 4096, .index = 0};

	assert_int_equal(rig_call(rig, WIRE_GET_REGION_IO_FDS, &info, sizeof(info)), 0);
	assert_int_equal(rig->length, sizeof(info));
	memcpy(&info, rig->data, sizeof(info));
	assert_int_equal(info.argsz, 16);
	assert_int_equal(info.count, 0);
	info.index = 9;
	assert_int_equal(rig_call(rig, WIRE_GET_REGION_IO_FDS, &info, sizeof(info)), EINVAL);
}

/* Regions */

static void config_space_is_read(void **state)
{
	struct rig *rig = *state;
	struct wire_region_access access = {0, DEVICE_REGION_CONFIG, 256};

	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &access, 16), 0);
	assert_int_equal(rig->length, 16 + 256);
	assert_memory_equal(rig->data, &access, 16);
	assert_int_equal(ob_get_le32(rig->data + 16), 0x56781234);
	access = (struct wire_region_access){0, DEVICE_REGION_ROM, 2};
	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &access, 16), 0);
	assert_memory_equal(rig->data + 16, "\x55\xaa", 2);
}

static void bars_are_written_and_read(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access access = {3, 0, 9};

	rig_send(rig, 77, WIRE_REGION_WRITE, 0, &access, 16, "123456789", 9, NULL, 0);
	assert_int_equal(rig_reply(rig, WIRE_REGION_WRITE), 0);
	assert_int_equal(rig->length, 16);
	assert_memory_equal(rig->data, &access, 16);
	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &access, 16), 0);
	assert_memory_equal(rig->data + 16, "123456789", 9);
}

static void accesses_outside_are_refused(void **state)
{
	static const struct wire_region_access bad[] = {
		{RIG_BAR_SIZE - 3, 0, 4},
		{RIG_BAR_SIZE, 0, 1},
		{UINT64_MAX, 0, 4},
		{0, 1, 1},
		{0, 9, 4},
		{0, UINT32_MAX, 4},
	};
	struct rig *rig = *state;
	struct wire_region_access access = {0, 0, 1048577};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(rig_call(rig, WIRE_REGION_READ, &bad[i], 16), EINVAL);
		rig_send(rig, 77, WIRE_REGION_WRITE, 0, &bad[i], 16, "abcd", bad[i].count, NULL, 0);
		assert_int_equal(rig_reply(rig, WIRE_REGION_WRITE), EINVAL);
	}
	assert_int_equal(rig_call(rig, WIRE_REGION_READ, &access, 16), EINVAL);
	access = (struct wire_region_access){0, DEVICE_REGION_ROM, 4};
	rig_send(rig, 77, WIRE_REGION_WRITE, 0, &access, 16, "abcd", 4, NULL, 0);
	assert_int_equal(rig_reply(rig, WIRE_REGION_WRITE), EINVAL);
}

static void many_writes_in_one(void **state)
{
	struct rig *rig = *state;
	struct {
		uint64_t count;
		struct wire_small_write writes[3];
	} m = {3, {{0, 0, 4, "abcd"}, {4, 0, 8, "efghijkl"}, {12, 0, 1, "m"}}};

	assert_int_equal(rig_call(rig, WIRE_REGION_WRITE_MULTI, &m, sizeof(m)), 0);
	assert_int_equal(rig->length, 8);
	assert_int_equal(ob_get_le64(rig->data), 3);
	assert_string_equal((char *)rig_state(rig)->bar, "abcdefghijklm");
	/* The second does not fit: one was done. */
	m.writes[1].offset = RIG_BAR_SIZE;
	assert_int_equal(rig_call(rig, WIRE_REGION_WRITE_MULTI, &m, sizeof(m)), 0);
	assert_int_equal(ob_get_le64(rig->data), 1);
	m.writes[0].offset = RIG_BAR_SIZE;
	assert_int_equal(rig_call(rig, WIRE_REGION_WRITE_MULTI, &m, sizeof(m)), EINVAL);
	m.count = 4;
	assert_int_equal(rig_call(rig, WIRE_REGION_WRITE_MULTI, &m, sizeof(m)), EINVAL);
}

static void many_writes_must_be_agreed_on(void **state)
{
	struct rig *rig = *state;
	const uint64_t none = 0;

	rig_negotiate(rig, "");
	assert_int_equal(rig_call(rig, WIRE_REGION_WRITE_MULTI, &none, 8), ENOTSUP);
}

/* Maps */

static void maps_come_and_go(void **state)
{
	struct rig *rig = *state;
	int fd = rig_memory(), sent = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct wire_dma_unmap echo;
	struct ob_dma_op op = {.done = rig_op_done};
	uint8_t buffer[4];

	assert_int_equal(pwrite(fd, "abcd", 4, 0x100), 4);
	assert_int_equal(rig_map(rig, 0x10000, RIG_MEMORY, &sent), 0);
	assert_int_equal(rig->length, 0);
	assert_int_equal(sent, -1); /* taken */
	assert_int_equal(ob_dma_read(rig->dev, 0x10100, buffer, 4, &op), 0);
	assert_memory_equal(buffer, "abcd", 4);
	sent = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(rig_map(rig, 0x18000, RIG_MEMORY, &sent), EEXIST);
	assert_int_not_equal(sent, -1); /* left to whoever called */
	close(sent);
	assert_int_equal(rig_unmap(rig, 0x10000, RIG_MEMORY - 1), EINVAL);
	assert_int_equal(rig_unmap(rig, 0x10000, RIG_MEMORY), 0);
	assert_int_equal(rig->length, sizeof(echo));
	memcpy(&echo, rig->data, sizeof(echo));
	assert_int_equal(echo.address, 0x10000);
	assert_int_equal(echo.size, RIG_MEMORY);
	assert_int_equal(rig_unmap(rig, 0x10000, RIG_MEMORY), 0);
	memcpy(&echo, rig->data, sizeof(echo));
	assert_int_equal(echo.address, 0x10000);
	assert_int_equal(echo.size, 0);
	close(fd);
}

static void one_descriptor_for_a_map(void **state)
{
	struct rig *rig = *state;
	const struct wire_dma_map map = {32, 3, 0, 0, RIG_MEMORY};
	const struct wire_dma_unmap unmap = {24, 0, 0, RIG_MEMORY};
	int fds[2] = {rig_memory(), rig_memory()};

	assert_int_equal(rig_call_fds(rig, WIRE_DMA_MAP, &map, sizeof(map), fds, 2), EINVAL);
	assert_int_equal(rig_call_fds(rig, WIRE_DMA_MAP, &map, sizeof(map), fds, 1), 0);
	assert_int_equal(fds[0], -1);
	/* A descriptor where none is wanted is left alone. */
	assert_int_equal(rig_call_fds(rig, WIRE_DMA_UNMAP, &unmap, sizeof(unmap), fds + 1, 1), 0);
	assert_int_not_equal(fds[1], -1);
	close(fds[1]);
}

static void unmap_all(void **state)
{
	struct rig *rig = *state;
	const struct wire_dma_unmap all = {24, WIRE_DMA_UNMAP_ALL, 0, 0};
	const struct wire_dma_unmap gone = {24, WIRE_DMA_UNMAP_ALL, 0, 16 * 0x1000};

	rig->limits.max_dma_maps = 16;
	rig_restart(rig, "{}");
	assert_non_null(strstr((const char *)rig->data + 4, "\"max_dma_maps\":16,"));
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(rig_map(rig, i << 20, 0x1000, NULL), 0);
	assert_int_equal(rig_map(rig, 16 << 20, 0x1000, NULL), ENOSPC);
	assert_int_equal(rig_call(rig, WIRE_DMA_UNMAP, &all, sizeof(all)), 0);
	assert_memory_equal(rig->data, &gone, sizeof(gone));
	assert_int_equal(dma_map_count(device_dma(rig->dev)), 0);
	assert_int_equal(rig_call(rig, WIRE_DMA_UNMAP, &all, sizeof(all)), 0);
	assert_memory_equal(rig->data, &all, sizeof(all));
}

/* A transfer that pins memory, as a disk's I/O would. */
struct pinned {
	struct ob_xfer xfer;
	struct ob_dma_range range;
};

static void pin(struct rig *rig, struct pinned *pinned)
{
	int fd = rig_memory();

	*pinned = (struct pinned){.range = {0x10000, 0x1000}};
	assert_int_equal(rig_map(rig, 0x10000, RIG_MEMORY, &fd), 0);
	assert_int_equal(
		ob_xfer_begin(rig->dev, &pinned->xfer, &pinned->range, 1, OB_DMA_FROM_CLIENT), 0);
}

static void begin_unmap(struct rig *rig, uint32_t flags)
{
	const struct wire_dma_unmap one = {24, 0, 0x10000, RIG_MEMORY};
	const struct wire_dma_unmap all = {24, WIRE_DMA_UNMAP_ALL, 0, 0};

	rig_send(rig, 77, WIRE_DMA_UNMAP, 0, flags ? &all : &one, sizeof(one), NULL, 0, NULL, 0);
	rig_turns(rig);
	assert_false(rig_receive(rig));
	assert_true(rig->paused);
}

static void unmap_waits_for_pins(void **state)
{
	struct rig *rig = *state;
	struct pinned pinned;

	for (uint32_t flags = 0; flags <= WIRE_DMA_UNMAP_ALL; flags += WIRE_DMA_UNMAP_ALL) {
		pin(rig, &pinned);
		begin_unmap(rig, flags);
		assert_int_equal(ob_xfer_end(&pinned.xfer, 0), 0);
		assert_true(rig->paused); /* the reply comes from the loop */
		rig_turns(rig);
		assert_false(rig->paused);
		assert_int_equal(rig_reply(rig, WIRE_DMA_UNMAP), 0);
		assert_int_equal(rig->length, sizeof(struct wire_dma_unmap));
	}
	assert_int_equal(rig_call(rig, WIRE_RESET, NULL, 0), 0);
}

/* Reset */

static void reset_at_once(void **state)
{
	struct rig *rig = *state;

	rig_state(rig)->bar[0] = 1;
	assert_int_equal(rig_call(rig, WIRE_RESET, NULL, 0), 0);
	assert_int_equal(rig->length, 0);
	assert_int_equal(rig_state(rig)->resets, 1);
	assert_int_equal(rig_state(rig)->quiesces, 1);
	assert_int_equal(rig_state(rig)->resumes, 1);
	assert_int_equal(rig_state(rig)->bar[0], 0);
	assert_int_equal(rig_call(rig, WIRE_RESET, "x", 1), EINVAL);
	assert_int_equal(rig_state(rig)->resets, 1);
}

static void begin_slow_reset(struct rig *rig)
{
	rig_state(rig)->slow = true;
	rig_send(rig, 77, WIRE_RESET, 0, NULL, 0, NULL, 0, NULL, 0);
	rig_turns(rig);
	assert_false(rig_receive(rig));
	assert_true(rig->paused);
}

static void reset_waits_for_quiet(void **state)
{
	struct rig *rig = *state;

	begin_slow_reset(rig);
	assert_int_equal(rig_state(rig)->resets, 0);
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_int_equal(rig_reply(rig, WIRE_RESET), 0);
	assert_false(rig->paused);
	assert_int_equal(rig_state(rig)->resets, 1);
	assert_int_equal(rig_state(rig)->resumes, 1);
	rig_state(rig)->slow = false;
}

/* Another client's first map waits until the device, which somebody left, is quiet. */
static void begin_first_map(struct rig *rig, uint64_t size, int *fd)
{
	const struct wire_dma_map map = {32, 3, 0, 0, size};

	assert_int_equal(rig_map(rig, 0, RIG_MEMORY, NULL), 0);
	rig->limits.client = (struct device_owner){.pid = 7, .started = 7};
	rig_restart(rig, "{}");
	rig_state(rig)->slow = true;
	rig_send(rig, 77, WIRE_DMA_MAP, 0, &map, sizeof(map), NULL, 0, fd, fd ? 1 : 0);
	rig_turns(rig);
	assert_int_equal(rig_state(rig)->resets, 0);
}

/* So the next one resets it: neither map has made the client the one who left it. */
static void first_map_resets(struct rig *rig)
{
	rig_state(rig)->slow = false;
	assert_int_equal(rig_map(rig, 0, RIG_MEMORY, NULL), 0);
	assert_int_equal(rig_state(rig)->resets, 1);
	assert_int_equal(rig_state(rig)->bar[0], 0);
}

static void first_map_that_fails(void **state)
{
	struct rig *rig = *state;
	int fd = rig_memory();

	begin_first_map(rig, 2 * RIG_MEMORY, &fd);
	assert_int_not_equal(rig_reply(rig, WIRE_DMA_MAP), 0);
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	first_map_resets(rig);
	close(fd);
}

static void first_map_that_is_given_up(void **state)
{
	struct rig *rig = *state;

	begin_first_map(rig, RIG_MEMORY, NULL);
	assert_false(rig_receive(rig));
	rig_end(rig);
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_null(rig->session);
	rig_new_session(rig);
	rig_negotiate(rig, "{}");
	first_map_resets(rig);
}

static unsigned count_lines(const char *text)
{
	unsigned lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

/* What takes long is said once, with what is waited for, and again when it is over. */
static void long_waits_are_logged(void **state)
{
	static const char *const lines[] = {
		"warning: DEVICE_RESET waits for the device to be quiet, for ",
		"outboard: DEVICE_RESET goes on, after ",
		"warning: DMA_UNMAP waits for the device to be quiet, for ",
		"outboard: DMA_UNMAP goes on, after ",
	};
	struct rig *rig = *state;
	struct pinned pinned;
	char text[2048] = "";
	const char *at = text;
	int pipe[2];

	assert_int_equal(pipe2(pipe, O_CLOEXEC | O_NONBLOCK), 0);
	rig->log = (struct log){.fd = pipe[1], .level = LOG_INFO};
	rig->limits.slow_ns = 0;
	rig_restart(rig, "{}");
	begin_slow_reset(rig);
	rig_turns(rig);
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_int_equal(rig_reply(rig, WIRE_RESET), 0);
	rig_state(rig)->slow = false;
	pin(rig, &pinned);
	begin_unmap(rig, 0);
	rig_end(rig);
	rig_turns(rig);
	assert_int_equal(ob_xfer_end(&pinned.xfer, 0), 0);
	rig_turns(rig);
	assert_null(rig->session);
	assert_true(read(pipe[0], text, sizeof(text) - 1) > 0);
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		at = strstr(at, lines[i]);
		assert_non_null(at);
	}
	assert_int_equal(count_lines(text), 4);
	rig->log = (struct log){.fd = -1, .level = LOG_ERROR};
	close(pipe[0]);
	close(pipe[1]);
	rig_new_session(rig);
}

/* The end */

static void assert_gone(struct rig *rig)
{
	rig_turns(rig);
	assert_int_equal(rig->ends, 1);
	assert_int_equal(dma_map_count(device_dma(rig->dev)), 0);
	/* It has no memory to work with, until the next client finds a device that works. */
	assert_int_equal(rig_state(rig)->quiesces, rig_state(rig)->resumes + 1);
	rig_new_session(rig);
	rig_negotiate(rig, "");
	assert_int_equal(rig_state(rig)->quiesces, rig_state(rig)->resumes + 1);
	assert_int_equal(rig_call(rig, WIRE_RESET, NULL, 0), 0);
	assert_int_equal(rig_state(rig)->quiesces, rig_state(rig)->resumes);
}

static void end_before_negotiation(void **state)
{
	struct rig *rig = *state;

	rig_end(rig);
	assert_gone(rig);
}

static void end_while_running_keeps_state(void **state)
{
	struct rig *rig = *state;
	int fd = rig_memory();

	assert_int_equal(rig_map(rig, 0, RIG_MEMORY, &fd), 0);
	rig_state(rig)->bar[0] = 1;
	rig_end(rig);
	assert_int_equal(rig_state(rig)->bar[0], 1);
	assert_int_equal(rig_state(rig)->resets, 0);
	assert_gone(rig);
}

static void end_after_a_violation(void **state)
{
	struct rig *rig = *state;

	rig_send(rig, 1, WIRE_RESET, 5, NULL, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig->closes, 1);
	rig_end(rig);
	assert_gone(rig);
}

static void end_while_unmapping(void **state)
{
	struct rig *rig = *state;
	struct pinned pinned;

	for (uint32_t flags = 0; flags <= WIRE_DMA_UNMAP_ALL; flags += WIRE_DMA_UNMAP_ALL) {
		pin(rig, &pinned);
		begin_unmap(rig, flags);
		rig_end(rig);
		rig_turns(rig);
		assert_int_equal(rig->ends, 0);
		assert_int_equal(ob_xfer_end(&pinned.xfer, 0), 0);
		assert_gone(rig);
		rig->ends = 0;
	}
}

static void end_between_the_last_pin_and_the_loop(void **state)
{
	struct rig *rig = *state;
	struct pinned pinned;

	pin(rig, &pinned);
	begin_unmap(rig, 0);
	assert_int_equal(ob_xfer_end(&pinned.xfer, 0), 0);
	rig_end(rig);
	assert_gone(rig);
}

static void end_while_resetting(void **state)
{
	struct rig *rig = *state;

	begin_slow_reset(rig);
	rig_end(rig);
	rig_turns(rig);
	assert_int_equal(rig->ends, 0);
	rig_state(rig)->slow = false;
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_int_equal(rig_state(rig)->resets, 0);
	assert_gone(rig);
}

static void end_with_pins_and_a_busy_device(void **state)
{
	struct rig *rig = *state;
	struct pinned pinned;

	pin(rig, &pinned);
	rig_state(rig)->slow = true;
	rig_end(rig);
	rig_turns(rig);
	assert_int_equal(rig_state(rig)->quiesces, 1);
	assert_int_equal(dma_map_count(device_dma(rig->dev)), 1);
	rig_state(rig)->slow = false;
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_int_equal(rig->ends, 0);
	assert_int_equal(ob_xfer_end(&pinned.xfer, 0), 0);
	assert_gone(rig);
}

static void a_link_that_is_over_is_no_trouble(void **state)
{
	struct rig *rig = *state;
	const struct wire_region_access read = {0, 0, 4};

	rig->link_over = true;
	rig_send(rig, 1, WIRE_REGION_READ, 0, &read, 16, NULL, 0, NULL, 0);
	rig_send(rig, 1, WIRE_RESET, 0, NULL, 0, NULL, 0, NULL, 0);
	rig_send(rig, 1, 999, 0, NULL, 0, NULL, 0, NULL, 0);
	assert_false(rig_receive(rig));
}

static void max_message_covers_everything(void **state)
{
	struct session_limits limits = session_default_limits;

	assert_int_equal(session_max_message(&limits), 32 + (1 << 20));
	limits.max_data_xfer_size = 4096;
	assert_int_equal(session_max_message(&limits), 32768);
}

#define raw(name) cmocka_unit_test_setup_teardown(name, rig_set_up_raw, rig_tear_down)
#define test(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

/* Descriptors */

/* A file that can be written at an offset, and not mapped. */
static int unmappable(void)
{
	char path[64];
	int memory = rig_memory(), fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	close(memory);
	assert_true(fd >= 0);
	return fd;
}

static int map_file(struct rig *rig, uint64_t address)
{
	const struct wire_dma_map map = {32, WIRE_DMA_WRITEABLE, 0, address, 16};
	int fd = unmappable(), rc;

	rc = rig_call_fds(rig, WIRE_DMA_MAP, &map, sizeof(map), &fd, 1);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int wire_irqs(struct rig *rig, uint32_t start, uint32_t count)
{
	const struct wire_irq_set set = {20, WIRE_IRQ_DATA_EVENTFD | WIRE_IRQ_ACTION_TRIGGER,
	                                 PCI_IRQ_MSIX, start, count};
	int fds[8], rc;

	for (uint32_t i = 0; i < count; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	rc = rig_call_fds(rig, WIRE_SET_IRQS, &set, sizeof(set), fds, count);
	for (uint32_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	return rc;
}

static void descriptors_held_have_a_bound(void **state)
{
	struct rig *rig = *state;
	int memory = rig_memory();

	rig->limits.max_fds = 8;
	rig_restart(rig, "{}");
	assert_int_equal(map_file(rig, 0x100000), 0);
	assert_int_equal(dma_fd_count(device_dma(rig->dev)), 1);
	assert_int_equal(wire_irqs(rig, 0, 8), EMFILE);
	assert_int_equal(wire_irqs(rig, 0, 6), 0);
	assert_int_equal(map_file(rig, 0x200000), 0);
	assert_int_equal(map_file(rig, 0x300000), EMFILE);
	/* What can be mapped needs none. */
	assert_int_equal(rig_map(rig, 0, RIG_MEMORY, &memory), 0);
	assert_int_equal(rig_unmap(rig, 0x100000, 16), 0);
	assert_int_equal(map_file(rig, 0x300000), 0);
}

/* Memory that the client takes away */

static void cut_memory_ends_the_session(void **state)
{
	struct rig *rig = *state;
	int fd = rig_memory(), mine = dup(fd);
	uint8_t byte;
	struct ob_dma_op op = {.done = rig_op_done};

	assert_true(dma_guard_install() >= 0);
	assert_int_equal(rig_map(rig, 0, RIG_MEMORY, &fd), 0);
	assert_int_equal(ftruncate(mine, 0), 0);
	assert_int_equal(ob_dma_read(rig->dev, 0, &byte, 1, &op), -EFAULT);
	assert_int_equal(rig->closes, 0);
	dma_guard_tell();
	assert_int_equal(rig->closes, 1);
	assert_int_equal(rig->close_reason, -EFAULT);
	dma_guard_remove();
	close(mine);
}

static void cut_memory_ends_a_session_that_waits(void **state)
{
	struct rig *rig = *state;
	int fd = rig_memory(), mine = dup(fd);
	uint8_t byte;
	struct ob_dma_op op = {.done = rig_op_done};

	assert_true(dma_guard_install() >= 0);
	assert_int_equal(rig_map(rig, 0, RIG_MEMORY, &fd), 0);
	rig_state(rig)->slow = true;
	rig_send(rig, 77, WIRE_RESET, 0, NULL, 0, NULL, 0, NULL, 0);
	assert_true(rig->paused);
	assert_int_equal(ftruncate(mine, 0), 0);
	assert_int_equal(ob_dma_read(rig->dev, 0, &byte, 1, &op), -EFAULT);
	dma_guard_tell();
	assert_int_equal(rig->close_reason, -EFAULT);
	rig_end(rig);
	rig_state(rig)->slow = false;
	ob_dev_quiet(rig->dev);
	rig_turns(rig);
	assert_int_equal(rig->ends, 1);
	dma_guard_remove();
	close(mine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		raw(version_is_agreed_on),
		raw(a_lower_minor_is_kept),
		raw(write_multiple_is_offered_to_who_has_it),
		raw(another_major_ends_it),
		raw(version_comes_first),
		raw(bad_json_ends_it),
		test(unknown_commands_are_refused),
		test(message_types_other_than_two_end_it),
		test(no_reply_means_none),
		test(too_many_descriptors_are_refused),
		test(device_info),
		test(region_info),
		test(region_io_fds),
		test(config_space_is_read),
		test(bars_are_written_and_read),
		test(accesses_outside_are_refused),
		test(many_writes_in_one),
		raw(many_writes_must_be_agreed_on),
		test(maps_come_and_go),
		test(one_descriptor_for_a_map),
		test(unmap_all),
		test(unmap_waits_for_pins),
		test(reset_at_once),
		test(reset_waits_for_quiet),
		test(first_map_that_fails),
		test(first_map_that_is_given_up),
		test(long_waits_are_logged),
		raw(end_before_negotiation),
		test(end_while_running_keeps_state),
		test(end_after_a_violation),
		test(end_while_unmapping),
		test(end_between_the_last_pin_and_the_loop),
		test(end_while_resetting),
		test(end_with_pins_and_a_busy_device),
		test(a_link_that_is_over_is_no_trouble),
		test(descriptors_held_have_a_bound),
		test(cut_memory_ends_the_session),
		test(cut_memory_ends_a_session_that_waits),
		cmocka_unit_test(max_message_covers_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
