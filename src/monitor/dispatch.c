/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a request to its reply: qmp-spec.rst, section "Issuing Commands". A command's function sees
 * arguments that the schema allows, and nothing else. Errors are worded as QEMU words them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

struct json_object *qmp_greeting(void)
{
	struct json_object *greeting = json_object_new_object();
	struct json_object *qmp = json_object_new_object();

	json_object_object_add(qmp, "version", qmp_version());
	json_object_object_add(qmp, "capabilities", json_object_new_array());
	json_object_object_add(greeting, "QMP", qmp);
	return greeting;
}

struct json_object *qmp_error_reply(const char *class, const char *text)
{
	struct json_object *reply = json_object_new_object();
	struct json_object *error = json_object_new_object();

	put_str(error, "class", class ? class : "GenericError");
	put_str(error, "desc", text);
	json_object_object_add(reply, "error", error);
	return reply;
}

static int refuse(struct qmp_error *err, const char *class, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct qmp_error *err, const char *class, const char *format, ...)
{
	va_list args;

	err->class = class;
	va_start(args, format);
	vsnprintf(err->text.message, sizeof(err->text.message), format, args);
	va_end(args);
	return -EINVAL;
}

static bool has_value(const struct arg *arg, const char *value)
{
	for (const char *const *known = arg->values; *known; known++) {
		if (!strcmp(*known, value))
			return true;
	}
	return false;
}

static int check_one(const struct arg *arg, const char *name, struct json_object *value,
                     struct qmp_error *err)
{
	static const struct {
		enum json_type type;
		const char *name;
	} wanted[] = {
		[ARG_STR] = {json_type_string, "string"},
		[ARG_INT] = {json_type_int, "integer"},
		[ARG_BOOL] = {json_type_boolean, "boolean"},
		[ARG_ENUM] = {json_type_string, "string"},
	};

	if (arg->type == ARG_ANY)
		return 0;
	if (!json_object_is_type(value, wanted[arg->type].type))
		return refuse(err, NULL, "Invalid parameter type for '%s', expected: %s", name,
		              wanted[arg->type].name);
	if (arg->type == ARG_ENUM && !has_value(arg, json_object_get_string(value)))
		return refuse(err, NULL, "Parameter '%s' does not accept value '%s'", name,
		              json_object_get_string(value));
	return 0;
}

static int check_list(const struct arg *arg, struct json_object *value, struct qmp_error *err)
{
	char name[64];
	int rc = 0;

	if (!json_object_is_type(value, json_type_array))
		return refuse(err, NULL, "Invalid parameter type for '%s', expected: array",
		              arg->name);
	for (size_t i = 0; !rc && i < json_object_array_length(value); i++) {
		snprintf(name, sizeof(name), "%s[%zu]", arg->name, i);
		rc = check_one(arg, name, json_object_array_get_idx(value, i), err);
	}
	return rc;
}

static bool takes(const struct command *command, const char *name)
{
	for (unsigned i = 0; i < command->arg_count; i++) {
		if (!strcmp(command->args[i].name, name))
			return true;
	}
	return command->open;
}

static int check_args(const struct command *command, struct json_object *args,
                      struct qmp_error *err)
{
	const struct arg *arg;
	struct json_object *value;
	int rc = 0;

	for (unsigned i = 0; !rc && i < command->arg_count; i++) {
		arg = &command->args[i];
		if (!json_object_object_get_ex(args, arg->name, &value)) {
			if (!arg->optional)
				rc = refuse(err, NULL, "Parameter '%s' is missing", arg->name);
		} else {
			rc = arg->list ? check_list(arg, value, err)
			               : check_one(arg, arg->name, value, err);
		}
	}
	if (rc)
		return rc;
	json_object_object_foreach(args, name, ignored)
	{
		(void)ignored;
		if (!takes(command, name))
			return refuse(err, NULL, "Parameter '%s' is unexpected", name);
	}
	return 0;
}

static int check_request(struct json_object *request, struct qmp_error *err)
{
	json_object_object_foreach(request, name, value)
	{
		if (!strcmp(name, "execute")) {
			if (!json_object_is_type(value, json_type_string))
				return refuse(err, NULL,
				              "QMP input member 'execute' must be a string");
		} else if (!strcmp(name, "arguments")) {
			if (!json_object_is_type(value, json_type_object))
				return refuse(err, NULL,
				              "QMP input member 'arguments' must be an object");
		} else if (strcmp(name, "id") != 0) {
			return refuse(err, NULL, "QMP input member '%s' is unexpected", name);
		}
	}
	if (!json_object_object_get(request, "execute"))
		return refuse(err, NULL, "QMP input lacks member 'execute'");
	return 0;
}

static const struct command *find_command(const char *name)
{
	for (const struct command *command = monitor_commands; command->name; command++) {
		if (!strcmp(command->name, name))
			return command;
	}
	return NULL;
}

static int run(struct monitor *monitor, struct json_object *request, struct json_object **ret,
               struct qmp_error *err)
{
	struct json_object *args, *none = NULL;
	const struct command *command;
	const char *name;
	int rc = check_request(request, err);

	if (rc)
		return rc;
	name = get_str(request, "execute");
	command = find_command(name);
	if (!monitor->negotiated && strcmp(name, "qmp_capabilities") != 0)
		return refuse(err, "CommandNotFound",
		              "Expecting capabilities negotiation with 'qmp_capabilities'");
	if (!command)
		return refuse(err, "CommandNotFound", "The command %s has not been found", name);
	if (!json_object_object_get_ex(request, "arguments", &args))
		args = none = json_object_new_object();
	rc = check_args(command, args, err);
	if (!rc)
		rc = command->run(monitor, args, ret, err);
	json_object_put(none);
	return rc;
}

static struct json_object *with_id(struct json_object *reply, struct json_object *id)
{
	json_object_object_add(reply, "id", id);
	return reply;
}

/* Whether a command only asks. */
static bool only_asks(const char *name, struct json_object *request)
{
	static const char *const questions[] = {"query-", "qom-list", "qom-get", "device-list-",
	                                        "qmp_capabilities"};
	const char *line;

	for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
		if (!strncmp(name, questions[i], strlen(questions[i])))
			return true;
	}
	if (strcmp(name, "human-monitor-command") != 0)
		return false;
	line = get_str(json_object_object_get(request, "arguments"), "command-line");
	return line && (!strncmp(line, "info", 4) || !strncmp(line, "help", 4));
}

/*
 * Who did what stands in the log: what was done always, since that is what somebody asks for later;
 * what was refused as far as there is room, since it can be repeated for ever.
 */
static void log_command(struct monitor *monitor, struct json_object *request, int rc,
                        const struct qmp_error *err)
{
	struct json_object *name = json_object_object_get(request, "execute");
	struct json_object *args = json_object_object_get(request, "arguments");
	const char *text =
		json_object_is_type(name, json_type_string) ? json_object_get_string(name) : NULL;
	bool done = !rc || rc == -EINPROGRESS;

	if (!text || only_asks(text, request))
		return;
	log_info(done ? &monitor->set->deeds : &monitor->set->log, "%s: %.40s %.300s%s%.200s",
	         monitor->who, text, args ? json_object_to_json_string(args) : "",
	         done ? "" : " refused: ", done ? "" : err->text.message);
}

struct json_object *qmp_dispatch(struct monitor *monitor, struct json_object *request)
{
	struct json_object *id, *reply, *ret = NULL;
	bool has_id = json_object_object_get_ex(request, "id", &id);
	struct qmp_error err = {0};
	int rc = run(monitor, request, &ret, &err);

	log_command(monitor, request, rc, &err);
	if (rc == -EINPROGRESS) {
		monitor->busy = true;
		monitor->has_busy_id = has_id;
		monitor->busy_id = has_id ? json_object_get(id) : NULL;
		return NULL;
	}
	if (rc) {
		json_object_put(ret);
		reply = qmp_error_reply(err.class, err.text.message);
	} else {
		reply = json_object_new_object();
		json_object_object_add(reply, "return", ret ? ret : json_object_new_object());
	}
	return has_id ? with_id(reply, json_object_get(id)) : reply;
}

struct json_object *qmp_finish(struct monitor *monitor)
{
	struct ob_error *failure = &monitor->waiter.failure;
	struct json_object *reply;

	monitor->busy = false;
	if (failure->message[0]) {
		log_info(&monitor->set->log, "%s: that failed: %.400s", monitor->who,
		         failure->message);
		reply = qmp_error_reply(NULL, failure->message);
		failure->message[0] = '\0';
	} else {
		reply = json_object_new_object();
		json_object_object_add(reply, "return", json_object_new_object());
	}
	return monitor->has_busy_id ? with_id(reply, take_ptr(&monitor->busy_id)) : reply;
}
