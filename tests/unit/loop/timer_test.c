/* SPDX-License-Identifier: BSD-3-Clause */
/* Timers: in order, not early, moved, and cancelled from callbacks. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/list.h"
#include "loop/loop.h"

enum { TIMERS = 200 };

static const uint64_t ms = 1000000;

struct alarm {
	struct ob_timer timer;
	struct ob_loop *loop;
	struct ob_timer *cancels;
	uint64_t again; /* ns: arms itself once more each time */
	uint64_t due;
	unsigned calls;
	unsigned place; /* in the order of all that expired */
};

static void on_expired(struct ob_timer *timer)
{
	struct alarm *alarm = container_of(timer, struct alarm, timer);

	assert_true(ob_loop_now() >= alarm->due);
	alarm->calls++;
	if (alarm->cancels)
		ob_timer_cancel(alarm->loop, alarm->cancels);
	if (alarm->again)
		assert_int_equal(ob_timer_arm(alarm->loop, timer, alarm->again), 0);
}

static void set_alarm(struct ob_loop *loop, struct alarm *alarm, uint64_t delay)
{
	alarm->timer.expired = on_expired;
	alarm->loop = loop;
	alarm->due = ob_loop_now() + delay;
	assert_int_equal(ob_timer_arm(loop, &alarm->timer, delay), 0);
}

static unsigned expired_count;

static void on_expired_in_order(struct ob_timer *timer)
{
	struct alarm *alarm = container_of(timer, struct alarm, timer);

	alarm->calls++;
	alarm->place = expired_count++;
}

/* Armed, moved and cancelled at random; those that are left expire by deadline. */
static void in_order(void **state)
{
	static struct alarm alarms[TIMERS];
	struct ob_loop *loop = loop_new();
	unsigned armed = 0;

	assert_non_null(loop);
	srandom(1);
	expired_count = 0;
	for (unsigned i = 0; i < 5 * TIMERS; i++) {
		struct alarm *alarm = &alarms[(unsigned)random() % TIMERS];

		alarm->timer.expired = on_expired_in_order;
		if (random() % 4)
			assert_int_equal(
				ob_timer_arm(loop, &alarm->timer, (uint64_t)(random() % 50000000)),
				0);
		else
			ob_timer_cancel(loop, &alarm->timer);
	}
	for (unsigned i = 0; i < TIMERS; i++)
		armed += alarms[i].timer.slot != 0;
	assert_true(armed > TIMERS / 2);
	usleep(60000);
	assert_int_equal(loop_turn(loop, -1), 0);
	assert_int_equal(expired_count, armed);
	for (unsigned i = 0; i < TIMERS; i++) {
		for (unsigned j = 0; j < TIMERS; j++) {
			if (alarms[i].calls && alarms[j].calls &&
			    alarms[i].timer.deadline < alarms[j].timer.deadline)
				assert_true(alarms[i].place < alarms[j].place);
		}
		assert_int_equal(alarms[i].timer.slot, 0);
	}
	loop_free(loop);
}

static void not_early(void **state)
{
	struct ob_loop *loop = loop_new();
	struct alarm alarm = {.calls = 0};

	for (unsigned i = 0; i < 5; i++) {
		alarm.calls = 0;
		set_alarm(loop, &alarm, 3 * ms + i * 100000);
		/* Sleeps until then, though it may sleep for ever; on_expired looks at the clock.
		 */
		while (!alarm.calls)
			assert_int_equal(loop_turn(loop, -1), 0);
	}
	loop_free(loop);
}

static void shorter_waits_stay(void **state)
{
	struct ob_loop *loop = loop_new();
	struct alarm alarm = {.calls = 0};
	uint64_t start = ob_loop_now();

	set_alarm(loop, &alarm, 60000 * ms);
	assert_int_equal(loop_turn(loop, 5), 0);
	assert_int_equal(alarm.calls, 0);
	assert_true(ob_loop_now() - start < 30000 * ms);
	ob_timer_cancel(loop, &alarm.timer);
	ob_timer_cancel(loop, &alarm.timer);
	/* The far end of time is no special case. */
	assert_int_equal(ob_timer_arm(loop, &alarm.timer, UINT64_MAX), 0);
	assert_int_equal(loop_turn(loop, 1), 0);
	assert_int_equal(alarm.calls, 0);
	ob_timer_cancel(loop, &alarm.timer);
	loop_free(loop);
}

static void cancelled_in_callback(void **state)
{
	struct ob_loop *loop = loop_new();
	struct alarm first = {.calls = 0}, second = {.calls = 0}, third = {.calls = 0};

	set_alarm(loop, &first, 1 * ms);
	set_alarm(loop, &second, 2 * ms);
	set_alarm(loop, &third, 3 * ms);
	first.cancels = &second.timer;
	third.cancels = &third.timer; /* itself: not armed any more */
	usleep(5000);
	assert_int_equal(loop_turn(loop, -1), 0);
	assert_int_equal(first.calls, 1);
	assert_int_equal(second.calls, 0);
	assert_int_equal(third.calls, 1);
	loop_free(loop);
}

/* A timer that arms itself with no delay runs once each turn, and does not hold up the loop. */
static void again(void **state)
{
	struct ob_loop *loop = loop_new();
	struct alarm alarm = {.again = 1};

	set_alarm(loop, &alarm, 0);
	for (unsigned i = 1; i <= 10; i++) {
		assert_int_equal(loop_turn(loop, -1), 0);
		assert_true(alarm.calls <= i);
	}
	assert_true(alarm.calls >= 1);
	ob_timer_cancel(loop, &alarm.timer);
	loop_free(loop);
}

/* From here on, the system call fails with this. */
static bool refuse_call(unsigned number, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = ARRAY_SIZE(code), .filter = code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/* Exit status: 0, or 1; 77 where there is no seccomp. */
static int wait_without_nanoseconds(int error)
{
	struct ob_loop *loop = loop_new();
	struct alarm alarm = {0};
	int rc = 0;

	if (!refuse_call(SYS_epoll_pwait2, error))
		return 77;
	alarm.loop = loop;
	alarm.timer.expired = on_expired;
	ob_timer_arm(loop, &alarm.timer, 2 * ms);
	for (unsigned i = 0; i < 100 && !rc && !alarm.calls; i++)
		rc = loop_turn(loop, -1);
	loop_free(loop);
	return rc || !alarm.calls;
}

/* Old kernels do not know the call, and old sandboxes refuse what they do not know. */
static void kernels_and_sandboxes_without_nanoseconds(void **state)
{
	static const int errors[] = {ENOSYS, EPERM};

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (!pid)
			_exit(wait_without_nanoseconds(errors[i]));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(not_early),
		cmocka_unit_test(shorter_waits_stay),
		cmocka_unit_test(cancelled_in_callback),
		cmocka_unit_test(again),
		cmocka_unit_test(kernels_and_sandboxes_without_nanoseconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
