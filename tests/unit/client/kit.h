/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client and the other end of its socket, where a test plays the server, as badly as it likes.
 * What the server says is put into the socket before the client's call, so no thread is needed: the
 * ids of one call after the other are known.
 */
#ifndef KIT_H
#define KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/stream.h"
#include "outboard/client.h"
#include "wire/client.h"

enum { KIT_SCRIPT = 4 };

struct kit {
	int server;
	struct ob_client *client;
	int result; /* of connecting */
	struct ob_error err;
	uint16_t id; /* of the next call, if no other is under way */
	int open_before;

	struct wire_header header; /* of the last message that the client sent */
	uint8_t payload[70000];
	size_t length;
	int fds[STREAM_MAX_FDS];
	unsigned fd_count;

	/* Replies of a server that waits for its turn: what it got, and what it answers. */
	pthread_t thread;
	struct {
		struct wire_header header;
		uint8_t payload[64];
		uint8_t got[8192];
		size_t got_length;
		unsigned got_fds;
	} script[KIT_SCRIPT];
	unsigned script_length;
};

static inline int kit_open_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static inline void kit_send(struct kit *kit, const void *data, size_t length, const int *fds,
                            unsigned fd_count)
{
	struct iovec iov = {(void *)data, length};

	assert_int_equal(stream_send_once(kit->server, &iov, 1, fds, fd_count), (ssize_t)length);
}

/* A message with that header and payload. */
static inline void kit_message(struct kit *kit, uint16_t id, uint16_t command, uint32_t flags,
                               const void *payload, size_t length, const int *fds, unsigned count)
{
	static uint8_t message[70016];
	struct wire_header header = {.id = id,
	                             .command = command,
	                             .size = (uint32_t)(sizeof(header) + length),
	                             .flags = flags};

	memcpy(message, &header, sizeof(header));
	if (length)
		memcpy(message + sizeof(header), payload, length);
	kit_send(kit, message, sizeof(header) + length, fds, count);
}

/* The reply to the call that comes next. */
static inline void kit_reply(struct kit *kit, uint16_t command, const void *payload, size_t length)
{
	kit_message(kit, kit->id, command, WIRE_TYPE_REPLY, payload, length, NULL, 0);
	kit->id += 0x100;
}

static inline void kit_reply_error(struct kit *kit, uint16_t command, uint32_t error)
{
	struct wire_header header = {.id = kit->id,
	                             .command = command,
	                             .size = sizeof(header),
	                             .flags = WIRE_TYPE_REPLY | WIRE_ERROR,
	                             .error = error};

	kit_send(kit, &header, sizeof(header), NULL, 0);
	kit->id += 0x100;
}

/* Reads what the client sent: one message into the kit. */
static inline void kit_take(struct kit *kit)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * STREAM_MAX_FDS)];
	} control;
	struct iovec iov = {&kit->header, sizeof(kit->header)};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;

	assert_int_equal(recvmsg(kit->server, &message, MSG_DONTWAIT), sizeof(kit->header));
	cmsg = CMSG_FIRSTHDR(&message);
	kit->fd_count = 0;
	if (cmsg) {
		kit->fd_count = (unsigned)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(kit->fds, CMSG_DATA(cmsg), kit->fd_count * sizeof(int));
	}
	for (unsigned i = 0; i < kit->fd_count; i++)
		close(kit->fds[i]);
	kit->length = kit->header.size - sizeof(kit->header);
	assert_true(kit->length <= sizeof(kit->payload));
	if (kit->length)
		assert_int_equal(recv(kit->server, kit->payload, kit->length, MSG_DONTWAIT),
		                 (ssize_t)kit->length);
}

/* For a call that sends several messages, one after the reply to the other. */
static inline void kit_script(struct kit *kit, uint16_t command, const void *payload, size_t length)
{
	unsigned i = kit->script_length++;

	kit->script[i].header = (struct wire_header){
		.id = kit->id,
		.command = command,
		.size = (uint32_t)(sizeof(struct wire_header) + length),
		.flags = WIRE_TYPE_REPLY,
	};
	if (length)
		memcpy(kit->script[i].payload, payload, length);
	kit->id += 0x100;
}

static inline void *kit_run_script(void *opaque)
{
	struct kit *kit = opaque;

	for (unsigned i = 0; i < kit->script_length; i++) {
		struct pollfd watch = {.fd = kit->server, .events = POLLIN};

		poll(&watch, 1, 10000);
		kit_take(kit);
		memcpy(kit->script[i].got, kit->payload, kit->length);
		kit->script[i].got_length = kit->length;
		kit->script[i].got_fds = kit->fd_count;
		kit_message(kit, kit->script[i].header.id, kit->script[i].header.command,
		            WIRE_TYPE_REPLY, kit->script[i].payload,
		            kit->script[i].header.size - sizeof(struct wire_header), NULL, 0);
	}
	kit->script_length = 0;
	return NULL;
}

static inline void kit_start_script(struct kit *kit)
{
	assert_int_equal(pthread_create(&kit->thread, NULL, kit_run_script, kit), 0);
}

static inline void kit_end_script(struct kit *kit)
{
	pthread_join(kit->thread, NULL);
}

static inline void kit_nothing_sent(struct kit *kit)
{
	char byte;

	assert_int_equal(recv(kit->server, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Connects to a server that answers VERSION with this (text NULL: whatever was queued before). */
static inline void kit_connect(struct kit *kit, const struct ob_client_config *config,
                               const char *text, const int *fds, unsigned fd_count)
{
	uint8_t payload[2048] = {0};
	int ends[2];

	kit->open_before = kit_open_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	kit->server = ends[1];
	if (text) {
		memcpy(payload + 4, text, strlen(text) + 1);
		kit_message(kit, 0, WIRE_VERSION, WIRE_TYPE_REPLY, payload, 4 + strlen(text) + 1,
		            fds, fd_count);
	}
	kit->id = 0x100;
	kit->result = ob_client_new(ends[0], config, &kit->client, &kit->err);
	if (!kit->result)
		kit_take(kit);
}

static inline int kit_setup(void **state)
{
	static struct kit kit;
	const struct ob_client_config config = {.timeout_ms = 200};

	kit = (struct kit){0};
	kit_connect(&kit, &config,
	            "{\"capabilities\":{\"max_msg_fds\":2,\"max_data_xfer_size\":4096}}", NULL, 0);
	assert_int_equal(kit.result, 0);
	*state = &kit;
	return 0;
}

static inline int kit_teardown(void **state)
{
	struct kit *kit = *state;

	ob_client_free(kit->client);
	close(kit->server);
	/* Nothing of what the server sent stays open. */
	assert_int_equal(kit_open_fds(), kit->open_before);
	return 0;
}

#endif
