/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the monitor know of each other; others include monitor.h. */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/fd.h"
#include "base/list.h"
#include "channel.h"
#include "framer.h"
#include "monitor.h"
#include "schema.h"
#include "text.h"
#include "transport/listener.h"

enum {
	MAX_UNSENT = 64 * 1024,         /* with more, no further command is read */
	MAX_UNSENT_EVENTS = 256 * 1024, /* of events; with more, they are dropped */
	MAX_CLIENTS = 16,               /* of a listening socket */
	MONITOR_WHO = 64,
};

struct monitors {
	struct monitors_env env;
	struct log log;   /* of what clients cause */
	struct log deeds; /* of what they have changed: without a bound */
	struct list ports;
	struct machine_listener listener;
	struct moves_listener moves_listener;
	struct list throttles; /* of events: see events.c */
	bool shutting_down;
};

/* Where clients come from: what -qmp or -mon has made. */
struct port {
	struct list link;
	struct monitors *set;
	char id[64];
	bool pretty;
	struct list clients; /* struct monitor */

	struct listener *listener; /* NULL: there is one client, and no other after it */
	struct loop_fd acceptable;
	struct ob_timer accept_retry;
};

/* What is said with one client. */
struct monitor {
	struct list link;
	struct monitors *set;
	struct port *port;
	char who[MONITOR_WHO]; /* "virsh (pid 1, uid 0)" */
	struct channel *channel;
	struct framer framer;
	bool spoke; /* something has come */
	bool negotiated;
	size_t events_unsent; /* bytes, at most */
	uint64_t events_dropped;

	/* A command whose reply is to come. */
	bool busy, has_busy_id;
	struct json_object *busy_id; /* NULL is an id too */
	struct machine_waiter waiter;
};

/*
 * Begins with a client of the port, and greets it. in and out may be the same; owned: they are
 * closed with it, but not if this fails. 0 or -errno.
 */
int monitor_begin(struct port *port, int in, int out, bool owned);

/* Closes the connection, after one attempt to send what is unsent. */
void monitor_end(struct monitor *monitor);

/* The process at the other end of a socket, as far as that is known, for messages. */
void monitor_describe_peer(int fd, char *who, size_t size);

/* Sends a value to the client. */
void monitor_send(struct monitor *monitor, struct json_object *value);

/* The command that returned -EINPROGRESS has ended: see waiter.failure. */
void monitor_finish(struct monitor *monitor);

/* What is sent to a new client. This and all replies are the caller's to put. */
struct json_object *qmp_greeting(void);

/* Carries out what a client sent, a JSON object. NULL: the reply is to come. */
struct json_object *qmp_dispatch(struct monitor *monitor, struct json_object *request);

/* The reply that was to come. */
struct json_object *qmp_finish(struct monitor *monitor);

/* {"error": ...} without an id. class NULL: GenericError. */
struct json_object *qmp_error_reply(const char *class, const char *text);

/* Tells all clients that have negotiated. data (may be NULL) is put. */
void monitors_event(struct monitors *monitors, const char *name, struct json_object *data);

/* The same in two steps; both take over what they get. */
struct json_object *monitors_make_event(const char *name, struct json_object *data);
void monitors_send_event(struct monitors *monitors, struct json_object *event);

/* VersionInfo, and a list of PciInfo. */
struct json_object *qmp_version(void);
struct json_object *qmp_pci(const struct machine *machine);

/* Turns what happens in the machine into events. */
void events_listen(struct monitors *monitors);
void events_end(struct monitors *monitors);

/* Runs a command line of the monitor for people; what it prints is added to out. */
void hmp_run(struct monitors *monitors, const char *line, struct text *out);

/* What devices do because of a migration, as query-status has it; NULL: nothing. */
const char *migration_run_state(const struct moves *moves);

/* Members of objects that are being made. A string that is NULL adds nothing. */
static inline void put_str(struct json_object *object, const char *key, const char *value)
{
	if (value)
		json_object_object_add(object, key, json_object_new_string(value));
}

static inline void put_int(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static inline void put_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

/* Arguments that have been checked: NULL, 0 or false where there is none. */
static inline const char *get_str(struct json_object *args, const char *key)
{
	return json_object_get_string(json_object_object_get(args, key));
}

static inline bool get_bool(struct json_object *args, const char *key)
{
	return json_object_get_boolean(json_object_object_get(args, key));
}

#endif
