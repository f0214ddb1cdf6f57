/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of groups, and those that are about the process; see groups.h. */
#include "groups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/opts_json.h"
#include "base/props.h"
#include "base/suggest.h"

static int plan(struct plan_list *list, struct opts *opts, struct ob_error *err)
{
	int rc = plan_add(list, opts, false);

	return rc ? ob_error_set(err, rc, "out of memory") : 0;
}

static int add_device(struct args *args, struct opts *opts, struct ob_error *err)
{
	return plan(&args->plan.devices, opts, err);
}

static int add_blockdev(struct args *args, struct opts *opts, struct ob_error *err)
{
	return plan(&args->plan.blocks, opts, err);
}

static int add_object(struct args *args, struct opts *opts, struct ob_error *err)
{
	const char *type = opts_get(opts, "qom-type");

	if (type && !strcmp(type, "monitor-qmp"))
		return group_add_monitor_qmp(args, opts, err);
	return plan(&args->plan.objects, opts, err);
}

struct machine_options {
	char *type;
	bool vfio_user, auto_shutdown;
};

static const struct ob_prop machine_table[] = {
	{"type", OB_PROP_STRING, offsetof(struct machine_options, type),
         .help = "x-remote: the machine that serves devices, and the only one"},
	{"vfio-user", OB_PROP_BOOL, offsetof(struct machine_options, vfio_user), .preset = "on",
         .help = "on: there is no other protocol"},
	{"auto-shutdown", OB_PROP_BOOL, offsetof(struct machine_options, auto_shutdown),
         .help = "end when the last client has gone"},
	{0},
};

static int apply_machine(struct args *args, const struct machine_options *options,
                         struct ob_error *err)
{
	if (options->type && strcmp(options->type, "x-remote") != 0)
		return ob_error_set(err, -EINVAL,
		                    "machine '%s' is a guest's, and outboard runs none: x-remote "
		                    "is what serves devices",
		                    options->type);
	if (!options->vfio_user)
		return ob_error_set(err, -EINVAL,
		                    "vfio-user=off: outboard serves devices over vfio-user only");
	args->remote |= options->type != NULL;
	return 0;
}

/* Of an option that is given several times, as QEMU takes it, each adds to those before. */
static int add_machine(struct args *args, struct opts *opts, struct ob_error *err)
{
	const char *type = opts_get(opts, "type");
	bool given = opts_get(opts, "auto-shutdown");
	struct machine_options options = {0};
	int rc;

	if (type && !strcmp(type, "help")) {
		args->action = ARGS_MACHINE_HELP;
		return 0;
	}
	rc = group_take("-machine", machine_table, &options, opts, err);
	if (!rc)
		rc = apply_machine(args, &options, err);
	if (!rc && given)
		args->auto_shutdown = options.auto_shutdown ? ARGS_ON : ARGS_OFF;
	props_free(machine_table, &options);
	return rc;
}

struct name_options {
	char *guest;
	bool debug_threads;
};

static const struct ob_prop name_table[] = {
	{"guest", OB_PROP_STRING, offsetof(struct name_options, guest),
         .help = "what monitors say when they are asked for the name"},
	/* Threads have names anyway. */
	{"debug-threads", OB_PROP_BOOL, offsetof(struct name_options, debug_threads),
         .help = "without effect"},
	{0},
};

static int add_name(struct args *args, struct opts *opts, struct ob_error *err)
{
	struct name_options options = {0};
	int rc = group_take("-name", name_table, &options, opts, err);

	if (!rc && options.guest) {
		free(args->name);
		args->name = take_ptr(&options.guest);
	}
	props_free(name_table, &options);
	return rc;
}

/* As enum args_switch. */
static const char *const priority_names[] = {"auto", "off", "on", NULL};

struct msg_options {
	bool timestamp;
	uint32_t priority;
};

static const struct ob_prop msg_table[] = {
	{"timestamp", OB_PROP_BOOL, offsetof(struct msg_options, timestamp),
         .help = "put the time in front of log lines"},
	{"priority", OB_PROP_ENUM, offsetof(struct msg_options, priority),
         .choices = priority_names,
         .help = "put <N> in front of log lines, which is how the journal hears of their "
                 "priority; auto (if not given): where standard error is the journal"},
	{0},
};

static int add_msg(struct args *args, struct opts *opts, struct ob_error *err)
{
	struct msg_options options = {.timestamp = args->timestamps, .priority = args->priorities};
	int rc = group_take("-msg", msg_table, &options, opts, err);

	args->timestamps = options.timestamp;
	args->priorities = (enum args_switch)options.priority;
	return rc;
}

struct trace_options {
	char *enable;
};

static const struct ob_prop trace_table[] = {
	{"enable", OB_PROP_STRING, offsetof(struct trace_options, enable),
         .help = "log more about the objects whose ids match, as a shell matches file names"},
	{0},
};

static int add_trace(struct args *args, struct opts *opts, struct ob_error *err)
{
	struct trace_options options = {0};
	int rc = group_take("-trace", trace_table, &options, opts, err);

	if (!rc && options.enable && !strcmp(options.enable, "help"))
		args->action = ARGS_TRACE_HELP;
	else if (!rc && options.enable && opts_add(&args->traces, "enable", options.enable))
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	props_free(trace_table, &options);
	return rc;
}

static const struct group groups[] = {
	{"device", "driver", "id", add_device},   {"blockdev", "driver", "node-name", add_blockdev},
	{"object", "qom-type", "id", add_object}, {"drive", NULL, "id", group_add_drive},
	{"machine", "type", NULL, add_machine},   {"chardev", "backend", "id", group_add_chardev},
	{"mon", "chardev", "id", group_add_mon},  {"qmp", NULL, "id", group_add_qmp},
	{"name", "guest", NULL, add_name},        {"msg", NULL, NULL, add_msg},
	{"trace", "enable", NULL, add_trace},
};

const struct group *group_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		if (!strcmp(groups[i].name, name))
			return &groups[i];
	}
	return NULL;
}

const struct group *group_at(size_t index)
{
	return index < ARRAY_SIZE(groups) ? &groups[index] : NULL;
}

/* What asks for help instead of saying what is wanted: -device help, -device nvme,help. */
static bool asks_for_help(struct args *args, const struct group *group, const struct opts *opts,
                          int *rc, struct ob_error *err)
{
	bool devices = group->add == add_device;
	const char *kind = group->first_key ? opts_get(opts, group->first_key) : NULL;

	if (!kind || (!devices && group->add != add_blockdev && group->add != add_object))
		return false;
	*rc = 0;
	if (!strcmp(kind, "help")) {
		args->action = ARGS_LIST;
		return true;
	}
	if (!devices || !opts_get(opts, "help"))
		return false;
	*rc = args_show_model(args, kind, err);
	return true;
}

int group_add_text(struct args *args, const struct group *group, const char *text,
                   struct ob_error *err)
{
	cleanup_opts struct opts opts = {0};
	int rc = *text == '{' ? opts_parse_json(&opts, text, err)
	                      : opts_parse(&opts, text, group->first_key, err);

	if (rc || asks_for_help(args, group, &opts, &rc, err))
		return rc;
	return group->add(args, &opts, err);
}

int group_take(const char *name, const struct ob_prop *table, void *target, struct opts *opts,
               struct ob_error *err)
{
	const struct ob_prop *const tables[] = {table, NULL};
	const char *const words[] = {NULL};
	int rc = refuse_unknown_keys(opts, name, tables, words, NULL, err);

	return rc ? rc : props_apply(table, target, opts, NULL, err);
}
