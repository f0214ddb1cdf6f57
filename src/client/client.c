/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client's connection: operations under way, messages in, waiting. A message id is a slot's
 * number and a generation, so that a reply that comes after its call gave up is known for what it
 * is.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "client/internal.h"

enum { GENERATION_SHIFT = 8 };
_Static_assert(OB_CLIENT_MAX_OPS <= 1 << GENERATION_SHIFT, "a slot's number fits a message id");

uint64_t client_deadline(const struct ob_client *client)
{
	return clock_now() + client->config.timeout_ms * UINT64_C(1000000);
}

int client_fail(struct ob_client *client, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(client->why.message, sizeof(client->why.message), format, args);
	va_end(args);
	return error;
}

static void end_op(struct ob_client *client, unsigned index, int status)
{
	struct client_slot *slot = &client->slots[index];
	struct ob_client_op *op = slot->op;

	slot->used = false;
	slot->op = NULL;
	slot->generation++;
	client->free_slots[client->free_count++] = (uint16_t)index;
	if (!op)
		return;
	op->status = status;
	if (op->done)
		op->done(op);
}

int client_give_up(struct ob_client *client, int error, const char *format, ...)
{
	va_list args;

	if (client->dead)
		return client->dead;
	client->dead = error;
	if (format) {
		va_start(args, format);
		vsnprintf(client->why.message, sizeof(client->why.message), format, args);
		va_end(args);
	}
	for (unsigned i = 0; i < OB_CLIENT_MAX_OPS; i++) {
		if (client->slots[i].used)
			end_op(client, i, error);
	}
	return error;
}

static int lost(struct ob_client *client, int error)
{
	if (error == -ECONNRESET)
		return client_give_up(client, error, "the server hung up");
	if (error == -EMSGSIZE)
		return client_give_up(client, error,
		                      "the server sent a message longer than %zu bytes",
		                      client->main.max_message);
	if (error == -EPROTO)
		return client_give_up(client, error,
		                      "the server sent a message with a bad size or "
		                      "too many descriptors");
	if (error == -ETIMEDOUT)
		return client_give_up(client, error, "the server does not read what it is sent");
	return client_give_up(client, error, "the socket: %s", strerror(-error));
}

int client_bad_reply(struct ob_client *client, const struct ob_client_message *reply,
                     const char *why)
{
	return client_fail(client, -EPROTO, "%s: %s", wire_command_name(reply->header.command),
	                   why);
}

/* Messages in */

static int error_of(struct ob_client *client, const struct wire_header *header)
{
	int error = header->error && header->error < 4096 ? (int)header->error : EREMOTEIO;

	return client_fail(client, -error, "%s: the server answers: %s",
	                   wire_command_name(header->command), strerror(error));
}

static int take_reply(struct ob_client *client, struct ob_client_message *message)
{
	unsigned index = message->header.id & ((1 << GENERATION_SHIFT) - 1);
	unsigned generation = message->header.id >> GENERATION_SHIFT;
	struct client_slot *slot = &client->slots[index];
	int rc = 0;

	if (index >= OB_CLIENT_MAX_OPS || !slot->used || slot->generation != generation ||
	    slot->command != message->header.command)
		return client_give_up(
			client, -EPROTO, "a reply (%s, message id %u) to nothing that was asked",
			wire_command_name(message->header.command), message->header.id);
	if (message->header.flags & WIRE_ERROR)
		rc = error_of(client, &message->header);
	else if (slot->op && slot->op->take)
		rc = slot->op->take(client, slot->op, message);
	end_op(client, index, rc);
	if (rc == -EPROTO && !(message->header.flags & WIRE_ERROR))
		return client_give_up(client, rc, NULL);
	return 0;
}

static int handle(struct ob_client *client, struct stream *stream,
                  struct ob_client_message *message)
{
	unsigned type = message->header.flags & WIRE_TYPE_MASK;

	if (type == WIRE_TYPE_COMMAND)
		return client_serve(client, stream, message);
	if (type != WIRE_TYPE_REPLY || stream != &client->main)
		return client_give_up(client, -EPROTO,
		                      "message type %u on the %s socket: %s expected", type,
		                      stream == &client->main ? "main" : "twin",
		                      stream == &client->main ? "0 or 1" : "0");
	return take_reply(client, message);
}

static int take_messages(struct ob_client *client, struct stream *stream)
{
	struct ob_client_message message;
	int rc;

	while (!(rc = stream_next(stream, &message))) {
		rc = handle(client, stream, &message);
		stream_message_end(&message);
		if (client->dead)
			return client->dead;
		if (rc)
			return lost(client, rc);
	}
	return rc == -EAGAIN ? 0 : lost(client, rc);
}

/* One read at most of a stream, and everything whole that is there. *some: something arrived. */
static int take_from(struct ob_client *client, struct stream *stream, bool *some)
{
	uint64_t before = stream->position;
	int received, rc = take_messages(client, stream);

	if (rc)
		return rc;
	received = stream_receive(stream);
	rc = received ? 0 : take_messages(client, stream);
	*some |= stream->position != before;
	if (rc)
		return rc;
	return received && received != -EAGAIN ? lost(client, received) : 0;
}

static int flush(struct ob_client *client)
{
	int rc = 0;

	if (client->main.out_end)
		rc = stream_flush(&client->main, client_deadline(client));
	if (!rc && client->twin.out_end)
		rc = stream_flush(&client->twin, client_deadline(client));
	return rc ? lost(client, rc) : 0;
}

static int poll_once(struct ob_client *client, bool *some)
{
	int rc = client->dead;

	if (!rc && client->main.out_end + client->twin.out_end)
		rc = flush(client);
	if (!rc)
		rc = take_from(client, &client->main, some);
	if (!rc && client->twin.fd >= 0)
		rc = take_from(client, &client->twin, some);
	/* Answers to the server's requests. */
	if (!rc && client->main.out_end + client->twin.out_end)
		rc = flush(client);
	return rc;
}

int ob_client_poll(struct ob_client *client)
{
	bool some = false;

	return poll_once(client, &some);
}

static int sleep_until(struct ob_client *client, uint64_t deadline)
{
	struct pollfd watch[2] = {{.fd = client->main.fd, .events = POLLIN},
	                          {.fd = client->twin.fd, .events = POLLIN}};

	if (client->config.busy)
		return clock_now() < deadline ? 0 : -ETIMEDOUT;
	return clock_poll(watch, 2, deadline);
}

int ob_client_wait(struct ob_client *client, unsigned timeout_ms)
{
	uint64_t deadline = clock_now() + timeout_ms * UINT64_C(1000000);
	bool some = false;
	int rc = poll_once(client, &some);

	while (!rc && !some) {
		rc = sleep_until(client, deadline);
		if (rc == -ETIMEDOUT)
			return rc;
		rc = rc ? lost(client, rc) : poll_once(client, &some);
	}
	return rc;
}

void ob_client_fds(const struct ob_client *client, int fds[2])
{
	fds[0] = client->main.fd;
	fds[1] = client->twin.fd;
}

int ob_client_flush(struct ob_client *client)
{
	return client->dead ? client->dead : flush(client);
}

/* Requests */

static unsigned fill(struct iovec iov[3], struct wire_header *header,
                     const struct client_request *request, uint16_t id)
{
	wire_encode_command(header, id, request->command,
	                    (uint32_t)(sizeof(*header) + request->fixed_size + request->size));
	iov[0] = (struct iovec){header, sizeof(*header)};
	iov[1] = (struct iovec){(void *)request->fixed, request->fixed_size};
	iov[2] = (struct iovec){(void *)request->data, request->size};
	return request->size ? 3 : request->fixed_size ? 2 : 1;
}

int client_start(struct ob_client *client, struct ob_client_op *op,
                 const struct client_request *request)
{
	struct wire_header header;
	struct client_slot *slot;
	struct iovec iov[3];
	unsigned index, count;
	int rc;

	if (client->dead)
		return client->dead;
	if (!client->free_count)
		return client_fail(client, -EAGAIN, "%d operations are under way",
		                   OB_CLIENT_MAX_OPS);
	index = client->free_slots[--client->free_count];
	slot = &client->slots[index];
	slot->op = op;
	slot->used = true;
	slot->command = request->command;
	op->status = -EINPROGRESS;
	op->slot = (uint16_t)index;
	count = fill(iov, &header, request,
	             (uint16_t)(index | (unsigned)slot->generation << GENERATION_SHIFT));
	rc = stream_send(&client->main, iov, count, request->fds, request->fd_count,
	                 client_deadline(client));
	if (!rc)
		return 0;
	/* It did not start: its callback is not to be called. */
	slot->op = NULL;
	if (rc != -EBADF)
		return lost(client, rc);
	end_op(client, index, rc); /* a descriptor of the caller's; nothing was sent */
	return client_fail(client, rc, "a descriptor to send is not open");
}

int client_call(struct ob_client *client, struct ob_client_op *op,
                const struct client_request *request)
{
	uint64_t deadline = client_deadline(client);
	bool some = false;
	int rc = client_start(client, op, request);

	if (rc)
		return rc;
	while (!rc && op->status == -EINPROGRESS) {
		rc = sleep_until(client, deadline);
		if (rc == -ETIMEDOUT) {
			client->slots[op->slot].op = NULL;
			return client_fail(client, rc, "%s: no answer within %u ms",
			                   wire_command_name(request->command),
			                   client->config.timeout_ms);
		}
		rc = rc ? lost(client, rc) : poll_once(client, &some);
	}
	return rc && op->status == -EINPROGRESS ? rc : op->status;
}

int client_post(struct ob_client *client, const struct client_request *request)
{
	struct wire_header header;
	struct iovec iov[3];
	unsigned count = fill(iov, &header, request, 0);
	int rc;

	if (client->dead)
		return client->dead;
	header.flags |= WIRE_NO_REPLY;
	rc = stream_queue(&client->main, iov, count, client_deadline(client));
	return rc ? lost(client, rc) : 0;
}

/* The connection */

static int take_version(struct ob_client *client, struct ob_client_op *op,
                        struct ob_client_message *reply)
{
	struct wire_version_reply version;
	const struct wire_capabilities *caps = &version.version.capabilities;
	const char *why = NULL;
	int rc = wire_decode_version_reply(reply->payload, reply->length, &version, &why);

	if (rc == -ENOMEM)
		return client_fail(client, rc, "out of memory");
	if (rc)
		return client_bad_reply(client, reply, why);
	if (version.version.major != WIRE_MAJOR || version.version.minor > WIRE_MINOR)
		return client_bad_reply(client, reply, "version 0.0 or 0.1 expected");
	if (caps->twin_socket && !client->config.twin_socket)
		return client_bad_reply(client, reply, "twin_socket: was not offered");
	if (caps->twin_socket && (!version.has_twin_fd || version.twin_fd >= reply->fd_count))
		return client_bad_reply(
			client, reply,
			"twin_socket.fd_index: one of the descriptors sent expected");
	client->json = strndup(version.json, version.json_length);
	if (!client->json)
		return client_fail(client, -ENOMEM, "out of memory");
	if (caps->twin_socket) {
		stream_init(&client->twin, reply->fds[version.twin_fd], client->main.max_message);
		reply->fds[version.twin_fd] = -1;
	}
	client->caps = (struct ob_client_caps){
		.major = version.version.major,
		.minor = version.version.minor,
		.max_msg_fds = caps->max_msg_fds,
		.max_data_xfer_size = caps->max_data_xfer_size,
		.max_dma_maps = caps->max_dma_maps,
		.pgsizes = caps->pgsizes,
		.write_multiple = caps->write_multiple,
		.twin_socket = caps->twin_socket,
		.migration = caps->migration,
		.migration_pgsize = version.migration.pgsize,
		.migration_max_bitmap_size = version.migration.max_bitmap_size,
		.json = client->json,
	};
	if (caps->max_data_xfer_size < client->max_xfer)
		client->max_xfer = caps->max_data_xfer_size;
	return 0;
}

static int negotiate(struct ob_client *client)
{
	const struct wire_version offer = {
		.major = WIRE_MAJOR,
		.minor = WIRE_MINOR,
		.capabilities = {.max_msg_fds = STREAM_MAX_FDS,
	                         .max_data_xfer_size = client->max_xfer,
	                         .max_dma_maps = WIRE_DEFAULT_DMA_MAPS,
	                         .pgsizes = WIRE_DEFAULT_PGSIZES,
	                         .twin_socket = client->config.twin_socket,
	                         .write_multiple = true},
	};
	const struct wire_migration_caps migration = {.pgsize = 4096, .max_bitmap_size = 1 << 28};
	uint8_t payload[WIRE_VERSION_REQUEST_ROOM];
	struct ob_client_op op = {.take = take_version};
	struct client_request request = {
		.command = WIRE_VERSION,
		.fixed = payload,
		.fixed_size = wire_encode_version_request(payload, &offer, &migration),
	};

	return client_call(client, &op, &request);
}

/* Monitors speak first, in JSON. */
static bool greets_with_qmp(const struct stream *stream)
{
	return stream->in_end - stream->in_start >= 2 && stream->in[stream->in_start] == '{' &&
	       stream->in[stream->in_start + 1] == '"';
}

int ob_client_new(int fd, const struct ob_client_config *config, struct ob_client **out,
                  struct ob_error *err)
{
	struct ob_client *client = calloc(1, sizeof(*client));
	int rc;

	if (!client) {
		close(fd);
		return ob_error_set(err, -ENOMEM, "out of memory");
	}
	if (config)
		client->config = *config;
	if (!client->config.timeout_ms)
		client->config.timeout_ms = 5000;
	client->max_xfer = client->config.max_data_xfer_size;
	if (!client->max_xfer)
		client->max_xfer = WIRE_DEFAULT_DATA_XFER_SIZE;
	client->config.max_data_xfer_size = client->max_xfer;
	stream_init(&client->main, fd, (size_t)client->max_xfer + CLIENT_HEADROOM);
	stream_init(&client->twin, -1, 0);
	while (client->free_count < OB_CLIENT_MAX_OPS) {
		client->free_slots[client->free_count] =
			(uint16_t)(OB_CLIENT_MAX_OPS - 1 - client->free_count);
		client->free_count++;
	}
	rc = negotiate(client);
	if (rc) {
		if (greets_with_qmp(&client->main))
			ob_error_set(err, rc,
			             "this is a monitor (QMP), and not a device's socket: the "
			             "socket of a device is the one of socket= or of -object "
			             "x-vfio-user-server");
		else if (rc == -ECONNRESET)
			ob_error_set(err, rc,
			             "the server hung up instead of negotiating: does it serve "
			             "another client?");
		else
			ob_error_set(err, rc, "%s", client->why.message);
		ob_client_free(client);
		return rc;
	}
	*out = client;
	return 0;
}

void ob_client_free(struct ob_client *client)
{
	if (!client)
		return;
	stream_free(&client->main);
	stream_free(&client->twin);
	free(client->maps);
	free(client->json);
	free(client);
}

const struct ob_client_caps *ob_client_caps(const struct ob_client *client)
{
	return &client->caps;
}

const char *ob_client_message(const struct ob_client *client)
{
	return client->why.message;
}
