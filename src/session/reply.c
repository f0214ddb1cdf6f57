/* SPDX-License-Identifier: BSD-3-Clause */
/* The states of a session, and what it says: replies, errors, and that it has had enough. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "internal.h"

/* From each state (row), the states that may follow; without assertions nobody asks. */
#define TO(state) (1u << SESSION_##state)
__attribute__((unused)) static const uint16_t moves[SESSION_STATES] = {
	[SESSION_NEGOTIATING] = TO(RUNNING) | TO(CLOSED) | TO(LEAVING),
	[SESSION_RUNNING] = TO(WAITING) | TO(CLOSED) | TO(LEAVING),
	[SESSION_WAITING] = TO(RUNNING) | TO(LEAVING),
	[SESSION_CLOSED] = TO(LEAVING),
	[SESSION_LEAVING] = TO(ENDED),
};

void session_move(struct session *session, enum session_state to)
{
	bool waited = session->state == SESSION_WAITING;

	assert(moves[session->state] & (1u << to));
	session->state = to;
	session_slow_update(session);
	if (waited)
		session_stats_end(session);
	if (session->link && waited != (to == SESSION_WAITING))
		session->link->pause(session->link, to == SESSION_WAITING);
}

void session_reply_error(struct session *session, const struct wire_header *request, int error)
{
	struct session_command_stats *stats = session_stats_of(session, request->command);
	uint8_t *message;

	stats->errors++;
	if (request->flags & WIRE_NO_REPLY)
		return;
	message = session->link->reserve(session->link, sizeof(*request));
	if (!message)
		return;
	stats->bytes += sizeof(*request);
	wire_encode_error(message, request, error);
	session->link->commit(session->link, sizeof(*request), NULL, 0);
}

int session_reply_fds(struct session *session, const struct wire_header *request,
                      const void *payload, size_t size, const int *fds, unsigned fd_count)
{
	size_t whole = sizeof(*request) + size;
	uint8_t *message;

	if (request->flags & WIRE_NO_REPLY)
		return 0;
	message = session->link->reserve(session->link, whole);
	if (!message)
		return 0;
	session_stats_of(session, request->command)->bytes += whole;
	wire_encode_reply(message, request, (uint32_t)whole);
	if (size)
		memcpy(message + sizeof(*request), payload, size);
	session->link->commit(session->link, whole, fds, fd_count);
	return 0;
}

int session_reply(struct session *session, const struct wire_header *request, const void *payload,
                  size_t size)
{
	return session_reply_fds(session, request, payload, size, NULL, 0);
}

void session_give_up(struct session *session, int reason)
{
	/* A wait goes on; the owner's session_end() knows what to do with it. */
	if (session->state == SESSION_NEGOTIATING || session->state == SESSION_RUNNING)
		session_move(session, SESSION_CLOSED);
	if (session->link)
		session->link->close(session->link, reason);
}

void session_violation(struct session *session, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_vfact(session->log, LOG_ERROR, format, args);
	va_end(args);
	session_give_up(session, -EPROTO);
}
