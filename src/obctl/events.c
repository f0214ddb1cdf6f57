/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl events and qmp: what a monitor tells, and what it is told, in its own words. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "obctl/inventory.h"
#include "obctl/table.h"

struct events_options {
	struct monitor_options monitor;
	uint32_t number;
};

static const struct ob_prop events_options[] = {
	MONITOR_OPTIONS,
	{.name = "number",
         .type = OB_PROP_UINT32,
         .offset = offsetof(struct events_options, number),
         .help = "end after so many events; 0: do not end"},
	{0},
};

static void print_time(struct json_object *event)
{
	struct json_object *stamp = json_member(event, "timestamp");
	time_t seconds = (time_t)json_number(stamp, "seconds");
	char text[64] = "";
	struct tm local;

	if (localtime_r(&seconds, &local))
		strftime(text, sizeof(text), "%F %T", &local);
	printf("%s.%06u", text, (unsigned)json_number(stamp, "microseconds") % 1000000);
}

static void print_event(struct json_object *event)
{
	struct json_object *data = json_member(event, "data");

	print_time(event);
	printf(" %s", json_text(event, "event"));
	if (json_object_is_type(data, json_type_object)) {
		json_object_object_foreach(data, key, value)
		{
			printf(" %s=", key);
			print_plain(json_object_get_string(value), stdout);
		}
	}
	putchar('\n');
}

static int run_events(const char *const *words, const void *options, struct ob_error *err)
{
	const struct events_options *events = options;
	cleanup_qmp struct qmp *qmp = NULL;
	int rc = monitor_connect(&events->monitor, &qmp, err);

	for (uint32_t i = 0; !rc && (!events->number || i < events->number); i++) {
		cleanup_json struct json_object *event = NULL;

		do {
			rc = qmp_event(qmp, -1, &event, err);
		} while (rc == -EINTR);
		if (rc)
			break;
		if (events->monitor.json)
			print_json(event, false);
		else
			print_event(event);
		/* Whoever reads this wants to see it now. */
		if (fflush(stdout))
			rc = -errno;
	}
	return rc;
}

const struct command command_events = {
	.name = "events",
	.words = "",
	.summary = "Tells what happens as it happens: a line for each",
	.details = "Prints events as they happen, until the server ends.\n",
	.options = events_options,
	.options_size = sizeof(struct events_options),
	.monitor = true,
	.run = run_events,
};

static const struct ob_prop qmp_options[] = {MONITOR_OPTIONS, {0}};

/* A whole message, or a command and its arguments as an object. */
static int read_message(const char *const *words, struct json_object **message,
                        struct ob_error *err)
{
	enum json_tokener_error error;
	const char *text = words[0][0] == '{' ? words[0] : words[1];
	struct json_object *object = NULL;

	if (words[0][0] == '{' && words[1])
		return ob_error_set(err, -EINVAL, "'%s' is one word too many", words[1]);
	if (text) {
		object = json_tokener_parse_verbose(text, &error);
		if (!json_object_is_type(object, json_type_object)) {
			json_object_put(object);
			return ob_error_set(err, -EINVAL, "'%s': a JSON object expected", text);
		}
	}
	if (words[0][0] == '{') {
		*message = object;
		return 0;
	}
	*message = json_object_new_object();
	json_add_text(*message, "execute", words[0]);
	if (object)
		json_object_object_add(*message, "arguments", object);
	return 0;
}

static int run_qmp(const char *const *words, const void *options, struct ob_error *err)
{
	const struct monitor_options *monitor = options;
	cleanup_qmp struct qmp *qmp = NULL;
	cleanup_json struct json_object *message = NULL;
	cleanup_json struct json_object *reply = NULL;
	struct json_object *error;
	int rc = read_message(words, &message, err);

	if (!rc)
		rc = monitor_connect(monitor, &qmp, err);
	if (!rc)
		rc = qmp_exchange(qmp, message, &reply, err);
	if (rc)
		return rc;
	error = json_member(reply, "error");
	if (error)
		return ob_error_set(err, -EREMOTEIO, "%s: %s", json_text(error, "class"),
		                    json_text(error, "desc"));
	print_json(json_member(reply, "return"), !monitor->json);
	return 0;
}

const struct command command_qmp = {
	.name = "qmp",
	.words = "COMMAND [ARGUMENTS]",
	.word_count = 1,
	.more_words = 1,
	.summary = "Runs any command of the monitor's",
	.details = "ARGUMENTS is a JSON object. COMMAND may also be a whole message:\n"
		   "    obctl -s q.sock qmp query-status\n"
		   "    obctl -s q.sock qmp '{\"execute\": \"device_del\", \"arguments\": {\"id\": "
		   "\"d0\"}}'\n"
		   "Prints what it returns; --json puts that on one line.\n",
	.options = qmp_options,
	.options_size = sizeof(struct monitor_options),
	.monitor = true,
	.run = run_qmp,
};
