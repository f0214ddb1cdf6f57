/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DEVICE_FEATURE: the frame that all features have in common.
 *
 * What Linux says about VFIO_DEVICE_FEATURE holds here: a feature that is not there is ENOTTY, a
 * method that a feature does not have EINVAL; a probe fails as the method would, and does nothing
 * else.
 */
#include "feature.h"

#include <errno.h>
#include <string.h>

enum { FRONT = sizeof(struct wire_header) + sizeof(struct wire_device_feature) };

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

bool feature_has_room(struct feature_call *call, size_t length)
{
	call->reply_length = length;
	return !(call->request->header.flags & WIRE_NO_REPLY) &&
	       call->header.argsz >= sizeof(call->header) + length;
}

uint8_t *feature_reply(struct session *session, struct feature_call *call, size_t length)
{
	if (!feature_has_room(call, length))
		return NULL;
	call->message = session->link->reserve(session->link, FRONT + length);
	return call->message ? call->message + FRONT : NULL;
}

void feature_reply_later(struct session *session, const struct wire_device_feature *header,
                         const struct iovec parts[2])
{
	struct wire_device_feature front = *header;
	size_t length = parts[0].iov_len + parts[1].iov_len;
	uint8_t *message = session->link->reserve(session->link, FRONT + length);

	if (!message)
		return;
	front.argsz = (uint32_t)(sizeof(front) + length);
	wire_encode_reply(message, &session->wait.request, (uint32_t)(FRONT + length));
	memcpy(message + sizeof(struct wire_header), &front, sizeof(front));
	memcpy(message + FRONT, parts[0].iov_base, parts[0].iov_len);
	memcpy(message + FRONT + parts[0].iov_len, parts[1].iov_base, parts[1].iov_len);
	session_stats_of(session, WIRE_DEVICE_FEATURE)->bytes += FRONT + length;
	session->link->commit(session->link, FRONT + length, NULL, 0);
}

/* The data that the method made, or just how much room it needs. */
static int reply_to_get(struct session *session, const struct feature_call *call)
{
	const struct wire_header *request = &call->request->header;
	struct wire_device_feature header = call->header;
	size_t whole = FRONT + call->reply_length;

	header.argsz = (uint32_t)(sizeof(header) + call->reply_length);
	if (!call->message)
		return session_reply(session, request, &header, sizeof(header));
	wire_encode_reply(call->message, request, (uint32_t)whole);
	memcpy(call->message + sizeof(*request), &header, sizeof(header));
	session->link->commit(session->link, whole, NULL, 0);
	return 0;
}

static int reply_to_set(struct session *session, const struct feature_call *call)
{
	const struct request *request = call->request;
	size_t whole = sizeof(request->header) + request->length;
	uint8_t *message;

	if (!call->renew || request->header.flags & WIRE_NO_REPLY)
		return session_reply(session, &request->header, request->payload, request->length);
	message = session->link->reserve(session->link, whole);
	if (!message)
		return 0;
	wire_encode_reply(message, &request->header, (uint32_t)whole);
	memcpy(message + sizeof(request->header), request->payload, request->length);
	memcpy(message + FRONT, &call->first, sizeof(call->first));
	session->link->commit(session->link, whole, NULL, 0);
	return 0;
}

static int run_method(struct session *session, const struct feature *feature,
                      struct feature_call *call)
{
	bool get = call->header.flags & WIRE_FEATURE_GET;
	int rc;

	if (call->length < (get ? feature->get_length : feature->set_length))
		return refuse(call->request, -EINVAL, "message size: the feature's data expected");
	rc = get ? feature->get(session, call) : feature->set(session, call);
	if (rc)
		return rc == -EINPROGRESS ? rc : refuse(call->request, rc, call->why);
	return get ? reply_to_get(session, call) : reply_to_set(session, call);
}

int feature_handle(struct session *session, struct request *request, const struct feature *table)
{
	struct feature_call call = {.request = request};
	const struct feature *feature;
	int rc = wire_decode_device_feature(request->payload, request->length, &call.header,
	                                    &call.data, &call.length, &request->why);

	if (rc)
		return rc;
	feature = find(table, call.header.flags & WIRE_FEATURE_INDEX);
	if (!feature)
		return refuse(request, -ENOTTY, "the device does not have this feature");
	rc = check_methods(feature, call.header.flags, request);
	if (rc)
		return rc;
	/* As in Linux, argsz covers what is set; here that is also what the reply repeats. */
	if ((call.header.flags & (WIRE_FEATURE_SET | WIRE_FEATURE_PROBE)) == WIRE_FEATURE_SET &&
	    call.header.argsz - sizeof(call.header) < call.length)
		return refuse(request, -EINVAL,
		              "argsz: at least 8 and the size of the data expected");
	if (!(call.header.flags & WIRE_FEATURE_PROBE))
		return run_method(session, feature, &call);
	return session_reply(session, &request->header, request->payload, request->length);
}

int session_device_feature(struct session *session, struct request *request)
{
	static const struct feature none[] = {{0}};

	return feature_handle(session, request, session->migration ? session_features : none);
}
