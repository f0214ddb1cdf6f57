/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's life: holds, who is told in order, reset; and transfers (struct ob_xfer). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe.h"

struct waiting {
	struct device_hold hold;
	int order;
};

static int told;

static void tell(struct device_hold *hold)
{
	((struct waiting *)hold)->order = ++told;
}

static struct probe_state *state_of(struct probe *probe)
{
	return ob_dev_state(probe->dev);
}

static int hold(struct probe *probe, struct waiting *waiting, enum device_hold_reason reason)
{
	return device_hold(probe->dev, &waiting->hold, reason);
}

static void release(struct probe *probe, struct waiting *waiting)
{
	device_release(probe->dev, &waiting->hold);
}

static void a_quiet_model_is_quiet_at_once(void **state)
{
	struct probe *probe = *state;
	struct waiting w = {{.done = tell}, 0};

	assert_int_equal(hold(probe, &w, DEVICE_HOLD_RESET), 0);
	device_reset(probe->dev);
	release(probe, &w);
	assert_string_equal(probe_log(probe), "quiesce reset resume ");
	/* Once released, it is nothing to release again. */
	release(probe, &w);
	assert_string_equal(probe_log(probe), "quiesce reset resume ");
}

static void holders_are_told_in_order_from_the_loop(void **state)
{
	struct probe *probe = *state;
	struct waiting a = {{.done = tell}, 0}, b = {{.done = tell}, 0};

	told = 0;
	state_of(probe)->slow = true;
	assert_int_equal(hold(probe, &a, DEVICE_HOLD_PAUSE), -EINPROGRESS);
	assert_int_equal(hold(probe, &b, DEVICE_HOLD_RESET), -EINPROGRESS);
	ob_dev_quiet(probe->dev);
	assert_int_equal(a.order, 0);
	loop_turn(probe->loop, 0);
	assert_int_equal(a.order, 1);
	assert_int_equal(b.order, 2);
	/* The model was told once, and goes on once both have released it. */
	assert_string_equal(probe_log(probe), "quiesce ");
	release(probe, &a);
	assert_string_equal(probe_log(probe), "quiesce ");
	release(probe, &b);
	assert_string_equal(probe_log(probe), "quiesce resume ");
}

static void a_wait_that_is_given_up_still_ends_and_resumes(void **state)
{
	struct probe *probe = *state;
	struct waiting a = {{.done = tell}, 0}, b = {{.done = tell}, 0};

	told = 0;
	state_of(probe)->slow = true;
	assert_int_equal(hold(probe, &a, DEVICE_HOLD_RESET), -EINPROGRESS);
	release(probe, &a);
	assert_string_equal(probe_log(probe), "quiesce ");
	/* Another wants quiet before the first quiesce has ended: the model is not told twice. */
	assert_int_equal(hold(probe, &b, DEVICE_HOLD_RESET), -EINPROGRESS);
	ob_dev_quiet(probe->dev);
	loop_turn(probe->loop, 0);
	assert_int_equal(a.order, 0);
	assert_int_equal(b.order, 1);
	release(probe, &b);
	assert_string_equal(probe_log(probe), "quiesce resume ");
	/* And with nobody left, the end of a quiesce is a resume. */
	assert_int_equal(hold(probe, &a, DEVICE_HOLD_RESET), -EINPROGRESS);
	release(probe, &a);
	ob_dev_quiet(probe->dev);
	loop_turn(probe->loop, 0);
	assert_string_equal(probe_log(probe), "quiesce resume quiesce resume ");
}

static void who_holds_is_known(void **state)
{
	struct probe *probe = *state;
	struct waiting a = {{.done = tell}, 0}, b = {{.done = tell}, 0};

	struct device_held_by by = device_held_by(probe->dev);

	assert_null(by.names[0]);
	assert_int_equal(hold(probe, &a, DEVICE_HOLD_PAUSE), 0);
	assert_int_equal(hold(probe, &b, DEVICE_HOLD_MIGRATION), 0);
	assert_true(device_is_held(probe->dev, DEVICE_HOLD_PAUSE));
	assert_true(device_is_held(probe->dev, DEVICE_HOLD_MIGRATION));
	by = device_held_by(probe->dev);
	assert_string_equal(by.names[0], "migration");
	assert_string_equal(by.names[1], "pause");
	assert_null(by.names[2]);
	release(probe, &a);
	assert_false(device_is_held(probe->dev, DEVICE_HOLD_PAUSE));
	device_client_left(probe->dev);
	release(probe, &b);
	assert_string_equal(probe_log(probe), "quiesce ");
	assert_true(device_is_held(probe->dev, DEVICE_HOLD_NO_CLIENT));
	device_client_uses(probe->dev);
	assert_string_equal(probe_log(probe), "quiesce resume ");
}

/* Transfers */

enum { GUEST_SIZE = 1 << 16 };

static int ready_status, ready_count;

static void ready(struct ob_xfer *xfer, int status)
{
	ready_status = status;
	ready_count++;
}

/* A client that shares no memory, and answers when told. */
struct remote {
	struct dma_remote remote;
	struct ob_dma_op *op;
	uint8_t memory[GUEST_SIZE];
};

static int remote_start(struct dma_remote *base, struct ob_dma_op *op)
{
	((struct remote *)base)->op = op;
	return -EINPROGRESS;
}

static void remote_cancel(struct dma_remote *base, struct ob_dma_op *op)
{
	((struct remote *)base)->op = NULL;
}

static struct remote remote = {.remote = {remote_start, remote_cancel}};

/* Plays the client: answers until the device asks nothing more. */
static void remote_answer(struct probe *probe)
{
	while (remote.op) {
		struct ob_dma_op *op = remote.op;
		uint8_t *memory = remote.memory + op->address + op->transferred;
		uint8_t *buffer = (uint8_t *)op->buffer + op->transferred;

		remote.op = NULL;
		if (op->write)
			memcpy(memory, buffer, op->piece);
		else
			memcpy(buffer, memory, op->piece);
		dma_op_finish(device_dma(probe->dev), op, 0);
	}
}

static uint8_t *map_shared(struct probe *probe)
{
	int fd = memfd_create("guest", 0);
	uint8_t *memory;

	assert_int_equal(ftruncate(fd, GUEST_SIZE), 0);
	memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_int_equal(
		dma_map(device_dma(probe->dev), 0, GUEST_SIZE, DMA_READABLE | DMA_WRITEABLE, fd, 0),
		0);
	return memory;
}

static void unmap(struct probe *probe)
{
	assert_int_equal(dma_unmap_all(device_dma(probe->dev), NULL), 0);
	dma_set_remote(device_dma(probe->dev), NULL);
}

static const struct ob_dma_range ranges[] = {{0x100, 10}, {0x2000, 20}, {0x3000, 5}};

static bool unmapped;

static void note_unmapped(struct dma_waiter *waiter)
{
	unmapped = true;
}

static void a_transfer_in_shared_memory_copies_nothing(void **state)
{
	struct probe *probe = *state;
	uint8_t *memory = map_shared(probe);
	struct ob_xfer xfer = {.ready = ready};
	struct dma_waiter waiter = {.done = note_unmapped};

	memory[0x2000] = 7;
	assert_int_equal(ob_xfer_begin(probe->dev, &xfer, ranges, 3, OB_DMA_FROM_CLIENT), 0);
	assert_int_equal(xfer.length, 35);
	assert_int_equal(xfer.iovcnt, 3);
	memory[0x2000] = 8;
	assert_int_equal(*(uint8_t *)xfer.iov[1].iov_base, 8);
	/* The client takes its memory back: it gets it when the transfer has ended. */
	unmapped = false;
	assert_int_equal(dma_unmap(device_dma(probe->dev), 0, GUEST_SIZE, &waiter), -EINPROGRESS);
	assert_false(unmapped);
	assert_int_equal(ob_xfer_end(&xfer, 1), 0);
	assert_true(unmapped);
	munmap(memory, GUEST_SIZE);
}

static void a_long_transfer_is_pinned_too(void **state)
{
	struct probe *probe = *state;
	uint8_t *memory = map_shared(probe);
	struct ob_dma_range many[200];
	struct ob_xfer xfer = {.ready = ready};

	for (unsigned i = 0; i < 200; i++)
		many[i] = (struct ob_dma_range){i * 300, 4};
	assert_int_equal(ob_xfer_begin(probe->dev, &xfer, many, 200, OB_DMA_TO_CLIENT), 0);
	assert_int_equal(xfer.iovcnt, 200);
	((uint8_t *)xfer.iov[199].iov_base)[3] = 9;
	assert_int_equal(ob_xfer_end(&xfer, 1), 0);
	assert_int_equal(memory[199 * 300 + 3], 9);
	many[7].address = GUEST_SIZE - 2;
	assert_int_equal(ob_xfer_begin(probe->dev, &xfer, many, 200, OB_DMA_TO_CLIENT), -EFAULT);
	unmap(probe); /* at once: nothing stayed pinned */
	munmap(memory, GUEST_SIZE);
}

static void map_by_message(struct probe *probe)
{
	dma_set_remote(device_dma(probe->dev), &remote.remote);
	assert_int_equal(
		dma_map(device_dma(probe->dev), 0, GUEST_SIZE, DMA_READABLE | DMA_WRITEABLE, -1, 0),
		0);
	ready_count = 0;
}

static void a_transfer_by_message_bounces(void **state)
{
	struct probe *probe = *state;
	struct ob_xfer xfer = {.ready = ready};

	map_by_message(probe);
	memcpy(remote.memory + 0x2000, "from the client", 15);
	assert_int_equal(ob_xfer_begin(probe->dev, &xfer, ranges, 3, OB_DMA_FROM_CLIENT),
	                 -EINPROGRESS);
	remote_answer(probe);
	assert_int_equal(ready_count, 1);
	assert_int_equal(ready_status, 0);
	assert_int_equal(xfer.iovcnt, 1);
	assert_memory_equal((uint8_t *)xfer.iov[0].iov_base + 10, "from the client", 15);
	assert_int_equal(ob_xfer_end(&xfer, 1), 0);

	assert_int_equal(ob_xfer_begin(probe->dev, &xfer, ranges, 3, OB_DMA_TO_CLIENT), 0);
	memset(xfer.iov[0].iov_base, 'x', 35);
	assert_int_equal(ob_xfer_end(&xfer, 1), -EINPROGRESS);
	remote_answer(probe);
	assert_int_equal(ready_count, 2);
	assert_memory_equal(remote.memory + 0x3000, "xxxxx", 5);
	assert_int_equal(remote.memory[0x3005], 0);
	unmap(probe);
}

enum { LARGE = 4 << 20, LARGE_AT = 0x10000000 };

static void begin_large(struct probe *probe, struct ob_xfer *xfer, const struct ob_dma_range *range,
                        int rc)
{
	*xfer = (struct ob_xfer){.ready = ready};
	assert_int_equal(ob_xfer_begin(probe->dev, xfer, range, 1, OB_DMA_TO_CLIENT), rc);
}

/* However long a client takes to answer: what is past the bound waits, and holds nothing. */
static void what_is_held_has_a_bound(void **state)
{
	static const struct ob_dma_range large = {LARGE_AT, LARGE}, huge = {LARGE_AT, 6 * LARGE};
	struct probe *probe = *state;
	struct ob_xfer xfers[7];

	map_by_message(probe);
	assert_int_equal(dma_map(device_dma(probe->dev), LARGE_AT, 6 * LARGE, DMA_WRITEABLE, -1, 0),
	                 0);
	for (unsigned i = 0; i < 4; i++)
		begin_large(probe, &xfers[i], &large, 0);
	for (unsigned i = 4; i < 7; i++)
		begin_large(probe, &xfers[i], &large, -EINPROGRESS);
	ob_xfer_abort(&xfers[5]);
	/* In order, from the loop. */
	assert_int_equal(ob_xfer_end(&xfers[0], 0), 0);
	assert_int_equal(ready_count, 0);
	assert_int_equal(loop_turn(probe->loop, 0), 0);
	assert_int_equal(ready_count, 1);
	assert_int_equal(ready_status, 0);
	assert_int_equal(xfers[4].iovcnt, 1);
	assert_int_equal(xfers[6].iovcnt, 0);
	/* A client that is gone answers nobody. */
	dma_set_remote(device_dma(probe->dev), NULL);
	ob_xfer_abort(&xfers[1]);
	assert_int_equal(loop_turn(probe->loop, 0), 0);
	assert_int_equal(ready_count, 2);
	assert_int_equal(ready_status, -ECANCELED);
	dma_set_remote(device_dma(probe->dev), &remote.remote);
	for (unsigned i = 2; i < 5; i++)
		ob_xfer_abort(&xfers[i]);
	/* A single one may be larger. */
	begin_large(probe, &xfers[0], &huge, 0);
	ob_xfer_abort(&xfers[0]);
	unmap(probe);
}

static void an_aborted_transfer_leaves_nothing(void **state)
{
	struct probe *probe = *state;
	struct ob_xfer xfer = {.ready = ready};
	uint8_t *memory;

	map_by_message(probe);
	assert_int_equal(ob_xfer_begin(probe->dev, &xfer, ranges, 3, OB_DMA_FROM_CLIENT),
	                 -EINPROGRESS);
	ob_xfer_abort(&xfer);
	assert_null(remote.op);
	assert_int_equal(ready_count, 0);
	ob_xfer_abort(&xfer);
	unmap(probe);

	memory = map_shared(probe);
	assert_int_equal(ob_xfer_begin(probe->dev, &xfer, ranges, 3, OB_DMA_TO_CLIENT), 0);
	ob_xfer_abort(&xfer);
	unmap(probe);
	munmap(memory, GUEST_SIZE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, probe_setup, probe_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_quiet_model_is_quiet_at_once),
		TEST(who_holds_is_known),
		TEST(holders_are_told_in_order_from_the_loop),
		TEST(a_wait_that_is_given_up_still_ends_and_resumes),
		TEST(a_transfer_in_shared_memory_copies_nothing),
		TEST(a_long_transfer_is_pinned_too),
		TEST(a_transfer_by_message_bounces),
		TEST(what_is_held_has_a_bound),
		TEST(an_aborted_transfer_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
