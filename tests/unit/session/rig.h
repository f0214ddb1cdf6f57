/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session on a small device, over a link that keeps what is sent. The client's side is written
 * out in raw structs.
 */
#ifndef RIG_H
#define RIG_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/list.h"
#include "loop/loop.h"
#include "session/session.h"
#include "wire/wire.h"

enum {
	RIG_BAR_SIZE = 4096,
	RIG_DMA_AT_WRITE = 0x80, /* a write here starts a DMA read at the address written */
	RIG_DMA_AT_READ = 0x88,  /* a read here one at address 0 */
	RIG_MEMORY = 0x10000,    /* bytes that rig_map() maps */
};

struct rig_state {
	uint8_t bar[RIG_BAR_SIZE];
	unsigned resets, quiesces, resumes;
	bool slow; /* quiesce ends when the test calls ob_dev_quiet() */
};

struct rig_runtime {
	struct ob_dma_op op;
	uint8_t buffer[16];
};

struct rig {
	struct ob_dev *dev;
	struct ob_loop *loop;
	struct log log;
	struct session *session;
	struct session_link link, twin;
	struct session_limits limits;
	bool has_twin;      /* the session asked for one */
	unsigned twin_sent; /* messages */
	int open_before;

	uint8_t reserved[4 << 20];
	size_t reserved_size;
	bool link_over;
	uint8_t sent[8 << 20];
	size_t sent_start, sent_end;
	bool paused;
	unsigned closes, ends;
	int close_reason;

	int fds[64]; /* duplicates of what came with the last message sent */
	unsigned fd_count;

	struct wire_header reply; /* of the last call */
	const uint8_t *data;      /* its payload */
	size_t length;
};

static inline uint64_t rig_bar_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	struct rig_state *state = ob_dev_state(dev);
	struct rig_runtime *runtime = ob_dev_runtime(dev);

	if (offset == RIG_DMA_AT_READ)
		ob_dma_read(dev, 0, runtime->buffer, 4, &runtime->op);
	return ob_get_le(state->bar + offset, size);
}

static inline void rig_bar_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct rig_state *state = ob_dev_state(dev);
	struct rig_runtime *runtime = ob_dev_runtime(dev);

	ob_put_le(state->bar + offset, value, size);
	if (offset == RIG_DMA_AT_WRITE)
		ob_dma_read(dev, value, runtime->buffer, 16, &runtime->op);
}

static inline void rig_op_done(struct ob_dma_op *op, int status)
{
}

static inline void rig_model_reset(struct ob_dev *dev)
{
	struct rig_state *state = ob_dev_state(dev);

	state->resets++;
	memset(state->bar, 0, sizeof(state->bar));
}

static inline void rig_quiesce(struct ob_dev *dev)
{
	struct rig_state *state = ob_dev_state(dev);
	struct rig_runtime *runtime = ob_dev_runtime(dev);

	state->quiesces++;
	ob_dma_cancel(dev, &runtime->op);
	if (!state->slow)
		ob_dev_quiet(dev);
}

static inline void rig_resume(struct ob_dev *dev)
{
	struct rig_state *state = ob_dev_state(dev);

	state->resumes++;
}

static const uint8_t rig_rom[2048] = {0x55, 0xaa};

static const struct ob_model rig_model = {
	.name = "rig",
	.summary = "for tests",
	.state_size = sizeof(struct rig_state),
	.runtime_size = sizeof(struct rig_runtime),
	.layout =
		{
			.ident = {.vendor = 0x1234, .device = 0x5678},
			.bars = {[0] = {.size = RIG_BAR_SIZE,
                                        OB_WINDOWS({.min_access = 1,
                                                    .max_access = 8,
                                                    .read = rig_bar_read,
                                                    .write = rig_bar_write})}},
			.irqs = {.intx = true, .msi_vectors = 4, .msix_vectors = 8, .msix_bar = 4},
			.pcie = true,
			.rom = rig_rom,
			.rom_size = sizeof(rig_rom),
		},
	.reset = rig_model_reset,
	.quiesce = rig_quiesce,
	.resume = rig_resume,
};

/* The link */

static inline void rig_close_fds(struct rig *rig)
{
	while (rig->fd_count)
		close(rig->fds[--rig->fd_count]);
}

static inline uint8_t *rig_reserve(struct session_link *link, size_t size)
{
	struct rig *rig = container_of(link, struct rig, link);

	assert_true(size <= sizeof(rig->reserved));
	if (rig->link_over)
		return NULL;
	rig->reserved_size = size;
	return rig->reserved;
}

static inline void rig_commit(struct session_link *link, size_t size, const int *fds,
                              unsigned fd_count)
{
	struct rig *rig = container_of(link, struct rig, link);

	assert_true(size <= rig->reserved_size && rig->sent_end + size <= sizeof(rig->sent));
	rig->reserved_size = 0; /* a commit without a reservation of its own is noticed */
	memcpy(rig->sent + rig->sent_end, rig->reserved, size);
	rig->sent_end += size;
	memset(rig->reserved, 0xee, size);
	rig_close_fds(rig);
	for (; rig->fd_count < fd_count; rig->fd_count++)
		rig->fds[rig->fd_count] = dup(fds[rig->fd_count]);
}

/* The twin's messages are found among the others; they are just counted. */
static inline uint8_t *rig_twin_reserve(struct session_link *link, size_t size)
{
	return rig_reserve(&container_of(link, struct rig, twin)->link, size);
}

static inline void rig_twin_commit(struct session_link *link, size_t size, const int *fds,
                                   unsigned fd_count)
{
	struct rig *rig = container_of(link, struct rig, twin);

	rig->twin_sent++;
	rig_commit(&rig->link, size, fds, fd_count);
}

static inline int rig_make_twin(struct session_link *link, struct session_link **twin)
{
	struct rig *rig = container_of(link, struct rig, link);

	assert_false(rig->has_twin);
	rig->has_twin = true;
	*twin = &rig->twin;
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static inline void rig_pause(struct session_link *link, bool paused)
{
	container_of(link, struct rig, link)->paused = paused;
}

static inline void rig_close(struct session_link *link, int reason)
{
	struct rig *rig = container_of(link, struct rig, link);

	rig->closes++;
	rig->close_reason = reason;
}

static inline void rig_ended(void *context)
{
	struct rig *rig = context;

	rig->ends++;
	session_free(rig->session);
	rig->session = NULL;
}

static inline int rig_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* The client */

static inline void rig_turns(struct rig *rig)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_turn(rig->loop, 0), 0);
}

/* Sends a message with up to two parts of payload. */
static inline void rig_send(struct rig *rig, uint16_t id, uint16_t command, uint32_t flags,
                            const void *payload, size_t length, const void *more,
                            size_t more_length, int *fds, unsigned fd_count)
{
	size_t size = sizeof(struct wire_header) + length + more_length;
	struct wire_header header = {
		.id = id, .command = command, .size = (uint32_t)size, .flags = flags};
	uint8_t *message = malloc(size);

	memcpy(message, &header, sizeof(header));
	if (length)
		memcpy(message + sizeof(header), payload, length);
	if (more_length)
		memcpy(message + sizeof(header) + length, more, more_length);
	session_message(rig->session, message, size, fds, fd_count);
	free(message);
}

/* The same by the twin: a reply, or something that looks like it. */
static inline void rig_send_twin(struct rig *rig, uint16_t id, uint16_t command, uint32_t flags,
                                 const void *payload, size_t length)
{
	uint8_t message[256];
	struct wire_header header = {.id = id,
	                             .command = command,
	                             .size = (uint32_t)(sizeof(header) + length),
	                             .flags = flags};

	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), payload, length);
	session_twin_message(rig->session, message, header.size);
}

/* Takes the next message that was sent; false if there is none. */
static inline bool rig_receive(struct rig *rig)
{
	if (rig->sent_start == rig->sent_end)
		return false;
	memcpy(&rig->reply, rig->sent + rig->sent_start, sizeof(rig->reply));
	rig->data = rig->sent + rig->sent_start + sizeof(rig->reply);
	rig->length = rig->reply.size - sizeof(rig->reply);
	rig->sent_start += rig->reply.size;
	assert_true(rig->sent_start <= rig->sent_end);
	if (rig->sent_start == rig->sent_end)
		rig->sent_start = rig->sent_end = 0; /* the bytes stay until the next is sent */
	return true;
}

/* The reply to what was sent with message id 77: 0, or the errno value of the error. */
static inline int rig_reply(struct rig *rig, uint16_t command)
{
	assert_true(rig_receive(rig));
	assert_int_equal(rig->reply.id, 77);
	assert_int_equal(rig->reply.command, command);
	assert_int_equal(rig->reply.flags & WIRE_TYPE_MASK, WIRE_TYPE_REPLY);
	if (!(rig->reply.flags & WIRE_ERROR))
		return 0;
	assert_int_equal(rig->length, 0);
	assert_int_not_equal(rig->reply.error, 0);
	return (int)rig->reply.error;
}

static inline int rig_call_fds(struct rig *rig, uint16_t command, const void *payload,
                               size_t length, int *fds, unsigned fd_count)
{
	rig_send(rig, 77, command, 0, payload, length, NULL, 0, fds, fd_count);
	return rig_reply(rig, command);
}

static inline int rig_call(struct rig *rig, uint16_t command, const void *payload, size_t length)
{
	return rig_call_fds(rig, command, payload, length, NULL, 0);
}

static inline void rig_negotiate(struct rig *rig, const char *json)
{
	const struct wire_version_header version = {0, 1};

	rig_send(rig, 77, WIRE_VERSION, 0, &version, sizeof(version), json, strlen(json) + 1, NULL,
	         0);
	assert_int_equal(rig_reply(rig, WIRE_VERSION), 0);
}

static inline int rig_map(struct rig *rig, uint64_t address, uint64_t size, int *fd)
{
	const struct wire_dma_map map = {32, 3, 0, address, size};

	return rig_call_fds(rig, WIRE_DMA_MAP, &map, sizeof(map), fd, fd && *fd >= 0);
}

static inline int rig_unmap(struct rig *rig, uint64_t address, uint64_t size)
{
	const struct wire_dma_unmap unmap = {24, 0, address, size};

	return rig_call(rig, WIRE_DMA_UNMAP, &unmap, sizeof(unmap));
}

static inline int rig_memory(void)
{
	int fd = memfd_create("rig", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, RIG_MEMORY), 0);
	return fd;
}

static inline struct rig_state *rig_state(struct rig *rig)
{
	return ob_dev_state(rig->dev);
}

static inline void rig_new_session(struct rig *rig)
{
	rig->session = session_new(rig->dev, &rig->limits, &rig->link, &rig->log);
	rig->paused = false;
	rig->sent_start = rig->sent_end = 0;
}

static inline void rig_end(struct rig *rig)
{
	session_end(rig->session, rig_ended, rig);
}

/* Another session, with limits of the test's, whose client uses the device. */
static inline void rig_restart(struct rig *rig, const char *json)
{
	rig_end(rig);
	rig_turns(rig);
	assert_null(rig->session);
	rig_new_session(rig);
	rig_negotiate(rig, json);
	device_client_uses(rig->dev);
}

static inline int rig_set_up_with(void **state, const struct ob_model *model)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct opts opts = {0};
	struct ob_error err = {""};
	struct device_env env = {0};
	struct rig_runtime *runtime;

	rig->open_before = rig_open_fds();
	rig->log = (struct log){.fd = -1, .level = LOG_ERROR};
	rig->loop = loop_new();
	loop_set_share(rig->loop, UINT64_MAX);
	env.loop = rig->loop;
	env.log = &rig->log;
	rig->dev = device_new(model, "r0", &env, &opts, &err);
	assert_non_null(rig->dev);
	runtime = ob_dev_runtime(rig->dev);
	runtime->op.done = rig_op_done;
	rig->link =
		(struct session_link){rig_reserve, rig_commit, rig_pause, rig_close, rig_make_twin};
	rig->twin = (struct session_link){.reserve = rig_twin_reserve, .commit = rig_twin_commit};
	rig->limits = session_default_limits;
	rig_new_session(rig);
	assert_non_null(rig->session);
	*state = rig;
	return 0;
}

static inline int rig_set_up_raw(void **state)
{
	return rig_set_up_with(state, &rig_model);
}

static inline int rig_set_up(void **state)
{
	rig_set_up_raw(state);
	rig_negotiate(*state, "{\"capabilities\":{\"write_multiple\":true,\"max_msg_fds\":16}}");
	return 0;
}

static int rig_tear_down(void **state)
{
	struct rig *rig = *state;

	if (rig->session) {
		rig_end(rig);
		rig_turns(rig);
	}
	assert_null(rig->session);
	rig_close_fds(rig);
	assert_int_equal(dma_map_count(device_dma(rig->dev)), 0);
	device_free(rig->dev);
	loop_free(rig->loop);
	/* Helper threads of the loop have a descriptor, and end by themselves. */
	for (unsigned i = 0; i < 10000 && rig_open_fds() != rig->open_before; i++)
		usleep(1000);
	assert_int_equal(rig_open_fds(), rig->open_before);
	free(rig);
	return 0;
}

#endif
