/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line; see command.h. */
#include "obctl/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/opts.h"
#include "base/props.h"
#include "base/suggest.h"

const struct command *const commands[] = {
	&command_probe, &command_read,    &command_write,   &command_ping,
	&command_trace, &command_nvme_io, &command_migrate, &command_list,
	&command_info,  &command_add,     &command_del,     &command_resize,
	&command_stats, &command_events,  &command_top,     &command_qmp,
	NULL,
};

/* Help */

static void print_commands(bool monitor, FILE *out)
{
	for (const struct command *const *command = commands; *command; command++) {
		if ((*command)->monitor == monitor)
			fprintf(out, "  %-9s %-26s %s\n", (*command)->name, (*command)->words,
			        (*command)->summary);
	}
}

static void print_help(FILE *out)
{
	fputs("Usage: obctl COMMAND ... [--OPTION...]\n"
	      "       obctl -s MONITOR COMMAND ... [--OPTION...]\n"
	      "       obctl COMMAND --help\n"
	      "\n"
	      "Talks to a device that is served over vfio-user, without a virtual machine:\n",
	      out);
	print_commands(false, out);
	fputs("\n"
	      "A server has one client at a time: while a virtual machine uses a device, only "
	      "trace\n"
	      "can look at what they say, from in between.\n"
	      "\n"
	      "Looks at a running outboard and changes it, by its monitor (outboard -qmp "
	      "unix:MONITOR,...):\n",
	      out);
	print_commands(true, out);
}

static void print_option(const struct ob_prop *prop, FILE *out)
{
	static const char *const types[] = {
		[OB_PROP_BOOL] = "",         [OB_PROP_UINT32] = "=NUMBER", [OB_PROP_SIZE] = "=SIZE",
		[OB_PROP_STRING] = "=VALUE", [OB_PROP_ENUM] = "=",         [OB_PROP_BLOCKS] = "",
		[OB_PROP_CHARDEV] = "",
	};
	char left[96];
	size_t n = (size_t)snprintf(left, sizeof(left), "--%s%s", prop->name, types[prop->type]);

	for (uint32_t i = 0; prop->type == OB_PROP_ENUM && prop->choices[i]; i++) {
		if (n < sizeof(left))
			n += (size_t)snprintf(left + n, sizeof(left) - n, "%s%s", i ? "|" : "",
			                      prop->choices[i]);
	}
	fprintf(out, "  %-28s %s", left, prop->help);
	if (prop->type == OB_PROP_UINT32 && (prop->min || prop->max))
		fprintf(out, ", %" PRIu64 " to %" PRIu64, prop->min, prop->max);
	if (prop->preset)
		fprintf(out, " (default: %s)", prop->preset);
	fputc('\n', out);
}

static void print_command_help(const struct command *command, FILE *out)
{
	fprintf(out, "Usage: obctl %s %s [--OPTION...]\n\n%s.\n%s\n", command->name, command->words,
	        command->summary, command->details);
	for (const struct ob_prop *prop = command->options; prop->name; prop++)
		print_option(prop, out);
}

static int printed(void)
{
	return fflush(stdout) || ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Parsing */

static const struct command *find_command(const char *name)
{
	for (const struct command *const *command = commands; *command; command++) {
		if (!strcmp((*command)->name, name))
			return *command;
	}
	return NULL;
}

static const struct ob_prop *find_option(const struct command *command, const char *name,
                                         size_t length)
{
	for (const struct ob_prop *prop = command->options; prop->name; prop++) {
		if (strlen(prop->name) == length && !memcmp(prop->name, name, length))
			return prop;
	}
	return NULL;
}

static const struct ob_prop *find_letter(const struct command *command, char letter)
{
	for (const struct ob_prop *prop = command->options; prop->name; prop++) {
		if (command->monitor && prop->name[0] == letter)
			return prop;
	}
	return NULL;
}

static bool is_option(const struct command *command, const char *word)
{
	if (!strncmp(word, "--", 2))
		return word[2];
	return command->monitor && word[0] == '-' && word[1];
}

/* whole: as it was given; word: without what stands in front of the name. */
static int refuse_option(const struct command *command, const char *whole, const char *word,
                         struct ob_error *err)
{
	size_t length = strcspn(word, "=");
	char name[64];
	struct nearest nearest;

	snprintf(name, sizeof(name), "%.*s", (int)length, word);
	nearest = nearest_to(name);
	if (length > 1)
		nearest_try_props(&nearest, command->options);
	if (nearest.best)
		return ob_error_set(err, -EINVAL, "%s has no option '%s': did you mean '--%s'?",
		                    command->name, whole, nearest.best);
	return ob_error_set(err, -EINVAL, "%s has no option '%s'; obctl %s --help shows them all",
	                    command->name, whole, command->name);
}

/* The option at argv[*at]; *at moves to its last word. */
static int parse_option(const struct command *command, int argc, char *const *argv, int *at,
                        struct opts *opts, struct ob_error *err)
{
	const char *word = argv[*at] + 1 + (argv[*at][1] == '-');
	size_t length = strcspn(word, "=");
	const char *value = word[length] ? word + length + 1 : NULL;
	const struct ob_prop *prop = word != argv[*at] + 1 || length != 1
	                                     ? find_option(command, word, length)
	                                     : find_letter(command, *word);

	if (!prop)
		return refuse_option(command, argv[*at], word, err);
	if (!value && prop->type == OB_PROP_BOOL)
		value = "on";
	if (!value && *at + 1 == argc)
		return ob_error_set(err, -EINVAL, "--%s needs a value: %s", prop->name, prop->help);
	if (!value)
		value = argv[++*at];
	return opts_add(opts, prop->name, value) ? ob_error_set(err, -ENOMEM, "out of memory") : 0;
}

static int parse(const struct command *command, int argc, char *const *argv, const char **words,
                 struct opts *opts, struct ob_error *err)
{
	unsigned count = 0;
	int rc;

	for (int i = 2; i < argc; i++) {
		if (is_option(command, argv[i])) {
			rc = parse_option(command, argc, argv, &i, opts, err);
			if (rc)
				return rc;
		} else if (count == command->word_count + command->more_words) {
			return ob_error_set(err, -EINVAL, "'%s' is one word too many: obctl %s %s",
			                    argv[i], command->name, command->words);
		} else {
			words[count++] = argv[i];
		}
	}
	if (count < command->word_count)
		return ob_error_set(err, -EINVAL, "something is missing: obctl %s %s",
		                    command->name, command->words);
	return 0;
}

/* monitor: what -s said in front of the command; NULL: nothing. */
static int run(const struct command *command, const char *monitor, int argc, char *const *argv,
               struct ob_error *err)
{
	const char *words[COMMAND_MAX_WORDS] = {0};
	cleanup_opts struct opts opts = {0};
	cleanup_free void *options = calloc(1, command->options_size);
	int rc = options ? 0 : ob_error_set(err, -ENOMEM, "out of memory");

	if (!rc && monitor && !command->monitor)
		rc = ob_error_set(err, -EINVAL, "%s talks to a device, not to a monitor (-s)",
		                  command->name);
	if (!rc && monitor && opts_add(&opts, "socket", monitor))
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = parse(command, argc, argv, words, &opts, err);
	if (!rc)
		rc = props_apply(command->options, options, &opts, NULL, err);
	if (!rc)
		rc = command->run(words, options, err);
	if (options)
		props_free(command->options, options);
	return rc;
}

static int refuse_command(const char *name)
{
	struct nearest nearest = nearest_to(name);

	for (const struct command *const *command = commands; *command; command++)
		nearest_try(&nearest, (*command)->name);
	if (nearest.best)
		fprintf(stderr, "obctl: there is no command '%s': did you mean '%s'?\n", name,
		        nearest.best);
	else
		fprintf(stderr, "obctl: there is no command '%s'; obctl --help shows them all\n",
		        name);
	return EXIT_FAILURE;
}

int command_main(int argc, char *const *argv)
{
	const struct command *command;
	const char *monitor = NULL;
	struct ob_error err = {0};
	int rc;

	if (argc > 2 && !strcmp(argv[1], "-s")) {
		monitor = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (argc < 2) {
		print_help(stderr);
		return EXIT_FAILURE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_help(stdout);
		return printed();
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("obctl " OUTBOARD_VERSION);
		return printed();
	}
	command = find_command(argv[1]);
	if (!command)
		return refuse_command(argv[1]);
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			print_command_help(command, stdout);
			return printed();
		}
	}
	rc = run(command, monitor, argc, argv, &err);
	if (rc && err.message[0])
		fprintf(stderr, "obctl: %s\n", err.message);
	if (rc)
		return EXIT_FAILURE;
	return printed();
}

/* What commands have in common */

int connect_to(const char *path, const struct connect_options *options, bool busy,
               struct ob_client **out, struct ob_error *err)
{
	const struct ob_client_config config = {
		.timeout_ms = options->timeout, .twin_socket = options->twin, .busy = busy};

	return ob_client_connect(path, &config, out, err);
}

int client_error(const struct ob_client *client, int rc, const char *what, struct ob_error *err)
{
	return ob_error_set(err, rc, "%s: %s", what, ob_client_message(client));
}

static const char *const region_names[] = {"bar0", "bar1", "bar2",   "bar3", "bar4",
                                           "bar5", "rom",  "config", "vga"};

const char *region_name(unsigned index)
{
	return index < ARRAY_SIZE(region_names) ? region_names[index] : NULL;
}

int parse_number(const char *what, const char *text, uint64_t max, uint64_t *out,
                 struct ob_error *err)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(digits, &end, hex ? 16 : 10);
	/* strtoull would take signs and spaces. */
	if (*end || !strchr("0123456789abcdefABCDEF", digits[0]) || !digits[0] || errno ||
	    value > max)
		return ob_error_set(err, -EINVAL,
		                    "%s '%s': a number of at most 0x%" PRIx64
		                    ", decimal or hexadecimal with 0x, expected",
		                    what, text, max);
	*out = value;
	return 0;
}

int parse_region(const char *text, uint32_t *index, struct ob_error *err)
{
	uint64_t number;

	for (uint32_t i = 0; i < ARRAY_SIZE(region_names); i++) {
		if (!strcmp(text, region_names[i])) {
			*index = i;
			return 0;
		}
	}
	if (parse_number("region", text, UINT32_MAX, &number, NULL))
		return ob_error_set(
			err, -EINVAL,
			"region '%s': bar0 to bar5, rom, config, vga or a number expected", text);
	*index = (uint32_t)number;
	return 0;
}
