/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan of what is to be made; see plan.h. */
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/suggest.h"

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

int plan_place(struct plan_list *list, size_t from, const char *file, unsigned line,
               const struct opts *lines)
{
	for (size_t i = from; i < list->count; i++) {
		struct plan_item *item = &list->items[i];

		item->line = line;
		item->file = strdup(file);
		if (!item->file || opts_append(&item->lines, lines))
			return -ENOMEM;
	}
	return 0;
}

/* The last one, where a key is given twice. */
unsigned plan_line(unsigned line, const struct opts *lines, const char *key)
{
	for (size_t i = 0; i < lines->count; i++) {
		if (!strcmp(lines->list[i].key, key))
			line = (unsigned)strtoul(lines->list[i].value, NULL, 10);
	}
	return line;
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

/* The lists in the order in which they are made, and what their items are called. */
struct kind {
	struct plan_list *list;
	int (*make)(struct machine *machine, struct opts *opts, struct ob_error *err);
	const char *name, *id_key;
};

enum { KINDS = 4 };

static void list_kinds(struct plan *plan, struct kind kinds[KINDS])
{
	kinds[0] = (struct kind){&plan->blocks, machine_add_block, "block node", "node-name"};
	kinds[1] = (struct kind){&plan->chardevs, machine_add_chardev, "chardev", "id"};
	kinds[2] = (struct kind){&plan->devices, machine_add_device, "device", "id"};
	kinds[3] = (struct kind){&plan->objects, machine_add_object, "server object", "id"};
}

/* Makes an item. An error says whose it is and where that is written. */
static int make_item(const struct kind *kind, size_t number, struct machine *machine,
                     struct ob_error *err)
{
	struct plan_item *item = &kind->list->items[number];
	const char *given = opts_get(&item->opts, kind->id_key);
	char name[ID_MAX + 3];
	int rc;

	snprintf(name, sizeof(name), "'%.*s'", ID_MAX, given ? given : "");
	rc = kind->make(machine, &item->opts, err);
	if (!rc)
		return 0;
	if (!given)
		ob_error_prefix(err, rc, "%s number %zu, without %s=", kind->name, number + 1,
		                kind->id_key);
	else if (!strstr(err->message, name))
		ob_error_prefix(err, rc, "%s %s", kind->name, name);
	if (item->file)
		ob_error_prefix(err, rc, "%s:%u", item->file,
		                plan_line(item->line, &item->lines, err->key));
	return rc;
}

static int make_list(const struct kind *kind, struct machine *machine, struct ob_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < kind->list->count && !rc; i++)
		rc = make_item(kind, i, machine, err);
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
	struct kind kinds[KINDS];
	int rc = 0;

	list_kinds(plan, kinds);
	for (size_t i = 0; i < ARRAY_SIZE(kinds) && !rc; i++)
		rc = make_list(&kinds[i], machine, err);
	return rc;
}

/* A node in the place of one that is wrong, so that the device over it can be looked at. */
static void put_placeholder(struct machine *machine, const char *node_name)
{
	cleanup_opts struct opts opts = {0};
	struct ob_error unused;

	if (!opts_add(&opts, "driver", "null") && !opts_add(&opts, "node-name", node_name))
		(void)machine_add_block(machine, &opts, &unused);
}

/* The same of a chardev. */
static void put_null(struct machine *machine, const char *id)
{
	cleanup_opts struct opts opts = {0};
	struct ob_error unused;

	if (!opts_add(&opts, "backend", "null") && !opts_add(&opts, "id", id))
		(void)machine_add_chardev(machine, &opts, &unused);
}

/* What was noted while a plan is checked. */
struct check {
	struct machine *machine;
	struct opts failed; /* ids of devices */
	void (*report)(void *context, const struct ob_error *err);
	void *context;
};

static int check_item(struct check *check, const struct kind *kind, size_t number)
{
	struct opts *opts = &kind->list->items[number].opts;
	const char *given = opts_get(opts, kind->id_key), *device = opts_get(opts, "device");
	cleanup_free char *name = strdup(given ? given : "");
	struct ob_error err = {0};

	if (!name)
		return -ENOMEM;
	/* That its device is missing is no news; the rest of it may be. */
	if (device && opts_get(&check->failed, device))
		free(opts_take(opts, "device"));
	if (!make_item(kind, number, check->machine, &err))
		return 0;
	check->report(check->context, &err);
	if (kind->make == machine_add_block)
		put_placeholder(check->machine, name);
	else if (kind->make == machine_add_chardev)
		put_null(check->machine, name);
	return kind->make == machine_add_device ? opts_add(&check->failed, name, "") : 0;
}

int plan_check(struct plan *plan, struct machine *machine,
               void (*report)(void *context, const struct ob_error *err), void *context)
{
	struct check check = {.machine = machine, .report = report, .context = context};
	struct kind kinds[KINDS];
	int rc = 0;

	list_kinds(plan, kinds);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (size_t j = 0; j < kinds[i].list->count && !rc; j++)
			rc = check_item(&check, &kinds[i], j);
	}
	opts_free(&check.failed);
	return rc;
}

void plan_list_free(struct plan_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		opts_free(&list->items[i].opts);
		opts_free(&list->items[i].lines);
		free(list->items[i].file);
	}
	free(list->items);
	*list = (struct plan_list){0};
}

void plan_free(struct plan *plan)
{
	plan_list_free(&plan->blocks);
	plan_list_free(&plan->chardevs);
	plan_list_free(&plan->devices);
	plan_list_free(&plan->objects);
	plan_list_free(&plan->monitors);
}
