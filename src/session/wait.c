/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What runs waits (wait.h): begins them, calls their steps, and has them answered. While a command
 * waits, the link is paused.
 */
#include "wait.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "internal.h"

const struct session_wait_ops *session_wait_ops(enum session_wait_kind kind)
{
	static const struct session_wait_ops *const all[SESSION_WAITS] = {
		[SESSION_WAIT_UNMAP] = &session_wait_unmap,
		[SESSION_WAIT_RESET] = &session_wait_reset,
		[SESSION_WAIT_FIRST_MAP] = &session_wait_first_map,
		[SESSION_WAIT_ACCESS] = &session_wait_access,
		[SESSION_WAIT_IRQS] = &session_wait_irqs,
		[SESSION_WAIT_LOG_STOP] = &session_wait_log_stop,
		[SESSION_WAIT_LOG_REPORT] = &session_wait_log_report,
		[SESSION_WAIT_DEVICE_STATE] = &session_wait_device_state,
		[SESSION_WAIT_LEAVE] = &session_wait_leave,
	};

	return all[kind];
}

void session_wait_step_later(struct session *session)
{
	ob_task_schedule(ob_dev_loop(session->dev), &session->step);
}

/* A step. Whether that was the last one; *status is how it ended. */
static bool step_is_last(struct session *session, int *status)
{
	*status = session_wait_ops(session->wait.kind)->step(session);
	if (*status == -EAGAIN)
		session_wait_step_later(session);
	return *status != -EAGAIN && *status != -EINPROGRESS;
}

static void set_wait(struct session *session, enum session_wait_kind kind,
                     const struct wire_header *request)
{
	session->wait.kind = kind;
	session->wait.request = *request;
}

static void drop_wait(struct session *session)
{
	struct session_wait *wait = &session->wait;

	free(take_ptr(&wait->access.payload));
	free(take_ptr(&wait->report.log.bits));
	free(take_ptr(&wait->irq_acts.bools));
	wait->kind = SESSION_WAIT_NONE;
	session->asked = false;
}

int session_wait_begin(struct session *session, enum session_wait_kind kind,
                       const struct wire_header *request)
{
	int status;

	set_wait(session, kind, request);
	if (!step_is_last(session, &status)) {
		session_move(session, SESSION_WAITING);
		return -EINPROGRESS;
	}
	if (!status)
		session_wait_ops(kind)->reply(session, 0);
	drop_wait(session);
	return status;
}

int session_wait_begin_asked(struct session *session, enum session_wait_kind kind,
                             const struct wire_header *request)
{
	set_wait(session, kind, request);
	session_move(session, SESSION_WAITING);
	return -EINPROGRESS;
}

int session_wait_begin_later(struct session *session, enum session_wait_kind kind,
                             const struct wire_header *request)
{
	session_wait_step_later(session);
	return session_wait_begin_asked(session, kind, request);
}

bool session_wait_stays(struct session *session)
{
	return false;
}

/* From here on nobody is answered. */
static void leave(struct session *session)
{
	drop_wait(session);
	session->wait.kind = SESSION_WAIT_LEAVE;
	session_wait_step(session);
}

void session_wait_step(struct session *session)
{
	enum session_wait_kind kind = session->wait.kind;
	int status;

	if (!step_is_last(session, &status))
		return;
	if (session->state == SESSION_LEAVING && kind != SESSION_WAIT_LEAVE) {
		leave(session);
		return;
	}
	if (kind == SESSION_WAIT_LEAVE) {
		session_wait_ops(kind)->reply(session, status); /* frees the session */
		return;
	}
	session_wait_ops(kind)->reply(session, status);
	drop_wait(session);
	session_move(session, SESSION_RUNNING);
}

void session_wait_cancel(struct session *session)
{
	enum session_wait_kind kind = session->wait.kind;
	bool waits = session->state == SESSION_WAITING;
	bool (*cancel)(struct session * session) = waits ? session_wait_ops(kind)->cancel : NULL;

	session_move(session, SESSION_LEAVING);
	if (cancel && !cancel(session))
		return;
	ob_task_cancel(&session->step);
	leave(session);
}

static void run_step(struct ob_task *task)
{
	session_wait_step(container_of(task, struct session, step));
}

void session_wait_init(struct session *session)
{
	session->step.run = run_step;
}
