/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block nodes: the table of drivers, opening and closing, and the one way in for requests.
 *
 * Everything that is the same for all drivers happens here: what a request may look like, counting,
 * and the promise that done is called once. A driver sees only requests that lie within the node,
 * whose iovecs add up, and that it is allowed to carry out.
 */
#include "block.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/props.h"
#include "drivers.h"

enum { MAX_IOVECS = 1024, LOG_LINES_PER_SECOND = 5 };

const struct block_driver *const *block_drivers(void)
{
	static const struct block_driver *const drivers[] = {
		&block_mem, &block_null, &block_file, &block_raw, NULL,
	};

	return drivers;
}

const struct ob_block_info *ob_block_info(const struct ob_block *block)
{
	return &block->info;
}

const char *ob_block_name(const struct ob_block *block)
{
	return block->name;
}

static bool modifies(const struct ob_block_request *request)
{
	return request->op == OB_BLOCK_WRITE || request->op == OB_BLOCK_DISCARD ||
	       request->op == OB_BLOCK_WRITE_ZEROES;
}

static int check_iovecs(const struct ob_block_request *request)
{
	uint64_t sum = 0;

	if (request->iovcnt > MAX_IOVECS)
		return -EINVAL;
	for (unsigned i = 0; i < request->iovcnt; i++) {
		if (!checked_add(sum, request->iov[i].iov_len, &sum))
			return -EINVAL;
	}
	return sum == request->length ? 0 : -EINVAL;
}

static int check(const struct ob_block *block, const struct ob_block_request *request)
{
	uint64_t mask = block->info.block_size - 1;

	if (block->inactive)
		return -EPERM;
	if (request->op == OB_BLOCK_FLUSH)
		return 0;
	if (block->info.read_only && modifies(request))
		return -EROFS;
	if ((request->offset | request->length) & mask)
		return -EINVAL;
	if (!range_within(request->offset, request->length, block->info.size))
		return -ENOSPC;
	if (request->op == OB_BLOCK_READ || request->op == OB_BLOCK_WRITE)
		return check_iovecs(request);
	return 0;
}

static void count(struct ob_block *block, const struct ob_block_request *request, int status)
{
	struct block_stats *stats = &block->stats;

	stats->requests[request->op]++;
	if (status)
		stats->errors[request->op]++;
	else if (request->op != OB_BLOCK_FLUSH)
		stats->bytes[request->op] += request->length;
	if (request->started) {
		stats->timed[request->op]++;
		stats->total_ns[request->op] += ob_loop_now() - request->started;
	}
}

/* Reads and writes are many and short: a sample says as much. */
static bool is_timed(const struct ob_block *block, const struct ob_block_request *request)
{
	return request->op > OB_BLOCK_WRITE ||
	       block->stats.requests[request->op] % BLOCK_TIMED_EVERY == 0;
}

uint64_t block_stats_time(const struct block_stats *stats, enum ob_block_op op)
{
	uint64_t timed = stats->timed[op];

	return timed ? (uint64_t)((double)stats->total_ns[op] / (double)timed *
	                          (double)stats->requests[op])
	             : 0;
}

/* From a node down to its storage. The nodes below have no other user, and allow no less. */
static int submit(struct ob_block *block, struct ob_block_request *request)
{
	int rc;

	if (block->adjusts && block_adjust(block, request)) {
		count(block, request, 0);
		return 0;
	}
	request->block = block;
	block->in_flight++;
	rc = block->below ? submit(block->below, request) : block->driver->submit(block, request);
	if (rc == -EINPROGRESS)
		return rc;
	block->in_flight--;
	count(block, request, rc);
	return rc;
}

int ob_block_submit(struct ob_block *block, struct ob_block_request *request)
{
	int rc;

	if ((unsigned)request->op > OB_BLOCK_WRITE_ZEROES)
		return -EINVAL;
	request->started = 0;
	rc = check(block, request);
	if (!rc && (request->length || request->op == OB_BLOCK_FLUSH)) {
		request->next = NULL;
		request->progress = 0;
		request->bounce = NULL;
		if (is_timed(block, request))
			request->started = ob_loop_now();
		return submit(block, request);
	}
	count(block, request, rc);
	return rc;
}

void ob_block_expect(struct ob_block *block, const struct ob_block_hint *hint)
{
	block = block_storage(block);
	if (block->driver->expect && hint->length &&
	    range_within(hint->offset, hint->length, block->info.size))
		block->driver->expect(block, hint);
}

void block_complete(struct ob_block_request *request, int status)
{
	for (struct ob_block *block = request->block; block; block = block->above) {
		block->in_flight--;
		count(block, request, status);
	}
	request->done(request, status);
}

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

static int open_node(struct ob_block *block, const struct log *log, struct opts *opts,
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
	if (!rc)
		rc = driver->open(block, err);
	if (!rc) {
		rc = block_options_apply(block, err);
		if (rc)
			driver->close(block);
	}
	return rc ? ob_error_prefix(err, rc, "block node '%s'", block->name) : 0;
}

static struct ob_block *open_new(const struct block_driver *driver, struct ob_loop *loop,
                                 struct ob_block *below, const struct log *log, struct opts *opts,
                                 struct ob_error *err)
{
	struct ob_block *block = calloc(1, driver->node_size);

	if (block) {
		block->driver = driver;
		block->loop = loop;
		block->below = below;
		block->props = calloc(1, driver->props_size);
	}
	if (!block || !block->props) {
		ob_error_set(err, -ENOMEM, "out of memory");
		free(block);
		return NULL;
	}
	if (open_node(block, log, opts, err)) {
		free_node(block);
		return NULL;
	}
	return block;
}

struct ob_block *block_open(struct ob_loop *loop, const struct log *log, struct opts *opts,
                            struct ob_error *err)
{
	const struct block_driver *driver = take_driver(opts, err);

	if (driver && driver->filter) {
		ob_error_set(err, -EINVAL, "driver=%s needs a node below it: file=NODE-NAME",
		             driver->name);
		return NULL;
	}
	return driver ? open_new(driver, loop, NULL, log, opts, err) : NULL;
}

struct ob_block *block_open_filter(struct ob_block *below, const struct log *log, struct opts *opts,
                                   struct ob_error *err)
{
	const struct block_driver *driver = take_driver(opts, err);
	struct ob_block *block;

	if (!driver)
		return NULL;
	if (below->in_flight) {
		ob_error_set(err, -EBUSY, "block node '%s' has requests in flight: try again",
		             below->name);
		return NULL;
	}
	block = open_new(driver, below->loop, below, log, opts, err);
	if (!block)
		return NULL;
	below->above = block;
	block->inactive = below->inactive;
	return block;
}

void block_close(struct ob_block *block)
{
	if (!block)
		return;
	block->driver->close(block);
	free_node(block);
}

static int resize(struct ob_block *block, uint64_t size, struct ob_error *err)
{
	int rc;

	if (!block->driver->resize)
		return ob_error_set(err, -ENOTSUP, "driver '%s' can't change its size",
		                    block->driver->name);
	if (block->info.read_only)
		return ob_error_set(err, -EROFS, "it is read-only");
	if (block->inactive)
		return ob_error_set(err, -EBUSY, "it is inactive: another process has it");
	rc = block_check_size(size, err);
	if (rc || size == block->info.size)
		return rc;
	/* A write on its way would make the storage longer again behind our back. */
	if (size < block->info.size && block->in_flight)
		return ob_error_set(err, -EBUSY,
		                    "it can't shrink with %u requests in flight: stop the machine "
		                    "first",
		                    block->in_flight);
	rc = block->driver->resize(block, size, err);
	if (!rc)
		block->info.size = size;
	return rc;
}

int block_resize(struct ob_block *block, uint64_t size, struct ob_error *err)
{
	int rc = resize(block, size, err);

	return rc ? ob_error_prefix(err, rc, "block node '%s'", block->name) : 0;
}

void block_inactivate(struct ob_block *block)
{
	if (block->inactive)
		return;
	if (block->driver->inactivate)
		block->driver->inactivate(block);
	block->inactive = true;
}

int block_try_activate(struct ob_block *block, const atomic_bool *stop, struct ob_error *err)
{
	int rc = 0;

	if (block->inactive && block->driver->activate)
		rc = block->driver->activate(block, stop, err);
	return rc ? ob_error_prefix(err, rc, "block node '%s'", block->name) : 0;
}

/* With those below it. */
static void now_active(struct ob_block *block)
{
	for (; block; block = block->below)
		block->inactive = false;
}

int block_activate(struct ob_block *block, struct ob_error *err)
{
	int rc = block_try_activate(block, NULL, err);

	if (!rc)
		now_active(block);
	return rc;
}

/* The node is inactive, and nobody else touches it meanwhile. */
static void run_activation(struct loop_job *job)
{
	struct block_activation *activation = container_of(job, struct block_activation, job);

	activation->status =
		block_try_activate(activation->block, &activation->stop, &activation->why);
}

static void activation_done(struct loop_job *job)
{
	struct block_activation *activation = container_of(job, struct block_activation, job);
	struct ob_block *block = activation->block;

	/* It is kept from being closed like one that has requests. */
	block->in_flight--;
	if (!activation->status)
		now_active(block);
	activation->done(activation);
}

void block_activate_later(struct ob_block *block, struct block_activation *activation)
{
	block->in_flight++;
	activation->block = block;
	activation->job = (struct loop_job){
		.work = run_activation, .done = activation_done, .lane = LOOP_LANE_STORAGE};
	atomic_store(&activation->stop, false);
	loop_offload(block->loop, &activation->job);
}

void block_activate_stop(struct block_activation *activation)
{
	atomic_store(&activation->stop, true);
}
