/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of options; see options.h. */
#include "options.h"

#include <errno.h>
#include <string.h>

#include "base/list.h"
#include "base/suggest.h"

static const struct option options[] = {
	{OPTION_GROUP, "device", NULL, "MODEL[,key=value...]",
         "add a device; -device MODEL,help shows its properties"},
	{OPTION_GROUP, "blockdev", NULL, "driver=DRIVER,node-name=NODE[,key=value...]",
         "add a block node"},
	{OPTION_GROUP, "object", NULL,
         "x-vfio-user-server,id=ID,type=unix,path=PATH,device=ID[,key=value...]",
         "serve a device at a socket"},
	{OPTION_GROUP, "drive", NULL, "if=none,id=NODE,file=FILE,format=raw[,key=value...]",
         "the same as -blockdev with driver=file"},
	{OPTION_CONFIG, "config", "c", "FILE",
         "read more of these from a file: see outboard.conf(5)"},
	{OPTION_CHECK, "check", NULL, NULL,
         "say what is wrong with the files and options, all of it, and serve nothing"},
	{OPTION_CONFIG, "readconfig", NULL, "FILE", NULL},
	{OPTION_GROUP, "machine", "M", "x-remote[,auto-shutdown=on|off]",
         "behave as QEMU's remote machine: end when the last client has gone, unless "
         "auto-shutdown is off"},
	{OPTION_QMP, "qmp", NULL, "unix:PATH,server=on,wait=off | stdio | fd:N",
         "let things be changed at run time there, by QEMU's machine protocol"},
	{OPTION_QMP_PRETTY, "qmp-pretty", NULL, "...", "the same, with replies for people to read"},
	{OPTION_GROUP, "chardev", NULL,
         "socket,id=ID,path=PATH,server=on,wait=off | pty,id=ID | stdio | file | fd | null",
         "make a character device, for a serial port or for a monitor of -mon"},
	{OPTION_GROUP, "mon", NULL, "chardev=ID,mode=control", "the same as -qmp, with a -chardev"},
	{OPTION_SOCKET_PATH, "socket-path", NULL, "PATH",
         "where to make the socket of the first device that names none; may be given once for "
         "each"},
	{OPTION_FD, "fd", NULL, "N",
         "the same with a listening socket that is inherited as descriptor N"},
	{OPTION_RUN, "run", NULL, "COMMAND",
         "when clients can connect, start a shell command with $socket and $qemu_device set, and "
         "end when it ends, with its exit status"},
	{OPTION_READY_FD, "ready-fd", NULL, "N",
         "when clients can connect, write a newline to descriptor N and close it"},
	{OPTION_EXIT_WITH_PARENT, "exit-with-parent", NULL, NULL,
         "end when the process that started this one ends"},
	{OPTION_STOP_TIMEOUT, "stop-timeout", NULL, "SECONDS",
         "how long the end may wait for storage that does not answer (60; 0: for ever)"},
	{OPTION_STOPPED, "stopped", "S", NULL,
         "devices do no work until a monitor is told to 'cont'"},
	{OPTION_INCOMING, "incoming", NULL, "unix:PATH | tcp:HOST:PORT | fd:N | defer",
         "devices wait for the state of others: of a process that migrates its own here, or "
         "(defer) "
         "as a client or a monitor says"},
	{OPTION_DAEMONIZE, "daemonize", NULL, NULL,
         "go on in the background when clients can connect"},
	{OPTION_PID_FILE, "pidfile", NULL, "FILE", "keep the number of the process there"},
	{OPTION_LOG_FILE, "log-file", "D", "FILE",
         "put log lines there, at its end; SIGHUP opens it again"},
	{OPTION_GROUP, "name", NULL, "NAME", "what monitors say when they are asked for the name"},
	{OPTION_GROUP, "msg", NULL, "timestamp=on|off,priority=auto|on|off",
         "put the time in front of log lines, and <N> for the journal"},
	{OPTION_GROUP, "trace", NULL, "PATTERN",
         "log more about the objects whose ids match; -trace help says how"},
	{OPTION_QUIET, "quiet", "q", NULL, "say nothing but warnings and errors"},
	{OPTION_VERBOSE, "verbose", "v", NULL, "log more"},
	{OPTION_LOG_TIMESTAMPS, "log-timestamps", NULL, NULL, "the same as -msg timestamp=on"},
	{OPTION_NOTHING, "nodefaults", NULL, NULL, NULL},
	{OPTION_NOTHING, "no-user-config", NULL, NULL, NULL},
	{OPTION_NOTHING, "nographic", NULL, NULL, NULL},
	{OPTION_LIST, "list", NULL, NULL, "show device models and block drivers"},
	{OPTION_JSON, "json", NULL, NULL, "with --list: as JSON, with all properties"},
	{OPTION_HELP, "help", "h", NULL, "show this, or with MODEL its properties"},
	{OPTION_VERSION, "version", "V", NULL, "show the version"},
};

void options_print(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *option = &options[i];

		if (!option->help)
			continue;
		fprintf(out, "  --%s", option->name);
		if (option->other)
			fprintf(out, ", -%s", option->other);
		if (option->argument)
			fprintf(out, " %s", option->argument);
		fprintf(out, "\n          %s\n", option->help);
	}
	fputs("\nOptions of QEMU's remote machine that need nothing done (-nodefaults, -nographic, "
	      "-display none, ...)\nare taken as well.\n",
	      out);
}

const struct option *option_find(const char *word, size_t length, const struct qemu_option **qemu,
                                 struct ob_error *err)
{
	struct nearest nearest;
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)length, word);
	nearest = nearest_to(name);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const char *other = options[i].other;

		if (!strcmp(options[i].name, name) || (other && !strcmp(other, name)))
			return &options[i];
		nearest_try(&nearest, options[i].name);
	}
	*qemu = qemu_option_find(name);
	if (*qemu)
		return NULL;
	if (nearest.best)
		ob_error_set(err, -EINVAL, "unknown option '--%s': did you mean '--%s'?", name,
		             nearest.best);
	else
		ob_error_set(err, -EINVAL, "unknown option '--%s': outboard --help shows all",
		             name);
	return NULL;
}
