/* SPDX-License-Identifier: BSD-3-Clause */
/* GET_IRQ_INFO, SET_IRQS, interrupts on eventfds, and eventfds that would block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "rig.h"
#include "session/notify.h"

enum { SKIPPED = 77 }; /* exit status of a child that can't do its test here */

enum {
	NONE = WIRE_IRQ_DATA_NONE,
	BOOL = WIRE_IRQ_DATA_BOOL,
	EVENTFD = WIRE_IRQ_DATA_EVENTFD,
	MASK = WIRE_IRQ_ACTION_MASK,
	UNMASK = WIRE_IRQ_ACTION_UNMASK,
	TRIGGER = WIRE_IRQ_ACTION_TRIGGER,
};

static int set_irqs(struct rig *rig, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
                    int *fds, unsigned fd_count)
{
	const struct wire_irq_set set = {sizeof(set), flags, index, start, count};

	return rig_call_fds(rig, WIRE_SET_IRQS, &set, sizeof(set), fds, fd_count);
}

static int set_bools(struct rig *rig, uint32_t action, uint32_t index, uint32_t start,
                     uint32_t count, const char *bools)
{
	const struct wire_irq_set set = {(uint32_t)sizeof(set) + count, BOOL | action, index, start,
	                                 count};

	rig_send(rig, 77, WIRE_SET_IRQS, 0, &set, sizeof(set), bools, count, NULL, 0);
	return rig_reply(rig, WIRE_SET_IRQS);
}

/* An eventfd for the server and one for us: the same. */
struct event {
	int ours;
};

static struct event wire(struct rig *rig, uint32_t action, uint32_t index, uint32_t vector)
{
	struct event event = {eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	int theirs = fcntl(event.ours, F_DUPFD_CLOEXEC, 0);

	assert_int_equal(set_irqs(rig, EVENTFD | action, index, vector, 1, &theirs, 1), 0);
	assert_int_equal(theirs, -1);
	return event;
}

static unsigned count(struct event event)
{
	uint64_t value;

	return read(event.ours, &value, sizeof(value)) == sizeof(value) ? (unsigned)value : 0;
}

static void irq_info(void **state)
{
	static const struct wire_irq_info expected[5] = {
		{16, WIRE_IRQ_EVENTFD | WIRE_IRQ_MASKABLE | WIRE_IRQ_AUTOMASKED, 0, 1},
		{16, WIRE_IRQ_EVENTFD, 1, 4},
		{16, WIRE_IRQ_EVENTFD | WIRE_IRQ_MASKABLE, 2, 8},
		{16, WIRE_IRQ_EVENTFD, 3, 1},
		{16, WIRE_IRQ_EVENTFD, 4, 1},
	};
	struct rig *rig = *state;
	struct wire_irq_info info = {.argsz = 32};

	for (info.index = 0; info.index < 5; info.index++) {
		assert_int_equal(rig_call(rig, WIRE_GET_IRQ_INFO, &info, sizeof(info)), 0);
		assert_int_equal(rig->length, sizeof(info));
		assert_memory_equal(rig->data, &expected[info.index], sizeof(info));
	}
	assert_int_equal(rig_call(rig, WIRE_GET_IRQ_INFO, &info, sizeof(info)), EINVAL);
	info = (struct wire_irq_info){.argsz = 15};
	assert_int_equal(rig_call(rig, WIRE_GET_IRQ_INFO, &info, sizeof(info)), EINVAL);
}

static void msix_vectors_signal(void **state)
{
	struct rig *rig = *state;
	struct event a = wire(rig, TRIGGER, PCI_IRQ_MSIX, 0),
		     b = wire(rig, TRIGGER, PCI_IRQ_MSIX, 7);

	ob_irq_raise(rig->dev, 0);
	ob_irq_raise(rig->dev, 7);
	ob_irq_raise(rig->dev, 7);
	assert_int_equal(count(a), 1);
	assert_int_equal(count(b), 2);
	/* Not wired: pending, and sent when it is. */
	ob_irq_raise(rig->dev, 3);
	struct event c = wire(rig, TRIGGER, PCI_IRQ_MSIX, 3);

	assert_int_equal(count(c), 1);
	close(a.ours);
	close(b.ours);
	close(c.ours);
}

/* Signals are system calls: many of them are sent in several turns, each once. */
static void many_signals_in_several_turns(void **state)
{
	const struct wire_irq_set all = {sizeof(all) + 8, BOOL | TRIGGER, PCI_IRQ_MSIX, 0, 8};
	const uint8_t which[8] = {1, 1, 0, 1, 1, 1, 1, 1};
	struct rig *rig = *state;
	struct event events[8];

	for (unsigned i = 0; i < 8; i++)
		events[i] = wire(rig, TRIGGER, PCI_IRQ_MSIX, i);
	loop_set_share(rig->loop, 0);
	rig_send(rig, 77, WIRE_SET_IRQS, 0, &all, sizeof(all), which, sizeof(which), NULL, 0);
	assert_true(rig->paused);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(count(events[i]), i < 4 && which[i]);
	rig_turns(rig);
	assert_false(rig->paused);
	assert_int_equal(rig_reply(rig, WIRE_SET_IRQS), 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(count(events[i]), i >= 4);
		close(events[i].ours);
	}
}

static void several_in_one_call(void **state)
{
	struct rig *rig = *state;
	int fds[4], ours[4];

	for (int i = 0; i < 4; i++) {
		ours[i] = eventfd(0, EFD_NONBLOCK);
		fds[i] = dup(ours[i]);
	}
	assert_int_equal(set_irqs(rig, EVENTFD | TRIGGER, PCI_IRQ_MSIX, 2, 4, fds, 4), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(fds[i], -1);
		ob_irq_raise(rig->dev, 2 + i);
		assert_int_equal(count((struct event){ours[i]}), 1);
	}
	/* Fewer descriptors than vectors, or more; and none, which takes them away. */
	assert_int_equal(set_irqs(rig, EVENTFD | TRIGGER, PCI_IRQ_MSIX, 2, 4, ours, 3), EINVAL);
	assert_int_equal(set_irqs(rig, EVENTFD | TRIGGER, PCI_IRQ_MSIX, 2, 3, ours, 4), EINVAL);
	assert_int_equal(set_irqs(rig, EVENTFD | TRIGGER, PCI_IRQ_MSIX, 3, 2, NULL, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		ob_irq_raise(rig->dev, 2 + i);
		assert_int_equal(count((struct event){ours[i]}), i == 0 || i == 3);
		close(ours[i]);
	}
}

static void an_eventfd_can_be_replaced(void **state)
{
	struct rig *rig = *state;
	struct event a = wire(rig, TRIGGER, PCI_IRQ_MSIX, 1),
		     b = wire(rig, TRIGGER, PCI_IRQ_MSIX, 1);

	ob_irq_raise(rig->dev, 1);
	assert_int_equal(count(a), 0);
	assert_int_equal(count(b), 1);
	close(a.ours);
	close(b.ours);
}

static void disabling_takes_all_away(void **state)
{
	struct rig *rig = *state;
	struct event a = wire(rig, TRIGGER, PCI_IRQ_MSIX, 0),
		     b = wire(rig, TRIGGER, PCI_IRQ_MSI, 2);

	assert_int_equal(set_irqs(rig, NONE | TRIGGER, PCI_IRQ_MSIX, 0, 0, NULL, 0), 0);
	ob_irq_raise(rig->dev, 0);
	ob_irq_raise(rig->dev, 2);
	assert_int_equal(count(a), 0);
	assert_int_equal(count(b), 1);
	for (uint32_t index = 0; index < 5; index++)
		assert_int_equal(set_irqs(rig, NONE | TRIGGER, index, 0, 0, NULL, 0), 0);
	assert_int_equal(set_irqs(rig, NONE | TRIGGER, 5, 0, 0, NULL, 0), EINVAL);
	close(a.ours);
	close(b.ours);
}

static void intx_masks_itself(void **state)
{
	struct rig *rig = *state;
	struct event trigger = wire(rig, TRIGGER, PCI_IRQ_INTX, 0);
	struct event mask = wire(rig, MASK, PCI_IRQ_INTX, 0);
	struct event unmask = wire(rig, UNMASK, PCI_IRQ_INTX, 0);

	ob_irq_raise(rig->dev, 0);
	ob_irq_raise(rig->dev, 1);
	assert_int_equal(count(trigger), 1);
	assert_int_equal(count(mask), 1);
	/* Still asserted: signalled again after unmasking, but the handler gets a moment for it. */
	assert_int_equal(set_irqs(rig, NONE | UNMASK, PCI_IRQ_INTX, 0, 1, NULL, 0), 0);
	assert_int_equal(count(unmask), 1);
	assert_int_equal(count(trigger), 0);
	while (!count(trigger))
		loop_turn(rig->loop, -1);
	/* Asserted anew: signalled as soon as it is unmasked. */
	ob_irq_lower(rig->dev, 0);
	ob_irq_lower(rig->dev, 1);
	ob_irq_raise(rig->dev, 1);
	assert_int_equal(set_irqs(rig, NONE | UNMASK, PCI_IRQ_INTX, 0, 1, NULL, 0), 0);
	assert_int_equal(count(trigger), 1);
	/* Lowered after the unmasking, raised again: signalled at once as well. */
	assert_int_equal(set_irqs(rig, NONE | UNMASK, PCI_IRQ_INTX, 0, 1, NULL, 0), 0);
	ob_irq_lower(rig->dev, 1);
	ob_irq_raise(rig->dev, 1);
	assert_int_equal(count(trigger), 1);
	ob_irq_lower(rig->dev, 1);
	assert_int_equal(set_irqs(rig, NONE | UNMASK, PCI_IRQ_INTX, 0, 1, NULL, 0), 0);
	assert_int_equal(count(trigger), 0);
	assert_int_equal(set_irqs(rig, NONE | MASK, PCI_IRQ_INTX, 0, 1, NULL, 0), 0);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(count(trigger), 0);
	/* Disabled and set up again, it is not masked any more. */
	assert_int_equal(set_irqs(rig, NONE | TRIGGER, PCI_IRQ_INTX, 0, 0, NULL, 0), 0);
	close(trigger.ours);
	trigger = wire(rig, TRIGGER, PCI_IRQ_INTX, 0);
	assert_int_equal(count(trigger), 1);
	close(trigger.ours);
	close(mask.ours);
	close(unmask.ours);
}

static void masks_of_msix(void **state)
{
	struct rig *rig = *state;
	struct event a = wire(rig, TRIGGER, PCI_IRQ_MSIX, 0),
		     b = wire(rig, TRIGGER, PCI_IRQ_MSIX, 1);

	assert_int_equal(set_bools(rig, MASK, PCI_IRQ_MSIX, 0, 2, "\x00\x01"), 0);
	ob_irq_raise(rig->dev, 0);
	ob_irq_raise(rig->dev, 1);
	assert_int_equal(count(a), 1);
	assert_int_equal(count(b), 0);
	assert_int_equal(set_bools(rig, UNMASK, PCI_IRQ_MSIX, 0, 2, "\x01\x01"), 0);
	assert_int_equal(count(a), 0);
	assert_int_equal(count(b), 1);
	close(a.ours);
	close(b.ours);
}

static void the_client_triggers(void **state)
{
	struct rig *rig = *state;

	for (uint32_t index = 0; index < 5; index++) {
		struct event event = wire(rig, TRIGGER, index, 0);

		assert_int_equal(set_irqs(rig, NONE | TRIGGER, index, 0, 1, NULL, 0), 0);
		assert_int_equal(count(event), 1);
		assert_int_equal(set_irqs(rig, NONE | UNMASK, PCI_IRQ_INTX, 0, 1, NULL, 0), 0);
		assert_int_equal(set_bools(rig, TRIGGER, index, 0, 1, "\x00"), 0);
		assert_int_equal(count(event), 0);
		assert_int_equal(set_bools(rig, TRIGGER, index, 0, 1, "\x01"), 0);
		assert_int_equal(count(event), 1);
		close(event.ours);
	}
}

static void error_and_request(void **state)
{
	struct rig *rig = *state;
	struct event error = wire(rig, TRIGGER, PCI_IRQ_ERR, 0);
	struct event request = wire(rig, TRIGGER, PCI_IRQ_REQ, 0);

	pci_irq_notify(device_pci(rig->dev), PCI_IRQ_REQ);
	assert_int_equal(count(error), 0);
	assert_int_equal(count(request), 1);
	pci_irq_notify(device_pci(rig->dev), PCI_IRQ_ERR);
	assert_int_equal(count(error), 1);
	close(error.ours);
	close(request.ours);
}

static void ranges_are_checked(void **state)
{
	static const uint32_t counts[5] = {1, 4, 8, 1, 1};
	struct rig *rig = *state;

	for (uint32_t index = 0; index < 5; index++) {
		uint32_t n = counts[index];

		assert_int_equal(set_irqs(rig, NONE | TRIGGER, index, 0, n, NULL, 0), 0);
		assert_int_equal(set_irqs(rig, NONE | TRIGGER, index, 0, n + 1, NULL, 0), EINVAL);
		assert_int_equal(set_irqs(rig, NONE | TRIGGER, index, n, 1, NULL, 0), EINVAL);
		assert_int_equal(set_irqs(rig, NONE | TRIGGER, index, 1, UINT32_MAX, NULL, 0),
		                 EINVAL);
	}
	assert_int_equal(set_irqs(rig, NONE | TRIGGER, 5, 0, 1, NULL, 0), EINVAL);
	assert_int_equal(set_irqs(rig, NONE | MASK, PCI_IRQ_MSI, 0, 1, NULL, 0), EINVAL);
	assert_int_equal(set_irqs(rig, NONE | UNMASK, PCI_IRQ_ERR, 0, 1, NULL, 0), EINVAL);
}

/* Not an eventfd: refused, and the descriptors that came with it are not kept either. */
static void only_eventfds(void **state)
{
	struct rig *rig = *state;
	int pipe_ends[2], pair[2], fds[2];

	assert_int_equal(pipe(pipe_ends), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	int others[] = {pipe_ends[0], pipe_ends[1],        pair[0],
	                rig_memory(), open("/", O_RDONLY), open("/dev/null", O_RDWR)};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		fds[0] = eventfd(0, 0);
		fds[1] = others[i];
		assert_int_equal(set_irqs(rig, EVENTFD | TRIGGER, PCI_IRQ_MSIX, 0, 2, fds, 2),
		                 EINVAL);
		assert_int_equal(fds[1], others[i]);
		assert_int_not_equal(fds[0], -1);
		close(fds[0]);
		close(others[i]);
	}
	close(pair[1]);
}

/* A counter that is full, in blocking mode: write() would wait for ever. */
static void a_full_eventfd_does_not_block(void **state)
{
	struct rig *rig = *state;
	struct event event = wire(rig, TRIGGER, PCI_IRQ_MSIX, 0);
	const uint64_t full = UINT64_MAX - 1;

	alarm(10);
	assert_int_equal(write(event.ours, &full, sizeof(full)), sizeof(full));
	ob_irq_raise(rig->dev, 0);
	ob_irq_raise(rig->dev, 0);
	assert_int_not_equal(count(event), 0);
	alarm(0);
	close(event.ours);
}

static void both_ways_to_notify(void **state)
{
	static const enum notifier_mode modes[] = {NOTIFIER_UNSET, NOTIFIER_WRITE};

	for (int i = 0; i < 2; i++) {
		struct notifier notifier = {.mode = modes[i]};
		struct event event = {eventfd(0, EFD_CLOEXEC)};
		const uint64_t full = UINT64_MAX - 1;
		int null = open("/dev/null", O_RDWR);
		int open_before = rig_open_fds();

		assert_int_equal(notifier_accept(&notifier, null), -EINVAL);
		assert_int_equal(notifier_accept(&notifier, event.ours), 0);
		for (int n = 0; n < 1000; n++)
			notifier_signal(&notifier, event.ours);
		assert_int_equal(count(event), 1000);
		assert_int_equal(write(event.ours, &full, sizeof(full)), sizeof(full));
		if (notifier.mode == NOTIFIER_AIO)
			assert_int_equal(fcntl(event.ours, F_GETFL) & O_NONBLOCK, 0);
		alarm(10);
		notifier_signal(&notifier, event.ours);
		notifier_signal(&notifier, event.ours);
		alarm(0);
		notifier_end(&notifier);
		assert_int_equal(rig_open_fds(), open_before);
		close(null);
		close(event.ours);
	}
}

/* With neither asynchronous I/O nor /proc, as in some sandboxes. In a child: exit status 0, or
 * SKIPPED where no root can be left. */
static int accept_without_proc(void)
{
	struct notifier notifier = {.mode = NOTIFIER_WRITE};
	int event = eventfd(0, EFD_CLOEXEC), folder = open("/tmp", O_RDONLY);
	int others[] = {timerfd_create(CLOCK_MONOTONIC, 0),
	                epoll_create1(0),
	                memfd_create("m", 0),
	                open("/dev/null", O_RDWR),
	                socket(AF_UNIX, SOCK_STREAM, 0),
	                folder};
	char empty[] = "/tmp/outboard-root-XXXXXX";

	if (!mkdtemp(empty))
		return 1;
	if (chroot(empty) && (unshare(CLONE_NEWUSER) || chroot(empty))) {
		rmdir(empty);
		return SKIPPED;
	}
	if (unlinkat(folder, empty + strlen("/tmp/"), AT_REMOVEDIR) || !access("/proc", F_OK))
		return 2;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (others[i] < 0 || notifier_accept(&notifier, others[i]) != -EINVAL)
			return 10 + (int)i;
	}
	if (notifier_accept(&notifier, event))
		return 3;
	notifier_signal(&notifier, event);
	return count((struct event){event}) == 1 ? 0 : 4;
}

static void eventfds_are_known_without_proc(void **state)
{
	pid_t child = fork();
	int status = -1;

	if (!child)
		_exit(accept_without_proc());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
	(void)state;
}

static void reset_keeps_the_wiring(void **state)
{
	struct rig *rig = *state;
	struct event event = wire(rig, TRIGGER, PCI_IRQ_MSIX, 0);

	assert_int_equal(rig_call(rig, WIRE_RESET, NULL, 0), 0);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(count(event), 1);
	close(event.ours);
}

static void the_next_session_starts_unwired(void **state)
{
	struct rig *rig = *state;
	struct event event = wire(rig, TRIGGER, PCI_IRQ_MSIX, 0);

	rig_end(rig);
	rig_turns(rig);
	rig_new_session(rig);
	rig_negotiate(rig, "");
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(count(event), 0);
	close(event.ours);
}

#define test(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(irq_info),
		test(msix_vectors_signal),
		test(many_signals_in_several_turns),
		test(several_in_one_call),
		test(an_eventfd_can_be_replaced),
		test(disabling_takes_all_away),
		test(intx_masks_itself),
		test(masks_of_msix),
		test(the_client_triggers),
		test(error_and_request),
		test(ranges_are_checked),
		test(only_eventfds),
		test(a_full_eventfd_does_not_block),
		cmocka_unit_test(both_ways_to_notify),
		cmocka_unit_test(eventfds_are_known_without_proc),
		test(reset_keeps_the_wiring),
		test(the_next_session_starts_unwired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
