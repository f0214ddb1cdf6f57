/* SPDX-License-Identifier: BSD-3-Clause */
/* Closers: what is stuck in one of them holds up no other one. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stuck_closers_hold_up_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
