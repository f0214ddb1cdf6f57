/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * query-short-form: what the command line's short way to name a device means, for programs that
 * offer the same words (obctl add). So there is one parser of them, and one that says what was
 * meant where a word is wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands_made.h"
#include "internal.h"

enum { MAX_WORDS = 256 };

struct planned {
	struct monitors_planned planned;
	const char *folder; /* NULL: the server's own */
	struct json_object *list;
};

/* What is no path stays as it is, to be refused as that. */
static bool is_relative(const struct opt *opt)
{
	if (opt->value[0] == '/')
		return false;
	return !strcmp(opt->key, "filename") || !strcmp(opt->key, "backend.data.out") ||
	       !strcmp(opt->key, "backend.data.path") ||
	       !strcmp(opt->key, "backend.data.addr.data.path") ||
	       (!strcmp(opt->key, "path") && !listener_check_form(opt->value, NULL));
}

/* Several values of one key become a list. */
static void put_value(struct json_object *args, const char *key, struct json_object *value)
{
	struct json_object *before, *list;

	if (!json_object_object_get_ex(args, key, &before)) {
		json_object_object_add(args, key, value);
	} else if (json_object_is_type(before, json_type_array)) {
		json_object_array_add(before, value);
	} else {
		list = json_object_new_array();
		json_object_array_add(list, json_object_get(before));
		json_object_array_add(list, value);
		json_object_object_add(args, key, list);
	}
}

/* Those of a chardev's backend are in each other. */
static void put_nested(struct json_object *args, const char *key, struct json_object *value)
{
	const char *dot = !strncmp(key, "backend.", 8) ? strchr(key, '.') : NULL;
	struct json_object *inner;
	char name[32];

	while (dot) {
		snprintf(name, sizeof(name), "%.*s", (int)(dot - key), key);
		if (!json_object_object_get_ex(args, name, &inner)) {
			inner = json_object_new_object();
			json_object_object_add(args, name, inner);
		}
		args = inner;
		key = dot + 1;
		dot = strchr(key, '.');
	}
	put_value(args, key, value);
}

static int add_command(struct monitors_planned *base, const char *name, const struct opts *opts)
{
	struct planned *planned = container_of(base, struct planned, planned);
	struct json_object *command = json_object_new_object();
	struct json_object *args = json_object_new_object();

	put_str(command, "execute", name);
	json_object_object_add(command, "arguments", args);
	json_object_array_add(planned->list, command);
	for (size_t i = 0; i < opts->count; i++) {
		const struct opt *opt = &opts->list[i];
		cleanup_free char *whole = NULL;

		if (planned->folder && is_relative(opt) &&
		    asprintf(&whole, "%s/%s", planned->folder, opt->value) < 0) {
			whole = NULL;
			return -ENOMEM;
		}
		put_nested(args, opt->key, json_object_new_string(whole ? whole : opt->value));
	}
	return 0;
}

/* It is made last. So that all that can be known to fail does so before anything is made: */
static int check_socket(struct json_object *commands, struct ob_error *err)
{
	size_t last = json_object_array_length(commands) - 1;
	struct json_object *args =
		json_object_object_get(json_object_array_get_idx(commands, last), "arguments");
	const char *path = get_str(args, "path");

	return path ? listener_check(path, err) : 0;
}

int qmp_query_short_form(struct monitor *monitor, struct json_object *args,
                         struct json_object **ret, struct qmp_error *err)
{
	struct json_object *list = json_object_object_get(args, "words");
	struct planned planned = {
		.planned.command = add_command,
		.folder = get_str(args, "folder"),
		.list = json_object_new_array(),
	};
	const char *words[MAX_WORDS];
	size_t count = json_object_array_length(list);
	int rc;

	*ret = planned.list;
	if (!monitor->set->env.short_form)
		return ob_error_set(&err->text, -ENOTSUP, "there is no command line here");
	if (!count || count > MAX_WORDS)
		return ob_error_set(&err->text, -EINVAL,
		                    "words: the model first, and at most %d in all, expected",
		                    MAX_WORDS);
	for (size_t i = 0; i < count; i++)
		words[i] = json_object_get_string(json_object_array_get_idx(list, i));
	rc = monitor->set->env.short_form(words, (unsigned)count, &planned.planned, &err->text);
	return rc ? rc : check_socket(planned.list, &err->text);
}
