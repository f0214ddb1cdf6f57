/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listening UNIX sockets; see listener.h.
 *
 * A socket is made under a name next to its own, gets its permissions, listens, and is then
 * renamed: whoever sees the file can connect to it, if they may.
 *
 * Whether a socket file is stale is asked with a socket of another type: connect() says
 * ECONNREFUSED where no process holds the file's socket, and EPROTOTYPE where one does, even before
 * it listens. So nobody's server sees a client that only wanted to know.
 *
 * A stale file is moved aside before it is removed, and looked at again there: of two processes
 * that replace the same file at once, the slower one finds the faster one's living socket, puts it
 * back and refuses.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "loop/closer.h"

enum { BACKLOG = 128, REPLACE_TRIES = 8 };

struct listener {
	int fd;
	char *path; /* NULL: none is known */
	bool made;  /* the file is ours: these are its numbers */
	dev_t dev;
	ino_t ino;
};

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == LISTENER_PATH_MAX + 1,
               "the longest path of a socket");

/* path is no longer than LISTENER_PATH_MAX. */
static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, strlen(path) + 1);
	return address;
}

/* -ECONNREFUSED: stale. -EADDRINUSE: held by a process. -ENOTSOCK, -ENOENT, -EACCES... */
static int probe(const char *path)
{
	struct sockaddr_un address = address_of(path);
	cleanup_fd int fd = -1;
	struct stat st;

	if (lstat(path, &st))
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)) || errno == EPROTOTYPE)
		return -EADDRINUSE;
	return -errno;
}

static int refuse(const char *path, int code, struct ob_error *err)
{
	switch (code) {
	case -EADDRINUSE:
		return ob_error_set(err, code, "socket %s is in use by another process", path);
	case -ENOTSOCK:
		return ob_error_set(
			err, code,
			"%s exists and is not a socket: choose another path, or remove it", path);
	case -ENOENT:
	case -ENOTDIR:
		return ob_error_set(err, code,
		                    "cannot create socket %s: its directory does not exist", path);
	default:
		return ob_error_set(err, code, "cannot create socket %s: %s", path,
		                    strerror(-code));
	}
}

/* Removes a stale socket at path. 0: the path is free now, or somebody was faster; try to bind. */
static int remove_stale(const char *path)
{
	char aside[LISTENER_PATH_MAX + 1];
	int rc = probe(path);

	if (rc == -ENOENT)
		return 0;
	if (rc != -ECONNREFUSED)
		return rc;
	/* Where the longer name does not fit, or the file system can't: without the second look. */
	if (snprintf(aside, sizeof(aside), "%s.%d", path, (int)getpid()) >= (int)sizeof(aside))
		return unlink(path) && errno != ENOENT ? -errno : 0;
	if (renameat2(AT_FDCWD, path, AT_FDCWD, aside, RENAME_NOREPLACE)) {
		rc = errno == EINVAL && !unlink(path) ? 0 : -errno;
		return rc == -ENOENT ? 0 : rc;
	}
	rc = probe(aside);
	if (rc == -ECONNREFUSED)
		return unlink(aside) ? -errno : 0;
	if (renameat2(AT_FDCWD, aside, AT_FDCWD, path, RENAME_NOREPLACE))
		return -errno;
	return rc;
}

static int bind_at(int fd, const char *path)
{
	struct sockaddr_un address = address_of(path);
	/* No thread of ours creates files, so that this is seen by nobody else. */
	mode_t before = umask(0177);
	int rc = bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;

	umask(before);
	return rc;
}

static int rename_to(const char *from, const char *path)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, path, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL)
		return -errno;
	/* The file system has no such flag. */
	if (link(from, path))
		return -errno;
	unlink(from);
	return 0;
}

/* Calls place(), and where a stale socket is in its way, again when that is gone. */
static int place_replacing(const char *path, int (*place)(void *context), void *context)
{
	for (unsigned i = 0; i < REPLACE_TRIES; i++) {
		int rc = place(context);

		if (rc != -EADDRINUSE && rc != -EEXIST)
			return rc;
		rc = remove_stale(path);
		if (rc)
			return rc;
	}
	return -EADDRINUSE;
}

/* Before it has its name nobody can connect, so that the order of these does not matter. */
static int set_owner_and_mode(const struct listener_config *config, const char *at,
                              struct ob_error *err)
{
	if (config->group != (gid_t)-1 &&
	    fchownat(AT_FDCWD, at, (uid_t)-1, config->group, AT_SYMLINK_NOFOLLOW))
		return ob_error_set(err, -errno, "cannot give socket %s to group %u: %s",
		                    config->path, (unsigned)config->group, strerror(errno));
	if (config->mode != 0600 && fchmodat(AT_FDCWD, at, config->mode, AT_SYMLINK_NOFOLLOW))
		return ob_error_set(err, -errno, "cannot set socket %s to mode %04o: %s",
		                    config->path, (unsigned)config->mode, strerror(errno));
	return 0;
}

/* Remembers the path so that it stays right when the process changes its directory. */
static int keep_path(struct listener *listener, const char *path)
{
	cleanup_free char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);

	if (!cwd)
		listener->path = strdup(path);
	else if (asprintf(&listener->path, "%s/%s", strcmp(cwd, "/") ? cwd : "", path) < 0)
		listener->path = NULL;
	return listener->path ? 0 : -ENOMEM;
}

/* Remembers the file, to remove that one and no other. */
static int keep_file(struct listener *listener, const char *path, const char *at)
{
	struct stat st;

	if (keep_path(listener, path) || lstat(at, &st))
		return -ENOMEM;
	listener->made = true;
	listener->dev = st.st_dev;
	listener->ino = st.st_ino;
	return 0;
}

/* A socket on its way to its path. */
struct placing {
	int fd;
	const char *path,
		*at; /* at: the name that it has until then; path itself if that is too long */
};

static int bind_it(void *context)
{
	const struct placing *placing = context;

	return bind_at(placing->fd, placing->at);
}

static int rename_it(void *context)
{
	const struct placing *placing = context;

	return rename_to(placing->at, placing->path);
}

/* Bound under another name, and renamed when it listens: who finds the file can connect. */
static int make_socket(struct listener *listener, const struct listener_config *config,
                       struct placing *placing, struct ob_error *err)
{
	int rc = place_replacing(placing->at, bind_it, placing);

	if (rc)
		return refuse(config->path, rc, err);
	rc = keep_file(listener, config->path, placing->at);
	if (rc)
		return refuse(config->path, rc, err);
	rc = set_owner_and_mode(config, placing->at, err);
	if (rc)
		return rc;
	if (listen(listener->fd, BACKLOG))
		return refuse(config->path, -errno, err);
	if (placing->at != placing->path)
		rc = place_replacing(placing->path, rename_it, placing);
	return rc ? refuse(config->path, rc, err) : 0;
}

/* What other programs take in place of a path, and nobody means as the name of a file. */
int listener_check_form(const char *path, struct ob_error *err)
{
	static const char *const networks[] = {"tcp:", "tcp4:", "tcp6:", "udp:", "vsock:"};
	size_t length = strlen(path);

	if (!length)
		return ob_error_set(err, -EINVAL, "the path of the socket is empty");
	if (length > LISTENER_PATH_MAX)
		return ob_error_set(err, -ENAMETOOLONG,
		                    "socket path %.40s... has %zu characters: at most %d fit", path,
		                    length, LISTENER_PATH_MAX);
	for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++) {
		if (!strncmp(path, networks[i], strlen(networks[i])))
			return ob_error_set(err, -EINVAL,
			                    "socket %s: only UNIX sockets pass descriptors, so a "
			                    "path is expected (./%s for a file of that name)",
			                    path, path);
	}
	if (!strncmp(path, "unix:", 5))
		return ob_error_set(err, -EINVAL, "socket %s: the path alone expected: %s", path,
		                    path + 5);
	return 0;
}

int listener_check(const char *path, struct ob_error *err)
{
	cleanup_free char *folder = strdup(path);
	char *slash = folder ? strrchr(folder, '/') : NULL;
	int rc = folder ? listener_check_form(path, err)
	                : ob_error_set(err, -ENOMEM, "out of memory");

	if (rc)
		return rc;
	rc = probe(path);
	if (rc && rc != -ENOENT && rc != -ECONNREFUSED)
		return refuse(path, rc, err);
	if (slash)
		slash[slash == folder] = '\0';
	if (access(slash ? folder : ".", W_OK | X_OK))
		return refuse(path, -errno, err);
	return 0;
}

static int open_path(struct listener *listener, const struct listener_config *config,
                     struct ob_error *err)
{
	struct placing placing = {.path = config->path};
	char at[LISTENER_PATH_MAX + 1];
	int rc = listener_check_form(config->path, err);

	if (rc)
		return rc;
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0)
		return ob_error_set(err, -errno, "cannot create a socket: %s", strerror(errno));
	rc = snprintf(at, sizeof(at), "%s.%d~", config->path, (int)getpid());
	placing.fd = listener->fd;
	placing.at = rc < (int)sizeof(at) ? at : config->path;
	rc = make_socket(listener, config, &placing, err);
	/* If it has its name already, listener_free() removes it. */
	if (rc && listener->made && placing.at == at)
		unlink(at);
	return rc;
}

static int socket_option(int fd, int option)
{
	socklen_t length = sizeof(int);
	int value = 0;

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) ? -errno : value;
}

/* Nothing of the descriptor is changed before it is known to be right. */
static int open_inherited(struct listener *listener, int fd, struct ob_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(address);
	int domain = socket_option(fd, SO_DOMAIN);

	if (domain == -EBADF)
		return ob_error_set(err, domain, "descriptor %d is not open", fd);
	if (domain != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM)
		return ob_error_set(err, -ENOTSOCK, "descriptor %d is not a UNIX stream socket",
		                    fd);
	if (socket_option(fd, SO_ACCEPTCONN) != 1)
		return ob_error_set(
			err, -EINVAL,
			"descriptor %d is a socket that does not listen: call listen() on it "
			"first",
			fd);
	if (!fd_is_inherited(fd))
		return ob_error_set(err, -EBUSY, "descriptor %d is in use in this process", fd);
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
		return ob_error_set(err, -errno, "descriptor %d: %s", fd, strerror(errno));
	if (!getsockname(fd, (struct sockaddr *)&address, &length) &&
	    length > offsetof(struct sockaddr_un, sun_path) && address.sun_path[0])
		listener->path =
			strndup(address.sun_path, length - offsetof(struct sockaddr_un, sun_path));
	listener->fd = fd;
	return 0;
}

struct listener *listener_new(const struct listener_config *config, struct ob_error *err)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	int rc;

	if (!listener) {
		ob_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	listener->fd = -1;
	rc = config->path ? open_path(listener, config, err)
	                  : open_inherited(listener, config->fd, err);
	if (rc) {
		listener_free(listener, NULL);
		return NULL;
	}
	return listener;
}

/* Whether the file at the path is still the one that was made here. */
static bool is_ours(const struct listener *listener)
{
	struct stat st;

	return listener->made && listener->path && !lstat(listener->path, &st) &&
	       st.st_dev == listener->dev && st.st_ino == listener->ino;
}

void listener_free(struct listener *listener, struct ob_loop *loop)
{
	if (!listener)
		return;
	/* Removed before it is closed: whoever finds it meanwhile still finds it in use. */
	if (is_ours(listener))
		unlink(listener->path);
	/* Clients wait there that nobody looked at: what they have sent goes with it. */
	if (loop && listener->fd >= 0)
		loop_close_elsewhere(loop, listener->fd);
	else
		fd_close(&listener->fd);
	free(listener->path);
	free(listener);
}

int listener_fd(const struct listener *listener)
{
	return listener->fd;
}

const char *listener_path(const struct listener *listener)
{
	return listener->path ? listener->path : "";
}

int listener_accept(struct listener *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}
