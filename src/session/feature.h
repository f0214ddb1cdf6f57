/* SPDX-License-Identifier: BSD-3-Clause */
/* Device features: what DEVICE_FEATURE can get and set, as a table. */
#ifndef SESSION_FEATURE_H
#define SESSION_FEATURE_H

#include <sys/uio.h>

#include "internal.h"

/* What a method gets, and what it answers. */
struct feature_call {
	const uint8_t *data; /* of the request */
	size_t length;
	const char *why; /* what was wrong, for the log */

	/* SET: the reply repeats the data, with these in place of its first 8 bytes if renew. */
	uint64_t first;
	bool renew;

	/* GET: see feature_reply(). */
	struct request *request;
	struct wire_device_feature header;
	uint8_t *message;
	size_t reply_length;
};

/*
 * A method returns 0, -errno, or (a SET) -EINPROGRESS: it will reply. One that is NULL is not
 * supported.
 */
typedef int feature_method(struct session *session, struct feature_call *call);

struct feature {
	enum wire_feature index; /* 0 ends a table */
	size_t get_length;       /* bytes of data in requests, at least */
	size_t set_length;
	feature_method *get, *set;
};

/*
 * For a GET: memory for length bytes of data, which are the reply once the method has returned 0.
 * NULL if the client does not get them (it has no room, or wants no reply, or is not there any
 * more): then the method must change nothing, and return 0.
 */
uint8_t *feature_reply(struct session *session, struct feature_call *call, size_t length);

/* Whether the client has room for so much data; also says so in the reply. */
bool feature_has_room(struct feature_call *call, size_t length);

/* The same later: header as it was in the request, and two parts of the data. */
void feature_reply_later(struct session *session, const struct wire_device_feature *header,
                         const struct iovec parts[2]);

/* What devices have that migrate; others have none. */
extern const struct feature session_features[];

/* Handles a DEVICE_FEATURE request by a table. */
int feature_handle(struct session *session, struct request *request, const struct feature *table);

/* The largest bitmap of a DMA_LOGGING_REPORT, in bytes. */
uint32_t session_max_bitmap(const struct session_limits *limits);

#endif
