/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A terminal that shows a page which is drawn again and again: the alternate screen, so that what
 * stood there before comes back at the end. Plain ANSI control sequences, which every terminal has.
 *
 * Signals that end the process are taken as "leave" between screen_begin() and screen_end(), so
 * that the terminal is always put in order.
 */
#ifndef OBCTL_SCREEN_H
#define OBCTL_SCREEN_H

#include <signal.h>
#include <stddef.h>
#include <termios.h>

#include "outboard/error.h"

struct screen {
	int signals; /* -1: not begun */
	struct termios before;
	sigset_t mask;
	unsigned rows, columns;
};

enum screen_event {
	SCREEN_TIMEOUT,
	SCREEN_KEY,
	SCREEN_RESIZED,
	SCREEN_LEAVE, /* a signal, or the terminal is gone */
};

/* Whether standard input and output are a terminal. */
int screen_is_there(void);

/* 0 or -errno with a message. screen_end() afterwards in any case. */
int screen_begin(struct screen *screen, struct ob_error *err);
void screen_end(struct screen *screen);

/* Draws text, whose lines are cut where the terminal ends; line head is shown inverted. */
void screen_draw(const struct screen *screen, const char *text, unsigned head);

/* Waits for one of the events, for timeout_ms at most. */
enum screen_event screen_wait(struct screen *screen, int timeout_ms, char *key);

#endif
