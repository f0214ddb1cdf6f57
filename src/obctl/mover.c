/* SPDX-License-Identifier: BSD-3-Clause */
/* Moves; see mover.h. Steps are small, since the driver waits for them. */
#include "obctl/mover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/stream.h"
#include "obctl/command.h"

enum {
	PAGE = 4096,
	STEP_PAGES = 64,
	CHUNK = 1 << 20,
	MAX_PASSES = 30,
	MESSAGES_MAX = 10000, /* of the device, that are taken at once */
	FEW_PAGES = 256,      /* are copied while the device is stopped */
	LITTLE = 4 << 20,     /* bytes of device state that are read then */
	CONFIG_SIZE = 256,
	PCI_COMMAND = 0x04,
	PCI_BARS = 0x10,
	PCI_BARS_END = 0x28,
};

#define MEMORY_ADDRESS (UINT64_C(1) << 32)

static struct mover_side *source(struct mover *mover)
{
	return &mover->sides[mover->at];
}

static struct mover_side *destination(struct mover *mover)
{
	return &mover->sides[mover->at ^ 1];
}

static struct move *current(struct mover *mover)
{
	return &mover->moves[mover->count];
}

static size_t page_count(struct mover *mover)
{
	return source(mover)->memory->size / PAGE;
}

static size_t word_count(struct mover *mover)
{
	return (page_count(mover) + 63) / 64;
}

static unsigned random_below(struct mover *mover, unsigned n)
{
	mover->random_state =
		mover->random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (unsigned)(mover->random_state >> 33) % n;
}

/* What a side's server did not do. */
static int side_error(const struct mover_side *side, int rc, const char *what, struct ob_error *err)
{
	return ob_error_set(err, rc, "%s: %s: %s", side->socket, what,
	                    ob_client_message(side->client));
}

static int set_state(struct mover_side *side, enum ob_client_state state, struct ob_error *err)
{
	int rc = ob_client_set_state(side->client, state);

	return rc ? side_error(side, rc, ob_client_state_name(state), err) : 0;
}

/* Begin and end */

static int init_side(struct mover_side *side, struct ob_error *err)
{
	int rc = ob_client_migration(side->client, &side->can);

	if (rc == -ENOTTY || rc == -ENOTSUP)
		return ob_error_set(err, rc, "%s: the device does not migrate", side->socket);
	return rc ? side_error(side, rc, "asking for migration", err) : 0;
}

static int make_memory(struct mover *mover, struct mover_side *side, size_t size,
                       struct ob_error *err)
{
	int rc = ob_client_memory_new(size, &side->memory);

	if (rc)
		return ob_error_set(err, rc, "no %zu bytes of memory", size);
	rc = mover->nvme ? nvme_share(mover->nvme, side->client, side->memory)
	                 : ob_client_map(side->client, MEMORY_ADDRESS, side->memory, 0,
	                                 side->memory->size, OB_CLIENT_READ | OB_CLIENT_WRITE);
	return rc ? side_error(side, rc, "mapping memory", err) : 0;
}

static int hook_at(struct load_hook *hook, struct load *load, enum load_point point,
                   struct ob_error *err);

int mover_init(struct mover *mover, size_t size, struct ob_error *err)
{
	struct mover_side *from = source(mover);
	int rc = 0;

	mover->hook.at = hook_at;
	mover->random_state = clock_now();
	if (mover->nvme)
		from->memory = mover->nvme->memory;
	else
		rc = make_memory(mover, from, size, err);
	if (!rc)
		rc = make_memory(mover, destination(mover), from->memory->size, err);
	if (rc)
		return rc;
	mover->todo = calloc(word_count(mover), sizeof(*mover->todo));
	mover->log = calloc(word_count(mover), sizeof(*mover->log));
	mover->moves = calloc(mover->rounds, sizeof(*mover->moves));
	mover->chunk = malloc(CHUNK);
	if (!mover->todo || !mover->log || !mover->moves || !mover->chunk)
		return ob_error_set(err, -ENOMEM, "out of memory");
	mover->chunk_size = CHUNK;
	for (unsigned i = 0; i < 2; i++) {
		uint32_t most = ob_client_caps(mover->sides[i].client)->max_data_xfer_size;

		if (mover->chunk_size > most)
			mover->chunk_size = most;
		rc = init_side(&mover->sides[i], err);
		if (rc)
			return rc;
	}
	mover->rest_until = clock_now() + mover->interval;
	return 0;
}

void mover_free(struct mover *mover)
{
	for (unsigned i = 0; i < 2; i++) {
		if (!mover->nvme || mover->sides[i].memory != mover->nvme->memory)
			ob_client_memory_free(mover->sides[i].memory);
	}
	free(mover->todo);
	free(mover->log);
	free(mover->moves);
	free(mover->chunk);
}

static int begin(struct mover *mover, struct ob_error *err)
{
	struct mover_side *from = source(mover), *to = destination(mover);
	const struct ob_client_range range = {MEMORY_ADDRESS, from->memory->size};
	uint64_t page_size = PAGE;
	int rc;

	*current(mover) = (struct move){0};
	mover->began = clock_now();
	rc = set_state(to, OB_CLIENT_STATE_RESUMING, err);
	if (rc)
		return rc;
	/* Before anything is copied: what is written from now on is in a log. */
	rc = ob_client_dirty_start(from->client, &page_size, &range, 1);
	if (rc)
		return side_error(from, rc, "DMA logging", err);
	if (mover->nvme)
		mover->nvme->log = mover->log;
	if (from->can.pre_copy) {
		rc = set_state(from, OB_CLIENT_STATE_PRE_COPY, err);
		if (rc)
			return rc;
	}
	memset(mover->log, 0, word_count(mover) * sizeof(*mover->log));
	for (size_t page = 0; page < page_count(mover); page++)
		mover->todo[page / 64] |= UINT64_C(1) << page % 64;
	mover->next = 0;
	mover->pass_state = 0;
	mover->dry = !from->can.pre_copy;
	mover->phase = MOVER_COPIES;
	return 0;
}

/* Memory */

/* Up to max pages of those that are to be copied. Returns how many. */
static size_t copy_pages(struct mover *mover, size_t max)
{
	const uint8_t *from = source(mover)->memory->data;
	uint8_t *to = destination(mover)->memory->data;
	size_t pages = page_count(mover), count = 0;

	while (count < max && mover->next < pages) {
		size_t page = mover->next;
		uint64_t *word = &mover->todo[page / 64];
		uint64_t rest = *word >> page % 64;

		if (!rest) {
			mover->next = (page / 64 + 1) * 64;
			continue;
		}
		page += (size_t)__builtin_ctzll(rest);
		*word &= ~(UINT64_C(1) << page % 64);
		memcpy(to + page * PAGE, from + page * PAGE, PAGE);
		mover->next = page + 1;
		count++;
	}
	current(mover)->memory += count * PAGE;
	return count;
}

/* Adds what both logs name to what is to be copied. */
static int collect(struct mover *mover, size_t *dirty, struct ob_error *err)
{
	struct mover_side *from = source(mover);
	const struct ob_client_range range = {MEMORY_ADDRESS, from->memory->size};
	int rc = ob_client_dirty_report(from->client, range, PAGE, mover->todo);

	if (rc)
		return side_error(from, rc, "the dirty log", err);
	*dirty = 0;
	for (size_t i = 0; i < word_count(mover); i++) {
		mover->todo[i] |= mover->log[i];
		mover->log[i] = 0;
		*dirty += (size_t)__builtin_popcountll(mover->todo[i]);
	}
	mover->next = 0;
	return 0;
}

static int compare(struct mover *mover, struct ob_error *err)
{
	const uint8_t *from = source(mover)->memory->data, *to = destination(mover)->memory->data;
	uint64_t began = clock_now();

	for (size_t page = 0; mover->compare && page < page_count(mover); page++) {
		if (!memcmp(from + page * PAGE, to + page * PAGE, PAGE))
			continue;
		return ob_error_set(err, -EIO, "page 0x%" PRIx64 " differs: not in any dirty log",
		                    MEMORY_ADDRESS + page * PAGE);
	}
	mover->compared = clock_now() - began;
	return 0;
}

/* State */

/* One message's. */
static int copy_state(struct mover *mover, struct ob_error *err)
{
	struct mover_side *from = source(mover), *to = destination(mover);
	uint32_t got;
	int rc = ob_client_mig_read(from->client, mover->chunk, mover->chunk_size, &got);

	if (rc)
		return side_error(from, rc, "reading its state", err);
	mover->dry = got < mover->chunk_size;
	mover->pass_state += got;
	current(mover)->state += got;
	rc = got ? ob_client_mig_write(to->client, mover->chunk, got) : 0;
	return rc ? side_error(to, rc, "taking the state", err) : 0;
}

static bool settable(size_t at)
{
	return at == PCI_COMMAND || at == PCI_COMMAND + 1 || (at >= PCI_BARS && at < PCI_BARS_END);
}

/*
 * A VMM keeps a copy of what the guest set in configuration space, and sets it again. Everything
 * else there has to have come with the state.
 */
static int compare_config(struct mover *mover, struct ob_error *err)
{
	struct mover_side *from = source(mover), *to = destination(mover);
	uint8_t here[CONFIG_SIZE], there[CONFIG_SIZE];
	int rc = ob_client_read(from->client, OB_REGION_CONFIG, 0, here, sizeof(here));

	if (rc)
		return side_error(from, rc, "reading configuration space", err);
	rc = ob_client_read(to->client, OB_REGION_CONFIG, 0, there, sizeof(there));
	for (size_t at = 0; at < CONFIG_SIZE && !rc; at++) {
		if (here[at] == there[at])
			continue;
		if (!settable(at))
			return ob_error_set(err, -EIO,
			                    "%s: byte 0x%02zx of configuration space is 0x%02x "
			                    "instead of 0x%02x",
			                    to->socket, at, there[at], here[at]);
		rc = ob_client_write(to->client, OB_REGION_CONFIG, at & ~(size_t)1,
		                     here + (at & ~(size_t)1), 2);
		at |= 1;
	}
	return rc ? side_error(to, rc, "configuration space", err) : 0;
}

/* The switch */

static unsigned completions_waiting(const struct nvme *nvme)
{
	unsigned count = 0;

	for (unsigned i = 0; i < nvme->config.queues; i++)
		count += nvme_waiting(&nvme->queues[i]);
	return count;
}

static int drain(struct mover *mover, struct ob_error *err)
{
	struct move *move = current(mover);
	uint64_t before = move->state;
	size_t dirty = 0;
	int rc = collect(mover, &dirty, err);

	if (rc)
		return rc;
	move->pages = copy_pages(mover, SIZE_MAX);
	do {
		rc = copy_state(mover, err);
	} while (!rc && !mover->dry);
	move->late = move->state - before;
	return rc;
}

static int hand_over(struct mover *mover, struct ob_error *err)
{
	struct mover_side *to = destination(mover);
	int rc = set_state(to, OB_CLIENT_STATE_STOP, err);

	if (!rc)
		rc = compare_config(mover, err);
	if (!rc && mover->nvme)
		rc = nvme_move(mover->nvme, to->client, to->memory, err);
	if (!rc)
		rc = compare(mover, err);
	return rc ? rc : set_state(to, OB_CLIENT_STATE_RUNNING, err);
}

/* The source is as it was before; what it cannot do any more shows at the next use. */
static int stay(struct mover *mover, const struct ob_error *why, struct ob_error *err)
{
	struct mover_side *from = source(mover);
	enum ob_client_state now;
	int rc = ob_client_state(from->client, &now);

	if (rc)
		return ob_error_set(err, rc, "%s", why->message);
	mover->failure = *why;
	mover->phase = MOVER_RESTS;
	if (mover->nvme)
		mover->nvme->log = NULL;
	if (mover->nvme && mover->nvme->client != from->client)
		rc = nvme_move(mover->nvme, from->client, from->memory, err);
	if (!rc && now != OB_CLIENT_STATE_RUNNING)
		rc = set_state(from, OB_CLIENT_STATE_RUNNING, err);
	if (!rc)
		ob_client_dirty_stop(from->client);
	return rc ? ob_error_prefix(err, rc, "%s, and the source does not go on", why->message) : 0;
}

static void moved(struct mover *mover)
{
	struct mover_side *from = source(mover);
	struct move *move = current(mover);

	move->total = clock_now() - mover->began;
	if (mover->nvme)
		mover->nvme->log = NULL;
	mover->at ^= 1;
	mover->count++;
	mover->phase = MOVER_RESTS;
	mover->rest_until = clock_now() + mover->interval;
	/* The device is elsewhere: what the source answers now does not matter any more. */
	if (!ob_client_set_state(from->client, OB_CLIENT_STATE_STOP))
		ob_client_dirty_stop(from->client);
}

/* What the device wrote by message before it stopped is here already, on the twin perhaps. */
static int take_messages(struct mover_side *side, struct ob_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < MESSAGES_MAX && !rc; i++)
		rc = ob_client_wait(side->client, 0);
	if (rc && rc != -ETIMEDOUT)
		return ob_error_set(err, rc, "%s: %s", side->socket, strerror(-rc));
	return 0;
}

static int switch_over(struct mover *mover, struct ob_error *err)
{
	uint64_t began = clock_now();
	int rc = set_state(source(mover), OB_CLIENT_STATE_STOP_COPY, err);

	mover->compared = 0;
	if (!rc)
		rc = take_messages(source(mover), err);
	if (!rc)
		rc = drain(mover, err);
	if (!rc)
		rc = hand_over(mover, err);
	if (rc)
		return rc;
	current(mover)->pause = clock_now() - began - mover->compared;
	return 0;
}

/* Steps */

static void say(struct mover *mover, size_t dirty)
{
	if (mover->progress)
		fprintf(stderr,
		        "\r\033[Kmove %u of %u: pass %" PRIu64 ", %zu pages dirty, %" PRIu64
		        " KiB of state ",
		        mover->count + 1, mover->rounds, current(mover)->passes, dirty,
		        current(mover)->state >> 10);
}

static int end_pass(struct mover *mover, struct ob_error *err)
{
	size_t dirty = 0;
	bool much = mover->pass_state > LITTLE;
	int rc = collect(mover, &dirty, err);

	if (rc)
		return rc;
	say(mover, dirty);
	mover->dry = !source(mover)->can.pre_copy;
	mover->pass_state = 0;
	if (++current(mover)->passes < MAX_PASSES && (dirty > FEW_PAGES || much))
		return 0;
	mover->phase = MOVER_STOPS;
	mover->stop_at = (enum load_point)random_below(mover, LOAD_POINTS);
	return 0;
}

static int copy_step(struct mover *mover, struct ob_error *err)
{
	if (copy_pages(mover, STEP_PAGES))
		return 0;
	return mover->dry ? end_pass(mover, err) : copy_state(mover, err);
}

static int step(struct mover *mover, struct ob_error *err)
{
	struct ob_error why = {0};
	int rc;

	if (mover->phase == MOVER_RESTS)
		rc = begin(mover, &why);
	else if (mover->phase == MOVER_COPIES)
		rc = copy_step(mover, &why);
	else
		rc = switch_over(mover, &why);
	return rc ? stay(mover, &why, err) : 0;
}

int mover_move(struct mover *mover, struct ob_error *err)
{
	unsigned before = mover->count;
	int rc;

	do {
		bool last = mover->phase == MOVER_STOPS;

		rc = step(mover, err);
		if (!rc && last && !mover->failure.message[0])
			moved(mover);
	} while (!rc && mover->count == before && !mover->failure.message[0]);
	return rc;
}

/* In a load */

static void first_completion(struct mover *mover, const struct load *load)
{
	if (load->completed <= mover->mark)
		return;
	mover->waiting = false;
	mover->moves[mover->count - 1].downtime =
		clock_now() - mover->last_completion - mover->compared;
}

static int stop_and_go(struct mover *mover, struct load *load, struct ob_error *err)
{
	int rc;

	mover->last_completion = load->last_completion;
	rc = step(mover, err);
	load->now = clock_now();
	if (rc || mover->failure.message[0])
		return rc;
	/* What the source completed is no sign of the destination. */
	mover->mark = load->completed + completions_waiting(mover->nvme);
	mover->waiting = true;
	moved(mover);
	return 0;
}

static int hook_at(struct load_hook *hook, struct load *load, enum load_point point,
                   struct ob_error *err)
{
	struct mover *mover = (struct mover *)hook;
	bool over = mover->failure.message[0] || mover->count == mover->rounds;

	if (mover->waiting) {
		if (point == LOAD_REAPED)
			first_completion(mover, load);
		return 0;
	}
	if (mover->phase == MOVER_STOPS)
		return point == mover->stop_at ? stop_and_go(mover, load, err) : 0;
	if (point != LOAD_TURN)
		return 0;
	if (mover->phase == MOVER_RESTS && load->now < mover->rest_until)
		return 0;
	if (over) {
		load->ending = true;
		return 0;
	}
	return step(mover, err);
}
