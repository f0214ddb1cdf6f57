/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that are cut under their maps: every way to touch them goes on, the owner is told once, and
 * a SIGBUS that has another cause still ends the process.
 */
#include "kit.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "dma/guard.h"

struct guarded {
	struct dma_space *space, *other;
	struct dma_watcher watcher;
	unsigned told;
	uint64_t address, size;
	int event, file;
};

static void on_lost(struct dma_watcher *watcher, uint64_t address, uint64_t size)
{
	struct guarded *g = (struct guarded *)((char *)watcher - offsetof(struct guarded, watcher));

	g->told++;
	g->address = address;
	g->size = size;
}

/* One map of four pages at 0x10000, whose file the test has too, and another one of one page. */
static int setup(void **state)
{
	struct guarded *g = calloc(1, sizeof(*g));

	g->space = dma_space_new(16);
	g->other = dma_space_new(16);
	g->watcher.lost = on_lost;
	dma_set_watcher(g->space, &g->watcher);
	g->file = make_file(4 * PAGE);
	assert_int_equal(dma_map(g->space, 0x10000, 4 * PAGE, RW, dup(g->file), 0), 0);
	assert_int_equal(dma_map(g->space, 0x80000, PAGE, RW, make_file(PAGE), 0), 0);
	assert_int_equal(dma_map(g->other, 0x10000, PAGE, RW, make_file(PAGE), 0), 0);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct guarded *g = *state;
	struct tracked_waiter waiter = TRACKED_WAITER;

	assert_int_equal(dma_unmap_all(g->space, &waiter.waiter), 0);
	assert_int_equal(dma_unmap_all(g->other, &waiter.waiter), 0);
	dma_space_free(g->other);
	dma_space_free(g->space);
	dma_guard_remove();
	close(g->file);
	free(g);
	return 0;
}

/* In the test itself, as cmocka has a handler of its own for each setup and each test. */
static void cut(struct guarded *g)
{
	g->event = dma_guard_install();
	assert_true(g->event >= 0);
	assert_int_equal(ftruncate(g->file, PAGE), 0);
}

/* The owner is told, once, and what the map was is not mapped any more. */
static void check_told(struct guarded *g)
{
	struct pollfd pollfd = {.fd = g->event, .events = POLLIN};
	struct ob_dma_op op = {0};
	uint8_t byte;

	assert_int_equal(g->told, 0);
	assert_int_equal(poll(&pollfd, 1, 0), 1);
	dma_guard_tell();
	assert_int_equal(g->told, 1);
	assert_int_equal(g->address, 0x10000);
	assert_int_equal(g->size, 4 * PAGE);
	assert_int_equal(poll(&pollfd, 1, 0), 0);
	dma_guard_tell();
	assert_int_equal(g->told, 1);
	assert_int_equal(dma_read(g->space, 0x10000, &byte, 1, &op), -EFAULT);
	assert_null(dma_direct(g->space, 0x10000, 1, OB_DMA_FROM_CLIENT));
	/* All else is as it was. */
	assert_int_equal(dma_read(g->space, 0x80000, &byte, 1, &op), 0);
	assert_int_equal(dma_read(g->other, 0x10000, &byte, 1, &op), 0);
}

static void a_read_fails(void **state)
{
	struct guarded *g = *state;
	struct ob_dma_op op = {0};
	uint8_t bytes[2 * PAGE];

	cut(g);
	assert_int_equal(dma_read(g->space, 0x10000, bytes, PAGE, &op), 0);
	assert_int_equal(dma_read(g->space, 0x10000, bytes, sizeof(bytes), &op), -EFAULT);
	check_told(g);
}

static void a_write_fails(void **state)
{
	struct guarded *g = *state;
	struct ob_dma_op op = {0};
	uint8_t bytes[2 * PAGE] = {1};

	cut(g);
	assert_int_equal(dma_write(g->space, 0x11000, bytes, sizeof(bytes), &op), -EFAULT);
	check_told(g);
}

static void the_slow_way_fails_too(void **state)
{
	struct guarded *g = *state;
	struct ob_dma_op op = {0};
	uint8_t bytes[2 * PAGE];

	assert_int_equal(dma_map(g->space, 0x14000, PAGE, RW, make_file(PAGE), 0), 0);
	cut(g);
	assert_int_equal(dma_read(g->space, 0x13000, bytes, sizeof(bytes), &op), -EFAULT);
	check_told(g);
}

static void a_pointer_goes_on(void **state)
{
	struct guarded *g = *state;
	uint8_t *bytes = dma_direct(g->space, 0x12000, PAGE, OB_DMA_TO_CLIENT);

	assert_non_null(bytes);
	cut(g);
	memset(bytes, 7, PAGE);
	assert_int_equal(bytes[PAGE - 1], 7);
	check_told(g);
}

static void a_pin_goes_on_until_it_is_given_back(void **state)
{
	struct guarded *g = *state;
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct iovec iov[4];
	unsigned count = 0;

	assert_int_equal(dma_pin(g->space, 0x12000, PAGE, OB_DMA_TO_CLIENT, iov, &count, 4), 0);
	cut(g);
	assert_int_equal(dma_unmap(g->space, 0x10000, 4 * PAGE, &waiter.waiter), -EINPROGRESS);
	memset(iov[0].iov_base, 7, iov[0].iov_len);
	dma_guard_tell();
	assert_int_equal(g->told, 1);
	dma_unpin(g->space, 0x12000, PAGE, OB_DMA_TO_CLIENT);
	assert_int_equal(waiter.calls, 1);
	assert_int_equal(dma_map_count(g->space), 1);
}

/* Two pages more than fit: then the table of the process's mappings is full. */
static uint8_t *fill_the_table(unsigned *pages)
{
	enum { MOST = 1 << 18 };
	uint8_t *bytes = mmap(NULL, (size_t)MOST * PAGE, PROT_NONE,
	                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned n;

	assert_ptr_not_equal(bytes, MAP_FAILED);
	/* Every second page differs from its neighbours, and so is a mapping of its own. */
	for (n = 0; n < MOST; n += 2) {
		if (mprotect(bytes + (size_t)n * PAGE, PAGE, PROT_READ))
			break;
	}
	*pages = MOST;
	return n < MOST ? bytes : NULL;
}

/* Nothing new can be mapped then, not even in another one's place. */
static void a_full_table_does_no_harm(void **state)
{
	struct guarded *g = *state;
	struct ob_dma_op op = {0};
	uint8_t bytes[2 * PAGE];
	unsigned pages;
	uint8_t *filling;
	int rc;

	cut(g);
	filling = fill_the_table(&pages);
	if (!filling) {
		print_message("the kernel allows more mappings than are worth filling\n");
		skip();
	}
	rc = dma_read(g->space, 0x10000, bytes, sizeof(bytes), &op);
	munmap(filling, (size_t)pages * PAGE);
	assert_int_equal(rc, -EFAULT);
	check_told(g);
}

/* What is large goes elsewhere in one piece, and is unmapped with its last map. */
static void a_large_file_is_moved_away(void **state)
{
	struct guarded *g = *state;
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct ob_dma_op op = {0};
	uint64_t size = UINT64_C(64) << 20, word = 1;
	int file = memfd_create("cut-short", MFD_CLOEXEC);

	assert_int_equal(ftruncate(file, (off_t)size), 0);
	assert_int_equal(dma_map(g->other, size, size, RW, dup(file), 0), 0);
	assert_int_equal(dma_map(g->other, 4 * size, PAGE, R, dup(file), PAGE), 0);
	assert_int_equal(dma_write(g->other, size, &word, sizeof(word), &op), 0);
	cut(g);
	assert_int_equal(ftruncate(file, PAGE), 0);
	assert_int_equal(dma_read(g->other, 2 * size - 8, &word, sizeof(word), &op), -EFAULT);
	/* All maps of it are lost, and the file still has what was written. */
	assert_int_equal(dma_read(g->other, size, &word, sizeof(word), &op), -EFAULT);
	dma_guard_tell();
	assert_int_equal(dma_read(g->other, 4 * size, &word, sizeof(word), &op), -EFAULT);
	assert_int_equal(pread(file, &word, sizeof(word), 0), sizeof(word));
	assert_int_equal(word, 1);
	assert_int_equal(dma_unmap(g->other, size, size, &waiter.waiter), 0);
	assert_int_equal(dma_unmap(g->other, 4 * size, PAGE, &waiter.waiter), 0);
	/* And the same file can be mapped again. */
	assert_int_equal(dma_map(g->other, size, PAGE, RW, file, 0), 0);
	assert_int_equal(dma_read(g->other, size, &word, sizeof(word), &op), 0);
}

static void it_need_not_be_told(void **state)
{
	struct guarded *g = *state;
	struct ob_dma_op op = {0};
	uint8_t byte;

	dma_set_watcher(g->space, NULL);
	cut(g);
	assert_int_equal(dma_read(g->space, 0x13000, &byte, 1, &op), -EFAULT);
	dma_guard_tell();
	assert_int_equal(g->told, 0);
}

static void it_is_installed_once(void **state)
{
	cut(*state);
	assert_int_equal(dma_guard_install(), -EALREADY);
}

/* The signal that ends a child which does what it is told to. */
static int signal_of(void (*act)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		signal(SIGBUS, SIG_DFL);
		if (dma_guard_install() < 0)
			_exit(1);
		act();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void touch_cut_memory_of_ours(void)
{
	int fd = make_file(PAGE);
	volatile char *bytes = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

	if (!ftruncate(fd, 0))
		(void)bytes[0];
}

static void send_it(void)
{
	kill(getpid(), SIGBUS);
}

static void another_cause_ends_the_process(void **state)
{
	assert_int_equal(signal_of(touch_cut_memory_of_ours), SIGBUS);
	assert_int_equal(signal_of(send_it), SIGBUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_read_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(a_write_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(the_slow_way_fails_too, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pointer_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pin_goes_on_until_it_is_given_back, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_full_table_does_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_file_is_moved_away, setup, teardown),
		cmocka_unit_test_setup_teardown(it_need_not_be_told, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_installed_once, setup, teardown),
		cmocka_unit_test_setup_teardown(another_cause_ends_the_process, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
