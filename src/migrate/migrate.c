/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The states of a migration and the ways between them, as vfio-user has them ("Direct State
 * Transitions" and "Complex State Transitions"; linux/vfio.h, enum vfio_device_mig_state).
 *
 * A way is one or more arcs, and an arc a function that is called again whenever something that it
 * waits for (the device to be quiet, a drive to be flushed) has come, until it says that it is done
 * or cannot be. An arc that cannot be leaves the device in a state in which it is sound.
 *
 * Drives are given up on the way to STOP_COPY, from which on the other side may take them, and
 * taken back on the way to RUNNING.
 */
#include "migrate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "internal.h"

enum {
	LOG_LINES_PER_SECOND = 5,
	CLEAR_AT_ONCE = 512 << 10, /* bytes of drives, between two looks at the clock */
};

struct migration {
	struct ob_dev *dev;
	struct log log;
	struct ob_error why;
	enum migrate_state state, target;
	struct migrate_waiter *waiter; /* of whoever asked for target; NULL: nobody waits */

	bool held, quiet; /* we keep the device quiet; it is */
	struct device_hold hold;
	struct ob_block_request flush;
	unsigned drive;   /* the next to be flushed, or cleared */
	uint64_t cleared; /* of that, bytes */
	struct ob_task step;
	int flush_error; /* what the last flush ended with */
	bool flushing;
	struct block_handover handover; /* of a drive that is being given up, or taken */
	bool handing;
	int take_error; /* why drives can't be taken: those that were are given up again */

	/* Runs only when it is told to; see migrate_hold(). */
	bool waits;
	struct saver *saver;
	struct loader *loader;
};

/* States and ways */

const char *migrate_state_name(unsigned state)
{
	static const char *const names[MIGRATE_STATES] = {
		[MIGRATE_ERROR] = "ERROR",       [MIGRATE_STOP] = "STOP",
		[MIGRATE_RUNNING] = "RUNNING",   [MIGRATE_STOP_COPY] = "STOP_COPY",
		[MIGRATE_RESUMING] = "RESUMING", [MIGRATE_PRE_COPY] = "PRE_COPY",
	};

	return state < MIGRATE_STATES && names[state] ? names[state] : "?";
}

int migrate_next(unsigned from, unsigned to)
{
	/* From a state (row) to another one, the first stop on the way; 0: there is none. */
	static const uint8_t ways[MIGRATE_STATES][MIGRATE_STATES] = {
#define TO(to, next) [MIGRATE_##to] = MIGRATE_##next
		[MIGRATE_STOP] = {TO(STOP, STOP), TO(RUNNING, RUNNING), TO(STOP_COPY, STOP_COPY),
	                          TO(RESUMING, RESUMING), TO(PRE_COPY, RUNNING)},
		[MIGRATE_RUNNING] = {TO(STOP, STOP), TO(RUNNING, RUNNING), TO(STOP_COPY, STOP),
	                             TO(RESUMING, STOP), TO(PRE_COPY, PRE_COPY)},
		[MIGRATE_STOP_COPY] = {TO(STOP, STOP), TO(RUNNING, STOP), TO(STOP_COPY, STOP_COPY),
	                               TO(RESUMING, STOP)},
		[MIGRATE_RESUMING] = {TO(STOP, STOP), TO(RUNNING, STOP), TO(STOP_COPY, STOP),
	                              TO(RESUMING, RESUMING), TO(PRE_COPY, STOP)},
		[MIGRATE_PRE_COPY] = {TO(STOP, RUNNING), TO(RUNNING, RUNNING),
	                              TO(STOP_COPY, STOP_COPY), TO(RESUMING, RUNNING),
	                              TO(PRE_COPY, PRE_COPY)},
#undef TO
	};
	unsigned next = from < MIGRATE_STATES && to < MIGRATE_STATES ? ways[from][to] : 0;

	return next ? (int)next : -EINVAL;
}

/* What arcs do */

static void go_on(struct migration *m);

static void became_quiet(struct device_hold *hold)
{
	struct migration *m = container_of(hold, struct migration, hold);

	if (m->waiter)
		go_on(m);
}

static bool is_quiet(const struct migration *m)
{
	return m->hold.held && !m->hold.waiting;
}

static int make_quiet(struct migration *m)
{
	if (!m->hold.held)
		(void)device_hold(m->dev, &m->hold, DEVICE_HOLD_MIGRATION);
	return is_quiet(m) ? 0 : -EINPROGRESS;
}

static void release(struct migration *m)
{
	device_release(m->dev, &m->hold);
}

static void drop_streams(struct migration *m)
{
	saver_free(m->saver);
	loader_free(m->loader);
	m->saver = NULL;
	m->loader = NULL;
}

/* What is under way frees it when it ends. */
static void free_unless_busy(struct migration *m)
{
	if (m->flushing || m->handing)
		return;
	log_end(&m->log);
	free(m);
}

static void flushed(struct ob_block_request *request, int status)
{
	struct migration *m = container_of(request, struct migration, flush);

	m->flushing = false;
	m->flush_error = status;
	if (!m->dev)
		free_unless_busy(m);
	else if (m->waiter)
		go_on(m);
}

/* A resizing may have begun while another drive was flushed. */
static int refuse_resizing(struct migration *m)
{
	const struct ob_block *block;

	for (unsigned i = 0; (block = device_drive(m->dev, i)); i++) {
		if (block->resizing)
			return ob_error_set(&m->why, -EBUSY, "drive '%s' is being resized",
			                    ob_block_name(block));
	}
	return 0;
}

/* One after the other; what is inactive was flushed then. */
static int flush_drives(struct migration *m)
{
	struct ob_block *block;

	if (m->flushing)
		return -EINPROGRESS;
	while (!m->flush_error && (block = device_drive(m->dev, m->drive))) {
		int rc;

		m->drive++;
		if (!block_is_active(block))
			continue;
		m->flush = (struct ob_block_request){.op = OB_BLOCK_FLUSH, .done = flushed};
		/* By a helper thread, which may still be at it when the other side begins. */
		rc = block->resizing ? -EBUSY : ob_block_submit(block, &m->flush);
		m->flushing = rc == -EINPROGRESS;
		if (m->flushing)
			return rc;
		m->flush_error = rc;
	}
	if (!m->flush_error)
		return refuse_resizing(m);
	return ob_error_set(&m->why, m->flush_error, "drive '%s' cannot be flushed: %s",
	                    ob_block_name(device_drive(m->dev, m->drive ? m->drive - 1 : 0)),
	                    strerror(-m->flush_error));
}

static void handed(struct block_handover *handover)
{
	struct migration *m = container_of(handover, struct migration, handover);

	m->handing = false;
	if (handover->status) {
		m->take_error = handover->status;
		m->why = handover->why;
	}
	if (!m->dev)
		free_unless_busy(m);
	else if (m->waiter || !m->waits || m->take_error)
		go_on(m);
}

/* One after the other, as the storage answers. 0 or -EINPROGRESS. */
static int give_up_drives(struct migration *m)
{
	struct ob_block *block;

	m->handover.done = handed;
	for (unsigned i = 0; (block = device_drive(m->dev, i)); i++) {
		m->handing = block_start_inactivate(block, &m->handover) == -EINPROGRESS;
		if (m->handing)
			return -EINPROGRESS;
	}
	return 0;
}

/* All of them, or none. */
static int take_drives(struct migration *m)
{
	struct ob_block *block;
	int rc;

	m->handover.done = handed;
	for (unsigned i = 0; !m->take_error && (block = device_drive(m->dev, i)); i++) {
		m->take_error = block_start_activate(block, &m->handover);
		m->handing = m->take_error == -EINPROGRESS;
		if (m->handing) {
			m->take_error = 0;
			return -EINPROGRESS;
		}
		if (m->take_error)
			m->why = m->handover.why;
	}
	rc = m->take_error ? give_up_drives(m) : 0;
	if (rc)
		return rc;
	rc = m->take_error;
	m->take_error = 0;
	return rc;
}

static int out_of_memory(struct migration *m)
{
	return ob_error_set(&m->why, -ENOMEM, "out of memory");
}

/* The arcs. Where one fails, the device stays where it was, or is where it says. */

static int run(struct migration *m)
{
	int rc = take_drives(m);

	if (rc)
		return rc;
	m->waits = false;
	if (!device_has_client(m->dev) && is_quiet(m)) {
		device_client_left(m->dev);
		release(m);
		return 0;
	}
	release(m);
	device_client_uses(m->dev);
	return 0;
}

static int begin_pre_copy(struct migration *m)
{
	int rc = refuse_resizing(m);

	if (rc)
		return rc;
	m->saver = saver_new(m->dev);
	return m->saver ? 0 : out_of_memory(m);
}

static int end_saving(struct migration *m)
{
	drop_streams(m);
	return 0;
}

static int begin_stop_copy(struct migration *m)
{
	int rc = flush_drives(m);

	if (rc)
		return rc;
	if (!m->saver)
		m->saver = saver_new(m->dev);
	if (!m->saver)
		return out_of_memory(m);
	saver_stop(m->saver);
	return give_up_drives(m);
}

static int stop_and_copy(struct migration *m)
{
	int rc = make_quiet(m);

	if (!rc)
		rc = begin_stop_copy(m);
	if (rc && rc != -EINPROGRESS) {
		drop_streams(m);
		m->state = MIGRATE_STOP;
	}
	return rc;
}

static void next_step(struct ob_task *task)
{
	go_on(container_of(task, struct migration, step));
}

/* To give back the memory of a large disk takes time: some in each turn. */
static int clear_drives(struct migration *m)
{
	struct ob_loop *loop = ob_dev_loop(m->dev);
	struct ob_block *block;

	for (; (block = device_drive(m->dev, m->drive)); m->drive++, m->cleared = 0) {
		const struct block_migration *drive = block_migration(block);
		uint64_t size = drive ? ob_block_info(block)->size : 0;

		while (m->cleared < size) {
			uint64_t left = size - m->cleared;
			uint64_t piece = left < CLEAR_AT_ONCE ? left : CLEAR_AT_ONCE;

			drive->clear(block_storage(block), m->cleared, piece);
			m->cleared += piece;
			if (!ob_loop_spent(loop))
				continue;
			ob_task_schedule(loop, &m->step);
			return -EINPROGRESS;
		}
	}
	return 0;
}

static int begin_resuming(struct migration *m)
{
	if (!m->loader) {
		device_reset(m->dev);
		m->loader = loader_new(m->dev);
		m->drive = 0;
		m->cleared = 0;
	}
	return m->loader ? clear_drives(m) : out_of_memory(m);
}

static int end_resuming(struct migration *m)
{
	int rc = loader_finish(m->loader, &m->why);

	drop_streams(m);
	if (!rc) {
		m->waits = false;
		return 0;
	}
	/* What was loaded of it is of no use to anybody. */
	device_reset(m->dev);
	m->state = MIGRATE_ERROR;
	return rc;
}

struct arc {
	enum migrate_state from, to;
	int (*take)(struct migration *m);
};

static const struct arc arcs[] = {
	{MIGRATE_RUNNING, MIGRATE_STOP, make_quiet},
	{MIGRATE_STOP, MIGRATE_RUNNING, run},
	{MIGRATE_RUNNING, MIGRATE_PRE_COPY, begin_pre_copy},
	{MIGRATE_PRE_COPY, MIGRATE_RUNNING, end_saving},
	{MIGRATE_PRE_COPY, MIGRATE_STOP_COPY, stop_and_copy},
	{MIGRATE_STOP, MIGRATE_STOP_COPY, begin_stop_copy},
	{MIGRATE_STOP_COPY, MIGRATE_STOP, end_saving},
	{MIGRATE_STOP, MIGRATE_RESUMING, begin_resuming},
	{MIGRATE_RESUMING, MIGRATE_STOP, end_resuming},
};

static int take_arc(struct migration *m, unsigned to)
{
	for (size_t i = 0; i < ARRAY_SIZE(arcs); i++) {
		if (arcs[i].from == m->state && arcs[i].to == to)
			return arcs[i].take(m);
	}
	return -EINVAL;
}

static void log_failure(struct migration *m, int rc)
{
	if (rc && rc != -EINPROGRESS && m->why.message[0])
		log_fact(&m->log, LOG_ERROR, "migration, on the way to %s: %s; now %s",
		         migrate_state_name(m->target), m->why.message,
		         migrate_state_name(m->state));
}

/* As far as it gets: 0 (there), -EINPROGRESS or -errno. */
static int walk(struct migration *m)
{
	/* A drive that is being taken can't be given up, nor the other way round. */
	if (m->handing)
		return -EINPROGRESS;
	while (m->state != m->target) {
		int next = migrate_next(m->state, m->target);
		int rc = next < 0 ? next : take_arc(m, (unsigned)next);

		if (rc == -EINPROGRESS)
			return rc;
		if (rc)
			return rc;
		log_debug(&m->log, "migration: %s to %s", migrate_state_name(m->state),
		          migrate_state_name((unsigned)next));
		m->state = (enum migrate_state)next;
		m->drive = 0;
		m->flush_error = 0;
	}
	return 0;
}

static void tell_waiter(struct migration *m, int status)
{
	struct migrate_waiter *waiter = m->waiter;

	m->waiter = NULL;
	if (waiter)
		waiter->done(waiter, status);
}

static void go_on(struct migration *m)
{
	int rc = walk(m);

	log_failure(m, rc);
	if (rc != -EINPROGRESS)
		tell_waiter(m, rc);
}

int migrate_set_state(struct migration *m, unsigned state, struct migrate_waiter *waiter)
{
	int rc = migrate_next(m->state, state);

	if (m->waiter)
		return -EBUSY;
	m->why.message[0] = '\0';
	if (rc < 0)
		return ob_error_set(&m->why, rc, "there is no way from %s to %s (%u)",
		                    migrate_state_name(m->state), migrate_state_name(state), state);
	/* A part that waits for the device to be quiet would go in the midst of it. */
	if (state != MIGRATE_RUNNING && state != MIGRATE_STOP &&
	    device_is_held(m->dev, DEVICE_HOLD_UNPLUG))
		return ob_error_set(&m->why, -EBUSY,
		                    "it, or a part of it, is being removed: try again");
	m->target = (enum migrate_state)state;
	m->drive = 0;
	m->flush_error = 0;
	m->take_error = 0; /* of before; what is under way has yet to tell */
	rc = walk(m);
	log_failure(m, rc);
	if (rc == -EINPROGRESS)
		m->waiter = waiter;
	return rc;
}

/* The stream */

ssize_t migrate_read(struct migration *m, void *buffer, size_t size)
{
	ssize_t rc;

	if (!m->saver || m->waiter)
		return ob_error_set(&m->why, -EINVAL, "there is nothing to be read in state %s",
		                    migrate_state_name(m->state));
	rc = saver_read(m->saver, buffer, size, &m->why);
	if (rc < 0)
		log_fact(&m->log, LOG_ERROR, "migration: %s", m->why.message);
	return rc;
}

uint64_t migrate_pending(const struct migration *m)
{
	return m->saver ? saver_pending(m->saver) : 0;
}

int migrate_write(struct migration *m, const void *bytes, size_t size)
{
	bool failed_before;
	int rc;

	if (!m->loader || m->waiter)
		return ob_error_set(&m->why, -EINVAL, "there is nothing to be written in state %s",
		                    migrate_state_name(m->state));
	failed_before = loader_failed(m->loader);
	rc = loader_write(m->loader, bytes, size, &m->why);
	if (rc && !failed_before)
		log_fact(&m->log, LOG_ERROR, "migration: %s", m->why.message);
	return rc;
}

bool migrate_is_complete(const struct migration *m)
{
	return m->loader && loader_complete(m->loader);
}

/* Reset, departure, life */

/* Runs if it can, and otherwise stays stopped; one that waits for somebody does that. */
static void run_if_possible(struct migration *m)
{
	m->state = MIGRATE_STOP;
	m->target = MIGRATE_RUNNING;
	m->take_error = 0;
	if (!m->waits)
		walk(m);
}

void migrate_hold(struct migration *m, bool hold)
{
	m->waits = hold;
}

bool migrate_is_held(const struct migration *m)
{
	return m->waits;
}

int migrate_reset(struct migration *m, struct migrate_waiter *waiter)
{
	struct migrate_waiter *before = m->waiter;

	drop_streams(m);
	if (m->state == MIGRATE_RUNNING)
		return 0;
	m->waiter = NULL;
	run_if_possible(m);
	/* What somebody waits for does not come: the wait may have been given up with the rest. */
	if (before)
		before->done(before, ob_error_set(&m->why, -ECANCELED, "the device was reset"));
	if (!m->handing || m->waits || m->waiter)
		return 0;
	m->waiter = waiter;
	return -EINPROGRESS;
}

void migrate_abandon(struct migration *m)
{
	bool begun = m->loader && loader_begun(m->loader);

	drop_streams(m);
	switch (m->state) {
	case MIGRATE_PRE_COPY:
		m->state = MIGRATE_RUNNING;
		break;
	case MIGRATE_RESUMING:
		if (begun) {
			device_reset(m->dev);
			m->state = MIGRATE_ERROR;
			log_fact(&m->log, LOG_ERROR,
			         "migration: left half loaded; now ERROR, until a reset");
			break;
		}
		run_if_possible(m);
		break;
	case MIGRATE_STOP:
	case MIGRATE_STOP_COPY:
		run_if_possible(m);
		break;
	default:
		break;
	}
}

enum migrate_state migrate_state(const struct migration *m)
{
	return m->state;
}

const char *migrate_why(const struct migration *m)
{
	return m->why.message;
}

bool migrate_supported(const struct ob_dev *dev)
{
	return device_model(dev)->migration;
}

static void migration_free(void *object)
{
	struct migration *m = object;

	/* The device is quiet by now, whoever holds it. */
	ob_task_cancel(&m->step);
	drop_streams(m);
	m->dev = NULL;
	tell_waiter(m, -ENODEV);
	block_handover_stop(&m->handover);
	free_unless_busy(m);
}

/* Drives are known by their order, in the stream as here, and by the size that they had. */
static bool needs_parts(const void *object)
{
	const struct migration *m = object;

	return m->saver || m->loader || m->waiter || m->flushing || m->handing;
}

static bool has_inactive_drive(struct ob_dev *dev)
{
	const struct ob_block *block;

	for (unsigned i = 0; (block = device_drive(dev, i)); i++) {
		if (!block_is_active(block))
			return true;
	}
	return false;
}

struct migration *migrate_of(struct ob_dev *dev)
{
	struct migration *m = device_attached(dev);

	if (m || !migrate_supported(dev))
		return m;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->dev = dev;
	m->hold.done = became_quiet;
	m->step.run = next_step;
	m->state = m->target = MIGRATE_RUNNING;
	log_init(&m->log, device_log(dev), LOG_LINES_PER_SECOND, "%s", ob_dev_id(dev));
	device_attach(dev, m, migration_free, needs_parts);
	if (has_inactive_drive(dev)) {
		m->waits = true;
		m->state = MIGRATE_STOP;
		make_quiet(m);
	}
	return m;
}
