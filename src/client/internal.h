/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the client library share. */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include "client/stream.h"
#include "outboard/client.h"
#include "wire/client.h"

enum { CLIENT_HEADROOM = 65536 }; /* bytes of a message beside the data it may transfer */

/* An operation under way; its place and generation are the message id. */
struct client_slot {
	struct ob_client_op *op; /* NULL in use: given up, the reply is dropped when it comes */
	bool used;
	uint8_t generation;
	uint16_t command;
};

/* A range that the server may ask for, in order of address. */
struct client_map {
	uint64_t address, length;
	unsigned flags;
	uint8_t *data;
};

struct ob_client {
	struct stream main, twin; /* twin.fd is -1 without one */
	struct ob_client_config config;
	struct ob_client_caps caps;
	char *json;
	uint32_t max_xfer; /* what both sides take */
	int dead;          /* -errno once the connection is given up */
	struct ob_error why;

	struct client_slot slots[OB_CLIENT_MAX_OPS];
	uint16_t free_slots[OB_CLIENT_MAX_OPS];
	unsigned free_count;

	struct client_map *maps;
	size_t map_count, map_room;
};

uint64_t client_deadline(const struct ob_client *client);

/* Notes what is wrong for ob_client_message(). Returns error. */
int client_fail(struct ob_client *client, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The connection is over. Returns error. All operations under way end with it. */
int client_give_up(struct ob_client *client, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A payload of up to two pieces, and descriptors. */
struct client_request {
	uint16_t command;
	const void *fixed;
	size_t fixed_size;
	const void *data;
	size_t size;
	const int *fds;
	unsigned fd_count;
};

/*
 * Starts an operation: op->take is called with a reply that is no error, and returns 0, -EPROTO
 * with client_fail() (the connection is then given up), or an error that is the operation's alone.
 */
int client_start(struct ob_client *client, struct ob_client_op *op,
                 const struct client_request *request);

/* Starts it and waits for its end. */
int client_call(struct ob_client *client, struct ob_client_op *op,
                const struct client_request *request);

/* Sends a request that wants no reply, with what comes next. */
int client_post(struct ob_client *client, const struct client_request *request);

/* Violates the protocol: for take functions. */
int client_bad_reply(struct ob_client *client, const struct ob_client_message *reply,
                     const char *why);

/* dma.c: answers a request of the server, on the stream that it came from. 0, or a broken stream.
 */
int client_serve(struct ob_client *client, struct stream *stream,
                 const struct ob_client_message *message);

#endif
