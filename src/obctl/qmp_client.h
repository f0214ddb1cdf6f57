/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of monitors: QEMU's machine protocol (docs/interop/qmp-spec.rst) on a UNIX socket, of
 * outboard or of anything else that speaks it.
 *
 * It trusts the server no more than it has to: a message has a bound of bytes and of depth, every
 * wait ends, a reply has to belong to the command that is under way.
 */
#ifndef OBCTL_QMP_CLIENT_H
#define OBCTL_QMP_CLIENT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "outboard/error.h"

enum {
	QMP_MAX_MESSAGE = 64 * 1024 * 1024, /* bytes; a thousand servers with their counts fit */
	QMP_MAX_DEPTH = 32,
	QMP_MAX_EVENTS = 1024, /* kept for qmp_event(); the oldest go first */
};

struct qmp;

/*
 * Connects, reads the greeting and ends negotiation. timeout_ms is for each answer from here on. 0
 * or -errno with a message.
 */
int qmp_connect(const char *path, unsigned timeout_ms, struct qmp **out, struct ob_error *err);
void qmp_free(struct qmp *qmp);

/*
 * Runs a command with its arguments, which may be NULL, and are taken over in any case. *result
 * (which may be NULL) is what it returned, and the caller's. 0; -EREMOTEIO with the message of the
 * server's error; -errno with a message when the connection is of no use any more.
 */
int qmp_call(struct qmp *qmp, const char *command, struct json_object *arguments,
             struct json_object **result, struct ob_error *err);

/* The same with one argument, a string. */
int qmp_call_with(struct qmp *qmp, const char *command, const char *key, const char *text,
                  struct json_object **result, struct ob_error *err);

/*
 * The same with a whole message of the caller's, which stays the caller's; *reply is the whole
 * reply, with "return" or "error". An "id" in message is replaced.
 */
int qmp_exchange(struct qmp *qmp, struct json_object *message, struct json_object **reply,
                 struct ob_error *err);

/*
 * The next event, which is the caller's; waits for it for timeout_ms (-1: without end). 0;
 * -ETIMEDOUT without a message; -EINTR when a signal came; -ENODATA with a message when the server
 * is gone.
 */
int qmp_event(struct qmp *qmp, int timeout_ms, struct json_object **event, struct ob_error *err);

/*
 * Waits for the event that a device is gone, which follows a device_del when work in flight has
 * ended. Other events are dropped. 0, or -errno with a message.
 */
int qmp_wait_deleted(struct qmp *qmp, const char *id, struct ob_error *err);

/* The process at the other end; 0 if that is not known. */
pid_t qmp_server_pid(const struct qmp *qmp);

static inline void free_qmp(struct qmp **qmp)
{
	qmp_free(*qmp);
}
#define cleanup_qmp __attribute__((cleanup(free_qmp)))

static inline void put_json(struct json_object **object)
{
	json_object_put(*object);
}
#define cleanup_json __attribute__((cleanup(put_json)))

/* Members of an object; NULL, "" or 0 where there is none of that type. Owned by object. */
struct json_object *json_member(struct json_object *object, const char *key);
const char *json_text(struct json_object *object, const char *key);
uint64_t json_number(struct json_object *object, const char *key);
bool json_flag(struct json_object *object, const char *key);

/* How many elements a list has, and one of them. 0 and NULL for what is no list. */
size_t json_length(struct json_object *list);
struct json_object *json_at(struct json_object *list, size_t index);

/* Adds a string. */
void json_add_text(struct json_object *object, const char *key, const char *text);

#endif
