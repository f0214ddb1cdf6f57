/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptors behind a chardev: read while there is room, written while there is something.
 *
 * A descriptor that others have as well is never made non-blocking: that would be theirs too. A
 * socket can be asked not to sleep with each call, a pipe or terminal is opened anew, and what is
 * left is read and written by helper threads. A helper works on a copy of the bytes, which outlives
 * the chardev if it has to.
 *
 * Input is watched even while nobody wants it, for the end of it alone: whoever hangs up makes
 * place for the next one, although bytes of his may still be unread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "internal.h"
#include "loop/closer.h"
#include "loop/offload.h"

/* A read or write by a helper thread. */
struct chardev_job {
	struct loop_job job;
	struct ob_loop *loop;
	struct chardev_side *side; /* NULL: its chardev has gone, and the descriptor is ours */
	int fd;
	bool write;
	size_t length;
	ssize_t result; /* bytes, or -errno */
	uint8_t bytes[CHARDEV_BUFFER];
};

static bool wants_input(const struct ob_chardev *chardev)
{
	const struct chardev_side *in = &chardev->in;

	return chardev->attached && chardev->user && in->way != CHARDEV_NONE && !in->ended &&
	       !chardev_waiting(in);
}

/* The end of a direction */

static void drop_unsent(struct ob_chardev *chardev)
{
	struct chardev_side *out = &chardev->out;

	chardev->stats.dropped += chardev_waiting(out);
	out->taken = out->filled = 0;
}

void chardev_end_output(struct ob_chardev *chardev)
{
	chardev->out.ended = true;
	drop_unsent(chardev);
	chardev_schedule(chardev);
}

/* No more will come. Where another may take the place of who left, it is told to the driver. */
static void end_input(struct ob_chardev *chardev)
{
	chardev->in.ended = true;
	if (chardev->driver->hung_up) {
		chardev_detach(chardev);
		chardev->hung_up = true;
	}
	chardev_schedule(chardev);
}

static void output_failed(struct ob_chardev *chardev, int rc, size_t lost)
{
	struct chardev_side *out = &chardev->out;

	/* A disk that is full may have room again. */
	if (out->is_file) {
		chardev->stats.dropped += lost;
		log_line(&chardev->log, LOG_WARN, "%zu bytes are lost: %s", lost, strerror(-rc));
		return;
	}
	chardev_end_output(chardev);
	log_line(&chardev->log, LOG_DEBUG, "output has ended: %s", strerror(-rc));
}

/* Helper threads */

/* The descriptor may be non-blocking by somebody else's wish. */
static ssize_t wait_and_retry(const struct chardev_job *job, ssize_t n)
{
	struct pollfd wait = {.fd = job->fd, .events = job->write ? POLLOUT : POLLIN};

	if (n >= 0)
		return n;
	if (errno == EAGAIN)
		(void)poll(&wait, 1, -1);
	else if (errno != EINTR)
		return -errno;
	return -EAGAIN;
}

static void work_job(struct loop_job *base)
{
	struct chardev_job *job = container_of(base, struct chardev_job, job);
	size_t done = 0;
	ssize_t n;

	do {
		n = job->write ? write(job->fd, job->bytes + done, job->length - done)
		               : read(job->fd, job->bytes, job->length);
		n = wait_and_retry(job, n);
		if (n > 0)
			done += (size_t)n;
	} while (n == -EAGAIN || (job->write && n > 0 && done < job->length));
	job->result = n < 0 ? n : (ssize_t)done;
}

static void take_result(struct chardev_side *side, const struct chardev_job *job)
{
	struct ob_chardev *chardev = side->chardev;

	if (job->write) {
		if (job->result < 0)
			output_failed(chardev, (int)job->result, job->length);
	} else if (job->result > 0) {
		memcpy(side->buffer, job->bytes, (size_t)job->result);
		side->taken = 0;
		side->filled = (size_t)job->result;
		chardev->readable = true;
	} else {
		end_input(chardev);
	}
}

static void finish_job(struct loop_job *base)
{
	struct chardev_job *job = container_of(base, struct chardev_job, job);
	struct chardev_side *side = job->side;

	if (side) {
		side->job = NULL;
		take_result(side, job);
		chardev_schedule(side->chardev);
	} else {
		loop_close_elsewhere(job->loop, job->fd);
	}
	free(job);
}

/* Its chardev has gone before the loop. */
static void orphan_job(struct loop_job *base)
{
	struct chardev_job *job = container_of(base, struct chardev_job, job);

	close(job->fd);
	free(job);
}

static void start_job(struct chardev_side *side, const uint8_t *bytes, size_t length)
{
	struct chardev_job *job = side->job ? NULL : calloc(1, sizeof(*job));

	/* One is under way; or there is no memory, and the next turn tries again. */
	if (!job)
		return;
	job->job = (struct loop_job){.work = work_job,
	                             .done = finish_job,
	                             .orphaned = orphan_job,
	                             .lane = LOOP_LANE_CHARDEV};
	job->loop = side->chardev->loop;
	job->side = side;
	job->fd = side->watch.fd;
	job->write = bytes != NULL;
	job->length = length;
	if (bytes)
		memcpy(job->bytes, bytes, length);
	side->job = job;
	loop_offload(job->loop, &job->job);
	if (bytes)
		side->taken += length;
}

/* Reading and writing */

static void fill(struct ob_chardev *chardev)
{
	struct chardev_side *in = &chardev->in;
	ssize_t n;

	if (in->way == CHARDEV_SOCKET)
		n = loop_receive(in->watch.fd, in->buffer, sizeof(in->buffer));
	else
		n = read(in->watch.fd, in->buffer, sizeof(in->buffer));
	if (n > 0) {
		in->taken = 0;
		in->filled = (size_t)n;
		chardev->readable = true;
		chardev_schedule(chardev);
	} else if (!n || (errno != EAGAIN && errno != EINTR)) {
		if (n && errno == EBADMSG)
			log_warn(&chardev->log, "who sends descriptors is cut off: bytes expected");
		end_input(chardev);
	}
}

void chardev_stream_flush(struct ob_chardev *chardev)
{
	struct chardev_side *out = &chardev->out;
	ssize_t n = 1;

	while (n > 0 && chardev_waiting(out)) {
		const uint8_t *bytes = out->buffer + out->taken;
		size_t length = chardev_waiting(out);

		if (out->way == CHARDEV_HELPER) {
			start_job(out, bytes, length);
			return;
		}
		if (out->way == CHARDEV_SOCKET)
			n = send(out->watch.fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			n = write(out->watch.fd, bytes, length);
		if (n > 0)
			out->taken += (size_t)n;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		output_failed(chardev, -errno, 0);
}

bool chardev_stream_is_busy(const struct ob_chardev *chardev)
{
	const struct chardev_side *out = &chardev->out;

	return out->is_file && !out->ended && (out->job || chardev_waiting(out));
}

static void watch(struct chardev_side *side, bool wanted, uint32_t events)
{
	struct ob_loop *loop = side->chardev->loop;

	if (!wanted && side->watched) {
		loop_fd_remove(loop, &side->watch);
		side->watched = false;
	} else if (wanted && !side->watched) {
		side->watch.events = events;
		side->watched = !loop_fd_add(loop, &side->watch);
	} else if (wanted && side->watch.events != events) {
		loop_fd_modify(loop, &side->watch, events);
	}
}

void chardev_stream_update(struct ob_chardev *chardev)
{
	struct chardev_side *in = &chardev->in, *out = &chardev->out;
	bool wants = wants_input(chardev);

	if (in->way == CHARDEV_HELPER) {
		if (wants)
			start_job(in, NULL, CHARDEV_BUFFER);
	} else if (in->way != CHARDEV_NONE) {
		watch(in, !in->ended && (wants || !chardev->gone), wants ? EPOLLIN : EPOLLRDHUP);
	}
	if (out->way == CHARDEV_SOCKET || out->way == CHARDEV_OWN)
		watch(out, chardev_waiting(out) > 0, EPOLLOUT);
}

static void on_in(struct loop_fd *watch, uint32_t events)
{
	struct chardev_side *in = container_of(watch, struct chardev_side, watch);
	struct ob_chardev *chardev = in->chardev;

	if (wants_input(chardev)) {
		fill(chardev);
	} else if (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) {
		/* Bytes may be left there. They are read when there is room, if nobody else comes.
		 */
		chardev->gone = true;
		chardev->hung_up = chardev->driver->hung_up != NULL;
		chardev_schedule(chardev);
	}
}

static void on_out(struct loop_fd *watch, uint32_t events)
{
	chardev_schedule(container_of(watch, struct chardev_side, watch)->chardev);
}

/* Descriptors */

static bool is_socket(int fd)
{
	int type;
	socklen_t length = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
}

/* What epoll can't watch is a file, or like one. */
static int choose_way(struct chardev_side *side)
{
	struct stat st;
	int rc;

	if (side->way != CHARDEV_NONE)
		return 0;
	rc = loop_fd_add(side->chardev->loop, &side->watch);
	if (!rc)
		loop_fd_remove(side->chardev->loop, &side->watch);
	else if (rc != -EPERM)
		return rc;
	side->way = rc ? CHARDEV_HELPER : is_socket(side->watch.fd) ? CHARDEV_SOCKET : CHARDEV_OWN;
	side->is_file = !fstat(side->watch.fd, &st) && S_ISREG(st.st_mode);
	return 0;
}

static void begin_side(struct ob_chardev *chardev, struct chardev_side *side, int fd, bool input)
{
	side->watch = (struct loop_fd){.fd = fd, .ready = input ? on_in : on_out};
	side->way = CHARDEV_NONE;
	side->watched = side->is_file = false;
	side->ended = fd < 0;
	if (!input)
		side->taken = side->filled = 0;
}

static int begin(struct ob_chardev *chardev)
{
	struct chardev_side *sides[] = {&chardev->in, &chardev->out};
	int rc = 0;

	chardev->attached = true;
	chardev->gone = false;
	for (unsigned i = 0; i < ARRAY_SIZE(sides) && !rc; i++)
		rc = sides[i]->watch.fd >= 0 ? choose_way(sides[i]) : 0;
	if (rc)
		chardev_detach(chardev);
	chardev_schedule(chardev);
	return rc;
}

int chardev_attach(struct ob_chardev *chardev, int in, int out)
{
	/* Each direction has a watch of its own, and epoll has one for each descriptor. */
	int other = in == out ? fcntl(in, F_DUPFD_CLOEXEC, 3) : out;

	if (in == out && other < 0) {
		int rc = -errno;

		close(in);
		return rc;
	}
	begin_side(chardev, &chardev->in, in, true);
	begin_side(chardev, &chardev->out, other, false);
	return begin(chardev);
}

/* The other end of a terminal would be opened as a new one. */
static bool can_open_anew(int fd)
{
	struct stat st;
	unsigned number;

	if (fstat(fd, &st))
		return false;
	return S_ISFIFO(st.st_mode) || (isatty(fd) && ioctl(fd, TIOCGPTN, &number));
}

static int open_anew(int fd, bool input)
{
	char path[64];

	if (!can_open_anew(fd))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, (input ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int begin_foreign(struct ob_chardev *chardev, struct chardev_side *side, int fd, bool input)
{
	int own = fd < 0 ? -1 : open_anew(fd, input);
	bool anew = own >= 0;

	if (fd >= 0 && own < 0) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (own < 0)
			return -errno;
	}
	begin_side(chardev, side, own, input);
	if (own >= 0 && !anew && !is_socket(own)) {
		struct stat st;

		side->way = CHARDEV_HELPER;
		side->is_file = !fstat(own, &st) && S_ISREG(st.st_mode);
	}
	return 0;
}

int chardev_attach_foreign(struct ob_chardev *chardev, int in, int out)
{
	int rc = begin_foreign(chardev, &chardev->in, in, true);

	if (!rc)
		rc = begin_foreign(chardev, &chardev->out, out, false);
	if (rc) {
		chardev_detach(chardev);
		return rc;
	}
	return begin(chardev);
}

static void end_side(struct chardev_side *side)
{
	struct chardev_job *job = side->job;

	watch(side, false, 0);
	side->job = NULL;
	if (job && !loop_offload_cancel(job->loop, &job->job))
		job->side = NULL; /* and the descriptor is closed when it is done with it */
	else if (side->watch.fd >= 0)
		loop_closer_close(side->chardev->closer, side->watch.fd);
	if (job && job->side)
		free(job);
	side->watch.fd = -1;
	side->way = CHARDEV_NONE;
}

void chardev_detach(struct ob_chardev *chardev)
{
	end_side(&chardev->in);
	end_side(&chardev->out);
	drop_unsent(chardev);
	chardev->attached = chardev->gone = false;
	chardev_schedule(chardev);
}
