/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chardevs, for monitors and devices. Monitors: -qmp, and what it is short for, -chardev with -mon.
 * What each ends as is the list of options that monitors_add() takes: those of the chardev (but for
 * its id) and of the monitor.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/suggest.h"
#include "groups.h"

static int no_memory(struct ob_error *err)
{
	return ob_error_set(err, -ENOMEM, "out of memory");
}

static bool is(const struct opts *opts, const char *key, const char *value)
{
	const char *is = opts_get(opts, key);

	return is && !strcmp(is, value);
}

static struct plan_item *find_chardev(struct args *args, const char *id)
{
	for (size_t i = 0; i < args->chardevs.count; i++) {
		if (is(&args->chardevs.items[i].opts, "id", id))
			return &args->chardevs.items[i];
	}
	return NULL;
}

int group_add_chardev(struct args *args, struct opts *opts, struct ob_error *err)
{
	const char *id = opts_get(opts, "id");

	if (!id)
		return ob_error_set(err, -EINVAL, "-chardev needs id=");
	if (find_chardev(args, id))
		return ob_error_set(err, -EINVAL, "-chardev: '%s' is there already", id);
	return plan_add(&args->chardevs, opts, false) ? no_memory(err) : 0;
}

/* QEMU's own default is the monitor for people, so nothing is taken for granted here. */
int group_add_mon(struct args *args, struct opts *opts, struct ob_error *err)
{
	if (!opts_get(opts, "chardev"))
		return ob_error_set(err, -EINVAL, "-mon needs chardev=, the id of a -chardev");
	if (!is(opts, "mode", "control"))
		return ob_error_set(
			err, -EINVAL,
			"-mon: the line-oriented monitor is not offered: mode=control, and its "
			"command human-monitor-command");
	return plan_add(&args->plan.monitors, opts, false) ? no_memory(err) : 0;
}

int group_add_monitor_qmp(struct args *args, struct opts *opts, struct ob_error *err)
{
	cleanup_free char *action = opts_take(opts, "close-action");

	free(opts_take(opts, "qom-type"));
	if (action && strcmp(action, "keep") != 0)
		return ob_error_set(err, -EINVAL,
		                    "-object monitor-qmp: close-action=%s cannot be had: a monitor "
		                    "stays for the next client",
		                    action);
	if (!opts_get(opts, "chardev"))
		return ob_error_set(err, -EINVAL,
		                    "-object monitor-qmp needs chardev=, the id of a -chardev");
	if (opts_add(opts, "mode", "control"))
		return no_memory(err);
	return group_add_mon(args, opts, err);
}

/* As a section of the configuration file: path=, fd= or backend=stdio. */
int group_add_qmp(struct args *args, struct opts *opts, struct ob_error *err)
{
	if (!opts_get(opts, "backend") && opts_add(opts, "backend", "socket"))
		return no_memory(err);
	/* With a path of its own nobody has to say that we are the one who listens. */
	if (opts_get(opts, "path") && !opts_get(opts, "server") && opts_add(opts, "server", "on"))
		return no_memory(err);
	if (opts_get(opts, "path") && !opts_get(opts, "wait") && !opts_get(opts, "nowait") &&
	    opts_add(opts, "wait", "off"))
		return no_memory(err);
	return plan_add(&args->plan.monitors, opts, false) ? no_memory(err) : 0;
}

/* What stands before the ':' of -qmp's argument; *rest is what is behind it. */
static bool begins(const char *text, const char *kind, const char **rest)
{
	size_t length = strlen(kind);

	*rest = text + length;
	return !strncmp(text, kind, length);
}

static int parse_qmp(struct opts *opts, const char *text, struct ob_error *err)
{
	const char *rest;
	int rc;

	if (begins(text, "unix:", &rest)) {
		rc = opts_parse(opts, rest, "path", err);
		if (!rc && opts_add(opts, "backend", "socket"))
			rc = no_memory(err);
		return rc;
	}
	if (begins(text, "fd:", &rest)) {
		rc = opts_parse(opts, rest, "fd", err);
		if (!rc && opts_add(opts, "backend", "socket"))
			rc = no_memory(err);
		return rc;
	}
	if (begins(text, "chardev:", &rest)) {
		rc = opts_add(opts, "mode", "control");
		return rc || opts_add(opts, "chardev", rest) ? no_memory(err) : 0;
	}
	if (!strcmp(text, "stdio"))
		return opts_add(opts, "backend", "stdio") ? no_memory(err) : 0;
	return ob_error_set(err, -EINVAL,
	                    "-qmp '%s': expected unix:PATH,server=on,wait=off, or stdio, fd:N, "
	                    "chardev:ID",
	                    text);
}

int group_add_qmp_text(struct args *args, const char *text, bool pretty, struct ob_error *err)
{
	cleanup_opts struct opts opts = {0};
	int rc;

	if (!strcmp(text, "none"))
		return 0;
	rc = parse_qmp(&opts, text, err);
	if (!rc && pretty && opts_add(&opts, "pretty", "on"))
		rc = no_memory(err);
	if (rc)
		return rc;
	return plan_add(&args->plan.monitors, &opts, false) ? no_memory(err) : 0;
}

static int refuse_chardev(const struct args *args, const char *id, struct ob_error *err)
{
	struct nearest nearest = nearest_to(id);

	for (size_t i = 0; i < args->chardevs.count; i++)
		nearest_try(&nearest, opts_get(&args->chardevs.items[i].opts, "id"));
	return refuse_unknown(&nearest, "chardev", NULL, "make it with -chardev socket,id=ID,...",
	                      err);
}

/* The chardev's options, but for its id. */
static int append_chardev(struct opts *to, const struct opts *chardev)
{
	int rc = 0;

	for (size_t i = 0; i < chardev->count && !rc; i++) {
		if (strcmp(chardev->list[i].key, "id") != 0)
			rc = opts_add(to, chardev->list[i].key, chardev->list[i].value);
	}
	return rc;
}

static int join(struct args *args, struct opts *monitor, struct ob_error *err)
{
	cleanup_free char *name = opts_take(monitor, "chardev");
	struct plan_item *chardev;

	if (!name)
		return 0;
	chardev = find_chardev(args, name);
	if (!chardev)
		return refuse_chardev(args, name, err);
	if (chardev->used)
		return ob_error_set(err, -EINVAL, "chardev '%s' has a monitor already", name);
	chardev->used = true;
	return append_chardev(monitor, &chardev->opts) ? no_memory(err) : 0;
}

static unsigned count_stdio(const struct plan_list *list)
{
	unsigned count = 0;

	for (size_t i = 0; i < list->count; i++)
		count += is(&list->items[i].opts, "backend", "stdio");
	return count;
}

/* One at most has standard input and output. */
static int check_stdio(struct args *args, struct ob_error *err)
{
	unsigned devices = count_stdio(&args->plan.chardevs);
	unsigned count = devices + count_stdio(&args->plan.monitors);

	args->stdio = count > 0;
	if (devices && count > 1)
		return ob_error_set(err, -EINVAL,
		                    "standard input and output can be had once: give another "
		                    "chardev or monitor, a socket or a pty, in its place");
	return 0;
}

/* What no monitor has is there for devices. */
static int give_to_devices(struct args *args, struct plan_item *chardev, struct ob_error *err)
{
	struct plan_item *item;

	if (chardev->used)
		return 0;
	if (plan_add(&args->plan.chardevs, &chardev->opts, false))
		return no_memory(err);
	item = &args->plan.chardevs.items[args->plan.chardevs.count - 1];
	item->file = take_ptr(&chardev->file);
	item->line = chardev->line;
	item->lines = chardev->lines;
	chardev->lines = (struct opts){0};
	return 0;
}

int group_join_monitors(struct args *args, struct ob_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < args->plan.monitors.count && !rc; i++)
		rc = join(args, &args->plan.monitors.items[i].opts, err);
	for (size_t i = 0; i < args->chardevs.count && !rc; i++)
		rc = give_to_devices(args, &args->chardevs.items[i], err);
	return rc ? rc : check_stdio(args, err);
}
