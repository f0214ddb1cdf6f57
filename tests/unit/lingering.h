/* SPDX-License-Identifier: BSD-3-Clause */
/* A descriptor whose last close sleeps for as long as its maker likes. */
#ifndef TESTS_LINGERING_H
#define TESTS_LINGERING_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* A TCP socket whose last close sleeps until *other is closed. */
static inline int lingering(int *other)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	const struct linger linger = {.l_onoff = 1, .l_linger = 3600};
	int listening = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(address);
	static const char bytes[1 << 16];

	assert_int_equal(bind(listening, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listening, 1), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
	*other = accept(listening, NULL, NULL);
	assert_true(*other >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	close(listening);
	return fd;
}

#endif
