/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that are copied; see copy.h. */
#include "obctl/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = PIPE_BUF }; /* what a pipe that is ready takes without blocking */

static int open_file(struct copy *copy, const char *path, struct stat *status, struct ob_error *err)
{
	bool standard = !strcmp(path, "-");
	int flags = copy->out ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY;

	copy->name = !standard ? path : copy->out ? "standard output" : "standard input";
	if (standard)
		copy->fd = fcntl(copy->out ? STDOUT_FILENO : STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		copy->fd = open(path, flags | O_CLOEXEC, 0666);
	if (copy->fd < 0 || fstat(copy->fd, status))
		return ob_error_set(err, -errno, "%s: %s", copy->name, strerror(errno));
	if (S_ISDIR(status->st_mode))
		return ob_error_set(err, -EISDIR, "%s: a file expected, not a folder", copy->name);
	copy->regular = S_ISREG(status->st_mode);
	/* Whose offset others share, or which only appends, is written like a pipe. */
	copy->in_order = standard || !(copy->regular || S_ISBLK(status->st_mode));
	return 0;
}

int copy_open_input(struct copy *copy, const char *path, struct ob_error *err)
{
	struct stat status = {0};
	off_t at, end;
	int rc;

	*copy = (struct copy){.fd = -1, .size = UINT64_MAX, .limit = UINT64_MAX};
	rc = open_file(copy, path, &status, err);
	if (rc || !(copy->regular || S_ISBLK(status.st_mode)))
		return rc;
	at = lseek(copy->fd, 0, SEEK_CUR);
	end = lseek(copy->fd, 0, SEEK_END);
	if (at < 0 || end < 0 || lseek(copy->fd, at, SEEK_SET) < 0)
		return ob_error_set(err, -errno, "%s: %s", copy->name, strerror(errno));
	copy->size = end > at ? (uint64_t)(end - at) : 0;
	return 0;
}

int copy_open_output(struct copy *copy, const char *path, struct ob_error *err)
{
	struct stat status = {0};

	*copy = (struct copy){.fd = -1, .out = true, .size = UINT64_MAX, .limit = UINT64_MAX};
	return open_file(copy, path, &status, err);
}

size_t copy_length(const struct copy *copy, uint64_t at, size_t size)
{
	uint64_t left = at < copy->limit ? copy->limit - at : 0;

	return left < size ? (size_t)left : size;
}

static void go_wrong(struct copy *copy, int rc, const char *what)
{
	copy->ended = true;
	copy->rc = ob_error_set(&copy->error, rc, "%s: %s", copy->name, what);
}

/*
 * Waits for what is no regular file. Meanwhile the server may ask for memory, and wants an answer
 * however long the other end of a pipe takes.
 */
static int wait_for(struct copy *copy)
{
	struct pollfd watch[3] = {{.fd = copy->fd, .events = copy->out ? POLLOUT : POLLIN}};
	int fds[2] = {-1, -1};
	int rc = 0;

	if (copy->regular)
		return 0;
	while (!rc && !watch[0].revents) {
		if (copy->client) {
			rc = ob_client_flush(copy->client);
			ob_client_fds(copy->client, fds);
		}
		watch[1] = (struct pollfd){.fd = fds[0], .events = POLLIN};
		watch[2] = (struct pollfd){.fd = fds[1], .events = POLLIN};
		if (!rc && poll(watch, 3, -1) < 0)
			rc = errno == EINTR ? 0 : -errno;
		else if (!rc && (watch[1].revents || watch[2].revents))
			rc = ob_client_poll(copy->client);
	}
	return rc;
}

/* Bytes that were read, fewer only at the end; -errno. */
static ssize_t read_all(struct copy *copy, uint8_t *data, size_t size)
{
	size_t done = 0;
	ssize_t n = 1;
	int rc;

	while (done < size && n) {
		rc = wait_for(copy);
		if (rc)
			return rc;
		n = read(copy->fd, data + done, size - done);
		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return (ssize_t)done;
}

/* The input should end at the limit. One of known size was looked at before. */
static void expect_end(struct copy *copy)
{
	char text[96];
	uint8_t more;
	ssize_t n;

	copy->ended = true;
	if (copy->cut || copy->size != UINT64_MAX)
		return;
	n = read_all(copy, &more, 1);
	if (n < 0) {
		go_wrong(copy, (int)n, strerror((int)-n));
	} else if (n) {
		snprintf(text, sizeof(text),
		         "more than the %" PRIu64 " bytes that there is room for were given",
		         copy->limit);
		go_wrong(copy, -EFBIG, text);
	}
}

size_t copy_take(struct copy *copy, uint8_t *data, size_t size, size_t block)
{
	size_t want = copy_length(copy, copy->bytes, size);
	ssize_t n = read_all(copy, data, want);

	if (n < 0) {
		go_wrong(copy, (int)n, strerror((int)-n));
		return 0;
	}
	copy->bytes += (size_t)n;
	if ((size_t)n < want)
		copy->ended = true;
	else if (copy->bytes == copy->limit)
		expect_end(copy);
	copy->padded = (block - (size_t)n % block) % block;
	memset(data + n, 0, copy->padded);
	return (size_t)n + copy->padded;
}

static ssize_t write_some(struct copy *copy, const uint8_t *data, size_t size, uint64_t at)
{
	int rc;

	if (!copy->in_order)
		return pwrite(copy->fd, data, size, (off_t)at);
	rc = wait_for(copy);
	if (rc) {
		errno = -rc;
		return -1;
	}
	return write(copy->fd, data, copy->regular || size < CHUNK ? size : CHUNK);
}

void copy_give(struct copy *copy, const uint8_t *data, size_t length, uint64_t at)
{
	size_t done = 0;
	ssize_t n;

	while (done < length && !copy->rc) {
		n = write_some(copy, data + done, length - done, at + done);
		if (n > 0)
			done += (size_t)n;
		else if (!n)
			go_wrong(copy, -ENOSPC, strerror(ENOSPC));
		else if (errno != EINTR && errno != EAGAIN)
			go_wrong(copy, -errno, strerror(errno));
	}
	copy->bytes += done;
}

int copy_end(struct copy *copy, struct ob_error *err)
{
	int fd = copy->fd;

	copy->fd = -1;
	if (fd >= 0 && close(fd) && !copy->rc)
		go_wrong(copy, -errno, strerror(errno));
	return copy->rc ? ob_error_set(err, copy->rc, "%s", copy->error.message) : 0;
}
