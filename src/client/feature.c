/* SPDX-License-Identifier: BSD-3-Clause */
/* Device features and migration data, as they are: what is in them is the caller's to know. */
#include <errno.h>
#include <string.h>

#include "client/internal.h"

/* Both DEVICE_FEATURE (argsz, flags) and MIG_DATA_* (argsz, size) begin with two numbers. */
struct two_numbers {
	uint32_t argsz, second;
};

struct answer {
	void *data;
	size_t room, length;
};

static int take_feature(struct ob_client *client, struct ob_client_op *op,
                        struct ob_client_message *reply)
{
	struct answer *answer = op->data;
	struct two_numbers head;

	if (reply->length < sizeof(head))
		return client_bad_reply(client, reply,
		                        "reply size: at least 16 + 8 bytes expected");
	memcpy(&head, reply->payload, sizeof(head));
	answer->length = reply->length - sizeof(head);
	if (answer->length > answer->room || head.argsz > sizeof(head) + answer->room) {
		if (head.argsz > sizeof(head) + answer->length)
			answer->length = head.argsz - sizeof(head);
		return client_fail(client, -ENOSPC, "the reply needs %zu bytes", answer->length);
	}
	if (answer->length)
		memcpy(answer->data, reply->payload + sizeof(head), answer->length);
	return 0;
}

int ob_client_feature(struct ob_client *client, uint32_t flags, const void *data, size_t length,
                      void *reply, size_t *reply_size)
{
	struct answer answer = {reply, *reply_size, 0};
	size_t room = *reply_size > length ? *reply_size : length;
	struct two_numbers head = {.second = flags};
	struct ob_client_op op = {.take = take_feature, .data = &answer};
	int rc;

	if (room > client->max_xfer)
		return client_fail(client, -EINVAL, "feature data: at most %u bytes expected",
		                   client->max_xfer);
	head.argsz = (uint32_t)(sizeof(head) + room);
	rc = client_call(client, &op,
	                 &(struct client_request){.command = WIRE_DEVICE_FEATURE,
	                                          .fixed = &head,
	                                          .fixed_size = sizeof(head),
	                                          .data = data,
	                                          .size = length});
	if (!rc || rc == -ENOSPC)
		*reply_size = answer.length;
	return rc;
}

static int take_mig_read(struct ob_client *client, struct ob_client_op *op,
                         struct ob_client_message *reply)
{
	struct answer *answer = op->data;
	struct two_numbers head;

	if (reply->length < sizeof(head))
		return client_bad_reply(client, reply,
		                        "reply size: at least 16 + 8 bytes expected");
	memcpy(&head, reply->payload, sizeof(head));
	if (head.second > answer->room || head.second != reply->length - sizeof(head))
		return client_bad_reply(client, reply,
		                        "size: that of the data, at most the request's expected");
	if (head.second)
		memcpy(answer->data, reply->payload + sizeof(head), head.second);
	answer->length = head.second;
	return 0;
}

int ob_client_mig_read(struct ob_client *client, void *data, uint32_t length, uint32_t *got)
{
	struct answer answer = {data, length, 0};
	struct two_numbers head = {.argsz = (uint32_t)sizeof(head) + length, .second = length};
	struct ob_client_op op = {.take = take_mig_read, .data = &answer};
	int rc;

	if (length > client->max_xfer)
		return client_fail(client, -EINVAL, "migration data: at most %u bytes at a time",
		                   client->max_xfer);
	rc = client_call(client, &op,
	                 &(struct client_request){.command = WIRE_MIG_DATA_READ,
	                                          .fixed = &head,
	                                          .fixed_size = sizeof(head)});
	if (!rc)
		*got = (uint32_t)answer.length;
	return rc;
}

int ob_client_mig_write(struct ob_client *client, const void *data, uint32_t length)
{
	struct two_numbers head = {.argsz = (uint32_t)sizeof(head) + length, .second = length};
	struct ob_client_op op = {0};

	if (length > client->max_xfer)
		return client_fail(client, -EINVAL, "migration data: at most %u bytes at a time",
		                   client->max_xfer);
	return client_call(client, &op,
	                   &(struct client_request){.command = WIRE_MIG_DATA_WRITE,
	                                            .fixed = &head,
	                                            .fixed_size = sizeof(head),
	                                            .data = data,
	                                            .size = length});
}
