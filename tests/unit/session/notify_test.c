/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel refuses to signal an eventfd, for a moment or for good: whoever waits for the
 * interrupt hears of it all the same, and only then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gate.h"
#include "rig.h"
#include "session/notify.h"

static struct gate gate;
static bool has_gate;

static const int for_a_moment[] = {EAGAIN, ENOMEM}, for_good[] = {EPERM, ENOSYS, EINVAL};

static void refuse(int number, int code)
{
	atomic_store(&gate.number, number);
	atomic_store(&gate.refused, 0);
	atomic_store(&gate.refuse, code);
}

static int set_up(void **state)
{
	if (!has_gate)
		return 0;
	refuse(SYS_io_submit, 0);
	return rig_set_up(state);
}

static int tear_down(void **state)
{
	refuse(SYS_io_submit, 0);
	return has_gate ? rig_tear_down(state) : 0;
}

static unsigned taken(int fd)
{
	uint64_t value;

	return read(fd, &value, sizeof(value)) == sizeof(value) ? (unsigned)value : 0;
}

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static void accepted(struct notifier *notifier, int fd)
{
	assert_int_equal(notifier_accept(notifier, fd), 0);
	assert_int_equal(notifier->mode, NOTIFIER_AIO);
}

/* Where eventfds are written to anyway, there is nothing to refuse. */
static bool has_aio(void)
{
	struct notifier notifier = {0};
	int fd = eventfd(0, EFD_CLOEXEC);
	bool has = fd >= 0 && !notifier_accept(&notifier, fd) && notifier.mode == NOTIFIER_AIO;

	notifier_end(&notifier);
	close(fd);
	return has;
}

static void refused_for_a_moment(void **state)
{
	struct notifier notifier = {0};
	int fd = new_eventfd();

	if (!has_gate)
		skip();
	accepted(&notifier, fd);
	for (unsigned i = 0; i < ARRAY_SIZE(for_a_moment); i++) {
		refuse(SYS_io_submit, for_a_moment[i]);
		assert_int_equal(notifier_signal(&notifier, fd), -EAGAIN);
		assert_int_equal(atomic_load(&gate.refused), 1);
		assert_int_equal(taken(fd), 0);
		refuse(SYS_io_submit, 0);
		assert_int_equal(notifier_signal(&notifier, fd), 0);
		assert_int_equal(taken(fd), 1);
		assert_int_equal(notifier.mode, NOTIFIER_AIO);
	}
	notifier_end(&notifier);
	close(fd);
}

/* From then on written, which must not wait for a client that has its descriptor full. */
static void refused_for_good(void **state)
{
	const uint64_t full = UINT64_MAX - 1;

	if (!has_gate)
		skip();
	for (unsigned i = 0; i < ARRAY_SIZE(for_good); i++) {
		struct notifier notifier = {0};
		int fd = new_eventfd();

		accepted(&notifier, fd);
		refuse(SYS_io_submit, for_good[i]);
		assert_int_equal(notifier_signal(&notifier, fd), 0);
		assert_int_equal(notifier_signal(&notifier, fd), 0);
		assert_int_equal(taken(fd), 2);
		assert_int_equal(atomic_load(&gate.refused), 1);
		assert_int_equal(notifier.mode, NOTIFIER_WRITE);
		assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
		assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
		alarm(60);
		assert_int_equal(notifier_signal(&notifier, fd), 0);
		alarm(0);
		notifier_end(&notifier);
		refuse(SYS_io_submit, 0);
		close(fd);
	}
}

/* From the start, as where all contexts of the host are taken. */
static void refused_from_the_start(void **state)
{
	struct notifier notifier = {0};
	int fd = new_eventfd();

	if (!has_gate)
		skip();
	refuse(SYS_io_setup, EAGAIN);
	assert_int_equal(notifier_accept(&notifier, fd), 0);
	assert_int_equal(notifier.mode, NOTIFIER_WRITE);
	assert_int_equal(notifier_signal(&notifier, fd), 0);
	assert_int_equal(taken(fd), 1);
	notifier_end(&notifier);
	close(fd);
}

/* What is an eventfd is one also while the kernel can't be asked by a submission. */
static void accepted_while_refused(void **state)
{
	static const int codes[] = {EAGAIN, ENOMEM, EPERM, ENOSYS};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (!has_gate)
		skip();
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		struct notifier notifier = {0};
		int first = new_eventfd(), fd = new_eventfd();

		accepted(&notifier, first);
		refuse(SYS_io_submit, codes[i]);
		assert_int_equal(notifier_accept(&notifier, fd), 0);
		assert_int_equal(notifier_accept(&notifier, null), -EINVAL);
		assert_int_equal(taken(fd), 0);
		refuse(SYS_io_submit, 0);
		assert_int_equal(notifier_signal(&notifier, fd), 0);
		assert_int_equal(taken(fd), 1);
		notifier_end(&notifier);
		close(first);
		close(fd);
	}
	close(null);
}

static int wire(struct rig *rig, uint32_t index, uint32_t vector)
{
	const struct wire_irq_set set = {
		sizeof(set), WIRE_IRQ_DATA_EVENTFD | WIRE_IRQ_ACTION_TRIGGER, index, vector, 1};
	int ours = new_eventfd(), theirs = fcntl(ours, F_DUPFD_CLOEXEC, 0);

	assert_int_equal(rig_call_fds(rig, WIRE_SET_IRQS, &set, sizeof(set), &theirs, 1), 0);
	return ours;
}

/* One interrupt of each kind, that came up several times while it could not be signalled. */
static void a_device_s_interrupts_come_later(void **state)
{
	static const uint32_t kinds[] = {PCI_IRQ_INTX, PCI_IRQ_MSI, PCI_IRQ_MSIX};
	struct rig *rig = *state;

	if (!has_gate)
		skip();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds) * ARRAY_SIZE(for_a_moment); i++) {
		int fd = wire(rig, kinds[i % ARRAY_SIZE(kinds)], 0);

		refuse(SYS_io_submit, for_a_moment[i / ARRAY_SIZE(kinds)]);
		ob_irq_raise(rig->dev, 0);
		ob_irq_raise(rig->dev, 0);
		/* It is tried again, and not as often as can be. */
		while (atomic_load(&gate.refused) < 5)
			assert_int_equal(loop_turn(rig->loop, -1), 0);
		assert_int_equal(taken(fd), 0);
		refuse(SYS_io_submit, 0);
		while (!taken(fd))
			assert_int_equal(loop_turn(rig->loop, -1), 0);
		rig_turns(rig);
		assert_int_equal(taken(fd), 0);
		ob_irq_lower(rig->dev, 0);
		/* Nothing is left to be tried when its descriptor is gone, or with its session. */
		refuse(SYS_io_submit, EAGAIN);
		ob_irq_raise(rig->dev, 0);
		rig_restart(rig, "{}");
		refuse(SYS_io_submit, 0);
		device_reset(rig->dev);
		rig_turns(rig);
		assert_int_equal(taken(fd), 0);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refused_for_a_moment, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refused_for_good, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refused_from_the_start, set_up, tear_down),
		cmocka_unit_test_setup_teardown(accepted_while_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_device_s_interrupts_come_later, set_up,
	                                        tear_down),
	};
	int rc = has_aio() ? gate_raise(&gate, SYS_io_submit, SYS_io_setup) : -EOPNOTSUPP;

	has_gate = !rc;
	if (rc)
		fprintf(stderr, "# SKIPPED: no asynchronous I/O that can be refused: %s\n",
		        strerror(-rc));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
