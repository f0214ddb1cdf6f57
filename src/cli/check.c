/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --check; see check.h. Devices are made as ever, over nodes that hold nothing, in a machine that
 * neither opens images nor listens: so their models judge their properties themselves.
 */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "loop/loop.h"
#include "server/machine.h"

struct check {
	struct log *log;
	struct ob_loop *loop;
	unsigned problems;
};

static void report(void *context, const struct ob_error *err)
{
	struct check *check = context;

	check->problems++;
	log_error(check->log, "%s", err->message);
}

static void on_stopped(void *context)
{
	struct check *check = context;

	loop_stop(check->loop);
}

static int check_plan(struct check *check, struct args *args)
{
	struct log quiet = {.fd = check->log->fd, .level = LOG_ERROR};
	struct machine *machine;
	struct ob_error err = {0};
	int rc;

	check->loop = loop_new();
	machine = check->loop ? machine_new(check->loop, &quiet) : NULL;
	if (!machine) {
		loop_free(check->loop);
		return -ENOMEM;
	}
	machine_look_only(machine);
	rc = plan_give_sockets(&args->plan, &args->sockets, &(struct opts){0}, &err);
	if (rc)
		report(check, &err);
	rc = plan_check(&args->plan, machine, report, check);
	machine_stop(machine, on_stopped, check);
	if (loop_run(check->loop))
		rc = -EIO;
	machine_free(machine);
	loop_free(check->loop);
	return rc;
}

int check_run(struct args *args, struct log *log)
{
	struct check check = {.log = log};
	int rc;

	for (size_t i = 0; i < args->problems.count; i++) {
		check.problems++;
		log_error(log, "%s", args->problems.list[i].value);
	}
	rc = check_plan(&check, args);
	if (rc)
		log_error(log, "--check: %s", strerror(-rc));
	if (rc || check.problems)
		return -EINVAL;
	if (!args->quiet)
		puts("no errors");
	return 0;
}
