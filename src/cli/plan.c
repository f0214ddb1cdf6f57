/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan of what is to be made; see plan.h. */
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (opts_get(opts, keys[i]))
			return true;
	}
	return false;
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

int plan_give_sockets(struct plan *plan, const struct opts *sources, struct ob_error *err)
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

static int make_list(struct plan_list *list, struct machine *machine,
                     int (*make)(struct machine *machine, struct opts *opts, struct ob_error *err),
                     struct ob_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < list->count && !rc; i++)
		rc = make(machine, &list->items[i].opts, err);
	return rc;
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

static void free_list(struct plan_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		opts_free(&list->items[i].opts);
	free(list->items);
	*list = (struct plan_list){0};
}

void plan_free(struct plan *plan)
{
	free_list(&plan->blocks);
	free_list(&plan->devices);
	free_list(&plan->objects);
}
