/* SPDX-License-Identifier: BSD-3-Clause */
/* Parser of the configuration file; see config_file.h. */
#include "config_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/suggest.h"
#include "groups.h"
#include "short_form.h"

enum { NAME_MAX_LENGTH = 63, FIRST_ROOM = 4096 };

struct config {
	struct args *args;
	const char *name;    /* of the file */
	unsigned line, head; /* numbers of the line at hand and of the section's first */
	/* The section at hand: one of them, or neither before the first. */
	const struct group *group;
	const struct ob_model *model;
	struct opts opts, lines; /* lines: the numbers of those of its keys */
	struct ob_error *err;
};

static int complain(const struct config *config, unsigned line, const char *what)
{
	return ob_error_set(config->err, -EINVAL, "%s:%u: %s", config->name, line, what);
}

static const char *skip_blanks(const char *at)
{
	while (*at == ' ' || *at == '\t')
		at++;
	return at;
}

/* A name: a letter, then letters, digits, '-', '_' and '.'. NULL: there is none, or it is too long.
 */
static const char *take_name(const char *at, char name[NAME_MAX_LENGTH + 1])
{
	size_t length = 0;

	while (isalnum((unsigned char)at[length]) || (at[length] && strchr("-_.", at[length])))
		length++;
	if (!isalpha((unsigned char)*at) || length > NAME_MAX_LENGTH)
		return NULL;
	memcpy(name, at, length);
	name[length] = '\0';
	return at + length;
}

/* A value, in quotes or a word. NULL: there is none. */
static const char *take_value(const char *at, char value[CONFIG_LINE_MAX])
{
	size_t length;

	if (*at == '"') {
		length = strcspn(++at, "\"");
		if (at[length] != '"')
			return NULL;
		memcpy(value, at, length);
		value[length] = '\0';
		return at + length + 1;
	}
	for (length = 0; at[length] && !strchr(" \t\"#=", at[length]); length++)
		value[length] = at[length];
	value[length] = '\0';
	return length ? at + length : NULL;
}

/* Nothing but a comment may follow. */
static bool is_end(const char *at)
{
	at = skip_blanks(at);
	return !*at || *at == '#';
}

static int find_section(struct config *config, const char *kind)
{
	struct nearest nearest = nearest_to(kind);
	const struct group *group;
	char known[128];

	config->group = group_find(kind);
	if (config->group)
		return 0;
	for (const struct ob_model *const *model = device_models(); *model; model++) {
		if (!strcmp((*model)->name, kind)) {
			config->model = *model;
			return 0;
		}
		nearest_try(&nearest, (*model)->name);
	}
	for (size_t i = 0; (group = group_at(i)); i++)
		nearest_try(&nearest, group->name);
	snprintf(known, sizeof(known), "%s:%u", config->name, config->line);
	refuse_unknown(&nearest, "section", NULL, "outboard.conf(5) lists all", config->err);
	return ob_error_prefix(config->err, -EINVAL, "%s", known);
}

/* The short form has its arguments as words "key=value". */
static int add_short_form(struct config *config)
{
	struct opts *opts = &config->opts;
	const char **words = calloc(opts->count + 1, sizeof(*words));
	char **texts = calloc(opts->count + 1, sizeof(*texts));
	int rc = words && texts ? 0 : -ENOMEM;

	for (size_t i = 0; i < opts->count && !rc; i++) {
		if (asprintf(&texts[i], "%s=%s", opts->list[i].key, opts->list[i].value) < 0) {
			texts[i] = NULL;
			rc = -ENOMEM;
		}
		words[i + 1] = texts[i];
	}
	if (!rc) {
		words[0] = config->model->name;
		rc = short_form_add(&config->args->plan, words, (unsigned)opts->count + 1,
		                    config->args->short_forms++, config->err);
	} else {
		ob_error_set(config->err, rc, "out of memory");
	}
	for (size_t i = 0; texts && i < opts->count; i++)
		free(texts[i]);
	free(texts);
	free(words);
	return rc;
}

/* How many items each list has that a section may add to. */
enum { LISTS = 5 };

static void count_items(const struct args *args, size_t counts[LISTS])
{
	const struct plan *plan = &args->plan;

	counts[0] = plan->blocks.count;
	counts[1] = plan->devices.count;
	counts[2] = plan->objects.count;
	counts[3] = plan->monitors.count;
	counts[4] = args->chardevs.count;
}

static int note_place(struct config *config, const size_t before[LISTS])
{
	struct plan *plan = &config->args->plan;
	struct plan_list *const lists[] = {&plan->blocks, &plan->devices, &plan->objects,
	                                   &plan->monitors, &config->args->chardevs};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lists) && !rc; i++)
		rc = plan_place(lists[i], before[i], config->name, config->head, &config->lines);
	return rc ? ob_error_set(config->err, rc, "out of memory") : 0;
}

static int add_section(struct config *config)
{
	size_t before[LISTS];
	int rc = 0;

	count_items(config->args, before);
	if (config->group)
		rc = config->group->add(config->args, &config->opts, config->err);
	else if (config->model)
		rc = add_short_form(config);
	if (rc)
		return ob_error_prefix(config->err, rc, "%s:%u", config->name,
		                       plan_line(config->head, &config->lines, config->err->key));
	return note_place(config, before);
}

/* A section is complete. */
static int end_section(struct config *config)
{
	int rc = add_section(config);

	opts_free(&config->opts);
	opts_free(&config->lines);
	config->group = NULL;
	config->model = NULL;
	return rc;
}

static int parse_head(struct config *config, const char *at)
{
	char kind[NAME_MAX_LENGTH + 1], id[CONFIG_LINE_MAX];
	const char *id_key;
	bool has_id;
	int rc = end_section(config);

	if (rc)
		rc = args_tolerate(config->args, rc, config->err);
	if (rc)
		return rc;
	config->head = config->line;
	at = take_name(skip_blanks(at), kind);
	if (!at)
		return complain(config, config->line, "expected [SECTION] or [SECTION \"ID\"]");
	at = skip_blanks(at);
	has_id = *at == '"';
	if (has_id)
		at = take_value(at, id);
	at = at ? skip_blanks(at) : NULL;
	if (!at || *at != ']' || !is_end(at + 1))
		return complain(config, config->line, "expected [SECTION] or [SECTION \"ID\"]");
	rc = find_section(config, kind);
	if (rc || !has_id)
		return rc;
	id_key = config->group ? config->group->id_key : "id";
	if (!id_key)
		return complain(config, config->line, "this section has no id");
	rc = opts_add(&config->opts, id_key, id);
	return rc ? ob_error_set(config->err, rc, "out of memory") : 0;
}

static int parse_pair(struct config *config, const char *at)
{
	char key[NAME_MAX_LENGTH + 1], value[CONFIG_LINE_MAX], number[16];
	int rc;

	if (!config->group && !config->model)
		return complain(config, config->line, "expected a [SECTION] first");
	at = take_name(at, key);
	at = at ? skip_blanks(at) : NULL;
	if (!at || *at != '=')
		return complain(config, config->line, "expected KEY = \"VALUE\"");
	at = take_value(skip_blanks(at + 1), value);
	if (!at || !is_end(at))
		return complain(config, config->line, "expected KEY = \"VALUE\"");
	snprintf(number, sizeof(number), "%u", config->line);
	rc = opts_add(&config->opts, key, value);
	if (!rc)
		rc = opts_add(&config->lines, key, number);
	return rc ? ob_error_set(config->err, rc, "out of memory") : 0;
}

static int parse_line(struct config *config, const char *line)
{
	const char *at = skip_blanks(line);

	if (is_end(at))
		return 0;
	return *at == '[' ? parse_head(config, at + 1) : parse_pair(config, at);
}

/* Copies the line at text, without its end, and returns how long it is with that. */
static int cut_line(const struct config *config, const char *text, size_t length,
                    char line[CONFIG_LINE_MAX], size_t *used)
{
	const char *end = memchr(text, '\n', length);
	size_t n = end ? (size_t)(end - text) : length;

	*used = n + (end != NULL);
	if (n && text[n - 1] == '\r')
		n--;
	if (n >= CONFIG_LINE_MAX)
		return complain(config, config->line, "the line is too long");
	memcpy(line, text, n);
	line[n] = '\0';
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return complain(config, config->line, "a control character");
	}
	return 0;
}

int config_file_parse(struct args *args, const char *text, size_t length, const char *name,
                      struct ob_error *err)
{
	struct config config = {.args = args, .name = name, .err = err};
	char line[CONFIG_LINE_MAX] = "";
	int rc = 0;

	for (size_t at = 0, used; at < length && !rc; at += used) {
		config.line++;
		rc = cut_line(&config, text + at, length - at, line, &used);
		if (!rc)
			rc = parse_line(&config, line);
		if (rc)
			rc = args_tolerate(args, rc, err);
	}
	if (!rc)
		rc = end_section(&config);
	if (rc)
		rc = args_tolerate(args, rc, err);
	opts_free(&config.opts);
	opts_free(&config.lines);
	return rc;
}

/* All of a file, which may be a pipe. */
static int read_all(int fd, char **text, size_t *length)
{
	size_t room = 0, used = 0;

	for (;;) {
		ssize_t n;

		if (used == room) {
			char *more;

			if (room > CONFIG_FILE_MAX)
				return -EFBIG;
			room = room ? room * 2 : FIRST_ROOM;
			more = realloc(*text, room);
			if (!more)
				return -ENOMEM;
			*text = more;
		}
		n = read(fd, *text + used, room - used);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		used += n > 0 ? (size_t)n : 0;
	}
	*length = used;
	return 0;
}

int config_file_read(struct args *args, const char *path, struct ob_error *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	cleanup_free char *text = NULL;
	size_t length = 0;
	int rc;

	if (fd < 0)
		return ob_error_set(err, -errno, "%s: %s", path, strerror(errno));
	rc = read_all(fd, &text, &length);
	if (rc)
		return ob_error_set(err, rc, "%s: %s", path, strerror(-rc));
	return config_file_parse(args, text, length, path, err);
}
