/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about the monitor and the process: QEMU's qapi/control.json, misc.json, run-state.json.
 */
#include <errno.h>
#include <stdlib.h>

#include "commands_made.h"
#include "internal.h"

struct json_object *qmp_version(void)
{
	struct json_object *version = json_object_new_object();
	struct json_object *triple = json_object_new_object();
	const char *at = OUTBOARD_VERSION;
	unsigned long number[3] = {0};
	char *end;

	for (unsigned i = 0; i < ARRAY_SIZE(number); i++) {
		number[i] = strtoul(at, &end, 10);
		at = *end ? end + 1 : end;
	}
	put_int(triple, "micro", number[2]);
	put_int(triple, "minor", number[1]);
	put_int(triple, "major", number[0]);
	json_object_object_add(version, "qemu", triple);
	put_str(version, "package", "outboard-" OUTBOARD_VERSION);
	return version;
}

int qmp_qmp_capabilities(struct monitor *monitor, struct json_object *args,
                         struct json_object **ret, struct qmp_error *err)
{
	struct json_object *enable = json_object_object_get(args, "enable");

	if (monitor->negotiated) {
		err->class = "CommandNotFound";
		return ob_error_set(
			&err->text, -EBUSY,
			"Capabilities negotiation is already complete, command ignored");
	}
	if (enable && json_object_array_length(enable))
		return ob_error_set(&err->text, -EINVAL, "Capability oob not available");
	monitor->negotiated = true;
	return 0;
}

int qmp_query_version(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                      struct qmp_error *err)
{
	*ret = qmp_version();
	return 0;
}

static void add_name(struct json_object *list, const char *name)
{
	struct json_object *info = json_object_new_object();

	put_str(info, "name", name);
	json_object_array_add(list, info);
}

int qmp_query_commands(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                       struct qmp_error *err)
{
	*ret = json_object_new_array();
	for (const struct command *command = monitor_commands; command->name; command++)
		add_name(*ret, command->name);
	return 0;
}

int qmp_query_events(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                     struct qmp_error *err)
{
	*ret = json_object_new_array();
	for (const char *const *name = monitor_events; *name; name++)
		add_name(*ret, *name);
	return 0;
}

int qmp_query_qmp_schema(struct monitor *monitor, struct json_object *args,
                         struct json_object **ret, struct qmp_error *err)
{
	*ret = json_tokener_parse(monitor_schema);
	return *ret ? 0 : ob_error_set(&err->text, -ENOMEM, "out of memory");
}

int qmp_query_name(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                   struct qmp_error *err)
{
	*ret = json_object_new_object();
	put_str(*ret, "name", monitor->set->env.name);
	return 0;
}

int qmp_query_status(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                     struct qmp_error *err)
{
	bool paused = machine_is_paused(monitor->set->env.machine);
	bool ending = monitor->set->shutting_down;
	const char *moved = NULL;

	*ret = json_object_new_object();
	if (!ending && !paused)
		moved = migration_run_state(monitor->set->env.moves);
	put_str(*ret, "status",
	        ending                                            ? "shutdown"
	        : machine_has_io_error(monitor->set->env.machine) ? "io-error"
	        : paused                                          ? "paused"
	        : moved                                           ? moved
	                                                          : "running");
	put_bool(*ret, "running", !paused && !ending && !moved);
	return 0;
}

int qmp_quit(struct monitor *monitor, struct json_object *args, struct json_object **ret,
             struct qmp_error *err)
{
	machine_shutdown(monitor->set->env.machine, MACHINE_SHUTDOWN_QUIT);
	return 0;
}

int qmp_stop(struct monitor *monitor, struct json_object *args, struct json_object **ret,
             struct qmp_error *err)
{
	return machine_pause(monitor->set->env.machine, &monitor->waiter);
}

int qmp_cont(struct monitor *monitor, struct json_object *args, struct json_object **ret,
             struct qmp_error *err)
{
	return moves_go_on(monitor->set->env.moves, &monitor->waiter, &err->text);
}

int qmp_system_reset(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                     struct qmp_error *err)
{
	machine_reset(monitor->set->env.machine);
	return 0;
}

int qmp_human_monitor_command(struct monitor *monitor, struct json_object *args,
                              struct json_object **ret, struct qmp_error *err)
{
	cleanup_text struct text out = {0};

	hmp_run(monitor->set, get_str(args, "command-line"), &out);
	*ret = json_object_new_string_len(out.bytes ? out.bytes : "", (int)out.length);
	return 0;
}
