/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking for the next message instead of sleeping until it comes.
 *
 * A wake-up takes longer than most messages do. So after the replies have left, the socket is read
 * again and again, for poll_ns at most. When nothing has come by then, the next message is waited
 * for asleep, and so are more and more after each time in vain.
 *
 * Each look is a system call. When turns of the loop are long because many others do the same, or
 * have work to do, one look for all of them (epoll's) is cheaper; and when we are kept from the
 * processor, it may be the client that has to share it with us. So that ends it as well.
 */
#include "internal.h"

enum {
	VAIN_MAX = 6,     /* so often in a row: tried after one message in 64 */
	CROWD_NS = 10000, /* between two looks */
};

void transport_poll_start(struct transport *transport)
{
	if (!transport->limits.poll_ns)
		return;
	if (transport->skip && !transport->limits.poll_always) {
		transport->skip--;
		ob_poller_remove(transport->loop, &transport->poller);
		return;
	}
	transport->since = transport->looked = ob_loop_now();
	ob_poller_add(transport->loop, &transport->poller);
}

void transport_poll_found(struct transport *transport)
{
	transport->vain = 0;
}

bool transport_poll_goes_on(struct transport *transport)
{
	uint64_t now = ob_loop_now(), last = transport->looked;

	transport->looked = now;
	if (now - transport->since < transport->limits.poll_ns && now - last < CROWD_NS)
		return true;
	if (transport->vain < VAIN_MAX)
		transport->vain++;
	transport->skip = (1u << transport->vain) - 1;
	ob_poller_remove(transport->loop, &transport->poller);
	return false;
}
