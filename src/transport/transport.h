/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole messages over a UNIX stream socket, with descriptors (SCM_RIGHTS). It knows the 16-byte
 * header's size field and nothing else of the protocol.
 *
 * Receiving: one recvmsg takes what is there, however many messages; each is handed over with the
 * descriptors that came with it. A descriptor belongs to the message that holds the last byte of
 * the recvmsg that it came with (the kernel ends a read behind a part that carries descriptors).
 * Sending: replies gather in a buffer and leave in one sendmsg at the end of the turn; a message
 * with descriptors leaves in one of its own. A message is never split over two sendmsg calls unless
 * the socket is full.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "loop/closer.h"
#include "loop/loop.h"

enum { TRANSPORT_MAX_FDS = 64 };

struct transport;

struct transport_limits {
	size_t max_message; /* a longer one ends the connection (-EMSGSIZE) */
	size_t max_unsent;  /* more unsent than this: no more messages are taken until it shrank */
	uint64_t turn_ns;   /* after this time in a turn, no other message is begun; 0: no bound */
	uint64_t poll_ns;   /* after a message, how long to look for the next one before sleeping */
	bool poll_always;   /* also where the last ones took longer than that */
	/*
	 * Closes what the peer sent, its end of the socket included, and counts what waits here.
	 * A peer that sends more than its share has room for is given up (-EDQUOT). NULL: what is
	 * to be closed is closed at once; nothing is counted.
	 */
	struct loop_closer *closer;
	struct budget_share *fds;
};

struct transport_ops {
	/*
	 * One whole message, header included. Owns nothing but the descriptors: the callee takes
	 * those it wants by setting them to -1, the rest is closed afterwards. message is valid
	 * during the call. May call anything of this header, transport_free() included.
	 */
	void (*message)(void *context, uint8_t *message, size_t length, int *fds,
	                unsigned fd_count);
	/*
	 * The connection is over: reason is 0 (the peer closed it) or -errno (-EMSGSIZE, -EPROTO: a
	 * size below 16 or a truncated control message, -ECONNRESET...). Called once, from the
	 * loop; the callee frees the transport, then or later.
	 */
	void (*closed)(void *context, int reason);
};

/* Takes fd (a connected stream socket) over, makes it non-blocking. NULL on ENOMEM, fd is closed.
 */
struct transport *transport_new(struct ob_loop *loop, int fd, const struct transport_limits *limits,
                                const struct transport_ops *ops, void *context);

/*
 * Of the message that is being handed over: the process had no descriptor left for some that came
 * with it, and these are gone.
 */
bool transport_lost_fds(const struct transport *transport);

/* Closes the socket. Unsent replies are tried once more, without waiting. */
void transport_free(struct transport *transport);

/*
 * Room for a message of size bytes, to be filled before transport_commit(), which takes the same or
 * a smaller size. NULL on ENOMEM; the connection is then over, closed() follows.
 */
uint8_t *transport_reserve(struct transport *transport, size_t size);

/* Queues what was reserved. Descriptors are duplicated where needed; they stay the caller's. */
void transport_commit(struct transport *transport, size_t size, const int *fds, unsigned fd_count);

/*
 * What the other transport was given to send leaves before what this one was, as far as its socket
 * takes it. The other one has to be there; NULL: each sends for itself.
 */
void transport_send_after(struct transport *transport, struct transport *other);

/* While paused, no message is handed over and nothing is read. Counts nothing: on or off. */
void transport_pause(struct transport *transport, bool paused);

/* What was received and not handed over, until the next turn. */
const uint8_t *transport_unread(const struct transport *transport, size_t *length);

/* Ends the connection: closed(reason) follows from the loop. */
void transport_close(struct transport *transport, int reason);

#endif
