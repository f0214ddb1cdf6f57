/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor of any message: two processes and a stream socket pair, requests and replies as long as
 * those of a register read. Nobody looks at what is in them.
 *
 *	--mode=blocking   the server sleeps in epoll_wait, the client in recvmsg
 *	--mode=poll       the same, but the client sleeps in poll and then receives: a system call
 *more, for a client that has a timeout or a second socket
 *	--mode=half       the client looks again and again, the server sleeps
 *	--mode=polled     both look again and again
 *
 * With --depth, so many requests are sent, each by itself, before the replies are waited for; the
 * server takes what has arrived at once and answers it at once.
 */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum { REQUEST = 32, REPLY = 36, MAX_DEPTH = 128 };

static ssize_t receive(int fd, void *bytes, size_t size, int flags)
{
	struct iovec iov = {bytes, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	return recvmsg(fd, &message, flags);
}

static void send_all(int fd, void *bytes, size_t size)
{
	struct iovec iov = {bytes, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)size)
		_exit(0);
}

_Noreturn static void serve(int fd, bool sleeps)
{
	static uint8_t requests[REQUEST * MAX_DEPTH], replies[REPLY * MAX_DEPTH];
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = (int)check("epoll_create1", epoll_create1(0));
	size_t have = 0;

	check("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	for (;;) {
		ssize_t n;

		if (sleeps)
			epoll_wait(epoll, &event, 1, -1);
		n = receive(fd, requests + have, sizeof(requests) - have, MSG_DONTWAIT);
		if (!n || (n < 0 && errno != EAGAIN))
			_exit(0);
		if (n < 0)
			continue;
		have += (size_t)n;
		if (have >= REQUEST)
			send_all(fd, replies, have / REQUEST * REPLY);
		have %= REQUEST;
	}
}

struct client {
	int fd;
	bool looks, polls;
	uint64_t depth;
};

static void round_trip(const struct client *client)
{
	static uint8_t request[REQUEST], replies[REPLY * MAX_DEPTH];
	struct pollfd watch = {.fd = client->fd, .events = POLLIN};
	size_t have = 0;

	for (uint64_t i = 0; i < client->depth; i++)
		send_all(client->fd, request, sizeof(request));
	while (have < client->depth * REPLY) {
		ssize_t n;

		if (client->polls)
			poll(&watch, 1, 5000);
		n = receive(client->fd, replies, sizeof(replies),
		            client->looks || client->polls ? MSG_DONTWAIT : 0);
		if (!n || (n < 0 && errno != EAGAIN))
			fail("recvmsg", errno);
		have += n > 0 ? (size_t)n : 0;
	}
}

int main(int argc, char **argv)
{
	uint64_t count = 100000, server_cpu = SERVER_CPU, client_cpu = CLIENT_CPU, began;
	const char *mode = "blocking";
	struct client client = {.depth = 1};
	const struct option_spec options[] = {{"count", &count, NULL},
	                                      {"depth", &client.depth, NULL},
	                                      {"mode", NULL, &mode},
	                                      {"server-cpu", &server_cpu, NULL},
	                                      {"client-cpu", &client_cpu, NULL},
	                                      {0}};
	int fds[2];
	pid_t child;

	take_options(options, argc, argv);
	if (!client.depth || client.depth > MAX_DEPTH)
		fail("depth", EINVAL);
	client.looks = !strcmp(mode, "half") || !strcmp(mode, "polled");
	client.polls = !strcmp(mode, "poll");
	check("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	child = (pid_t)check("fork", fork());
	if (!child) {
		pin(server_cpu);
		close(fds[1]);
		serve(fds[0], strcmp(mode, "polled") != 0);
	}
	pin(client_cpu);
	close(fds[0]);
	client.fd = fds[1];
	for (uint64_t i = 0; i < count / 10; i++)
		round_trip(&client);
	began = now();
	for (uint64_t i = 0; i < count; i++)
		round_trip(&client);
	printf("{\"round_trip_ns\": %.2f}\n", each(began, now(), count * client.depth));
	close(fds[1]);
	waitpid(child, NULL, 0);
	return 0;
}
