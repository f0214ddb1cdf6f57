/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a VMM asks of a device that moves: its migration state, and the log of pages that it wrote
 * (sections VFIO_DEVICE_FEATURE_*; include/uapi/linux/vfio.h says what states mean). What the
 * server answers is compared with what it was asked; a server that answers something else has
 * broken the protocol.
 */

#include <errno.h>
#include <string.h>

#include "base/list.h"
#include "client/internal.h"

enum {
	MAX_RANGES = 4096,    /* of one DMA_LOGGING_START */
	MAX_BITMAP = 1 << 15, /* bytes of bitmap in one reply: pages of 4 KiB in 1 GiB */
};

_Static_assert((int)OB_CLIENT_STATE_ERROR == (int)WIRE_STATE_ERROR &&
                       (int)OB_CLIENT_STATE_PRE_COPY_P2P == (int)WIRE_STATE_PRE_COPY_P2P,
               "the public header has the protocol's numbers");

int ob_client_feature_probe(struct ob_client *client, unsigned feature, bool get, bool set)
{
	uint32_t flags = (feature & WIRE_FEATURE_INDEX) | WIRE_FEATURE_PROBE |
	                 (get ? WIRE_FEATURE_GET : 0) | (set ? WIRE_FEATURE_SET : 0);
	size_t none = 0;

	return ob_client_feature(client, flags, NULL, 0, NULL, &none);
}

/* A reply that does not fit its buffer is not what the feature's reply can be. */
static int wrong_reply(struct ob_client *client, const char *why)
{
	return client_give_up(client, -EPROTO, "DEVICE_FEATURE: %s", why);
}

/* The reply has exactly this size. */
static int call(struct ob_client *client, uint32_t flags, const void *data, size_t length,
                void *reply, size_t reply_length)
{
	size_t got = reply_length;
	int rc = ob_client_feature(client, flags, data, length, reply, &got);

	if (rc == -ENOSPC || (!rc && got != reply_length))
		return wrong_reply(client, "reply size: that of the feature's data expected");
	return rc;
}

int ob_client_migration(struct ob_client *client, struct ob_client_migration *out)
{
	struct wire_migration reply;
	int rc = call(client, WIRE_FEATURE_GET | WIRE_FEATURE_MIGRATION, NULL, 0, &reply,
	              sizeof(reply));

	if (rc)
		return rc;
	if (!(reply.flags & WIRE_MIGRATION_STOP_COPY))
		return wrong_reply(client, "flags: VFIO_MIGRATION_STOP_COPY expected");
	*out = (struct ob_client_migration){
		.stop_copy = true,
		.p2p = reply.flags & WIRE_MIGRATION_P2P,
		.pre_copy = reply.flags & WIRE_MIGRATION_PRE_COPY,
	};
	return 0;
}

/* State */

int ob_client_state(struct ob_client *client, enum ob_client_state *out)
{
	struct wire_mig_device_state reply;
	int rc = call(client, WIRE_FEATURE_GET | WIRE_FEATURE_MIG_DEVICE_STATE, NULL, 0, &reply,
	              sizeof(reply));

	if (rc)
		return rc;
	if (reply.device_state >= WIRE_STATES)
		return wrong_reply(client, "device_state: 0 to 7 expected");
	*out = (enum ob_client_state)reply.device_state;
	return 0;
}

int ob_client_set_state(struct ob_client *client, enum ob_client_state state)
{
	const struct wire_mig_device_state request = {.device_state = state};
	struct wire_mig_device_state reply;
	int rc = call(client, WIRE_FEATURE_SET | WIRE_FEATURE_MIG_DEVICE_STATE, &request,
	              sizeof(request), &reply, sizeof(reply));

	if (!rc && reply.device_state != request.device_state)
		return wrong_reply(client, "device_state: the request's expected");
	return rc;
}

const char *ob_client_state_name(enum ob_client_state state)
{
	static const char *const names[] = {
		[OB_CLIENT_STATE_ERROR] = "ERROR",
		[OB_CLIENT_STATE_STOP] = "STOP",
		[OB_CLIENT_STATE_RUNNING] = "RUNNING",
		[OB_CLIENT_STATE_STOP_COPY] = "STOP_COPY",
		[OB_CLIENT_STATE_RESUMING] = "RESUMING",
		[OB_CLIENT_STATE_RUNNING_P2P] = "RUNNING_P2P",
		[OB_CLIENT_STATE_PRE_COPY] = "PRE_COPY",
		[OB_CLIENT_STATE_PRE_COPY_P2P] = "PRE_COPY_P2P",
	};

	return (size_t)state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

/* The dirty log */

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

int ob_client_dirty_start(struct ob_client *client, uint64_t *page_size,
                          const struct ob_client_range *ranges, unsigned count)
{
	struct {
		struct wire_dma_logging head;
		struct wire_dma_range ranges[MAX_RANGES];
	} request = {.head = {.page_size = *page_size, .num_ranges = count}}, reply;
	size_t length = sizeof(request.head) + count * sizeof(request.ranges[0]);
	int rc;

	if (!power_of_two(*page_size) || count > MAX_RANGES)
		return client_fail(client, -EINVAL, "a power of two and at most %d ranges expected",
		                   MAX_RANGES);
	for (unsigned i = 0; i < count; i++)
		request.ranges[i] = (struct wire_dma_range){ranges[i].address, ranges[i].length};
	rc = call(client, WIRE_FEATURE_SET | WIRE_FEATURE_DMA_LOGGING_START, &request, length,
	          &reply, length);
	if (rc)
		return rc;
	if (!power_of_two(reply.head.page_size))
		return wrong_reply(client, "page_size: a power of two expected");
	*page_size = reply.head.page_size;
	return 0;
}

int ob_client_dirty_stop(struct ob_client *client)
{
	size_t none = 0;

	return ob_client_feature(client, WIRE_FEATURE_SET | WIRE_FEATURE_DMA_LOGGING_STOP, NULL, 0,
	                         NULL, &none);
}

/* One message's part; pages: a multiple of 64, or fewer than there are in the words at bitmap. */
static int report_part(struct ob_client *client, const struct wire_dma_report *request,
                       uint64_t pages, uint64_t *bitmap)
{
	struct {
		struct wire_dma_report head;
		uint64_t words[MAX_BITMAP / sizeof(uint64_t)];
	} reply;
	size_t words = (pages + 63) / 64;
	uint64_t beyond = pages % 64 ? ~((UINT64_C(1) << pages % 64) - 1) : 0;
	int rc = call(client, WIRE_FEATURE_GET | WIRE_FEATURE_DMA_LOGGING_REPORT, request,
	              sizeof(*request), &reply, sizeof(reply.head) + words * sizeof(uint64_t));

	if (rc)
		return rc;
	if (memcmp(&reply.head, request, sizeof(*request)) != 0)
		return wrong_reply(client, "iova, length, page_size: the request's expected");
	if (reply.words[words - 1] & beyond)
		return wrong_reply(client, "bitmap: no bits outside of the range expected");
	for (size_t i = 0; i < words; i++)
		bitmap[i] |= reply.words[i];
	return 0;
}

int ob_client_dirty_report(struct ob_client *client, struct ob_client_range range,
                           uint64_t page_size, uint64_t *bitmap)
{
	uint64_t room = client->max_xfer < MAX_BITMAP + sizeof(struct wire_dma_report)
	                        ? client->max_xfer - sizeof(struct wire_dma_report)
	                        : MAX_BITMAP;
	uint64_t pages, part, most = room / sizeof(uint64_t) * 64;
	int rc = 0;

	if (!power_of_two(page_size) || range.address % page_size || range.length % page_size)
		return client_fail(client, -EINVAL,
		                   "a power of two, and a range of whole pages expected");
	if (client->max_xfer < sizeof(struct wire_dma_report) + sizeof(uint64_t))
		return client_fail(client, -EINVAL, "messages of at least 32 bytes expected");
	pages = range.length / page_size;
	for (uint64_t done = 0; done < pages && !rc; done += part) {
		part = pages - done < most ? pages - done : most;
		rc = report_part(client,
		                 &(struct wire_dma_report){range.address + done * page_size,
		                                           part * page_size, page_size},
		                 part, bitmap + done / 64);
	}
	return rc;
}
