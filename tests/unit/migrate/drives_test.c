/* SPDX-License-Identifier: BSD-3-Clause */
/* Drives of a device that moves: files are handed over, the contents of memory come along. */
#include "kit.h"

#include <fcntl.h>
#include <semaphore.h>
#include <unistd.h>

#include "base/list.h"

enum { DISK = 8 << 20, PAGE = 4096 };

struct pair {
	struct side from, to;
	struct bytes stream;
	char path[64];
};

static int set_up(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	struct ob_loop *loop = loop_new();
	int fd;

	side_init(&pair->from, loop);
	side_init(&pair->to, loop);
	strcpy(pair->path, "/tmp/migrate-drive-XXXXXX");
	fd = mkstemp(pair->path);
	assert_int_equal(ftruncate(fd, DISK), 0);
	close(fd);
	*state = pair;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *pair = *state;
	struct ob_loop *loop = pair->from.loop;

	side_free(&pair->from);
	side_free(&pair->to);
	loop_free(loop);
	unlink(pair->path);
	free(pair->stream.data);
	free(pair);
	return 0;
}

/* Two devices: one that has the file, and one that waits for it. */
static void start_files(struct pair *pair)
{
	char options[256];

	snprintf(options, sizeof(options), "driver=file,filename=%s", pair->path);
	side_add_drive(&pair->from, options);
	side_start(&pair->from, &mover_model, "");
	snprintf(options, sizeof(options), "driver=file,filename=%s,active=off", pair->path);
	side_add_drive(&pair->to, options);
	side_start(&pair->to, &mover_model, "");
}

static int request(struct side *side, enum ob_block_op op, uint64_t offset, void *bytes,
                   size_t length)
{
	struct iovec iov = {bytes, length};
	struct ob_block_request r = {
		.op = op, .offset = offset, .length = length, .iov = &iov, .iovcnt = 1};
	int rc = ob_block_submit(side->drives[0], &r);

	assert_int_not_equal(rc, -EINPROGRESS);
	return rc;
}

static void copy(struct pair *pair)
{
	free(pair->stream.data);
	pair->stream = (struct bytes){0};
	side_read(&pair->from, &pair->stream, 1 << 20);
	assert_int_equal(side_go(&pair->to, MIGRATE_RESUMING), 0);
	assert_int_equal(side_write(&pair->to, &pair->stream, 1 << 20), 0);
}

static void one_that_waits_is_stopped(void **state)
{
	struct pair *pair = *state;
	uint8_t byte[512];

	start_files(pair);
	assert_int_equal(migrate_state(pair->from.migration), MIGRATE_RUNNING);
	assert_int_equal(migrate_state(pair->to.migration), MIGRATE_STOP);
	assert_int_equal(request(&pair->to, OB_BLOCK_READ, 0, byte, 512), -EPERM);
	assert_int_equal(request(&pair->to, OB_BLOCK_FLUSH, 0, NULL, 0), -EPERM);
	assert_int_equal(side_mover(&pair->to)->quiesces, 1);
	/* Neither a reset nor a client that leaves has it take what is another's. */
	assert_int_equal(migrate_reset(pair->to.migration, NULL), 0);
	assert_int_equal(migrate_state(pair->to.migration), MIGRATE_STOP);
	migrate_abandon(pair->to.migration);
	assert_int_equal(migrate_state(pair->to.migration), MIGRATE_STOP);
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), -EBUSY);
	assert_non_null(strstr(migrate_why(pair->to.migration), "is in use by another"));
	assert_int_equal(migrate_state(pair->to.migration), MIGRATE_STOP);
	assert_int_equal(side_mover(&pair->to)->resumes, 0);
}

static void a_file_is_handed_over_and_back(void **state)
{
	struct pair *pair = *state;

	start_files(pair);
	for (int i = 0; i < 10; i++) {
		struct side swap;

		assert_int_equal(side_go(&pair->from, MIGRATE_STOP), 0);
		assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), -EBUSY);
		assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
		assert_false(block_is_active(pair->from.drives[0]));
		copy(pair);
		assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), 0);
		assert_true(block_is_active(pair->to.drives[0]));
		/* Only one of them has it. */
		assert_int_equal(side_go(&pair->from, MIGRATE_RUNNING), -EBUSY);
		assert_int_equal(migrate_state(pair->from.migration), MIGRATE_STOP);
		swap = pair->from;
		pair->from = pair->to;
		pair->to = swap;
	}
}

/* A disk may take its time to flush, and the device be removed meanwhile. */
static void a_flush_outlives_its_device(void **state)
{
	struct pair *pair = *state;
	struct side *from = &pair->from;
	int rc;

	start_files(pair);
	rc = migrate_set_state(from->migration, MIGRATE_STOP_COPY, &from->waiter);
	assert_true(rc == 0 || rc == -EINPROGRESS);
	device_free(from->dev);
	from->dev = NULL;
	assert_int_equal(from->calls, rc != 0);
	for (int i = 0; i < 1000 && from->drives[0]->in_flight; i++)
		loop_turn(from->loop, 10);
	assert_int_equal(from->drives[0]->in_flight, 0);
	assert_int_equal(from->calls, rc != 0);
}

/* What nobody waits for: drives that are taken back, or can't be. */
static void settle(struct side *side)
{
	for (int i = 0; i < 1000 && side->drives[0]->in_flight; i++)
		loop_turn(side->loop, 10);
	assert_int_equal(side->drives[0]->in_flight, 0);
}

/* Storage that does not answer before it is let go. */
static struct {
	sem_t begun, go;
	struct block_driver driver;
	const struct block_driver *real;
} stalls;

static void stalled_inactivate(struct ob_block *block)
{
	sem_post(&stalls.begun);
	sem_wait(&stalls.go);
	stalls.real->inactivate(block);
}

static int stalled_activate(struct ob_block *block, const atomic_bool *stop, struct ob_error *err)
{
	sem_post(&stalls.begun);
	sem_wait(&stalls.go);
	return stalls.real->activate(block, stop, err);
}

static void stall_from_now_on(struct side *side)
{
	struct ob_block *block = side->drives[0];

	sem_init(&stalls.begun, 0, 0);
	sem_init(&stalls.go, 0, 0);
	stalls.real = block->driver;
	stalls.driver = *block->driver;
	stalls.driver.inactivate = stalled_inactivate;
	stalls.driver.activate = stalled_activate;
	block->driver = &stalls.driver;
}

/* Until the storage was asked. The loop goes on: its other tasks are done. */
static void turn_until_asked(struct side *side)
{
	while (sem_trywait(&stalls.begun))
		assert_int_equal(loop_turn(side->loop, 1), 0);
	side_turns(side);
}

static void storage_that_stalls_is_waited_for(void **state)
{
	struct pair *pair = *state;
	struct side *from = &pair->from;

	start_files(pair);
	stall_from_now_on(from);
	assert_int_equal(migrate_set_state(from->migration, MIGRATE_STOP_COPY, &from->waiter),
	                 -EINPROGRESS);
	turn_until_asked(from);
	assert_int_equal(from->calls, 0);
	assert_int_equal(migrate_state(from->migration), MIGRATE_STOP);
	/* Nobody uses it from the moment on at which it is given up, nor closes it. */
	assert_false(block_is_active(from->drives[0]));
	assert_int_equal(from->drives[0]->in_flight, 1);
	sem_post(&stalls.go);
	settle(from);
	assert_int_equal(from->calls, 1);
	assert_int_equal(from->status, 0);
	assert_int_equal(migrate_state(from->migration), MIGRATE_STOP_COPY);

	assert_int_equal(migrate_set_state(from->migration, MIGRATE_RUNNING, &from->waiter),
	                 -EINPROGRESS);
	turn_until_asked(from);
	assert_int_equal(from->calls, 1);
	assert_false(block_is_active(from->drives[0]));
	sem_post(&stalls.go);
	settle(from);
	assert_int_equal(from->calls, 2);
	assert_int_equal(migrate_state(from->migration), MIGRATE_RUNNING);
	from->drives[0]->driver = stalls.real;
}

/* What is asked for meanwhile comes after it: a drive is not given up and taken at a time. */
static void a_reset_while_storage_stalls(void **state)
{
	struct pair *pair = *state;
	struct side *from = &pair->from;
	struct migrate_waiter *waiter = &from->waiter;

	start_files(pair);
	stall_from_now_on(from);
	assert_int_equal(migrate_set_state(from->migration, MIGRATE_STOP_COPY, waiter),
	                 -EINPROGRESS);
	turn_until_asked(from);
	assert_int_equal(migrate_reset(from->migration, waiter), -EINPROGRESS);
	assert_int_equal(from->calls, 1);
	assert_int_equal(from->status, -ECANCELED);
	sem_post(&stalls.go);
	turn_until_asked(from);
	assert_int_equal(from->calls, 1);
	sem_post(&stalls.go);
	settle(from);
	assert_int_equal(from->calls, 2);
	assert_int_equal(from->status, 0);
	assert_int_equal(migrate_state(from->migration), MIGRATE_RUNNING);
	assert_true(block_is_active(from->drives[0]));
	from->drives[0]->driver = stalls.real;
}

/* The device may be removed meanwhile, too. */
static void a_hand_over_outlives_its_device(void **state)
{
	struct pair *pair = *state;
	struct side *from = &pair->from;

	start_files(pair);
	stall_from_now_on(from);
	assert_int_equal(migrate_set_state(from->migration, MIGRATE_STOP_COPY, &from->waiter),
	                 -EINPROGRESS);
	turn_until_asked(from);
	device_free(from->dev);
	from->dev = NULL;
	assert_int_equal(from->status, -ENODEV);
	sem_post(&stalls.go);
	settle(from);
	assert_int_equal(from->calls, 1);
	from->drives[0]->driver = stalls.real;
}

/* All of them, or none: the first is given up again. */
static void one_drive_of_two_can_not_be_had(void **state)
{
	struct pair *pair = *state;
	char options[256], other[] = "/tmp/migrate-drive-XXXXXX";
	int fd = mkstemp(other);

	assert_int_equal(ftruncate(fd, DISK), 0);
	snprintf(options, sizeof(options), "driver=file,filename=%s,active=off", other);
	side_add_drive(&pair->to, options);
	snprintf(options, sizeof(options), "driver=file,filename=%s,active=off", pair->path);
	side_add_drive(&pair->to, options);
	side_start(&pair->to, &mover_model, "");
	snprintf(options, sizeof(options), "driver=file,filename=%s", pair->path);
	side_add_drive(&pair->from, options);
	side_start(&pair->from, &mover_model, "");
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), -EBUSY);
	assert_false(block_is_active(pair->to.drives[0]));
	assert_int_equal(pair->to.drives[0]->in_flight, 0);
	assert_int_equal(migrate_state(pair->to.migration), MIGRATE_STOP);
	/* And its error is not the next try's. */
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), 0);
	close(fd);
	unlink(other);
}

static void a_source_takes_back_what_nobody_took(void **state)
{
	struct pair *pair = *state;

	start_files(pair);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
		copy(pair);
		if (i == 0)
			assert_int_equal(side_go(&pair->from, MIGRATE_RUNNING), 0);
		else if (i == 1)
			migrate_abandon(pair->from.migration);
		else
			(void)migrate_reset(pair->from.migration, NULL);
		settle(&pair->from);
		assert_int_equal(migrate_state(pair->from.migration), MIGRATE_RUNNING);
		assert_true(block_is_active(pair->from.drives[0]));
		assert_int_equal(side_go(&pair->to, MIGRATE_STOP), 0);
	}
}

/* The other side has run with it: it must not be taken from there. */
static void a_source_that_is_abandoned_too_late_stays_stopped(void **state)
{
	struct pair *pair = *state;

	start_files(pair);
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
	copy(pair);
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), 0);
	migrate_abandon(pair->from.migration);
	settle(&pair->from);
	assert_int_equal(migrate_state(pair->from.migration), MIGRATE_STOP);
	(void)migrate_reset(pair->from.migration, NULL);
	settle(&pair->from);
	assert_int_equal(migrate_state(pair->from.migration), MIGRATE_STOP);
	/* It is there again once the other one has given it up. */
	assert_int_equal(side_go(&pair->to, MIGRATE_STOP_COPY), 0);
	assert_int_equal(side_go(&pair->from, MIGRATE_RUNNING), 0);
}

static void a_file_that_shrank_meanwhile(void **state)
{
	struct pair *pair = *state;

	start_files(pair);
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
	copy(pair);
	assert_int_equal(side_go(&pair->to, MIGRATE_STOP), 0);
	assert_int_equal(truncate(pair->path, DISK / 2), 0);
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), -EINVAL);
	assert_non_null(strstr(migrate_why(pair->to.migration), "has shrunk to 4194304 bytes"));
	assert_int_equal(migrate_state(pair->to.migration), MIGRATE_STOP);
	assert_int_equal(truncate(pair->path, DISK), 0);
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), 0);
}

static void drives_that_differ(void **state)
{
	static const struct {
		const char *from, *to, *why;
	} cases[] = {
		{"driver=mem,size=8M", "driver=mem,size=4M",
	         "drive 0 (b0): size: the stream has 8388608, this device 4194304"},
		{"driver=mem,size=8M", "driver=null,size=8M", "contents: the stream has 1"},
		{"driver=null,size=8M", "driver=mem,size=8M", "contents: the stream has 0"},
	};
	struct pair *pair = *state;
	struct side third;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		side_add_drive(&pair->from, cases[i].from);
		side_start(&pair->from, &mover_model, "");
		side_add_drive(&pair->to, cases[i].to);
		side_start(&pair->to, &mover_model, "");
		assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
		side_read(&pair->from, &pair->stream, 1 << 20);
		assert_int_equal(side_go(&pair->to, MIGRATE_RESUMING), 0);
		assert_int_equal(side_write(&pair->to, &pair->stream, 1 << 20), -EINVAL);
		if (!strstr(migrate_why(pair->to.migration), cases[i].why))
			fail_msg("%s", migrate_why(pair->to.migration));
		side_free(&pair->from);
		side_free(&pair->to);
		side_init(&pair->from, pair->from.loop);
		side_init(&pair->to, pair->to.loop);
		free(pair->stream.data);
		pair->stream = (struct bytes){0};
	}
	/* Another number of them, either way. */
	side_add_drive(&pair->from, "driver=null");
	side_start(&pair->from, &mover_model, "");
	side_start(&pair->to, &mover_model, "");
	side_init(&third, pair->from.loop);
	side_add_drive(&third, "driver=null");
	side_add_drive(&third, "driver=null");
	side_start(&third, &mover_model, "");
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
	side_read(&pair->from, &pair->stream, 1 << 20);
	assert_int_equal(side_go(&pair->to, MIGRATE_RESUMING), 0);
	assert_int_equal(side_write(&pair->to, &pair->stream, 1 << 20), -EINVAL);
	assert_non_null(strstr(migrate_why(pair->to.migration), "drives: the stream has 1"));
	assert_int_equal(side_go(&third, MIGRATE_RESUMING), 0);
	assert_int_equal(side_write(&third, &pair->stream, 1 << 20), -EINVAL);
	assert_non_null(strstr(migrate_why(third.migration), "drives: the stream has 1"));
	side_free(&third);
}

static void start_memory(struct pair *pair)
{
	side_add_drive(&pair->from, "driver=mem,size=8M");
	side_start(&pair->from, &mover_model, "");
	side_add_drive(&pair->to, "driver=mem,size=8M");
	side_start(&pair->to, &mover_model, "");
}

static void expect_same_contents(struct pair *pair)
{
	uint8_t *a = malloc(DISK), *b = malloc(DISK);

	assert_int_equal(request(&pair->from, OB_BLOCK_READ, 0, a, DISK), 0);
	assert_int_equal(request(&pair->to, OB_BLOCK_READ, 0, b, DISK), 0);
	assert_memory_equal(a, b, DISK);
	free(a);
	free(b);
}

/* Writes, discards and zeroes at random while the contents are copied, some at a time. */
static void memory_is_copied_while_it_is_written(void **state)
{
	struct pair *pair = *state;
	uint8_t *bytes = malloc(1 << 20);
	unsigned seed = 1;

	start_memory(pair);
	memset(bytes, 0x77, 1 << 20);
	assert_int_equal(request(&pair->to, OB_BLOCK_WRITE, 3 << 20, bytes, 1 << 20), 0);
	for (int i = 0; i < 300; i++) {
		memset(bytes, rand_r(&seed), 64 << 10);
		assert_int_equal(request(&pair->from, OB_BLOCK_WRITE,
		                         (uint64_t)(rand_r(&seed) % (DISK / 512 - 128)) * 512,
		                         bytes, 512u * (1 + (unsigned)rand_r(&seed) % 128)),
		                 0);
	}
	assert_int_equal(side_go(&pair->to, MIGRATE_RESUMING), 0);
	assert_int_equal(side_go(&pair->from, MIGRATE_PRE_COPY), 0);
	for (int i = 0; i < 400; i++) {
		uint64_t offset = (uint64_t)(rand_r(&seed) % (DISK / 512 - 128)) * 512;
		size_t length = 512u * (1 + (unsigned)rand_r(&seed) % 128);
		enum ob_block_op op = OB_BLOCK_WRITE;
		ssize_t got = migrate_read(pair->from.migration, bytes, 50000);

		assert_true(got >= 0);
		assert_int_equal(migrate_write(pair->to.migration, bytes, (size_t)got), 0);
		if (rand_r(&seed) % 4 == 0)
			op = rand_r(&seed) % 2 ? OB_BLOCK_DISCARD : OB_BLOCK_WRITE_ZEROES;
		memset(bytes, rand_r(&seed), length);
		assert_int_equal(request(&pair->from, op, offset, bytes,
		                         op == OB_BLOCK_WRITE ? length : length),
		                 0);
	}
	assert_true(migrate_pending(pair->from.migration) > 0);
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
	side_read(&pair->from, &pair->stream, 1 << 20);
	assert_int_equal(side_write(&pair->to, &pair->stream, 12345), 0);
	assert_true(migrate_is_complete(pair->to.migration));
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), 0);
	assert_int_equal(side_go(&pair->from, MIGRATE_RUNNING), 0);
	expect_same_contents(pair);
	free(bytes);
}

static void an_idle_disk_is_copied_once(void **state)
{
	struct pair *pair = *state;
	uint8_t *bytes = malloc(1 << 20);

	start_memory(pair);
	memset(bytes, 0x42, 1 << 20);
	assert_int_equal(request(&pair->from, OB_BLOCK_WRITE, 512, bytes, 1 << 20), 0);
	assert_int_equal(side_go(&pair->to, MIGRATE_RESUMING), 0);
	assert_int_equal(side_go(&pair->from, MIGRATE_PRE_COPY), 0);
	assert_true(migrate_pending(pair->from.migration) >= 1 << 20);
	side_read(&pair->from, &pair->stream, 100000);
	assert_true(pair->stream.size > 1 << 20 && pair->stream.size < (1 << 20) + 16384);
	assert_true(migrate_pending(pair->from.migration) <= MOVER_RAM + (64 << 10));
	assert_int_equal(side_go(&pair->from, MIGRATE_STOP_COPY), 0);
	side_read(&pair->from, &pair->stream, 100000);
	assert_true(pair->stream.size < (1 << 20) + 32768);
	assert_int_equal(side_write(&pair->to, &pair->stream, 12345), 0);
	assert_int_equal(side_go(&pair->to, MIGRATE_RUNNING), 0);
	assert_int_equal(side_go(&pair->from, MIGRATE_RUNNING), 0);
	expect_same_contents(pair);
	free(bytes);
}

/* More than is cleared at once: others have their turns, and nothing of what was there is left. */
static void a_large_disk_is_cleared_in_steps(void **state)
{
	struct pair *pair = *state;
	uint8_t *bytes = malloc(1 << 20);

	side_add_drive(&pair->to, "driver=mem,size=200M");
	side_start(&pair->to, &mover_model, "");
	memset(bytes, 0x42, 1 << 20);
	for (uint64_t at = 0; at < 200; at += 33)
		assert_int_equal(request(&pair->to, OB_BLOCK_WRITE, at << 20, bytes, 1 << 20), 0);
	assert_int_equal(migrate_set_state(pair->to.migration, MIGRATE_STOP, NULL), 0);
	assert_int_equal(migrate_set_state(pair->to.migration, MIGRATE_RESUMING, &pair->to.waiter),
	                 -EINPROGRESS);
	assert_int_equal(migrate_write(pair->to.migration, bytes, 1), -EINVAL);
	side_turns(&pair->to);
	assert_int_equal(pair->to.calls, 1);
	assert_int_equal(migrate_state(pair->to.migration), MIGRATE_RESUMING);
	assert_int_equal(migrate_reset(pair->to.migration, NULL), 0);
	for (uint64_t at = 0; at < 200; at++) {
		assert_int_equal(request(&pair->to, OB_BLOCK_READ, at << 20, bytes, 1 << 20), 0);
		assert_true(!bytes[0] && !memcmp(bytes, bytes + 1, (1 << 20) - 1));
	}
	free(bytes);
	side_start(&pair->from, &mover_model, "");
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(one_that_waits_is_stopped),
		test(a_file_is_handed_over_and_back),
		test(a_flush_outlives_its_device),
		test(storage_that_stalls_is_waited_for),
		test(a_reset_while_storage_stalls),
		test(a_hand_over_outlives_its_device),
		test(one_drive_of_two_can_not_be_had),
		test(a_source_takes_back_what_nobody_took),
		test(a_source_that_is_abandoned_too_late_stays_stopped),
		test(a_file_that_shrank_meanwhile),
		test(drives_that_differ),
		test(memory_is_copied_while_it_is_written),
		test(an_idle_disk_is_copied_once),
		test(a_large_disk_is_cleared_in_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
