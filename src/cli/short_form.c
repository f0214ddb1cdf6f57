/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The short form of the command line; see short_form.h.
 *
 * Whose property a key is, the property tables say: the model's come first, then the server's, then
 * those of the block driver. The driver follows from what is given: a file, or a size alone for a
 * disk in memory, or it is named.
 */
#include "short_form.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/suggest.h"

struct short_form {
	const struct ob_model *model;
	const struct ob_prop *drive;       /* NULL: the model has no disk */
	const struct ob_prop *chardev;     /* NULL: nor a chardev */
	const struct block_driver *driver; /* NULL: no block node is to be made */
	char id[ID_MAX + 1];
	struct opts files;                       /* the keys do not matter */
	struct opts given;                       /* key=value, until they are handed out */
	struct opts block, line, device, server; /* line: of a chardev; empty: none is made */
	struct unknown unknown;
};

static const char file_driver[] = "file";

static const struct ob_prop *find_type(const struct ob_model *model, enum ob_prop_type type)
{
	for (const struct ob_prop *prop = model->props; prop && prop->name; prop++) {
		if (prop->type == type)
			return prop;
	}
	return NULL;
}

const struct ob_prop *short_form_drive(const struct ob_model *model)
{
	return find_type(model, OB_PROP_BLOCKS);
}

const struct ob_prop *short_form_chardev(const struct ob_model *model)
{
	return find_type(model, OB_PROP_CHARDEV);
}

/* Only what looks like a property's name is one: "./a=b.img" is a file. */
static const char *value_of(const char *word)
{
	const char *c = word;

	if (!isalpha((unsigned char)*c))
		return NULL;
	while (isalnum((unsigned char)*c) || (*c && strchr("-_.", *c)))
		c++;
	return *c == '=' ? c + 1 : NULL;
}

static int sort_word(struct short_form *form, const char *word, struct ob_error *err)
{
	const char *value = value_of(word);
	/* As long as it is: cut, it might be the name of something else. */
	cleanup_free char *key = value ? strndup(word, (size_t)(value - 1 - word)) : NULL;
	int rc = -ENOMEM;

	if (!value || (key && (!strcmp(key, "file") || !strcmp(key, "filename"))))
		rc = opts_add(&form->files, "file", value ? value : word);
	else if (key)
		rc = opts_add(&form->given, key, value);
	return rc ? ob_error_set(err, rc, "out of memory") : 0;
}

/* backend=NAME, or NAME=on. */
static int take_backend(struct short_form *form, struct ob_error *err)
{
	cleanup_free char *name = opts_take(&form->given, "backend");
	bool on;
	int rc;

	if (name) {
		form->driver = machine_find_driver(name, err);
		if (form->driver && form->driver->filter)
			return ob_error_set(err, -EINVAL,
			                    "backend=%s is a way to look at another node: say "
			                    "what that is, for example backend=file",
			                    name);
		return form->driver ? 0 : -EINVAL;
	}
	for (const struct block_driver *const *driver = block_drivers(); *driver; driver++) {
		cleanup_free char *value = NULL;

		if ((*driver)->filter || prop_find(form->model->props, (*driver)->name))
			continue;
		value = opts_take(&form->given, (*driver)->name);
		if (!value)
			continue;
		rc = parse_bool((*driver)->name, value, &on, err);
		if (rc)
			return rc;
		if (on)
			form->driver = *driver;
	}
	return 0;
}

static int choose_driver(struct short_form *form, struct ob_error *err)
{
	const char *name = form->model->name;
	const char *file = opts_get(&form->files, "file");
	int rc;

	if (!form->drive)
		return file ? ob_error_set(err, -EINVAL, "%s takes no files, but '%s' is given",
		                           name, file)
		            : 0;
	rc = take_backend(form, err);
	if (rc)
		return rc;
	if (!form->driver && file)
		form->driver = machine_find_driver(file_driver, err);
	else if (!form->driver && opts_get(&form->given, "size"))
		form->driver = machine_find_driver("mem", err);
	if (form->driver && !file && !strcmp(form->driver->name, file_driver))
		return ob_error_set(err, -EINVAL, "backend=file needs a file: outboard %s disk.img",
		                    name);
	if (form->driver && file && strcmp(form->driver->name, file_driver) != 0)
		return ob_error_set(err, -EINVAL,
		                    "file '%s' and backend %s are both given: choose one", file,
		                    form->driver->name);
	if (!form->driver && !opts_get(&form->given, form->drive->name))
		return ob_error_set(
			err, -EINVAL,
			"%s needs a disk: a file (outboard %s disk.img) or a size for one "
			"in memory (outboard %s size=1G)",
			name, name, name);
	return 0;
}

/* QEMU's users know it as read-only=, everybody else is spared the typing. */
static const char *block_key(const char *key)
{
	return !strcmp(key, "ro") ? "read-only" : key;
}

/* A property that is right, but with another backend. */
static int refuse_backend(const struct short_form *form, const char *key, struct ob_error *err)
{
	for (const struct block_driver *const *driver = block_drivers(); *driver; driver++) {
		if (form->driver && !(*driver)->filter &&
		    prop_find((*driver)->props, block_key(key)))
			return ob_error_set(
				err, -EINVAL,
				"%s= is for a disk with backend '%s', and this one has '%s'", key,
				(*driver)->name, form->driver->name);
	}
	return 0;
}

/* What nobody knows is gathered, so that all of it is named at once. */
static int note_unknown(struct short_form *form, const char *key, struct ob_error *err)
{
	static const char *const words[] = {"socket", "id", "bus", "addr"};
	static const char *const disk_words[] = {"file", "size", "backend"};
	struct nearest nearest = nearest_to(key);

	if (refuse_backend(form, key, err))
		return -EINVAL;
	nearest_try_props(&nearest, form->model->props);
	nearest_try_props(&nearest, device_common_props);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		nearest_try(&nearest, words[i]);
	for (size_t i = 0; form->drive && i < ARRAY_SIZE(disk_words); i++)
		nearest_try(&nearest, disk_words[i]);
	nearest_try_props(&nearest, server_props);
	if (form->driver) {
		nearest_try_props(&nearest, form->driver->props);
		nearest_try_props(&nearest, block_node_props);
	}
	unknown_add(&form->unknown, &nearest);
	return 0;
}

static int refuse_keys(const struct short_form *form, struct ob_error *err)
{
	char hint[128];

	snprintf(hint, sizeof(hint), "outboard %s --help shows all", form->model->name);
	return unknown_refuse(&form->unknown, form->model->name, hint, err);
}

/* chardev=pty, chardev=unix:PATH,...: makes one. What is no such form is an id. */
static int take_chardev(struct short_form *form, struct ob_error *err)
{
	cleanup_free char *value = NULL;
	char id[ID_MAX + 32];
	int rc;

	if (!form->chardev || !opts_get(&form->given, form->chardev->name) ||
	    !chardev_is_short(opts_get(&form->given, form->chardev->name)))
		return 0;
	value = opts_take(&form->given, form->chardev->name);
	rc = chardev_parse_short(&form->line, value, err);
	if (rc)
		return rc;
	snprintf(id, sizeof(id), "%s-chardev", form->id);
	if (opts_add(&form->line, "id", id) || opts_add(&form->device, form->chardev->name, id))
		return ob_error_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int hand_out(struct short_form *form, const struct opt *opt, struct ob_error *err)
{
	const struct ob_prop *block_props = form->driver ? form->driver->props : NULL;
	const char *key = opt->key;
	struct opts *to;
	int rc;

	if (prop_find(form->model->props, key) || prop_find(device_common_props, key) ||
	    !strcmp(key, "bus") || !strcmp(key, "addr")) {
		to = &form->device;
	} else if (!strcmp(key, "socket")) {
		to = &form->server;
		key = "path";
	} else if (prop_find(server_props, key)) {
		to = &form->server;
	} else if (prop_find(block_props, block_key(key)) ||
	           (form->driver && prop_find(block_node_props, key))) {
		to = &form->block;
		key = block_key(key);
	} else {
		return note_unknown(form, key, err);
	}
	rc = opts_add(to, key, opt->value);
	return rc ? ob_error_set(err, rc, "out of memory") : 0;
}

static int add_block(struct plan *plan, struct short_form *form, const char *file, unsigned number)
{
	cleanup_opts struct opts opts = {0};
	char name[ID_MAX + 32];
	int rc;

	snprintf(name, sizeof(name), "%s-drive%u", form->id, number);
	rc = opts_add(&opts, "driver", form->driver->name);
	if (!rc)
		rc = opts_add(&opts, "node-name", name);
	if (!rc && file)
		rc = opts_add(&opts, "filename", file);
	if (!rc)
		rc = opts_append(&opts, &form->block);
	/* With -blockdev it is QEMU's default: ignore. */
	if (!rc && file && !opts_get(&form->block, "discard"))
		rc = opts_add(&opts, "discard", "unmap");
	if (!rc)
		rc = opts_add(&form->device, form->drive->name, name);
	return rc ? rc : plan_add(&plan->blocks, &opts, false);
}

static int add_blocks(struct plan *plan, struct short_form *form)
{
	int rc = 0;

	if (!form->driver)
		return 0;
	if (!form->files.count)
		return add_block(plan, form, NULL, 0);
	for (unsigned i = 0; i < form->files.count && !rc; i++)
		rc = add_block(plan, form, form->files.list[i].value, i);
	return rc;
}

static int add_device(struct plan *plan, struct short_form *form)
{
	cleanup_opts struct opts opts = {0};
	int rc = opts_add(&opts, "driver", form->model->name);

	if (!rc)
		rc = opts_add(&opts, "id", form->id);
	if (!rc)
		rc = opts_append(&opts, &form->device);
	return rc ? rc : plan_add(&plan->devices, &opts, false);
}

static int add_server(struct plan *plan, struct short_form *form)
{
	cleanup_opts struct opts opts = {0};
	char id[ID_MAX + 32];
	int rc = opts_add(&opts, "qom-type", "x-vfio-user-server");

	snprintf(id, sizeof(id), "%s-server", form->id);
	if (!rc)
		rc = opts_add(&opts, "id", id);
	if (!rc)
		rc = opts_add(&opts, "device", form->id);
	if (!rc)
		rc = opts_append(&opts, &form->server);
	return rc ? rc : plan_add(&plan->objects, &opts, true);
}

/* Room is left for what is put behind it in the names of the other objects. */
static int take_id(struct short_form *form, unsigned number, struct ob_error *err)
{
	cleanup_free char *id = opts_take(&form->given, "id");
	int rc;

	if (!id) {
		snprintf(form->id, sizeof(form->id), "%.40s%u", form->model->name, number);
		return 0;
	}
	rc = check_id("id", id, err);
	if (!rc && strlen(id) > ID_MAX - strlen("-chardev"))
		rc = ob_error_set(err, -EINVAL, "id=%s: expected at most %zu characters", id,
		                  ID_MAX - strlen("-chardev"));
	if (!rc)
		snprintf(form->id, sizeof(form->id), "%s", id);
	return rc;
}

static int translate(struct plan *plan, struct short_form *form, struct ob_error *err)
{
	int rc = choose_driver(form, err);

	if (!rc)
		rc = take_chardev(form, err);
	for (size_t i = 0; i < form->given.count && !rc; i++)
		rc = hand_out(form, &form->given.list[i], err);
	if (!rc)
		rc = refuse_keys(form, err);
	if (rc)
		return rc;
	rc = add_blocks(plan, form);
	if (!rc && form->line.count)
		rc = plan_add(&plan->chardevs, &form->line, false);
	if (!rc)
		rc = add_device(plan, form);
	if (!rc)
		rc = add_server(plan, form);
	return rc ? ob_error_set(err, rc, "out of memory") : 0;
}

int short_form_add(struct plan *plan, const char *const *words, unsigned count, unsigned number,
                   struct ob_error *err)
{
	struct short_form form = {.model = machine_find_model(words[0], err)};
	int rc = 0;

	if (!form.model)
		return -EINVAL;
	form.drive = short_form_drive(form.model);
	form.chardev = short_form_chardev(form.model);
	for (unsigned i = 1; i < count && !rc; i++)
		rc = sort_word(&form, words[i], err);
	if (!rc)
		rc = take_id(&form, number, err);
	if (!rc)
		rc = translate(plan, &form, err);
	opts_free(&form.files);
	opts_free(&form.given);
	opts_free(&form.block);
	opts_free(&form.line);
	opts_free(&form.device);
	opts_free(&form.server);
	return rc;
}

/* As the monitor has them. */
static int translate_chardevs(struct plan_list *list, struct ob_error *err)
{
	int rc = 0;

	for (size_t i = 0; i < list->count && !rc; i++)
		rc = chardev_to_qapi(&list->items[i].opts, err);
	return rc;
}

static int tell_list(const struct plan_list *list, const char *command,
                     struct monitors_planned *planned)
{
	int rc = 0;

	for (size_t i = 0; i < list->count && !rc; i++)
		rc = planned->command(planned, command, &list->items[i].opts);
	return rc;
}

int short_form_tell(const char *const *words, unsigned count, struct monitors_planned *planned,
                    struct ob_error *err)
{
	struct plan plan = {0};
	int rc = short_form_add(&plan, words, count, 0, err);

	if (!rc)
		rc = translate_chardevs(&plan.chardevs, err);
	if (!rc) {
		rc = tell_list(&plan.blocks, "blockdev-add", planned);
		if (!rc)
			rc = tell_list(&plan.chardevs, "chardev-add", planned);
		if (!rc)
			rc = tell_list(&plan.devices, "device_add", planned);
		if (!rc)
			rc = tell_list(&plan.objects, "object-add", planned);
		if (rc)
			ob_error_set(err, rc, "out of memory");
	}
	plan_free(&plan);
	return rc;
}
