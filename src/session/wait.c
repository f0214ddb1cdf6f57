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

static bool is_wait(enum session_state state)
{
	switch (state) {
	case SESSION_UNMAPPING:
	case SESSION_RESETTING:
	case SESSION_MIGRATING:
	case SESSION_ENDING_UNMAP:
	case SESSION_ENDING_MIGRATION:
	case SESSION_QUIESCING:
	case SESSION_CLEARING:
		return true;
	default:
		return false;
	}
}

static const char *waiter_name(const struct session *session)
{
	switch (session->state) {
	case SESSION_UNMAPPING:
		return "DMA_UNMAP";
	case SESSION_RESETTING:
		return "DEVICE_RESET";
	case SESSION_MIGRATING:
		return "the migration";
	default:
		return "the end of the session, and with it the next client,";
	}
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
	struct session *session = container_of(timer, struct session, wait.timer);
	char what[256];

	describe_drives(session->dev, what, sizeof(what));
	session->wait.waiter = waiter_name(session);
	log_fact(session->log, LOG_WARN, "%s waits for %s, for %.1f s so far", session->wait.waiter,
	         what, seconds_since(session->wait.since));
}

void session_wait_init(struct session *session)
{
	session->wait.timer.expired = took_long;
}

void session_wait_update(struct session *session)
{
	struct session_wait *wait = &session->wait;

	if (is_wait(session->state) == wait->on)
		return;
	wait->on = !wait->on;
	if (wait->on) {
		wait->since = ob_loop_now();
		/* Without memory for a timer nothing is said. */
		(void)ob_timer_arm(ob_dev_loop(session->dev), &wait->timer,
		                   session->limits.slow_ns);
		return;
	}
	ob_timer_cancel(ob_dev_loop(session->dev), &wait->timer);
	if (wait->waiter)
		log_fact(session->log, LOG_INFO, "%s goes on, after %.1f s", wait->waiter,
		         seconds_since(wait->since));
	wait->waiter = NULL;
}
