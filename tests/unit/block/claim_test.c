/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file or device that somebody else has: who that is, and waiting for one who is about to go.
 *
 * What a killed process still holds is an open file that no descriptor of anybody names. One that
 * lies in a socket, sent and not received, is the same.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "block/file.h"
#include "kit.h"
#include "loop_device.h"

enum { SIZE = 4 << 20 };

static void send_fd(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(fd))] = {0};
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = control,
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	assert_int_equal(sendmsg(socket, &message, 0), 1);
}

/* Moves fd into a pair of sockets: when both are closed, what it held is free. */
static void hide(int fd, int sockets[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	send_fd(sockets[0], fd);
	close(fd);
}

/* Ends the claim when the log says that it is waited for. */
struct waiting {
	int log, sockets[2];
	bool said;
	pthread_t thread;
};

static void *end_claim(void *argument)
{
	struct waiting *waiting = argument;
	char text[1024] = "";
	size_t used = 0;
	ssize_t n;

	while (!strchr(text, '\n') && used < sizeof(text) - 1 &&
	       (n = read(waiting->log, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	waiting->said = strstr(text, "waiting for up to");
	close(waiting->sockets[0]);
	close(waiting->sockets[1]);
	return NULL;
}

/* Opens what text says while fd, which nobody is to see, has it. */
static void wait_for_end(const char *text, int fd)
{
	struct ob_loop *loop = new_loop();
	struct waiting waiting = {0};
	struct ob_error err;
	struct ob_block *block;
	int log[2];

	hide(fd, waiting.sockets);
	assert_int_equal(pipe2(log, O_CLOEXEC), 0);
	waiting.log = log[0];
	assert_int_equal(pthread_create(&waiting.thread, NULL, end_claim, &waiting), 0);
	block = open_logged(loop, &(struct log){.fd = log[1], .level = LOG_INFO}, text, &err);
	if (!block)
		fail_msg("%s", err.message);
	assert_int_equal(do_range(block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	block_close(block);
	close(log[1]);
	assert_int_equal(pthread_join(waiting.thread, NULL), 0);
	assert_true(waiting.said);
	close(log[0]);
	loop_free(loop);
}

static void lock_all(int fd, short type)
{
	struct flock lock = {.l_type = type};

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
}

/* fd's file, opened again: a lock of its own. */
static int open_again(int fd, int flags)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	assert_true(again >= 0);
	return again;
}

static void a_lock_that_ends(void **state)
{
	static const char *const options[] = {"", ",read-only=on"};
	int fd = new_file(SIZE);
	char text[256];

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		int holder = open_again(fd, O_RDWR);

		lock_all(holder, F_WRLCK);
		snprintf(text, sizeof(text), "file,node-name=b0,filename=/proc/self/fd/%d%s", fd,
		         options[i]);
		wait_for_end(text, holder);
	}
	close(fd);
}

static void a_device_that_is_free_soon(void **state)
{
	int file = new_file(SIZE);
	char name[32], text[256];
	int device = new_device(file, 512, false, name, sizeof(name));
	int holder;

	if (device < 0) {
		close(file);
		skip();
	}
	holder = open(name, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(holder >= 0);
	snprintf(text, sizeof(text), "file,node-name=b0,filename=%s", name);
	wait_for_end(text, holder);
	close(device);
	close(file);
}

static void is_activated(struct block_handover *activation)
{
	activation->block = NULL;
}

static void wait_activation(struct ob_loop *loop, struct block_handover *activation)
{
	while (activation->block)
		assert_int_equal(loop_turn(loop, -1), 0);
}

/* In a process whose loop runs, a helper thread waits. */
static void taken_back_later(void **state)
{
	struct block_handover activation = {.done = is_activated};
	struct ob_loop *loop = new_loop();
	int fd = new_file(SIZE), holder = open_again(fd, O_RDWR), sockets[2];
	struct ob_error err = {""};
	struct ob_block *block;

	block = open_block(loop, "file,node-name=b0,filename=/proc/self/fd/%d,active=off", fd);
	lock_all(holder, F_WRLCK);
	hide(holder, sockets);
	assert_int_equal(block_activate(block, &err), -EBUSY);
	assert_int_equal(block_start_activate(block, &activation), -EINPROGRESS);
	block_handover_stop(&activation);
	assert_int_equal(block->in_flight, 1);
	wait_activation(loop, &activation);
	assert_int_equal(activation.status, -EBUSY);
	assert_false(block_is_active(block));
	assert_int_equal(block->in_flight, 0);

	assert_int_equal(block_start_activate(block, &activation), -EINPROGRESS);
	assert_int_equal(loop_turn(loop, 0), 0);
	close(sockets[0]);
	close(sockets[1]);
	wait_activation(loop, &activation);
	assert_int_equal(activation.status, 0);
	assert_true(block_is_active(block));
	assert_int_equal(do_range(block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	block_close(block);
	close(fd);
	loop_free(loop);
}

/* Not for ever, and not against somebody's will: then nothing is kept. */
static void given_up(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(SIZE), holder = open_again(fd, O_RDWR), sockets[2];
	static const atomic_bool stop = true;
	struct ob_error err = {""};
	struct ob_block *block;
	struct file_node *node;

	block = open_block(loop, "file,node-name=b0,filename=/proc/self/fd/%d,active=off", fd);
	node = container_of(block, struct file_node, block);
	lock_all(holder, F_WRLCK);
	hide(holder, sockets);
	assert_int_equal(file_claim(node, &stop, &err), -EBUSY);
	assert_non_null(strstr(err.message, "is in use by another reader or writer (locked)"));
	assert_int_equal(block_activate(block, &err), -EBUSY);
	close(sockets[0]);
	close(sockets[1]);
	holder = open_again(fd, O_RDWR);
	lock_all(holder, F_WRLCK);
	close(holder);
	assert_int_equal(block_activate(block, &err), 0);
	block_close(block);
	close(fd);
	loop_free(loop);
}

static void who_has_it(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(SIZE), holder = open_again(fd, O_RDWR), ready[2];
	char text[64], byte;
	pid_t child;

	lock_all(holder, F_WRLCK);
	refuse_block(loop, "locking=off takes the risk. Held by this process",
	             "file,node-name=b0,filename=/proc/self/fd/%d", fd);
	lock_all(holder, F_UNLCK);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	child = fork();
	if (!child) {
		int theirs = open_again(fd, O_RDWR);
		struct flock lock = {.l_type = F_WRLCK};
		bool locked = !fcntl(theirs, F_OFD_SETLK, &lock);

		_exit(write(ready[1], &locked, 1) != 1 || pause());
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 1);
	snprintf(text, sizeof(text), "Held by process %d (block-claim-tes)", (int)child);
	refuse_block(loop, text, "file,node-name=b0,filename=/proc/self/fd/%d", fd);
	refuse_block(loop, text, "file,node-name=b0,filename=/proc/self/fd/%d,read-only=on", fd);
	/* Dead or dying, it is waited for. */
	assert_int_equal(kill(child, SIGKILL), 0);
	block_close(open_block(loop, "file,node-name=b0,filename=/proc/self/fd/%d", fd));
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(ready[0]);
	close(ready[1]);
	close(holder);
	close(fd);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lock_that_ends), cmocka_unit_test(a_device_that_is_free_soon),
		cmocka_unit_test(taken_back_later), cmocka_unit_test(given_up),
		cmocka_unit_test(who_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
