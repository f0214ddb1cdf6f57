/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parsing of the command line; see args.h.
 *
 * Options may stand anywhere, with one dash or two, and with their argument behind '=' or as the
 * next word. All other words are devices in the short form, kept apart by "--".
 */
#include "args.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "config_file.h"
#include "options.h"
#include "short_form.h"

/* systemd kills what has not ended after 90 s, as a rule. */
enum { STOP_TIMEOUT = 60, MAX_SECONDS = 1000000 };

/* The words that are no options, with NULL for each "--". */
struct words {
	const char **list;
	unsigned count;
};

int args_show_model(struct args *args, const char *name, struct ob_error *err)
{
	args->help_model = machine_find_model(name, err);
	args->action = ARGS_MODEL_HELP;
	return args->help_model ? 0 : -EINVAL;
}

static int add_socket(struct args *args, const char *key, const char *value, struct ob_error *err)
{
	int rc = opts_add(&args->sockets, key, value);

	return rc ? ob_error_set(err, rc, "out of memory") : 0;
}

static int parse_fd(const char *option, const char *text, int *fd, struct ob_error *err)
{
	uint64_t number;
	int rc = parse_uint(option, text, 0, INT32_MAX, &number, err);

	if (rc)
		return rc;
	if (fcntl((int)number, F_GETFD) < 0)
		return ob_error_set(err, -EBADF, "%s=%s: this descriptor is not open", option,
		                    text);
	*fd = (int)number;
	return 0;
}

static int parse_seconds(const char *option, const char *text, unsigned *seconds,
                         struct ob_error *err)
{
	uint64_t number;
	int rc = parse_uint(option, text, 0, MAX_SECONDS, &number, err);

	if (!rc)
		*seconds = (unsigned)number;
	return rc;
}

static int apply_argument(struct args *args, const struct option *option, const char *text,
                          struct ob_error *err)
{
	int fd, rc;

	switch (option->id) {
	case OPTION_GROUP:
		return group_add_text(args, group_find(option->name), text, err);
	case OPTION_CONFIG:
		return config_file_read(args, text, err);
	case OPTION_QMP:
	case OPTION_QMP_PRETTY:
		return group_add_qmp_text(args, text, option->id == OPTION_QMP_PRETTY, err);
	case OPTION_SOCKET_PATH:
		return add_socket(args, "path", text, err);
	case OPTION_FD:
		rc = parse_fd("--fd", text, &fd, err);
		return rc ? rc : add_socket(args, "fd", text, err);
	case OPTION_READY_FD:
		return parse_fd("--ready-fd", text, &args->ready_fd, err);
	case OPTION_STOP_TIMEOUT:
		return parse_seconds("--stop-timeout", text, &args->stop_timeout, err);
	case OPTION_PID_FILE:
		args->pid_file = text;
		return 0;
	case OPTION_LOG_FILE:
		args->log_file = text;
		return 0;
	case OPTION_INCOMING:
		args->incoming = text;
		return 0;
	case OPTION_RUN:
	default:
		args->run = text;
		return 0;
	}
}

static void apply_flag(struct args *args, enum option_id id)
{
	switch (id) {
	case OPTION_CHECK:
		args->check = true;
		break;
	case OPTION_EXIT_WITH_PARENT:
		args->exit_with_parent = true;
		break;
	case OPTION_STOPPED:
		args->stopped = true;
		break;
	case OPTION_DAEMONIZE:
		args->daemonize = true;
		break;
	case OPTION_QUIET:
		args->quiet = true;
		break;
	case OPTION_VERBOSE:
		args->verbose = true;
		break;
	case OPTION_LOG_TIMESTAMPS:
		args->timestamps = true;
		break;
	case OPTION_JSON:
		args->json = true;
		break;
	case OPTION_LIST:
		args->action = ARGS_LIST;
		break;
	case OPTION_VERSION:
		args->action = ARGS_VERSION;
		break;
	case OPTION_HELP:
		args->action = ARGS_HELP;
		break;
	case OPTION_NOTHING:
	default:
		break;
	}
}

/* The argument of an option: behind '=', or the next word, to which *at moves. */
static const char *argument_of(int argc, char *const *argv, int *at)
{
	const char *equals = strchr(argv[*at], '=');

	if (equals)
		return equals + 1;
	return *at + 1 < argc ? argv[++*at] : NULL;
}

/* Whether the remote machine is asked for is known at the end only: refuse_no_effect(). */
static int apply_qemu_option(struct args *args, const struct qemu_option *qemu, int argc,
                             char *const *argv, int *at, struct ob_error *err)
{
	const char *text = qemu->argument ? argument_of(argc, argv, at) : NULL;

	if (qemu->kind == QEMU_OPTION_NONE_ONLY && text && !strcmp(text, "none"))
		return 0;
	if (qemu->kind != QEMU_OPTION_NO_EFFECT)
		return ob_error_set(err, -EINVAL, "option -%s%s%s: %s", qemu->name, text ? " " : "",
		                    text ? text : "", qemu->why);
	if (qemu->argument && !text)
		return ob_error_set(err, -EINVAL, "-%s needs an argument", qemu->name);
	if (opts_get(&args->notes, qemu->name))
		return 0;
	return opts_add(&args->notes, qemu->name, qemu->why)
	               ? ob_error_set(err, -ENOMEM, "out of memory")
	               : 0;
}

/* The option at argv[*at]; *at moves to its last word. */
static int parse_option(struct args *args, int argc, char *const *argv, int *at,
                        struct ob_error *err)
{
	const char *word = argv[*at] + 1 + (argv[*at][1] == '-');
	size_t length = strcspn(word, "=");
	const struct qemu_option *qemu = NULL;
	const struct option *option = option_find(word, length, &qemu, err);
	const char *text;

	if (qemu)
		return apply_qemu_option(args, qemu, argc, argv, at, err);
	if (!option)
		return -EINVAL;
	if (!option->argument) {
		if (word[length])
			return ob_error_set(err, -EINVAL, "--%s takes no argument, but has '%s'",
			                    option->name, word + length + 1);
		apply_flag(args, option->id);
		return 0;
	}
	text = argument_of(argc, argv, at);
	if (!text)
		return ob_error_set(err, -EINVAL, "--%s needs an argument: %s", option->name,
		                    option->argument);
	return apply_argument(args, option, text, err);
}

static int parse_words(struct args *args, int argc, char *const *argv, struct words *words,
                       struct ob_error *err)
{
	int rc = 0;

	for (int i = 1; i < argc && !rc; i++) {
		const char *word = argv[i];

		if (!strcmp(word, "--"))
			words->list[words->count++] = NULL;
		else if (word[0] == '-' && word[1])
			rc = parse_option(args, argc, argv, &i, err);
		else
			words->list[words->count++] = word;
	}
	return rc;
}

/* Each run of words between two "--" is a device. */
static int add_short_forms(struct args *args, const struct words *words, struct ob_error *err)
{
	unsigned begin = 0;
	int rc = 0;

	for (unsigned i = 0; i <= words->count && !rc; i++) {
		if (i < words->count && words->list[i])
			continue;
		if (begin < i)
			rc = short_form_add(&args->plan, words->list + begin, i - begin,
			                    args->short_forms++, err);
		begin = i + 1;
	}
	return rc;
}

/* What has no effect with the remote machine is not part of anything else. */
static int refuse_no_effect(const struct args *args, struct ob_error *err)
{
	if (args->remote || !args->notes.count)
		return 0;
	return ob_error_set(err, -EINVAL, "option -%s: %s", args->notes.list[0].key,
	                    args->notes.list[0].value);
}

/* Options that cannot be meant together. */
static int check_together(const struct args *args, struct ob_error *err)
{
	const struct plan *plan = &args->plan;
	const char *beside = args->run                ? "--run"
	                     : args->exit_with_parent ? "--exit-with-parent"
	                                              : NULL;

	if (args->daemonize && beside)
		return ob_error_set(err, -EINVAL,
		                    "-daemonize leaves whoever started the process, and %s stays "
		                    "with it: choose one",
		                    beside);
	if (args->daemonize && args->stdio)
		return ob_error_set(
			err, -EINVAL,
			"-daemonize: a monitor or chardev on standard input and output has no "
			"place in the background");
	if (args->run && args->stdio)
		return ob_error_set(err, -EINVAL,
		                    "--run: standard input and output cannot be both the command's "
		                    "and a monitor's or chardev's");
	if (args->stopped && !plan->monitors.count)
		return ob_error_set(err, -EINVAL,
		                    "-S: without a monitor nobody could say 'cont': add -qmp "
		                    "unix:PATH,server=on,wait=off");
	/* With a monitor, everything may come later. */
	if (!args->problems.count && !plan->blocks.count && !plan->devices.count &&
	    !plan->chardevs.count && !plan->objects.count && !plan->monitors.count)
		return ob_error_set(
			err, -EINVAL,
			"no device is given: for example 'outboard nvme disk.img', or see "
			"outboard --help");
	return 0;
}

static int finish(struct args *args, const struct words *words, struct ob_error *err)
{
	int rc;

	if (args->action == ARGS_HELP && words->count && words->list[0])
		return args_show_model(args, words->list[0], err);
	if (args->action != ARGS_SERVE)
		return 0;
	rc = add_short_forms(args, words, err);
	if (!rc)
		rc = group_join_monitors(args, err);
	if (!rc)
		rc = refuse_no_effect(args, err);
	return rc ? rc : check_together(args, err);
}

int args_tolerate(struct args *args, int rc, const struct ob_error *err)
{
	if (!args->check || rc == -ENOMEM || opts_add(&args->problems, "", err->message))
		return rc;
	return 0;
}

/* Files that stand before it are to be read to their end, too. */
static bool asks_for_check(int argc, char *const *argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--check") || !strcmp(argv[i], "-check"))
			return true;
	}
	return false;
}

int args_parse(struct args *args, int argc, char *const *argv, struct ob_error *err)
{
	struct words words = {.list = calloc((size_t)argc + 1, sizeof(*words.list))};
	int rc;

	*args = (struct args){
		.ready_fd = -1, .stop_timeout = STOP_TIMEOUT, .check = asks_for_check(argc, argv)};
	if (!words.list)
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = parse_words(args, argc, argv, &words, err);
	if (!rc)
		rc = finish(args, &words, err);
	free(words.list);
	return rc;
}

void args_free(struct args *args)
{
	opts_free(&args->sockets);
	opts_free(&args->traces);
	opts_free(&args->notes);
	opts_free(&args->problems);
	plan_list_free(&args->chardevs);
	plan_free(&args->plan);
	free(args->name);
	args->name = NULL;
}

bool args_auto_shutdown(const struct args *args)
{
	return args->auto_shutdown == ARGS_UNSET ? args->remote : args->auto_shutdown == ARGS_ON;
}
