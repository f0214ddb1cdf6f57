/* SPDX-License-Identifier: BSD-3-Clause */
/* Device features: what DEVICE_FEATURE can get and set, as a table. */
#ifndef SESSION_FEATURE_H
#define SESSION_FEATURE_H

#include "internal.h"

enum { FEATURE_REPLY_ROOM = 4096 };

/* What a method gets, and where a GET puts what it answers. */
struct feature_call {
	const uint8_t *data; /* of the request */
	size_t length;
	uint8_t *reply; /* FEATURE_REPLY_ROOM bytes */
	size_t reply_length;
	const char *why; /* what was wrong, for the log */
};

/* A method returns 0 or -errno. One that is NULL is not supported. */
typedef int feature_method(struct session *session, struct feature_call *call);

struct feature {
	enum wire_feature index; /* 0 ends a table */
	size_t get_length;       /* bytes of data in requests, at least */
	size_t set_length;
	feature_method *get, *set;
};

/* What a device has of those; there is nothing yet. */
extern const struct feature session_features[];

/* Handles a DEVICE_FEATURE request by a table. */
int feature_handle(struct session *session, struct request *request, const struct feature *table);

#endif
