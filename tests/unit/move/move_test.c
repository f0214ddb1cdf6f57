/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that move between two machines, here in one process and over a socket pair; and other
 * sides that hang up, answer wrongly, or are of another make, at every step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/migrate.h"
#include "move/internal.h"
#include "outboard/endian.h"

enum { LIVENESS = 0x04, FACTORIAL = 0x08, TURNS = 60 };

struct side {
	struct machine *machine;
	struct moves *moves;
	struct moves_listener listener;
	char statuses[200]; /* in order, each followed by a space */
	bool gone;
};

struct world {
	struct log log;
	struct ob_loop *loop;
	struct side sides[2]; /* where devices are, where they go */
	struct ob_error err;
	int other; /* the test's end, where it plays a side; -1 */
};

static void note(struct moves_listener *listener)
{
	struct side *side = container_of(listener, struct side, listener);
	struct move_info info;

	moves_info(side->moves, &info);
	strcat(side->statuses, move_status_name(info.status));
	strcat(side->statuses, " ");
}

static void set_up_side(struct world *world, struct side *side)
{
	side->machine = machine_new(world->loop, &world->log);
	assert_non_null(side->machine);
	side->moves = moves_new(world->loop, &world->log, side->machine);
	assert_non_null(side->moves);
	side->listener.changed = note;
	moves_listen(side->moves, &side->listener);
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	world->log = (struct log){.fd = open("/dev/null", O_WRONLY)};
	world->loop = loop_new();
	world->other = -1;
	set_up_side(world, &world->sides[0]);
	set_up_side(world, &world->sides[1]);
	*state = world;
	return 0;
}

static void turn(struct world *world)
{
	for (int i = 0; i < TURNS; i++)
		assert_int_equal(loop_turn(world->loop, 1), 0);
}

static void on_gone(void *context)
{
	((struct side *)context)->gone = true;
}

static int tear_down(void **state)
{
	struct world *world = *state;

	for (int i = 0; i < 2; i++) {
		struct side *side = &world->sides[i];

		machine_stop(side->machine, on_gone, side);
		while (!side->gone)
			assert_int_equal(loop_turn(world->loop, 0), 0);
		moves_unlisten(&side->listener);
		moves_free(side->moves);
		machine_free(side->machine);
	}
	if (world->other >= 0)
		close(world->other);
	loop_free(world->loop);
	close(world->log.fd);
	free(world);
	return 0;
}

static void add(struct world *world, int number, const char *text)
{
	struct opts opts = {0};

	assert_int_equal(opts_parse(&opts, text, "driver", NULL), 0);
	assert_int_equal(machine_add_device(world->sides[number].machine, &opts, &world->err), 0);
	opts_free(&opts);
}

static struct ob_dev *device(struct world *world, int number, const char *id)
{
	struct ob_dev *dev = machine_find_device(world->sides[number].machine, id);

	assert_non_null(dev);
	return dev;
}

static void put(struct world *world, int number, uint64_t offset, uint32_t value)
{
	assert_int_equal(device_region_write(device(world, number, "d0"), 0, offset, &value, 4), 0);
}

static uint32_t get(struct world *world, int number, uint64_t offset)
{
	uint32_t value;

	assert_int_equal(device_region_read(device(world, number, "d0"), 0, offset, &value, 4), 0);
	return value;
}

static enum migrate_state state_of(struct world *world, int number)
{
	return migrate_state(migrate_of(device(world, number, "d0")));
}

static void assert_statuses(struct world *world, int number, const char *expected)
{
	assert_string_equal(world->sides[number].statuses, expected);
}

static void assert_failed(struct world *world, int number, const char *text)
{
	struct move_info info;

	moves_info(world->sides[number].moves, &info);
	assert_int_equal(info.status, MOVE_FAILED);
	if (!strstr(info.error, text))
		fail_msg("'%s' is not in '%s'", text, info.error);
}

/* A device on either side, that of the second one held. */
static void make_both(struct world *world)
{
	for (int number = 0; number < 2; number++) {
		add(world, number, "edu,id=d0");
		device_client_came(device(world, number, "d0"));
	}
	assert_int_equal(moves_hold(world->sides[1].moves, &world->err), 0);
	put(world, 0, LIVENESS, 0x12345678);
	put(world, 0, FACTORIAL, 6);
	turn(world);
}

static void make_uri(char uri[32], int fd)
{
	snprintf(uri, 32, "fd:%d", fd);
}

static void connect_both(struct world *world)
{
	char uri[32];
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	make_uri(uri, ends[1]);
	assert_int_equal(moves_accept(world->sides[1].moves, uri, &world->err), 0);
	make_uri(uri, ends[0]);
	assert_int_equal(moves_begin(world->sides[0].moves, uri, &world->err), 0);
}

/* The test is the other side. */
static void connect_one(struct world *world, int number)
{
	char uri[32];
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	world->other = ends[1];
	make_uri(uri, ends[0]);
	if (number)
		assert_int_equal(moves_accept(world->sides[1].moves, uri, &world->err), 0);
	else
		assert_int_equal(moves_begin(world->sides[0].moves, uri, &world->err), 0);
	turn(world);
}

static void say(struct world *world, enum frame_kind kind, const void *bytes, size_t length)
{
	uint8_t header[FRAME_HEADER];

	ob_put_le32(header, kind);
	ob_put_le32(header + 4, (uint32_t)length);
	assert_int_equal(send(world->other, header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
	if (length)
		assert_int_equal(send(world->other, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
	turn(world);
}

/* The kind of the next frame that came; 0: there is none, or the other side has hung up. */
static uint32_t hear(struct world *world, uint8_t *bytes, size_t *length)
{
	uint8_t header[FRAME_HEADER];

	*length = 0;
	if (recv(world->other, header, sizeof(header), MSG_DONTWAIT) != sizeof(header))
		return 0;
	*length = ob_get_le32(header + 4);
	assert_true(*length <= FRAME_MAX);
	if (*length)
		assert_int_equal(recv(world->other, bytes, *length, MSG_DONTWAIT),
		                 (ssize_t)*length);
	return ob_get_le32(header);
}

static void hang_up(struct world *world)
{
	close(world->other);
	world->other = -1;
	turn(world);
}

/* Between two of ours */

static void test_a_device_moves(void **state)
{
	struct world *world = *state;
	struct move_info info;

	make_both(world);
	assert_int_equal(state_of(world, 1), MIGRATE_STOP);
	connect_both(world);
	turn(world);
	assert_statuses(world, 0, "setup active device completed ");
	assert_statuses(world, 1, "setup active device completed ");
	assert_int_equal(state_of(world, 0), MIGRATE_STOP);
	assert_int_equal(state_of(world, 1), MIGRATE_RUNNING);
	assert_int_equal(get(world, 1, LIVENESS), ~0x12345678u);
	assert_int_equal(get(world, 1, FACTORIAL), 720);
	moves_info(world->sides[0].moves, &info);
	assert_true(info.transferred > 100);
	assert_int_equal(info.remaining, 0);
	assert_string_equal(info.error, "");
	assert_true(moves_held(world->sides[0].moves));
	assert_false(moves_held(world->sides[1].moves));
	/* What is not here can't move. */
	assert_int_equal(moves_begin(world->sides[0].moves, "fd:0", &world->err), -EBUSY);
	assert_int_equal(moves_accept(world->sides[1].moves, "fd:0", &world->err), -EINVAL);
}

static void test_there_and_back(void **state)
{
	struct world *world = *state;
	char uri[32];
	int ends[2];

	make_both(world);
	connect_both(world);
	turn(world);
	put(world, 1, FACTORIAL, 5);
	turn(world);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	make_uri(uri, ends[1]);
	assert_int_equal(moves_accept(world->sides[0].moves, uri, &world->err), 0);
	make_uri(uri, ends[0]);
	assert_int_equal(moves_begin(world->sides[1].moves, uri, &world->err), 0);
	turn(world);
	assert_int_equal(state_of(world, 0), MIGRATE_RUNNING);
	assert_int_equal(state_of(world, 1), MIGRATE_STOP);
	assert_int_equal(get(world, 0, FACTORIAL), 120);
}

static void test_what_has_gone_can_begin_anew(void **state)
{
	struct world *world = *state;

	make_both(world);
	connect_both(world);
	turn(world);
	/* A client's reset does not have it run twice; who is asked does. */
	(void)migrate_reset(migrate_of(device(world, 0, "d0")), NULL);
	assert_int_equal(state_of(world, 0), MIGRATE_STOP);
	/* But what is here is old: it begins anew, or not at all. */
	assert_int_equal(moves_go_on(world->sides[0].moves, NULL, &world->err), -EBUSY);
	assert_non_null(strstr(world->err.message, "'d0'"));
	assert_int_equal(state_of(world, 0), MIGRATE_STOP);
	device_reset(device(world, 0, "d0"));
	assert_int_equal(moves_go_on(world->sides[0].moves, NULL, &world->err), 0);
	assert_int_equal(state_of(world, 0), MIGRATE_RUNNING);
	assert_false(moves_held(world->sides[0].moves));
}

static void test_nobody_comes(void **state)
{
	struct world *world = *state;

	make_both(world);
	assert_int_equal(moves_go_on(world->sides[1].moves, NULL, &world->err), 0);
	assert_int_equal(state_of(world, 1), MIGRATE_RUNNING);
}

static void test_a_machine_that_was_told_to_stop_stays_so(void **state)
{
	struct world *world = *state;

	make_both(world);
	assert_int_equal(machine_pause(world->sides[0].machine, NULL), 0);
	connect_both(world);
	turn(world);
	assert_int_equal(state_of(world, 1), MIGRATE_RUNNING);
	assert_true(machine_is_paused(world->sides[1].machine));
}

static void test_other_devices_are_refused(void **state)
{
	static const struct {
		const char *here[2], *there[2], *said;
	} cases[] = {
		{{"edu,id=d0"}, {"edu,id=d1"}, "no device 'd0'"},
		{{"edu,id=d0"}, {"edu,id=d0", "edu,id=d1"}, "2 devices here, and not 1"},
		{{"edu,id=d0", "edu,id=d1"}, {"edu,id=d0"}, "1 devices here, and not 2"},
		{{"edu,id=d0"}, {"edu,id=d0,dma-mask=0xffff"}, "dma-mask"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world *world;

		set_up(state);
		world = *state;
		for (int k = 0; k < 2; k++) {
			if (cases[i].here[k])
				add(world, 0, cases[i].here[k]);
			if (cases[i].there[k])
				add(world, 1, cases[i].there[k]);
		}
		assert_int_equal(moves_hold(world->sides[1].moves, &world->err), 0);
		put(world, 0, LIVENESS, 1);
		connect_both(world);
		turn(world);
		assert_failed(world, 0, cases[i].said);
		assert_failed(world, 1, cases[i].said);
		assert_int_equal(state_of(world, 0), MIGRATE_RUNNING);
		assert_int_equal(get(world, 0, LIVENESS), ~1u);
		assert_true(moves_held(world->sides[1].moves));
		tear_down(state);
	}
}

/* The test plays a side */

static void test_source_goes_on_when_the_other_hangs_up(void **state)
{
	/* What the other side still said. */
	static const enum frame_kind said[][2] = {
		{0}, {FRAME_WELCOME}, {FRAME_WELCOME, FRAME_READY}};

	for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
		uint8_t bytes[FRAME_MAX + 1];
		struct world *world;
		size_t length;

		set_up(state);
		world = *state;
		make_both(world);
		connect_one(world, 0);
		assert_int_equal(hear(world, bytes, &length), FRAME_HELLO);
		for (int k = 0; k < 2 && said[i][k]; k++)
			say(world, said[i][k], NULL, 0);
		hang_up(world);
		assert_failed(world, 0, "hung up");
		assert_int_equal(state_of(world, 0), MIGRATE_RUNNING);
		assert_int_equal(get(world, 0, FACTORIAL), 720);
		assert_false(moves_held(world->sides[0].moves));
		/* And it may be tried again. */
		connect_both(world);
		turn(world);
		assert_int_equal(state_of(world, 1), MIGRATE_RUNNING);
		tear_down(state);
	}
}

static void test_source_waits_for_the_answers(void **state)
{
	struct world *world = *state;
	uint8_t bytes[FRAME_MAX];
	uint32_t kind;
	size_t length;

	make_both(world);
	connect_one(world, 0);
	assert_int_equal(hear(world, bytes, &length), FRAME_HELLO);
	assert_int_equal(state_of(world, 0), MIGRATE_RUNNING);
	say(world, FRAME_WELCOME, NULL, 0);
	for (kind = FRAME_DATA; kind == FRAME_DATA || kind == FRAME_END;)
		kind = hear(world, bytes, &length);
	assert_int_equal(kind, FRAME_PREPARE);
	assert_int_equal(hear(world, bytes, &length), 0);
	assert_statuses(world, 0, "setup active device ");
	assert_int_equal(state_of(world, 0), MIGRATE_STOP_COPY);
	say(world, FRAME_READY, NULL, 0);
	assert_int_equal(hear(world, bytes, &length), FRAME_GO);
	/* Now it is too late. */
	assert_int_equal(moves_cancel(world->sides[0].moves, &world->err), -EBUSY);
	say(world, FRAME_RUNNING, NULL, 0);
	assert_statuses(world, 0, "setup active device completed ");
}

static void test_cancel(void **state)
{
	struct world *world = *state;

	make_both(world);
	assert_int_equal(moves_cancel(world->sides[0].moves, &world->err), -EINVAL);
	connect_one(world, 0);
	say(world, FRAME_WELCOME, NULL, 0);
	assert_int_equal(state_of(world, 0), MIGRATE_STOP_COPY);
	assert_int_equal(moves_cancel(world->sides[0].moves, &world->err), 0);
	turn(world);
	assert_statuses(world, 0, "setup active device cancelling cancelled ");
	assert_int_equal(state_of(world, 0), MIGRATE_RUNNING);
}

static void test_source_is_told_wrong_things(void **state)
{
	static const enum frame_kind wrong[] = {FRAME_READY, FRAME_RUNNING, FRAME_HELLO,
	                                        (enum frame_kind)99};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct world *world;

		set_up(state);
		world = *state;
		make_both(world);
		connect_one(world, 0);
		say(world, wrong[i], NULL, 0);
		assert_failed(world, 0, "not asked");
		assert_int_equal(state_of(world, 0), MIGRATE_RUNNING);
		tear_down(state);
	}
}

static void test_device_that_is_removed_while_it_moves(void **state)
{
	struct world *world = *state;

	make_both(world);
	connect_one(world, 0);
	assert_int_equal(machine_remove_device(world->sides[0].machine, "d0", &world->err), 0);
	turn(world);
	say(world, FRAME_WELCOME, NULL, 0);
	assert_failed(world, 0, "'d0'");
}

static const uint8_t hello[] = "outboard\1\0\0\0\0\0\0\0\1\0\0\0\0\2d0\3edu";
enum { HELLO_LENGTH = sizeof(hello) - 1 };

static void test_destination_that_loses_the_source(void **state)
{
	struct world *world = *state;
	uint8_t bytes[FRAME_MAX];
	size_t length;

	make_both(world);
	connect_one(world, 1);
	say(world, FRAME_HELLO, hello, HELLO_LENGTH);
	assert_int_equal(hear(world, bytes, &length), FRAME_WELCOME);
	assert_int_equal(state_of(world, 1), MIGRATE_RESUMING);
	hang_up(world);
	assert_failed(world, 1, "hung up");
	assert_int_equal(state_of(world, 1), MIGRATE_STOP);
	assert_true(moves_held(world->sides[1].moves));
	/* Another one may come, */
	connect_both(world);
	turn(world);
	assert_int_equal(state_of(world, 1), MIGRATE_RUNNING);
}

/* The whole of a device's state, as one that moves says it. */
static size_t take_stream(struct world *world, uint8_t *stream, size_t room)
{
	struct migration *migration = migrate_of(device(world, 0, "d0"));
	struct migrate_waiter waiter;
	ssize_t n;

	assert_int_equal(migrate_set_state(migration, MIGRATE_STOP_COPY, &waiter), 0);
	n = migrate_read(migration, stream + 4, room - 4);
	assert_true(n > 0 && n < (ssize_t)room - 4);
	memset(stream, 0, 4);
	return (size_t)n + 4;
}

static void test_destination_that_is_ready_keeps_what_came(void **state)
{
	struct world *world = *state;
	uint8_t bytes[FRAME_MAX], stream[8192];
	size_t length, size;

	make_both(world);
	size = take_stream(world, stream, sizeof(stream));
	connect_one(world, 1);
	say(world, FRAME_HELLO, hello, HELLO_LENGTH);
	assert_int_equal(hear(world, bytes, &length), FRAME_WELCOME);
	say(world, FRAME_DATA, stream, size);
	say(world, FRAME_END, stream, 4);
	say(world, FRAME_PREPARE, NULL, 0);
	assert_int_equal(hear(world, bytes, &length), FRAME_READY);
	assert_int_equal(state_of(world, 1), MIGRATE_STOP);
	hang_up(world);
	assert_failed(world, 1, "'cont'");
	assert_int_equal(state_of(world, 1), MIGRATE_STOP);
	assert_int_equal(moves_go_on(world->sides[1].moves, NULL, &world->err), 0);
	assert_int_equal(state_of(world, 1), MIGRATE_RUNNING);
	assert_int_equal(get(world, 1, FACTORIAL), 720);
}

static void test_destination_is_told_wrong_things(void **state)
{
	static const uint8_t newer[] = "outboard\2\0\0\0\0\0\0\0\1\0\0\0\0\2d0\3edu";
	static const uint8_t no_device[4] = {1};
	static const struct {
		enum frame_kind kind; /* after HELLO; 0: instead of it */
		const void *bytes;
		size_t length;
		const char *said;
	} cases[] = {
		{0, "outboarg", 8, "this is a process of outboard"},
		{0, newer, HELLO_LENGTH, "newer"},
		{0, hello, HELLO_LENGTH - 1, "cut off"},
		{FRAME_HELLO, hello, HELLO_LENGTH, "not to be said"},
		{FRAME_GO, NULL, 0, "not to be said"},
		{FRAME_WELCOME, NULL, 0, "not to be said"},
		{FRAME_PREPARE, NULL, 0, "not whole"},
		{FRAME_DATA, no_device, 4, "a device that there is"},
		{FRAME_DATA, NULL, 0, "a device that there is"},
		{FRAME_DATA, "\0\0\0\0this is no such stream", 26, "'d0': "},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[FRAME_MAX];
		struct world *world;
		size_t length;

		set_up(state);
		world = *state;
		make_both(world);
		connect_one(world, 1);
		if (cases[i].kind) {
			say(world, FRAME_HELLO, hello, HELLO_LENGTH);
			assert_int_equal(hear(world, bytes, &length), FRAME_WELCOME);
		}
		say(world, cases[i].kind ? cases[i].kind : FRAME_HELLO, cases[i].bytes,
		    cases[i].length);
		assert_int_equal(hear(world, bytes, &length), FRAME_REFUSED);
		bytes[length] = '\0';
		if (!strstr((char *)bytes, cases[i].said))
			fail_msg("'%s' is not in '%s'", cases[i].said, (char *)bytes);
		assert_failed(world, 1, cases[i].said);
		assert_int_equal(state_of(world, 1), MIGRATE_STOP);
		assert_true(moves_held(world->sides[1].moves));
		tear_down(state);
	}
}

static void test_frame_that_is_too_long(void **state)
{
	struct world *world = *state;
	uint8_t header[FRAME_HEADER];

	make_both(world);
	connect_one(world, 1);
	ob_put_le32(header, FRAME_HELLO);
	ob_put_le32(header + 4, FRAME_MAX + 1);
	assert_int_equal(send(world->other, header, sizeof(header), 0), sizeof(header));
	turn(world);
	assert_failed(world, 1, "cannot be reached");
}

static void test_addresses(void **state)
{
	static const struct {
		const char *uri, *said;
	} cases[] = {
		{"", "expected"},
		{"exec:true", "unix:PATH, tcp:HOST:PORT or fd:N expected"},
		{"unix:", "1 to 107"},
		{"unix:/nowhere/at/all", "No such file"},
		{"tcp:localhost", "expected"},
		{"tcp:example.org:1", "numeric address"},
		{"tcp:127.0.0.1:notaport", "numeric address"},
		{"fd:x", "expected"},
		{"fd:9999", "not an open socket"},
		{"fd:0", "not an open socket"},
	};
	struct world *world = *state;
	int own = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char uri[32];

	make_both(world);
	/* Not one that somebody else here has open. */
	make_uri(uri, own);
	assert_int_equal(moves_begin(world->sides[0].moves, uri, &world->err), -EBUSY);
	assert_int_equal(close(own), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		world->err.message[0] = '\0';
		assert_true(moves_begin(world->sides[0].moves, cases[i].uri, &world->err) < 0);
		if (!strstr(world->err.message, cases[i].said))
			fail_msg("%s: '%s'", cases[i].uri, world->err.message);
	}
	assert_statuses(world, 0, "");
	assert_int_equal(state_of(world, 0), MIGRATE_RUNNING);
}

#define with_world(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_world(test_a_device_moves),
		with_world(test_there_and_back),
		with_world(test_what_has_gone_can_begin_anew),
		with_world(test_nobody_comes),
		with_world(test_a_machine_that_was_told_to_stop_stays_so),
		cmocka_unit_test(test_other_devices_are_refused),
		cmocka_unit_test(test_source_goes_on_when_the_other_hangs_up),
		with_world(test_source_waits_for_the_answers),
		with_world(test_cancel),
		cmocka_unit_test(test_source_is_told_wrong_things),
		with_world(test_device_that_is_removed_while_it_moves),
		with_world(test_destination_that_loses_the_source),
		with_world(test_destination_that_is_ready_keeps_what_came),
		cmocka_unit_test(test_destination_is_told_wrong_things),
		with_world(test_frame_that_is_too_long),
		with_world(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
