/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about chardevs: QEMU's qapi/char.json. */
#include <errno.h>
#include <string.h>

#include "base/opts_json.h"
#include "commands_made.h"
#include "internal.h"

/* What has no options is written as an empty object there. */
static void drop_empty(struct json_object *args)
{
	struct json_object *backend = json_object_object_get(args, "backend"), *data;

	if (json_object_object_get_ex(backend, "data", &data) &&
	    json_object_is_type(data, json_type_object) && !json_object_object_length(data))
		json_object_object_del(backend, "data");
}

static struct json_object *chardev_return(struct monitor *monitor, const char *id)
{
	struct json_object *ret = json_object_new_object();
	const struct ob_chardev *chardev =
		machine_find_chardev(monitor->set->env.machine, id, NULL);

	if (chardev && *chardev_pty_name(chardev))
		put_str(ret, "pty", chardev_pty_name(chardev));
	return ret;
}

int qmp_chardev_add(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                    struct qmp_error *err)
{
	cleanup_opts struct opts opts = {0};
	int rc;

	if (!json_object_is_type(json_object_object_get(args, "backend"), json_type_object))
		return ob_error_set(&err->text, -EINVAL,
		                    "Parameter 'backend' expects an object with 'type'");
	drop_empty(args);
	rc = opts_from_json(&opts, args, &err->text);
	if (!rc)
		rc = chardev_from_qapi(&opts, &err->text);
	if (!rc)
		rc = machine_open_chardev(monitor->set->env.machine, &opts, &monitor->waiter,
		                          &err->text);
	if (!rc)
		*ret = chardev_return(monitor, get_str(args, "id"));
	return rc;
}

int qmp_chardev_remove(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                       struct qmp_error *err)
{
	struct machine *machine = monitor->set->env.machine;
	const char *id = get_str(args, "id");
	int rc = machine_remove_chardev(machine, id, &err->text);

	return rc ? rc : machine_wait_chardev(machine, id, &monitor->waiter);
}

int qmp_chardev_send_break(struct monitor *monitor, struct json_object *args,
                           struct json_object **ret, struct qmp_error *err)
{
	struct ob_chardev *chardev =
		machine_find_chardev(monitor->set->env.machine, get_str(args, "id"), &err->text);

	if (chardev)
		chardev_send_break(chardev);
	return chardev ? 0 : -ENOENT;
}

static int add_chardev(void *context, const struct machine_chardev_info *info)
{
	struct json_object *entry = json_object_new_object();

	put_str(entry, "label", info->id);
	put_str(entry, "filename", info->filename);
	put_bool(entry, "frontend-open", info->user != NULL);
	put_bool(entry, "backend-open", info->open);
	put_str(entry, "qdev", info->user_path);
	put_int(entry, "received", info->stats->received);
	put_int(entry, "sent", info->stats->sent);
	put_int(entry, "dropped", info->stats->dropped);
	json_object_array_add(context, entry);
	return 0;
}

int qmp_query_chardev(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                      struct qmp_error *err)
{
	*ret = json_object_new_array();
	return machine_each_chardev(monitor->set->env.machine, add_chardev, *ret);
}

int qmp_query_chardev_backends(struct monitor *monitor, struct json_object *args,
                               struct json_object **ret, struct qmp_error *err)
{
	*ret = json_object_new_array();
	for (const struct chardev_driver *const *at = chardev_drivers(); *at; at++) {
		struct json_object *entry = json_object_new_object();

		put_str(entry, "name", (*at)->name);
		json_object_array_add(*ret, entry);
	}
	return 0;
}
