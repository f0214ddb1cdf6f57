/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine's chardevs: made, lent to devices and removed. Opening one may take time, and closing
 * one as well; meanwhile it has its name, and nothing else can be done with it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "objects.h"

static struct machine_chardev *chardev_find(const struct machine *machine, const char *id)
{
	struct name *name = names_find(&machine->chardev_names, id);

	return name ? container_of(name, struct machine_chardev, name) : NULL;
}

static struct machine_chardev *chardev_find_or_refuse(const struct machine *machine, const char *id,
                                                      struct ob_error *err)
{
	struct machine_chardev *chardev = chardev_find(machine, id);
	struct nearest nearest = nearest_to(id);

	if (chardev && !chardev->opening && !chardev->removing)
		return chardev;
	if (chardev) {
		ob_error_set(err, -EBUSY, "chardev '%s' is still being %s", id,
		             chardev->opening ? "opened" : "closed");
		return NULL;
	}
	list_for_each (chardev, &machine->chardevs, struct machine_chardev, link)
		nearest_try(&nearest, chardev->id);
	refuse_unknown(&nearest, "chardev", NULL, "make it first, as -chardev pty,id=ID does", err);
	return NULL;
}

/* It is closed. */
static void chardev_gone(struct machine_chardev *chardev)
{
	struct machine *machine = chardev->machine;

	names_remove(&machine->chardev_names, &chardev->name);
	list_remove(&chardev->link);
	machine_waiters_ready(machine, &chardev->waiters);
	free(chardev);
}

static void on_closed(struct chardev_wait *wait, int status, const struct ob_error *err)
{
	struct machine_chardev *chardev = container_of(wait, struct machine_chardev, wait);
	struct machine *machine = chardev->machine;

	(void)status;
	(void)err;
	chardev_gone(chardev);
	machine_something_gone(machine);
}

/* 0: it has gone; or -EINPROGRESS. */
static int close_it(struct machine_chardev *chardev)
{
	chardev->removing = true;
	chardev->wait.done = on_closed;
	if (chardev_close(chardev->chardev, &chardev->wait) == -EINPROGRESS)
		return -EINPROGRESS;
	chardev_gone(chardev);
	return 0;
}

static void tell_waiters(struct machine_chardev *chardev, int status, const struct ob_error *err)
{
	struct machine_waiter *waiter;

	if (status && list_empty(&chardev->waiters))
		log_error(chardev->machine->log, "chardev '%s': %s", chardev->id, err->message);
	list_for_each (waiter, &chardev->waiters, struct machine_waiter, link) {
		if (status)
			waiter->failure = *err;
	}
	machine_waiters_ready(chardev->machine, &chardev->waiters);
}

static void on_opened(struct chardev_wait *wait, int status, const struct ob_error *err)
{
	struct machine_chardev *chardev = container_of(wait, struct machine_chardev, wait);

	chardev->opening = false;
	tell_waiters(chardev, status, err);
	/* From a task: the driver is still about to return. */
	if (status) {
		chardev->removing = true;
		ob_task_schedule(chardev->machine->loop, &chardev->drop);
	}
}

static void run_drop(struct ob_task *task)
{
	struct machine_chardev *chardev = container_of(task, struct machine_chardev, drop);
	struct machine *machine = chardev->machine;

	(void)close_it(chardev);
	machine_something_gone(machine);
}

static int check_opts(const struct machine *machine, const struct opts *opts, struct ob_error *err)
{
	const char *id = opts_get(opts, "id");
	int rc = id ? check_id("id", id, err) : ob_error_set(err, -EINVAL, "a chardev needs id=");

	if (!rc && chardev_find(machine, id))
		rc = ob_error_set(err, -EEXIST, "there is a chardev '%s' already", id);
	return rc;
}

static struct machine_chardev *make(struct machine *machine, const char *id, struct opts *opts,
                                    struct ob_error *err)
{
	struct machine_chardev *chardev = calloc(1, sizeof(*chardev));

	if (!chardev) {
		ob_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	chardev->machine = machine;
	chardev->drop.run = run_drop;
	list_init(&chardev->link);
	list_init(&chardev->waiters);
	snprintf(chardev->id, sizeof(chardev->id), "%s", id);
	chardev->chardev = chardev_new(machine->loop, machine->log, id, opts, err);
	if (!chardev->chardev || names_add(&machine->chardev_names, &chardev->name, chardev->id)) {
		if (chardev->chardev)
			ob_error_set(err, -ENOMEM, "out of memory");
		chardev_close(chardev->chardev, NULL);
		free(chardev);
		return NULL;
	}
	list_append(&machine->chardevs, &chardev->link);
	return chardev;
}

int machine_open_chardev(struct machine *machine, struct opts *opts, struct machine_waiter *waiter,
                         struct ob_error *err)
{
	cleanup_free char *id = NULL;
	struct machine_chardev *chardev;
	int rc = machine_refuse_ending(machine, err);

	if (!rc)
		rc = check_opts(machine, opts, err);
	if (rc)
		return rc;
	id = opts_take(opts, "id");
	chardev = make(machine, id, opts, err);
	if (!chardev)
		return -EINVAL;
	if (machine->look_only)
		return 0;
	chardev->wait.done = on_opened;
	rc = chardev_open(chardev->chardev, &chardev->wait, err);
	if (rc == -EINPROGRESS) {
		chardev->opening = true;
		if (waiter)
			list_append(&chardev->waiters, &waiter->link);
	} else if (rc) {
		(void)close_it(chardev);
	}
	return rc;
}

static void on_added(struct machine_waiter *waiter)
{
	waiter->done = NULL;
}

int machine_add_chardev(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	struct machine_waiter waiter = {.done = on_added};
	int rc = machine_open_chardev(machine, opts, &waiter, err);

	return rc == -EINPROGRESS ? machine_await(machine, &waiter, err) : rc;
}

int machine_remove_chardev(struct machine *machine, const char *id, struct ob_error *err)
{
	struct machine_chardev *chardev = chardev_find(machine, id);
	struct ob_error given_up;
	int rc;

	if (!chardev || !chardev->opening)
		chardev = chardev_find_or_refuse(machine, id, err);
	if (!chardev)
		return -ENOENT;
	if (chardev->user[0])
		return ob_error_set(err, -EBUSY,
		                    "chardev '%s' is in use by device '%s': remove that first", id,
		                    chardev->user);
	rc = ob_error_set(&given_up, -ECANCELED, "chardev '%s' was removed while it was opened",
	                  id);
	if (chardev->opening)
		tell_waiters(chardev, rc, &given_up);
	(void)close_it(chardev);
	return 0;
}

int machine_wait_chardev(struct machine *machine, const char *id, struct machine_waiter *waiter)
{
	struct machine_chardev *chardev = chardev_find(machine, id);

	if (!chardev || !chardev->removing)
		return 0;
	list_append(&chardev->waiters, &waiter->link);
	return -EINPROGRESS;
}

struct ob_chardev *machine_find_chardev(const struct machine *machine, const char *id,
                                        struct ob_error *err)
{
	struct machine_chardev *chardev = chardev_find_or_refuse(machine, id, err);

	return chardev ? chardev->chardev : NULL;
}

void chardevs_remove(struct machine *machine)
{
	struct machine_chardev *chardev;

	list_for_each (chardev, &machine->chardevs, struct machine_chardev, link) {
		if (!chardev->removing && !chardev->user[0])
			(void)close_it(chardev);
	}
}

struct ob_chardev *chardevs_claim(void *context, const char *id, const char *user,
                                  struct ob_error *err)
{
	struct machine_chardev *chardev = chardev_find_or_refuse(context, id, err);

	if (!chardev)
		return NULL;
	if (chardev->user[0]) {
		ob_error_set(err, -EBUSY,
		             "chardev '%s' is in use by device '%s': a chardev has one user", id,
		             chardev->user);
		return NULL;
	}
	snprintf(chardev->user, sizeof(chardev->user), "%s", user);
	return chardev->chardev;
}

void chardevs_release(void *context, struct ob_chardev *used, const char *user)
{
	struct machine_chardev *chardev = chardev_find(context, ob_chardev_id(used));

	(void)user;
	chardev->user[0] = '\0';
}

int machine_each_chardev(const struct machine *machine,
                         int (*each)(void *context, const struct machine_chardev_info *info),
                         void *context)
{
	struct machine_chardev *at;
	int rc = 0;

	list_for_each (at, &machine->chardevs, struct machine_chardev, link) {
		char path[MACHINE_PATH_SIZE], filename[256];
		struct machine_chardev_info info = {
			.id = at->id,
			.driver = chardev_driver(at->chardev)->name,
			.filename = chardev_describe(at->chardev, filename, sizeof(filename)),
			.user = at->user[0] ? at->user : NULL,
			.user_path = at->user[0] ? device_path(path, at->user) : NULL,
			.open = ob_chardev_is_open(at->chardev),
			.stats = chardev_stats(at->chardev),
		};

		if (at->opening || at->removing)
			continue;
		rc = each(context, &info);
		if (rc)
			break;
	}
	return rc;
}
