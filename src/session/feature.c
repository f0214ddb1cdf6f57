/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DEVICE_FEATURE, and the commands that carry a migration's data.
 *
 * What Linux says about VFIO_DEVICE_FEATURE holds here: a feature that is not there is ENOTTY, a
 * method that a feature does not have EINVAL; a probe fails as the method would, and does nothing
 * else.
 */
#include "feature.h"

#include <errno.h>
#include <string.h>

const struct feature session_features[] = {{0}};

static const struct feature *find(const struct feature *table, uint32_t index)
{
	for (; table->index; table++) {
		if (table->index == index)
			return table;
	}
	return NULL;
}

/* Whether the feature has what the flags ask for. */
static int check_methods(const struct feature *feature, uint32_t flags, struct request *request)
{
	if ((flags & WIRE_FEATURE_GET && !feature->get) ||
	    (flags & WIRE_FEATURE_SET && !feature->set))
		return refuse(request, -EINVAL, "flags: the feature does not have this method");
	return 0;
}

/* The reply has the request's data in front of its own; or just its size, if that is too much. */
static int reply_to_get(struct session *session, struct request *request,
                        struct wire_device_feature *header, const struct feature_call *call)
{
	uint8_t payload[sizeof(*header) + FEATURE_REPLY_ROOM];
	uint32_t whole = (uint32_t)(sizeof(*header) + call->reply_length);
	bool fits = header->argsz >= whole;

	header->argsz = whole;
	memcpy(payload, header, sizeof(*header));
	memcpy(payload + sizeof(*header), call->reply, call->reply_length);
	return session_reply(session, &request->header, payload, fits ? whole : sizeof(*header));
}

static int run_method(struct session *session, struct request *request,
                      const struct feature *feature, struct wire_device_feature *header,
                      struct feature_call *call)
{
	bool get = header->flags & WIRE_FEATURE_GET;
	int rc;

	if (call->length < (get ? feature->get_length : feature->set_length))
		return refuse(request, -EINVAL, "message size: the feature's data expected");
	rc = get ? feature->get(session, call) : feature->set(session, call);
	if (rc)
		return refuse(request, rc, call->why);
	if (get)
		return reply_to_get(session, request, header, call);
	return session_reply(session, &request->header, request->payload, request->length);
}

int feature_handle(struct session *session, struct request *request, const struct feature *table)
{
	uint8_t reply[FEATURE_REPLY_ROOM];
	struct feature_call call = {.reply = reply};
	const struct feature *feature;
	struct wire_device_feature header;
	int rc = wire_decode_device_feature(request->payload, request->length, &header, &call.data,
	                                    &call.length, &request->why);

	if (rc)
		return rc;
	feature = find(table, header.flags & WIRE_FEATURE_INDEX);
	if (!feature)
		return refuse(request, -ENOTTY, "the device does not have this feature");
	rc = check_methods(feature, header.flags, request);
	if (rc)
		return rc;
	if (!(header.flags & WIRE_FEATURE_PROBE))
		return run_method(session, request, feature, &header, &call);
	return session_reply(session, &request->header, request->payload, request->length);
}

int session_device_feature(struct session *session, struct request *request)
{
	return feature_handle(session, request, session_features);
}

static int refuse_migration(struct request *request)
{
	return refuse(request, -ENOTSUP, "the device does not migrate");
}

int session_mig_data_read(struct session *session, struct request *request)
{
	struct wire_mig_data read;
	int rc =
		wire_decode_mig_data_read(request->payload, request->length,
	                                  session->limits.max_data_xfer_size, &read, &request->why);

	return rc ? rc : refuse_migration(request);
}

int session_mig_data_write(struct session *session, struct request *request)
{
	struct wire_mig_data write;
	const uint8_t *data;
	int rc = wire_decode_mig_data_write(request->payload, request->length,
	                                    session->limits.max_data_xfer_size, &write, &data,
	                                    &request->why);

	return rc ? rc : refuse_migration(request);
}
