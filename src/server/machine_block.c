/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine's block nodes: made, lent to devices, and removed. A node that keeps completed writes
 * in a cache is flushed before it is closed, as whoever stops a server expects.
 */
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

	return name ? container_of(name, struct machine_block, name) : NULL;
}

static struct machine_block *block_find_or_refuse(const struct machine *machine,
                                                  const char *node_name, struct ob_error *err)
{
	struct machine_block *block = block_find(machine, node_name);
	struct nearest nearest = nearest_to(node_name);

	if (block && !block->removing)
		return block;
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
	if (!rc && block_find(machine, node_name))
		rc = ob_error_set(err, -EEXIST, "there is a block node '%s' already", node_name);
	if (rc)
		return rc;
	return refuse_unknown_keys(
		opts, driver_name,
		(const struct ob_prop *const[]){driver->props, block_node_props, NULL}, words,
		"outboard --list --json has all", err);
}

/* The filter over a node has gone: one that was made for it goes with it. */
static void let_go_of_below(struct machine_block *block)
{
	struct machine_block *below = block->below;

	if (!below)
		return;
	below->above = NULL;
	if (!below->implicit)
		return;
	/* Whoever waits for the filter waits for what it was made with. */
	while (!list_empty(&block->gone_waiters)) {
		struct list *first = block->gone_waiters.next;

		list_remove(first);
		list_append(&below->gone_waiters, first);
	}
	block_remove(below);
}

static void run_close(struct ob_task *task)
{
	struct machine_block *block = container_of(task, struct machine_block, close);
	struct machine *machine = block->machine;

	/* A flush for a migration outlives the device that it was for. */
	if (block->block->in_flight) {
		ob_task_schedule(machine->loop, task);
		return;
	}
	names_remove(&machine->block_names, &block->name);
	list_remove(&block->link);
	block_close(block->block);
	let_go_of_below(block);
	machine_waiters_ready(machine, &block->gone_waiters);
	free(block);
	machine_something_gone(machine);
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

/* Opens the node; what is below a filter is its own from then on. */
static int open_node(struct machine_block *block, struct opts *opts, struct ob_error *err)
{
	struct machine *machine = block->machine;
	cleanup_free char *file = opts_take(opts, "file");
	int rc;

	if (!file) {
		block->block = block_open(machine->loop, machine->log, opts, err);
		return block->block ? 0 : -EINVAL;
	}
	block->below = block_find_or_refuse(machine, file, err);
	if (!block->below)
		return ob_error_prefix(err, -ENOENT, "file=%s", file);
	rc = refuse_in_use(block->below, err);
	if (rc)
		return ob_error_prefix(err, rc, "file=%s", file);
	block->block = block_open_filter(block->below->block, machine->log, opts, err);
	if (!block->block)
		return -EINVAL;
	block->below->above = block;
	return 0;
}

static int add_one(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	struct machine_block *block;
	int rc = check_block_opts(machine, opts, err);

	if (rc)
		return rc;
	block = calloc(1, sizeof(*block));
	if (!block)
		return ob_error_set(err, -ENOMEM, "out of memory");
	block->machine = machine;
	block->close.run = run_close;
	list_init(&block->gone_waiters);
	rc = open_node(block, opts, err);
	if (!rc && names_add(&machine->block_names, &block->name, ob_block_name(block->block)))
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	if (rc) {
		if (block->block && block->below)
			block->below->above = NULL;
		block_close(block->block);
		free(block);
		return rc;
	}
	list_append(&machine->blocks, &block->link);
	return 0;
}

/* The lower one of two has nobody but the upper one. */
static int add_below(struct machine *machine, struct opts *opts, struct machine_block **below,
                     struct ob_error *err)
{
	int rc = add_one(machine, opts, err);

	if (rc)
		return ob_error_prefix(err, rc, "file");
	*below = container_of(machine->blocks.prev, struct machine_block, link);
	(*below)->implicit = true;
	return 0;
}

/* One that was never written to: there is nothing to wait for. */
static void drop_unused(struct machine_block *block)
{
	names_remove(&block->machine->block_names, &block->name);
	list_remove(&block->link);
	block_close(block->block);
	free(block);
}

/* QEMU keeps what guests discard unless it is told otherwise; whoever is used to more is told. */
static void note_discard(const struct machine_block *block)
{
	log_info(&block->block->log, "discard=ignore, as QEMU has it: what the guest trims stays "
	                             "allocated; discard=unmap gives it back");
}

int machine_add_block(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	cleanup_opts struct opts lower = {0};
	struct machine_block *below = NULL;
	bool note = opts_get(opts, "filename") && !opts_get(opts, "discard");
	int rc = block_options_translate(opts, err);

	if (!rc)
		rc = block_options_split(opts, &lower, err);
	if (!rc && lower.count)
		rc = add_below(machine, &lower, &below, err);
	if (rc)
		return rc;
	rc = add_one(machine, opts, err);
	if (rc && below)
		drop_unused(below);
	if (!rc && note)
		note_discard(container_of(machine->blocks.prev, struct machine_block, link));
	return rc;
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

int machine_remove_block(struct machine *machine, const char *node_name, struct ob_error *err)
{
	struct machine_block *block = block_find_or_refuse(machine, node_name, err);
	int rc;

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
}

/* The device first: it may refuse, and shrinking destroys. */
static int resize(struct machine_block *block, uint64_t size, struct ob_error *err)
{
	struct machine_device *device = device_find(block->machine, block->user);
	uint64_t before = ob_block_info(block->block)->size;
	int rc;

	if (device && device->dev) {
		rc = device_resize_block(device->dev, block->block, size, err);
		if (rc)
			return rc;
	}
	rc = block_resize(block->block, size, err);
	if (rc && device && device->dev)
		(void)device_resize_block(device->dev, block->block, before, NULL);
	return rc;
}

int machine_resize_block(struct machine *machine, const char *node_name, uint64_t size,
                         struct ob_error *err)
{
	struct machine_block *block = block_find_or_refuse(machine, node_name, err);

	return block ? resize(block, size, err) : -ENOENT;
}
