/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine's block nodes: made, lent to devices, and removed. A node that keeps completed writes
 * in a cache is flushed before it is closed, as whoever stops a server expects.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	static const char *const words[] = {"driver", "node-name", "active", NULL};
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
	if (!rc && block_find(machine, node_name))
		rc = ob_error_set(err, -EEXIST, "there is a block node '%s' already", node_name);
	if (rc)
		return rc;
	return refuse_unknown_keys(opts, driver_name,
	                           (const struct ob_prop *const[]){driver->props, NULL}, words,
	                           "outboard --list --json has all", err);
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
	machine_waiters_ready(machine, &block->gone_waiters);
	free(block);
	machine_something_gone(machine);
}

int machine_add_block(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	struct machine_block *block;
	int rc = block_options_translate(opts, err);

	if (!rc)
		rc = check_block_opts(machine, opts, err);
	if (rc)
		return rc;
	block = calloc(1, sizeof(*block));
	if (!block)
		return ob_error_set(err, -ENOMEM, "out of memory");
	block->machine = machine;
	block->close.run = run_close;
	list_init(&block->gone_waiters);
	block->block = block_open(machine->loop, machine->log, opts, err);
	rc = block->block
	             ? names_add(&machine->block_names, &block->name, ob_block_name(block->block))
	             : -EINVAL;
	if (rc) {
		block_close(block->block);
		free(block);
		return rc == -ENOMEM ? ob_error_set(err, rc, "out of memory") : rc;
	}
	list_append(&machine->blocks, &block->link);
	return 0;
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

	if (!block)
		return -ENOENT;
	if (block->user[0])
		return ob_error_set(err, -EBUSY,
		                    "block node '%s' is in use by device '%s': remove that first",
		                    node_name, block->user);
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
	if (block->user[0]) {
		ob_error_set(err, -EBUSY, "block node '%s' is in use by device '%s' already",
		             node_name, block->user);
		return NULL;
	}
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
