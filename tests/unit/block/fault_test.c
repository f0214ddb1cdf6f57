/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults of what is below the file driver: a stand-in for an engine that does a part of what it is
 * asked or fails on request, and real files that are full.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "block/file.h"
#include "kit.h"

/* Does each job at its next turn, as told. */
struct faulty {
	struct engine engine;
	struct ob_loop *loop;
	struct ob_task task;
	struct engine_job *first, **end;
	unsigned jobs[ENGINE_DISCARD + 1]; /* seen */

	size_t most;                  /* bytes of one read or write; 0: any */
	int fail[ENGINE_DISCARD + 1]; /* -errno by operation */
	int fail_mode;                /* ALLOCATE: only with this bit */
	unsigned after;               /* that many jobs succeed first */
	bool want_aligned;            /* READ, WRITE: -EINVAL unless memory is aligned to 4096 */
	bool dsync;                   /* a WRITE came with RWF_DSYNC */
	unsigned hold;                /* bits of operations that are left lying, */
	int hold_fd;                  /* of this file; 0: of all */
};

static void faulty_start(struct engine *engine, struct engine_job *job)
{
	struct faulty *faulty = container_of(engine, struct faulty, engine);

	job->next = NULL;
	*faulty->end = job;
	faulty->end = &job->next;
	ob_task_schedule(faulty->loop, &faulty->task);
}

static ssize_t carry_out(struct faulty *faulty, struct engine_job *job)
{
	bool write = job->op == ENGINE_WRITE;
	struct iovec one = *job->iov;
	ssize_t n;

	for (unsigned i = 0; i < job->iovcnt && faulty->want_aligned; i++) {
		if ((uintptr_t)job->iov[i].iov_base % 4096)
			return -EINVAL;
	}
	if (write && job->flags & RWF_DSYNC)
		faulty->dsync = true;
	/* Short, and in the middle of things. */
	for (unsigned i = 0; !one.iov_len && i < job->iovcnt; i++)
		one = job->iov[i];
	if (faulty->most && one.iov_len > faulty->most)
		one.iov_len = faulty->most;
	n = write ? pwritev(job->fd, &one, 1, (off_t)job->offset)
	          : preadv(job->fd, &one, 1, (off_t)job->offset);
	return n < 0 ? -errno : n;
}

static ssize_t result_of(struct faulty *faulty, struct engine_job *job)
{
	bool fails = faulty->fail[job->op];

	if (job->op == ENGINE_ALLOCATE && faulty->fail_mode)
		fails = fails && job->flags & faulty->fail_mode;
	if (fails && faulty->after)
		fails = !faulty->after--;
	if (fails)
		return faulty->fail[job->op];
	switch (job->op) {
	case ENGINE_READ:
	case ENGINE_WRITE:
		return carry_out(faulty, job);
	case ENGINE_ALLOCATE:
		return fallocate(job->fd, job->flags, (off_t)job->offset, (off_t)job->length)
		               ? -errno
		               : 0;
	default:
		return 0;
	}
}

static void faulty_run(struct ob_task *task)
{
	struct faulty *faulty = container_of(task, struct faulty, task);
	struct engine_job *job = faulty->first, *next;

	faulty->first = NULL;
	faulty->end = &faulty->first;
	for (; job; job = next) {
		next = job->next;
		if (faulty->hold & 1u << job->op &&
		    (!faulty->hold_fd || job->fd == faulty->hold_fd)) {
			job->next = NULL;
			*faulty->end = job;
			faulty->end = &job->next;
			continue;
		}
		faulty->jobs[job->op]++;
		job->done(job, result_of(faulty, job));
	}
}

static int faulty_add_file(struct engine *engine, int fd)
{
	return 7;
}

static void faulty_remove_file(struct engine *engine, int file)
{
	assert_int_equal(file, 7);
}

static void faulty_free(struct engine *engine)
{
}

struct setup {
	struct ob_loop *loop;
	struct ob_block *block;
	struct file_node *node;
	struct faulty faulty;
	int fd;
};

enum { SIZE = 1 << 20 };

static void set_up(struct setup *setup, const char *options)
{
	struct faulty *faulty = &setup->faulty;

	*setup = (struct setup){.loop = new_loop(), .fd = new_file(SIZE)};
	faulty->engine = (struct engine){.start = faulty_start,
	                                 .add_file = faulty_add_file,
	                                 .remove_file = faulty_remove_file,
	                                 .free = faulty_free};
	faulty->loop = setup->loop;
	faulty->task.run = faulty_run;
	faulty->end = &faulty->first;
	setup->block = open_block(setup->loop, "file,node-name=b0,filename=/proc/self/fd/%d%s",
	                          setup->fd, options);
	setup->node = container_of(setup->block, struct file_node, block);
	setup->node->shared->uring[0] = &faulty->engine;
	/* Everything is the engine's. */
	setup->node->in_memory = false;
	setup->node->dsync = true;
	setup->node->asked[0].never = setup->node->asked[1].never = true;
}

static void tear_down(struct setup *setup)
{
	assert_int_equal(setup->block->in_flight, 0);
	assert_int_equal(setup->node->shared->bounces, 0);
	block_close(setup->block);
	loop_free(setup->loop);
	close(setup->fd);
}

static void short_transfers(void **state)
{
	static const size_t most[] = {512, 1536, 100};

	for (unsigned i = 0; i < ARRAY_SIZE(most); i++) {
		struct setup setup;

		/* 100: not even sectors, which only the page cache has. */
		set_up(&setup, most[i] % 512 ? ",direct=off" : "");
		setup.faulty.most = most[i];
		random_requests(setup.block, SIZE, 100, i);
		tear_down(&setup);
	}
}

/* What the file says and what the device is told. */
static void errors_arrive(void **state)
{
	static const int errors[][2] = {{-EIO, -EIO},      {-ENOSPC, -ENOSPC}, {-EDQUOT, -ENOSPC},
	                                {-EFBIG, -ENOSPC}, {-EBADF, -EIO},     {-EPERM, -EIO},
	                                {-ENODEV, -EIO},   {-EFAULT, -EFAULT}, {-ENOMEM, -ENOMEM}};
	uint8_t bytes[8192] = {1};

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		struct setup setup;

		set_up(&setup, ",direct=off");
		for (unsigned op = 0; op <= ENGINE_DISCARD; op++)
			setup.faulty.fail[op] = errors[i][0];
		assert_int_equal(do_rw(setup.block, OB_BLOCK_READ, 0, 0, bytes, 8192),
		                 errors[i][1]);
		assert_int_equal(do_rw(setup.block, OB_BLOCK_WRITE, 0, 0, bytes, 8192),
		                 errors[i][1]);
		assert_int_equal(do_range(setup.block, OB_BLOCK_DISCARD, 0, 0, 8192), errors[i][1]);
		assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, 0, 0, 8192),
		                 errors[i][1]);
		assert_int_equal(do_range(setup.block, OB_BLOCK_FLUSH, 0, 0, 0), errors[i][1]);
		for (unsigned op = 0; op <= OB_BLOCK_WRITE_ZEROES; op++)
			assert_int_equal(setup.block->stats.errors[op], 1);
		/* A fault that passes has passed, but for what the cache lost. */
		memset(setup.faulty.fail, 0, sizeof(setup.faulty.fail));
		assert_int_equal(do_rw(setup.block, OB_BLOCK_WRITE, 0, 0, bytes, 8192), 0);
		assert_int_equal(do_range(setup.block, OB_BLOCK_FLUSH, 0, 0, 0), errors[i][1]);
		tear_down(&setup);
	}
}

/* The second half of a write fails: it has failed. */
static void late_error(void **state)
{
	struct setup setup;
	uint8_t bytes[8192] = {1};

	set_up(&setup, ",direct=off");
	setup.faulty.most = 4096;
	setup.faulty.fail[ENGINE_WRITE] = -ENOSPC;
	setup.faulty.after = 1;
	assert_int_equal(do_rw(setup.block, OB_BLOCK_WRITE, 0, 0, bytes, 8192), -ENOSPC);
	assert_int_equal(setup.faulty.jobs[ENGINE_WRITE], 2);
	tear_down(&setup);
}

static void failed_flush_direct(void **state)
{
	struct setup setup;

	set_up(&setup, "");
	if (setup.node->direct) {
		setup.faulty.fail[ENGINE_SYNC] = -EIO;
		assert_int_equal(do_range(setup.block, OB_BLOCK_FLUSH, 0, 0, 0), -EIO);
		setup.faulty.fail[ENGINE_SYNC] = 0;
		assert_int_equal(do_range(setup.block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	}
	tear_down(&setup);
}

static void force_unit_access(void **state)
{
	struct setup setup;
	uint8_t bytes[4096] = {1};

	set_up(&setup, ",direct=off");
	assert_int_equal(do_rw(setup.block, OB_BLOCK_WRITE, 0, 0, bytes, 4096), 0);
	assert_false(setup.faulty.dsync);
	assert_int_equal(do_rw(setup.block, OB_BLOCK_WRITE, OB_BLOCK_FUA, 0, bytes, 4096), 0);
	assert_true(setup.faulty.dsync);
	assert_int_equal(setup.faulty.jobs[ENGINE_SYNC], 0);
	assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_FUA, 0, 4096), 0);
	assert_int_equal(setup.faulty.jobs[ENGINE_SYNC], 1);
	setup.faulty.fail[ENGINE_SYNC] = -EIO;
	assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_FUA, 0, 4096), -EIO);
	tear_down(&setup);
}

static int flush(struct setup *setup)
{
	return do_range(setup->block, OB_BLOCK_FLUSH, 0, 0, 0);
}

static int write_fua(struct setup *setup)
{
	static uint8_t bytes[4096] __attribute__((aligned(4096)));

	return do_rw(setup->block, OB_BLOCK_WRITE, OB_BLOCK_FUA, 0, bytes, 4096);
}

/* Where RWF_DSYNC can't be relied upon, FUA is a write and a sync. */
static void fua_without_dsync(void **state)
{
	static const char *const options[] = {",direct=off", ""};

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		struct setup setup;

		set_up(&setup, options[i]);
		setup.node->dsync = false;
		setup.faulty.most = 512;
		assert_int_equal(write_fua(&setup), 0);
		assert_false(setup.faulty.dsync);
		assert_int_equal(setup.faulty.jobs[ENGINE_SYNC], 1);
		setup.faulty.fail[ENGINE_SYNC] = -EIO;
		assert_int_equal(write_fua(&setup), -EIO);
		setup.faulty.fail[ENGINE_SYNC] = 0;
		assert_int_equal(flush(&setup), -EIO);
		assert_int_equal(flush(&setup), setup.node->direct ? 0 : -EIO);
		/* Before the sync there is nothing to be told of others. */
		setup.faulty.fail[ENGINE_WRITE] = -EIO;
		assert_int_equal(write_fua(&setup), -EIO);
		setup.faulty.fail[ENGINE_WRITE] = 0;
		assert_int_equal(flush(&setup), setup.node->direct ? 0 : -EIO);
		tear_down(&setup);
	}
}

/* With the page cache, a write with FUA takes what there is to say of all writes before. */
static void failed_fua(void **state)
{
	static const int codes[] = {-EIO, -ENOSPC, -EINTR};
	struct setup setup;

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		int status = codes[i] == -ENOSPC ? -ENOSPC : -EIO;

		set_up(&setup, ",direct=off");
		setup.faulty.fail[ENGINE_WRITE] = codes[i];
		assert_int_equal(write_fua(&setup), status);
		setup.faulty.fail[ENGINE_WRITE] = 0;
		assert_int_equal(write_fua(&setup), 0);
		assert_int_equal(flush(&setup), status);
		assert_int_equal(flush(&setup), status);
		assert_int_equal(setup.faulty.jobs[ENGINE_SYNC], 0);
		tear_down(&setup);
	}
	set_up(&setup, ",direct=off");
	setup.faulty.fail[ENGINE_SYNC] = -EIO;
	assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_FUA, 0, 4096), -EIO);
	setup.faulty.fail[ENGINE_SYNC] = 0;
	assert_int_equal(flush(&setup), -EIO);
	assert_int_equal(flush(&setup), -EIO);
	tear_down(&setup);
}

/* With direct I/O one flush hears of it; no room is about that write and no other. */
static void failed_fua_direct(void **state)
{
	struct setup setup;

	set_up(&setup, "");
	if (setup.node->direct) {
		setup.faulty.fail[ENGINE_WRITE] = -ENOSPC;
		assert_int_equal(write_fua(&setup), -ENOSPC);
		assert_int_equal(flush(&setup), 0);
		setup.faulty.fail[ENGINE_WRITE] = -EIO;
		assert_int_equal(write_fua(&setup), -EIO);
		assert_int_equal(flush(&setup), -EIO);
		assert_int_equal(flush(&setup), 0);
	}
	tear_down(&setup);
}

static void begin_write_fua(struct setup *setup, struct call *call, uint8_t *bytes)
{
	*call = (struct call){.iov = {bytes, 4096}};
	call->request = (struct ob_block_request){.op = OB_BLOCK_WRITE,
	                                          .flags = OB_BLOCK_FUA,
	                                          .length = 4096,
	                                          .iov = &call->iov,
	                                          .iovcnt = 1};
	begin(setup->block, call);
}

static void begin_flush(struct setup *setup, struct call *call)
{
	*call = (struct call){.request = {.op = OB_BLOCK_FLUSH}};
	begin(setup->block, call);
}

static void turns(struct setup *setup)
{
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(loop_turn(setup->loop, 0), 0);
}

/* The kernel tells one sync of what was lost; the other one ends first and knows nothing. */
static void syncs_at_a_time(void **state)
{
	static uint8_t bytes[4096] __attribute__((aligned(4096)));
	static const char *const options[] = {",direct=off", ""};
	struct call written, flushed, later;
	struct setup setup;

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(options); i++) {
		int fails = i % 2 ? -EIO : 0;

		set_up(&setup, options[i / 2]);
		setup.faulty.hold = 1u << ENGINE_WRITE;
		setup.faulty.fail[ENGINE_WRITE] = fails;
		begin_write_fua(&setup, &written, bytes);
		begin_flush(&setup, &flushed);
		turns(&setup);
		assert_int_equal(setup.faulty.jobs[ENGINE_SYNC], 1);
		assert_false(flushed.done);
		setup.faulty.hold = 0;
		ob_task_schedule(setup.loop, &setup.faulty.task);
		assert_int_equal(finish_call(setup.loop, &written), fails);
		assert_int_equal(finish_call(setup.loop, &flushed), fails);
		tear_down(&setup);
	}

	/* The other way round, with a flush that began after it. */
	set_up(&setup, ",direct=off");
	setup.faulty.hold = 1u << ENGINE_SYNC;
	setup.faulty.fail[ENGINE_SYNC] = -EIO;
	begin_flush(&setup, &flushed);
	begin_write_fua(&setup, &written, bytes);
	turns(&setup);
	begin_flush(&setup, &later);
	assert_int_equal(setup.faulty.jobs[ENGINE_WRITE], 1);
	assert_false(written.done);
	setup.faulty.hold = 0;
	ob_task_schedule(setup.loop, &setup.faulty.task);
	assert_int_equal(finish_call(setup.loop, &flushed), -EIO);
	assert_int_equal(finish_call(setup.loop, &written), -EIO);
	assert_int_equal(finish_call(setup.loop, &later), -EIO);
	tear_down(&setup);
}

/* What begins after a sync has ended does not keep that from being told. */
static void syncs_in_a_stream(void **state)
{
	static uint8_t bytes[4096] __attribute__((aligned(4096)));
	struct call first, flushed, second;
	struct setup setup;

	set_up(&setup, ",direct=off");
	setup.faulty.hold = 1u << ENGINE_WRITE;
	begin_write_fua(&setup, &first, bytes);
	begin_flush(&setup, &flushed);
	turns(&setup);
	assert_false(flushed.done);
	begin_write_fua(&setup, &second, bytes);
	setup.faulty.hold = 0;
	setup.faulty.most = 512; /* in many jobs, which are one sync */
	ob_task_schedule(setup.loop, &setup.faulty.task);
	assert_int_equal(finish_call(setup.loop, &flushed), 0);
	assert_int_equal(finish_call(setup.loop, &second), 0);
	assert_int_equal(finish_call(setup.loop, &first), 0);
	tear_down(&setup);
}

/* A disk that does not answer takes what it can get, and leaves enough to others. */
static void a_disk_that_stalls(void **state)
{
	static const enum ob_block_op ops[] = {OB_BLOCK_READ, OB_BLOCK_FLUSH, OB_BLOCK_WRITE};
	enum { CALLS = 1500 };
	struct call *calls = calloc(CALLS, sizeof(*calls));
	static uint8_t bytes[8192];
	struct setup setup;

	assert_non_null(calls);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		int fd = new_file(SIZE);
		struct ob_block *other;

		set_up(&setup, i ? "" : ",direct=off");
		other = open_block(setup.loop, "file,node-name=b1,filename=/proc/self/fd/%d", fd);
		setup.faulty.hold = ~0u;
		setup.faulty.hold_fd = setup.node->fd;
		for (unsigned n = 0; n < CALLS; n++) {
			/* Not aligned: writes need a bounce buffer with direct I/O. */
			calls[n] = (struct call){.iov = {bytes + 1, 4096}};
			calls[n].request = (struct ob_block_request){
				.op = ops[i], .length = 4096, .iov = &calls[n].iov, .iovcnt = 1};
			begin(setup.block, &calls[n]);
		}
		turns(&setup);
		assert_false(calls[0].done);
		for (unsigned n = 0; n < 3; n++) {
			assert_int_equal(
				do_rw(other, OB_BLOCK_WRITE, OB_BLOCK_FUA, 512, bytes + 1, 4096),
				0);
			assert_int_equal(do_range(other, OB_BLOCK_FLUSH, 0, 0, 0), 0);
			assert_int_equal(do_rw(other, OB_BLOCK_READ, 0, 0, bytes + 1, 4096), 0);
		}
		setup.faulty.hold = 0;
		ob_task_schedule(setup.loop, &setup.faulty.task);
		for (unsigned n = 0; n < CALLS; n++)
			assert_int_equal(finish_call(setup.loop, &calls[n]), 0);
		for (unsigned share = 0; share < FILE_SHARES; share++)
			assert_int_equal(setup.node->shared->used[share], 0);
		block_close(other);
		tear_down(&setup);
		close(fd);
	}
	free(calls);
}

/* The ways to make zeroes, each taken when the ones before can't be had, and remembered. */
static void zeroes_the_hard_way(void **state)
{
	struct setup setup;

	set_up(&setup, ",direct=off");
	setup.faulty.fail[ENGINE_ALLOCATE] = -EOPNOTSUPP;
	setup.faulty.fail_mode = FALLOC_FL_PUNCH_HOLE;
	assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0, SIZE), 0);
	assert_false(setup.node->can_punch);
	assert_true(setup.node->can_zero);
	setup.faulty.fail_mode = 0;
	assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, 0, 0, SIZE), 0);
	assert_false(setup.node->can_zero);
	assert_int_equal(setup.faulty.jobs[ENGINE_WRITE], SIZE / FILE_BOUNCE);
	setup.faulty.jobs[ENGINE_ALLOCATE] = 0;
	setup.node->block.info.discard_zeroes = false;
	random_requests(setup.block, SIZE, 200, 2);
	assert_int_equal(setup.faulty.jobs[ENGINE_ALLOCATE], 0);
	tear_down(&setup);
}

/* Not this range, but the next perhaps. */
static void zeroes_refused_once(void **state)
{
	struct setup setup;

	set_up(&setup, ",direct=off");
	setup.faulty.fail[ENGINE_ALLOCATE] = -EINVAL;
	assert_int_equal(do_range(setup.block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0, 8192), 0);
	assert_int_equal(setup.faulty.jobs[ENGINE_WRITE], 1);
	assert_true(setup.node->can_punch && setup.node->can_zero);
	tear_down(&setup);
}

/* A file system that wants more than it says gets a bounce buffer. */
static void aligned_after_all(void **state)
{
	struct setup setup;
	uint8_t *bytes = malloc(16384);

	set_up(&setup, "");
	if (setup.node->direct) {
		setup.node->mem_align = 4;
		setup.faulty.want_aligned = true;
		assert_int_equal(do_rw(setup.block, OB_BLOCK_WRITE, 0, 0,
		                       bytes + 4 - (uintptr_t)bytes % 4, 8192),
		                 0);
		assert_int_equal(setup.faulty.jobs[ENGINE_WRITE], 2);
	}
	free(bytes);
	tear_down(&setup);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* A place to mount things that nobody else sees, without privileges where the system allows it. */
static bool own_mounts(void)
{
	unsigned uid = geteuid(), gid = getegid();
	char map[64];

	if (!unshare(CLONE_NEWNS))
		return true;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || !write_file("/proc/self/setgroups", "deny"))
		return false;
	snprintf(map, sizeof(map), "0 %u 1", uid);
	if (!write_file("/proc/self/uid_map", map))
		return false;
	snprintf(map, sizeof(map), "0 %u 1", gid);
	return write_file("/proc/self/gid_map", map);
}

/* A tmpfs that holds less than the file says it is; in a mount namespace of the child's own. */
static void full_child(void)
{
	static const char *const engines[] = {"auto", "threads"};
	struct ob_loop *loop = loop_new();
	uint8_t *bytes = calloc(1, SIZE);
	struct ob_error err;

	if (!own_mounts())
		child_skip("no mount namespace can be had: %s\n", strerror(errno));
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/tmp", "tmpfs", 0, "size=256k"))
		child_skip("no tmpfs can be mounted: %s\n", strerror(errno));
	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		int fd = open("/tmp/full", O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
		struct ob_block *block;

		child_assert(fd >= 0 && !ftruncate(fd, SIZE));
		block = try_open(loop, &err, "file,node-name=b0,filename=/tmp/full,aio=%s",
		                 engines[i]);
		child_assert(block);
		child_assert(do_rw(block, OB_BLOCK_WRITE, 0, 0, bytes, SIZE) == -ENOSPC);
		child_assert(do_rw(block, OB_BLOCK_WRITE, 0, SIZE - 4096, bytes, 4096) == -ENOSPC);
		child_assert(!do_range(block, OB_BLOCK_DISCARD, 0, 0, SIZE));
		child_assert(!do_rw(block, OB_BLOCK_WRITE, 0, SIZE - 4096, bytes, 4096));
		child_assert(!do_rw(block, OB_BLOCK_READ, 0, 0, bytes, SIZE));
		block_close(block);
		close(fd);
	}
	loop_free(loop);
}

static void full(void **state)
{
	in_child(full_child);
}

static void too_large_child(void)
{
	struct rlimit limit = {SIZE / 2, SIZE / 2};
	struct ob_loop *loop = loop_new();
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	uint8_t *bytes = calloc(1, 4096);
	struct ob_block *block;
	struct ob_error err;

	child_assert(fd >= 0 && !ftruncate(fd, SIZE));
	signal(SIGXFSZ, SIG_IGN);
	child_assert(!setrlimit(RLIMIT_FSIZE, &limit));
	block = try_open(loop, &err, "file,node-name=b0,filename=/proc/self/fd/%d,aio=threads", fd);
	child_assert(block);
	child_assert(do_rw(block, OB_BLOCK_WRITE, 0, SIZE / 2, bytes, 4096) == -ENOSPC);
	child_assert(!do_rw(block, OB_BLOCK_WRITE, 0, SIZE / 2 - 4096, bytes, 4096));
	block_close(block);
	loop_free(loop);
}

static void too_large(void **state)
{
	in_child(too_large_child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_transfers),
		cmocka_unit_test(errors_arrive),
		cmocka_unit_test(late_error),
		cmocka_unit_test(failed_flush_direct),
		cmocka_unit_test(force_unit_access),
		cmocka_unit_test(fua_without_dsync),
		cmocka_unit_test(failed_fua),
		cmocka_unit_test(failed_fua_direct),
		cmocka_unit_test(syncs_at_a_time),
		cmocka_unit_test(syncs_in_a_stream),
		cmocka_unit_test(a_disk_that_stalls),
		cmocka_unit_test(zeroes_the_hard_way),
		cmocka_unit_test(zeroes_refused_once),
		cmocka_unit_test(aligned_after_all),
		cmocka_unit_test(full),
		cmocka_unit_test(too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
