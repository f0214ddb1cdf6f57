/* SPDX-License-Identifier: BSD-3-Clause */
/* The transport's own struct, shared by its receiving and its sending half. */
#ifndef TRANSPORT_INTERNAL_H
#define TRANSPORT_INTERNAL_H

#include "transport.h"

/* A message in the output that carries descriptors (duplicates, ours). */
struct transport_fds {
	struct transport_fds *next;
	uint64_t at, end; /* the message, in bytes since the connection began */
	unsigned count;   /* 0 once they are sent */
	int fds[];
};

struct transport {
	struct ob_loop *loop;
	struct loop_fd watch;
	struct ob_task work; /* what has to be done though no descriptor becomes ready */
	struct transport_limits limits;
	const struct transport_ops *ops;
	void *context;

	bool watching;
	bool paused;
	bool backlog; /* whole messages wait in the buffer for the task */
	bool closing; /* over; closed() was or will be called */
	bool told;    /* it was */
	int reason;
	bool busy;  /* a callback may be running: nothing it uses may go away */
	bool freed; /* by such a callback */

	/* Received and not handed over yet: in[in_start, in_end). */
	uint8_t *in;
	size_t in_capacity, in_start, in_end;
	/*
	 * Descriptors received with it: those before fd_carry belong to the first message, the rest
	 * to the one that holds the last byte.
	 */
	int fds[TRANSPORT_MAX_FDS];
	unsigned fd_count, fd_carry;
	bool lost, lost_carry; /* some more were, in the same two places */
	bool handing_lost;     /* by the message that is being handed over */

	/* Queued and not sent yet: out[out_start, out_end). */
	uint8_t *out;
	size_t out_capacity, out_start, out_end;
	uint64_t sent; /* bytes, ever */
	struct transport_fds *out_fds;
	bool socket_full;         /* until epoll says otherwise */
	struct transport *before; /* sends first; or NULL */

	/* See poll.c; times in ns. */
	struct ob_poller poller;
	bool heard;             /* something came since transport_poll_start() */
	uint64_t since, looked; /* when looking began, and when the last look was */
	unsigned vain, skip;    /* times in a row; messages to wait for asleep */
};

/* A buffer that is not larger is kept while it is empty. */
enum { TRANSPORT_KEEP = 16384 };

static inline size_t transport_unsent(const struct transport *transport)
{
	return transport->out_end - transport->out_start;
}

/* Sends what the socket takes. An error closes the connection. */
void transport_flush(struct transport *transport);

/* Makes the watch fit the state. */
void transport_watch(struct transport *transport);

void transport_drop_output(struct transport *transport);

/* poll.c. What came was dealt with: looks for more from now on, if that is worth it. */
void transport_poll_start(struct transport *transport);

/* A look found something. */
void transport_poll_found(struct transport *transport);

/* A look found nothing: whether to take another one. Otherwise the poller was removed. */
bool transport_poll_goes_on(struct transport *transport);

#endif
