/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of this folder share: a machine with a loop and a folder of its own. */
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

#include "server/machine.h"

struct world {
	char folder[64], path[80];
	struct log log;
	struct ob_loop *loop;
	struct machine *machine;
	struct ob_error err;
	bool stopped;
};

enum { ENOUGH_TURNS = 20 };

static inline void turn(struct world *world)
{
	for (int i = 0; i < ENOUGH_TURNS; i++)
		assert_int_equal(loop_turn(world->loop, 0), 0);
}

static inline int make(struct world *world,
                       int (*add)(struct machine *machine, struct opts *opts, struct ob_error *err),
                       const char *text)
{
	struct opts opts = {0};
	int rc;

	world->err.message[0] = '\0';
	assert_int_equal(opts_parse(&opts, text, "driver", NULL), 0);
	rc = add(world->machine, &opts, &world->err);
	assert_int_equal(rc != 0, world->err.message[0] != '\0');
	opts_free(&opts);
	return rc;
}

static inline int add_block(struct world *world, const char *text)
{
	return make(world, machine_add_block, text);
}

static inline int add_device(struct world *world, const char *text)
{
	return make(world, machine_add_device, text);
}

static inline int add_server(struct world *world, const char *id, const char *device)
{
	char text[256];

	snprintf(text, sizeof(text), "qom-type=x-vfio-user-server,id=%s,device=%s,path=%s", id,
	         device, world->path);
	return make(world, machine_add_object, text);
}

static inline int remove_block(struct world *world, const char *name)
{
	return machine_remove_block(world->machine, name, &world->err);
}

static inline int remove_device(struct world *world, const char *id)
{
	return machine_remove_device(world->machine, id, &world->err);
}

static inline int remove_object(struct world *world, const char *id)
{
	return machine_remove_object(world->machine, id, &world->err);
}

static inline void assert_said(const struct world *world, const char *what)
{
	if (!strstr(world->err.message, what))
		fail_msg("'%s' does not say '%s'", world->err.message, what);
}

static inline int connect_client(const struct world *world)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, world->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static inline bool has_hung_up(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK) == 0;
}

static inline int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	strcpy(world->folder, "/tmp/outboard-test-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	snprintf(world->path, sizeof(world->path), "%s/s", world->folder);
	world->log = (struct log){.fd = open("/dev/null", O_WRONLY)};
	world->loop = loop_new();
	world->machine = machine_new(world->loop, &world->log);
	assert_non_null(world->machine);
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
	machine_free(world->machine);
	loop_free(world->loop);
	close(world->log.fd);
	/* The socket is gone, or this fails. */
	assert_int_equal(rmdir(world->folder), 0);
	free(world);
	return 0;
}

#define test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

#endif
