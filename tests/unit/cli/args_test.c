/* SPDX-License-Identifier: BSD-3-Clause */
/* What a command line is translated into: both forms say the same. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

static void a_file(void **state)
{
	static const char *const lines[] = {
		"nvme disk.img socket=/run/s serial=abc ro=on",
		"nvme file=disk.img socket=/run/s serial=abc ro=on",
		"nvme serial=abc read-only=on disk.img --socket-path=/run/s",
		"--socket-path /run/s nvme serial=abc read-only=on filename=disk.img id=nvme0",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_string_equal(
			plan_of(lines[i]),
			"blockdev "
			"driver=file,node-name=nvme0-drive0,filename=disk.img,read-only=on,discard="
			"unmap\n"
			"device driver=nvme,id=nvme0,serial=abc,drive=nvme0-drive0\n"
			"object "
			"qom-type=x-vfio-user-server,id=nvme0-server,device=nvme0,path=/run/s\n");
}

static void the_long_form(void **state)
{
	assert_string_equal(
		plan_of("--object x-vfio-user-server,id=s0,type=unix,path=/s,device=d0 "
	                "-device=nvme,id=d0,drive=b0 -blockdev driver=mem,node-name=b0,size=1G"),
		"blockdev driver=mem,node-name=b0,size=1G\n"
		"device driver=nvme,id=d0,drive=b0\n"
		"object qom-type=x-vfio-user-server,id=s0,type=unix,path=/s,device=d0\n");
}

static void memory_and_null(void **state)
{
	static const char *const lines[][2] = {
		{"nvme size=1G socket=s", "driver=mem,node-name=nvme0-drive0,size=1G\n"},
		{"nvme mem=on size=1G socket=s", "driver=mem,node-name=nvme0-drive0,size=1G\n"},
		{"nvme null=on size=1G socket=s", "driver=null,node-name=nvme0-drive0,size=1G\n"},
		{"nvme backend=null socket=s", "driver=null,node-name=nvme0-drive0\n"},
		{"nvme null=off size=1G socket=s", "driver=mem,node-name=nvme0-drive0,size=1G\n"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_memory_equal(plan_of(lines[i][0]) + strlen("blockdev "), lines[i][1],
		                    strlen(lines[i][1]));
}

static void several_devices_and_files(void **state)
{
	assert_string_equal(
		plan_of("nvme a.img b.img direct=on socket=s -- edu socket=t -- nvme drive=x "
	                "socket=u id=last"),
		"blockdev "
		"driver=file,node-name=nvme0-drive0,filename=a.img,direct=on,discard=unmap\n"
		"blockdev "
		"driver=file,node-name=nvme0-drive1,filename=b.img,direct=on,discard=unmap\n"
		"device driver=nvme,id=nvme0,drive=nvme0-drive0,drive=nvme0-drive1\n"
		"device driver=edu,id=edu1\n"
		"device driver=nvme,id=last,drive=x\n"
		"object qom-type=x-vfio-user-server,id=nvme0-server,device=nvme0,path=s\n"
		"object qom-type=x-vfio-user-server,id=edu1-server,device=edu1,path=t\n"
		"object qom-type=x-vfio-user-server,id=last-server,device=last,path=u\n");
}

static void sockets_are_given_out_in_order(void **state)
{
	assert_string_equal(
		plan_of("edu -- edu fd=0 -- edu --fd=1 --socket-path=p"),
		"device driver=edu,id=edu0\n"
		"device driver=edu,id=edu1\n"
		"device driver=edu,id=edu2\n"
		"object qom-type=x-vfio-user-server,id=edu0-server,device=edu0,fd=1\n"
		"object qom-type=x-vfio-user-server,id=edu1-server,device=edu1,fd=0\n"
		"object qom-type=x-vfio-user-server,id=edu2-server,device=edu2,path=p\n");
}

static void sockets_without_a_place_get_one(void **state)
{
	char expected[128];

	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	snprintf(expected, sizeof(expected), ",path=/run/user/7/outboard-%d.sock\n", (int)getpid());
	assert_non_null(strstr(plan_of("edu -- edu"), expected));
	snprintf(expected, sizeof(expected), ",path=/run/user/7/outboard-%d-2.sock\n",
	         (int)getpid());
	assert_non_null(strstr(plan_of("edu -- edu"), expected));
	/* Not a path that depends on where we are. */
	setenv("XDG_RUNTIME_DIR", "run", 1);
	assert_null(strstr(plan_of("edu"), "path=run"));
}

static void what_looks_like_a_property_and_is_a_file(void **state)
{
	assert_non_null(strstr(plan_of("nvme ./a=b.img socket=s"), "filename=./a=b.img,"));
	assert_non_null(strstr(plan_of("nvme file=size=1G socket=s"), "filename=size=1G,"));
	assert_non_null(strstr(plan_of("nvme /x,y.img socket=s"), "filename=/x,y.img,"));
}

static void options(void **state)
{
	struct args args;

	assert_int_equal(
		parse(&args, "edu -q -v --log-timestamps --exit-with-parent --run=x", NULL), 0);
	assert_int_equal(args.action, ARGS_SERVE);
	assert_true(args.quiet && args.verbose && args.timestamps && args.exit_with_parent);
	assert_string_equal(args.run, "x");
	assert_int_equal(args.ready_fd, -1);
	args_free(&args);
	assert_int_equal(parse(&args, "edu --run x -ready-fd 0", NULL), 0);
	assert_int_equal(args.ready_fd, 0);
	assert_int_equal(args.stop_timeout, 60);
	args_free(&args);
	assert_int_equal(parse(&args, "edu --stop-timeout=0", NULL), 0);
	assert_int_equal(args.stop_timeout, 0);
	args_free(&args);
	assert_int_equal(parse(&args, "edu --stop-timeout 7s", NULL), -EINVAL);
	args_free(&args);
}

static void what_is_only_shown(void **state)
{
	static const struct {
		const char *line;
		enum args_action action;
	} cases[] = {
		{"--help", ARGS_HELP},
		{"-h", ARGS_HELP},
		{"edu --help", ARGS_MODEL_HELP},
		{"edu nonsense=1 -help", ARGS_MODEL_HELP},
		{"-device edu,help", ARGS_MODEL_HELP},
		{"-device help", ARGS_LIST},
		{"-blockdev help", ARGS_LIST},
		{"--list", ARGS_LIST},
		{"-V", ARGS_VERSION},
	};
	struct args args;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(&args, cases[i].line, NULL), 0);
		assert_int_equal(args.action, cases[i].action);
		if (args.action == ARGS_MODEL_HELP)
			assert_string_equal(args.help_model->name, "edu");
		args_free(&args);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file),
		cmocka_unit_test(the_long_form),
		cmocka_unit_test(memory_and_null),
		cmocka_unit_test(several_devices_and_files),
		cmocka_unit_test(sockets_are_given_out_in_order),
		cmocka_unit_test(sockets_without_a_place_get_one),
		cmocka_unit_test(what_looks_like_a_property_and_is_a_file),
		cmocka_unit_test(options),
		cmocka_unit_test(what_is_only_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
