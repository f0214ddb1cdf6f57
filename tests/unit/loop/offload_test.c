/* SPDX-License-Identifier: BSD-3-Clause */
/* Helper threads: results on the loop, lanes that hold up nobody else, and an end at any time. */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/list.h"
#include "loop/loop.h"
#include "loop/offload.h"

enum { MANY = 200 };

struct call {
	struct loop_job job;
	pthread_t worked_on, told_on;
	unsigned worked, told, orphaned;
	int gate[2]; /* a pipe: the work waits until it can read from it */
	struct ob_loop *loop;
	struct call *next; /* handed in from done */
};

static void work(struct loop_job *job)
{
	struct call *call = container_of(job, struct call, job);

	call->worked_on = pthread_self();
	call->worked++;
}

static void work_behind_gate(struct loop_job *job)
{
	struct call *call = container_of(job, struct call, job);
	char byte;

	work(job);
	assert_int_equal(read(call->gate[0], &byte, 1), 1);
}

static void work_and_free(struct loop_job *job)
{
	struct call *call = container_of(job, struct call, job);
	int gate = call->gate[1];

	free(call);
	assert_int_equal(write(gate, "x", 1), 1);
}

static void done(struct loop_job *job)
{
	struct call *call = container_of(job, struct call, job);

	call->told_on = pthread_self();
	call->told++;
	if (call->next)
		loop_offload(call->loop, &call->next->job);
}

static void orphaned(struct loop_job *job)
{
	__atomic_add_fetch(&container_of(job, struct call, job)->orphaned, 1, __ATOMIC_SEQ_CST);
}

static struct call call_in(enum loop_lane lane)
{
	return (struct call){
		.job = {.work = work, .done = done, .orphaned = orphaned, .lane = lane}};
}

static struct call gated_call_in(enum loop_lane lane)
{
	struct call call = call_in(lane);

	call.job.work = work_behind_gate;
	assert_int_equal(pipe(call.gate), 0);
	return call;
}

static void open_gate(struct call *call)
{
	assert_int_equal(write(call->gate[1], "x", 1), 1);
}

static void close_gate(struct call *call)
{
	close(call->gate[0]);
	close(call->gate[1]);
}

static void run_until_told(struct ob_loop *loop, struct call *call)
{
	while (!call->told)
		assert_int_equal(loop_turn(loop, -1), 0);
}

/* Turns, and time for threads, until work has begun. */
static void run_until_begun(struct ob_loop *loop, const struct call *call)
{
	while (!__atomic_load_n(&call->worked, __ATOMIC_SEQ_CST))
		assert_int_equal(loop_turn(loop, 1), 0);
}

static unsigned threads_now(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;

	assert_non_null(tasks);
	while (readdir(tasks))
		count++;
	closedir(tasks);
	return count - 2; /* . and .. */
}

static void told_on_loop(void **state)
{
	struct ob_loop *loop = loop_new();
	struct call first = call_in(LOOP_LANE_STORAGE), second = call_in(LOOP_LANE_CLIENT);

	first.loop = loop;
	first.next = &second;
	loop_offload(loop, &first.job);
	assert_int_equal(first.told, 0);
	run_until_told(loop, &second);
	assert_int_equal(first.worked, 1);
	assert_int_equal(first.told, 1);
	assert_false(pthread_equal(first.worked_on, pthread_self()));
	assert_true(pthread_equal(first.told_on, pthread_self()));
	assert_int_equal(loop_offload_count(loop, LOOP_LANE_STORAGE), 0);
	loop_free(loop);
}

/* More than a lane takes at once are stuck; another lane works, and at last all are done. */
static void stuck_lane(void **state)
{
	struct ob_loop *loop = loop_new();
	static struct call stuck[MANY];
	struct call free_one = call_in(LOOP_LANE_STORAGE);
	unsigned before = threads_now();
	int gate[2];

	assert_int_equal(pipe(gate), 0);
	for (unsigned i = 0; i < MANY; i++) {
		stuck[i] = call_in(LOOP_LANE_MEMORY);
		stuck[i].job.work = work_behind_gate;
		stuck[i].gate[0] = gate[0];
		loop_offload(loop, &stuck[i].job);
	}
	loop_offload(loop, &free_one.job);
	run_until_told(loop, &free_one);
	assert_int_equal(loop_offload_count(loop, LOOP_LANE_MEMORY), MANY);
	assert_true(threads_now() <= before + 1 + 1);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(write(gate[1], "x", 1), 1);
	for (unsigned i = 0; i < MANY; i++) {
		run_until_told(loop, &stuck[i]);
		assert_int_equal(stuck[i].worked, 1);
	}
	close(gate[0]);
	close(gate[1]);
	loop_free(loop);
}

static void jobs_that_nobody_waits_for(void **state)
{
	struct ob_loop *loop = loop_new();
	int gate[2];
	char byte;

	assert_int_equal(pipe(gate), 0);
	for (unsigned i = 0; i < MANY; i++) {
		struct call *call = malloc(sizeof(*call));

		assert_non_null(call);
		*call = call_in(LOOP_LANE_MEMORY);
		call->job.work = work_and_free;
		call->job.done = NULL;
		call->gate[1] = gate[1];
		loop_offload(loop, &call->job);
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(read(gate[0], &byte, 1), 1);
	close(gate[0]);
	close(gate[1]);
	loop_free(loop);
}

/* One that waits behind another can be taken back, one that was begun can not. */
static void cancel(void **state)
{
	struct ob_loop *loop = loop_new();
	struct call begun = gated_call_in(LOOP_LANE_MEMORY);
	struct call waiting = call_in(LOOP_LANE_MEMORY), last = call_in(LOOP_LANE_MEMORY);

	loop_offload(loop, &begun.job);
	loop_offload(loop, &waiting.job);
	loop_offload(loop, &last.job);
	run_until_begun(loop, &begun);
	assert_false(loop_offload_cancel(loop, &begun.job));
	assert_true(loop_offload_cancel(loop, &waiting.job));
	assert_false(loop_offload_cancel(loop, &waiting.job));
	open_gate(&begun);
	run_until_told(loop, &last);
	assert_int_equal(begun.told, 1);
	assert_int_equal(waiting.worked + waiting.told, 0);
	close_gate(&begun);
	loop_free(loop);
}

static void threads_go_when_idle(void **state)
{
	struct ob_loop *loop = loop_new();
	struct call call = call_in(LOOP_LANE_STORAGE);
	unsigned before = threads_now();

	loop_offload(loop, &call.job);
	run_until_told(loop, &call);
	while (threads_now() > before)
		assert_int_equal(loop_turn(loop, 10), 0);
	/* And come again. */
	call.told = 0;
	loop_offload(loop, &call.job);
	run_until_told(loop, &call);
	assert_int_equal(call.worked, 2);
	loop_free(loop);
}

/* The loop ends while a job is stuck; what the thread holds is freed when it comes back. */
static void loop_that_ends(void **state)
{
	struct ob_loop *loop = loop_new();
	struct call stuck = gated_call_in(LOOP_LANE_CLIENT);

	loop_offload(loop, &stuck.job);
	run_until_begun(loop, &stuck);
	loop_free(loop);
	open_gate(&stuck);
	/* Threads of the tests before may still be about to end: they can't be counted. */
	while (!__atomic_load_n(&stuck.orphaned, __ATOMIC_SEQ_CST))
		usleep(1000);
	assert_int_equal(stuck.told, 0);
	close_gate(&stuck);
}

/* Its work has ended, and the loop ends before it looks. */
static void job_that_was_not_told(void **state)
{
	struct ob_loop *loop = loop_new();
	struct call call = call_in(LOOP_LANE_CLIENT);

	loop_offload(loop, &call.job);
	while (loop_offload_count(loop, LOOP_LANE_CLIENT))
		usleep(1000);
	loop_free(loop);
	assert_int_equal(call.told, 0);
	assert_int_equal(call.orphaned, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(told_on_loop),
		cmocka_unit_test(stuck_lane),
		cmocka_unit_test(jobs_that_nobody_waits_for),
		cmocka_unit_test(cancel),
		cmocka_unit_test(threads_go_when_idle),
		cmocka_unit_test(loop_that_ends),
		cmocka_unit_test(job_that_was_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
