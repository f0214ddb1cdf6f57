/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend=pty: a new terminal, which others open by its name (/dev/pts/N) or by a symbolic link to
 * that. While nobody has it open, its other end says so for ever and could not be waited on; that
 * somebody opens it is heard by inotify, so that nothing has to look again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "internal.h"

struct pty_props {
	char *path;
};

struct pty_runtime {
	struct ob_chardev *chardev;
	int master;
	char name[64];
	char *link; /* that we made */
	struct loop_fd opened;
	bool watched;
};

/* Or had it, and left bytes behind. */
static bool somebody_has_it(const struct pty_runtime *pty)
{
	struct pollfd look = {.fd = pty->master, .events = POLLIN};

	return poll(&look, 1, 0) >= 0 && (!(look.revents & POLLHUP) || look.revents & POLLIN);
}

static void look(struct pty_runtime *pty)
{
	struct ob_chardev *chardev = pty->chardev;
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	int fd, rc;

	while (read(pty->opened.fd, events, sizeof(events)) > 0)
		;
	if (!somebody_has_it(pty) || (chardev->attached && !chardev->gone))
		return;
	chardev_detach(chardev); /* from who is gone; what he wrote stays */
	fd = fcntl(pty->master, F_DUPFD_CLOEXEC, 3);
	rc = fd < 0 ? -errno : chardev_attach(chardev, fd, fd);
	if (rc)
		log_warn(&chardev->log, "%s cannot be used: %s", pty->name, strerror(-rc));
}

static void on_opened(struct loop_fd *watch, uint32_t events)
{
	(void)events;
	look(container_of(watch, struct pty_runtime, opened));
}

static void pty_hung_up(struct ob_chardev *chardev)
{
	struct pty_runtime *pty = chardev->runtime;

	/* Who has it open may have come and written before it was looked at. */
	if (!chardev->attached)
		look(pty);
	/* A terminal takes bytes while nobody has it, until it is full. */
	else if (chardev->gone)
		chardev_end_output(chardev);
}

/* Bytes pass through it as they are. */
static int make_raw(const char *name)
{
	cleanup_fd int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios raw;

	if (fd < 0 || tcgetattr(fd, &raw))
		return -errno;
	cfmakeraw(&raw);
	return tcsetattr(fd, TCSANOW, &raw) ? -errno : 0;
}

static int make_terminal(struct pty_runtime *pty)
{
	int rc;

	pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty->master < 0 || grantpt(pty->master) || unlockpt(pty->master))
		return -errno;
	rc = ptsname_r(pty->master, pty->name, sizeof(pty->name));
	if (rc)
		return -rc;
	if (fcntl(pty->master, F_SETFL, O_NONBLOCK | O_RDWR))
		return -errno;
	return make_raw(pty->name);
}

static int watch_it(struct pty_runtime *pty)
{
	int rc;

	pty->opened.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	pty->opened.events = EPOLLIN;
	pty->opened.ready = on_opened;
	if (pty->opened.fd < 0 || inotify_add_watch(pty->opened.fd, pty->name, IN_OPEN) < 0)
		return -errno;
	rc = loop_fd_add(pty->chardev->loop, &pty->opened);
	pty->watched = !rc;
	return rc;
}

static int make_link(struct pty_runtime *pty, const char *path, struct ob_error *err)
{
	if (symlink(pty->name, path))
		return ob_error_set(err, -errno, "cannot make the symbolic link %s: %s", path,
		                    strerror(errno));
	pty->link = strdup(path);
	if (!pty->link) {
		unlink(path);
		return ob_error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int pty_open(struct ob_chardev *chardev, struct ob_error *err)
{
	const struct pty_props *props = chardev->props;
	struct pty_runtime *pty = chardev->runtime;
	int rc;

	pty->chardev = chardev;
	pty->opened.fd = -1;
	rc = make_terminal(pty);
	if (!rc)
		rc = watch_it(pty);
	if (rc)
		return ob_error_set(err, rc, "cannot make a terminal: %s", strerror(-rc));
	if (props->path)
		rc = make_link(pty, props->path, err);
	if (!rc)
		log_fact(&chardev->log, LOG_INFO, "char device redirected to %s (label %s)",
		         pty->name, chardev->id);
	return rc;
}

static bool link_is_ours(const struct pty_runtime *pty)
{
	char target[64];
	ssize_t n = pty->link ? readlink(pty->link, target, sizeof(target)) : -1;

	return n > 0 && (size_t)n == strlen(pty->name) && !memcmp(target, pty->name, (size_t)n);
}

static void pty_close(struct ob_chardev *chardev)
{
	struct pty_runtime *pty = chardev->runtime;

	if (!pty->chardev)
		return; /* it was never opened */
	if (link_is_ours(pty))
		unlink(pty->link);
	free(pty->link);
	if (pty->watched)
		loop_fd_remove(chardev->loop, &pty->opened);
	fd_close(&pty->opened.fd);
	fd_close(&pty->master);
}

static void pty_describe(const struct ob_chardev *chardev, char *text, size_t size)
{
	snprintf(text, size, "pty:%s", chardev_pty_name(chardev));
}

const char *chardev_pty_name(const struct ob_chardev *chardev)
{
	const struct pty_runtime *pty = chardev->runtime;

	return chardev->driver == &chardev_pty ? pty->name : "";
}

static const struct ob_prop pty_table[] = {
	{"path", OB_PROP_STRING, offsetof(struct pty_props, path), .max = PATH_MAX,
         .help = "a symbolic link to it that is made, and removed at the end"},
	{.name = NULL},
};

const struct chardev_driver chardev_pty = {
	.name = "pty",
	.summary = "a new terminal, /dev/pts/N",
	.props_size = sizeof(struct pty_props),
	.runtime_size = sizeof(struct pty_runtime),
	.props = pty_table,
	.open = pty_open,
	.close = pty_close,
	.hung_up = pty_hung_up,
	.describe = pty_describe,
};
