/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that a session holds: for interrupts and for memory. */
#include "internal.h"

static unsigned held_fds(const struct session *session)
{
	return session->irqs.held + dma_fd_count(session->dma);
}

void session_count_fds(struct session *session)
{
	unsigned held = held_fds(session);

	if (session->limits.fds && held != session->counted) {
		budget_add(session->limits.fds, held);
		budget_give(session->limits.fds, session->counted);
	}
	session->counted = held;
}

bool session_may_hold(const struct session *session, unsigned more)
{
	if (session->limits.fds && !budget_has_room(session->limits.fds, more))
		return false;
	return held_fds(session) + more <= session->limits.max_fds;
}
