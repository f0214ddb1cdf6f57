/* SPDX-License-Identifier: BSD-3-Clause */
/* -daemonize and -pidfile; see background.h. */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "process.h"

/* In the parent: until the child is ready, or has ended. */
static void wait_for(int told, pid_t child)
{
	int wait_status;
	ssize_t n;
	char byte;

	do {
		n = read(told, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(EXIT_SUCCESS);
	while (waitpid(child, &wait_status, 0) < 0) {
		if (errno != EINTR)
			_exit(EXIT_FAILURE);
	}
	/* It has said why. Even status 0 is a failure here: a signal made it end before it served.
	 */
	_exit(wait_status ? process_exit_status(wait_status) : EXIT_FAILURE);
}

int background_begin(struct ob_error *err)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return ob_error_set(err, -errno, "-daemonize: %s", strerror(errno));
	fflush(stdout);
	child = fork();
	if (child > 0) {
		close(ends[1]);
		wait_for(ends[0], child);
	}
	close(ends[0]);
	if (child < 0) {
		int rc = -errno;

		close(ends[1]);
		return ob_error_set(err, rc, "-daemonize: %s", strerror(-rc));
	}
	setsid();
	return ends[1];
}

int background_ready(int ready)
{
	cleanup_fd int told = ready;
	cleanup_fd int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (nowhere < 0)
		return -errno;
	for (int fd = 0; fd <= 2; fd++) {
		if (dup2(nowhere, fd) < 0)
			return -errno;
	}
	/* A parent that was killed meanwhile does not need to know. */
	return write(told, "", 1) < 0 && errno != EPIPE ? -errno : 0;
}

static bool is_at(int fd, const char *path)
{
	struct stat ours, there;

	return !fstat(fd, &ours) && !lstat(path, &there) && ours.st_dev == there.st_dev &&
	       ours.st_ino == there.st_ino;
}

static int open_pid_file(const char *path, struct ob_error *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	for (;;) {
		cleanup_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

		if (fd < 0)
			return ob_error_set(err, -errno, "-pidfile %s: %s", path, strerror(errno));
		if (fcntl(fd, F_OFD_SETLK, &lock))
			return ob_error_set(err, -errno,
			                    "-pidfile %s: another process has it, and still runs",
			                    path);
		/* Its last owner may have removed it between the two. */
		if (is_at(fd, path))
			return take_fd(&fd);
	}
}

int pid_file_make(const char *path, struct ob_error *err)
{
	cleanup_fd int fd = open_pid_file(path, err);
	char text[16];
	int length;

	if (fd < 0)
		return fd;
	length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) || write(fd, text, (size_t)length) != length)
		return ob_error_set(err, -EIO, "-pidfile %s: %s", path, strerror(errno));
	return take_fd(&fd);
}

void pid_file_remove(const char *path, int fd)
{
	if (fd < 0)
		return;
	if (is_at(fd, path))
		unlink(path);
	close(fd);
}
