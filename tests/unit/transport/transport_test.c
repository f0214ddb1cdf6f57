/* SPDX-License-Identifier: BSD-3-Clause */
/* Framing, descriptors, back-pressure and endings, over a socket pair with a raw peer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/list.h"
#include "transport/internal.h"
#include "transport/transport.h"
#include "wire/protocol.h"

enum { MAX_MESSAGE = 1 << 20, MAX_UNSENT = 1 << 16 };

struct got {
	uint16_t id;
	size_t length;
	uint32_t sum;
	unsigned fds;
	ino_t inodes[TRANSPORT_MAX_FDS];
};

enum on_message { IGNORE, KEEP_FDS, ECHO, PAUSE, CLOSE, FREE };

struct fixture {
	struct ob_loop *loop;
	struct transport *transport;
	int peer, open_before;
	enum on_message on_message;
	struct got got[4096];
	unsigned count;
	unsigned closed;
	int reason;
	bool free_on_close;
};

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static uint32_t sum_of(const uint8_t *bytes, size_t length)
{
	uint32_t sum = 0;

	while (length--)
		sum = sum * 31 + *bytes++;
	return sum;
}

static void take_fds(struct got *got, int *fds, unsigned count, bool keep)
{
	struct stat st;

	got->fds = count;
	for (unsigned i = 0; i < count; i++) {
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		assert_int_equal(fstat(fds[i], &st), 0);
		got->inodes[i] = st.st_ino;
		if (keep) {
			close(fds[i]);
			fds[i] = -1;
		}
	}
}

static void on_message(void *context, uint8_t *message, size_t length, int *fds, unsigned fd_count)
{
	struct fixture *f = context;
	struct got *got = &f->got[f->count++ % 4096];
	struct wire_header header;
	uint8_t *reply;

	memcpy(&header, message, sizeof(header));
	*got = (struct got){header.id, length, sum_of(message, length), 0, {0}};
	assert_int_equal(header.size, length);
	take_fds(got, fds, fd_count, f->on_message == KEEP_FDS);
	switch (f->on_message) {
	case ECHO:
		reply = transport_reserve(f->transport, length);
		assert_non_null(reply);
		memcpy(reply, message, length);
		transport_commit(f->transport, length, fds, fd_count);
		break;
	case PAUSE:
		transport_pause(f->transport, true);
		break;
	case CLOSE:
		transport_close(f->transport, -ESTALE);
		break;
	case FREE:
		transport_free(f->transport);
		f->transport = NULL;
		memset(message, 0, length); /* still there */
		break;
	default:
		break;
	}
}

static void on_closed(void *context, int reason)
{
	struct fixture *f = context;

	f->closed++;
	f->reason = reason;
	if (f->free_on_close) {
		transport_free(f->transport);
		f->transport = NULL;
	}
}

static const struct transport_ops ops = {.message = on_message, .closed = on_closed};

static int set_up_with(void **state, const struct transport_limits *limits)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	f->open_before = open_fds();
	f->loop = loop_new();
	f->free_on_close = true;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->peer = pair[0];
	fcntl(f->peer, F_SETFL, O_NONBLOCK);
	f->transport = transport_new(f->loop, pair[1], limits, &ops, f);
	assert_non_null(f->transport);
	*state = f;
	return 0;
}

static int set_up(void **state)
{
	static const struct transport_limits limits = {MAX_MESSAGE, MAX_UNSENT};

	return set_up_with(state, &limits);
}

/* Everything must be the same when messages are looked for. */
static int set_up_polling(void **state)
{
	static const struct transport_limits limits = {MAX_MESSAGE, MAX_UNSENT,
	                                               .poll_ns = 1000000000, .poll_always = true};

	return set_up_with(state, &limits);
}

static int set_up_adaptive(void **state)
{
	static const struct transport_limits limits = {MAX_MESSAGE, MAX_UNSENT,
	                                               .poll_ns = 100000000};

	return set_up_with(state, &limits);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	if (f->transport)
		transport_free(f->transport);
	if (f->peer >= 0)
		close(f->peer);
	loop_free(f->loop);
	assert_int_equal(open_fds(), f->open_before);
	free(f);
	return 0;
}

static void turns(struct fixture *f, unsigned n)
{
	while (n--)
		assert_int_equal(loop_turn(f->loop, 0), 0);
}

static size_t put_message(uint8_t *bytes, uint16_t id, uint32_t size)
{
	struct wire_header header = {.id = id, .command = WIRE_GET_INFO, .size = size};

	memcpy(bytes, &header, sizeof(header));
	for (uint32_t i = sizeof(header); i < size; i++)
		bytes[i] = (uint8_t)(id + i * 7);
	return size;
}

/* All of length bytes, with descriptors at the first one. */
static void send_bytes(struct fixture *f, const uint8_t *bytes, size_t length, const int *fds,
                       unsigned fd_count)
{
	char control[CMSG_SPACE(sizeof(int) * 253)] = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;
	ssize_t n;

	if (fd_count) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&message);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	while (iov.iov_len) {
		n = sendmsg(f->peer, &message, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			turns(f, 1);
			continue;
		}
		assert_true(n > 0);
		iov.iov_base = (uint8_t *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		message.msg_controllen = 0;
		message.msg_control = NULL;
	}
}

static void send_message(struct fixture *f, uint16_t id, uint32_t size, const int *fds,
                         unsigned fd_count)
{
	uint8_t *bytes = malloc(size < 16 ? 16 : size);

	put_message(bytes, id, size);
	send_bytes(f, bytes, size < 16 ? 16 : size, fds, fd_count);
	free(bytes);
}

static int make_file(ino_t *inode)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct stat st;

	fstat(fd, &st);
	*inode = st.st_ino;
	return fd;
}

static void every_split_point(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[128];
	size_t length = put_message(bytes, 1, 40);

	length += put_message(bytes + length, 2, 16);
	length += put_message(bytes + length, 3, 60);
	for (size_t split = 0; split <= length; split++) {
		f->count = 0;
		send_bytes(f, bytes, split, NULL, 0);
		turns(f, 1);
		assert_int_equal(f->count, (split >= 40) + (split >= 56) + (split >= 116));
		send_bytes(f, bytes + split, length - split, NULL, 0);
		turns(f, 1);
		assert_int_equal(f->count, 3);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(f->got[i].id, i + 1);
		assert_int_equal(f->got[0].sum, sum_of(bytes, 40));
		assert_int_equal(f->got[1].sum, sum_of(bytes + 40, 16));
		assert_int_equal(f->got[2].sum, sum_of(bytes + 56, 60));
	}
}

static void byte_by_byte(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[64];

	put_message(bytes, 9, 64);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(f->count, 0);
		send_bytes(f, bytes + i, 1, NULL, 0);
		turns(f, 1);
	}
	assert_int_equal(f->count, 1);
	assert_int_equal(f->got[0].sum, sum_of(bytes, 64));
}

static void large_messages_grow_the_buffer_for_a_while(void **state)
{
	static const uint32_t sizes[] = {16, 8192, 8193, 16384, 16385, 200000, MAX_MESSAGE, 16};
	struct fixture *f = *state;
	uint8_t *bytes = malloc(MAX_MESSAGE);

	for (unsigned i = 0; i < 8; i++) {
		put_message(bytes, (uint16_t)i, sizes[i]);
		send_bytes(f, bytes, sizes[i], NULL, 0);
		turns(f, 20);
		assert_int_equal(f->count, i + 1);
		assert_int_equal(f->got[i].sum, sum_of(bytes, sizes[i]));
	}
	free(bytes);
}

static void many_in_one(void **state)
{
	struct fixture *f = *state;
	uint8_t *bytes = malloc(1000 * 16);

	for (unsigned i = 0; i < 1000; i++)
		put_message(bytes + 16 * i, (uint16_t)i, 16);
	send_bytes(f, bytes, 1000 * 16, NULL, 0);
	turns(f, 1);
	/* One turn takes a bounded number, and none is forgotten though the socket is empty. */
	assert_in_range(f->count, 1, 300);
	turns(f, 20);
	assert_int_equal(f->count, 1000);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(f->got[i].id, i);
	free(bytes);
}

/* A bound that has always passed: a message each time, until the last, though the peer is gone. */
static void slow_messages_take_turns(void **state)
{
	static const struct transport_limits limits = {MAX_MESSAGE, MAX_UNSENT, 1};
	struct fixture *f = *state;
	unsigned before = 0;
	int pair[2];

	transport_free(f->transport);
	close(f->peer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->peer = pair[0];
	f->transport = transport_new(f->loop, pair[1], &limits, &ops, f);
	for (uint16_t i = 0; i < 20; i++)
		send_message(f, i, 16, NULL, 0);
	close(f->peer);
	f->peer = -1;
	for (unsigned i = 0; i < 30 && !f->closed; i++) {
		before = f->count;
		turns(f, 1);
		assert_in_range(f->count - before, 0, 2);
	}
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->count, 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(f->got[i].id, i);
}

static void fds_come_with_their_message(void **state)
{
	struct fixture *f = *state;
	ino_t inodes[5];
	int files[5];

	for (int keep = 0; keep < 2; keep++) {
		for (unsigned i = 0; i < 5; i++)
			files[i] = make_file(&inodes[i]);
		f->count = 0;
		f->on_message = keep ? KEEP_FDS : IGNORE;
		send_message(f, 1, 32, NULL, 0);
		send_message(f, 2, 48, files, 1);
		send_message(f, 3, 48, NULL, 0);
		send_message(f, 4, 20, files + 1, 3);
		send_message(f, 5, 100000, files + 4, 1);
		send_message(f, 6, 16, NULL, 0);
		turns(f, 30);
		assert_int_equal(f->count, 6);
		assert_int_equal(f->got[0].fds, 0);
		assert_int_equal(f->got[1].fds, 1);
		assert_int_equal(f->got[1].inodes[0], inodes[0]);
		assert_int_equal(f->got[2].fds, 0);
		assert_int_equal(f->got[3].fds, 3);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(f->got[3].inodes[i], inodes[1 + i]);
		assert_int_equal(f->got[4].fds, 1);
		assert_int_equal(f->got[4].inodes[0], inodes[4]);
		assert_int_equal(f->got[5].fds, 0);
		for (unsigned i = 0; i < 5; i++)
			close(files[i]);
	}
}

/* A header with descriptors, then a body with more, cut at every byte, others around it. */
static void fds_of_a_message_in_pieces(void **state)
{
	struct fixture *f = *state;
	ino_t inodes[3];
	int files[3];
	uint8_t bytes[80];

	for (unsigned i = 0; i < 3; i++)
		files[i] = make_file(&inodes[i]);
	f->on_message = KEEP_FDS;
	for (size_t split = 1; split < 32; split++) {
		f->count = 0;
		put_message(bytes, 1, 16);
		put_message(bytes + 16, 2, 32);
		put_message(bytes + 48, 3, 32);
		send_bytes(f, bytes, 16, NULL, 0);
		send_bytes(f, bytes + 16, split, files, 1);
		turns(f, split % 2);
		send_bytes(f, bytes + 16 + split, 32 - split, files + 1, 1);
		send_bytes(f, bytes + 48, 32, files + 2, 1);
		turns(f, 5);
		assert_int_equal(f->count, 3);
		assert_int_equal(f->got[0].fds, 0);
		assert_int_equal(f->got[1].fds, 2);
		assert_int_equal(f->got[1].inodes[0], inodes[0]);
		assert_int_equal(f->got[1].inodes[1], inodes[1]);
		assert_int_equal(f->got[2].fds, 1);
		assert_int_equal(f->got[2].inodes[0], inodes[2]);
	}
	for (unsigned i = 0; i < 3; i++)
		close(files[i]);
}

static void too_many_fds_end_it(void **state)
{
	struct fixture *f = *state;
	ino_t inode;
	int fds[100], file = make_file(&inode);

	for (unsigned i = 0; i < 100; i++)
		fds[i] = file;
	send_message(f, 1, 16, fds, 64);
	turns(f, 2);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->got[0].fds, 64);
	assert_int_equal(f->closed, 0);
	send_message(f, 1, 16, fds, 65);
	turns(f, 2);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->reason, -EPROTO);
	close(file);
}

static void too_many_fds_in_pieces_end_it(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[32];
	ino_t inode;
	int fds[40], file = make_file(&inode);

	for (unsigned i = 0; i < 40; i++)
		fds[i] = file;
	put_message(bytes, 1, 32);
	send_bytes(f, bytes, 8, fds, 40);
	turns(f, 1);
	send_bytes(f, bytes + 8, 8, fds, 40);
	turns(f, 2);
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->reason, -EPROTO);
	close(file);
}

/* Descriptors of messages that never became whole are closed with the transport: see tear_down. */
static void fds_of_a_partial_message_are_closed(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[32];
	ino_t inode;
	int file = make_file(&inode);

	put_message(bytes, 1, 32);
	send_bytes(f, bytes, 20, &file, 1);
	turns(f, 1);
	close(file);
}

static void bad_sizes_are_seen_early(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint32_t size;
		int reason;
	} cases[] = {
		{0, -EPROTO}, {15, -EPROTO}, {MAX_MESSAGE + 1, -EMSGSIZE}, {UINT32_MAX, -EMSGSIZE}};
	struct wire_header header = {.id = 1};

	for (unsigned i = 0; i < 4; i++) {
		header.size = cases[i].size;
		send_bytes(f, (uint8_t *)&header, 7, NULL, 0);
		turns(f, 1);
		assert_int_equal(f->closed, 0);
		send_bytes(f, (uint8_t *)&header + 7, 1, NULL, 0);
		turns(f, 2);
		assert_int_equal(f->closed, 1);
		assert_int_equal(f->reason, cases[i].reason);
		assert_null(f->transport);
		assert_int_equal(f->count, 0);
		tear_down(state);
		set_up(state);
		f = *state;
	}
}

static void the_peer_closes_at_each_byte(void **state)
{
	uint8_t bytes[48];
	size_t length = put_message(bytes, 1, 20);

	length += put_message(bytes + length, 2, 28);
	for (size_t split = 0; split <= length; split++) {
		struct fixture *f = *state;

		send_bytes(f, bytes, split, NULL, 0);
		if (split % 2)
			turns(f, 1);
		close(f->peer);
		f->peer = -1;
		turns(f, 4);
		assert_int_equal(f->count, (split >= 20) + (split >= 48));
		assert_int_equal(f->closed, 1);
		assert_int_equal(f->reason, 0);
		tear_down(state);
		set_up(state);
	}
}

static void a_half_close_ends_it_after_the_replies(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[64];

	f->on_message = ECHO;
	send_message(f, 1, 32, NULL, 0);
	shutdown(f->peer, SHUT_WR);
	turns(f, 3);
	assert_int_equal(f->closed, 1);
	assert_int_equal(read(f->peer, bytes, sizeof(bytes)), 32);
	assert_int_equal(read(f->peer, bytes, sizeof(bytes)), 0);
}

static void replies_of_a_turn_leave_together(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[256];

	f->on_message = ECHO;
	for (uint16_t i = 0; i < 5; i++)
		send_message(f, i, 20, NULL, 0);
	turns(f, 1);
	assert_int_equal(read(f->peer, bytes, sizeof(bytes)), 100);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(bytes[20 * i], i);
}

static void a_reply_from_elsewhere_leaves_with_the_turn(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[64];
	uint8_t *reply = transport_reserve(f->transport, 40);

	put_message(reply, 3, 24);
	transport_commit(f->transport, 24, NULL, 0); /* less than was reserved */
	turns(f, 1);
	assert_int_equal(read(f->peer, bytes, sizeof(bytes)), 24);
}

struct between {
	struct ob_task task;
	int peer, unread;
};

static void look_between(struct ob_task *task)
{
	struct between *between = container_of(task, struct between, task);

	assert_int_equal(ioctl(between->peer, FIONREAD, &between->unread), 0);
}

/* Whichever of the two is done with its turn first. */
static void what_another_has_to_send_leaves_before(void **state)
{
	static const struct transport_limits limits = {MAX_MESSAGE, MAX_UNSENT};
	struct fixture *f = *state;
	struct between between = {.task.run = look_between};
	struct transport *other;
	uint8_t bytes[64];
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	other = transport_new(f->loop, pair[1], &limits, &ops, f);
	assert_non_null(other);
	between.peer = pair[0];
	for (unsigned after = 0; after < 2; after++) {
		transport_send_after(f->transport, after ? other : NULL);
		put_message(transport_reserve(f->transport, 24), 1, 24);
		transport_commit(f->transport, 24, NULL, 0);
		ob_task_schedule(f->loop, &between.task);
		put_message(transport_reserve(other, 32), 2, 32);
		transport_commit(other, 32, NULL, 0);
		turns(f, 1);
		assert_int_equal(between.unread, after ? 32 : 0);
		assert_int_equal(read(pair[0], bytes, sizeof(bytes)), 32);
		assert_int_equal(read(f->peer, bytes, sizeof(bytes)), 24);
	}
	transport_send_after(f->transport, NULL);
	transport_free(other);
	close(pair[0]);
}

static unsigned receive_fds(struct fixture *f, size_t *length, ino_t *inode)
{
	char control[CMSG_SPACE(sizeof(int) * 64)];
	uint8_t bytes[4096];
	struct iovec iov = {bytes, sizeof(bytes)};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = control,
	                         .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(f->peer, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
	unsigned count = cmsg ? (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
	struct stat st;
	int fd;

	assert_true(n >= 0);
	*length = (size_t)n;
	for (unsigned i = 0; i < count; i++) {
		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
		fstat(fd, &st);
		*inode = st.st_ino;
		close(fd);
	}
	return count;
}

static void replies_carry_fds(void **state)
{
	struct fixture *f = *state;
	ino_t inode, seen = 0;
	int file = make_file(&inode), two[2] = {file, file};
	size_t length;

	f->on_message = ECHO;
	send_message(f, 1, 20, NULL, 0);
	send_message(f, 2, 24, two, 2);
	send_message(f, 3, 28, &file, 1);
	send_message(f, 4, 32, NULL, 0);
	turns(f, 8);
	assert_int_equal(f->count, 4);
	/* The kernel itself may join the part without descriptors with the one behind it. */
	assert_int_equal(receive_fds(f, &length, &seen), 2);
	assert_int_equal(length, 44);
	assert_int_equal(seen, inode);
	assert_int_equal(receive_fds(f, &length, &seen), 1);
	assert_int_equal(length, 28);
	assert_int_equal(receive_fds(f, &length, &seen), 0);
	assert_int_equal(length, 32);
	close(file);
}

/* A client that writes and does not read: we stop taking its messages, and go on when it reads. */
static void unread_replies_hold_back(void **state)
{
	struct fixture *f = *state;
	uint8_t *bytes = malloc(1 << 20), message[1024];
	unsigned sent = 0, before;
	size_t received = 0;
	ssize_t n;

	f->on_message = ECHO;
	put_message(message, 1, sizeof(message));
	for (unsigned idle = 0; idle < 10;) {
		n = send(f->peer, message, sizeof(message), MSG_NOSIGNAL);
		turns(f, 1);
		if (n < 0) {
			idle++;
			continue;
		}
		assert_int_equal(n, sizeof(message)); /* smaller than what the kernel divides */
		sent++;
	}
	before = f->count;
	turns(f, 10);
	assert_int_equal(f->count, before);
	assert_true(before < sent);
	while (received < (size_t)sent * sizeof(message)) {
		n = read(f->peer, bytes, 1 << 20);
		received += n > 0 ? (size_t)n : 0;
		turns(f, 1);
	}
	assert_int_equal(f->count, sent);
	assert_int_equal(f->closed, 0);
	free(bytes);
}

static void a_peer_that_goes_while_held_back_is_noticed(void **state)
{
	struct fixture *f = *state;
	uint8_t message[1024];

	f->on_message = ECHO;
	put_message(message, 1, sizeof(message));
	for (unsigned i = 0; i < 10000 && send(f->peer, message, 1024, MSG_NOSIGNAL) > 0; i++)
		turns(f, 1);
	close(f->peer);
	f->peer = -1;
	turns(f, 4);
	assert_int_equal(f->closed, 1);
}

static void pause_stops_within_a_batch(void **state)
{
	struct fixture *f = *state;

	f->on_message = PAUSE;
	for (uint16_t i = 0; i < 3; i++)
		send_message(f, i, 16, NULL, 0);
	for (unsigned i = 1; i <= 3; i++) {
		turns(f, 5);
		assert_int_equal(f->count, i);
		send_message(f, 9, 16, NULL, 0);
		transport_pause(f->transport, false);
		assert_int_equal(f->count, i);
	}
	f->on_message = IGNORE;
	turns(f, 5);
	assert_int_equal(f->count, 6);
	transport_pause(f->transport, true);
	send_message(f, 9, 16, NULL, 0);
	turns(f, 5);
	assert_int_equal(f->count, 6);
}

static void a_peer_that_goes_while_paused_is_noticed(void **state)
{
	struct fixture *f = *state;

	transport_pause(f->transport, true);
	send_message(f, 1, 16, NULL, 0);
	turns(f, 2);
	close(f->peer);
	f->peer = -1;
	turns(f, 2);
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->reason, 0);
	assert_int_equal(f->count, 0);
}

/* Events that stay true are not reported once the owner knows, however long it takes to free. */
static void a_closed_transport_is_quiet(void **state)
{
	struct fixture *f = *state;

	f->free_on_close = false;
	close(f->peer);
	f->peer = -1;
	turns(f, 5);
	assert_int_equal(f->closed, 1);
	assert_null(transport_reserve(f->transport, 16));
	transport_pause(f->transport, true);
	transport_close(f->transport, -EIO);
	turns(f, 5);
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->reason, 0);
}

static void close_from_a_message(void **state)
{
	struct fixture *f = *state;

	f->on_message = CLOSE;
	send_message(f, 1, 16, NULL, 0);
	send_message(f, 2, 16, NULL, 0);
	turns(f, 3);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->reason, -ESTALE);
}

static void free_from_a_message(void **state)
{
	struct fixture *f = *state;
	ino_t inode;
	int file = make_file(&inode);

	f->on_message = FREE;
	send_message(f, 1, 16, &file, 1);
	send_message(f, 2, 16, &file, 1);
	turns(f, 3);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->closed, 0);
	assert_null(f->transport);
	close(file);
}

static void free_sends_what_is_left(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[64];

	put_message(transport_reserve(f->transport, 16), 1, 16);
	transport_commit(f->transport, 16, NULL, 0);
	transport_free(f->transport);
	f->transport = NULL;
	assert_int_equal(read(f->peer, bytes, sizeof(bytes)), 16);
}

static bool is_looking(const struct fixture *f)
{
	return f->transport->poller.next;
}

/* A message that the loop may sleep until; or one for which it has looked in vain first. */
static void one_more(struct fixture *f, bool late)
{
	unsigned before = f->count;

	while (late && is_looking(f))
		turns(f, 1);
	send_message(f, (uint16_t)before, 20, NULL, 0);
	while (f->count == before)
		assert_int_equal(loop_turn(f->loop, 60000), 0);
}

/* Whoever takes their time is looked for less and less; and that may change. */
static void quick_peers_are_awaited(void **state)
{
	struct fixture *f = *state;
	unsigned looked = 0;

	f->on_message = ECHO;
	for (unsigned i = 0; i < 64; i++) {
		one_more(f, true);
		looked += is_looking(f);
	}
	assert_in_range(looked, 1, 7);
	for (unsigned i = 0; i < 1000 && !is_looking(f); i++)
		one_more(f, false);
	one_more(f, false);
	assert_true(is_looking(f));
	one_more(f, false);
	assert_true(is_looking(f));
}

static void looks_until_it_must_not(void **state)
{
	struct fixture *f = *state;

	assert_false(is_looking(f));
	send_message(f, 1, 20, NULL, 0);
	turns(f, 1);
	assert_true(is_looking(f));
	/* What comes is taken without epoll: it is not even asked. */
	send_message(f, 2, 20, NULL, 0);
	turns(f, 1);
	assert_int_equal(f->count, 2);
	transport_pause(f->transport, true);
	turns(f, 1);
	assert_false(is_looking(f));
	send_message(f, 3, 20, NULL, 0);
	turns(f, 2);
	assert_int_equal(f->count, 2);
	transport_pause(f->transport, false);
	turns(f, 2);
	assert_int_equal(f->count, 3);
	assert_true(is_looking(f));
	close(f->peer);
	f->peer = -1;
	turns(f, 2);
	assert_int_equal(f->closed, 1);
}

/* Otherwise it is passed by, and the kernel closes on the loop what came with it. */
static void urgent_bytes_are_like_others(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[64];

	put_message(bytes, 1, 20);
	if (send(f->peer, bytes, 1, MSG_OOB) < 0)
		skip(); /* this kernel has none here */
	assert_int_equal(send(f->peer, bytes + 1, 19, 0), 19);
	turns(f, 3);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->got[0].sum, sum_of(bytes, 20));
}

int main(void)
{
#define test(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, set_up, tear_down),                                  \
		cmocka_unit_test_setup_teardown(name, set_up_polling, tear_down)
	const struct CMUnitTest tests[] = {
		test(every_split_point),
		test(byte_by_byte),
		test(large_messages_grow_the_buffer_for_a_while),
		test(many_in_one),
		test(slow_messages_take_turns),
		test(fds_come_with_their_message),
		test(urgent_bytes_are_like_others),
		test(fds_of_a_message_in_pieces),
		test(too_many_fds_end_it),
		test(too_many_fds_in_pieces_end_it),
		test(fds_of_a_partial_message_are_closed),
		test(bad_sizes_are_seen_early),
		test(the_peer_closes_at_each_byte),
		test(a_half_close_ends_it_after_the_replies),
		test(replies_of_a_turn_leave_together),
		test(a_reply_from_elsewhere_leaves_with_the_turn),
		test(what_another_has_to_send_leaves_before),
		test(replies_carry_fds),
		test(unread_replies_hold_back),
		test(a_peer_that_goes_while_held_back_is_noticed),
		test(pause_stops_within_a_batch),
		test(a_peer_that_goes_while_paused_is_noticed),
		test(a_closed_transport_is_quiet),
		test(close_from_a_message),
		test(free_from_a_message),
		test(free_sends_what_is_left),
		cmocka_unit_test_setup_teardown(quick_peers_are_awaited, set_up_adaptive,
	                                        tear_down),
		cmocka_unit_test_setup_teardown(looks_until_it_must_not, set_up_polling, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
