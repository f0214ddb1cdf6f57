/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of block nodes share: a loop, nodes opened by an option string, requests that are
 * waited for, and memory with a pattern that depends on a seed and the place.
 */
#ifndef TESTS_BLOCK_KIT_H
#define TESTS_BLOCK_KIT_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/log.h"
#include "base/opts.h"
#include "block/block.h"
#include "loop/loop.h"

enum { SKIPPED = 77 }; /* exit status of a child that can't do its test here */

struct call {
	struct ob_block_request request;
	bool done;
	int status;
	struct iovec iov;
};

static inline struct ob_loop *new_loop(void)
{
	struct ob_loop *loop = loop_new();

	assert_non_null(loop);
	return loop;
}

/* A log that nobody reads. */
static inline const struct log *quiet_log(void)
{
	static const struct log log = {.fd = -1, .level = LOG_ERROR};

	return &log;
}

static inline struct ob_block *open_logged(struct ob_loop *loop, const struct log *log,
                                           const char *text, struct ob_error *err)
{
	struct opts opts = {0};
	struct ob_block *block;

	err->message[0] = '\0';
	assert_int_equal(opts_parse(&opts, text, "driver", err), 0);
	block = block_open(loop, log, &opts, err);
	opts_free(&opts);
	if (!block)
		assert_true(err->message[0]);
	return block;
}

/* NULL and *err where it can't be opened. */
__attribute__((format(printf, 3, 4))) static inline struct ob_block *
try_open(struct ob_loop *loop, struct ob_error *err, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return open_logged(loop, quiet_log(), text, err);
}

#define open_block(loop, ...)                                                                      \
	({                                                                                         \
		struct ob_error error_ = {""};                                                     \
		struct ob_block *block_ = try_open(loop, &error_, __VA_ARGS__);                    \
		if (!block_)                                                                       \
			fail_msg("open: %s", error_.message);                                      \
		block_;                                                                            \
	})

/* Opening has to fail, with this in the message. */
#define refuse_block(loop, text, ...)                                                              \
	do {                                                                                       \
		struct ob_error error_ = {""};                                                     \
		struct ob_block *block_ = try_open(loop, &error_, __VA_ARGS__);                    \
		if (block_)                                                                        \
			fail_msg("opened, though it should say: %s", text);                        \
		if (!strstr(error_.message, text))                                                 \
			fail_msg("'%s' does not say '%s'", error_.message, text);                  \
		assert_null(strchr(error_.message, '\n'));                                         \
	} while (0)

static inline void call_done(struct ob_block_request *request, int status)
{
	struct call *call = container_of(request, struct call, request);

	assert_false(call->done);
	call->done = true;
	call->status = status;
}

/* Submits; what ends at once looks as if done had been called. */
static inline void begin(struct ob_block *block, struct call *call)
{
	int rc;

	call->request.done = call_done;
	call->done = false;
	rc = ob_block_submit(block, &call->request);
	if (rc != -EINPROGRESS) {
		assert_false(call->done);
		call->done = true;
		call->status = rc;
	}
}

static inline int finish_call(struct ob_loop *loop, struct call *call)
{
	uint64_t start = ob_loop_now();

	while (!call->done) {
		assert_int_equal(loop_turn(loop, 1000), 0);
		if (ob_loop_now() - start > UINT64_C(60000000000))
			fail_msg("a request is not done after a minute");
	}
	return call->status;
}

static inline int do_iov(struct ob_block *block, enum ob_block_op op, unsigned flags,
                         uint64_t offset, struct iovec *iov, unsigned iovcnt)
{
	struct call call = {
		.request = {
			.op = op, .flags = flags, .offset = offset, .iov = iov, .iovcnt = iovcnt}};

	for (unsigned i = 0; i < iovcnt; i++)
		call.request.length += iov[i].iov_len;
	begin(block, &call);
	return finish_call(block->loop, &call);
}

static inline int do_rw(struct ob_block *block, enum ob_block_op op, unsigned flags,
                        uint64_t offset, void *buffer, uint64_t length)
{
	struct iovec iov = {buffer, length};

	return do_iov(block, op, flags, offset, &iov, 1);
}

static inline int do_range(struct ob_block *block, enum ob_block_op op, unsigned flags,
                           uint64_t offset, uint64_t length)
{
	struct call call = {
		.request = {.op = op, .flags = flags, .offset = offset, .length = length}};

	begin(block, &call);
	return finish_call(block->loop, &call);
}

static inline uint32_t random_below(uint64_t *seed, uint32_t bound)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((*seed >> 33) % bound);
}

static inline void fill(uint8_t *buffer, size_t length, uint64_t seed)
{
	for (size_t i = 0; i < length; i++)
		buffer[i] = (uint8_t)(random_below(&seed, 255) + 1);
}

static inline bool all_zero(const uint8_t *buffer, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (buffer[i])
			return false;
	}
	return true;
}

static inline unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* A file without a name in the current folder, to be opened as /proc/self/fd/N. */
static inline int new_file(uint64_t size)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* Bytes that the file takes on its disk. */
static inline uint64_t allocated(int fd)
{
	struct stat st;

	fsync(fd);
	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* Runs body in a process of its own, which must end with 0. */
static inline void in_child(void (*body)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_int_equal(status, 0);
}

/* In a child, where cmocka's assertions would return into the parent's tests. */
#define child_assert(condition)                                                                    \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "# %s:%d: not true: %s\n", __FILE__, __LINE__,             \
			        #condition);                                                       \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

#define child_skip(...)                                                                            \
	do {                                                                                       \
		fprintf(stderr, "# SKIPPED: " __VA_ARGS__);                                        \
		_exit(SKIPPED);                                                                    \
	} while (0)

/*
 * Random requests of all kinds on [0, size) of the block, checked against a model in memory.
 * Offsets and lengths are sectors, iovecs are split anywhere, memory begins anywhere. The block
 * holds zeroes at first.
 */
static inline void random_requests(struct ob_block *block, size_t size, unsigned rounds,
                                   uint64_t seed)
{
	uint8_t *model = calloc(1, size), *memory = malloc(size + 4096);

	assert_non_null(model);
	assert_non_null(memory);
	for (unsigned round = 0; round < rounds; round++) {
		uint32_t kind = random_below(&seed, 10), sectors = (uint32_t)(size / 512);
		uint32_t first = random_below(&seed, sectors);
		uint32_t most = sectors - first < 1024 ? sectors - first : 1024;
		uint32_t count = 1 + random_below(&seed, random_below(&seed, 2) ? most : 16);
		size_t offset = (size_t)first * 512, length, at = 0;
		struct iovec iov[8];
		unsigned n = 0, flags = random_below(&seed, 8) ? 0 : OB_BLOCK_FUA;
		uint8_t *start = memory + (random_below(&seed, 2) ? random_below(&seed, 4096) : 0);

		count = count < most ? count : most;
		length = (size_t)count * 512;
		while (at < length) {
			size_t part = length - at;

			if (n < 7 && random_below(&seed, 2))
				part = random_below(&seed, (uint32_t)part + 1);
			iov[n++] = (struct iovec){start + at, part};
			at += part;
		}
		if (kind < 4) {
			assert_int_equal(do_iov(block, OB_BLOCK_READ, 0, offset, iov, n), 0);
			assert_memory_equal(start, model + offset, length);
		} else if (kind < 8) {
			fill(start, length, seed);
			memcpy(model + offset, start, length);
			assert_int_equal(do_iov(block, OB_BLOCK_WRITE, flags, offset, iov, n), 0);
		} else {
			bool discard = kind == 8 && block->info.discard_zeroes;

			if (random_below(&seed, 2))
				flags |= OB_BLOCK_UNMAP;
			memset(model + offset, 0, length);
			assert_int_equal(
				do_range(block, discard ? OB_BLOCK_DISCARD : OB_BLOCK_WRITE_ZEROES,
			                 discard ? 0 : flags, offset, length),
				0);
		}
	}
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, memory, size), 0);
	assert_memory_equal(memory, model, size);
	assert_int_equal(block->in_flight, 0);
	free(model);
	free(memory);
}

#endif
