/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to files that are done on the spot: which are, that they do the same as others, and that
 * everything else goes to an engine and ends as it did without them.
 */
#include <sys/mman.h>

#include "block/file.h"
#include "kit.h"

enum { SIZE = 4 << 20, BLOCK = 4096 };

struct setup {
	struct ob_loop *loop;
	struct ob_block *block;
	struct file_node *node;
	int fd;
};

static void set_up(struct setup *setup, int fd, const char *options)
{
	*setup = (struct setup){.loop = new_loop(), .fd = fd};
	setup->block = open_block(setup->loop, "file,node-name=b0,filename=/proc/self/fd/%d%s", fd,
	                          options);
	setup->node = container_of(setup->block, struct file_node, block);
}

/* A file in memory. */
static void set_up_memory(struct setup *setup, const char *options)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	set_up(setup, fd, options);
	assert_true(setup->node->in_memory);
}

static void tear_down(struct setup *setup)
{
	assert_int_equal(setup->block->in_flight, 0);
	block_close(setup->block);
	loop_free(setup->loop);
	close(setup->fd);
}

/* Submits one request and says whether it was done on the spot; it succeeds either way. */
static bool at_once(struct setup *setup, enum ob_block_op op, unsigned flags, uint64_t offset,
                    void *buffer, uint64_t length)
{
	struct iovec iov = {buffer, length};
	struct call call = {.request = {.op = op,
	                                .flags = flags,
	                                .offset = offset,
	                                .length = length,
	                                .iov = &iov,
	                                .iovcnt = 1}};
	bool now;

	begin(setup->block, &call);
	now = call.done;
	assert_int_equal(finish_call(setup->loop, &call), 0);
	return now;
}

static bool has_engine(const struct setup *setup)
{
	return setup->node->shared->uring[0] || setup->node->shared->threads;
}

static void in_memory(void **state)
{
	static uint8_t written[64 << 10], read[64 << 10];
	struct setup setup;

	set_up_memory(&setup, "");
	fill(written, sizeof(written), 1);
	assert_true(at_once(&setup, OB_BLOCK_WRITE, 0, 512, written, sizeof(written)));
	assert_true(at_once(&setup, OB_BLOCK_WRITE, OB_BLOCK_FUA, SIZE - BLOCK, written, BLOCK));
	assert_true(at_once(&setup, OB_BLOCK_READ, 0, 512, read, sizeof(read)));
	assert_memory_equal(read, written, sizeof(read));
	assert_true(at_once(&setup, OB_BLOCK_READ, 0, SIZE - BLOCK, read, BLOCK));
	assert_memory_equal(read, written, BLOCK);
	assert_true(at_once(&setup, OB_BLOCK_FLUSH, 0, 0, NULL, 0));
	assert_true(at_once(&setup, OB_BLOCK_DISCARD, 0, 0, NULL, BLOCK));
	assert_true(
		at_once(&setup, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, SIZE - BLOCK, NULL, BLOCK));
	assert_true(at_once(&setup, OB_BLOCK_READ, 0, 0, read, BLOCK));
	assert_true(all_zero(read, BLOCK));
	assert_true(at_once(&setup, OB_BLOCK_READ, 0, SIZE - BLOCK, read, BLOCK));
	assert_true(all_zero(read, BLOCK));
	assert_false(has_engine(&setup));
	assert_int_equal(setup.block->stats.requests[OB_BLOCK_READ], 4);
	assert_int_equal(setup.block->stats.bytes[OB_BLOCK_READ], sizeof(read) + 3 * BLOCK);
	tear_down(&setup);
}

/* What takes long must not keep others waiting. */
static void long_ones(void **state)
{
	uint8_t *memory = calloc(1, 1 << 20);
	struct setup setup;

	assert_non_null(memory);
	set_up_memory(&setup, "");
	assert_false(at_once(&setup, OB_BLOCK_WRITE, 0, 0, memory, 1 << 20));
	assert_false(at_once(&setup, OB_BLOCK_READ, 0, 0, memory, 1 << 20));
	assert_false(at_once(&setup, OB_BLOCK_DISCARD, 0, 0, NULL, 1 << 20));
	assert_true(has_engine(&setup));
	assert_true(at_once(&setup, OB_BLOCK_READ, 0, 0, memory, BLOCK));
	tear_down(&setup);
	free(memory);
}

static void random_ones(void **state)
{
	static const char *const options[] = {"", ",aio=threads", ",discard=ignore"};
	struct setup setup;

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		set_up_memory(&setup, options[i]);
		random_requests(setup.block, SIZE, 500, i + 1);
		tear_down(&setup);
	}
}

/* An error stops it in the middle; the engine finds the same one. */
static void errors(void **state)
{
	uint8_t *memory =
		mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct setup setup;

	assert_true(memory != MAP_FAILED);
	assert_int_equal(munmap(memory + BLOCK, BLOCK), 0);
	set_up_memory(&setup, "");
	assert_int_equal(do_rw(setup.block, OB_BLOCK_READ, 0, 0, memory + BLOCK, BLOCK), -EFAULT);
	assert_int_equal(do_rw(setup.block, OB_BLOCK_WRITE, 0, 0, memory, 2 * BLOCK), -EFAULT);
	assert_int_equal(ftruncate(setup.fd, SIZE / 2 + 512), 0);
	assert_int_equal(do_rw(setup.block, OB_BLOCK_READ, 0, SIZE / 2, memory, BLOCK), -EIO);
	assert_int_equal(do_rw(setup.block, OB_BLOCK_READ, 0, SIZE / 2, memory, 512), 0);
	assert_int_equal(setup.block->stats.errors[OB_BLOCK_READ], 2);
	tear_down(&setup);
	munmap(memory, BLOCK);
}

/* With the page cache: what is in it is there at once, and the rest all the same. */
static void page_cache(void **state)
{
	static uint8_t written[SIZE], read[BLOCK];
	struct iovec iov = {read, BLOCK};
	unsigned hits = 0;
	struct setup setup;
	ssize_t n;

	set_up(&setup, new_file(SIZE), ",direct=off");
	fill(written, SIZE, 7);
	assert_int_equal(pwrite(setup.fd, written, SIZE, 0), SIZE);
	n = preadv2(setup.fd, &iov, 1, 0, RWF_NOWAIT);
	if (n != BLOCK) {
		tear_down(&setup);
		print_message("# SKIPPED: this file system has no RWF_NOWAIT\n");
		skip();
	}
	assert_true(at_once(&setup, OB_BLOCK_READ, 0, BLOCK, read, BLOCK));
	assert_memory_equal(read, written + BLOCK, BLOCK);

	/* Where nothing is in the cache, it is asked for less and less. */
	for (unsigned i = 0; i < SIZE / BLOCK; i++) {
		assert_int_equal(fdatasync(setup.fd), 0);
		assert_int_equal(posix_fadvise(setup.fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		hits += at_once(&setup, OB_BLOCK_READ, 0, (uint64_t)i * BLOCK, read, BLOCK);
		assert_memory_equal(read, written + (size_t)i * BLOCK, BLOCK);
	}
	/* Asked again, it is there: after at most so many that are not asked for. */
	for (unsigned i = 0; i < 64; i++)
		hits = at_once(&setup, OB_BLOCK_READ, 0, 0, read, BLOCK);
	assert_true(hits);
	assert_memory_equal(read, written, BLOCK);
	tear_down(&setup);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_memory),   cmocka_unit_test(long_ones),
		cmocka_unit_test(random_ones), cmocka_unit_test(errors),
		cmocka_unit_test(page_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
