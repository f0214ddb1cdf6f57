/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine's block nodes: made, lent to devices, resized and removed. A node that keeps
 * completed writes in a cache is flushed before it is closed, as whoever stops a server expects.
 *
 * Storage may let us wait for ever. While a node is opened it has its name, and nothing else: it
 * stands in a list of its own, and is given up at once when somebody removes it or the machine
 * stops.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "block_options.h"
#include "objects.h"

struct machine_block *block_find(const struct machine *machine, const char *node_name)
{
	struct name *name = names_find(&machine->block_names, node_name);
	struct machine_block *block = name ? container_of(name, struct machine_block, name) : NULL;

	return block && !block->opening ? block : NULL;
}

/* By its name, or by that of the filter that it is opened for. */
static struct machine_block *opening_find(const struct machine *machine, const char *node_name)
{
	struct machine_block *block;

	list_for_each (block, &machine->openings, struct machine_block, link) {
		const char *filter = opts_get(&block->filter, "node-name");

		if (!strcmp(block->node_name, node_name) || (filter && !strcmp(filter, node_name)))
			return block;
	}
	return NULL;
}

static struct machine_block *block_find_or_refuse(const struct machine *machine,
                                                  const char *node_name, struct ob_error *err)
{
	struct machine_block *block = block_find(machine, node_name);
	struct nearest nearest = nearest_to(node_name);

	if (block && !block->removing)
		return block;
	if (opening_find(machine, node_name)) {
		ob_error_set(err, -EBUSY, "block node '%s' is still being opened", node_name);
		return NULL;
	}
	list_for_each (block, &machine->blocks, struct machine_block, link)
		nearest_try(&nearest, ob_block_name(block->block));
	refuse_unknown(&nearest, "block node", NULL, NULL, err);
	return NULL;
}

const struct block_driver *machine_find_driver(const char *name, struct ob_error *err)
{
	struct nearest nearest = nearest_to(name);

	for (const struct block_driver *const *driver = block_drivers(); *driver; driver++) {
		if (!strcmp((*driver)->name, name))
			return *driver;
		nearest_try(&nearest, (*driver)->name);
	}
	refuse_unknown(&nearest, "block driver", NULL, "outboard --list shows all", err);
	return NULL;
}

static int check_block_opts(const struct machine *machine, const struct opts *opts,
                            struct ob_error *err)
{
	static const char *const words[] = {"driver", "node-name", "active", "file", NULL};
	const char *driver_name = opts_get(opts, "driver");
	const char *node_name = opts_get(opts, "node-name");
	const struct block_driver *driver;
	int rc;

	if (!driver_name)
		return ob_error_set(err, -EINVAL,
		                    "a block node needs driver=, for example driver=file");
	driver = machine_find_driver(driver_name, err);
	if (!driver)
		return -EINVAL;
	if (!node_name)
		return ob_error_set(err, -EINVAL, "a block node needs node-name=");
	rc = check_id("node-name", node_name, err);
	if (!rc && !driver->filter && opts_get(opts, "file"))
		rc = ob_error_set(err, -EINVAL, "driver=%s is over no other node: file= is for %s",
		                  driver_name, "driver=raw");
	if (!rc && opening_find(machine, node_name))
		rc = ob_error_set(err, -EEXIST, "block node '%s' is being opened already",
		                  node_name);
	if (!rc && names_find(&machine->block_names, node_name))
		rc = ob_error_set(err, -EEXIST, "there is a block node '%s' already", node_name);
	if (rc)
		return rc;
	return refuse_unknown_keys(
		opts, driver_name,
		(const struct ob_prop *const[]){driver->props, block_node_props, NULL}, words,
		"outboard --list --json has all", err);
}

static void move_waiters(struct list *to, struct list *from)
{
	while (!list_empty(from)) {
		struct list *first = from->next;

		list_remove(first);
		list_append(to, first);
	}
}

/* The filter over a node has gone: one that was made for it goes with it. */
static void let_go_of_below(struct machine_block *block)
{
	struct machine_block *below = block->below;

	if (!below)
		return;
	below->above = NULL;
	block_unused(below);
	if (!below->implicit)
		return;
	/* Whoever waits for the filter waits for what it was made with. */
	move_waiters(&below->gone_waiters, &block->gone_waiters);
	block_remove(below);
}

/* Its node is gone. */
static void block_free(struct machine_block *block)
{
	names_remove(&block->machine->block_names, &block->name);
	list_remove(&block->link);
	opts_free(&block->filter);
	free(block);
}

static void on_closed(struct block_wait *wait, int status, const struct ob_error *err)
{
	struct machine_block *block = container_of(wait, struct machine_block, wait);
	struct machine *machine = block->machine;

	let_go_of_below(block);
	machine_waiters_ready(machine, &block->gone_waiters);
	block_free(block);
	machine_something_gone(machine);
}

static void close_node(struct machine_block *block)
{
	block->wait.done = on_closed;
	if (block_start_close(block->block, &block->wait) != -EINPROGRESS)
		on_closed(&block->wait, 0, NULL);
}

static void run_close(struct ob_task *task)
{
	struct machine_block *block = container_of(task, struct machine_block, close);

	/* A flush or a hand-over for a migration outlives the device that it was for. */
	if (block_when_idle(block->block, task))
		return;
	if (block->block->resizing)
		block->close_waits = true;
	else
		close_node(block);
}

static int refuse_in_use(const struct machine_block *block, struct ob_error *err)
{
	const char *name = ob_block_name(block->block);

	if (block->above)
		return ob_error_set(err, -EBUSY,
		                    "block node '%s' is in use by block node '%s': remove that "
		                    "first",
		                    name, ob_block_name(block->above->block));
	if (block->user[0])
		return ob_error_set(err, -EBUSY,
		                    "block node '%s' is in use by device '%s': remove that first",
		                    name, block->user);
	return 0;
}

static void link_block(struct machine_block *block)
{
	block->opening = false;
	list_remove(&block->link);
	list_append(&block->machine->blocks, &block->link);
}

/* A block with its name, and without a node. */
static struct machine_block *block_make(struct machine *machine, const char *node_name,
                                        struct ob_error *err)
{
	struct machine_block *block = calloc(1, sizeof(*block));

	if (block) {
		block->machine = machine;
		block->close.run = run_close;
		block->opening = true; /* so that a filter does not find itself */
		list_init(&block->link);
		list_init(&block->gone_waiters);
		list_init(&block->waiters);
		snprintf(block->node_name, sizeof(block->node_name), "%s", node_name);
	}
	if (!block || names_add(&machine->block_names, &block->name, block->node_name)) {
		ob_error_set(err, -ENOMEM, "out of memory");
		free(block);
		return NULL;
	}
	return block;
}

/* Nothing is waited for. What is below a filter is its own from then on. */
static int open_filter(struct machine_block *block, const char *file, struct opts *opts,
                       struct ob_error *err)
{
	int rc;

	block->below = block_find_or_refuse(block->machine, file, err);
	if (!block->below)
		return ob_error_prefix(err, -ENOENT, "file=%s", file);
	rc = refuse_in_use(block->below, err);
	if (rc)
		return ob_error_prefix(err, rc, "file=%s", file);
	block->block = block_open_filter(block->below->block, block->machine->log, opts, err);
	if (!block->block)
		return -EINVAL;
	block->below->above = block;
	link_block(block);
	return 0;
}

/* Of a node that is only looked at, one of its size that holds nothing. */
static int make_stand_in(struct opts *opts, struct ob_error *err)
{
	cleanup_free char *name = opts_take(opts, "node-name");
	char size[32];
	uint64_t bytes;
	int rc = block_look(opts, &bytes, err);

	if (rc)
		return ob_error_prefix(err, rc, "block node '%s'", name);
	opts_free(opts);
	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	if (opts_add(opts, "driver", "null") || opts_add(opts, "node-name", name) ||
	    opts_add(opts, "size", size))
		return ob_error_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* A node that is opened: 0 or -errno with a message, and then block is gone; or -EINPROGRESS. */
static int open_node(struct machine_block *block, struct opts *opts, struct ob_error *err)
{
	struct machine *machine = block->machine;
	int rc = machine->look_only ? make_stand_in(opts, err) : 0;

	if (!rc) {
		block->block = block_new(machine->loop, machine->log, opts, err);
		rc = -EINVAL;
	}
	if (block->block) {
		list_append(&machine->openings, &block->link);
		rc = block_start_open(block->block, &block->wait, err);
	}
	if (!rc)
		link_block(block);
	else if (rc != -EINPROGRESS)
		block_free(block);
	return rc;
}

/* One node, which may be a filter over one that is there. */
static int add_one(struct machine *machine, struct opts *opts, struct machine_block **out,
                   struct ob_error *err)
{
	cleanup_free char *file = NULL;
	int rc = check_block_opts(machine, opts, err);

	if (rc)
		return rc;
	*out = block_make(machine, opts_get(opts, "node-name"), err);
	if (!*out)
		return -ENOMEM;
	file = opts_take(opts, "file");
	if (!file)
		return open_node(*out, opts, err);
	rc = open_filter(*out, file, opts, err);
	if (rc)
		block_free(*out);
	return rc;
}

/* QEMU keeps what guests discard unless it is told otherwise; whoever is used to more is told. */
static void note_discard(const struct machine_block *block)
{
	log_fact(&block->block->log, LOG_INFO,
	         "discard=ignore, as QEMU has it: what the guest trims stays "
	         "allocated; discard=unmap gives it back");
}

/* One that was never written to: there is nothing to flush. */
static void drop_unused(struct machine_block *block)
{
	block->implicit = false;
	block->removing = true;
	close_node(block);
}

/* What comes after a node was opened: the filter that it is for. */
static int finish_opening(struct machine_block *block, struct ob_error *err)
{
	struct machine_block *top = block;
	int rc = 0;

	if (block->filter.count) {
		block->implicit = true;
		rc = add_one(block->machine, &block->filter, &top, err);
	}
	if (!rc && block->note_discard)
		note_discard(top);
	return rc;
}

/* What an opening or a resizing came to, for those who wait for it, or the log. */
static void set_status(struct machine_block *block, int status, const struct ob_error *err)
{
	struct machine_waiter *waiter;

	list_for_each (waiter, &block->waiters, struct machine_waiter, link) {
		if (status)
			waiter->failure = *err;
	}
	if (list_empty(&block->waiters) && status)
		log_error(block->machine->log, "%s", err->message);
}

static void tell_waiters(struct machine_block *block, int status, const struct ob_error *err)
{
	set_status(block, status, err);
	machine_waiters_ready(block->machine, &block->waiters);
}

static void on_opened(struct block_wait *wait, int status, const struct ob_error *err)
{
	struct machine_block *block = container_of(wait, struct machine_block, wait);
	struct ob_error text = *err;

	if (status) {
		if (block->filter.count)
			ob_error_prefix(&text, status, "file");
		tell_waiters(block, status, &text);
		block_free(block);
		return;
	}
	link_block(block);
	status = finish_opening(block, &text);
	if (!status) {
		tell_waiters(block, 0, NULL);
		return;
	}
	/* Whoever hears of the failure may use the file again. */
	set_status(block, status, &text);
	move_waiters(&block->gone_waiters, &block->waiters);
	drop_unused(block);
}

int machine_open_block(struct machine *machine, struct opts *opts, struct machine_waiter *waiter,
                       struct ob_error *err)
{
	cleanup_opts struct opts lower = {0};
	bool note = opts_get(opts, "filename") && !opts_get(opts, "discard");
	struct machine_block *block = NULL;
	bool two;
	int rc = machine_refuse_ending(machine, err);

	if (!rc)
		rc = block_options_translate(opts, err);
	if (!rc)
		rc = block_options_split(opts, &lower, err);
	two = lower.count;
	if (!rc && two)
		rc = check_block_opts(machine, opts, err);
	if (rc)
		return rc;
	rc = add_one(machine, two ? &lower : opts, &block, err);
	if (rc && rc != -EINPROGRESS)
		return two ? ob_error_prefix(err, rc, "file") : rc;
	assert(block);
	block->wait.done = on_opened;
	block->note_discard = note;
	if (two) {
		block->filter = *opts;
		*opts = (struct opts){0};
	}
	if (rc) {
		list_append(&block->waiters, &waiter->link);
		return rc;
	}
	rc = finish_opening(block, err);
	if (rc)
		drop_unused(block);
	return rc;
}

static void on_added(struct machine_waiter *waiter)
{
	waiter->done = NULL;
}

int machine_await(struct machine *machine, struct machine_waiter *waiter, struct ob_error *err)
{
	while (waiter->done) {
		int rc = loop_turn(machine->loop, -1);

		if (rc) {
			machine_cancel_wait(waiter);
			return ob_error_set(err, rc, "the event loop failed: %s", strerror(-rc));
		}
	}
	if (!waiter->failure.message[0])
		return 0;
	return ob_error_set(err, -EINVAL, "%s", waiter->failure.message);
}

int machine_add_block(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	struct machine_waiter waiter = {.done = on_added};
	int rc = machine_open_block(machine, opts, &waiter, err);

	return rc == -EINPROGRESS ? machine_await(machine, &waiter, err) : rc;
}

static void opening_abandon(struct machine_block *block)
{
	struct ob_error err;
	int rc = ob_error_set(&err, -ECANCELED, "block node '%s' was removed while it was opened",
	                      block->node_name);

	tell_waiters(block, rc, &err);
	block_abandon(block->block);
	block_free(block);
}

void blocks_abandon(struct machine *machine)
{
	struct machine_block *block;

	list_for_each (block, &machine->openings, struct machine_block, link)
		opening_abandon(block);
}

static void flushed(struct machine_block *block, int status)
{
	if (status)
		log_error(block->machine->log, "block node %s could not be flushed: %s",
		          ob_block_name(block->block), strerror(-status));
	/* From a task: the driver is still about to finish the request. */
	ob_task_schedule(block->machine->loop, &block->close);
}

static void on_flushed(struct ob_block_request *request, int status)
{
	flushed(container_of(request, struct machine_block, flush), status);
}

void block_remove(struct machine_block *block)
{
	const struct ob_block_info *info = ob_block_info(block->block);
	int rc = 0;

	if (block->removing)
		return;
	block->removing = true;
	/* What another process has was flushed when it was given up. */
	if (info->volatile_cache && !info->read_only && block_is_active(block->block)) {
		block->flush = (struct ob_block_request){.op = OB_BLOCK_FLUSH, .done = on_flushed};
		rc = ob_block_submit(block->block, &block->flush);
	}
	if (rc != -EINPROGRESS)
		flushed(block, rc);
}

void block_unused(struct machine_block *block)
{
	if (block->machine->stopping && !block->above && !block->user[0])
		block_remove(block);
}

int machine_remove_block(struct machine *machine, const char *node_name, struct ob_error *err)
{
	struct machine_block *block = opening_find(machine, node_name);
	int rc;

	if (block) {
		opening_abandon(block);
		return 0;
	}
	block = block_find_or_refuse(machine, node_name, err);
	if (!block)
		return -ENOENT;
	rc = refuse_in_use(block, err);
	if (rc)
		return rc;
	if (block->implicit)
		return ob_error_set(err, -EBUSY, "block node '%s' is about to go by itself",
		                    node_name);
	block_remove(block);
	return 0;
}

int machine_wait_block(struct machine *machine, const char *node_name,
                       struct machine_waiter *waiter)
{
	struct machine_block *block = block_find(machine, node_name);

	if (!block || !block->removing)
		return 0;
	list_append(&block->gone_waiters, &waiter->link);
	return -EINPROGRESS;
}

struct ob_block *blocks_claim(void *context, const char *node_name, const char *user,
                              struct ob_error *err)
{
	struct machine_block *block = block_find_or_refuse(context, node_name, err);

	if (!block)
		return NULL;
	if (refuse_in_use(block, err))
		return NULL;
	snprintf(block->user, sizeof(block->user), "%s", user);
	return block->block;
}

void blocks_release(void *context, struct ob_block *node, const char *user)
{
	struct machine_block *block = block_find(context, ob_block_name(node));

	(void)user;
	block->user[0] = '\0';
	block->io_status = MACHINE_IO_OK;
	block_unused(block);
}

/* Tells the device of the node's size, and whether it can be changed if it is the old one. */
static int tell_device(struct machine_block *block, uint64_t size, struct ob_error *err)
{
	struct machine_device *device = device_find(block->machine, block->user);

	return device && device->dev ? device_resize_block(device->dev, block->block, size, err)
	                             : 0;
}

static void on_resized(struct block_wait *wait, int status, const struct ob_error *err)
{
	struct machine_block *block = container_of(wait, struct machine_block, wait);

	/* Larger, or as large as before. What can be refused was asked for before. */
	(void)tell_device(block, ob_block_info(block->block)->size, NULL);
	tell_waiters(block, status, err);
	if (block->close_waits)
		ob_task_schedule(block->machine->loop, &block->close);
}

/* The other process was told of a size. */
static int refuse_moving(const struct machine_block *block, struct ob_error *err)
{
	const struct machine_device *device = device_find(block->machine, block->user);

	if (!device || !device->dev || !device_needs_parts(device->dev))
		return 0;
	return ob_error_set(err, -EBUSY,
	                    "device '%s' is being migrated: its disks keep their sizes until that "
	                    "has ended",
	                    device->id);
}

/* A device that sees its disk shrink hears of it before what is behind it goes. */
static int resize(struct machine_block *block, uint64_t size, struct ob_error *err)
{
	uint64_t before = ob_block_info(block->block)->size;
	int rc = refuse_moving(block, err);

	if (rc)
		return rc;
	/* The filter, and the device that uses it, would go on with the size that was. */
	if (block->above)
		return ob_error_set(err, -EBUSY,
		                    "block node '%s' is in use by block node '%s': resize that one",
		                    ob_block_name(block->block),
		                    ob_block_name(block->above->block));
	rc = block_check_resize(block->block, size, err);
	if (!rc)
		rc = tell_device(block, size < before ? size : before, err);
	if (rc)
		return rc;
	block->wait.done = on_resized;
	rc = block_start_resize(block->block, size, &block->wait, err);
	if (rc != -EINPROGRESS)
		(void)tell_device(block, ob_block_info(block->block)->size, NULL);
	return rc;
}

int machine_resize_block(struct machine *machine, const char *node_name, uint64_t size,
                         struct machine_waiter *waiter, struct ob_error *err)
{
	struct machine_block *block = block_find_or_refuse(machine, node_name, err);
	int rc = block ? resize(block, size, err) : -ENOENT;

	if (rc == -EINPROGRESS)
		list_append(&block->waiters, &waiter->link);
	return rc;
}
