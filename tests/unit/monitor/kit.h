/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of this folder share: a machine, and monitors with clients over socket pairs. */
#ifndef KIT_H
#define KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "monitor/monitor.h"

struct world {
	char folder[64], path[80];
	struct log log;
	struct ob_loop *loop;
	struct machine *machine;
	struct moves *moves;
	struct monitors *monitors;
	struct ob_error err;
	bool stopped, quit;
	enum machine_shutdown reason;
	char heard[1 << 21]; /* what hear() returns */
};

enum { ENOUGH_TURNS = 40 };

static inline void turn(struct world *world)
{
	for (int i = 0; i < ENOUGH_TURNS; i++)
		assert_int_equal(loop_turn(world->loop, 0), 0);
}

/* Adds a monitor. 0 or -errno with a message in world->err. */
static inline int add_monitor(struct world *world, const char *text)
{
	struct opts opts = {0};
	int rc;

	world->err.message[0] = '\0';
	assert_int_equal(opts_parse(&opts, text, NULL, NULL), 0);
	rc = monitors_add(world->monitors, &opts, &world->err);
	assert_int_equal(rc != 0, world->err.message[0] != '\0');
	opts_free(&opts);
	return rc;
}

/* A monitor's client, just connected. */
static inline int connect_pair(struct world *world)
{
	char text[32];
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	snprintf(text, sizeof(text), "fd=%d", ends[0]);
	assert_int_equal(add_monitor(world, text), 0);
	return ends[1];
}

static inline int connect_path(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static inline void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* All that has come, with "|" for each line's end; CRLF is checked. */
static inline const char *hear(struct world *world, int fd)
{
	char *out = world->heard, *at;
	size_t length = 0;
	ssize_t n;

	do {
		turn(world);
		n = recv(fd, out + length, sizeof(world->heard) - 1 - length, MSG_DONTWAIT);
		length += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	out[length] = '\0';
	for (at = out; (at = strchr(at, '\n'));) {
		assert_true(at > out && at[-1] == '\r');
		memmove(at, at + 1, strlen(at));
		at[-1] = '|';
	}
	return out;
}

static inline const char *ask(struct world *world, int fd, const char *text)
{
	send_text(fd, text);
	return hear(world, fd);
}

static inline int negotiated(struct world *world)
{
	int fd = connect_pair(world);

	hear(world, fd);
	assert_string_equal(ask(world, fd, "{\"execute\":\"qmp_capabilities\"}"),
	                    "{\"return\": {}}|");
	return fd;
}

static inline bool has_hung_up(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK) == 0;
}

static inline void on_quit(void *context, enum machine_shutdown reason)
{
	struct world *world = context;

	world->quit = true;
	world->reason = reason;
}

static inline int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	strcpy(world->folder, "/tmp/outboard-test-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	snprintf(world->path, sizeof(world->path), "%s/m", world->folder);
	world->log = (struct log){.fd = open("/dev/null", O_WRONLY)};
	world->loop = loop_new();
	world->machine = machine_new(world->loop, &world->log);
	assert_non_null(world->machine);
	machine_on_shutdown(world->machine, on_quit, world);
	world->moves = moves_new(world->loop, &world->log, world->machine);
	assert_non_null(world->moves);
	world->monitors = monitors_new(&(struct monitors_env){
		.loop = world->loop,
		.log = &world->log,
		.machine = world->machine,
		.moves = world->moves,
		.name = "vm1",
	});
	assert_non_null(world->monitors);
	*state = world;
	return 0;
}

static inline void on_stopped(void *context)
{
	((struct world *)context)->stopped = true;
}

static inline int tear_down(void **state)
{
	struct world *world = *state;

	machine_stop(world->machine, on_stopped, world);
	turn(world);
	assert_true(world->stopped);
	monitors_free(world->monitors);
	moves_free(world->moves);
	machine_free(world->machine);
	loop_free(world->loop);
	close(world->log.fd);
	assert_int_equal(rmdir(world->folder), 0);
	free(world);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
