/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine as a whole: its beginning, and its end in the right order. The objects themselves are
 * in machine_block.c, machine_device.c and machine_server.c; machine_run.c has what happens to all
 * of them at once, machine_info.c and machine_props.c what others may see of them.
 */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "dma/guard.h"
#include "objects.h"

static void run_stopped(struct ob_task *task)
{
	struct machine *machine = container_of(task, struct machine, stopped_task);

	machine->stopped(machine->context);
}

/* Bytes of transfers by messages, for all clients that take their time to answer. */
enum { BOUNCE_TOTAL = 256 << 20 };

/* Half of what the process may have open; the rest is for its own sockets and images. */
static uint64_t fds_for_clients(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) ? 512 : limit.rlim_cur / 2;
}

struct machine *machine_new(struct ob_loop *loop, struct log *log)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	if (!machine)
		return NULL;
	machine->dma_budget = dma_budget_of_process();
	if (!machine->dma_budget) {
		free(machine);
		return NULL;
	}
	machine->fds.total = fds_for_clients();
	machine->bounce.total = BOUNCE_TOTAL;
	machine->loop = loop;
	machine->log = log;
	machine->stopped_task.run = run_stopped;
	list_init(&machine->blocks);
	list_init(&machine->openings);
	list_init(&machine->chardevs);
	list_init(&machine->roots);
	list_init(&machine->devices);
	list_init(&machine->parts);
	list_init(&machine->subsystems);
	list_init(&machine->servers);
	list_init(&machine->listeners);
	machine_run_init(machine);
	return machine;
}

static void on_lost_memory(struct loop_fd *watch, uint32_t events)
{
	dma_guard_tell();
}

int machine_guard_memory(struct machine *machine)
{
	int fd = dma_guard_install();
	int rc;

	if (fd < 0)
		return fd;
	machine->lost_memory =
		(struct loop_fd){.fd = fd, .events = EPOLLIN, .ready = on_lost_memory};
	rc = loop_fd_add(machine->loop, &machine->lost_memory);
	if (rc)
		dma_guard_remove();
	machine->guarded = !rc;
	return rc;
}

void machine_free(struct machine *machine)
{
	if (!machine)
		return;
	if (machine->guarded) {
		loop_fd_remove(machine->loop, &machine->lost_memory);
		dma_guard_remove();
	}
	ob_task_cancel(&machine->stopped_task);
	machine_run_end(machine);
	subsystems_free(machine);
	names_free(&machine->block_names);
	names_free(&machine->chardev_names);
	names_free(&machine->root_names);
	names_free(&machine->device_names);
	names_free(&machine->server_names);
	dma_budget_drop(machine->dma_budget);
	block_forget_openings(machine->loop);
	free(machine);
}

void root_remove(struct machine *machine, struct root *root)
{
	names_remove(&machine->root_names, &root->name);
	list_remove(&root->link);
	root_free(root);
}

static void remove_roots(struct machine *machine)
{
	struct root *root;

	list_for_each (root, &machine->roots, struct root, link)
		root_remove(machine, root);
}

/*
 * Servers let devices go, devices let block nodes and chardevs go: each waits for who has it, and
 * no other.
 */
void machine_something_gone(struct machine *machine)
{
	if (!machine->stopping)
		return;
	chardevs_remove(machine);
	if (!list_empty(&machine->servers) || !list_empty(&machine->devices) ||
	    !list_empty(&machine->blocks) || !list_empty(&machine->chardevs))
		return;
	remove_roots(machine);
	ob_task_schedule(machine->loop, &machine->stopped_task);
}

void machine_look_only(struct machine *machine)
{
	machine->look_only = true;
}

void machine_stop(struct machine *machine, void (*stopped)(void *context), void *context)
{
	struct machine_server *server;
	struct machine_device *device;
	struct machine_block *block;

	machine->shutting_down = true; /* whoever calls knows */
	machine->stopped = stopped;
	machine->context = context;
	blocks_abandon(machine);
	list_for_each (server, &machine->servers, struct machine_server, link)
		server_remove(server);
	list_for_each (device, &machine->devices, struct machine_device, link)
		device_remove(device);
	/* Only now, so that the walks above are not done while something goes on stopping. */
	machine->stopping = true;
	list_for_each (block, &machine->blocks, struct machine_block, link)
		block_unused(block);
	machine_something_gone(machine);
}

bool machine_is_ending(const struct machine *machine)
{
	return machine->shutting_down && (machine->quit || machine->stopping);
}

int machine_refuse_ending(const struct machine *machine, struct ob_error *err)
{
	return machine_is_ending(machine)
	               ? ob_error_set(err, -ESHUTDOWN,
	                              "the process is about to end: nothing can be made any more")
	               : 0;
}

struct server *machine_server_at(const struct machine *machine, unsigned index)
{
	struct machine_server *server;

	list_for_each (server, &machine->servers, struct machine_server, link) {
		if (server->server && !server->closing && !index--)
			return server->server;
	}
	return NULL;
}
