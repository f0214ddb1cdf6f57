/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receiving half, and the life of a connection.
 *
 * A turn of the loop takes one recvmsg, hands over messages until their number or the time that
 * they took reaches a bound, and sends the replies; what remains waits for the next turn, so that a
 * client that floods has little more of the loop than others. The buffer is small, grows to hold a
 * longer message while one arrives, and shrinks again. A message's size is checked as soon as that
 * field is there.
 *
 * Callbacks may call everything, transport_free() included: `busy` keeps the struct alive until the
 * callback has returned.
 *
 * While nothing is to be read (paused, or too much unsent) the kernel still reports EPOLLHUP, for
 * as long as it is true. A peer that is gone altogether will not read another reply, so what it
 * sent last is dropped and the connection ends at once, which also ends the reports.
 */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "internal.h"
#include "wire/protocol.h"

/* The kernel's, which its headers for programs don't have: most descriptors in a message. */
enum { SCM_MAX_FD = 253 };

enum {
	IN_FIRST_CAPACITY = 8192,
	MESSAGES_PER_TURN = 128,
};

void transport_watch(struct transport *transport)
{
	bool full = transport_unsent(transport) > transport->limits.max_unsent;
	uint32_t events = 0;
	int rc;

	if (transport->closing || transport->freed) {
		if (transport->watching)
			loop_fd_remove(transport->loop, &transport->watch);
		transport->watching = false;
		return;
	}
	if (!transport->paused && !full)
		events |= EPOLLIN;
	if (transport->socket_full)
		events |= EPOLLOUT;
	rc = loop_fd_modify(transport->loop, &transport->watch, events);
	if (rc)
		transport_close(transport, rc);
}

void transport_close(struct transport *transport, int reason)
{
	if (transport->closing)
		return;
	transport->closing = true;
	transport->reason = reason;
	ob_task_schedule(transport->loop, &transport->work);
}

const uint8_t *transport_unread(const struct transport *transport, size_t *length)
{
	*length = transport->in_end - transport->in_start;
	return transport->in + transport->in_start;
}

/* What waits here is counted until it is handed over, or given to the closer. */
static void count_fds(struct transport *transport, unsigned more, unsigned less)
{
	if (!transport->limits.fds)
		return;
	budget_add(transport->limits.fds, more);
	budget_give(transport->limits.fds, less);
}

static void close_received_fds(struct transport *transport)
{
	for (unsigned i = 0; i < transport->fd_count; i++)
		loop_closer_close(transport->limits.closer, transport->fds[i]);
	count_fds(transport, 0, transport->fd_count);
	transport->fd_count = transport->fd_carry = 0;
}

static void release(struct transport *transport)
{
	free(transport->in);
	free(transport);
}

void transport_free(struct transport *transport)
{
	transport->closing = true;
	transport_flush(transport);
	transport->freed = transport->closing = transport->told = true;
	transport_watch(transport);
	ob_task_cancel(&transport->work);
	ob_poller_remove(transport->loop, &transport->poller);
	transport_drop_output(transport);
	close_received_fds(transport);
	loop_closer_close_socket(transport->limits.closer, transport->watch.fd);
	if (!transport->busy)
		release(transport);
}

/* After a stretch in which callbacks ran. False if one of them freed the transport. */
static bool leave(struct transport *transport)
{
	transport->busy = false;
	if (transport->freed) {
		release(transport);
		return false;
	}
	transport_watch(transport);
	if (transport->heard) {
		transport->heard = false;
		transport_poll_start(transport);
	}
	return true;
}

/*
 * Looks at the first message in the buffer. *size is what it takes, at least a header. 0: it is
 * there; -EAGAIN: not yet; or what is wrong with it.
 */
static int first_message(const struct transport *transport, size_t *size)
{
	size_t have = transport->in_end - transport->in_start;
	uint32_t field;

	*size = sizeof(struct wire_header);
	if (have < offsetof(struct wire_header, size) + sizeof(field))
		return -EAGAIN;
	memcpy(&field, transport->in + transport->in_start + offsetof(struct wire_header, size),
	       sizeof(field));
	if (field < sizeof(struct wire_header))
		return -EPROTO;
	if (field > transport->limits.max_message)
		return -EMSGSIZE;
	*size = field;
	return have < field ? -EAGAIN : 0;
}

/* Moves the descriptors of the first message, which has size bytes, to fds. */
static unsigned take_fds(struct transport *transport, size_t size, int *fds)
{
	bool last = transport->in_start + size == transport->in_end;
	unsigned count = last ? transport->fd_count : transport->fd_carry;

	memcpy(fds, transport->fds, count * sizeof(*fds));
	transport->handing_lost = transport->lost_carry || (last && transport->lost);
	transport->lost_carry = false;
	transport->lost &= !last;
	transport->fd_count -= count;
	transport->fd_carry = 0;
	count_fds(transport, 0, count);
	memmove(transport->fds, transport->fds + count, transport->fd_count * sizeof(*fds));
	return count;
}

static void hand_over(struct transport *transport, size_t size)
{
	int fds[TRANSPORT_MAX_FDS];
	unsigned count = take_fds(transport, size, fds);
	uint8_t *message = transport->in + transport->in_start;

	transport->in_start += size;
	transport->ops->message(transport->context, message, size, fds, count);
	for (unsigned i = 0; i < count; i++) {
		if (fds[i] >= 0)
			loop_closer_close(transport->limits.closer, fds[i]);
	}
}

bool transport_lost_fds(const struct transport *transport)
{
	return transport->handing_lost;
}

/* Whether messages may be handed over. Tries to send first if it is unsent replies that forbid it.
 */
static bool may_take(struct transport *transport)
{
	if (transport->freed || transport->closing || transport->paused)
		return false;
	if (transport_unsent(transport) <= transport->limits.max_unsent)
		return true;
	transport_flush(transport);
	return !transport->closing && transport_unsent(transport) <= transport->limits.max_unsent;
}

/* Hands over the messages in the buffer, or as many as there is time for; then goes on later. */
static void dispatch(struct transport *transport)
{
	uint64_t bound = transport->limits.turn_ns, begin;
	unsigned count = 0;
	size_t size;
	int rc;

	transport->backlog = false;
	if (transport->in_start == transport->in_end)
		return;
	begin = bound ? ob_loop_now() : 0;
	while (may_take(transport)) {
		rc = first_message(transport, &size);
		if (rc == -EAGAIN)
			return;
		if (rc) {
			transport_close(transport, rc);
			return;
		}
		if (count++ == MESSAGES_PER_TURN ||
		    (bound && count > 1 && ob_loop_now() - begin >= bound)) {
			transport->backlog = true;
			ob_task_schedule(transport->loop, &transport->work);
			return;
		}
		hand_over(transport, size);
	}
}

/* Makes the buffer begin with the first message and have room for all of it. 0 or -ENOMEM. */
static int make_room(struct transport *transport, size_t size)
{
	size_t have = transport->in_end - transport->in_start;
	size_t capacity = size < IN_FIRST_CAPACITY ? IN_FIRST_CAPACITY : size;
	uint8_t *in;

	if (transport->in_start)
		memmove(transport->in, transport->in + transport->in_start, have);
	transport->in_start = 0;
	transport->in_end = have;
	if (capacity <= transport->in_capacity &&
	    (transport->in_capacity <= TRANSPORT_KEEP || capacity > TRANSPORT_KEEP))
		return 0;
	in = realloc(transport->in, capacity);
	if (!in)
		return -ENOMEM;
	transport->in = in;
	transport->in_capacity = capacity;
	return 0;
}

/* Keeps one descriptor that came. Too many are a violation, and so are more than the share has. */
static int keep_fd(struct transport *transport, int fd)
{
	if (transport->fd_count >= TRANSPORT_MAX_FDS) {
		loop_closer_close(transport->limits.closer, fd);
		return -EPROTO;
	}
	transport->fds[transport->fd_count++] = fd;
	count_fds(transport, 1, 0);
	return 0;
}

/*
 * Takes the descriptors of a recvmsg over, for which there was room whatever their number. Where
 * the kernel left some out, the process has no room for them: that is not the peer's fault.
 */
static int keep_fds(struct transport *transport, struct msghdr *message)
{
	struct budget_share *share = transport->limits.fds;
	struct cmsghdr *cmsg;
	int rc = 0;

	if (message->msg_flags & MSG_CTRUNC)
		transport->lost = true;
	for (cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
		size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		if (share && !rc && !budget_has_room(share, count))
			rc = -EDQUOT;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
			if (keep_fd(transport, fd))
				rc = -EPROTO;
		}
	}
	return rc;
}

/*
 * One recvmsg. 0: nothing has come; 1: something has, or the peer's end; or -errno. Only called
 * when the buffer holds no whole message: what it holds, descriptors included, is the beginning of
 * the first one.
 */
static int receive(struct transport *transport)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * SCM_MAX_FD)];
	} control;
	struct iovec iov;
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	size_t size;
	ssize_t n;
	int rc = first_message(transport, &size);

	if (rc != -EAGAIN)
		return rc ? rc : 1;
	if (make_room(transport, size))
		return -ENOMEM;
	transport->fd_carry = transport->fd_count;
	transport->lost_carry |= transport->lost;
	transport->lost = false;
	iov.iov_base = transport->in + transport->in_end;
	iov.iov_len = transport->in_capacity - transport->in_end;
	n = recvmsg(transport->watch.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	rc = keep_fds(transport, &message);
	if (rc)
		return rc;
	if (!n)
		transport_close(transport, 0);
	transport->in_end += (size_t)n;
	transport->heard = true;
	return 1;
}

/* Takes what the socket has, and hands it over. Whether there was anything. */
static bool take(struct transport *transport)
{
	int rc = receive(transport);

	if (!rc)
		return false;
	if (rc < 0)
		transport_close(transport, rc);
	dispatch(transport);
	return true;
}

/* An empty buffer that had to grow is given back; the next message begins small again. */
static void shrink(struct transport *transport)
{
	if (transport->in_start != transport->in_end)
		return;
	transport->in_start = transport->in_end = 0;
	if (transport->in_capacity > TRANSPORT_KEEP) {
		free(transport->in);
		transport->in = NULL;
		transport->in_capacity = 0;
	}
}

/* Sends what has gathered. */
static void end_turn(struct transport *transport)
{
	if (!transport->freed) {
		shrink(transport);
		if (!transport->socket_full)
			transport_flush(transport);
	}
	leave(transport);
}

static void ready(struct loop_fd *watch, uint32_t events)
{
	struct transport *transport = container_of(watch, struct transport, watch);

	transport->busy = true;
	if (events & EPOLLOUT)
		transport_flush(transport);
	/* What is left of an earlier turn is the task's, which comes later in this one. */
	if (!transport->backlog)
		dispatch(transport);
	/* A read is due only when the buffer has no whole message left: see receive(). */
	if (!transport->backlog && may_take(transport) && (events & ~(uint32_t)EPOLLOUT))
		take(transport);
	else if (!transport->freed && !transport->backlog && (events & (EPOLLHUP | EPOLLERR)))
		transport_close(transport, 0);
	end_turn(transport);
}

/* What the socket would say to epoll, without asking. */
static bool look(struct ob_poller *poller)
{
	struct transport *transport = container_of(poller, struct transport, poller);
	bool found;

	/* While it may not be read, there is nothing to look for. */
	if (transport->closing || transport->paused || transport->backlog ||
	    transport->socket_full) {
		ob_poller_remove(transport->loop, poller);
		return false;
	}
	transport->busy = true;
	found = may_take(transport) && take(transport);
	if (found) {
		transport_poll_found(transport);
		end_turn(transport);
	} else {
		transport->busy = false;
	}
	return found || transport_poll_goes_on(transport);
}

static void run_work(struct ob_task *task)
{
	struct transport *transport = container_of(task, struct transport, work);

	transport->busy = true;
	if (transport->closing) {
		transport_flush(transport);
		transport_watch(transport);
		transport->told = true;
		transport->ops->closed(transport->context, transport->reason);
		leave(transport);
		return;
	}
	dispatch(transport);
	/* What leaves now may well be answered. */
	transport->heard = true;
	if (!transport->freed && !transport->socket_full)
		transport_flush(transport);
	leave(transport);
}

void transport_pause(struct transport *transport, bool paused)
{
	if (transport->paused == paused || transport->closing)
		return;
	transport->paused = paused;
	/* Whole messages may lie in the buffer; they are not handed over from within this call. */
	if (!paused)
		ob_task_schedule(transport->loop, &transport->work);
	if (!transport->busy)
		transport_watch(transport);
}

struct transport *transport_new(struct ob_loop *loop, int fd, const struct transport_limits *limits,
                                const struct transport_ops *ops, void *context)
{
	struct transport *transport = calloc(1, sizeof(*transport));
	int flags = fcntl(fd, F_GETFL);

	if (!transport)
		goto fail;
	*transport = (struct transport){
		.loop = loop,
		.watch = {.fd = fd, .events = EPOLLIN, .ready = ready},
		.work = {.run = run_work},
		.poller = {.poll = look},
		.limits = *limits,
		.ops = ops,
		.context = context,
		.watching = true,
	};
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		goto fail;
	loop_keep_urgent(fd);
	if (loop_fd_add(loop, &transport->watch))
		goto fail;
	return transport;
fail:
	free(transport);
	close(fd);
	return NULL;
}
