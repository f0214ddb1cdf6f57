/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages, log lines, checked arithmetic, lists, little-endian access, owned descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checked.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "outboard/endian.h"
#include "outboard/error.h"

static void messages(void **state)
{
	struct ob_error err = {""};
	char text[1000];

	assert_int_equal(ob_error_set(&err, -EINVAL, "%s is %d", "x", 7), -EINVAL);
	assert_string_equal(err.message, "x is 7");
	assert_int_equal(ob_error_prefix(&err, -EIO, "node '%s'", "b0"), -EIO);
	assert_string_equal(err.message, "node 'b0': x is 7");
	assert_int_equal(ob_error_set(NULL, -ENOENT, "dropped"), -ENOENT);
	assert_int_equal(ob_error_prefix(NULL, -ENOENT, "dropped"), -ENOENT);
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ob_error_set(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	ob_error_prefix(&err, -EINVAL, "p");
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	assert_memory_equal(err.message, "p: aaa", 6);
	ob_error_prefix(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

static void sums(void **state)
{
	uint64_t n;

	assert_true(checked_add(1, 2, &n));
	assert_int_equal(n, 3);
	assert_true(checked_add(UINT64_MAX - 1, 1, &n));
	assert_false(checked_add(UINT64_MAX, 1, &n));
	assert_true(checked_mul(UINT64_C(1) << 32, UINT64_C(1) << 31, &n));
	assert_false(checked_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &n));
	assert_true(range_within(0, 10, 10));
	assert_true(range_within(10, 0, 10));
	assert_false(range_within(11, 0, 10));
	assert_false(range_within(5, 6, 10));
	assert_false(range_within(UINT64_MAX, 2, 10));
	assert_false(range_within(5, UINT64_MAX, 10));
	assert_true(ranges_overlap(0, 10, 9, 1));
	assert_false(ranges_overlap(0, 10, 10, 1));
	assert_false(ranges_overlap(10, 1, 0, 10));
	assert_true(ranges_overlap(UINT64_MAX, 1, 0, UINT64_MAX) == false);
	assert_true(ranges_overlap(UINT64_MAX - 9, 10, UINT64_MAX, 1));
	assert_true(is_power_of_2(1));
	assert_true(is_power_of_2(UINT64_C(1) << 63));
	assert_false(is_power_of_2(0));
	assert_false(is_power_of_2(12));
}

struct item {
	int number;
	struct list link;
};

static void lists(void **state)
{
	struct item items[4], *item;
	struct list list;
	int sum = 0;

	list_init(&list);
	assert_true(list_empty(&list));
	for (int i = 0; i < 4; i++) {
		items[i].number = i;
		list_append(&list, &items[i].link);
	}
	/* In order, and the body may remove its own element. */
	list_for_each (item, &list, struct item, link) {
		sum = sum * 10 + item->number;
		if (item->number % 2)
			list_remove(&item->link);
	}
	assert_int_equal(sum, 123);
	assert_true(list_empty(&items[1].link));
	list_remove(&items[1].link); /* once more does no harm */
	sum = 0;
	list_for_each (item, &list, struct item, link)
		sum = sum * 10 + item->number;
	assert_int_equal(sum, 2);
	list_remove(&items[0].link);
	list_remove(&items[2].link);
	assert_true(list_empty(&list));
	list_for_each (item, &list, struct item, link)
		fail();
}

static void little_endian(void **state)
{
	const uint8_t bytes[9] = {0xff, 1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t out[9] = {0};

	assert_int_equal(ob_get_le16(bytes + 1), 0x0201);
	assert_int_equal(ob_get_le32(bytes + 1), 0x04030201);
	assert_int_equal(ob_get_le64(bytes + 1), UINT64_C(0x0807060504030201));
	assert_int_equal(ob_get_le(bytes + 1, 1), 1);
	assert_int_equal(ob_get_le(bytes + 1, 4), 0x04030201);
	ob_put_le16(out + 1, 0x0201);
	ob_put_le(out + 3, UINT64_C(0xffffffff00000403), 2);
	ob_put_le32(out + 5, 0x08070605);
	assert_memory_equal(out + 1, bytes + 1, 8);
	ob_put_le64(out + 1, 0);
	assert_int_equal(out[8], 0);
}

static int closed_at_end(void)
{
	cleanup_fd int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int kept(void)
{
	cleanup_fd int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	return take_fd(&fd);
}

static void ownership(void **state)
{
	char *text = strdup("x"), *taken;
	int fd = closed_at_end();

	assert_int_equal(fcntl(fd, F_GETFD), -1);
	fd = kept();
	assert_true(fcntl(fd, F_GETFD) >= 0);
	fd_close(&fd);
	assert_int_equal(fd, -1);
	fd_close(&fd);
	taken = take_ptr(&text);
	assert_null(text);
	assert_string_equal(taken, "x");
	free(taken);
}

/* A log into a pipe, and what stands in it. */
struct logged {
	struct log parent, log;
	int pipe[2];
	char text[8192];
};

static void log_to_pipe(struct logged *logged, unsigned per_second)
{
	assert_int_equal(pipe2(logged->pipe, O_CLOEXEC | O_NONBLOCK), 0);
	logged->parent = (struct log){.fd = logged->pipe[1], .level = LOG_INFO};
	log_init(&logged->log, &logged->parent, per_second, "d%d", 0);
}

static const char *take_text(struct logged *logged)
{
	ssize_t n = read(logged->pipe[0], logged->text, sizeof(logged->text) - 1);

	logged->text[n < 0 ? 0 : n] = '\0';
	return logged->text;
}

static void log_lines(void **state)
{
	struct logged logged;
	char text[3000];

	log_to_pipe(&logged, 0);
	log_error(&logged.log, "bad %d", 1);
	log_warn(&logged.log, "odd");
	log_info(&logged.log, "fine");
	log_debug(&logged.log, "not shown");
	assert_string_equal(take_text(&logged),
	                    "outboard: error: d0: bad 1\noutboard: warning: d0: odd\n"
	                    "outboard: d0: fine\n");
	log_info(&logged.parent, "ours");
	assert_string_equal(take_text(&logged), "outboard: ours\n");
	logged.log.level = LOG_ERROR;
	log_warn(&logged.log, "not shown");
	assert_string_equal(take_text(&logged), "");
	/* What a stranger wrote stays one line, and can't steer a terminal. */
	log_error(&logged.log, "a\nb\033[2Jc\177");
	assert_string_equal(take_text(&logged), "outboard: error: d0: a?b?[2Jc?\n");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_error(&logged.log, "%s", text);
	take_text(&logged);
	assert_true(strlen(logged.text) <= 1024);
	assert_string_equal(logged.text + strlen(logged.text) - 2, "x\n");
	logged.log.timestamps = true;
	log_error(&logged.log, "when");
	take_text(&logged);
	assert_int_equal(logged.text[4], '-');
	assert_int_equal(logged.text[10], 'T');
	assert_string_equal(logged.text + 27, " outboard: error: d0: when\n");
	close(logged.pipe[0]);
	close(logged.pipe[1]);
	log_error(&logged.log, "into a closed descriptor");
}

/* Patterns choose whose logs say everything, with no bound. */
static void log_traces(void **state)
{
	cleanup_opts struct opts patterns = {0};
	struct logged logged;
	struct log other;

	log_to_pipe(&logged, 0);
	assert_int_equal(opts_add(&patterns, "", "x*"), 0);
	assert_int_equal(opts_add(&patterns, "", "d[0-4]"), 0);
	log_set_traces(&logged.parent, &patterns);
	log_trace(&logged.parent, "not shown");
	log_init(&logged.log, &logged.parent, 1, "d3");
	log_init(&other, &logged.parent, 0, "d5");
	log_trace(&other, "not shown");
	log_trace(&logged.log, "one");
	log_trace(&logged.log, "two");
	assert_string_equal(take_text(&logged),
	                    "outboard: trace: d3: one\noutboard: trace: d3: two\n");
	close(logged.pipe[0]);
	close(logged.pipe[1]);
}

/* A sink that counts how often it was said to have something. */
struct told {
	struct log_sink sink;
	unsigned due;
};

static void on_due(struct log_sink *sink)
{
	((struct told *)sink)->due++;
}

static void log_to_sink(struct logged *logged, struct told *told, unsigned per_second)
{
	log_to_pipe(logged, per_second);
	log_sink_init(&told->sink, on_due);
	told->due = 0;
	logged->log.sink = &told->sink;
}

static void fill_pipe(struct logged *logged)
{
	unsigned dropped = logged->log.dropped;

	while (logged->log.dropped == dropped)
		log_info(&logged->log, "line");
}

static void drain_pipe(struct logged *logged)
{
	char chunk[4096];

	while (read(logged->pipe[0], chunk, sizeof(chunk)) > 0)
		;
}

/* Whoever should read the log does not: nothing waits for them, and facts are kept for them. */
static void log_nobody_reads(void **state)
{
	struct logged logged;
	struct told told;
	char fact[800];

	log_to_sink(&logged, &told, 0);
	assert_int_equal(fcntl(logged.pipe[1], F_SETFL, 0), 0); /* as standard error is */
	fill_pipe(&logged);
	assert_int_equal(told.due, 1);
	log_fact(&logged.log, LOG_ERROR, "it has failed");
	log_fact(&logged.log, LOG_INFO, "it has ended");
	assert_true(log_sink_tell(&told.sink));
	drain_pipe(&logged);
	assert_false(log_sink_tell(&told.sink));
	assert_string_equal(take_text(&logged), "outboard: error: d0: it has failed\n"
	                                        "outboard: d0: it has ended\n"
	                                        "outboard: warning: d0: 1 line not shown\n");
	assert_false(log_sink_tell(&told.sink));
	assert_string_equal(take_text(&logged), "");
	/* Facts have a bound of memory; what is more is counted. */
	fill_pipe(&logged);
	memset(fact, 'x', sizeof(fact) - 1);
	fact[sizeof(fact) - 1] = '\0';
	for (unsigned i = 0; i < 100; i++)
		log_fact(&logged.log, LOG_INFO, "%s", fact);
	assert_in_range(told.sink.held_length, LOG_HELD / 2, LOG_HELD);
	assert_in_range(logged.log.dropped, 70, 90);
	drain_pipe(&logged);
	log_end(&logged.log);
	assert_null(told.sink.behind);
	close(logged.pipe[0]);
	close(logged.pipe[1]);
}

static void log_bound(void **state)
{
	struct logged logged;
	struct told told;
	unsigned lines = 0;

	log_to_sink(&logged, &told, 5);
	for (unsigned i = 0; i < 100; i++)
		log_warn(&logged.log, "flood");
	for (const char *at = take_text(&logged); *at; at++)
		lines += *at == '\n';
	/* Twice the bound if the second ended meanwhile. */
	assert_in_range(lines, 5, 10);
	assert_true(logged.log.dropped >= 90);
	assert_int_equal(told.due, 1);
	/* Noise hides no fact, and a fact does not wait for the next line to be said. */
	log_fact(&logged.log, LOG_ERROR, "it has failed");
	assert_string_equal(take_text(&logged), "outboard: error: d0: it has failed\n");
	logged.log.dropped = 12;
	assert_false(log_sink_tell(&told.sink));
	assert_string_equal(take_text(&logged), "outboard: warning: d0: 12 lines not shown\n");
	assert_int_equal(logged.log.dropped, 0);
	/* Facts that come as fast as noise are noise. */
	for (unsigned i = 0; i < 1000; i++)
		log_fact(&logged.log, LOG_INFO, "again");
	lines = 0;
	for (const char *at = take_text(&logged); *at; at++)
		lines += *at == '\n';
	assert_in_range(lines, LOG_FACTS_PER_SECOND - 1, 3 * LOG_FACTS_PER_SECOND);
	assert_int_equal(told.due, 2);
	log_end(&logged.log);
	assert_non_null(strstr(take_text(&logged), " lines not shown\n"));
	close(logged.pipe[0]);
	close(logged.pipe[1]);
}

/* Logs come and go in any order, with and without something to tell. */
static void log_sinks(void **state)
{
	struct logged logged;
	struct told told;
	struct log logs[4], copy;

	log_to_sink(&logged, &told, 1);
	for (unsigned i = 0; i < 4; i++) {
		log_init(&logs[i], &logged.log, 1, "l%u", i);
		while (!logs[i].dropped)
			log_info(&logs[i], "line");
	}
	copy = log_copy(&logs[1]);
	log_end(&logs[1]);
	log_end(&logs[0]);
	log_info(&copy, "of another thread, perhaps");
	log_end(&copy);
	take_text(&logged);
	assert_false(log_sink_tell(&told.sink));
	assert_string_equal(take_text(&logged), "outboard: warning: l3: 1 line not shown\n"
	                                        "outboard: warning: l2: 1 line not shown\n");
	log_end(&logs[3]);
	log_end(&logs[2]);
	assert_string_equal(take_text(&logged), "");
	close(logged.pipe[0]);
	close(logged.pipe[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages),   cmocka_unit_test(sums),
		cmocka_unit_test(lists),      cmocka_unit_test(little_endian),
		cmocka_unit_test(ownership),  cmocka_unit_test(log_lines),
		cmocka_unit_test(log_bound),  cmocka_unit_test(log_nobody_reads),
		cmocka_unit_test(log_traces), cmocka_unit_test(log_sinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
