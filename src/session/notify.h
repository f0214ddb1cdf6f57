/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adding 1 to an eventfd that a stranger gave us, without ever blocking.
 *
 * write() blocks when the counter is full and the descriptor is in blocking mode. Mode and counter
 * are shared with the stranger, who can change both between any check of ours and the write;
 * pwritev2(RWF_NOWAIT) is not supported on eventfds. But the kernel itself adds to an eventfd
 * without waiting when an asynchronous I/O completes that was submitted with IOCB_FLAG_RESFD (the
 * counter saturates). So a notifier has one I/O that completes within its submission, a read of 0
 * bytes, and submits it with the eventfd to notify: one system call, as with write(), and about 40
 * % more time. Where the kernel has no such interface, or a sandbox forbids it, O_NONBLOCK is set
 * once and write() used: then a client that undoes that on purpose can hold up the process.
 */
#ifndef SESSION_NOTIFY_H
#define SESSION_NOTIFY_H

#include <linux/aio_abi.h>
#include <stdbool.h>

struct ob_loop;

enum notifier_mode { NOTIFIER_UNSET, NOTIFIER_AIO, NOTIFIER_WRITE };

/* Zeroed to begin with. Costs nothing before the first notifier_accept(). */
struct notifier {
	enum notifier_mode mode;
	bool late; /* NOTIFIER_WRITE came later: descriptors may be in blocking mode still */
	aio_context_t aio;
	int source; /* what is read 0 bytes of: the read end of a pipe */
};

/* Makes fd ready for notifier_signal(). 0, or -EINVAL: it is no eventfd. */
int notifier_accept(struct notifier *notifier, int fd);

/*
 * fd was accepted. 0, or -EAGAIN: the kernel has no memory for it now, and nothing happened. Where
 * the kernel refuses for good (a sandbox that was closed later), write() is used from then on.
 */
int notifier_signal(struct notifier *notifier, int fd);

void notifier_end(struct notifier *notifier);

/*
 * The one that all sessions of a loop share, for as long as somebody holds it; NULL on ENOMEM. To
 * end one takes the kernel some 20 ms (it waits until no processor can be using the context any
 * more), and the whole process with it: so a departing client must not cause that.
 */
struct notifier *notifier_get(struct ob_loop *loop);
void notifier_put(struct ob_loop *loop);

#endif
