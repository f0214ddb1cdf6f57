/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme under a driver that does as it should, in any order: it rings in each way that there is,
 * looks at its completion queues or waits for interrupts, keeps small queues full, while the drive
 * is fast, slow or stuck for a while, and the device is made quiet now and then. Whatever the
 * device makes of that (looks or sleeps, holds an interrupt back, finds no room), each command is
 * completed.
 */
#include "base/list.h"
#include "nvme_kit.h"

enum {
	FLUSH = 0x00,
	VERIFY = 0x0c,
	QUEUES = 2,
	ENTRIES = 8,
	STEPS = 4000,
	STEPS_BETWEEN_WAITS = 100,
	LONGEST_MS = 3000,
};

enum way { BY_MESSAGE, BY_PAGE, BY_SHADOW, BY_SHADOW_AND_PAGE, WAYS };

static const char *const way_names[] = {"messages", "the page", "shadows", "shadows and the page"};
static const char *const polling[] = {"poll=adaptive", "poll=adaptive,poll-max-us=1", "poll=off",
                                      "poll=on"};

struct driver {
	struct nk *nk;
	enum way way;
	bool waits; /* for interrupts */
	bool slow, pauses;
	struct nq q[QUEUES];
	unsigned under_way[QUEUES], signals[QUEUES];
	uint32_t *page, *shadow, *events;
};

static void begin(struct driver *d, void **state, enum way way, const char *options, bool waits)
{
	struct nk *nk = *state;
	enum kit_mode mode = nk->kit->mode;
	bool page = way == BY_PAGE || way == BY_SHADOW_AND_PAGE;
	char all[128];

	nk_free(nk);
	*state = nk = nk_new(mode);
	snprintf(all, sizeof(all), "drive=d0,idle-poll-us=100,mmap-doorbells=%s,%s",
	         page ? "on" : "off", options);
	nk_start(nk, all);
	kit_use_msix(nk->kit, 16);
	nk_enable(nk);
	*d = (struct driver){.nk = nk, .way = way, .waits = waits};
	if (page)
		d->page = ob_dev_memory(nk->kit->dev, 0, 0x1000);
	if (way >= BY_SHADOW) {
		nk_start_shadow(nk);
		d->shadow = kit_at(nk->kit, nk->shadow);
		d->events = kit_at(nk->kit, nk->events);
	}
	for (unsigned i = 0; i < QUEUES; i++) {
		nk_queue(nk, &d->q[i], i + 1, ENTRIES);
		assert_int_equal(nk_create_cq(nk, &d->q[i], (int)i + 1), 0);
		assert_int_equal(nk_create_sq(nk, &d->q[i], i + 1), 0);
	}
}

static void ring(const struct driver *d, const struct nq *q, bool completion)
{
	unsigned place = q->id * 2 + completion;
	uint16_t value = (uint16_t)(completion ? q->head : q->tail);

	if (d->shadow) {
		uint16_t old = (uint16_t)d->shadow[place];

		d->shadow[place] = value;
		if ((uint16_t)(value - (uint16_t)d->events[place] - 1) >= (uint16_t)(value - old))
			return;
	}
	if (d->page)
		d->page[place] = value;
	else
		nk_doorbell(d->nk, q->id, completion, value);
}

static struct sqe some_command(struct driver *d)
{
	/* In a few pieces, or in very many, with turns between them. */
	if (kit_random(d->nk->kit, 10) == 0)
		return nk_rw(VERIFY, 1, 0, 2048);
	if (kit_random(d->nk->kit, 500) == 0)
		return nk_rw(VERIFY, 1, 0, 65536);
	return nk_sqe(FLUSH, 1);
}

static void send_some(struct driver *d, unsigned i)
{
	unsigned room = ENTRIES - 1 - d->under_way[i];

	if (!room)
		return;
	for (unsigned count = 1 + kit_random(d->nk->kit, room); count; count--) {
		nk_put(d->nk, &d->q[i], some_command(d));
		d->under_way[i]++;
		if (kit_random(d->nk->kit, 2))
			ring(d, &d->q[i], false);
	}
	ring(d, &d->q[i], false);
}

/* Takes completions of a queue; one that waits does so only when it was interrupted. */
static void take_some(struct driver *d, unsigned i, unsigned most)
{
	unsigned signals = kit_signals(d->nk->kit, PCI_IRQ_MSIX, i + 1);
	struct cqe cqe;

	if (d->waits && signals == d->signals[i])
		return;
	for (; most && nk_take(d->nk, &d->q[i], &cqe, false); most--) {
		assert_int_equal(cqe.status, 0);
		assert_int_not_equal(d->under_way[i]--, 0);
		ring(d, &d->q[i], true);
	}
	/* As a driver's interrupt handler, it does not go before there is nothing left. */
	if (!nk_has(d->nk, &d->q[i]))
		d->signals[i] = signals;
}

static void let_drive_go(struct driver *d)
{
	d->nk->drive->later = false;
	kit_drive_release(d->nk->kit, d->nk->drive);
}

static void wait_for_all(struct driver *d)
{
	unsigned ms;

	let_drive_go(d);
	for (ms = 0; d->under_way[0] + d->under_way[1] && ms < LONGEST_MS; ms++) {
		for (unsigned i = 0; i < QUEUES; i++)
			take_some(d, i, ENTRIES);
		if (d->under_way[0] + d->under_way[1])
			kit_wait(d->nk->kit, 1);
	}
	if (ms == LONGEST_MS)
		fail_msg("by %s, %s: %u and %u commands are not completed", way_names[d->way],
		         d->waits ? "with interrupts" : "looking", d->under_way[0],
		         d->under_way[1]);
}

static void step(struct driver *d)
{
	struct kit *kit = d->nk->kit;
	unsigned i = kit_random(kit, QUEUES);

	switch (kit_random(kit, 12)) {
	case 0 ... 3:
		send_some(d, i);
		break;
	case 4 ... 6:
		for (unsigned turns = kit_random(kit, 6); turns; turns--)
			kit_turn(kit);
		break;
	case 7 ... 9:
		take_some(d, i, 1 + kit_random(kit, ENTRIES));
		break;
	case 10:
		if (!d->slow)
			break;
		d->nk->drive->later = kit_random(kit, 2);
		d->nk->drive->hold = kit_random(kit, 2);
		if (!d->nk->drive->hold)
			kit_drive_release(kit, d->nk->drive);
		break;
	default:
		/* Nothing, for longer than it looks for more. */
		if (d->pauses)
			kit_wait(kit, 1);
	}
}

/* What is learnt is of use for a while, and wrong afterwards. */
static void another_phase(struct driver *d)
{
	d->slow = kit_random(d->nk->kit, 2);
	d->pauses = kit_random(d->nk->kit, 5) == 0;
	if (kit_random(d->nk->kit, 10) == 0) {
		assert_true(kit_quiesce(d->nk->kit));
		kit_resume(d->nk->kit);
	}
}

static void every_command_is_completed(void **state)
{
	for (unsigned kind = 0; kind < WAYS * ARRAY_SIZE(polling) * 2; kind++) {
		struct driver d;

		begin(&d, state, kind % WAYS, polling[kind / WAYS % ARRAY_SIZE(polling)],
		      kind / WAYS / ARRAY_SIZE(polling));
		for (unsigned i = 1; i <= STEPS; i++) {
			step(&d);
			if (i % STEPS_BETWEEN_WAITS)
				continue;
			wait_for_all(&d);
			another_phase(&d);
		}
	}
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(every_command_is_completed),
	};

	return KIT_RUN("nvme_live", tests, nk_setup, nk_free);
}
