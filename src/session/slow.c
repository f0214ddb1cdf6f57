/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a session waits for, in words: a client loses its patience, and with it the device, if a
 * drive takes longer than it waits for an answer. So a wait that takes long is logged, once, with
 * what it is for; and when it is over.
 */
#include <stdio.h>

#include "block/block.h"
#include "internal.h"

enum { NAMES = 4 };

static const char *waiter_name(const struct session *session)
{
	bool leaves = session->state == SESSION_LEAVING;

	return session_wait_ops(leaves ? SESSION_WAIT_LEAVE : session->wait.kind)->name;
}

static bool is_watched(const struct session *session)
{
	if (session->state == SESSION_WAITING)
		return !session_wait_ops(session->wait.kind)->slices;
	return session->state == SESSION_LEAVING;
}

/* "drive b0 (3 requests)", of all drives that have some; or what else there is to be waited for. */
static void describe_drives(struct ob_dev *dev, char *text, size_t room)
{
	const struct ob_block *block;
	unsigned named = 0;
	int used = 0;

	snprintf(text, room, "the device to be quiet");
	for (unsigned i = 0; named < NAMES && (block = device_drive(dev, i)); i++) {
		if (!block->in_flight || (size_t)used >= room)
			continue;
		used += snprintf(text + used, room - (size_t)used, "%sdrive %.32s (%u request%s)",
		                 named++ ? ", " : "", block->name, block->in_flight,
		                 block->in_flight == 1 ? "" : "s");
	}
}

static double seconds_since(uint64_t since)
{
	return (double)(ob_loop_now() - since) / 1e9;
}

static void took_long(struct ob_timer *timer)
{
	struct session *session = container_of(timer, struct session, slow.timer);
	char what[256];

	describe_drives(session->dev, what, sizeof(what));
	session->slow.waiter = waiter_name(session);
	log_fact(session->log, LOG_WARN, "%s waits for %s, for %.1f s so far", session->slow.waiter,
	         what, seconds_since(session->slow.since));
}

void session_slow_init(struct session *session)
{
	session->slow.timer.expired = took_long;
}

void session_slow_update(struct session *session)
{
	struct session_slow *slow = &session->slow;

	if (is_watched(session) == slow->on)
		return;
	slow->on = !slow->on;
	if (slow->on) {
		slow->since = ob_loop_now();
		/* Without memory for a timer nothing is said. */
		(void)ob_timer_arm(ob_dev_loop(session->dev), &slow->timer,
		                   session->limits.slow_ns);
		return;
	}
	ob_timer_cancel(ob_dev_loop(session->dev), &slow->timer);
	if (slow->waiter)
		log_fact(session->log, LOG_INFO, "%s goes on, after %.1f s", slow->waiter,
		         seconds_since(slow->since));
	slow->waiter = NULL;
}
