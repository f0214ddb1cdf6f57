/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon; see daemon.h.
 *
 * Whatever ends it (a signal, the end of its command, an error while things are made) goes the same
 * way: the machine is stopped in order, and the loop runs until nothing is left. A signal while it
 * stops takes the short way out; sockets are gone by then.
 */
#include "daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach.h"
#include "base/list.h"
#include "loop/loop.h"
#include "process.h"
#include "server/machine.h"

struct daemon {
	struct args *args;
	struct log *log;
	struct ob_loop *loop;
	struct machine *machine;
	struct loop_fd signals; /* .fd is -1 before it is open */
	pid_t command;          /* 0: none runs */
	bool command_told;      /* to end */
	bool stopping;
	int status;
};

static void on_stopped(void *context)
{
	struct daemon *daemon = context;

	loop_stop(daemon->loop);
}

static void stop(struct daemon *daemon)
{
	if (daemon->stopping)
		return;
	daemon->stopping = true;
	process_notify("STOPPING=1");
	machine_stop(daemon->machine, on_stopped, daemon);
}

static void on_shutdown(void *context, enum machine_shutdown reason)
{
	struct daemon *daemon = context;

	(void)reason;
	stop(daemon);
}

static void command_ended(struct daemon *daemon)
{
	int wait_status;

	if (!daemon->command || waitpid(daemon->command, &wait_status, WNOHANG) != daemon->command)
		return;
	daemon->command = 0;
	daemon->status = process_exit_status(wait_status);
	machine_shutdown(daemon->machine, MACHINE_SHUTDOWN_COMMAND);
}

/*
 * With a command, the first signal is the command's, and we end when it does. From the signal that
 * makes us stop on, the next one has its default effect.
 */
static void told_to_end(struct daemon *daemon, const struct signalfd_siginfo *info)
{
	int number = (int)info->ssi_signo;

	log_debug(daemon->log, "told to end: %s", strsignal(number));
	if (daemon->command && !daemon->command_told) {
		daemon->command_told = true;
		/* A key on the terminal has reached it as well. */
		if (info->ssi_code != SI_KERNEL)
			kill(daemon->command, number);
		return;
	}
	if (daemon->command)
		daemon->status = 128 + number;
	process_signals_default();
	machine_shutdown(daemon->machine, MACHINE_SHUTDOWN_SIGNAL);
}

static void on_signal(struct loop_fd *watch, uint32_t events)
{
	struct daemon *daemon = container_of(watch, struct daemon, signals);
	struct signalfd_siginfo info;

	while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			command_ended(daemon);
		else
			told_to_end(daemon, &info);
	}
}

static int begin(struct daemon *daemon, struct ob_error *err)
{
	int rc;

	daemon->signals = (struct loop_fd){.fd = -1, .events = EPOLLIN, .ready = on_signal};
	daemon->loop = loop_new();
	if (daemon->loop)
		daemon->machine = machine_new(daemon->loop, daemon->log);
	if (!daemon->machine)
		return ob_error_set(err, -ENOMEM, "cannot begin: %s", strerror(errno));
	machine_on_shutdown(daemon->machine, on_shutdown, daemon);
	rc = process_signals();
	if (rc >= 0) {
		daemon->signals.fd = rc;
		rc = loop_fd_add(daemon->loop, &daemon->signals);
	}
	if (!rc)
		rc = machine_guard_memory(daemon->machine);
	return rc ? ob_error_set(err, rc, "cannot begin: %s", strerror(-rc)) : 0;
}

static int make(struct daemon *daemon, pid_t parent, struct ob_error *err)
{
	struct args *args = daemon->args;
	int rc = 0;

	if (args->exit_with_parent)
		rc = process_end_with_parent(parent, err);
	if (!rc)
		rc = process_listen_fds(&args->sockets, err);
	if (!rc)
		rc = plan_give_sockets(&args->plan, &args->sockets, err);
	if (!rc)
		rc = plan_make(&args->plan, daemon->machine, err);
	plan_free(&args->plan);
	/* Nobody could ever reach such a process. */
	if (!rc && !machine_server_at(daemon->machine, 0))
		rc = ob_error_set(err, -EINVAL,
		                  "no device is served: add -object "
		                  "x-vfio-user-server,id=ID,type=unix,path=PATH,device=ID");
	return rc;
}

static int start_command(struct daemon *daemon, struct ob_error *err)
{
	pid_t pid;
	int rc = attach_set_environment(daemon->machine);

	if (rc)
		return ob_error_set(err, rc, "--run: %s", strerror(-rc));
	unsetenv("NOTIFY_SOCKET"); /* it is for us */
	pid = process_start_command(daemon->args->run);
	if (pid < 0)
		return ob_error_set(err, pid, "--run: %s", strerror(-pid));
	daemon->command = pid;
	return 0;
}

/* Clients can connect: tells everybody who waits for that. */
static int announce(struct daemon *daemon, struct ob_error *err)
{
	struct args *args = daemon->args;

	/* With a command, standard output is the command's. */
	if (!args->quiet && !args->run && attach_print(daemon->machine, stdout))
		return ob_error_set(err, -ENOMEM, "out of memory");
	if (args->ready_fd >= 0)
		process_write_ready(args->ready_fd);
	process_notify("READY=1");
	return args->run ? start_command(daemon, err) : 0;
}

static void end(struct daemon *daemon)
{
	if (daemon->signals.fd >= 0) {
		loop_fd_remove(daemon->loop, &daemon->signals);
		close(daemon->signals.fd);
	}
	machine_free(daemon->machine);
	loop_free(daemon->loop);
}

static void fail(struct daemon *daemon, const struct ob_error *err)
{
	log_error(daemon->log, "%s", err->message);
	daemon->status = EXIT_FAILURE;
}

/* Serves, or removes again what was made before something failed; until nothing is left. */
static void serve(struct daemon *daemon, pid_t parent)
{
	struct ob_error err = {0};
	int rc = make(daemon, parent, &err);

	if (!rc)
		rc = announce(daemon, &err);
	if (rc) {
		fail(daemon, &err);
		stop(daemon);
	}
	rc = loop_run(daemon->loop);
	if (rc) {
		/* Nothing can be stopped in order without a loop. */
		log_error(daemon->log, "the event loop failed: %s", strerror(-rc));
		exit(EXIT_FAILURE);
	}
}

int daemon_run(struct args *args, struct log *log, pid_t parent)
{
	struct daemon daemon = {.args = args, .log = log};
	struct ob_error err = {0};

	if (begin(&daemon, &err))
		fail(&daemon, &err);
	else
		serve(&daemon, parent);
	end(&daemon);
	return daemon.status;
}
