/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of block nodes: made of options, opened, resized, closed. handover.c has how they are
 * given up to other processes, and taken back.
 *
 * What a driver does to its storage may take as long as that storage likes, so there are two ways
 * to everything: at once, for whoever has nothing else to do, and as a job of a helper thread. What
 * a job does touches the node and nothing else; what concerns the loop is done before and after.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/props.h"
#include "block.h"
#include "drivers.h"

enum { LOG_LINES_PER_SECOND = 5 };

int block_check_size(uint64_t size, struct ob_error *err)
{
	if (!size)
		return ob_error_set(err, -EINVAL, "size= is missing: size=1G, for example");
	if (size % BLOCK_SECTOR)
		return ob_error_set(err, -EINVAL,
		                    "size=%" PRIu64
		                    ": expected a multiple of %d bytes: size=%" PRIu64,
		                    size, BLOCK_SECTOR, (size / BLOCK_SECTOR + 1) * BLOCK_SECTOR);
	return 0;
}

/* "mem, null, file" */
static void list_drivers(char *text, size_t room)
{
	size_t used = 0;

	text[0] = '\0';
	for (const struct block_driver *const *at = block_drivers(); *at && used < room; at++)
		used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "",
		                         (*at)->name);
}

static const struct block_driver *take_driver(struct opts *opts, struct ob_error *err)
{
	cleanup_free char *name = opts_take(opts, "driver");
	char known[128];

	for (const struct block_driver *const *at = block_drivers(); name && *at; at++) {
		if (!strcmp((*at)->name, name))
			return *at;
	}
	list_drivers(known, sizeof(known));
	if (name)
		ob_error_set(err, -EINVAL, "driver=%s: expected one of %s", name, known);
	else
		ob_error_set(err, -EINVAL, "driver= is missing: expected one of %s", known);
	return NULL;
}

static int take_name(struct ob_block *block, struct opts *opts, struct ob_error *err)
{
	cleanup_free char *name = opts_take(opts, "node-name");

	if (!name || !*name)
		return ob_error_set(err, -EINVAL,
		                    "node-name= is missing: node-name=b0, for example");
	if (strlen(name) >= sizeof(block->name))
		return ob_error_set(err, -EINVAL, "node-name=%s: expected at most %zu characters",
		                    name, sizeof(block->name) - 1);
	memcpy(block->name, name, strlen(name) + 1);
	return 0;
}

static void free_node(struct ob_block *block)
{
	if (block->props)
		props_free(block->driver->props, block->props);
	free(block->props);
	log_end(&block->log);
	free(block);
}

static int take_active(struct ob_block *block, struct opts *opts, struct ob_error *err)
{
	cleanup_free char *value = opts_take(opts, "active");
	bool active = true;
	int rc = value ? parse_bool("active", value, &active, err) : 0;

	block->inactive = !active;
	return rc;
}

static int take_options(struct ob_block *block, const struct log *log, struct opts *opts,
                        struct ob_error *err)
{
	const struct block_driver *driver = block->driver;
	char what[64];
	int rc;

	rc = take_name(block, opts, err);
	if (rc)
		return rc;
	log_init(&block->log, log, LOG_LINES_PER_SECOND, "%s", block->name);
	snprintf(what, sizeof(what), "block driver '%s'", driver->name);
	rc = take_active(block, opts, err);
	if (!rc)
		rc = props_apply(driver->props, block->props, opts, NULL, err);
	if (!rc)
		rc = props_apply(block_node_props, &block->options, opts, NULL, err);
	if (!rc)
		rc = opts_refuse_rest(opts, what, err);
	return rc ? ob_error_prefix(err, rc, "block node '%s'", block->name) : 0;
}

static struct ob_block *make_node(const struct block_driver *driver, struct ob_loop *loop,
                                  const struct log *log, struct opts *opts, struct ob_error *err)
{
	struct ob_block *block = calloc(1, driver->node_size);

	if (block) {
		block->driver = driver;
		block->loop = loop;
		list_init(&block->opening);
		block->props = calloc(1, driver->props_size);
	}
	if (!block || !block->props) {
		ob_error_set(err, -ENOMEM, "out of memory");
		free(block);
		return NULL;
	}
	if (take_options(block, log, opts, err)) {
		free_node(block);
		return NULL;
	}
	return block;
}

struct ob_block *block_new(struct ob_loop *loop, const struct log *log, struct opts *opts,
                           struct ob_error *err)
{
	const struct block_driver *driver = take_driver(opts, err);

	if (driver && driver->filter) {
		ob_error_set(err, -EINVAL, "driver=%s needs a node below it: file=NODE-NAME",
		             driver->name);
		return NULL;
	}
	return driver ? make_node(driver, loop, log, opts, err) : NULL;
}

/* On any thread. */
static int open_storage(struct ob_block *block, struct ob_error *err)
{
	int rc = block->driver->open(block, err);

	if (!rc) {
		rc = block_options_apply(block, err);
		if (rc)
			block->driver->close(block);
	}
	return rc ? ob_error_prefix(err, rc, "block node '%s'", block->name) : 0;
}

/* On the loop, with the storage open. On failure it is closed. */
static int attach(struct ob_block *block, struct ob_error *err)
{
	int rc = block->driver->attach ? block->driver->attach(block, err) : 0;

	if (!rc)
		return 0;
	block->driver->close(block);
	return ob_error_prefix(err, rc, "block node '%s'", block->name);
}

static void detach(struct ob_block *block)
{
	if (block->driver->detach)
		block->driver->detach(block);
}

int block_open_new(struct ob_block *block, struct ob_error *err)
{
	int rc = open_storage(block, err);

	if (!rc)
		rc = attach(block, err);
	if (rc)
		free_node(block);
	return rc;
}

void block_close_new(struct ob_block *block)
{
	free_node(block);
}

struct ob_block *block_open(struct ob_loop *loop, const struct log *log, struct opts *opts,
                            struct ob_error *err)
{
	struct ob_block *block = block_new(loop, log, opts, err);

	return block && !block_open_new(block, err) ? block : NULL;
}

static int depth_of(const struct ob_block *block)
{
	int depth = 0;

	for (; block; block = block->below)
		depth++;
	return depth;
}

struct ob_block *block_open_filter(struct ob_block *below, const struct log *log, struct opts *opts,
                                   struct ob_error *err)
{
	const struct block_driver *driver = take_driver(opts, err);
	struct ob_block *block;

	if (!driver)
		return NULL;
	if (depth_of(below) >= BLOCK_MAX_DEPTH) {
		ob_error_set(err, -ELOOP,
		             "block node '%s' is the top of %d nodes that stand on each other "
		             "already, which is the most",
		             below->name, BLOCK_MAX_DEPTH);
		return NULL;
	}
	if (below->in_flight) {
		ob_error_set(err, -EBUSY, "block node '%s' has requests in flight: try again",
		             below->name);
		return NULL;
	}
	block = make_node(driver, below->loop, log, opts, err);
	if (!block)
		return NULL;
	block->below = below;
	if (block_open_new(block, err))
		return NULL;
	below->above = block;
	block->inactive = below->inactive;
	return block;
}

void block_close(struct ob_block *block)
{
	if (!block)
		return;
	detach(block);
	block->driver->close(block);
	free_node(block);
}

/* Jobs. One at a time for a node. */

static struct ob_block *block_of(struct loop_job *job)
{
	return container_of(job, struct ob_block, job.loop_job);
}

static void begin_job(struct ob_block *block, struct block_wait *wait,
                      void (*work)(struct loop_job *job), void (*done)(struct loop_job *job))
{
	struct block_job *job = &block->job;

	job->wait = wait;
	job->error.message[0] = '\0';
	job->loop_job = (struct loop_job){.work = work, .done = done, .lane = LOOP_LANE_STORAGE};
	loop_offload(block->loop, &job->loop_job);
}

static void tell(struct block_wait *wait, int status, const struct ob_error *err)
{
	if (wait)
		wait->done(wait, status, err);
}

static void close_work(struct loop_job *job)
{
	struct ob_block *block = block_of(job);

	block->driver->close(block);
}

static void close_done(struct loop_job *job)
{
	struct ob_block *block = block_of(job);
	struct block_wait *wait = block->job.wait;

	free_node(block);
	tell(wait, 0, NULL);
}

int block_start_close(struct ob_block *block, struct block_wait *wait)
{
	if (!block->driver->may_sleep) {
		block_close(block);
		return 0;
	}
	detach(block);
	begin_job(block, wait, close_work, close_done);
	return -EINPROGRESS;
}

static void open_work(struct loop_job *job)
{
	struct ob_block *block = block_of(job);

	block->job.status = open_storage(block, &block->job.error);
}

static void open_done(struct loop_job *job)
{
	struct ob_block *block = block_of(job);
	struct block_wait *wait = block->job.wait;
	struct ob_error err = block->job.error;
	int rc = block->job.status;

	openings_end(block);
	if (!rc && !wait) {
		begin_job(block, NULL, close_work, close_done);
		return;
	}
	if (!rc)
		rc = attach(block, &err);
	if (rc)
		free_node(block);
	tell(wait, rc, &err);
}

int block_start_open(struct ob_block *block, struct block_wait *wait, struct ob_error *err)
{
	int rc;

	if (!block->driver->may_sleep)
		return block_open_new(block, err);
	rc = openings_begin(block, err);
	if (rc) {
		ob_error_prefix(err, rc, "block node '%s'", block->name);
		free_node(block);
		return rc;
	}
	begin_job(block, wait, open_work, open_done);
	return -EINPROGRESS;
}

void block_abandon(struct ob_block *block)
{
	block->job.wait = NULL;
	atomic_store(&block->abandoned, true);
	if (!loop_offload_cancel(block->loop, &block->job.loop_job))
		return;
	openings_end(block);
	free_node(block);
}

static int check_resize(const struct ob_block *block, uint64_t size, struct ob_error *err)
{
	int rc;

	if (!block->driver->resize)
		return ob_error_set(err, -ENOTSUP, "driver '%s' can't change its size",
		                    block->driver->name);
	if (block->info.read_only)
		return ob_error_set(err, -EROFS, "it is read-only");
	if (block->inactive)
		return ob_error_set(err, -EBUSY, "it is inactive: another process has it");
	if (block->resizing)
		return ob_error_set(err, -EBUSY, "it is being resized");
	rc = block_check_size(size, err);
	/* A write on its way would make the storage longer again behind our back. */
	if (!rc && size < block->info.size && block->in_flight)
		rc = ob_error_set(err, -EBUSY,
		                  "it can't shrink with %u requests in flight: stop the machine "
		                  "first",
		                  block->in_flight);
	return rc;
}

static int prefix(const struct ob_block *block, int rc, struct ob_error *err)
{
	return rc ? ob_error_prefix(err, rc, "block node '%s'", block->name) : 0;
}

int block_check_resize(const struct ob_block *block, uint64_t size, struct ob_error *err)
{
	int rc = check_resize(block, size, err);

	if (!rc && block->below)
		rc = block_check_resize(block->below, size, err);
	return prefix(block, rc, err);
}

int block_resize(struct ob_block *block, uint64_t size, struct ob_error *err)
{
	int rc = check_resize(block, size, err);

	if (!rc && size != block->info.size) {
		rc = block->driver->resize(block, size, err);
		if (!rc)
			block->info.size = size;
	}
	return prefix(block, rc, err);
}

static void resize_ended(struct ob_block *block, int status, struct ob_error *err)
{
	struct block_wait *wait = block->job.wait;

	block->resizing = false;
	block->info.size = status ? block->job.before : block->job.size;
	tell(wait, prefix(block, status, err), err);
}

static void resize_work(struct loop_job *job)
{
	struct ob_block *block = block_of(job);

	block->job.status = block->driver->resize(block, block->job.size, &block->job.error);
}

static void resize_done(struct loop_job *job)
{
	struct ob_block *block = block_of(job);
	struct ob_error err = block->job.error;

	resize_ended(block, block->job.status, &err);
}

/* The node below a filter has another size, or not. */
static void below_resized(struct block_wait *wait, int status, const struct ob_error *err)
{
	struct ob_block *block = container_of(wait, struct ob_block, job.below);
	struct ob_error text = *err;

	resize_ended(block, status, &text);
}

int block_start_resize(struct ob_block *block, uint64_t size, struct block_wait *wait,
                       struct ob_error *err)
{
	uint64_t before = block->info.size;
	int rc;

	if (!block_may_sleep(block) || size == before)
		return block_resize(block, size, err);
	rc = check_resize(block, size, err);
	if (rc)
		return prefix(block, rc, err);
	block->job.before = before;
	block->job.size = size;
	if (block->below) {
		block->job.wait = wait;
		block->job.below.done = below_resized;
		rc = block_start_resize(block->below, size, &block->job.below, err);
	} else {
		begin_job(block, wait, resize_work, resize_done);
		rc = -EINPROGRESS;
	}
	if (rc != -EINPROGRESS)
		return prefix(block, rc, err);
	block->resizing = true;
	/* What is about to go away takes no requests any more. */
	if (size < before)
		block->info.size = size;
	return rc;
}
