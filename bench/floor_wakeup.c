/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor of a device that was idle: a process sleeps in epoll_wait on one processor, another one
 * wakes it from a second processor, through an eventfd or a socket, and looks at memory that both
 * have until the sleeper has written there. In between, both rest for --idle-ms.
 */
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

_Noreturn static void sleeper(int fd, uint64_t *flag)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = (int)check("epoll_create1", epoll_create1(0));
	uint8_t bytes[64];

	check("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	for (;;) {
		if (epoll_wait(epoll, &event, 1, -1) != 1)
			continue;
		if (read(fd, bytes, sizeof(bytes)) <= 0)
			_exit(0);
		__atomic_fetch_add(flag, 1, __ATOMIC_RELEASE);
	}
}

static uint64_t wake(int fd, const uint64_t *flag, uint64_t number, size_t size)
{
	const uint64_t message[4] = {1};
	uint64_t began = now();

	if (write(fd, message, size) != (ssize_t)size)
		fail("write", errno);
	while (__atomic_load_n(flag, __ATOMIC_ACQUIRE) != number)
		;
	return now() - began;
}

int main(int argc, char **argv)
{
	uint64_t count = 5, idle_ms = 1000, server_cpu = SERVER_CPU, client_cpu = CLIENT_CPU;
	const char *via = "eventfd";
	const struct option_spec options[] = {{"count", &count, NULL},
	                                      {"idle-ms", &idle_ms, NULL},
	                                      {"via", NULL, &via},
	                                      {"server-cpu", &server_cpu, NULL},
	                                      {"client-cpu", &client_cpu, NULL},
	                                      {0}};
	bool socket;
	int fds[2];
	uint64_t *flag, total = 0;
	pid_t child;

	take_options(options, argc, argv);
	socket = !strcmp(via, "socket");
	flag = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (flag == MAP_FAILED)
		fail("mmap", errno);
	if (socket)
		check("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	else
		fds[0] = fds[1] = (int)check("eventfd", eventfd(0, 0));
	child = (pid_t)check("fork", fork());
	if (!child) {
		pin(server_cpu);
		if (socket)
			close(fds[1]);
		sleeper(fds[0], flag);
	}
	pin(client_cpu);
	wake(fds[1], flag, 1, socket ? 32 : 8);
	fputs("{\"wake_up_ns\": [", stdout);
	for (uint64_t i = 0; i < count; i++) {
		struct timespec rest = {(time_t)(idle_ms / 1000), (long)(idle_ms % 1000 * 1000000)};
		uint64_t taken;

		if (idle_ms)
			nanosleep(&rest, NULL);
		taken = wake(fds[1], flag, i + 2, socket ? 32 : 8);
		total += taken;
		if (i < 100)
			printf("%s%" PRIu64, i ? ", " : "", taken);
	}
	printf("], \"mean_ns\": %.1f}\n", (double)total / (double)count);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
