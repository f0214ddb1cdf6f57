/* SPDX-License-Identifier: BSD-3-Clause */
/* Connecting to a socket by its path. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "client/internal.h"

int ob_client_connect(const char *path, const struct ob_client_config *config,
                      struct ob_client **out, struct ob_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return ob_error_set(err, -ENAMETOOLONG, "%s: a socket's path has at most %zu bytes",
		                    path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return ob_error_set(err, -errno, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int error = errno;

		if (error == ECONNREFUSED)
			return ob_error_set(err, -error, "%s: nobody listens at this socket", path);
		return ob_error_set(err, -error, "%s: %s", path, strerror(error));
	}
	return ob_client_new(take_fd(&fd), config, out, err);
}
