/* SPDX-License-Identifier: BSD-3-Clause */
/* Places where processes meet, as QEMU's monitor writes them: unix:PATH, tcp:HOST:PORT, fd:N. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/opts.h"
#include "internal.h"

enum { BACKLOG = 1, LOST_AFTER_MS = 10000 };

/* What follows the prefix, or NULL. */
static const char *behind(const char *uri, const char *prefix)
{
	size_t length = strlen(prefix);

	return !strncmp(uri, prefix, length) ? uri + length : NULL;
}

static int bad_uri(const char *uri, struct ob_error *err)
{
	return ob_error_set(err, -EINVAL, "'%s': unix:PATH, tcp:HOST:PORT or fd:N expected", uri);
}

static int system_error(const char *uri, int error, struct ob_error *err)
{
	return ob_error_set(err, -error, "%s: %s", uri, strerror(error));
}

static int parse_fd(const char *uri, const char *text, struct ob_error *err)
{
	uint64_t number;
	struct stat st;
	int fd;

	if (parse_uint("fd", text, 0, INT32_MAX, &number, NULL))
		return bad_uri(uri, err);
	fd = (int)number;
	if (fstat(fd, &st) || !S_ISSOCK(st.st_mode))
		return ob_error_set(err, -EBADF, "%s is not an open socket", uri);
	if (!fd_is_inherited(fd))
		return ob_error_set(err, -EBUSY, "%s is in use in this process", uri);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
		return system_error(uri, errno, err);
	return fd;
}

static int unix_socket(const char *uri, const char *path, struct sockaddr_un *address,
                       struct ob_error *err)
{
	int fd;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof(address->sun_path))
		return ob_error_set(err, -EINVAL, "%s: a path of 1 to %zu characters expected", uri,
		                    sizeof(address->sun_path) - 1);
	strcpy(address->sun_path, path); /* NOLINT: it fits */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd < 0 ? system_error(uri, errno, err) : fd;
}

/* Names would have to be waited for. */
static struct addrinfo *resolve(const char *uri, const char *text, bool passive,
                                struct ob_error *err)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC,
	                               .ai_socktype = SOCK_STREAM,
	                               .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV |
	                                           (passive ? AI_PASSIVE : 0)};
	const char *colon = strrchr(text, ':');
	char host[128];
	size_t length = colon ? (size_t)(colon - text) : sizeof(host);
	const char *name = host;
	struct addrinfo *found = NULL;

	if (length >= sizeof(host) || !colon[1]) {
		bad_uri(uri, err);
		return NULL;
	}
	memcpy(host, text, length);
	host[length] = '\0';
	if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		name++;
	}
	if (!strcmp(name, "localhost"))
		name = "127.0.0.1";
	if (getaddrinfo(*name ? name : NULL, colon + 1, &hints, &found)) {
		ob_error_set(err, -EINVAL,
		             "%s: a numeric address (or localhost) and a port number expected",
		             uri);
		return NULL;
	}
	return found;
}

/* A peer whose host is gone shall be noticed, also while nothing is sent. */
static int tcp_socket(const char *uri, const struct addrinfo *info, struct ob_error *err)
{
	const int one = 1, seconds = 2, tries = 4;
	const unsigned lost = LOST_AFTER_MS;
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return system_error(uri, errno, err);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost, sizeof(lost));
	return fd;
}

static int connect_unix(const char *uri, const char *path, struct ob_error *err)
{
	struct sockaddr_un address;
	cleanup_fd int fd = unix_socket(uri, path, &address, err);

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return system_error(uri, errno, err);
	return take_fd(&fd);
}

static int connect_to(int fd, const struct addrinfo *info)
{
	int rc = connect(fd, info->ai_addr, info->ai_addrlen);

	return rc && errno == EINPROGRESS ? 0 : rc;
}

static int listen_at(int fd, const struct addrinfo *info)
{
	return bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, BACKLOG);
}

static int open_tcp(const char *uri, const char *text, bool listens, struct ob_error *err)
{
	struct addrinfo *info = resolve(uri, text, listens, err);
	cleanup_fd int fd = -1;
	int rc;

	if (!info)
		return -EINVAL;
	rc = fd = tcp_socket(uri, info, err);
	if (fd >= 0 && (listens ? listen_at(fd, info) : connect_to(fd, info)))
		rc = system_error(uri, errno, err);
	freeaddrinfo(info);
	return rc < 0 ? rc : take_fd(&fd);
}

int address_connect(const char *uri, struct ob_error *err)
{
	const char *text;

	if ((text = behind(uri, "unix:")))
		return connect_unix(uri, text, err);
	if ((text = behind(uri, "tcp:")))
		return open_tcp(uri, text, false, err);
	if ((text = behind(uri, "fd:")))
		return parse_fd(uri, text, err);
	return bad_uri(uri, err);
}

static int adopt_fd(const char *uri, const char *text, bool *connected, struct ob_error *err)
{
	int listening = 0, fd = parse_fd(uri, text, err);
	socklen_t length = sizeof(listening);

	if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length))
		return system_error(uri, errno, err);
	*connected = !listening;
	return fd;
}

int address_listen(const char *uri, bool *connected, struct listener **listener,
                   struct ob_error *err)
{
	struct listener_config config = {.fd = -1, .mode = 0600, .group = (gid_t)-1};
	const char *text;

	*connected = false;
	*listener = NULL;
	if ((text = behind(uri, "tcp:")))
		return open_tcp(uri, text, true, err);
	if ((text = behind(uri, "fd:")))
		return adopt_fd(uri, text, connected, err);
	config.path = behind(uri, "unix:");
	if (!config.path)
		return bad_uri(uri, err);
	*listener = listener_new(&config, err);
	return *listener ? listener_fd(*listener) : -EINVAL;
}
