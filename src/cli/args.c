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

#include "base/list.h"
#include "server/suggest.h"
#include "short_form.h"

enum option_id {
	OPTION_DEVICE,
	OPTION_BLOCKDEV,
	OPTION_OBJECT,
	OPTION_SOCKET_PATH,
	OPTION_FD,
	OPTION_RUN,
	OPTION_READY_FD,
	OPTION_EXIT_WITH_PARENT,
	OPTION_QUIET,
	OPTION_VERBOSE,
	OPTION_LOG_TIMESTAMPS,
	OPTION_LIST,
	OPTION_JSON,
	OPTION_HELP,
	OPTION_VERSION,
};

struct option {
	const char *name, *letter;
	const char *argument; /* what --help calls it; NULL: it takes none */
	const char *help;
};

static const struct option options[] = {
	[OPTION_DEVICE] = {"device", NULL, "MODEL[,key=value...]",
                           "add a device; -device MODEL,help shows its properties"},
	[OPTION_BLOCKDEV] = {"blockdev", NULL, "driver=DRIVER,node-name=NODE[,key=value...]",
                             "add a block node"},
	[OPTION_OBJECT] = {"object", NULL,
                           "x-vfio-user-server,id=ID,type=unix,path=PATH,device=ID[,key=value...]",
                           "serve a device at a socket"},
	[OPTION_SOCKET_PATH] =
		{"socket-path", NULL, "PATH",
                 "where to make the socket of the first device that names none; may be "
                 "given once for each"},
	[OPTION_FD] = {"fd", NULL, "N",
                       "the same with a listening socket that is inherited as descriptor N"},
	[OPTION_RUN] =
		{"run", NULL, "COMMAND",
                 "when clients can connect, start a shell command with $socket and $qemu_device "
                 "set, and end when it ends, with its exit status"},
	[OPTION_READY_FD] =
		{"ready-fd", NULL, "N",
                 "when clients can connect, write a newline to descriptor N and close it"},
	[OPTION_EXIT_WITH_PARENT] = {"exit-with-parent", NULL, NULL,
                                     "end when the process that started this one ends"},
	[OPTION_QUIET] = {"quiet", "q", NULL, "say nothing but warnings and errors"},
	[OPTION_VERBOSE] = {"verbose", "v", NULL, "log more"},
	[OPTION_LOG_TIMESTAMPS] = {"log-timestamps", NULL, NULL,
                                   "put the time in front of log lines"},
	[OPTION_LIST] = {"list", NULL, NULL, "show device models and block drivers"},
	[OPTION_JSON] = {"json", NULL, NULL, "with --list: as JSON, with all properties"},
	[OPTION_HELP] = {"help", "h", NULL, "show this, or with MODEL its properties"},
	[OPTION_VERSION] = {"version", "V", NULL, "show the version"},
};

/* The words that are no options, with NULL for each "--". */
struct words {
	const char **list;
	unsigned count;
};

void args_print_options(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *option = &options[i];

		fprintf(out, "  --%s", option->name);
		if (option->letter)
			fprintf(out, ", -%s", option->letter);
		if (option->argument)
			fprintf(out, " %s", option->argument);
		fprintf(out, "\n          %s\n", option->help);
	}
}

/* NULL with a message. */
static const struct option *find_option(const char *word, size_t length, struct ob_error *err)
{
	struct nearest nearest;
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)length, word);
	nearest = nearest_to(name);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const char *letter = options[i].letter;

		if (!strcmp(options[i].name, name) || (letter && !strcmp(letter, name)))
			return &options[i];
		nearest_try(&nearest, options[i].name);
	}
	if (nearest.best)
		ob_error_set(err, -EINVAL, "unknown option '--%s': did you mean '--%s'?", name,
		             nearest.best);
	else
		ob_error_set(err, -EINVAL, "unknown option '--%s': outboard --help shows all",
		             name);
	return NULL;
}

static int show_help_of(struct args *args, const char *name, struct ob_error *err)
{
	args->help_model = machine_find_model(name, err);
	args->action = ARGS_MODEL_HELP;
	return args->help_model ? 0 : -EINVAL;
}

/* -device nvme,... and its like; first_key is what a first word without '=' means. */
static int add_long(struct args *args, struct plan_list *list, const char *first_key,
                    const char *text, struct ob_error *err)
{
	cleanup_opts struct opts opts = {0};
	const char *kind;
	int rc = opts_parse(&opts, text, first_key, err);

	if (rc)
		return rc;
	kind = opts_get(&opts, first_key);
	if (kind && !strcmp(kind, "help")) {
		args->action = ARGS_LIST;
		return 0;
	}
	if (kind && list == &args->plan.devices && opts_get(&opts, "help"))
		return show_help_of(args, kind, err);
	rc = plan_add(list, &opts, false);
	return rc ? ob_error_set(err, rc, "out of memory") : 0;
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

static int apply_argument(struct args *args, enum option_id id, const char *text,
                          struct ob_error *err)
{
	int fd, rc;

	switch (id) {
	case OPTION_DEVICE:
		return add_long(args, &args->plan.devices, "driver", text, err);
	case OPTION_BLOCKDEV:
		return add_long(args, &args->plan.blocks, "driver", text, err);
	case OPTION_OBJECT:
		return add_long(args, &args->plan.objects, "qom-type", text, err);
	case OPTION_SOCKET_PATH:
		return add_socket(args, "path", text, err);
	case OPTION_FD:
		rc = parse_fd("--fd", text, &fd, err);
		return rc ? rc : add_socket(args, "fd", text, err);
	case OPTION_READY_FD:
		return parse_fd("--ready-fd", text, &args->ready_fd, err);
	case OPTION_RUN:
	default:
		args->run = text;
		return 0;
	}
}

static void apply_flag(struct args *args, enum option_id id)
{
	switch (id) {
	case OPTION_EXIT_WITH_PARENT:
		args->exit_with_parent = true;
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
	default:
		args->action = ARGS_HELP;
	}
}

/* The option at argv[*at]; *at moves to its last word. */
static int parse_option(struct args *args, int argc, char *const *argv, int *at,
                        struct ob_error *err)
{
	const char *word = argv[*at] + 1 + (argv[*at][1] == '-');
	size_t length = strcspn(word, "=");
	const char *text = word[length] ? word + length + 1 : NULL;
	const struct option *option = find_option(word, length, err);

	if (!option)
		return -EINVAL;
	if (!option->argument) {
		if (text)
			return ob_error_set(err, -EINVAL, "--%s takes no argument, but has '%s'",
			                    option->name, text);
		apply_flag(args, (enum option_id)(option - options));
		return 0;
	}
	if (!text && *at + 1 == argc)
		return ob_error_set(err, -EINVAL, "--%s needs an argument: %s", option->name,
		                    option->argument);
	return apply_argument(args, (enum option_id)(option - options), text ? text : argv[++*at],
	                      err);
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
	unsigned begin = 0, number = 0;
	int rc = 0;

	for (unsigned i = 0; i <= words->count && !rc; i++) {
		if (i < words->count && words->list[i])
			continue;
		if (begin < i)
			rc = short_form_add(&args->plan, words->list + begin, i - begin, number++,
			                    err);
		begin = i + 1;
	}
	return rc;
}

static int finish(struct args *args, const struct words *words, struct ob_error *err)
{
	int rc;

	if (args->action == ARGS_HELP && words->count && words->list[0])
		return show_help_of(args, words->list[0], err);
	if (args->action != ARGS_SERVE)
		return 0;
	rc = add_short_forms(args, words, err);
	if (!rc && !args->plan.blocks.count && !args->plan.devices.count &&
	    !args->plan.objects.count)
		return ob_error_set(
			err, -EINVAL,
			"no device is given: for example 'outboard nvme disk.img', or see "
			"outboard --help");
	return rc;
}

int args_parse(struct args *args, int argc, char *const *argv, struct ob_error *err)
{
	struct words words = {.list = calloc((size_t)argc + 1, sizeof(*words.list))};
	int rc;

	*args = (struct args){.ready_fd = -1};
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
	plan_free(&args->plan);
}
