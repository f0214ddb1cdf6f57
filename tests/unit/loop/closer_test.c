/* SPDX-License-Identifier: BSD-3-Clause */
/* Closers: what is stuck in one of them holds up no other one. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "lingering.h"
#include "loop/closer.h"
#include "loop/loop.h"
#include "loop/offload.h"

enum { STUCK = 40 };

static void run_until_closed(struct ob_loop *loop, int other_end)
{
	struct pollfd end = {.fd = other_end};

	while (poll(&end, 1, 10) == 0)
		assert_int_equal(loop_turn(loop, 0), 0);
	assert_true(end.revents & POLLHUP);
}

/* A server has one, and there may be any number of servers whose clients are hostile. */
static void stuck_closers_hold_up_no_other(void **state)
{
	struct budget budget = {.total = 1000};
	struct budget_share shares[STUCK + 1];
	struct loop_closer *closers[STUCK + 1];
	struct ob_loop *loop = loop_new();
	int others[STUCK], pipes[2];

	for (unsigned i = 0; i <= STUCK; i++) {
		shares[i] = (struct budget_share){.budget = &budget};
		closers[i] = loop_closer_new(loop, &shares[i]);
		assert_non_null(closers[i]);
	}
	for (unsigned i = 0; i < STUCK; i++)
		loop_closer_close(closers[i], lingering(&others[i]));
	assert_int_equal(pipe(pipes), 0);
	loop_closer_close(closers[STUCK], pipes[1]);
	run_until_closed(loop, pipes[0]);
	close(pipes[0]);
	/* What waits behind one of them waits for that one. */
	assert_int_equal(pipe(pipes), 0);
	loop_closer_close(closers[0], pipes[1]);
	assert_int_equal(shares[0].own, 2);
	for (unsigned i = 0; i < STUCK; i++)
		close(others[i]);
	run_until_closed(loop, pipes[0]);
	close(pipes[0]);
	while (budget.used)
		assert_int_equal(loop_turn(loop, -1), 0);
	for (unsigned i = 0; i <= STUCK; i++)
		loop_closer_free(closers[i]);
	loop_free(loop);
	(void)state;
}

static void descriptors_are_not_taken(void **state)
{
	static const int kinds[] = {0, MSG_OOB};
	struct ob_loop *loop = loop_new();
	int others[2], pair[2];
	char bytes[64];

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		assert_int_equal(loop_receive(pair[1], bytes, sizeof(bytes)), -1);
		assert_int_equal(errno, EAGAIN);
		assert_int_equal(write(pair[0], "before", 6), 6);
		assert_int_equal(loop_receive(pair[1], bytes, 4), 4);
		assert_int_equal(loop_receive(pair[1], bytes + 4, 60), 2);
		assert_memory_equal(bytes, "before", 6);
		send_with(pair[0], "x", lingering(&others[i]), kinds[i]);
		assert_int_equal(write(pair[0], "after", 5), 5);
		assert_int_equal(loop_receive(pair[1], bytes, sizeof(bytes)), -1);
		assert_int_equal(errno, EBADMSG);
		loop_close_elsewhere(loop, pair[1]);
		run_until_closed(loop, pair[0]);
		close(pair[0]);
	}
	close(others[0]);
	close(others[1]);
	loop_free(loop);
	(void)state;
}

static void credentials_are_no_descriptors(void **state)
{
	const int on = 1;
	char bytes[64];
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	assert_int_equal(write(pair[0], "text", 4), 4);
	assert_int_equal(loop_receive(pair[1], bytes, sizeof(bytes)), 4);
	send_with(pair[0], "x", dup(0), 0);
	assert_int_equal(loop_receive(pair[1], bytes, sizeof(bytes)), -1);
	assert_int_equal(errno, EBADMSG);
	close(pair[0]);
	close(pair[1]);
	(void)state;
}

/* An urgent byte that nobody has read is in the way of the end, and may have come with one. */
static void urgent_bytes_are_closed_elsewhere(void **state)
{
	struct budget budget = {.total = 1000};
	struct budget_share share = {.budget = &budget};
	struct ob_loop *loop = loop_new();
	struct loop_closer *closer = loop_closer_new(loop, &share);
	int other, pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	send_with(pair[0], "x", lingering(&other), MSG_OOB);
	loop_closer_close_socket(closer, pair[1]);
	assert_int_equal(share.own, 1);
	close(other);
	while (budget.used)
		assert_int_equal(loop_turn(loop, -1), 0);
	close(pair[0]);
	loop_closer_free(closer);
	loop_free(loop);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stuck_closers_hold_up_no_other),
		cmocka_unit_test(descriptors_are_not_taken),
		cmocka_unit_test(credentials_are_no_descriptors),
		cmocka_unit_test(urgent_bytes_are_closed_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
