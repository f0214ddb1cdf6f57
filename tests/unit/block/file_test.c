/* SPDX-License-Identifier: BSD-3-Clause */
/* The file driver's requests, with each engine, with and without direct I/O. */
#include <pthread.h>

#include "block/file.h"
#include "kit.h"

struct variant {
	const char *name, *options;
	uint32_t align; /* pretended, to try read-modify-write; 0: the real one */
};

static const struct variant variants[] = {
	{"io_uring, direct", "aio=io_uring", 0},
	{"io_uring, cached", "aio=io_uring,direct=off", 0},
	{"io_uring, direct, 4K", "aio=io_uring", 4096},
	{"threads, direct", "aio=threads", 0},
	{"threads, cached", "aio=threads,direct=off", 0},
	{"threads, direct, 4K", "aio=threads", 4096},
};

struct setup {
	struct ob_loop *loop;
	struct ob_block *block;
	int fd;
};

enum { SIZE = 4 << 20 };

/* False where the variant can't be had. */
static bool set_up(struct setup *setup, const struct variant *variant)
{
	struct file_node *node;

	if (strstr(variant->options, "io_uring") && uring_probe(0)) {
		fprintf(stderr, "# SKIPPED %s: no io_uring here\n", variant->name);
		return false;
	}
	setup->loop = new_loop();
	setup->fd = new_file(SIZE);
	setup->block = open_block(setup->loop, "file,node-name=b0,filename=/proc/self/fd/%d,%s",
	                          setup->fd, variant->options);
	node = container_of(setup->block, struct file_node, block);
	if (variant->align && !node->direct) {
		fprintf(stderr, "# SKIPPED %s: no direct I/O here\n", variant->name);
		block_close(setup->block);
		close(setup->fd);
		loop_free(setup->loop);
		return false;
	}
	if (variant->align)
		node->io_align = node->mem_align = variant->align;
	return true;
}

static void tear_down(struct setup *setup)
{
	assert_int_equal(setup->block->in_flight, 0);
	block_close(setup->block);
	loop_free(setup->loop);
	close(setup->fd);
}

#define for_each_variant(setup, body)                                                              \
	for (unsigned variant_ = 0; variant_ < ARRAY_SIZE(variants); variant_++) {                 \
		struct setup setup;                                                                \
                                                                                                   \
		if (!set_up(&setup, &variants[variant_]))                                          \
			continue;                                                                  \
		body(&setup, variant_);                                                            \
		tear_down(&setup);                                                                 \
	}

static void check_random(struct setup *setup, uint64_t seed)
{
	random_requests(setup->block, SIZE, 500, seed);
}

static void keeps_bytes(void **state)
{
	for_each_variant(setup, check_random);
}

/* What was written stands in the file, and what stands in the file is read. */
static void check_file(struct setup *setup, uint64_t seed)
{
	uint8_t *ours = malloc(SIZE), *theirs = malloc(SIZE);

	fill(ours, SIZE, seed);
	assert_int_equal(do_rw(setup->block, OB_BLOCK_WRITE, OB_BLOCK_FUA, 0, ours, SIZE), 0);
	assert_int_equal(pread(setup->fd, theirs, SIZE, 0), SIZE);
	assert_memory_equal(ours, theirs, SIZE);
	fill(theirs, 8192, seed + 1);
	assert_int_equal(pwrite(setup->fd, theirs, 8192, 512), 8192);
	assert_int_equal(do_rw(setup->block, OB_BLOCK_READ, 0, 512, ours, 8192), 0);
	assert_memory_equal(ours, theirs, 8192);
	assert_int_equal(do_range(setup->block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	free(ours);
	free(theirs);
}

static void is_the_file(void **state)
{
	for_each_variant(setup, check_file);
}

static void check_info(struct setup *setup, uint64_t seed)
{
	const struct ob_block_info *info = ob_block_info(setup->block);

	assert_int_equal(info->size, SIZE);
	assert_int_equal(info->block_size, 512);
	assert_true(info->optimal_io >= 4096);
	assert_true(info->volatile_cache);
	assert_true(info->discard);
	assert_true(info->discard_zeroes);
	assert_false(info->read_only);
}

static void informs(void **state)
{
	for_each_variant(setup, check_info);
}

static void check_space(struct setup *setup, uint64_t seed)
{
	uint8_t *bytes = malloc(SIZE);
	const uint64_t part = SIZE / 4, some = 64 << 10;

	/* Zeroes alone make no holes without UNMAP, nor fill them with it. */
	fill(bytes, SIZE, seed);
	assert_int_equal(do_rw(setup->block, OB_BLOCK_WRITE, 0, 0, bytes, SIZE), 0);
	assert_true(allocated(setup->fd) >= SIZE);
	assert_int_equal(do_range(setup->block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_FUA, 0, part), 0);
	assert_true(allocated(setup->fd) >= SIZE);
	assert_int_equal(do_range(setup->block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, part, part),
	                 0);
	assert_true(allocated(setup->fd) < SIZE - part + some);
	assert_int_equal(do_range(setup->block, OB_BLOCK_DISCARD, 0, 2 * part, part), 0);
	assert_true(allocated(setup->fd) < SIZE - 2 * part + some);
	memset(bytes, 0, 3 * part);
	assert_int_equal(pread(setup->fd, bytes, SIZE, 0), SIZE);
	assert_true(all_zero(bytes, 3 * part));
	assert_false(all_zero(bytes + 3 * part, 512));
	assert_int_equal(do_range(setup->block, OB_BLOCK_DISCARD, 0, 0, SIZE), 0);
	assert_true(allocated(setup->fd) < some);
	assert_int_equal(lseek(setup->fd, 0, SEEK_END), SIZE);
	free(bytes);
}

static void discard_gives_back(void **state)
{
	for_each_variant(setup, check_space);
}

static void discard_ignored(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(SIZE);
	struct ob_block *block =
		open_block(loop, "file,node-name=b0,filename=/proc/self/fd/%d,discard=ignore", fd);
	uint8_t *bytes = malloc(SIZE);

	assert_false(ob_block_info(block)->discard);
	fill(bytes, SIZE, 1);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 0, bytes, SIZE), 0);
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 0, SIZE), 0);
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0, SIZE / 2), 0);
	assert_true(allocated(fd) >= SIZE);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, bytes, SIZE / 2), 0);
	assert_true(all_zero(bytes, SIZE / 2));
	free(bytes);
	block_close(block);
	close(fd);
	loop_free(loop);
}

static void reads_only(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(SIZE);
	struct ob_block *block =
		open_block(loop, "file,node-name=b0,filename=/proc/self/fd/%d,read-only=on", fd);
	uint8_t bytes[512] = {1};

	assert_true(ob_block_info(block)->read_only);
	assert_false(ob_block_info(block)->discard);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 0, bytes, 512), -EROFS);
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 0, 512), -EROFS);
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, 0, 0, 512), -EROFS);
	assert_int_equal(do_range(block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, bytes, 512), 0);
	assert_true(all_zero(bytes, 512));
	block_close(block);
	close(fd);
	loop_free(loop);
}

/*
 * More requests at once than there are places, aligned and not. Each writes a sector or more of its
 * own, and neighbours share blocks of 4 KiB: none may lose what another wrote.
 */
enum { MANY = 3000 };

static void check_many(struct setup *setup, uint64_t seed)
{
	struct call *calls = calloc(MANY, sizeof(*calls));
	uint8_t *model = malloc(SIZE), *memory = malloc((size_t)MANY * 2048), *all = malloc(SIZE);
	uint64_t at = 0, before = setup->block->stats.requests[OB_BLOCK_WRITE];

	fill(model, SIZE, seed);
	for (unsigned i = 0; i < MANY; i++) {
		struct call *call = &calls[i];
		uint64_t length = random_below(&seed, 3) ? 1024 : 1536;
		uint8_t *bytes = memory + (size_t)i * 2048 + (random_below(&seed, 2) ? 4 : 0);

		memcpy(bytes, model + at, length);
		call->iov = (struct iovec){bytes, length};
		call->request = (struct ob_block_request){.op = OB_BLOCK_WRITE,
		                                          .offset = at,
		                                          .length = length,
		                                          .iov = &call->iov,
		                                          .iovcnt = 1};
		begin(setup->block, call);
		at += length;
	}
	assert_true(setup->block->in_flight > 0);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(finish_call(setup->loop, &calls[i]), 0);
	assert_int_equal(setup->block->in_flight, 0);
	assert_int_equal(setup->block->stats.requests[OB_BLOCK_WRITE], before + MANY);
	assert_int_equal(do_rw(setup->block, OB_BLOCK_READ, 0, 0, all, at), 0);
	assert_memory_equal(all, model, at);
	free(calls);
	free(model);
	free(memory);
	free(all);
}

static void many_at_once(void **state)
{
	for_each_variant(setup, check_many);
}

/* A write without whole blocks and others all around it, over and over: see file_queue.c. */
static void check_neighbours(struct setup *setup, uint64_t seed)
{
	enum { ROUNDS = 40, SECTORS = 64 };
	static struct call calls[SECTORS];
	static uint8_t bytes[SECTORS * 512], all[SECTORS * 512];

	for (unsigned round = 0; round < ROUNDS; round++) {
		fill(bytes, sizeof(bytes), seed + round);
		for (unsigned i = 0; i < SECTORS; i++) {
			unsigned sector = (i * 13) % SECTORS;

			calls[i].iov = (struct iovec){bytes + sector * 512, 512};
			calls[i].request = (struct ob_block_request){
				.op = OB_BLOCK_WRITE,
				.flags = sector % 16 == 1 ? OB_BLOCK_FUA : 0,
				.offset = sector * 512,
				.length = 512,
				.iov = &calls[i].iov,
				.iovcnt = 1};
			if (sector % 5 == 0) {
				memset(bytes + sector * 512, 0, 512);
				calls[i].request.op = OB_BLOCK_WRITE_ZEROES;
			}
			begin(setup->block, &calls[i]);
		}
		for (unsigned i = 0; i < SECTORS; i++)
			assert_int_equal(finish_call(setup->loop, &calls[i]), 0);
		assert_int_equal(do_rw(setup->block, OB_BLOCK_READ, 0, 0, all, sizeof(all)), 0);
		assert_memory_equal(all, bytes, sizeof(all));
	}
}

static void neighbours(void **state)
{
	for_each_variant(setup, check_neighbours);
}

/* done may submit the next request, and the last one may close the node. */
struct chain {
	struct call call;
	unsigned left;
	struct ob_block *block;
	uint8_t bytes[4096];
};

static void chain_done(struct ob_block_request *request, int status)
{
	struct chain *chain = container_of(request, struct chain, call.request);

	assert_int_equal(status, 0);
	if (!chain->left--) {
		block_close(chain->block);
		chain->block = NULL;
		return;
	}
	chain->call.iov = (struct iovec){chain->bytes, sizeof(chain->bytes)};
	request->op = chain->left % 2 ? OB_BLOCK_READ : OB_BLOCK_WRITE;
	assert_int_equal(ob_block_submit(chain->block, request), -EINPROGRESS);
}

enum { AT_ONCE = 32 };

struct slow_call {
	struct ob_block_request request;
	struct ob_loop *loop;
	struct iovec iov;
	uint8_t bytes[4096];
	unsigned *ended;
};

/* As a device that has much to do with each end. */
static void slow_done(struct ob_block_request *request, int status)
{
	struct slow_call *call = container_of(request, struct slow_call, request);

	assert_int_equal(status, 0);
	while (!ob_loop_spent(call->loop))
		;
	++*call->ended;
}

/* Whatever has ended, a turn has its time, and then it is somebody else's. */
static void many_that_end_at_once_take_turns(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(SIZE);
	struct ob_block *block = open_block(
		loop, "file,node-name=b0,filename=/proc/self/fd/%d,aio=threads,direct=off", fd);
	struct slow_call *calls = calloc(AT_ONCE, sizeof(*calls));
	unsigned ended = 0, before;

	for (unsigned i = 0; i < AT_ONCE; i++) {
		calls[i].loop = loop;
		calls[i].ended = &ended;
		calls[i].iov = (struct iovec){calls[i].bytes, sizeof(calls[i].bytes)};
		calls[i].request = (struct ob_block_request){
			.op = OB_BLOCK_WRITE,
			.offset = i * sizeof(calls[i].bytes),
			.length = sizeof(calls[i].bytes),
			.iov = &calls[i].iov,
			.iovcnt = 1,
			.done = slow_done,
		};
		assert_int_equal(ob_block_submit(block, &calls[i].request), -EINPROGRESS);
	}
	usleep(100000); /* so that most have ended; the bound holds for any number */
	while (ended < AT_ONCE) {
		before = ended;
		assert_int_equal(loop_turn(loop, 1000), 0);
		/* By the eventfd, and by the task for what that left. */
		assert_true(ended - before <= 2);
	}
	free(calls);
	block_close(block);
	close(fd);
	loop_free(loop);
}

static void closed_from_done(void **state)
{
	static const char *const engines[] = {"auto", "threads"};

	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		struct ob_loop *loop = new_loop();
		int fd = new_file(SIZE);
		struct chain chain = {.left = 300};
		unsigned fds;

		chain.block = open_block(loop, "file,node-name=b0,filename=/proc/self/fd/%d,aio=%s",
		                         fd, engines[i]);
		fds = count_entries("/proc/self/fd");
		chain.call.iov = (struct iovec){chain.bytes, sizeof(chain.bytes)};
		chain.call.request = (struct ob_block_request){.op = OB_BLOCK_WRITE,
		                                               .length = sizeof(chain.bytes),
		                                               .iov = &chain.call.iov,
		                                               .iovcnt = 1,
		                                               .done = chain_done};
		assert_int_equal(ob_block_submit(chain.block, &chain.call.request), -EINPROGRESS);
		while (chain.block)
			assert_int_equal(loop_turn(loop, 1000), 0);
		assert_int_equal(count_entries("/proc/self/fd"), fds - 1);
		close(fd);
		loop_free(loop);
	}
}

/* The kernel's own workers of a ring take a moment to end. */
static void wait_for_threads(unsigned threads)
{
	for (unsigned i = 0; i < 500 && count_entries("/proc/self/task") != threads; i++)
		usleep(10000);
	assert_int_equal(count_entries("/proc/self/task"), threads);
}

static void *nothing(void *argument)
{
	return NULL;
}

static void leaves_nothing(void **state)
{
	unsigned fds = count_entries("/proc/self/fd");
	unsigned threads;
	pthread_t first;

	/* A sanitizer makes a thread of its own beside the first of ours. */
	assert_int_equal(pthread_create(&first, NULL, nothing, NULL), 0);
	pthread_join(first, NULL);
	threads = count_entries("/proc/self/task");

	for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
		struct setup setup;

		if (!set_up(&setup, &variants[i]))
			continue;
		check_random(&setup, i);
		check_many(&setup, i);
		tear_down(&setup);
		assert_int_equal(count_entries("/proc/self/fd"), fds);
	}
	wait_for_threads(threads);
}

/* A thousand nodes are a thousand descriptors and one ring or pool. */
static void nodes_share(void **state)
{
	static const char *const engines[] = {"auto", "threads"};
	enum { NODES = 300 };
	static struct ob_block *blocks[NODES];
	static struct call calls[NODES];
	static uint8_t bytes[NODES][512];

	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		unsigned fds = count_entries("/proc/self/fd");
		struct ob_loop *loop = new_loop();
		int fd = new_file(SIZE);

		for (unsigned n = 0; n < NODES; n++) {
			blocks[n] = open_block(loop,
			                       "file,node-name=b%u,filename=/proc/self/fd/%d,"
			                       "locking=off,aio=%s",
			                       n, fd, engines[i]);
			fill(bytes[n], 512, n);
			calls[n].iov = (struct iovec){bytes[n], 512};
			calls[n].request = (struct ob_block_request){.op = OB_BLOCK_WRITE,
			                                             .offset = n * 4096,
			                                             .length = 512,
			                                             .iov = &calls[n].iov,
			                                             .iovcnt = 1};
			begin(blocks[n], &calls[n]);
		}
		/* Loop (two), file, nodes, and at most a ring, its eventfd and its canary. */
		assert_in_range(count_entries("/proc/self/fd") - fds, NODES + 3, NODES + 6);
		for (unsigned n = 0; n < NODES; n++)
			assert_int_equal(finish_call(loop, &calls[n]), 0);
		for (unsigned n = 0; n < NODES; n++) {
			uint8_t check[512];

			/* Read by another than the writer, while nodes go one by one. */
			assert_int_equal(
				do_rw(blocks[NODES - 1], OB_BLOCK_READ, 0, n * 4096, check, 512),
				0);
			assert_memory_equal(check, bytes[n], 512);
			if (n < NODES - 1)
				block_close(blocks[n]);
		}
		block_close(blocks[NODES - 1]);
		loop_free(loop);
		close(fd);
		assert_int_equal(count_entries("/proc/self/fd"), fds);
	}
}

/* A file that somebody made shorter gives errors, and is not made longer again by reading. */
static void check_truncated(struct setup *setup, uint64_t seed)
{
	uint8_t bytes[8192];

	assert_int_equal(ftruncate(setup->fd, SIZE / 2), 0);
	assert_int_equal(do_rw(setup->block, OB_BLOCK_READ, 0, SIZE - 4096, bytes, 4096), -EIO);
	assert_int_equal(do_rw(setup->block, OB_BLOCK_READ, 0, SIZE / 2 - 4096, bytes, 8192), -EIO);
	assert_int_equal(do_rw(setup->block, OB_BLOCK_READ, 0, SIZE / 2 - 4096, bytes, 4096), 0);
	assert_int_equal(setup->block->stats.errors[OB_BLOCK_READ], 2);
}

static void truncated_behind_us(void **state)
{
	for_each_variant(setup, check_truncated);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaves_nothing), /* first: workers of other tests may linger */
		cmocka_unit_test(keeps_bytes),
		cmocka_unit_test(is_the_file),
		cmocka_unit_test(informs),
		cmocka_unit_test(discard_gives_back),
		cmocka_unit_test(discard_ignored),
		cmocka_unit_test(reads_only),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(neighbours),
		cmocka_unit_test(many_that_end_at_once_take_turns),
		cmocka_unit_test(closed_from_done),
		cmocka_unit_test(nodes_share),
		cmocka_unit_test(truncated_behind_us),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
