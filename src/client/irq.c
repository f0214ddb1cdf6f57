/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: what there are, and how they are delivered. */
#include <errno.h>

#include "client/internal.h"

static int take_irq(struct ob_client *client, struct ob_client_op *op,
                    struct ob_client_message *reply)
{
	struct ob_client_irq *out = op->data;
	struct wire_irq_info info;
	const char *why;

	if (wire_decode_irq_info_reply(reply->payload, reply->length, &info, &why))
		return client_bad_reply(client, reply, why);
	if (info.index != op->region)
		return client_bad_reply(client, reply, "index: the request's expected");
	*out = (struct ob_client_irq){
		.index = info.index,
		.count = info.count,
		.eventfd = info.flags & WIRE_IRQ_EVENTFD,
		.maskable = info.flags & WIRE_IRQ_MASKABLE,
		.automasked = info.flags & WIRE_IRQ_AUTOMASKED,
		.noresize = info.flags & WIRE_IRQ_NORESIZE,
	};
	return 0;
}

int ob_client_irq_info(struct ob_client *client, uint32_t index, struct ob_client_irq *out)
{
	const struct wire_irq_info info = {.argsz = sizeof(info), .index = index};
	struct ob_client_op op = {.take = take_irq, .data = out, .region = index};

	return client_call(client, &op,
	                   &(struct client_request){.command = WIRE_GET_IRQ_INFO,
	                                            .fixed = &info,
	                                            .fixed_size = sizeof(info)});
}

static int set(struct ob_client *client, const struct wire_irq_set *set, const uint8_t *bools,
               const int *fds, unsigned fd_count)
{
	struct ob_client_op op = {0};

	return client_call(client, &op,
	                   &(struct client_request){.command = WIRE_SET_IRQS,
	                                            .fixed = set,
	                                            .fixed_size = sizeof(*set),
	                                            .data = bools,
	                                            .size = bools ? set->count : 0,
	                                            .fds = fds,
	                                            .fd_count = fd_count});
}

int ob_client_irq_eventfds(struct ob_client *client, uint32_t index, uint32_t start, uint32_t count,
                           const int *fds)
{
	uint32_t most = client->caps.max_msg_fds;

	if (most > STREAM_MAX_FDS)
		most = STREAM_MAX_FDS;
	if (!fds)
		most = count;
	if (count && !most)
		return client_fail(client, -EOPNOTSUPP, "the server takes no descriptors");
	for (uint32_t done = 0; done < count;) {
		uint32_t piece = count - done < most ? count - done : most;
		const struct wire_irq_set request = {
			.argsz = sizeof(request),
			.flags = WIRE_IRQ_DATA_EVENTFD | WIRE_IRQ_ACTION_TRIGGER,
			.index = index,
			.start = start + done,
			.count = piece,
		};
		int rc = set(client, &request, NULL, fds ? fds + done : NULL, fds ? piece : 0);

		if (rc)
			return rc;
		done += piece;
	}
	return 0;
}

int ob_client_irq_act(struct ob_client *client, uint32_t index, uint32_t start, uint32_t count,
                      enum ob_client_irq_action action, const uint8_t *which)
{
	static const uint32_t actions[] = {
		[OB_CLIENT_IRQ_MASK] = WIRE_IRQ_ACTION_MASK,
		[OB_CLIENT_IRQ_UNMASK] = WIRE_IRQ_ACTION_UNMASK,
		[OB_CLIENT_IRQ_TRIGGER] = WIRE_IRQ_ACTION_TRIGGER,
	};
	const struct wire_irq_set request = {
		.argsz = (uint32_t)sizeof(request) + (which ? count : 0),
		.flags = (which ? WIRE_IRQ_DATA_BOOL : WIRE_IRQ_DATA_NONE) | actions[action],
		.index = index,
		.start = start,
		.count = count,
	};

	if (!count || (which && count > CLIENT_HEADROOM / 4))
		return client_fail(client, -EINVAL, "count: 1 to %d expected", CLIENT_HEADROOM / 4);
	return set(client, &request, which, NULL, 0);
}

int ob_client_irq_disable(struct ob_client *client, uint32_t index)
{
	const struct wire_irq_set request = {
		.argsz = sizeof(request),
		.flags = WIRE_IRQ_DATA_NONE | WIRE_IRQ_ACTION_TRIGGER,
		.index = index,
	};

	return set(client, &request, NULL, NULL, 0);
}
