/* SPDX-License-Identifier: BSD-3-Clause */
/* Command lines of QEMU's remote machine: what they mean here, and what is refused by name. */
#include <errno.h>
#include <stdlib.h>

#include "cli/groups.h"
#include "cli/qemu_options.h"
#include "kit.h"

/* What is said of a line that is refused. */
static const char *refused(const char *line)
{
	static char message[sizeof(((struct ob_error *)0)->message)];
	struct ob_error err = {0};
	struct args args;

	if (!parse(&args, line, &err))
		fail_msg("%s: is taken", line);
	snprintf(message, sizeof(message), "%s", err.message);
	args_free(&args);
	return message;
}

static void says(const char *line, const char *part)
{
	const char *message = refused(line);

	if (!strstr(message, part))
		fail_msg("%s: '%s' is not in '%s'", line, part, message);
}

static void json_means_the_same(void **state)
{
	assert_string_equal(
		plan_of("-device {\"driver\":\"nvme\",\"id\":\"d0\",\"drive\":[\"a\",\"b\"]} "
	                "-blockdev {\"driver\":\"null\",\"node-name\":\"a\",\"read-zeroes\":true} "
	                "-object {\"qom-type\":\"x-vfio-user-server\",\"id\":\"s\","
	                "\"socket\":{\"type\":\"unix\",\"path\":\"/s\"},\"device\":\"d0\"}"),
		"blockdev driver=null,node-name=a,read-zeroes=on\n"
		"device driver=nvme,id=d0,drive=a,drive=b\n"
		"object "
		"qom-type=x-vfio-user-server,id=s,socket.type=unix,socket.path=/s,device=d0\n");
	says("-device {\"driver\":\"edu\"", "JSON: ");
	says("-device {\"driver\":null}", "driver: null");
}

static void drives(void **state)
{
	assert_string_equal(plan_of("-drive if=none,id=b0,file=a.img,format=raw"),
	                    "blockdev driver=file,node-name=b0,filename=a.img\n");
	assert_string_equal(
		plan_of("-drive if=none,id=b0,file=a,,b.img,format=raw,media=disk,cache=none,"
	                "aio=native,discard=ignore,readonly=on"),
		"blockdev driver=file,node-name=b0,filename=a,b.img,read-only=on,cache.direct=on,"
		"cache.no-flush=off,cache.writeback=on,discard=ignore\n");
	assert_string_equal(
		plan_of("-drive id=b0,if=none,file=a,format=raw,cache=writeback,aio=threads"),
		"blockdev "
		"driver=file,node-name=b0,filename=a,cache.direct=off,cache.no-flush=off,"
		"cache.writeback=on,aio=threads\n");
	assert_string_equal(
		plan_of("-drive if=none,id=b0,file=a,format=raw,cache=writethrough,discard=on,"
	                "detect-zeroes=unmap,file.locking=auto,cache.direct=on"),
		"blockdev driver=file,node-name=b0,filename=a,cache.direct=on,cache.no-flush=off,"
		"cache.writeback=off,detect-zeroes=unmap,locking=auto,discard=unmap\n");
	assert_string_equal(
		plan_of("-drive if=none,id=b0,file=a,format=raw,werror=enospc,rerror=stop"),
		"blockdev driver=file,node-name=b0,filename=a,rerror=stop,werror=enospc\n");
	assert_string_equal(plan_of("-drive if=none,id=b0,file=a,format=raw,cache=unsafe"),
	                    "blockdev driver=file,node-name=b0,filename=a,cache.direct=off,"
	                    "cache.no-flush=on,cache.writeback=on\n");
	says("-drive id=b0,file=a,format=raw", "if=none");
	says("-drive if=virtio,id=b0,file=a,format=raw", "if=virtio");
	says("-drive if=none,file=a,format=raw", "id=");
	says("-drive if=none,id=b0,format=raw", "file=");
	says("-drive if=none,id=b0,file=a,format=qcow2", "format=qcow2");
	says("-drive if=none,id=b0,file=a", "format=raw");
	says("-drive if=none,id=b0,file=a,format=raw,cache=fast", "directsync");
	says("-drive if=none,id=b0,file=a,format=raw,media=cdrom", "media=cdrom");
	says("-drive if=none,id=b0,file=a,format=raw,snapshot=on", "'snapshot'");
	says("-drive if=none,id=b0,id=b1,file=a,format=raw", "twice");
}

static void monitors(void **state)
{
	assert_string_equal(plan_of("-qmp unix:/run/q,server=on,wait=off"),
	                    "monitor path=/run/q,server=on,wait=off,backend=socket\n");
	assert_string_equal(plan_of("-qmp unix:/run/q,server,nowait"),
	                    "monitor path=/run/q,server=on,nowait=on,backend=socket\n");
	assert_string_equal(plan_of("-qmp stdio"), "monitor backend=stdio\n");
	assert_string_equal(plan_of("-qmp-pretty fd:7"), "monitor fd=7,backend=socket,pretty=on\n");
	assert_string_equal(
		plan_of("-mon chardev=c,mode=control -chardev socket,id=c,fd=5 -chardev "
	                "stdio,id=d -mon id=m,chardev=d,mode=control,pretty=on"),
		"monitor mode=control,backend=socket,fd=5\n"
		"monitor id=m,mode=control,pretty=on,backend=stdio\n");
	assert_string_equal(plan_of("-chardev {\"backend\":\"socket\",\"id\":\"c\",\"path\":\"p\"} "
	                            "-qmp chardev:c"),
	                    "monitor mode=control,backend=socket,path=p\n");
	assert_string_equal(
		plan_of("edu socket=s -qmp none"),
		"device driver=edu,id=edu0\n"
		"object qom-type=x-vfio-user-server,id=edu0-server,device=edu0,path=s\n");
	says("-qmp tcp:localhost:4444", "unix:PATH");
	says("-chardev socket,path=p", "id=");
	assert_string_equal(plan_of("-chardev pty,id=c -device pci-serial,chardev=c"),
	                    "chardev backend=pty,id=c\n"
	                    "device driver=pci-serial,chardev=c\n");
	assert_string_equal(plan_of("pci-serial socket=s chardev=unix:p,server=on id=d"),
	                    "chardev path=p,server=on,backend=socket,id=d-chardev\n"
	                    "device driver=pci-serial,id=d,chardev=d-chardev\n"
	                    "object qom-type=x-vfio-user-server,id=d-server,device=d,path=s\n");
	says("-chardev stdio,id=c -qmp stdio", "once");
	says("-chardev stdio,id=c -chardev stdio,id=c", "there already");
	says("-chardev stdio,id=mon0 -mon chardev=mon,mode=control", "did you mean 'mon0'");
	says("-chardev stdio,id=c -mon chardev=c,mode=control -qmp chardev:c", "already");
	says("-chardev stdio,id=c -mon chardev=c", "mode=control");
	says("-mon mode=control", "chardev=");
	says("-qmp stdio -daemonize", "-daemonize");
	says("-qmp stdio --run true", "--run");
}

static void the_machine(void **state)
{
	static const struct {
		const char *line;
		bool remote, auto_shutdown;
	} cases[] = {
		{"edu", false, false},
		{"edu -machine x-remote", true, true},
		{"edu -M x-remote,vfio-user=on,auto-shutdown=off", true, false},
		{"edu -machine type=x-remote,vfio-user=on -machine auto-shutdown=off", true, false},
		{"edu -machine auto-shutdown=on", false, true},
		{"edu -machine {\"type\":\"x-remote\",\"auto-shutdown\":false}", true, false},
	};
	struct args args;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(&args, cases[i].line, NULL), 0);
		assert_int_equal(args.remote, cases[i].remote);
		assert_int_equal(args_auto_shutdown(&args), cases[i].auto_shutdown);
		args_free(&args);
	}
	says("edu -machine q35", "'q35'");
	says("edu -machine x-remote,vfio-user=off", "vfio-user=off");
	says("edu -machine x-remote,auto-shutdwn=off", "did you mean 'auto-shutdown'");
	says("edu -machine auto-shutdown=perhaps", "on or off");
}

static void the_process(void **state)
{
	struct args args;

	assert_int_equal(parse(&args,
	                       "-nodefaults -no-user-config -nographic -display none -vga none "
	                       "-serial none -monitor none -net none -S -daemonize -pidfile p -D l "
	                       "-msg timestamp=on -name guest=vm1,debug-threads=on -trace s* "
	                       "-trace enable=d0 -qmp unix:q,server=on,wait=off",
	                       NULL),
	                 0);
	assert_true(args.stopped && args.daemonize && args.timestamps);
	assert_string_equal(args.pid_file, "p");
	assert_string_equal(args.log_file, "l");
	assert_string_equal(args.name, "vm1");
	assert_int_equal(args.traces.count, 2);
	assert_string_equal(args.traces.list[0].value, "s*");
	args_free(&args);
	assert_int_equal(parse(&args, "edu -name vm1 -name vm2", NULL), 0);
	assert_string_equal(args.name, "vm2");
	args_free(&args);
	says("edu -S", "-qmp");
	says("edu -daemonize --run true", "--run");
	says("edu -daemonize --exit-with-parent", "--exit-with-parent");
	says("edu -name vm1,process=x", "'process'");
	says("edu -msg guest-name=on", "'guest-name'");
	says("edu -trace events=/f", "'events'");
	assert_int_equal(parse(&args, "-trace help", NULL), 0);
	assert_int_equal(args.action, ARGS_TRACE_HELP);
	args_free(&args);
	assert_int_equal(parse(&args, "-machine help", NULL), 0);
	assert_int_equal(args.action, ARGS_MACHINE_HELP);
	args_free(&args);
}

/* Every one that QEMU has and outboard has not, by its name and with the reason. */
static void not_ours(void **state)
{
	const struct qemu_option *option;
	struct args args;
	char line[128];

	for (size_t i = 0; (option = qemu_option_at(i)); i++) {
		snprintf(line, sizeof(line), "edu -%s%s", option->name,
		         option->argument ? " value" : "");
		says(line, option->why);
		snprintf(line, sizeof(line), "edu --%s%s -M x-remote", option->name,
		         option->argument ? "=value" : "");
		if (option->kind != QEMU_OPTION_NO_EFFECT) {
			says(line, option->why);
			continue;
		}
		assert_int_equal(parse(&args, line, NULL), 0);
		assert_int_equal(args.notes.count, 1);
		assert_string_equal(args.notes.list[0].key, option->name);
		args_free(&args);
	}
	says("edu -M x-remote -m", "needs an argument");
	says("edu -monitor stdio", "human-monitor-command");
}

/* An option and a group are two tables: each option of the one kind has its group. */
static void groups_are_options(void **state)
{
	const struct group *group;
	struct args args;
	char line[64];

	for (size_t i = 0; (group = group_at(i)); i++) {
		snprintf(line, sizeof(line), "edu -%s", group->name);
		says(line, "needs an argument");
	}
	assert_int_equal(parse(&args,
	                       "-drive if=none,id=a,file=f,format=raw -device edu "
	                       "-object x,id=a -msg timestamp=on -name a -trace a "
	                       "-chardev stdio,id=c -mon c,mode=control -machine x-remote",
	                       NULL),
	                 0);
	args_free(&args);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_means_the_same),
		cmocka_unit_test(drives),
		cmocka_unit_test(monitors),
		cmocka_unit_test(the_machine),
		cmocka_unit_test(the_process),
		cmocka_unit_test(not_ours),
		cmocka_unit_test(groups_are_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
