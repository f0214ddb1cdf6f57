/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan of what is to be made; see plan.h. */
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

int plan_add(struct plan_list *list, struct opts *opts, bool default_socket)
{
	struct plan_item *items = reallocarray(list->items, list->count + 1, sizeof(*items));

	if (!items) {
		opts_free(opts);
		return -ENOMEM;
	}
	list->items = items;
	list->items[list->count++] =
		(struct plan_item){.opts = *opts, .default_socket = default_socket};
	*opts = (struct opts){0};
	return 0;
}

static bool has_socket(const struct opts *opts)
{
	static const char *const keys[] = {"path", "fd", "socket.path", "socket.fd"};
	const char *backend = opts_get(opts, "backend"); /* of a monitor */

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (opts_get(opts, keys[i]))
			return true;
	}
	return backend && strcmp(backend, "socket") != 0;
}

/* Short enough for a socket wherever users have their runtime folder, and nobody else's. */
static int add_default_path(struct opts *opts, unsigned number)
{
	const char *folder = getenv("XDG_RUNTIME_DIR");
	char path[256];
	int n;

	if (!folder || folder[0] != '/')
		folder = geteuid() == 0 ? "/run" : "/tmp";
	n = snprintf(path, sizeof(path), "%s/outboard-%d", folder, (int)getpid());
	if (number > 1 && n < (int)sizeof(path))
		n += snprintf(path + n, sizeof(path) - (size_t)n, "-%u", number);
	if (n < (int)sizeof(path))
		snprintf(path + n, sizeof(path) - (size_t)n, ".sock");
	return opts_add(opts, "path", path);
}

static int check_counts(size_t given, size_t needed, struct ob_error *err)
{
	if (given > needed)
		return ob_error_set(
			err, -EINVAL,
			"%zu sockets are given by descriptor or --socket-path, but %zu %s "
			"without one of its own: give as many as are needed",
			given, needed, needed == 1 ? "device is" : "devices are");
	if (given && given < needed)
		return ob_error_set(err, -EINVAL,
		                    "%zu devices need a socket, but %zu %s given by descriptor or "
		                    "--socket-path: give each one, or socket=PATH with the device",
		                    needed, given, given == 1 ? "is" : "are");
	return 0;
}

/* Takes the socket out of named that has one of these names; NULL: there is none. */
static char *take_named(struct opts *named, const char *id, const char *device)
{
	char *fd = id ? opts_take(named, id) : NULL;

	return fd || !device ? fd : opts_take(named, device);
}

static int give_named(struct plan_list *list, struct opts *named, struct ob_error *err)
{
	for (size_t i = 0; i < list->count; i++) {
		struct opts *opts = &list->items[i].opts;
		cleanup_free char *fd = NULL;

		if (has_socket(opts))
			continue;
		fd = take_named(named, opts_get(opts, "id"), opts_get(opts, "device"));
		if (fd && opts_add(opts, "fd", fd))
			return ob_error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

/* Those without a name, and then those whose name is nobody's. */
static int collect_sources(struct opts *all, const struct opts *sources, const struct opts *named,
                           struct ob_error *err)
{
	int rc = opts_append(all, sources);

	for (size_t i = 0; i < named->count && !rc; i++)
		rc = opts_add(all, "fd", named->list[i].value);
	return rc ? ob_error_set(err, rc, "out of memory") : 0;
}

static int give_in_order(struct plan *plan, const struct opts *sources, struct ob_error *err)
{
	unsigned needed = 0, next = 0;
	int rc;

	for (size_t i = 0; i < plan->objects.count; i++)
		needed += !has_socket(&plan->objects.items[i].opts);
	rc = check_counts(sources->count, needed, err);
	for (size_t i = 0; i < plan->objects.count && !rc; i++) {
		struct plan_item *item = &plan->objects.items[i];

		if (has_socket(&item->opts))
			continue;
		if (next < sources->count)
			rc = opts_add(&item->opts, sources->list[next].key,
			              sources->list[next].value);
		else if (item->default_socket)
			rc = add_default_path(&item->opts, next + 1);
		next++;
		if (rc)
			ob_error_set(err, rc, "out of memory");
	}
	return rc;
}

int plan_give_sockets(struct plan *plan, const struct opts *sources, struct opts *named,
                      struct ob_error *err)
{
	cleanup_opts struct opts all = {0};
	int rc = give_named(&plan->objects, named, err);

	if (!rc)
		rc = give_named(&plan->monitors, named, err);
	if (!rc)
		rc = collect_sources(&all, sources, named, err);
	return rc ? rc : give_in_order(plan, &all, err);
}

static int make_list(struct plan_list *list, struct machine *machine,
                     int (*make)(struct machine *machine, struct opts *opts, struct ob_error *err),
                     struct ob_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < list->count && !rc; i++)
		rc = make(machine, &list->items[i].opts, err);
	return rc;
}

int plan_wait(struct plan *plan, struct ob_error *err)
{
	for (size_t i = 0; i < plan->blocks.count; i++) {
		struct opts *opts = &plan->blocks.items[i].opts;

		if (!opts_get(opts, "active") && opts_add(opts, "active", "off"))
			return ob_error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

int plan_make(struct plan *plan, struct machine *machine, struct ob_error *err)
{
	int rc = make_list(&plan->blocks, machine, machine_add_block, err);

	if (!rc)
		rc = make_list(&plan->devices, machine, machine_add_device, err);
	if (!rc)
		rc = make_list(&plan->objects, machine, machine_add_object, err);
	return rc;
}

void plan_list_free(struct plan_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		opts_free(&list->items[i].opts);
	free(list->items);
	*list = (struct plan_list){0};
}

void plan_free(struct plan *plan)
{
	plan_list_free(&plan->blocks);
	plan_list_free(&plan->devices);
	plan_list_free(&plan->objects);
	plan_list_free(&plan->monitors);
}
