/* SPDX-License-Identifier: BSD-3-Clause */
/* The event loop: descriptors, tasks, pollers, what is shared; all of them changed from callbacks.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/list.h"
#include "loop/loop.h"

enum { FDS = 100 };

static int new_loop(void **state)
{
	*state = loop_new();
	return *state ? 0 : -1;
}

static int free_loop(void **state)
{
	loop_free(*state);
	return 0;
}

/* A descriptor that is watched; when ready it removes another one. */
struct watched {
	struct loop_fd watch;
	struct ob_loop *loop;
	struct watched *victim;
	unsigned calls;
	uint32_t events;
};

static void on_ready(struct loop_fd *watch, uint32_t events)
{
	struct watched *watched = container_of(watch, struct watched, watch);

	watched->calls++;
	watched->events = events;
	if (watched->victim) {
		loop_fd_remove(watched->loop, &watched->victim->watch);
		close(watched->victim->watch.fd);
		watched->victim->watch.fd = -1;
		watched->victim = NULL;
	}
}

static void watch_eventfd(struct ob_loop *loop, struct watched *watched, unsigned value)
{
	*watched = (struct watched){
		.watch = {.fd = eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC),
	                  .events = EPOLLIN,
	                  .ready = on_ready},
		.loop = loop,
	};
	assert_true(watched->watch.fd >= 0);
	assert_int_equal(loop_fd_add(loop, &watched->watch), 0);
}

static void unwatch(struct watched *watched)
{
	if (watched->watch.fd < 0)
		return;
	loop_fd_remove(watched->loop, &watched->watch);
	close(watched->watch.fd);
}

static void descriptors(void **state)
{
	struct ob_loop *loop = *state;
	struct watched watched;
	uint64_t one = 1;

	watch_eventfd(loop, &watched, 0);
	assert_int_equal(loop_fd_add(loop, &watched.watch), -EEXIST);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(watched.calls, 0);
	assert_int_equal(write(watched.watch.fd, &one, 8), 8);
	assert_int_equal(loop_turn(loop, -1), 0);
	assert_int_equal(loop_turn(loop, -1), 0);
	assert_int_equal(watched.calls, 2); /* level-triggered */
	assert_int_equal(watched.events, EPOLLIN);
	assert_int_equal(loop_fd_modify(loop, &watched.watch, EPOLLIN | EPOLLOUT), 0);
	assert_int_equal(loop_fd_modify(loop, &watched.watch, EPOLLIN | EPOLLOUT), 0);
	assert_int_equal(loop_turn(loop, -1), 0);
	assert_int_equal(watched.events, EPOLLIN | EPOLLOUT);
	assert_int_equal(loop_fd_modify(loop, &watched.watch, 0), 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(watched.calls, 3);
	unwatch(&watched);
	assert_int_equal(loop_fd_add(loop, &watched.watch), -EBADF);
	watched.watch.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(loop_fd_add(loop, &watched.watch), -EPERM);
	close(watched.watch.fd);
}

/* All are ready at once, and each removes its neighbour: a removed one is not called. */
static void removed_in_a_batch(void **state)
{
	struct ob_loop *loop = *state;
	static struct watched watched[FDS];
	unsigned called = 0, gone = 0;

	for (unsigned i = 0; i < FDS; i++)
		watch_eventfd(loop, &watched[i], 1);
	for (unsigned i = 0; i < FDS; i++)
		watched[i].victim = &watched[(i + 1) % FDS];
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	for (unsigned i = 0; i < FDS; i++) {
		bool removed = watched[i].watch.fd < 0;

		gone += removed;
		called += watched[i].calls > 0;
		if (removed && watched[(i + FDS - 1) % FDS].calls == 0)
			fail_msg("%u is gone though nobody removed it", i);
	}
	assert_true(gone > 0);
	assert_true(called < FDS);
	for (unsigned i = 0; i < FDS; i++)
		unwatch(&watched[i]);
}

static void removes_itself(void **state)
{
	struct ob_loop *loop = *state;
	struct watched watched;

	watch_eventfd(loop, &watched, 1);
	watched.victim = &watched;
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(watched.calls, 1);
}

struct job {
	struct ob_task task;
	struct ob_loop *loop;
	struct ob_task *cancels, *schedules;
	unsigned runs;
	bool stops;
};

static void run_job(struct ob_task *task)
{
	struct job *job = container_of(task, struct job, task);

	job->runs++;
	if (job->cancels)
		ob_task_cancel(job->cancels);
	if (job->schedules)
		ob_task_schedule(job->loop, job->schedules);
	if (job->stops)
		loop_stop(job->loop);
}

#define JOB(loop_) ((struct job){.task.run = run_job, .loop = (loop_)})

static void tasks(void **state)
{
	struct ob_loop *loop = *state;
	struct job a = JOB(loop), b = JOB(loop), c = JOB(loop);

	ob_task_schedule(loop, &a.task);
	ob_task_schedule(loop, &a.task);
	ob_task_schedule(loop, &b.task);
	ob_task_cancel(&b.task);
	ob_task_cancel(&b.task);
	assert_int_equal(loop_turn(loop, -1), 0); /* does not sleep: a task waits */
	assert_int_equal(a.runs, 1);
	assert_int_equal(b.runs, 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(a.runs, 1);

	/* A task may cancel one that is due in the same turn; the rest goes on. */
	a.cancels = &b.task;
	ob_task_schedule(loop, &a.task);
	ob_task_schedule(loop, &b.task);
	ob_task_schedule(loop, &c.task);
	assert_int_equal(loop_turn(loop, -1), 0);
	assert_int_equal(a.runs, 2);
	assert_int_equal(b.runs, 0);
	assert_int_equal(c.runs, 1);
	assert_null(b.task.next);
}

/* A task that schedules itself runs once each turn, with descriptors seen now and then. */
static void tasks_again(void **state)
{
	struct ob_loop *loop = *state;
	struct watched watched;
	struct job a = JOB(loop);
	unsigned turns = 0;

	watch_eventfd(loop, &watched, 1);
	a.schedules = &a.task;
	ob_task_schedule(loop, &a.task);
	while (watched.calls < 5) {
		assert_int_equal(loop_turn(loop, -1), 0);
		turns++;
		assert_int_equal(a.runs, turns);
		assert_in_range(watched.calls, 0, turns);
	}
	ob_task_cancel(&a.task);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(a.runs, turns);
	unwatch(&watched);
}

static void runs_until_stopped(void **state)
{
	struct ob_loop *loop = *state;
	struct job a = JOB(loop), b = JOB(loop);

	a.schedules = &b.task;
	b.stops = true;
	ob_task_schedule(loop, &a.task);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(a.runs + b.runs, 2);
}

struct polled {
	struct ob_poller poller;
	struct ob_loop *loop;
	struct ob_poller *removes, *adds;
	unsigned calls, busy; /* finds work so many times */
};

static bool on_poll(struct ob_poller *poller)
{
	struct polled *polled = container_of(poller, struct polled, poller);

	polled->calls++;
	if (polled->removes)
		ob_poller_remove(polled->loop, polled->removes);
	if (polled->adds)
		ob_poller_add(polled->loop, polled->adds);
	if (!polled->busy)
		return false;
	polled->busy--;
	return true;
}

#define POLLED(loop_) ((struct polled){.poller.poll = on_poll, .loop = (loop_)})

static void pollers(void **state)
{
	struct ob_loop *loop = *state;
	struct polled a = POLLED(loop), b = POLLED(loop), c = POLLED(loop);
	uint64_t start;

	ob_poller_add(loop, &a.poller);
	ob_poller_add(loop, &a.poller);
	ob_poller_add(loop, &b.poller);
	a.busy = 3;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, -1), 0); /* busy: does not sleep */
	assert_int_equal(a.calls, 3);
	assert_int_equal(b.calls, 3);
	/* Nobody has work: the loop sleeps as long as it may. */
	start = ob_loop_now();
	assert_int_equal(loop_turn(loop, 20), 0);
	assert_true(ob_loop_now() - start >= 15000000);

	/* Removing the next, oneself, and adding, from within. */
	ob_poller_add(loop, &c.poller);
	a.removes = &b.poller;
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(b.calls, 4);
	assert_int_equal(c.calls, 1);
	a.removes = &a.poller;
	a.adds = &b.poller;
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(a.calls, 6);
	assert_int_equal(b.calls, 5);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(a.calls, 6);
	ob_poller_remove(loop, &a.poller);
	ob_poller_remove(loop, &b.poller);
	ob_poller_remove(loop, &c.poller);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(b.calls, 6);
}

/* While a poller spins, tasks run on each turn, and descriptors and timers all the same. */
struct spinner {
	struct polled polled;
	struct ob_timer timer;
	unsigned expired;
};

static void on_expired(struct ob_timer *timer)
{
	container_of(timer, struct spinner, timer)->expired++;
}

static void nothing_starves(void **state)
{
	struct ob_loop *loop = *state;
	struct spinner spinner = {.polled = POLLED(loop), .timer.expired = on_expired};
	struct job job = JOB(loop);
	struct watched watched;
	unsigned turns = 0;

	watch_eventfd(loop, &watched, 0);
	spinner.polled.busy = UINT_MAX;
	ob_poller_add(loop, &spinner.polled.poller);
	job.schedules = &job.task;
	ob_task_schedule(loop, &job.task);
	assert_int_equal(ob_timer_arm(loop, &spinner.timer, 1000), 0);
	eventfd_write(watched.watch.fd, 1);
	while (watched.calls < 3 || !spinner.expired) {
		assert_int_equal(loop_turn(loop, -1), 0);
		turns++;
	}
	assert_int_equal(spinner.polled.calls, turns);
	assert_int_equal(job.runs, turns);
	assert_int_equal(spinner.expired, 1);
	ob_task_cancel(&job.task);
	ob_poller_remove(loop, &spinner.polled.poller);
	unwatch(&watched);
}

static void shared(void **state)
{
	static const char kinds[3];
	struct ob_loop *loop = *state;
	struct loop_shared a = {.kind = &kinds[0]}, b = {.kind = &kinds[1]};

	assert_null(loop_shared_find(loop, &kinds[0]));
	loop_shared_add(loop, &a);
	loop_shared_add(loop, &b);
	assert_ptr_equal(loop_shared_find(loop, &kinds[0]), &a);
	assert_ptr_equal(loop_shared_find(loop, &kinds[1]), &b);
	assert_null(loop_shared_find(loop, &kinds[2]));
	loop_shared_remove(loop, &a);
	loop_shared_remove(loop, &a);
	assert_null(loop_shared_find(loop, &kinds[0]));
	assert_ptr_equal(loop_shared_find(loop, &kinds[1]), &b);
	loop_shared_remove(loop, &b);
	assert_null(loop_shared_find(loop, &kinds[1]));
}

struct spender {
	struct ob_task task;
	struct ob_loop *loop;
	bool at_once, later;
};

static void spend(struct ob_task *task)
{
	struct spender *spender = container_of(task, struct spender, task);
	uint64_t begin = ob_loop_now();

	spender->at_once = ob_loop_spent(spender->loop);
	while (ob_loop_now() - begin < 5000000)
		;
	spender->later = ob_loop_spent(spender->loop);
}

/* Each callback has a share of its own. */
static void a_callback_has_a_share_of_the_time(void **state)
{
	struct spender one = {{.run = spend}, *state, true, false}, other = one;

	loop_set_share(*state, UINT64_MAX);
	ob_task_schedule(*state, &one.task);
	assert_int_equal(loop_turn(*state, 0), 0);
	assert_true(!one.at_once && !one.later);
	loop_set_share(*state, 0);
	ob_task_schedule(*state, &one.task);
	assert_int_equal(loop_turn(*state, 0), 0);
	assert_true(one.at_once && one.later);
	/* So much that no machine is too slow to begin within it, and too little for 5 ms. */
	loop_set_share(*state, 4000000);
	ob_task_schedule(*state, &one.task);
	ob_task_schedule(*state, &other.task);
	assert_int_equal(loop_turn(*state, 0), 0);
	assert_true(one.later && other.later);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(descriptors, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(removed_in_a_batch, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(removes_itself, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(tasks, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(tasks_again, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(runs_until_stopped, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(pollers, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(nothing_starves, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(a_callback_has_a_share_of_the_time, new_loop,
	                                        free_loop),
		cmocka_unit_test_setup_teardown(shared, new_loop, free_loop),
	};

	loop_free(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
