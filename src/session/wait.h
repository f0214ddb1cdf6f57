/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands that are not answered at once, and the end of a session: each is a wait, and each wait
 * has the same three functions. One is under way at a time.
 */
#ifndef SESSION_WAIT_H
#define SESSION_WAIT_H

#include <stdbool.h>

struct session;
struct wire_header;

enum session_wait_kind {
	SESSION_WAIT_NONE,
	SESSION_WAIT_UNMAP,        /* DMA_UNMAP: for pins */
	SESSION_WAIT_RESET,        /* DEVICE_RESET: for the device to be quiet, then its drives */
	SESSION_WAIT_FIRST_MAP,    /* DMA_MAP: the device is reset before another client's memory */
	SESSION_WAIT_ACCESS,       /* REGION_READ, REGION_WRITE, REGION_WRITE_MULTI: slices */
	SESSION_WAIT_IRQS,         /* SET_IRQS that acts on many vectors: slices */
	SESSION_WAIT_LOG_STOP,     /* DMA_LOGGING_STOP: slices */
	SESSION_WAIT_LOG_REPORT,   /* DMA_LOGGING_REPORT: slices */
	SESSION_WAIT_DEVICE_STATE, /* MIG_DEVICE_STATE: for a way that takes time */
	SESSION_WAIT_LEAVE,        /* the client is gone: see leave.c */
	SESSION_WAITS,
};

struct session_wait_ops {
	const char *name; /* for the log: what it is that waits */
	bool slices;      /* it waits for nothing but its turns, and is not logged as slow */
	/*
	 * Goes on from where the session's data say that it is. It is called again, from its
	 * beginning, until it is done: whatever was asked for already is not asked for twice.
	 *
	 *	0             done
	 *	-EAGAIN       to be called in the next turn of the loop
	 *	-EINPROGRESS  something was asked for, and calls session_wait_step() when it comes
	 *	-errno        it cannot be done
	 */
	int (*step)(struct session *session);
	/* Answers, once step() is done (0) or has failed (-errno). */
	void (*reply)(struct session *session, int status);
	/*
	 * The client is gone. True: it was given up. False: what it waits for cannot be taken back,
	 * and step() is called until it is done; nobody is answered. NULL: true, nothing to do.
	 */
	bool (*cancel)(struct session *session);
};

/* One for each kind, where the command is implemented. */
extern const struct session_wait_ops session_wait_unmap, session_wait_reset, session_wait_first_map,
	session_wait_access, session_wait_irqs, session_wait_log_stop, session_wait_log_report,
	session_wait_device_state, session_wait_leave;

const struct session_wait_ops *session_wait_ops(enum session_wait_kind kind);

/*
 * Begins a wait for the command request with its first step. Returns 0 (done, and answered),
 * -EINPROGRESS (it goes on), or -errno: the step failed, nothing was answered.
 */
int session_wait_begin(struct session *session, enum session_wait_kind kind,
                       const struct wire_header *request);

/* The same, where the first step is that what was asked for comes. Returns -EINPROGRESS. */
int session_wait_begin_asked(struct session *session, enum session_wait_kind kind,
                             const struct wire_header *request);

/* The same with the first step in the next turn of the loop. Returns -EINPROGRESS. */
int session_wait_begin_later(struct session *session, enum session_wait_kind kind,
                             const struct wire_header *request);

/* A cancel() for what cannot be taken back. */
bool session_wait_stays(struct session *session);

/* What the wait asked for has come. */
void session_wait_step(struct session *session);
/* The same from a place where nothing may be begun: it is done in the next turn. */
void session_wait_step_later(struct session *session);

/* The client is gone: gives the command up that waits, if it can be, and goes on to leave. */
void session_wait_cancel(struct session *session);

void session_wait_init(struct session *session);

#endif
