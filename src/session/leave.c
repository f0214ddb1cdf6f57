/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a session ends. session_end() first takes back the way to the client's memory by messages
 * (what waits for a message ends now, as it will never come); a command that waits is given up, or
 * comes to its end unanswered. Then, as a wait (wait.h): the device is made quiet, all maps are
 * removed, and interrupts and descriptors are given up. The device's state stays.
 */
#include <assert.h>
#include <errno.h>

#include "internal.h"

/* Memory of a log that was stopped, too. */
static int give_back_memory(struct session *session)
{
	int rc = dma_unmap_all(session->dma, &session->unmap_waiter);

	if (rc)
		return rc;
	dma_log_stop(session->dma);
	return session_reap_log(session) ? 0 : -EAGAIN;
}

static int step(struct session *session)
{
	int rc = session_make_quiet(session, DEVICE_HOLD_CLIENT_LEAVES);

	return rc ? rc : give_back_memory(session);
}

static void reply(struct session *session, int status)
{
	session_irqs_end(session);
	session_count_fds(session);
	device_revoke(session->dev);
	if (session->moves)
		migrate_abandon(session->migration);
	session_leave_memory(session);
	session_move(session, SESSION_ENDED);
	device_client_left(session->dev); /* which holds it */
	device_release(session->dev, &session->hold);
	session->ended(session->ended_context);
}

const struct session_wait_ops session_wait_leave = {
	.name = "the end of the session, and with it the next client,",
	.step = step,
	.reply = reply,
};

void session_end(struct session *session, void (*ended)(void *context), void *context)
{
	assert(!session->ended && !session->busy);
	session->ended = ended;
	session->ended_context = context;
	session->link = session->twin = NULL;
	dma_set_watcher(session->dma, NULL);
	dma_set_remote(session->dma, NULL);
	session_wait_cancel(session);
}
