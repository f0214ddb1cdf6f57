/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands that move all devices to another process, as in QEMU's qapi/migration.json. */
#include <errno.h>

#include "commands_made.h"
#include "internal.h"

enum { NS_PER_MS = 1000000, PAGE_SIZE = 4096, MAX_DOWNTIME_MS = 2000000 };

int qmp_migrate(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                struct qmp_error *err)
{
	return moves_begin(monitor->set->env.moves, get_str(args, "uri"), &err->text);
}

int qmp_migrate_incoming(struct monitor *monitor, struct json_object *args,
                         struct json_object **ret, struct qmp_error *err)
{
	return moves_accept(monitor->set->env.moves, get_str(args, "uri"), &err->text);
}

int qmp_migrate_cancel(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                       struct qmp_error *err)
{
	return moves_cancel(monitor->set->env.moves, &err->text);
}

static struct json_object *stats(const struct move_info *info)
{
	static const char *const nothing[] = {"duplicate",
	                                      "skipped",
	                                      "normal",
	                                      "normal-bytes",
	                                      "dirty-pages-rate",
	                                      "pages-per-second",
	                                      "dirty-sync-missed-zero-copy",
	                                      "multifd-bytes",
	                                      "postcopy-requests",
	                                      "postcopy-bytes",
	                                      "downtime-bytes"};
	struct json_object *object = json_object_new_object();

	put_int(object, "transferred", info->transferred);
	put_int(object, "precopy-bytes", info->transferred);
	put_int(object, "remaining", info->remaining);
	put_int(object, "total", info->transferred + info->remaining);
	json_object_object_add(object, "mbps",
	                       json_object_new_double((double)info->bytes_per_second * 8 / 1e6));
	put_int(object, "dirty-sync-count", info->passes);
	for (size_t i = 0; i < ARRAY_SIZE(nothing); i++)
		put_int(object, nothing[i], 0);
	put_int(object, "page-size", PAGE_SIZE);
	return object;
}

int qmp_query_migrate(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                      struct qmp_error *err)
{
	struct move_info info;

	moves_info(monitor->set->env.moves, &info);
	*ret = json_object_new_object();
	if (info.status == MOVE_NONE)
		return 0;
	put_str(*ret, "status", move_status_name(info.status));
	json_object_object_add(*ret, "ram", stats(&info));
	put_int(*ret, "total-time", info.total_ns / NS_PER_MS);
	put_int(*ret, "setup-time", info.setup_ns / NS_PER_MS);
	put_int(*ret, info.status == MOVE_ACTIVE ? "expected-downtime" : "downtime",
	        info.downtime_ns / NS_PER_MS);
	if (info.error[0])
		put_str(*ret, "error-desc", info.error);
	return 0;
}

/* Takes a number that may be missing. */
static int take(struct json_object *args, const char *key, uint64_t max, uint64_t *value,
                struct qmp_error *err)
{
	struct json_object *given = json_object_object_get(args, key);
	int64_t number = given ? json_object_get_int64(given) : 0;

	if (number < 0 || (uint64_t)number > max)
		return ob_error_set(&err->text, -EINVAL,
		                    "Parameter '%s' expects a number from 0 to %llu", key,
		                    (unsigned long long)max);
	if (given)
		*value = (uint64_t)number;
	return 0;
}

int qmp_migrate_set_parameters(struct monitor *monitor, struct json_object *args,
                               struct json_object **ret, struct qmp_error *err)
{
	struct move_parameters parameters = moves_parameters(monitor->set->env.moves);
	int rc = take(args, "max-bandwidth", INT64_MAX, &parameters.max_bandwidth, err);

	if (!rc)
		rc = take(args, "downtime-limit", MAX_DOWNTIME_MS, &parameters.downtime_limit, err);
	if (!rc)
		moves_set_parameters(monitor->set->env.moves, &parameters);
	return rc;
}

int qmp_query_migrate_parameters(struct monitor *monitor, struct json_object *args,
                                 struct json_object **ret, struct qmp_error *err)
{
	struct move_parameters parameters = moves_parameters(monitor->set->env.moves);

	*ret = json_object_new_object();
	put_int(*ret, "max-bandwidth", parameters.max_bandwidth);
	put_int(*ret, "downtime-limit", parameters.downtime_limit);
	return 0;
}

const char *migration_run_state(const struct moves *moves)
{
	struct move_info info;

	moves_info(moves, &info);
	if (!info.incoming && info.status == MOVE_DEVICE)
		return "finish-migrate";
	if (!moves_held(moves))
		return NULL;
	return !info.incoming && info.status != MOVE_NONE ? "postmigrate" : "inmigrate";
}
