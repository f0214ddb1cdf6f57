/* SPDX-License-Identifier: BSD-3-Clause */
/* A page in a terminal; see screen.h. */
#include "obctl/screen.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { DEFAULT_ROWS = 24, DEFAULT_COLUMNS = 80 };

int screen_is_there(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static void measure(struct screen *screen)
{
	struct winsize size;

	screen->rows = DEFAULT_ROWS;
	screen->columns = DEFAULT_COLUMNS;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row || !size.ws_col)
		return;
	screen->rows = size.ws_row;
	screen->columns = size.ws_col;
}

int screen_begin(struct screen *screen, struct ob_error *err)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
	struct termios raw;
	sigset_t set;

	*screen = (struct screen){.signals = -1};
	if (tcgetattr(STDIN_FILENO, &screen->before))
		return ob_error_set(err, -errno, "terminal: %s", strerror(errno));
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, &screen->mask);
	screen->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (screen->signals < 0) {
		int rc = -errno;

		sigprocmask(SIG_SETMASK, &screen->mask, NULL);
		return ob_error_set(err, rc, "terminal: %s", strerror(-rc));
	}
	raw = screen->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	/* Stopped in the middle, it would leave the terminal as it is. */
	raw.c_cc[VSUSP] = _POSIX_VDISABLE;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	measure(screen);
	fputs("\033[?1049h\033[?25l", stdout);
	fflush(stdout);
	return 0;
}

void screen_end(struct screen *screen)
{
	if (screen->signals < 0)
		return;
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
	close(screen->signals);
	screen->signals = -1;
	sigprocmask(SIG_SETMASK, &screen->mask, NULL);
}

/* How many bytes of the line fit into columns; UTF-8's continuation bytes take no room. */
static size_t cut(const char *line, size_t length, unsigned columns)
{
	unsigned width = 0;

	for (size_t i = 0; i < length; i++) {
		if (((unsigned char)line[i] & 0xc0) != 0x80 && width++ == columns)
			return i;
	}
	return length;
}

void screen_draw(const struct screen *screen, const char *text, unsigned head)
{
	fputs("\033[H", stdout);
	for (unsigned row = 0; row < screen->rows && *text; row++) {
		size_t length = strcspn(text, "\n");
		size_t shown = cut(text, length, screen->columns);

		/* The last line has no end, or the page would move. */
		printf("%s%s%.*s%s\033[K", row ? "\r\n" : "", row == head ? "\033[7m" : "",
		       (int)shown, text, row == head ? "\033[0m" : "");
		text += length + (text[length] == '\n');
	}
	fputs("\033[J", stdout);
	fflush(stdout);
}

static enum screen_event take_signal(struct screen *screen)
{
	struct signalfd_siginfo info;

	if (read(screen->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return SCREEN_TIMEOUT;
	if (info.ssi_signo != SIGWINCH)
		return SCREEN_LEAVE;
	measure(screen);
	return SCREEN_RESIZED;
}

enum screen_event screen_wait(struct screen *screen, int timeout_ms, char *key)
{
	struct pollfd fds[] = {{.fd = screen->signals, .events = POLLIN},
	                       {.fd = STDIN_FILENO, .events = POLLIN}};

	if (poll(fds, 2, timeout_ms) <= 0)
		return SCREEN_TIMEOUT;
	if (fds[0].revents)
		return take_signal(screen);
	return read(STDIN_FILENO, key, 1) == 1 ? SCREEN_KEY : SCREEN_LEAVE;
}
