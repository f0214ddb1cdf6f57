/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of monitors; see qmp_client.h. */
#include "obctl/qmp_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

enum { CHUNK = 65536 };

struct qmp {
	int fd;
	unsigned timeout_ms;
	uint64_t next_id;
	pid_t server;
	struct json_tokener *tokener;
	size_t message; /* bytes of the one that is being received */
	char chunk[CHUNK];
	size_t at, have;                            /* what of chunk was not looked at yet */
	struct json_object *events[QMP_MAX_EVENTS]; /* a ring */
	unsigned first, count;
};

/* JSON */

struct json_object *json_member(struct json_object *object, const char *key)
{
	struct json_object *member;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, key, &member))
		return NULL;
	return member;
}

const char *json_text(struct json_object *object, const char *key)
{
	struct json_object *member = json_member(object, key);

	return json_object_is_type(member, json_type_string) ? json_object_get_string(member) : "";
}

uint64_t json_number(struct json_object *object, const char *key)
{
	struct json_object *member = json_member(object, key);

	return json_object_is_type(member, json_type_int) ? json_object_get_uint64(member) : 0;
}

bool json_flag(struct json_object *object, const char *key)
{
	struct json_object *member = json_member(object, key);

	return json_object_is_type(member, json_type_boolean) && json_object_get_boolean(member);
}

size_t json_length(struct json_object *list)
{
	return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

struct json_object *json_at(struct json_object *list, size_t index)
{
	return index < json_length(list) ? json_object_array_get_idx(list, index) : NULL;
}

void json_add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

/* Messages */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Until what; -1: whenever that is. */
static int64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? -1 : (int64_t)now_ms() + timeout_ms;
}

static int wait_for(const struct qmp *qmp, short events, int64_t deadline)
{
	struct pollfd pollfd = {.fd = qmp->fd, .events = events};
	int64_t left = deadline < 0 ? -1 : deadline - (int64_t)now_ms();
	int n = poll(&pollfd, 1, deadline >= 0 && left < 0 ? 0 : (int)left);

	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

static int fill(struct qmp *qmp, int64_t deadline)
{
	ssize_t n;
	int rc = wait_for(qmp, POLLIN, deadline);

	if (rc)
		return rc;
	n = recv(qmp->fd, qmp->chunk, sizeof(qmp->chunk), 0);
	if (n < 0)
		return -errno;
	qmp->at = 0;
	qmp->have = (size_t)n;
	return n ? 0 : -ENODATA;
}

/* One message, whatever lines it stands on. -EPROTO: what came is none. */
static int receive(struct qmp *qmp, int64_t deadline, struct json_object **out)
{
	for (;;) {
		enum json_tokener_error error;
		struct json_object *object;
		int rc;

		if (qmp->at == qmp->have) {
			rc = fill(qmp, deadline);
			if (rc)
				return rc;
		}
		object = json_tokener_parse_ex(qmp->tokener, qmp->chunk + qmp->at,
		                               (int)(qmp->have - qmp->at));
		error = json_tokener_get_error(qmp->tokener);
		qmp->message += json_tokener_get_parse_end(qmp->tokener);
		qmp->at += json_tokener_get_parse_end(qmp->tokener);
		if (error == json_tokener_continue && qmp->message <= QMP_MAX_MESSAGE)
			continue;
		json_tokener_reset(qmp->tokener);
		qmp->message = 0;
		if (error != json_tokener_success ||
		    !json_object_is_type(object, json_type_object)) {
			json_object_put(object);
			return -EPROTO;
		}
		*out = object;
		return 0;
	}
}

static int complain(int rc, struct ob_error *err)
{
	switch (rc) {
	case -ENODATA:
		return ob_error_set(err, rc, "the monitor has closed the connection");
	case -ETIMEDOUT:
		return ob_error_set(err, rc, "the monitor does not answer");
	case -EPROTO:
		return ob_error_set(err, rc, "what answers there is no monitor");
	default:
		return ob_error_set(err, rc, "monitor: %s", strerror(-rc));
	}
}

static int send_all(struct qmp *qmp, const char *text, size_t length, int64_t deadline)
{
	while (length) {
		ssize_t n;
		int rc = wait_for(qmp, POLLOUT, deadline);

		if (rc == -EINTR)
			continue;
		if (rc)
			return rc;
		n = send(qmp->fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return errno == EPIPE ? -ENODATA : -errno;
		text += n > 0 ? n : 0;
		length -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Events */

static void keep_event(struct qmp *qmp, struct json_object *event)
{
	if (qmp->count == QMP_MAX_EVENTS) {
		json_object_put(qmp->events[qmp->first]);
		qmp->first = (qmp->first + 1) % QMP_MAX_EVENTS;
		qmp->count--;
	}
	qmp->events[(qmp->first + qmp->count++) % QMP_MAX_EVENTS] = event;
}

int qmp_event(struct qmp *qmp, int timeout_ms, struct json_object **event, struct ob_error *err)
{
	int64_t deadline = deadline_of(timeout_ms);
	struct json_object *message;
	int rc;

	if (qmp->count) {
		*event = qmp->events[qmp->first];
		qmp->first = (qmp->first + 1) % QMP_MAX_EVENTS;
		qmp->count--;
		return 0;
	}
	for (;;) {
		rc = receive(qmp, deadline, &message);
		if (rc == -ETIMEDOUT || rc == -EINTR)
			return rc;
		if (rc)
			return complain(rc, err);
		if (json_member(message, "event"))
			break;
		/* The reply to a command that was given up. */
		json_object_put(message);
	}
	*event = message;
	return 0;
}

/* Commands */

static bool answers(struct json_object *message, uint64_t id)
{
	struct json_object *its = json_member(message, "id");

	return json_object_is_type(its, json_type_int) && json_object_get_uint64(its) == id &&
	       (json_member(message, "return") || json_member(message, "error"));
}

/*
 * An error without an id is the answer to what could not be understood; nothing else is under way.
 * ("return" may be null, which json-c has no object for: json_member() is NULL for it. None of the
 * commands returns that.)
 */
static int receive_reply(struct qmp *qmp, uint64_t id, struct json_object **reply)
{
	int64_t deadline = deadline_of((int)qmp->timeout_ms);
	struct json_object *message;
	int rc;

	for (;;) {
		rc = receive(qmp, deadline, &message);
		if (rc == -EINTR)
			continue;
		if (rc)
			return rc;
		if (answers(message, id) ||
		    (json_member(message, "error") && !json_member(message, "id")))
			break;
		if (json_member(message, "event"))
			keep_event(qmp, message);
		else
			json_object_put(message);
	}
	*reply = message;
	return 0;
}

int qmp_exchange(struct qmp *qmp, struct json_object *message, struct json_object **reply,
                 struct ob_error *err)
{
	uint64_t id = qmp->next_id++;
	cleanup_free char *line = NULL;
	int rc, length;

	json_object_object_add(message, "id", json_object_new_uint64(id));
	/* In one piece: a server may end as soon as it has read the command. */
	length = asprintf(&line, "%s\n",
	                  json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN));
	if (length < 0) {
		line = NULL;
		return ob_error_set(err, -ENOMEM, "out of memory");
	}
	rc = send_all(qmp, line, (size_t)length, deadline_of((int)qmp->timeout_ms));
	if (!rc)
		rc = receive_reply(qmp, id, reply);
	return rc ? complain(rc, err) : 0;
}

int qmp_call(struct qmp *qmp, const char *command, struct json_object *arguments,
             struct json_object **result, struct ob_error *err)
{
	cleanup_json struct json_object *message = json_object_new_object();
	cleanup_json struct json_object *reply = NULL;
	struct json_object *error;
	int rc;

	json_add_text(message, "execute", command);
	if (arguments)
		json_object_object_add(message, "arguments", arguments);
	rc = qmp_exchange(qmp, message, &reply, err);
	if (rc)
		return rc;
	error = json_member(reply, "error");
	if (error)
		return ob_error_set(err, -EREMOTEIO, "%s", json_text(error, "desc"));
	if (result)
		*result = json_object_get(json_member(reply, "return"));
	return 0;
}

int qmp_call_with(struct qmp *qmp, const char *command, const char *key, const char *text,
                  struct json_object **result, struct ob_error *err)
{
	struct json_object *arguments = json_object_new_object();

	json_add_text(arguments, key, text);
	return qmp_call(qmp, command, arguments, result, err);
}

static bool is_deleted(struct json_object *event, const char *id)
{
	return !strcmp(json_text(event, "event"), "DEVICE_DELETED") &&
	       !strcmp(json_text(json_member(event, "data"), "device"), id);
}

int qmp_wait_deleted(struct qmp *qmp, const char *id, struct ob_error *err)
{
	int64_t deadline = deadline_of((int)qmp->timeout_ms);

	for (;;) {
		cleanup_json struct json_object *event = NULL;
		int64_t left = deadline - (int64_t)now_ms();
		int rc = qmp_event(qmp, left > 0 ? (int)left : 0, &event, err);

		if (rc == -ETIMEDOUT)
			return ob_error_set(err, rc, "%s is not gone yet: work is in flight", id);
		if (rc && rc != -EINTR)
			return rc;
		if (!rc && is_deleted(event, id))
			return 0;
	}
}

/* Connecting */

static int connect_socket(const char *path, unsigned timeout_ms, struct ob_error *err)
{
	const struct timeval limit = {.tv_sec = timeout_ms / 1000,
	                              .tv_usec = timeout_ms % 1000 * 1000L};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		return ob_error_set(err, -ENAMETOOLONG, "%s: the path is too long for a socket",
		                    path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	/* A server that does not accept anybody would keep us waiting, too. */
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return ob_error_set(err, -errno, "%s: %s", path, strerror(errno));
	return take_fd(&fd);
}

/* Why there was no greeting. */
static int complain_of_greeting(const struct qmp *qmp, int rc, struct json_object *greeting,
                                struct ob_error *err)
{
	const char *why = json_text(json_member(greeting, "error"), "desc");

	if (why[0])
		return ob_error_set(err, -EBUSY, "%s", why);
	switch (rc) {
	case -ENODATA:
	case -ECONNRESET:
		return ob_error_set(err, rc,
		                    "what listens there hung up: this is no monitor, or a "
		                    "vfio-user socket that has a client");
	case -ETIMEDOUT:
		return ob_error_set(err, rc,
		                    "no greeting within %u ms: this is no monitor, or one that "
		                    "serves somebody else",
		                    qmp->timeout_ms);
	default:
		return complain(rc ? rc : -EPROTO, err);
	}
}

/*
 * The command goes out before the greeting has come: a server that waits for its client to speak,
 * as those of devices do, finds out at once what we took it for.
 */
static int negotiate(struct qmp *qmp, struct ob_error *err)
{
	static const char command[] = "{\"execute\": \"qmp_capabilities\", \"id\": 0}\n";
	cleanup_json struct json_object *greeting = NULL;
	cleanup_json struct json_object *reply = NULL;
	int64_t deadline = deadline_of((int)qmp->timeout_ms);
	int sent = send_all(qmp, command, sizeof(command) - 1, deadline);
	int rc = receive(qmp, deadline, &greeting);

	if (rc || !json_member(greeting, "QMP"))
		return complain_of_greeting(qmp, rc, greeting, err);
	rc = sent ? sent : receive_reply(qmp, 0, &reply);
	if (rc)
		return complain(rc, err);
	if (json_member(reply, "error"))
		return ob_error_set(err, -EREMOTEIO, "%s",
		                    json_text(json_member(reply, "error"), "desc"));
	return 0;
}

int qmp_connect(const char *path, unsigned timeout_ms, struct qmp **out, struct ob_error *err)
{
	cleanup_qmp struct qmp *qmp = calloc(1, sizeof(*qmp));
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int rc;

	if (!qmp)
		return ob_error_set(err, -ENOMEM, "out of memory");
	qmp->fd = -1;
	qmp->timeout_ms = timeout_ms;
	qmp->next_id = 1;
	qmp->tokener = json_tokener_new_ex(QMP_MAX_DEPTH);
	if (!qmp->tokener)
		return ob_error_set(err, -ENOMEM, "out of memory");
	json_tokener_set_flags(qmp->tokener, JSON_TOKENER_STRICT |
	                                             JSON_TOKENER_ALLOW_TRAILING_CHARS |
	                                             JSON_TOKENER_VALIDATE_UTF8);
	rc = connect_socket(path, timeout_ms, err);
	if (rc < 0)
		return rc;
	qmp->fd = rc;
	if (!getsockopt(qmp->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		qmp->server = peer.pid;
	rc = negotiate(qmp, err);
	if (rc)
		return ob_error_prefix(err, rc, "%s", path);
	*out = take_ptr(&qmp);
	return 0;
}

void qmp_free(struct qmp *qmp)
{
	if (!qmp)
		return;
	while (qmp->count)
		json_object_put(qmp->events[(qmp->first + --qmp->count) % QMP_MAX_EVENTS]);
	if (qmp->tokener)
		json_tokener_free(qmp->tokener);
	fd_close(&qmp->fd);
	free(qmp);
}

pid_t qmp_server_pid(const struct qmp *qmp)
{
	return qmp->server;
}
