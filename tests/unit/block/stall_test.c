/* SPDX-License-Identifier: BSD-3-Clause */
/* Storage that does not answer an open: others' files are opened meanwhile, up to a bound. */
#include "kit.h"

#include <semaphore.h>

#include "block/drivers.h"

enum { OF_A_FOLDER = 16, IN_ALL = LOOP_STORAGE_CALLS / 4 * 3 };

/* A driver whose open returns when it is let go; the name of the node is the place. */
static sem_t go;

static int stalled_open(struct ob_block *block, struct ob_error *err)
{
	while (sem_wait(&go))
		;
	return block_null.open(block, err);
}

static const char *name_of(const struct ob_block *block)
{
	return block->name;
}

static struct block_driver stalled_driver(void)
{
	struct block_driver driver = block_null;

	driver.may_sleep = true;
	driver.open = stalled_open;
	driver.place = name_of;
	return driver;
}

struct opening {
	struct block_wait wait;
	struct ob_block *block;
	int status; /* 1: not yet */
};

static void opened(struct block_wait *wait, int status, const struct ob_error *err)
{
	container_of(wait, struct opening, wait)->status = status;
}

/* A node of that name begins to be opened: what block_start_open() says. */
static int open_at(struct ob_loop *loop, const struct block_driver *driver, struct opening *opening,
                   const char *folder, unsigned number, struct ob_error *err)
{
	struct opts opts = {0};
	char text[128];

	snprintf(text, sizeof(text), "null,size=1M,node-name=%s/%u", folder, number);
	assert_int_equal(opts_parse(&opts, text, "driver", err), 0);
	*opening = (struct opening){.wait.done = opened, .status = 1};
	opening->block = block_new(loop, quiet_log(), &opts, err);
	assert_non_null(opening->block);
	opening->block->driver = driver;
	opts_free(&opts);
	return block_start_open(opening->block, &opening->wait, err);
}

static void wait_for(struct ob_loop *loop, const struct opening *opening)
{
	while (opening->status == 1)
		assert_int_equal(loop_turn(loop, -1), 0);
	assert_int_equal(opening->status, 0);
}

static void finish(struct ob_loop *loop, struct opening *openings, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		sem_post(&go);
	for (unsigned i = 0; i < count; i++) {
		wait_for(loop, &openings[i]);
		block_close(openings[i].block);
	}
}

static void a_folder_that_stalls_keeps_no_other_waiting(void **state)
{
	const struct block_driver stalled = stalled_driver();
	struct block_driver good = stalled_driver();
	static struct opening openings[IN_ALL + 1];
	struct ob_loop *loop = new_loop();
	struct ob_error err = {""};
	struct opening other;
	char folder[16];

	good.open = block_null.open;
	sem_init(&go, 0, 0);
	for (unsigned i = 0; i < IN_ALL - 1; i++) {
		snprintf(folder, sizeof(folder), "/f%u", i / OF_A_FOLDER);
		assert_int_equal(open_at(loop, &stalled, &openings[i], folder, i, &err),
		                 -EINPROGRESS);
	}
	/* One more of a folder is refused, with why; of another one it is opened. */
	assert_int_equal(open_at(loop, &good, &other, "/f0", 1000, &err), -EBUSY);
	assert_non_null(strstr(err.message, "16 files of that folder are being opened"));
	assert_int_equal(open_at(loop, &good, &other, "/good", 0, &err), -EINPROGRESS);
	wait_for(loop, &other);
	block_close(other.block);
	/* There is a bound for all of them. */
	assert_int_equal(open_at(loop, &stalled, &openings[IN_ALL - 1], "/more", 0, &err),
	                 -EINPROGRESS);
	assert_int_equal(open_at(loop, &good, &other, "/good", 0, &err), -EBUSY);
	assert_non_null(strstr(err.message, "calls to storage do not answer"));
	finish(loop, openings, IN_ALL);
	assert_int_equal(open_at(loop, &good, &other, "/f0", 0, &err), -EINPROGRESS);
	wait_for(loop, &other);
	block_close(other.block);
	sem_destroy(&go);
	loop_free(loop);
}

/* What nobody wants any more keeps its thread, and counts. */
static void those_that_were_given_up_count(void **state)
{
	const struct block_driver stalled = stalled_driver();
	struct ob_loop *loop = new_loop();
	struct opening openings[OF_A_FOLDER + 1];
	struct ob_error err = {""};
	int rc;

	sem_init(&go, 0, 0);
	for (unsigned i = 0; i < OF_A_FOLDER; i++) {
		assert_int_equal(open_at(loop, &stalled, &openings[i], "/f", i, &err),
		                 -EINPROGRESS);
		block_abandon(openings[i].block);
	}
	/* As many as no thread had taken yet are gone. */
	do {
		rc = open_at(loop, &stalled, &openings[OF_A_FOLDER], "/f", 0, &err);
		if (rc == -EINPROGRESS)
			block_abandon(openings[OF_A_FOLDER].block);
	} while (rc == -EINPROGRESS);
	assert_int_equal(rc, -EBUSY);
	for (unsigned i = 0; i < OF_A_FOLDER; i++)
		sem_post(&go);
	/* They are opened, and then closed. */
	for (int i = 0; i < 2; i++) {
		while (loop_offload_count(loop, LOOP_LANE_STORAGE))
			assert_int_equal(loop_turn(loop, 10), 0);
		assert_int_equal(loop_turn(loop, 0), 0);
	}
	assert_int_equal(open_at(loop, &stalled, &openings[0], "/f", 0, &err), -EINPROGRESS);
	finish(loop, openings, 1);
	sem_destroy(&go);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_folder_that_stalls_keeps_no_other_waiting),
		cmocka_unit_test(those_that_were_given_up_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
