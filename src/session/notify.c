/* SPDX-License-Identifier: BSD-3-Clause */
/* Notifications by asynchronous I/O, or by write(); see notify.h for why. */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/list.h"
#include "loop/loop.h"

/*
 * The head of the ring of completions, which the kernel maps at the address that aio_context_t is.
 * Programs may consume completions by moving head themselves; libaio does.
 */
struct completion_ring {
	uint32_t id;
	uint32_t count;
	uint32_t head;
	uint32_t tail;
	uint32_t magic;
};
enum { RING_MAGIC = (int)0xa10a10a1 };

static struct completion_ring *ring_of(const struct notifier *notifier)
{
	return (struct completion_ring *)(uintptr_t)notifier->aio;
}

static void set_up(struct notifier *notifier)
{
	int ends[2];

	notifier->mode = NOTIFIER_WRITE;
	if (pipe2(ends, O_CLOEXEC))
		return;
	close(ends[1]);
	if (syscall(SYS_io_setup, 1, &notifier->aio)) {
		close(ends[0]);
		return;
	}
	notifier->source = ends[0];
	notifier->mode = NOTIFIER_AIO;
	/* Some emulate the system calls without the ring. */
	if (ring_of(notifier)->magic != (uint32_t)RING_MAGIC) {
		notifier_end(notifier);
		notifier->mode = NOTIFIER_WRITE;
	}
}

/* Submits one I/O that completes at once. 0 or -errno. */
static int submit(struct notifier *notifier, int fd, uint16_t opcode)
{
	struct iocb iocb = {
		.aio_lio_opcode = opcode,
		.aio_fildes = (uint32_t)notifier->source,
		.aio_buf = (uintptr_t)&iocb,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *list = &iocb;
	struct completion_ring *ring = ring_of(notifier);

	if (syscall(SYS_io_submit, notifier->aio, 1L, &list) != 1)
		return -errno;
	__atomic_store_n(&ring->head, __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE),
	                 __ATOMIC_RELEASE);
	return 0;
}

static bool what_is_known(int fd, struct statx *what)
{
	return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, what);
}

/*
 * All that have no file of their own share one inode: event, timer and signal descriptors, epoll.
 * Of these it is an eventfd that can be written to. No file system is asked for news of its file.
 */
static bool looks_like_eventfd(int fd)
{
	int ours = eventfd(0, EFD_CLOEXEC);
	struct pollfd look = {.fd = fd, .events = POLLOUT};
	struct statx one, other;
	bool same = ours >= 0 && what_is_known(ours, &one) && what_is_known(fd, &other) &&
	            one.stx_ino == other.stx_ino && one.stx_dev_major == other.stx_dev_major &&
	            one.stx_dev_minor == other.stx_dev_minor;

	if (ours >= 0)
		close(ours);
	return same && poll(&look, 1, 0) == 1 && look.revents & POLLOUT;
}

/* What the kernel calls it, which it knows without asking a file system. */
static bool is_eventfd(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(name)];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, target, sizeof(target));
	/* A sandbox may have no /proc. */
	if (length < 0)
		return looks_like_eventfd(fd);
	return length == sizeof(name) - 1 && !memcmp(target, name, sizeof(name) - 1);
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ? -EINVAL : 0;
}

int notifier_accept(struct notifier *notifier, int fd)
{
	if (notifier->mode == NOTIFIER_UNSET)
		set_up(notifier);
	/*
	 * A write to the read end of a pipe fails with EBADF, after the eventfd was looked at,
	 * which fails with EINVAL if it is none. Anything else says nothing of it: the kernel has
	 * no memory, or a sandbox was closed.
	 */
	if (notifier->mode == NOTIFIER_AIO) {
		int rc = submit(notifier, fd, IOCB_CMD_PWRITE);

		if (rc == -EBADF || rc == -EINVAL)
			return rc == -EBADF ? 0 : rc;
	}
	if (!is_eventfd(fd))
		return -EINVAL;
	return notifier->mode == NOTIFIER_AIO ? 0 : set_nonblocking(fd);
}

static int signal_by_write(const struct notifier *notifier, int fd)
{
	const uint64_t one = 1;
	int flags = notifier->late ? fcntl(fd, F_GETFL) : O_NONBLOCK;
	ssize_t n;

	if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK)))
		return 0; /* it is no descriptor of ours: never */
	/* It fails when the counter is full: then the client has been told already. */
	n = write(fd, &one, sizeof(one));
	(void)n;
	return 0;
}

int notifier_signal(struct notifier *notifier, int fd)
{
	int rc = notifier->mode == NOTIFIER_AIO ? submit(notifier, fd, IOCB_CMD_PREAD) : -ENOSYS;

	if (!rc)
		return 0;
	if (rc == -EAGAIN || rc == -ENOMEM)
		return -EAGAIN;
	if (notifier->mode == NOTIFIER_AIO) {
		notifier_end(notifier);
		notifier->mode = NOTIFIER_WRITE;
		notifier->late = true;
	}
	return signal_by_write(notifier, fd);
}

void notifier_end(struct notifier *notifier)
{
	if (notifier->mode == NOTIFIER_AIO) {
		syscall(SYS_io_destroy, notifier->aio);
		close(notifier->source);
	}
	*notifier = (struct notifier){.mode = NOTIFIER_UNSET};
}

struct shared_notifier {
	struct loop_shared link;
	struct notifier notifier;
	unsigned users;
};

static const char kind;

static struct shared_notifier *find(struct ob_loop *loop)
{
	struct loop_shared *link = loop_shared_find(loop, &kind);

	return link ? container_of(link, struct shared_notifier, link) : NULL;
}

struct notifier *notifier_get(struct ob_loop *loop)
{
	struct shared_notifier *shared = find(loop);

	if (!shared) {
		shared = calloc(1, sizeof(*shared));
		if (!shared)
			return NULL;
		shared->link.kind = &kind;
		loop_shared_add(loop, &shared->link);
	}
	shared->users++;
	return &shared->notifier;
}

void notifier_put(struct ob_loop *loop)
{
	struct shared_notifier *shared = find(loop);

	if (--shared->users)
		return;
	loop_shared_remove(loop, &shared->link);
	notifier_end(&shared->notifier);
	free(shared);
}
