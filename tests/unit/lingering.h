/* SPDX-License-Identifier: BSD-3-Clause */
/* A descriptor whose last close sleeps for as long as its maker likes. */
#ifndef TESTS_LINGERING_H
#define TESTS_LINGERING_H

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
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

/* Sends text with a descriptor, which is the receiver's alone then. */
static inline void send_with(int to, const char *text, int fd, int flags)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
	                        .cmsg_level = SOL_SOCKET,
	                        .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         .msg_controllen = sizeof(control)};
	ssize_t n;

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	n = sendmsg(to, &message, flags);
	if (n < 0 && errno == EOPNOTSUPP)
		skip(); /* this kernel has no urgent bytes here */
	close(fd);
	assert_int_equal(n, iov.iov_len);
}

#endif
