/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring_enter is refused, from the start, from some moment on, or for a while: what was asked
 * for is done all the same, and the loop does not spin meanwhile.
 */
#include "block/engine.h"
#include "block/file.h"
#include "gate.h"
#include "kit.h"

enum { SIZE = 1 << 20 };

/* In a child only: there is no way back. */
static void raise_gate(struct gate *gate)
{
	int rc;

	if (uring_probe(0))
		child_skip("no io_uring here\n");
	rc = gate_raise(gate, SYS_io_uring_enter, SYS_io_uring_enter);
	if (rc)
		child_skip("no filter that asks: %s\n", strerror(-rc));
}

struct setup {
	struct gate gate;
	struct ob_loop *loop;
	struct ob_block *block;
	struct file_node *node;
	unsigned turns; /* of the loop, that were needed */
};

static void set_up(struct setup *setup)
{
	struct ob_error err;

	raise_gate(&setup->gate);
	setup->loop = loop_new();
	setup->block = try_open(setup->loop, &err, "file,node-name=b0,filename=/proc/self/fd/%d",
	                        new_file(SIZE));
	child_assert(setup->block);
	setup->node = container_of(setup->block, struct file_node, block);
	setup->node->in_memory = false;
	setup->node->asked[0].never = setup->node->asked[1].never = true;
}

static int do_counted(struct setup *setup, enum ob_block_op op, unsigned flags, uint64_t offset,
                      void *memory, uint64_t length)
{
	struct call call = {.iov = {memory, length}};

	call.request = (struct ob_block_request){.op = op,
	                                         .flags = flags,
	                                         .offset = offset,
	                                         .length = length,
	                                         .iov = &call.iov,
	                                         .iovcnt = 1};
	begin(setup->block, &call);
	for (; !call.done; setup->turns++)
		child_assert(!loop_turn(setup->loop, -1));
	return call.status;
}

/* Written, flushed and read back, whatever does it. */
static void works(struct setup *setup)
{
	static uint8_t bytes[8192] __attribute__((aligned(4096)));
	static uint8_t check[8192] __attribute__((aligned(4096)));

	fill(bytes, sizeof(bytes), 1);
	child_assert(!do_counted(setup, OB_BLOCK_WRITE, 0, 4096, bytes, sizeof(bytes)));
	child_assert(!do_counted(setup, OB_BLOCK_WRITE, OB_BLOCK_FUA, 0, bytes, 4096));
	child_assert(!do_counted(setup, OB_BLOCK_FLUSH, 0, 0, NULL, 0));
	child_assert(!do_counted(setup, OB_BLOCK_READ, 0, 4096, check, sizeof(check)));
	child_assert(!memcmp(bytes, check, sizeof(bytes)));
}

static void close_all(struct setup *setup)
{
	block_close(setup->block);
	loop_free(setup->loop);
}

static void from_the_start_child(void)
{
	struct ob_error err = {""};
	struct setup setup = {0};

	set_up(&setup);
	atomic_store(&setup.gate.refuse, EPERM);
	child_assert(uring_probe(0) == -EPERM);
	child_assert(
		!try_open(setup.loop, &err, "file,node-name=b1,filename=/dev/null,aio=io_uring"));
	child_assert(strstr(err.message, "aio=io_uring can't be here"));
	works(&setup);
	child_assert(!setup.node->shared->uring[0] && setup.node->shared->threads);
	close_all(&setup);
}

static void from_the_start(void **state)
{
	in_child(from_the_start_child);
}

static void from_now_on_child(void)
{
	struct setup setup = {0};

	set_up(&setup);
	works(&setup);
	child_assert(setup.node->shared->uring[0] && !setup.node->shared->threads);
	atomic_store(&setup.gate.refuse, EPERM);
	for (unsigned i = 0; i < 10; i++)
		works(&setup);
	child_assert(setup.node->shared->threads);
	child_assert(atomic_load(&setup.gate.refused) < 10);
	close_all(&setup);
}

static void from_now_on(void **state)
{
	in_child(from_now_on_child);
}

static void for_a_moment_child(void)
{
	static const int codes[] = {EBUSY, EAGAIN, ENOMEM, EINTR};
	static uint8_t bytes[4096] __attribute__((aligned(4096)));
	struct setup setup = {0};

	set_up(&setup);
	works(&setup);
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		struct call call = {.iov = {bytes, sizeof(bytes)}};

		call.request = (struct ob_block_request){.op = OB_BLOCK_WRITE,
		                                         .flags = OB_BLOCK_FUA,
		                                         .length = sizeof(bytes),
		                                         .iov = &call.iov,
		                                         .iovcnt = 1};
		atomic_store(&setup.gate.refused, 0);
		atomic_store(&setup.gate.refuse, codes[i]);
		begin(setup.block, &call);
		while (atomic_load(&setup.gate.refused) < 4)
			child_assert(!loop_turn(setup.loop, -1));
		child_assert(!call.done);
		atomic_store(&setup.gate.refuse, 0);
		while (!call.done)
			child_assert(!loop_turn(setup.loop, -1));
		child_assert(!call.status);
	}
	works(&setup);
	child_assert(!setup.node->shared->threads);
	close_all(&setup);
}

static void for_a_moment(void **state)
{
	in_child(for_a_moment_child);
}

/* What would pass does not: after a second it is taken for what stays. */
static void for_ever_child(void)
{
	struct setup setup = {0};

	set_up(&setup);
	works(&setup);
	atomic_store(&setup.gate.refuse, ENOMEM);
	setup.turns = 0;
	works(&setup);
	child_assert(setup.node->shared->threads);
	child_assert(setup.turns < 200);
	close_all(&setup);
}

static void for_ever(void **state)
{
	in_child(for_ever_child);
}

/* An engine by itself, and what it gives back. */
struct given {
	struct engine_job job;
	bool done, back;
};

static void given_done(struct engine_job *job, ssize_t result)
{
	container_of(job, struct given, job)->done = true;
}

static void given_back(struct engine *engine, struct engine_job *job)
{
	container_of(job, struct given, job)->back = true;
}

static void has_failed(struct engine *engine, int code)
{
	*(int *)engine->owner = code;
}

/* A read of a pipe that nobody writes to is in the kernel's hands when the ring fails. */
static void under_way_child(void)
{
	static char memory[2][4096];
	struct iovec iov[2] = {{memory[0], 4096}, {memory[1], 4096}};
	struct ob_loop *loop = loop_new();
	struct given jobs[2] = {0};
	int ends[2], code = 0;
	struct engine *engine;
	struct gate gate;

	raise_gate(&gate);
	child_assert(!pipe(ends));
	child_assert(!uring_new(loop, 0, &engine));
	engine->owner = &code;
	engine->failed = has_failed;
	engine->give_back = given_back;
	for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++) {
		jobs[i].job = (struct engine_job){.op = ENGINE_READ,
		                                  .fd = ends[0],
		                                  .file = -1,
		                                  .buffer = -1,
		                                  .iov = &iov[i],
		                                  .iovcnt = 1,
		                                  .done = given_done};
		engine->start(engine, &jobs[i].job);
		child_assert(!loop_turn(loop, 0));
		atomic_store(&gate.refuse, EPERM);
	}
	child_assert(code == -EPERM);
	/* Not before the kernel has ended the first one. */
	while (!jobs[0].back || !jobs[1].back)
		child_assert(!loop_turn(loop, -1));
	child_assert(!jobs[0].job.untouched && jobs[1].job.untouched);
	child_assert(!jobs[0].done && !jobs[1].done);
	child_assert(engine->add_file(engine, ends[0]) == -1);
	engine->free(engine);
	loop_free(loop);
}

static void under_way(void **state)
{
	in_child(under_way_child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_the_start), cmocka_unit_test(from_now_on),
		cmocka_unit_test(for_a_moment),   cmocka_unit_test(for_ever),
		cmocka_unit_test(under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
