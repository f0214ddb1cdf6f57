/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend=stdio: standard input and output. A terminal is made to hand over each key as it is
 * typed, and is put back as it was at the end. With signal=on (the default) ^C ends the process as
 * ever; off, it is a byte like others.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "internal.h"

struct stdio_props {
	bool signal;
};

struct stdio_runtime {
	bool changed;
	struct termios before;
};

/* A process in the background is stopped by this otherwise. */
static void set_terminal(const struct termios *to)
{
	sigset_t set, before;

	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, &before);
	(void)tcsetattr(STDIN_FILENO, TCSANOW, to);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void make_raw(struct ob_chardev *chardev)
{
	const struct stdio_props *props = chardev->props;
	struct stdio_runtime *runtime = chardev->runtime;
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &runtime->before))
		return; /* no terminal */
	raw = runtime->before;
	raw.c_iflag &=
		~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
	if (!props->signal)
		raw.c_lflag &= ~(tcflag_t)ISIG;
	raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	set_terminal(&raw);
	runtime->changed = true;
}

static int stdio_open(struct ob_chardev *chardev, struct ob_error *err)
{
	int rc = chardev_attach_foreign(chardev, STDIN_FILENO, STDOUT_FILENO);

	if (rc)
		return ob_error_set(err, rc, "standard input and output: %s", strerror(-rc));
	make_raw(chardev);
	return 0;
}

static void stdio_close(struct ob_chardev *chardev)
{
	const struct stdio_runtime *runtime = chardev->runtime;

	if (runtime->changed)
		set_terminal(&runtime->before);
}

static const struct ob_prop stdio_table[] = {
	{"signal", OB_PROP_BOOL, offsetof(struct stdio_props, signal), .preset = "on",
         .help = "^C at the terminal ends the process; off: it is input"},
	{.name = NULL},
};

const struct chardev_driver chardev_stdio = {
	.name = "stdio",
	.summary = "standard input and output",
	.props_size = sizeof(struct stdio_props),
	.runtime_size = sizeof(struct stdio_runtime),
	.props = stdio_table,
	.open = stdio_open,
	.close = stdio_close,
};
