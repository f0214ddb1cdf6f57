/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading and writing regions: waiting, started, posted, several at a time; and reset. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "outboard/endian.h"

static int take_read(struct ob_client *client, struct ob_client_op *op,
                     struct ob_client_message *reply)
{
	const struct wire_region_access request = {op->offset, op->region, op->count};
	struct wire_region_access access;
	const uint8_t *data;
	const char *why;

	if (wire_decode_region_read_reply(reply->payload, reply->length, &request, &access, &data,
	                                  &why))
		return client_bad_reply(client, reply, why);
	memcpy(op->data, data, access.count);
	if (access.count < op->count)
		return client_fail(client, -EIO, "the server read %u bytes instead of %u",
		                   access.count, op->count);
	return 0;
}

static int take_write(struct ob_client *client, struct ob_client_op *op,
                      struct ob_client_message *reply)
{
	const struct wire_region_access request = {op->offset, op->region, op->count};
	struct wire_region_access access;
	const char *why;

	if (wire_decode_region_write_reply(reply->payload, reply->length, &request, &access, &why))
		return client_bad_reply(client, reply, why);
	if (access.count < op->count)
		return client_fail(client, -EIO, "the server wrote %u bytes instead of %u",
		                   access.count, op->count);
	return 0;
}

static int prepare(struct ob_client *client, struct ob_client_op *op, uint32_t region,
                   uint64_t offset, uint32_t length)
{
	if (length > client->max_xfer)
		return client_fail(client, -EINVAL,
		                   "one message transfers at most %u bytes with this server",
		                   client->max_xfer);
	op->region = region;
	op->offset = offset;
	op->count = length;
	return 0;
}

int ob_client_read_start(struct ob_client *client, struct ob_client_op *op, uint32_t region,
                         uint64_t offset, void *data, uint32_t length)
{
	const struct wire_region_access access = {offset, region, length};
	int rc = prepare(client, op, region, offset, length);

	op->take = take_read;
	op->data = data;
	return rc ? rc
	          : client_start(client, op,
	                         &(struct client_request){.command = WIRE_REGION_READ,
	                                                  .fixed = &access,
	                                                  .fixed_size = sizeof(access)});
}

int ob_client_write_start(struct ob_client *client, struct ob_client_op *op, uint32_t region,
                          uint64_t offset, const void *data, uint32_t length)
{
	const struct wire_region_access access = {offset, region, length};
	int rc = prepare(client, op, region, offset, length);

	op->take = take_write;
	return rc ? rc
	          : client_start(client, op,
	                         &(struct client_request){.command = WIRE_REGION_WRITE,
	                                                  .fixed = &access,
	                                                  .fixed_size = sizeof(access),
	                                                  .data = data,
	                                                  .size = length});
}

static int transfer(struct ob_client *client, bool write, uint32_t region, uint64_t offset,
                    void *data, size_t length)
{
	struct ob_client_op op = {.take = write ? take_write : take_read};
	size_t done = 0;

	do {
		size_t left = length - done;
		uint32_t piece = left < client->max_xfer ? (uint32_t)left : client->max_xfer;
		const struct wire_region_access access = {offset + done, region, piece};
		struct client_request request = {
			.command = write ? WIRE_REGION_WRITE : WIRE_REGION_READ,
			.fixed = &access,
			.fixed_size = sizeof(access),
			.data = write ? (uint8_t *)data + done : NULL,
			.size = write ? piece : 0,
		};
		int rc = prepare(client, &op, region, offset + done, piece);

		op.data = (uint8_t *)data + done;
		if (!rc)
			rc = client_call(client, &op, &request);
		if (rc)
			return rc;
		done += piece;
	} while (done < length);
	return 0;
}

int ob_client_read(struct ob_client *client, uint32_t region, uint64_t offset, void *data,
                   size_t length)
{
	return transfer(client, false, region, offset, data, length);
}

int ob_client_write(struct ob_client *client, uint32_t region, uint64_t offset, const void *data,
                    size_t length)
{
	return transfer(client, true, region, offset, (void *)data, length);
}

static bool is_value_size(unsigned size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

int ob_client_read_value(struct ob_client *client, uint32_t region, uint64_t offset, unsigned size,
                         uint64_t *value)
{
	uint8_t bytes[8];
	int rc;

	if (!is_value_size(size))
		return client_fail(client, -EINVAL, "size: 1, 2, 4 or 8 expected");
	rc = ob_client_read(client, region, offset, bytes, size);
	if (!rc)
		*value = ob_get_le(bytes, size);
	return rc;
}

int ob_client_write_value(struct ob_client *client, uint32_t region, uint64_t offset, unsigned size,
                          uint64_t value)
{
	uint8_t bytes[8];

	if (!is_value_size(size))
		return client_fail(client, -EINVAL, "size: 1, 2, 4 or 8 expected");
	ob_put_le(bytes, value, size);
	return ob_client_write(client, region, offset, bytes, size);
}

int ob_client_post(struct ob_client *client, uint32_t region, uint64_t offset, const void *data,
                   size_t length)
{
	struct wire_region_access access = {offset, region, (uint32_t)length};

	if (length > client->max_xfer)
		return client_fail(client, -EINVAL,
		                   "one message transfers at most %u bytes with this server",
		                   client->max_xfer);
	return client_post(client, &(struct client_request){.command = WIRE_REGION_WRITE,
	                                                    .fixed = &access,
	                                                    .fixed_size = sizeof(access),
	                                                    .data = data,
	                                                    .size = length});
}

static int take_multi(struct ob_client *client, struct ob_client_op *op,
                      struct ob_client_message *reply)
{
	const char *why;
	uint64_t done;

	if (wire_decode_write_multi_reply(reply->payload, reply->length, op->count, &done, &why))
		return client_bad_reply(client, reply, why);
	*(uint64_t *)op->data = done;
	return 0;
}

static int multi(struct ob_client *client, const struct wire_small_write *wire, unsigned count,
                 bool posted, uint64_t *done)
{
	const uint64_t number = count;
	struct client_request request = {.command = WIRE_REGION_WRITE_MULTI,
	                                 .fixed = &number,
	                                 .fixed_size = sizeof(number),
	                                 .data = wire,
	                                 .size = count * sizeof(*wire)};
	uint64_t did = 0;
	struct ob_client_op op = {.take = take_multi, .count = count, .data = &did};
	int rc;

	if (posted)
		return client_post(client, &request);
	rc = client_call(client, &op, &request);
	if (!rc && done)
		*done = did;
	return rc;
}

int ob_client_write_multi(struct ob_client *client, const struct ob_client_small_write *writes,
                          unsigned count, bool posted, uint64_t *done)
{
	struct wire_small_write *wire;
	int rc;

	if (!client->caps.write_multiple)
		return client_fail(client, -EOPNOTSUPP, "the server does not offer write_multiple");
	if (!count || count * sizeof(struct wire_small_write) > client->max_xfer)
		return client_fail(client, -EINVAL, "writes: 1 to %zu in a message expected",
		                   client->max_xfer / sizeof(struct wire_small_write));
	for (unsigned i = 0; i < count; i++) {
		if (writes[i].size > sizeof(wire->data))
			return client_fail(client, -EINVAL, "size: at most 8 bytes expected");
	}
	wire = calloc(count, sizeof(*wire));
	if (!wire)
		return client_fail(client, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < count; i++) {
		wire[i].offset = writes[i].offset;
		wire[i].region = writes[i].region;
		wire[i].count = writes[i].size;
		ob_put_le(wire[i].data, writes[i].value, sizeof(wire[i].data));
	}
	rc = multi(client, wire, count, posted, done);
	free(wire);
	return rc;
}

int ob_client_reset(struct ob_client *client)
{
	struct ob_client_op op = {0};

	return client_call(client, &op, &(struct client_request){.command = WIRE_RESET});
}
