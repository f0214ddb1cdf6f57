/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What file nodes may ask of io_uring beyond plain requests: a thread that submits, devices that
 * are polled, registered memory. They do the same as without, and say so where they can't be.
 */
#include <sys/mman.h>

#include "block/engine.h"
#include "block/file.h"
#include "kit.h"

enum { SIZE = 4 << 20, PIECE = 16 << 20, MEMORY = 2 * PIECE + 8192 };

struct setup {
	struct ob_loop *loop;
	struct ob_block *block;
	struct file_node *node;
	int fd;
};

static void set_up(struct setup *setup, const char *options)
{
	*setup = (struct setup){.loop = new_loop(), .fd = new_file(SIZE)};
	setup->block = open_block(setup->loop, "file,node-name=b0,filename=/proc/self/fd/%d%s",
	                          setup->fd, options);
	setup->node = container_of(setup->block, struct file_node, block);
	/* Everything is the ring's. */
	setup->node->asked[0].never = setup->node->asked[1].never = true;
	setup->node->in_memory = false;
}

static void tear_down(struct setup *setup)
{
	assert_int_equal(setup->block->in_flight, 0);
	block_close(setup->block);
	loop_free(setup->loop);
	close(setup->fd);
}

static void need_ring(unsigned kind)
{
	int rc = uring_probe(kind);

	if (rc) {
		print_message("# SKIPPED: no io_uring of kind %u: %s\n", kind, strerror(-rc));
		skip();
	}
}

static void sqpoll(void **state)
{
	static const char *const options[] = {",sqpoll=on", ",sqpoll=on,direct=off"};
	struct setup setup;

	need_ring(URING_SQPOLL);
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		set_up(&setup, options[i]);
		random_requests(setup.block, SIZE, 200, i + 1);
		assert_int_equal(do_range(setup.block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
		assert_non_null(setup.node->shared->uring[URING_SQPOLL]);
		assert_null(setup.node->shared->uring[0]);
		tear_down(&setup);
	}
}

/* Its thread has gone to sleep: what is submitted next wakes it. */
static void sqpoll_wakes(void **state)
{
	static uint8_t memory[4096] __attribute__((aligned(4096)));
	struct setup setup;

	need_ring(URING_SQPOLL);
	set_up(&setup, ",sqpoll=on");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(do_rw(setup.block, OB_BLOCK_READ, 0, 0, memory, 4096), 0);
		usleep(60000);
	}
	tear_down(&setup);
}

static void iopoll(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_error error = {""};
	struct ob_block *block;
	static uint8_t memory[4096];
	int fd = new_file(SIZE);

	need_ring(URING_IOPOLL);
	/* A hole is no device: what can't be polled shows when there is something to read. */
	block = try_open(loop, &error, "file,node-name=b0,filename=/proc/self/fd/%d,iopoll=on", fd);
	if (block) {
		random_requests(block, SIZE, 200, 1);
		assert_int_equal(do_range(block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
		block_close(block);
	}
	fill(memory, sizeof(memory), 1);
	assert_int_equal(pwrite(fd, memory, sizeof(memory), SIZE / 2), sizeof(memory));
	assert_int_equal(fdatasync(fd), 0);
	block = try_open(loop, &error, "file,node-name=b0,filename=/proc/self/fd/%d,iopoll=on", fd);
	if (block) {
		assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, SIZE / 2, memory, 4096), 0);
		block_close(block);
	} else {
		assert_non_null(strstr(error.message, "iopoll=on"));
	}
	refuse_block(loop, "iopoll=on needs direct I/O",
	             "file,node-name=b0,filename=/proc/self/fd/%d,iopoll=on,direct=off", fd);
	refuse_block(loop, "iopoll=on can't be with aio=threads",
	             "file,node-name=b0,filename=/proc/self/fd/%d,iopoll=on,aio=threads", fd);
	refuse_block(loop, "sqpoll=on can't be with aio=threads",
	             "file,node-name=b0,filename=/proc/self/fd/%d,sqpoll=on,aio=threads", fd);
	refuse_block(loop, "fixed-buffers=on can't be with aio=threads",
	             "file,node-name=b0,filename=/proc/self/fd/%d,fixed-buffers=on,aio=threads",
	             fd);
	close(fd);
	loop_free(loop);
}

static int fixed(struct setup *setup, void *base, size_t length)
{
	return file_fixed(setup->node->shared, 0, &(struct iovec){base, length});
}

static void write_and_read(struct setup *setup, uint8_t *memory, uint64_t seed)
{
	uint8_t copy[8192];

	fill(memory, sizeof(copy), seed);
	memcpy(copy, memory, sizeof(copy));
	assert_int_equal(do_rw(setup->block, OB_BLOCK_WRITE, 0, 0, memory, sizeof(copy)), 0);
	memset(memory, 0, sizeof(copy));
	assert_int_equal(do_rw(setup->block, OB_BLOCK_READ, 0, 0, memory, sizeof(copy)), 0);
	assert_memory_equal(memory, copy, sizeof(copy));
}

static void fixed_buffers(void **state)
{
	uint8_t *memory =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct setup setup;
	bool known;

	need_ring(0);
	assert_true(memory != MAP_FAILED);
	set_up(&setup, ",fixed-buffers=on");
	write_and_read(&setup, memory, 1);
	block_memory_add(setup.loop, memory, MEMORY);
	for (unsigned i = 0; i < 2; i++) /* the first makes the ring, if it is not there yet */
		write_and_read(&setup, memory, 2 + i);
	known = fixed(&setup, memory, 8192) >= 0;
	if (!known)
		print_message("# memory can't be registered here\n");
	/* Another piece; across an edge; the short last one; outside. */
	write_and_read(&setup, memory + PIECE, 4);
	assert_true(fixed(&setup, memory + PIECE, 8192) != fixed(&setup, memory, 8192) || !known);
	write_and_read(&setup, memory + PIECE - 4096, 5);
	assert_int_equal(fixed(&setup, memory + PIECE - 4096, 8192), -1);
	write_and_read(&setup, memory + MEMORY - 8192, 6);
	assert_int_equal(fixed(&setup, memory + MEMORY, 1), -1);
	assert_int_equal(fixed(&setup, memory + MEMORY - 4096, 8192), -1);

	/* What comes to stand at the same place is other memory. */
	block_memory_remove(setup.loop, memory);
	assert_int_equal(fixed(&setup, memory, 8192), -1);
	assert_ptr_equal(mmap(memory, MEMORY, PROT_READ | PROT_WRITE,
	                      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
	                 memory);
	write_and_read(&setup, memory, 7);
	block_memory_add(setup.loop, memory, MEMORY);
	write_and_read(&setup, memory, 8);
	assert_int_equal(fixed(&setup, memory, 8192) >= 0, known);

	/* Too small, and too many. */
	block_memory_add(setup.loop, memory, 4096);
	for (unsigned i = 0; i < 100; i++)
		block_memory_add(setup.loop, (void *)(uintptr_t)(i + 1), PIECE);
	for (unsigned i = 0; i < 100; i++)
		block_memory_remove(setup.loop, (void *)(uintptr_t)(i + 1));
	assert_int_equal(setup.node->shared->range_count, 1);
	tear_down(&setup);
	munmap(memory, MEMORY);
}

/* Nobody with files on the loop: nothing to tell. */
static void no_nodes(void **state)
{
	struct ob_loop *loop = new_loop();

	block_memory_add(loop, loop, PIECE);
	block_memory_remove(loop, loop);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sqpoll),   cmocka_unit_test(sqpoll_wakes),
		cmocka_unit_test(iopoll),   cmocka_unit_test(fixed_buffers),
		cmocka_unit_test(no_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
