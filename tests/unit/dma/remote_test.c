/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Access by messages: piece by piece, beside mapped memory, cancelled, unmapped under way, and with
 * a remote that goes away.
 */
#include "kit.h"

/* Four pages of the client at 0x10000: the file, by message, the file, by message. */
struct fixture {
	struct dma_space *space;
	struct fake_remote fake;
	int fd;
	uint8_t client[4 * PAGE]; /* what is there */
};

enum { BASE = 0x10000 };

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	*state = fixture;
	fixture->space = dma_space_new(64);
	fake_remote_init(&fixture->fake, BASE);
	fixture->fd = make_file(4 * PAGE);
	for (unsigned i = 0; i < 4; i++) {
		int fd = i % 2 ? -1 : dup(fixture->fd);

		assert_int_equal(dma_map(fixture->space, BASE + i * PAGE, PAGE, RW, fd, i * PAGE),
		                 0);
	}
	memcpy(fixture->client, fixture->fake.memory, sizeof(fixture->client));
	assert_int_equal(pread(fixture->fd, fixture->client, PAGE, 0), PAGE);
	assert_int_equal(pread(fixture->fd, fixture->client + 2 * PAGE, PAGE, 2 * PAGE), PAGE);
	dma_set_remote(fixture->space, &fixture->fake.remote);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_waiter waiter = TRACKED_WAITER;

	dma_set_remote(fixture->space, NULL);
	assert_int_equal(fixture->fake.count, 0);
	assert_int_equal(dma_unmap_all(fixture->space, &waiter.waiter), 0);
	dma_space_free(fixture->space);
	close(fixture->fd);
	free(fixture);
	return 0;
}

static void a_remote_that_answers_at_once(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[4 * PAGE];

	fixture->fake.sync = true;
	assert_int_equal(dma_read(fixture->space, BASE, buffer, sizeof(buffer), &tracked.op), 0);
	assert_memory_equal(buffer, fixture->client, sizeof(buffer));
	memset(buffer, 0x77, sizeof(buffer));
	assert_int_equal(dma_write(fixture->space, BASE, buffer, sizeof(buffer), &tracked.op), 0);
	assert_memory_equal(fixture->fake.memory + PAGE, buffer, PAGE);
	assert_memory_equal(fixture->fake.memory + 3 * PAGE, buffer, PAGE);
	assert_int_equal(fixture->fake.starts, 4);
	assert_int_equal(tracked.calls, 0);
}

static void reads_piece_by_piece(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	struct ob_dma_op *op = &tracked.op;
	uint8_t buffer[4 * PAGE - 20];

	assert_int_equal(dma_read(fixture->space, BASE + 10, buffer, sizeof(buffer), op),
	                 -EINPROGRESS);
	assert_int_equal(fixture->fake.count, 1);
	assert_true(op->address == BASE + 10 && op->length == sizeof(buffer) && !op->write);
	assert_true(op->transferred == PAGE - 10 && op->piece == PAGE && op->buffer == buffer);
	kit_answer(fixture->space, &fixture->fake, op, 0);
	assert_int_equal(tracked.calls, 0);
	assert_true(op->transferred == 3 * PAGE - 10 && op->piece == PAGE - 10);
	kit_answer(fixture->space, &fixture->fake, op, 0);
	assert_int_equal(tracked.calls, 1);
	assert_int_equal(tracked.status, 0);
	assert_memory_equal(buffer, fixture->client + 10, sizeof(buffer));
}

static void writes_piece_by_piece(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[4 * PAGE], file[PAGE];

	memset(buffer, 0x42, sizeof(buffer));
	assert_int_equal(dma_write(fixture->space, BASE, buffer, sizeof(buffer), &tracked.op),
	                 -EINPROGRESS);
	/* The third page waits until the second one has arrived. */
	assert_int_equal(pread(fixture->fd, file, PAGE, 2 * PAGE), PAGE);
	assert_memory_equal(file, fixture->client + 2 * PAGE, PAGE);
	kit_answer(fixture->space, &fixture->fake, &tracked.op, 0);
	assert_int_equal(pread(fixture->fd, file, PAGE, 2 * PAGE), PAGE);
	assert_memory_equal(file, buffer, PAGE);
	kit_answer(fixture->space, &fixture->fake, &tracked.op, 0);
	assert_int_equal(tracked.calls, 1);
	assert_int_equal(tracked.status, 0);
	assert_memory_equal(fixture->fake.memory + PAGE, buffer, PAGE);
	assert_memory_equal(fixture->fake.memory + 3 * PAGE, buffer, PAGE);
}

static void a_remote_takes_less_than_the_piece(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[PAGE];
	unsigned answers = 0;

	fixture->fake.limit = 1000;
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, buffer, PAGE, &tracked.op),
	                 -EINPROGRESS);
	while (!tracked.calls) {
		assert_int_equal(tracked.op.transferred, answers * 1000);
		kit_answer(fixture->space, &fixture->fake, &tracked.op, 0);
		answers++;
	}
	assert_int_equal(answers, 5);
	assert_int_equal(tracked.status, 0);
	assert_memory_equal(buffer, fixture->client + PAGE, PAGE);
	/* The same from a remote that is fast. */
	fixture->fake.sync = true;
	memset(buffer, 0, sizeof(buffer));
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, buffer, PAGE, &tracked.op), 0);
	assert_memory_equal(buffer, fixture->client + PAGE, PAGE);
}

static void operations_finish_in_any_order(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op ops[5] = {TRACKED_OP, TRACKED_OP, TRACKED_OP, TRACKED_OP, TRACKED_OP};
	static const unsigned order[] = {3, 0, 4, 2, 1};
	uint8_t buffers[5][100];
	unsigned i;

	for (i = 0; i < 5; i++)
		assert_int_equal(dma_read(fixture->space, BASE + PAGE + i * 100, buffers[i], 100,
		                          &ops[i].op),
		                 -EINPROGRESS);
	for (i = 0; i < 5; i++) {
		unsigned n = order[i];

		kit_answer(fixture->space, &fixture->fake, &ops[n].op, 0);
		assert_int_equal(ops[n].calls, 1);
		assert_memory_equal(buffers[n], fixture->client + PAGE + n * 100, 100);
	}
}

static void the_client_answers_with_an_error(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[4 * PAGE];

	assert_int_equal(dma_read(fixture->space, BASE, buffer, sizeof(buffer), &tracked.op),
	                 -EINPROGRESS);
	kit_answer(fixture->space, &fixture->fake, &tracked.op, -EIO);
	assert_int_equal(tracked.calls, 1);
	assert_int_equal(tracked.status, -EIO);
	assert_int_equal(fixture->fake.count, 0);
	/* Too late, twice: nothing happens. */
	dma_op_finish(fixture->space, &tracked.op, 0);
	assert_int_equal(tracked.calls, 1);
}

static void a_remote_that_refuses(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t byte;

	fixture->fake.refuse = -ENOMEM;
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &tracked.op), -ENOMEM);
	dma_cancel(fixture->space, &tracked.op);
	assert_int_equal(fixture->fake.cancels, 0);
	assert_int_equal(tracked.calls, 0);
}

static void a_remote_that_refuses_the_second_piece(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[4 * PAGE];

	assert_int_equal(dma_read(fixture->space, BASE, buffer, sizeof(buffer), &tracked.op),
	                 -EINPROGRESS);
	fixture->fake.refuse = -ENOMEM;
	kit_answer(fixture->space, &fixture->fake, &tracked.op, 0);
	assert_int_equal(tracked.calls, 1);
	assert_int_equal(tracked.status, -ENOMEM);
}

static void without_a_remote_there_is_no_such_memory(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[2 * PAGE];

	dma_set_remote(fixture->space, NULL);
	memset(buffer, 0xee, sizeof(buffer));
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, buffer, 1, &tracked.op), -EFAULT);
	assert_int_equal(dma_read(fixture->space, BASE, buffer, 2 * PAGE, &tracked.op), -EFAULT);
	assert_int_equal(buffer[0], 0xee);
	assert_int_equal(dma_read(fixture->space, BASE, buffer, PAGE, &tracked.op), 0);
}

static void what_needs_messages_is_checked_first(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[5 * PAGE];

	assert_int_equal(dma_read(fixture->space, BASE, buffer, 4 * PAGE + 1, &tracked.op),
	                 -EFAULT);
	assert_int_equal(fixture->fake.starts, 0);
	assert_null(dma_direct(fixture->space, BASE + PAGE, 1, OB_DMA_FROM_CLIENT));
}

static void cancelled_operations_are_forgotten(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t byte;

	dma_cancel(fixture->space, &tracked.op); /* not begun */
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &tracked.op),
	                 -EINPROGRESS);
	dma_cancel(fixture->space, &tracked.op);
	assert_int_equal(fixture->fake.cancels, 1);
	assert_int_equal(fixture->fake.count, 0);
	dma_cancel(fixture->space, &tracked.op);
	assert_int_equal(fixture->fake.cancels, 1);
	assert_int_equal(tracked.calls, 0);
	/* It can be used again. */
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &tracked.op),
	                 -EINPROGRESS);
	kit_answer(fixture->space, &fixture->fake, &tracked.op, 0);
	assert_int_equal(tracked.calls, 1);
}

static void unmap_ends_what_has_still_to_touch_the_map(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op in_it = TRACKED_OP, across = TRACKED_OP, before = TRACKED_OP,
			  past = TRACKED_OP;
	struct tracked_waiter waiter = TRACKED_WAITER;
	uint8_t buffers[4][4 * PAGE];

	assert_int_equal(dma_read(fixture->space, BASE + 3 * PAGE, buffers[0], 1, &in_it.op),
	                 -EINPROGRESS);
	assert_int_equal(dma_read(fixture->space, BASE, buffers[1], 4 * PAGE, &across.op),
	                 -EINPROGRESS);
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, buffers[2], PAGE, &before.op),
	                 -EINPROGRESS);
	/* Has left the first page behind it, and does not need it any more. */
	assert_int_equal(dma_read(fixture->space, BASE, buffers[3], 2 * PAGE, &past.op),
	                 -EINPROGRESS);
	assert_int_equal(dma_unmap(fixture->space, BASE + 3 * PAGE, PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_unmap(fixture->space, BASE, PAGE, &waiter.waiter), 0);
	assert_int_equal(in_it.status, -EFAULT);
	assert_int_equal(in_it.calls, 1);
	assert_int_equal(across.status, -EFAULT);
	assert_int_equal(across.calls, 1);
	assert_int_equal(fixture->fake.cancels, 2);
	assert_int_equal(before.calls + past.calls, 0);
	kit_answer(fixture->space, &fixture->fake, &before.op, 0);
	kit_answer(fixture->space, &fixture->fake, &past.op, 0);
	assert_true(before.calls == 1 && before.status == 0);
	assert_true(past.calls == 1 && past.status == 0);
	assert_memory_equal(buffers[3], fixture->client, 2 * PAGE);
}

static void unmap_all_ends_everything(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op first = TRACKED_OP, second = TRACKED_OP;
	struct tracked_waiter waiter = TRACKED_WAITER;
	uint8_t byte;

	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &first.op), -EINPROGRESS);
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &second.op), -EINPROGRESS);
	assert_int_equal(dma_unmap_all(fixture->space, &waiter.waiter), 0);
	assert_int_equal(dma_map_count(fixture->space), 0);
	assert_true(first.calls == 1 && first.status == -EFAULT);
	assert_true(second.calls == 1 && second.status == -EFAULT);
	assert_int_equal(waiter.calls, 0);
}

static void the_remote_goes_away(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op first = TRACKED_OP, second = TRACKED_OP;
	uint8_t byte;

	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &first.op), -EINPROGRESS);
	assert_int_equal(dma_write(fixture->space, BASE + PAGE, &byte, 1, &second.op),
	                 -EINPROGRESS);
	dma_set_remote(fixture->space, NULL);
	assert_int_equal(fixture->fake.cancels, 2);
	assert_true(first.calls == 1 && first.status == -ECANCELED);
	assert_true(second.calls == 1 && second.status == -ECANCELED);
}

static void cancel_other(struct tracked_op *tracked)
{
	dma_cancel(tracked->space, &tracked->other->op);
}

static void a_callback_cancels_what_ends_with_it(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op first = TRACKED_OP, second = TRACKED_OP;
	uint8_t byte;

	first.also = cancel_other;
	first.other = &second;
	first.space = fixture->space;
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &first.op), -EINPROGRESS);
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &second.op), -EINPROGRESS);
	dma_set_remote(fixture->space, NULL);
	assert_int_equal(fixture->fake.cancels, 2); /* each once */
	assert_int_equal(first.calls, 1);
	assert_int_equal(second.calls, 0);
}

static void read_again(struct tracked_op *tracked)
{
	static uint8_t byte;

	tracked->also = NULL;
	assert_int_equal(dma_read(tracked->space, BASE + PAGE, &byte, 1, &tracked->op),
	                 tracked->status == 0 ? -EINPROGRESS : -EFAULT);
}

static void a_callback_uses_its_operation_again(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	struct tracked_waiter waiter = TRACKED_WAITER;
	uint8_t byte;

	tracked.also = read_again;
	tracked.space = fixture->space;
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &tracked.op),
	                 -EINPROGRESS);
	kit_answer(fixture->space, &fixture->fake, &tracked.op, 0);
	assert_int_equal(tracked.calls, 1);
	assert_int_equal(fixture->fake.count, 1);
	tracked.also = read_again; /* from within the unmap: the memory is gone already */
	assert_int_equal(dma_unmap(fixture->space, BASE + PAGE, PAGE, &waiter.waiter), 0);
	assert_int_equal(tracked.calls, 2);
	assert_int_equal(fixture->fake.count, 0);
}

static void another_remote_takes_over(void **state)
{
	struct fixture *fixture = *state;
	struct fake_remote *other = calloc(1, sizeof(*other));
	struct tracked_op tracked = TRACKED_OP;
	uint8_t byte;

	assert_non_null(other);
	fake_remote_init(other, BASE);
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &tracked.op),
	                 -EINPROGRESS);
	dma_set_remote(fixture->space, &fixture->fake.remote); /* the same: nothing happens */
	assert_int_equal(tracked.calls, 0);
	dma_set_remote(fixture->space, &other->remote);
	assert_true(tracked.calls == 1 && tracked.status == -ECANCELED);
	assert_int_equal(fixture->fake.cancels, 1);
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, &byte, 1, &tracked.op),
	                 -EINPROGRESS);
	kit_answer(fixture->space, other, &tracked.op, 0);
	assert_int_equal(tracked.calls, 2);
	dma_set_remote(fixture->space, NULL);
	free(other);
}

/* The map of the rest of an operation may be another one by the time its turn comes. */
static void later_pieces_are_looked_up_late(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	struct tracked_waiter waiter = TRACKED_WAITER;
	uint8_t buffer[PAGE];

	assert_int_equal(dma_unmap(fixture->space, BASE + 2 * PAGE, PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_map(fixture->space, BASE + 2 * PAGE, 100, RW, -1, 0), 0);
	assert_int_equal(dma_read(fixture->space, BASE + PAGE, buffer, PAGE, &tracked.op),
	                 -EINPROGRESS);
	assert_int_equal(dma_unmap(fixture->space, BASE + 2 * PAGE, 100, &waiter.waiter), 0);
	kit_answer(fixture->space, &fixture->fake, &tracked.op, 0);
	assert_true(tracked.calls == 1 && tracked.status == 0);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

struct doubting {
	struct dma_watcher watcher;
	unsigned told;
	uint64_t address, size;
};

static void on_unshared(struct dma_watcher *watcher, uint64_t address, uint64_t size)
{
	struct doubting *doubting = (struct doubting *)watcher;

	doubting->told++;
	doubting->address = address;
	doubting->size = size;
}

/* The client's memory at 0x10000, and a file of zeroes that it gave for it, in two maps. */
static struct dma_space *doubt_setup(struct fake_remote *fake, struct doubting *doubting, int file)
{
	struct dma_space *space = dma_space_new(16);

	fake_remote_init(fake, 0x10000);
	*doubting = (struct doubting){.watcher = {.unshared = on_unshared}};
	dma_set_remote(space, &fake->remote);
	dma_set_watcher(space, &doubting->watcher);
	assert_int_equal(dma_map(space, 0x10000, PAGE, RW, dup(file), 0), 0);
	assert_int_equal(dma_map(space, 0x11000, PAGE, RW, file, PAGE), 0);
	return space;
}

static void doubt_end(struct dma_space *space)
{
	struct tracked_waiter waiter = TRACKED_WAITER;

	assert_int_equal(dma_unmap_all(space, &waiter.waiter), 0);
	dma_set_remote(space, NULL);
	dma_space_free(space);
}

static void memory_that_is_not_shared_is_found_out(void **state)
{
	struct fake_remote fake;
	struct doubting doubting;
	struct tracked_op tracked = TRACKED_OP, op = TRACKED_OP;
	struct dma_space *space;
	uint8_t bytes[64], word[8] = {0};
	struct iovec iov[1];
	unsigned count = 0;
	int file = memfd_create("copy", MFD_CLOEXEC);

	assert_int_equal(ftruncate(file, 2 * PAGE), 0);
	space = doubt_setup(&fake, &doubting, file);
	assert_int_equal(dma_pin(space, 0x11000, 8, OB_DMA_FROM_CLIENT, iov, &count, 1), 0);
	assert_int_equal(dma_read(space, 0x10100, word, sizeof(word), &op.op), 0);
	assert_int_equal(word[0], 0);
	assert_int_equal(dma_doubt(space, 0x10100, bytes, sizeof(bytes), &tracked.op),
	                 -EINPROGRESS);
	kit_answer(space, &fake, &tracked.op, 0);
	assert_int_equal(tracked.calls, 1);
	assert_int_equal(tracked.status, 0);
	assert_int_equal(doubting.told, 1);
	assert_int_equal(doubting.address, 0x10000);
	/* Both maps go by messages now, and one that comes as well. */
	fake.sync = true;
	assert_null(dma_direct(space, 0x10100, 8, OB_DMA_FROM_CLIENT));
	assert_int_equal(dma_read(space, 0x10ffc, word, sizeof(word), &op.op), 0);
	assert_memory_equal(word, fake.memory + 0xffc, sizeof(word));
	assert_int_equal(dma_map(space, 0x12000, PAGE, RW, make_file(PAGE), 0), 0);
	assert_int_equal(dma_read(space, 0x12000, word, sizeof(word), &op.op), 0);
	assert_memory_equal(word, fake.memory + 0x2000, sizeof(word));
	/* What was pinned before is given back as always. */
	dma_unpin(space, 0x11000, 8, OB_DMA_FROM_CLIENT);
	doubt_end(space);
	(void)state;
}

static void the_client_is_asked_once(void **state)
{
	struct fake_remote fake;
	struct doubting doubting;
	struct tracked_op tracked = TRACKED_OP;
	struct dma_space *space;
	uint8_t bytes[64];
	int file = memfd_create("shared", MFD_CLOEXEC);

	assert_int_equal(ftruncate(file, 2 * PAGE), 0);
	space = doubt_setup(&fake, &doubting, file);
	memset(fake.memory, 0, sizeof(fake.memory));
	assert_int_equal(dma_doubt(space, 0x10100, bytes, sizeof(bytes), &tracked.op),
	                 -EINPROGRESS);
	kit_answer(space, &fake, &tracked.op, 0);
	assert_int_equal(tracked.calls, 1);
	assert_int_equal(doubting.told, 0);
	assert_non_null(dma_direct(space, 0x10100, 8, OB_DMA_FROM_CLIENT));
	assert_int_equal(dma_doubt(space, 0x11100, bytes, sizeof(bytes), &tracked.op), 0);
	assert_int_equal(fake.starts, 1);
	doubt_end(space);
	(void)state;
}

/* Then it says nothing about its memory. */
static void a_client_that_does_not_answer_is_believed(void **state)
{
	struct fake_remote fake;
	struct doubting doubting;
	struct tracked_op tracked = TRACKED_OP;
	struct dma_space *space;
	uint8_t bytes[64];
	int file = memfd_create("shared", MFD_CLOEXEC);

	assert_int_equal(ftruncate(file, 2 * PAGE), 0);
	space = doubt_setup(&fake, &doubting, file);
	assert_int_equal(dma_doubt(space, 0x10100, bytes, sizeof(bytes), &tracked.op),
	                 -EINPROGRESS);
	kit_answer(space, &fake, &tracked.op, -EIO);
	assert_int_equal(tracked.status, -EIO);
	assert_int_equal(doubting.told, 0);
	assert_non_null(dma_direct(space, 0x10100, 8, OB_DMA_FROM_CLIENT));
	/* Without a map, without a client, and for what goes by messages, there is nothing to ask.
	 */
	assert_int_equal(dma_doubt(space, 0x20000, bytes, sizeof(bytes), &tracked.op), 0);
	doubt_end(space);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(a_remote_that_answers_at_once),
		WITH_FIXTURE(reads_piece_by_piece),
		WITH_FIXTURE(writes_piece_by_piece),
		WITH_FIXTURE(a_remote_takes_less_than_the_piece),
		WITH_FIXTURE(operations_finish_in_any_order),
		WITH_FIXTURE(the_client_answers_with_an_error),
		WITH_FIXTURE(a_remote_that_refuses),
		WITH_FIXTURE(a_remote_that_refuses_the_second_piece),
		WITH_FIXTURE(without_a_remote_there_is_no_such_memory),
		WITH_FIXTURE(what_needs_messages_is_checked_first),
		WITH_FIXTURE(cancelled_operations_are_forgotten),
		WITH_FIXTURE(unmap_ends_what_has_still_to_touch_the_map),
		WITH_FIXTURE(unmap_all_ends_everything),
		WITH_FIXTURE(the_remote_goes_away),
		WITH_FIXTURE(a_callback_cancels_what_ends_with_it),
		WITH_FIXTURE(a_callback_uses_its_operation_again),
		WITH_FIXTURE(another_remote_takes_over),
		WITH_FIXTURE(later_pieces_are_looked_up_late),
		cmocka_unit_test(memory_that_is_not_shared_is_found_out),
		cmocka_unit_test(the_client_is_asked_once),
		cmocka_unit_test(a_client_that_does_not_answer_is_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
