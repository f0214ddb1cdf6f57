/* SPDX-License-Identifier: BSD-3-Clause */
/* What clients of monitors send and hear: negotiation, ids, errors, checks of arguments. */
#include "kit.h"

#define ERROR(class, text) "{\"error\": {\"class\": \"" class "\", \"desc\": \"" text "\"}"
#define GENERIC(text) ERROR("GenericError", text)

static void greets_and_negotiates(void **state)
{
	struct world *world = *state;
	int fd = connect_pair(world);

	assert_string_equal(hear(world, fd),
	                    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 1, "
	                    "\"major\": 0}, \"package\": \"outboard-" OUTBOARD_VERSION
	                    "\"}, \"capabilities\": []}}|");
	assert_string_equal(ask(world, fd, "{\"execute\": \"query-status\", \"id\": 1}"),
	                    ERROR("CommandNotFound", "Expecting capabilities negotiation with "
	                                             "'qmp_capabilities'") ", \"id\": 1}|");
	assert_string_equal(ask(world, fd,
	                        "{\"execute\": \"qmp_capabilities\", \"arguments\": "
	                        "{\"enable\": [\"oob\"]}}"),
	                    GENERIC("Capability oob not available") "}|");
	assert_string_equal(ask(world, fd,
	                        "{\"execute\": \"qmp_capabilities\", \"arguments\": "
	                        "{\"enable\": []}}\r\n"),
	                    "{\"return\": {}}|");
	assert_string_equal(ask(world, fd, "{\"execute\": \"qmp_capabilities\"}\n"),
	                    ERROR("CommandNotFound", "Capabilities negotiation is already "
	                                             "complete, command ignored") "}|");
	assert_string_equal(ask(world, fd, "{'execute': 'query-name'}"),
	                    "{\"return\": {\"name\": \"vm1\"}}|");
	close(fd);
}

static void echoes_ids_of_all_types(void **state)
{
	static const char *const ids[] = {
		"0",
		"-7",
		"1.5",
		"18446744073709551615",
		"true",
		"null",
		"\"x\"",
		"[]",
		"{}",
		"[1, {\"a\": [null]}]",
		"{\"a\": \"\\u00E9\\uD83D\\uDE00\\n\"}",
	};
	struct world *world = *state;
	int fd = negotiated(world);
	char text[128], expected[128];

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		snprintf(text, sizeof(text), "{\"execute\": \"cont\", \"id\": %s}", ids[i]);
		snprintf(expected, sizeof(expected), "{\"return\": {}, \"id\": %s}|", ids[i]);
		assert_string_equal(ask(world, fd, text), expected);
		snprintf(text, sizeof(text), "{\"id\": %s}", ids[i]);
		snprintf(expected, sizeof(expected),
		         GENERIC("QMP input lacks member 'execute'") ", \"id\": %s}|", ids[i]);
		assert_string_equal(ask(world, fd, text), expected);
	}
	close(fd);
}

static void refuses_what_is_no_request(void **state)
{
	static const char *const table[][2] = {
		{"1 ", GENERIC("QMP input must be a JSON object")},
		{"\"query-status\"", GENERIC("QMP input must be a JSON object")},
		{"[{\"execute\":\"query-status\"}]", GENERIC("QMP input must be a JSON object")},
		{"{}", GENERIC("QMP input lacks member 'execute'")},
		{"{\"execute\":1}", GENERIC("QMP input member 'execute' must be a string")},
		{"{\"execute\":\"cont\",\"arguments\":[]}",
	         GENERIC("QMP input member 'arguments' must be an object")},
		{"{\"exec-oob\":\"cont\"}", GENERIC("QMP input member 'exec-oob' is unexpected")},
		{"{\"execute\":\"cont\",\"x\":1}", GENERIC("QMP input member 'x' is unexpected")},
		{"{\"execute\":\"nothing\"}",
	         ERROR("CommandNotFound", "The command nothing has not been found")},
		{"{\"execute\":\"cont\",\"execute\":\"cont\"}",
	         GENERIC("JSON parse error, duplicate key")},
		{"{\"execute\":\"cont\",}",
	         GENERIC("JSON parse error, key is not a string in object")},
	};
	struct world *world = *state;
	int fd = negotiated(world);
	char expected[256];

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		snprintf(expected, sizeof(expected), "%s}|", table[i][1]);
		assert_string_equal(ask(world, fd, table[i][0]), expected);
	}
	assert_string_equal(ask(world, fd, "{\"execute\":\"cont\"}"), "{\"return\": {}}|");
	close(fd);
}

static void checks_arguments(void **state)
{
	static const char *const table[][3] = {
		{"cont", "{\"a\":1}", "Parameter 'a' is unexpected"},
		{"device_del", "{}", "Parameter 'id' is missing"},
		{"device_del", "{\"id\":1}", "Invalid parameter type for 'id', expected: string"},
		{"device_del", "{\"id\":null}",
	         "Invalid parameter type for 'id', expected: string"},
		{"device_del", "{\"id\":\"d\",\"x\":1}", "Parameter 'x' is unexpected"},
		{"device_add", "{\"id\":\"d0\"}", "Parameter 'driver' is missing"},
		{"block_resize", "{\"size\":\"1\"}",
	         "Invalid parameter type for 'size', expected: integer"},
		{"block_resize", "{\"size\":1.5}",
	         "Invalid parameter type for 'size', expected: integer"},
		{"qom-list-types", "{\"abstract\":0}",
	         "Invalid parameter type for 'abstract', expected: boolean"},
		{"qmp_capabilities", "{\"enable\":1}",
	         "Invalid parameter type for 'enable', expected: array"},
		{"qmp_capabilities", "{\"enable\":[\"oob\",2]}",
	         "Invalid parameter type for 'enable[1]', expected: string"},
		{"qmp_capabilities", "{\"enable\":[\"speed\"]}",
	         "Parameter 'enable[0]' does not accept value 'speed'"},
	};
	struct world *world = *state;
	int fd = negotiated(world);
	char text[256], expected[256];

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		snprintf(text, sizeof(text), "{\"execute\":\"%s\",\"arguments\":%s}", table[i][0],
		         table[i][1]);
		snprintf(expected, sizeof(expected), GENERIC("%s") "}|", table[i][2]);
		assert_string_equal(ask(world, fd, text), expected);
	}
	close(fd);
}

static void every_command_is_checked(void **state)
{
	struct world *world = *state;
	int fd = negotiated(world);
	const char *at;
	char names[64][40], text[4096];
	unsigned count = 0;

	at = ask(world, fd, "{\"execute\":\"query-commands\"}");
	while (count < 64 && (at = strstr(at, "\"name\": \"")))
		assert_int_equal(sscanf(at += 9, "%39[^\"]", names[count++]), 1);
	assert_true(count > 25 && count < 64);
	for (unsigned i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "{\"execute\":\"%s\",\"arguments\":{\"no such\":1}}",
		         names[i]);
		assert_non_null(strstr(ask(world, fd, text), "{\"error\": {\"class\": \""));
	}
	assert_false(world->quit);
	close(fd);
}

static void several_at_once(void **state)
{
	struct world *world = *state;
	int fds[8];

	for (int i = 0; i < 8; i++)
		fds[i] = i == 7 ? connect_pair(world) : negotiated(world);
	hear(world, fds[7]);
	assert_int_equal(monitors_count(world->monitors), 8);
	assert_string_equal(ask(world, fds[0], "{\"execute\":\"stop\",\"id\":3}"), world->heard);
	assert_non_null(strstr(world->heard, "\"event\": \"STOP\"}|"));
	assert_non_null(strstr(world->heard, "{\"return\": {}, \"id\": 3}|"));
	for (int i = 1; i < 7; i++) {
		assert_non_null(strstr(hear(world, fds[i]), "{\"timestamp\": {\"seconds\": "));
		assert_non_null(strstr(world->heard, "\"event\": \"STOP\"}|"));
	}
	/* The one that has not negotiated hears of nothing. */
	assert_string_equal(hear(world, fds[7]), "");
	assert_string_equal(ask(world, fds[1], "{\"execute\":\"query-status\"}"),
	                    "{\"return\": {\"status\": \"paused\", \"running\": false}}|");
	assert_non_null(strstr(ask(world, fds[2], "{\"execute\":\"cont\"}"), "\"RESUME\"}|"));
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	turn(world);
}

static void pipelined_commands_keep_their_order(void **state)
{
	struct world *world = *state;
	int fd = negotiated(world);
	char text[64 * 1024], expected[64 * 1024];
	size_t used = 0, length = 0;

	for (int i = 0; i < 500; i++) {
		used += (size_t)sprintf(text + used, "{\"execute\":\"query-name\",\"id\":%d}", i);
		length += (size_t)sprintf(expected + length,
		                          "{\"return\": {\"name\": \"vm1\"}, \"id\": %d}|", i);
	}
	assert_string_equal(ask(world, fd, text), expected);
	close(fd);
}

static void quit_is_told_to_all(void **state)
{
	struct world *world = *state;
	int first = negotiated(world), second = negotiated(world);

	assert_non_null(strstr(ask(world, first, "{\"execute\":\"quit\"}"), "{\"return\": {}}|"));
	assert_true(world->quit);
	assert_int_equal(world->reason, MACHINE_SHUTDOWN_QUIT);
	assert_non_null(strstr(hear(world, second),
	                       "\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, "
	                       "\"reason\": \"host-qmp-quit\"}}|"));
	assert_non_null(strstr(ask(world, second, "{\"execute\":\"query-status\"}"),
	                       "\"status\": \"shutdown\""));
	close(first);
	close(second);
}

/* Whoever sends commands and hangs up at once wants them carried out. */
static void commands_count_after_the_client_has_gone(void **state)
{
	struct world *world = *state;
	int fd = connect_pair(world);

	send_text(fd, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}");
	close(fd);
	turn(world);
	assert_true(world->quit);
}

static void half_closed_clients_get_their_replies(void **state)
{
	struct world *world = *state;
	int fd = connect_pair(world);

	send_text(fd, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-name\"}");
	shutdown(fd, SHUT_WR);
	assert_non_null(strstr(hear(world, fd), "{\"return\": {\"name\": \"vm1\"}}|"));
	assert_true(has_hung_up(fd));
	close(fd);
}

static void several_clients_at_a_path(void **state)
{
	enum { MOST = 16 };
	struct world *world = *state;
	int fds[MOST], extra;
	const char *heard;
	char text[128];

	snprintf(text, sizeof(text), "path=%s,server=on,wait=off", world->path);
	assert_int_equal(add_monitor(world, text), 0);
	for (unsigned i = 0; i < MOST; i++) {
		fds[i] = connect_path(world->path);
		assert_non_null(strstr(hear(world, fds[i]), "QMP"));
	}
	/* Each negotiates for itself. */
	ask(world, fds[0], "{\"execute\":\"qmp_capabilities\"}");
	assert_non_null(strstr(ask(world, fds[0], "{\"execute\":\"stop\"}"), "return"));
	assert_non_null(strstr(ask(world, fds[1], "{\"execute\":\"stop\"}"), "CommandNotFound"));
	extra = connect_path(world->path);
	heard = hear(world, extra);
	assert_non_null(strstr(heard, "has 16 clients, which is the most: "));
	assert_non_null(strstr(heard, ", and 12 more"));
	assert_true(has_hung_up(extra));
	close(extra);
	close(fds[3]);
	turn(world);
	fds[3] = connect_path(world->path);
	assert_non_null(strstr(hear(world, fds[3]), "QMP"));
	for (unsigned i = 0; i < MOST; i++)
		close(fds[i]);
	turn(world);
}

static void a_client_that_does_not_read_stops_only_itself(void **state)
{
	static const char flood[] = "{\"execute\":\"query-qmp-schema\"}";
	struct world *world = *state;
	int lazy = negotiated(world), other = negotiated(world);
	size_t sent = 0;

	for (int idle = 0; idle < 4; turn(world)) {
		if (send(lazy, flood, sizeof(flood) - 1, MSG_NOSIGNAL) > 0)
			sent++;
		else
			idle++;
	}
	/* Its commands are not even read any more, and events do not pile up either. */
	assert_true(sent > 1);
	for (int i = 0; i < 2000; i++) {
		ask(world, other, "{\"execute\":\"stop\"}");
		assert_non_null(strstr(ask(world, other, "{\"execute\":\"cont\"}"), "RESUME"));
	}
	close(lazy);
	turn(world);
	assert_string_equal(ask(world, other, "{\"execute\":\"query-name\"}"),
	                    "{\"return\": {\"name\": \"vm1\"}}|");
	close(other);
}

/* As -incoming has them: the people's cont is QMP's. */
static void devices_that_wait_go_on_for_people_too(void **state)
{
	struct world *world = *state;
	int fd = negotiated(world);
	struct ob_error err;

	ask(world, fd,
	    "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"edu\",\"id\":\"d0\"}}");
	assert_int_equal(moves_hold(world->moves, &err), 0);
	assert_true(moves_held(world->moves));
	ask(world, fd,
	    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"cont\"}}");
	assert_false(moves_held(world->moves));
	close(fd);
}

/* A reply longer than all bounds does not cost its client events, but events have a bound. */
static void events_wait_behind_a_long_reply(void **state)
{
	struct world *world = *state;
	int lazy = negotiated(world), other = negotiated(world), stops = 0;
	char text[128];

	for (int i = 0; i < 2500; i++) {
		struct opts opts = {0};

		snprintf(text, sizeof(text), "driver=pci-root-bus,id=a-root-with-a-long-name-%d",
		         i);
		assert_int_equal(opts_parse(&opts, text, NULL, NULL), 0);
		assert_int_equal(machine_add_device(world->machine, &opts, NULL), 0);
		opts_free(&opts);
	}
	for (int i = 0; i < 2; i++) {
		send_text(lazy, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":"
		                "\"/machine/peripheral\"}}{\"execute\":\"query-pci\"}");
		turn(world);
	}
	ask(world, other, "{\"execute\":\"stop\"}");
	for (int i = 0; i < 4000; i++)
		ask(world, other, "{\"execute\":\"cont\"}{\"execute\":\"stop\"}");
	for (const char *at = hear(world, lazy); (at = strstr(at, "\"STOP\"")); at++)
		stops++;
	assert_true(stops > 100 && stops < 4000);
	close(lazy);
	close(other);
}

static void refuses_options_by_name(void **state)
{
	static const char *const table[][2] = {
		{"mode=readline,path=/tmp/x", "mode=readline"},
		{"backend=pty", "backend=pty"},
		{"backend=stdio,path=/tmp/x", "stdio"},
		{"path=/tmp/x", "server=on,wait=off"},
		{"path=/tmp/x,server=on", "server=on,wait=off"},
		{"path=/tmp/x,server=on,wait=on", "wait=on"},
		{"path=/tmp/x,server=on,wait=off,reconnect=1", "reconnect"},
		{"path=/tmp/x,fd=3", "path= or fd="},
		{"server=on", "path= or fd="},
		{"fd=0", "not a UNIX socket"},
		{"fd=x", "fd=x"},
		{"path=/nowhere/x,server=on,wait=off", "/nowhere/x"},
		{"path=/tmp/x,server=maybe", "server=maybe"},
	};
	struct world *world = *state;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		assert_true(add_monitor(world, table[i][0]) < 0);
		if (!strstr(world->err.message, table[i][1]))
			fail_msg("%s: '%s'", table[i][0], world->err.message);
	}
	assert_int_equal(monitors_count(world->monitors), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(greets_and_negotiates),
		TEST(echoes_ids_of_all_types),
		TEST(refuses_what_is_no_request),
		TEST(checks_arguments),
		TEST(every_command_is_checked),
		TEST(several_at_once),
		TEST(pipelined_commands_keep_their_order),
		TEST(quit_is_told_to_all),
		TEST(commands_count_after_the_client_has_gone),
		TEST(half_closed_clients_get_their_replies),
		TEST(several_clients_at_a_path),
		TEST(a_client_that_does_not_read_stops_only_itself),
		TEST(devices_that_wait_go_on_for_people_too),
		TEST(events_wait_behind_a_long_reply),
		TEST(refuses_options_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
