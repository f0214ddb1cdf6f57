/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon; see daemon.h.
 *
 * Whatever ends it (a signal, a monitor, the end of its command or of its last client, an error
 * while things are made) goes the same way: machine_shutdown() tells everybody, the machine is
 * stopped in order, and the loop runs until nothing is left. A signal while it stops takes the
 * short way out; sockets are gone by then. So does time: storage may not answer for ever.
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
#include "background.h"
#include "base/list.h"
#include "ending.h"
#include "log_file.h"
#include "loop/loop.h"
#include "monitor/monitor.h"
#include "move/move.h"
#include "process.h"
#include "server/machine.h"
#include "short_form.h"

enum { TELL_NS = 1000000000 }; /* from the first line that is dropped */

struct daemon {
	struct args *args;
	struct log *log;
	struct ob_loop *loop;
	struct rlimit files; /* what a child may have open */
	struct machine *machine;
	struct moves *moves;
	struct monitors *monitors;
	struct loop_fd signals; /* .fd is -1 before it is open */
	struct opts named;      /* sockets of the service manager's: process_listen_fds() */
	int ready;              /* of background_begin(); -1: in the foreground, or ready already */
	int pid_file;           /* -1: none */
	struct log_file *log_file; /* NULL: none */
	struct log_sink sink;
	struct ob_timer tell; /* what the sink has */
	bool hangup_ignored;  /* as nohup has it */
	pid_t command;        /* 0: none runs */
	bool command_told;    /* to end */
	bool stopping, stopped;
	struct ob_timer give_up; /* stopping in order */
	int status;
};

static void on_stopped(void *context)
{
	struct daemon *daemon = context;

	daemon->stopped = true;
	loop_stop(daemon->loop);
}

/*
 * Some storage does not answer. What was acknowledged is with the kernel, as after any end of a
 * process, but it was not flushed; who waits for our end waits no longer. Nothing is freed: helper
 * threads use it.
 */
static void on_give_up(struct ob_timer *timer)
{
	struct daemon *daemon = container_of(timer, struct daemon, give_up);
	char what[1024];

	ending_describe(daemon->machine, what, sizeof(what));
	log_error(daemon->log,
	          "ends without what it has waited for since %u s (--stop-timeout), and maybe "
	          "without having flushed: %s",
	          daemon->args->stop_timeout, what);
	log_sink_tell(&daemon->sink);
	pid_file_remove(daemon->args->pid_file, daemon->pid_file);
	_exit(daemon->status ? daemon->status : EXIT_FAILURE);
}

/* What machine_shutdown() comes to. */
static void stop(void *context, enum machine_shutdown reason)
{
	struct daemon *daemon = context;

	if (daemon->stopping)
		return;
	daemon->stopping = true;
	log_debug(daemon->log, "ends: %s", machine_shutdown_name(reason));
	process_notify("STOPPING=1");
	/* Nothing can be made any more. What they have to say goes out. */
	monitors_free(daemon->monitors);
	daemon->monitors = NULL;
	machine_stop(daemon->machine, on_stopped, daemon);
	/* Without memory for the timer, a signal is left. */
	if (daemon->args->stop_timeout)
		(void)ob_timer_arm(daemon->loop, &daemon->give_up,
		                   daemon->args->stop_timeout * UINT64_C(1000000000));
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

/*
 * A SIGHUP that somebody sends asks for log files to be opened again, as of every daemon. That of a
 * terminal which is gone ends us, as of every program in the foreground.
 */
static void hung_up(struct daemon *daemon, const struct signalfd_siginfo *info)
{
	if (info->ssi_code == SI_KERNEL && !daemon->hangup_ignored)
		told_to_end(daemon, info);
	else if (info->ssi_code != SI_KERNEL && daemon->log_file)
		log_file_reopen(daemon->log_file, daemon->loop);
	else if (info->ssi_code != SI_KERNEL)
		log_info(daemon->log, "SIGHUP: there is no log file (-D) to open again; SIGTERM "
		                      "ends this process");
}

static void on_signal(struct loop_fd *watch, uint32_t events)
{
	struct daemon *daemon = container_of(watch, struct daemon, signals);
	struct signalfd_siginfo info;

	while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			command_ended(daemon);
		else if (info.ssi_signo == SIGHUP)
			hung_up(daemon, &info);
		else
			told_to_end(daemon, &info);
	}
}

static int open_log(struct daemon *daemon, struct ob_error *err)
{
	const char *path = daemon->args->log_file;

	if (path)
		daemon->log_file = log_file_open(daemon->log, path, err);
	return path && !daemon->log_file ? -EINVAL : 0;
}

/* What has to be done by the process that was started, or before there is anything else. */
static int begin_process(struct daemon *daemon, pid_t parent, struct ob_error *err)
{
	struct args *args = daemon->args;
	int rc = open_log(daemon, err);

	process_raise_files(&daemon->files);
	if (!rc && args->exit_with_parent)
		rc = process_end_with_parent(parent, err);
	if (!rc)
		rc = process_listen_fds(&daemon->named, err);
	if (!rc && args->daemonize) {
		rc = background_begin(err);
		if (rc >= 0)
			daemon->ready = rc;
	}
	return rc < 0 ? rc : 0;
}

static void tell_later(struct daemon *daemon)
{
	/* Without memory for the timer, the next line that is dropped tries again. */
	if (ob_timer_arm(daemon->loop, &daemon->tell, TELL_NS))
		daemon->sink.waiting = false;
}

static void on_due(struct log_sink *sink)
{
	tell_later(container_of(sink, struct daemon, sink));
}

static void on_tell(struct ob_timer *timer)
{
	struct daemon *daemon = container_of(timer, struct daemon, tell);

	if (log_sink_tell(&daemon->sink))
		tell_later(daemon);
}

static void begin_log(struct daemon *daemon)
{
	log_sink_init(&daemon->sink, on_due);
	daemon->tell.expired = on_tell;
	daemon->give_up.expired = on_give_up;
	daemon->log->sink = &daemon->sink;
}

/* Nobody comes later. */
static void end_log(struct daemon *daemon)
{
	if (!daemon->log->sink)
		return;
	log_sink_tell(&daemon->sink);
	log_end(daemon->log);
	ob_timer_cancel(daemon->loop, &daemon->tell);
	daemon->log->sink = NULL;
}

static int begin_loop(struct daemon *daemon, struct ob_error *err)
{
	int rc;

	daemon->loop = loop_new();
	if (daemon->loop)
		begin_log(daemon);
	if (daemon->loop)
		daemon->machine = machine_new(daemon->loop, daemon->log);
	if (!daemon->machine)
		return ob_error_set(err, -ENOMEM, "cannot begin: %s", strerror(errno));
	machine_on_shutdown(daemon->machine, stop, daemon);
	daemon->moves = moves_new(daemon->loop, daemon->log, daemon->machine);
	if (!daemon->moves)
		return ob_error_set(err, -ENOMEM, "cannot begin: out of memory");
	daemon->monitors = monitors_new(&(struct monitors_env){
		.loop = daemon->loop,
		.log = daemon->log,
		.machine = daemon->machine,
		.moves = daemon->moves,
		.short_form = short_form_tell,
		.name = daemon->args->name,
	});
	if (!daemon->monitors)
		return ob_error_set(err, -ENOMEM, "cannot begin: out of memory");
	daemon->hangup_ignored = process_ignores(SIGHUP);
	rc = process_signals();
	if (rc >= 0) {
		daemon->signals.fd = rc;
		rc = loop_fd_add(daemon->loop, &daemon->signals);
	}
	if (!rc)
		rc = machine_guard_memory(daemon->machine);
	return rc ? ob_error_set(err, rc, "cannot begin: %s", strerror(-rc)) : 0;
}

/* Their clients find all that the command line made. */
static int make_monitors(struct daemon *daemon, struct ob_error *err)
{
	struct plan_list *list = &daemon->args->plan.monitors;
	int rc = 0;

	for (size_t i = 0; i < list->count && !rc; i++)
		rc = monitors_add(daemon->monitors, &list->items[i].opts, err);
	return rc;
}

/* Devices that were just made stop, until those of others have come. */
static int wait_for_others(struct daemon *daemon, struct ob_error *err)
{
	const char *uri = daemon->args->incoming;
	int rc = moves_hold(daemon->moves, err);

	if (!rc && strcmp(uri, "defer") != 0)
		rc = moves_accept(daemon->moves, uri, err);
	return rc ? ob_error_prefix(err, rc, "-incoming") : 0;
}

static int make_objects(struct daemon *daemon, struct ob_error *err)
{
	struct args *args = daemon->args;
	int rc;

	machine_set_remote(daemon->machine, args->remote);
	machine_set_auto_shutdown(daemon->machine, args_auto_shutdown(args));
	/* Nothing is there yet, so nothing has to become quiet first. */
	if (args->stopped)
		machine_pause(daemon->machine, NULL);
	rc = plan_give_sockets(&args->plan, &args->sockets, &daemon->named, err);
	if (!rc && args->incoming)
		rc = plan_wait(&args->plan, err);
	if (!rc)
		rc = plan_make(&args->plan, daemon->machine, err);
	if (!rc && args->incoming)
		rc = wait_for_others(daemon, err);
	if (!rc)
		rc = make_monitors(daemon, err);
	plan_free(&args->plan);
	return rc;
}

/* A server object that somebody would have to complete. */
static int refuse_waiting(void *context, const struct machine_server_info *info)
{
	if (info->state != MACHINE_SERVER_WAITING)
		return 0;
	return ob_error_set(context, -EINVAL,
	                    "server '%s' has no %s, and without a monitor (-qmp) nobody can set "
	                    "it: add %s",
	                    info->id, info->missing,
	                    strcmp(info->missing, "device") ? "path= or fd=" : "device=");
}

/* Nobody could ever reach such a process, or change that. */
static int refuse_unreachable(struct daemon *daemon, struct ob_error *err)
{
	int rc;

	if (monitors_count(daemon->monitors))
		return 0;
	rc = machine_each_server(daemon->machine, refuse_waiting, err);
	if (!rc && !machine_server_at(daemon->machine, 0))
		rc = ob_error_set(err, -EINVAL,
		                  "no device is served: add -object "
		                  "x-vfio-user-server,id=ID,type=unix,path=PATH,device=ID");
	return rc;
}

static int make(struct daemon *daemon, struct ob_error *err)
{
	struct args *args = daemon->args;
	int rc = make_objects(daemon, err);

	if (!rc)
		rc = refuse_unreachable(daemon, err);
	if (!rc && args->pid_file) {
		daemon->pid_file = pid_file_make(args->pid_file, err);
		rc = daemon->pid_file < 0 ? daemon->pid_file : 0;
	}
	return rc;
}

static int start_command(struct daemon *daemon, struct ob_error *err)
{
	pid_t pid;
	int rc = attach_set_environment(daemon->machine);

	if (rc)
		return ob_error_set(err, rc, "--run: %s", strerror(-rc));
	unsetenv("NOTIFY_SOCKET"); /* it is for us */
	pid = process_start_command(daemon->args->run, &daemon->files);
	if (pid < 0)
		return ob_error_set(err, pid, "--run: %s", strerror(-pid));
	daemon->command = pid;
	return 0;
}

/* Standard output belongs to the command or the monitor, if there is one. */
static bool may_print(const struct daemon *daemon)
{
	return !daemon->args->quiet && !daemon->args->run && !daemon->args->stdio;
}

/* Clients can connect: tells everybody who waits for that. */
static int announce(struct daemon *daemon, struct ob_error *err)
{
	struct args *args = daemon->args;
	int rc;

	for (size_t i = 0; i < args->notes.count; i++)
		log_info(daemon->log, "-%s has no effect: %s", args->notes.list[i].key,
		         args->notes.list[i].value);
	if (may_print(daemon) && attach_print(daemon->machine, stdout))
		return ob_error_set(err, -ENOMEM, "out of memory");
	if (args->ready_fd >= 0)
		process_write_ready(args->ready_fd);
	process_notify("READY=1");
	if (daemon->ready >= 0) {
		rc = background_ready(daemon->ready);
		daemon->ready = -1;
		if (rc)
			return ob_error_set(err, rc, "-daemonize: %s", strerror(-rc));
	}
	return args->run ? start_command(daemon, err) : 0;
}

static void end(struct daemon *daemon)
{
	if (daemon->signals.fd >= 0) {
		if (daemon->loop)
			loop_fd_remove(daemon->loop, &daemon->signals);
		close(daemon->signals.fd);
	}
	monitors_free(daemon->monitors);
	moves_free(daemon->moves);
	machine_free(daemon->machine);
	end_log(daemon);
	if (daemon->loop)
		ob_timer_cancel(daemon->loop, &daemon->give_up);
	log_file_free(daemon->log_file);
	loop_free(daemon->loop);
	pid_file_remove(daemon->args->pid_file, daemon->pid_file);
	opts_free(&daemon->named);
}

/* Whoever started us looks at standard error, wherever the log is. */
static void fail(struct daemon *daemon, const struct ob_error *err)
{
	struct log log = log_copy(daemon->log);

	log_error(daemon->log, "%s", err->message);
	if (log.fd != STDERR_FILENO) {
		log.fd = STDERR_FILENO;
		log_error(&log, "%s", err->message);
	}
	daemon->status = EXIT_FAILURE;
}

/* Serves, or removes again what was made before something failed; until nothing is left. */
static void serve(struct daemon *daemon)
{
	struct ob_error err = {0};
	int rc = make(daemon, &err);

	if (!rc)
		rc = announce(daemon, &err);
	/* A signal may have come while an image was opened, which is where things were made until.
	 */
	if (rc && !machine_is_ending(daemon->machine)) {
		fail(daemon, &err);
		machine_shutdown(daemon->machine, MACHINE_SHUTDOWN_ERROR);
	}
	rc = daemon->stopped ? 0 : loop_run(daemon->loop);
	if (rc) {
		/* Nothing can be stopped in order without a loop. */
		log_error(daemon->log, "the event loop failed: %s", strerror(-rc));
		exit(EXIT_FAILURE);
	}
}

int daemon_run(struct args *args, struct log *log, pid_t parent)
{
	struct daemon daemon = {
		.args = args,
		.log = log,
		.signals = {.fd = -1, .events = EPOLLIN, .ready = on_signal},
		.ready = -1,
		.pid_file = -1,
	};
	struct ob_error err = {0};
	int rc = begin_process(&daemon, parent, &err);

	if (!rc)
		rc = begin_loop(&daemon, &err);
	if (rc)
		fail(&daemon, &err);
	else
		serve(&daemon);
	end(&daemon);
	return daemon.status;
}
