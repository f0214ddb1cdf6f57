/* SPDX-License-Identifier: BSD-3-Clause */
/* outboard: serves emulated PCI devices over vfio-user. Dispatches what the command line asks for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "args.h"
#include "check.h"
#include "daemon.h"
#include "help.h"
#include "process.h"

/* Whoever reads this should learn of a full disk or a closed pipe. */
static int printed(void)
{
	return fflush(stdout) || ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int act(struct args *args, struct log *log, pid_t parent)
{
	switch (args->action) {
	case ARGS_HELP:
		help_print(stdout);
		return printed();
	case ARGS_MODEL_HELP:
		help_print_model(args->help_model, stdout);
		return printed();
	case ARGS_LIST:
		if (args->json)
			help_print_list_json(stdout);
		else
			help_print_list(stdout);
		return printed();
	case ARGS_MACHINE_HELP:
		help_print_machine(stdout);
		return printed();
	case ARGS_TRACE_HELP:
		help_print_trace(stdout);
		return printed();
	case ARGS_VERSION:
		puts("outboard " OUTBOARD_VERSION);
		return printed();
	case ARGS_SERVE:
	default:
		if (args->check)
			return check_run(args, log) ? EXIT_FAILURE : printed();
		return daemon_run(args, log, parent);
	}
}

int main(int argc, char **argv)
{
	pid_t parent = getppid();
	struct log log = {.fd = STDERR_FILENO, .level = LOG_INFO};
	struct ob_error err = {0};
	struct args args;
	int status = EXIT_FAILURE;

	if (process_fill_standard_fds())
		return EXIT_FAILURE;
	process_give_memory_back();
	if (args_parse(&args, argc, argv, &err)) {
		log_error(&log, "%s", err.message);
	} else {
		log.timestamps = args.timestamps;
		log.priorities = args.priorities == ARGS_ON ||
		                 (args.priorities == ARGS_UNSET && !args.log_file &&
		                  process_is_journal(log.fd));
		if (args.verbose)
			log.level = LOG_DEBUG;
		else if (args.quiet)
			log.level = LOG_WARN;
		log_set_traces(&log, &args.traces);
		status = act(&args, &log, parent);
	}
	args_free(&args);
	return status;
}
