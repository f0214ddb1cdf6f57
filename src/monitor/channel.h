/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream of bytes to and from a monitor's client, over a socket, or over two descriptors of any
 * kind (standard input and output). Nothing here waits, whatever the client does.
 */
#ifndef MONITOR_CHANNEL_H
#define MONITOR_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "loop/loop.h"

struct channel;

struct channel_ops {
	/* Takes some of what came, at least a byte, and returns how much. Once in a turn of the
	 * loop. */
	size_t (*input)(void *context, const char *bytes, size_t length);
	/* What was put has been sent. */
	void (*drained)(void *context);
	/* Nothing more will come or go. Called once, from the loop; may free the channel. */
	void (*closed)(void *context);
};

/*
 * in and out may be the same descriptor; owned: they are closed with the channel. Descriptors that
 * are no sockets do not block as long as the channel is there. NULL and errno; the descriptors are
 * the caller's then.
 */
struct channel *channel_new(struct ob_loop *loop, int in, int out, bool owned,
                            const struct channel_ops *ops, void *context);

/* Tries once to send what is unsent. */
void channel_free(struct channel *channel);

/* Sends bytes as soon as the client takes them. Without memory for them the channel closes. */
void channel_put(struct channel *channel, const char *bytes, size_t length);

/* How much was put and not sent yet; 0 if nobody is there to send it to. */
size_t channel_unsent(const struct channel *channel);

/* Paused: no input; the channel does not close either before all input was taken. */
void channel_pause(struct channel *channel, bool paused);

#endif
