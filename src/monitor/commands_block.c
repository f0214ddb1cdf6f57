/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about block nodes: QEMU's qapi/block-core.json and block.json. */
#include <errno.h>
#include <string.h>

#include "base/opts_json.h"
#include "commands_made.h"
#include "internal.h"

int qmp_blockdev_add(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                     struct qmp_error *err)
{
	cleanup_opts struct opts opts = {0};
	int rc = opts_from_json(&opts, args, &err->text);

	return rc ? rc
	          : machine_open_block(monitor->set->env.machine, &opts, &monitor->waiter,
	                               &err->text);
}

int qmp_blockdev_del(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                     struct qmp_error *err)
{
	struct machine *machine = monitor->set->env.machine;
	const char *name = get_str(args, "node-name");
	int rc = machine_remove_block(machine, name, &err->text);

	/* Whoever reads the reply may use the name and the file again. */
	return rc ? rc : machine_wait_block(machine, name, &monitor->waiter);
}

/* The block node that a device has, for block_resize. */
struct user_walk {
	const char *device;
	char node[64];
	unsigned count;
};

static int find_used(void *context, const struct machine_block_info *info)
{
	struct user_walk *walk = context;

	if (info->user &&
	    (!strcmp(info->user, walk->device) || !strcmp(info->user_path, walk->device))) {
		snprintf(walk->node, sizeof(walk->node), "%s", info->node_name);
		walk->count++;
	}
	return 0;
}

int qmp_block_resize(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                     struct qmp_error *err)
{
	struct machine *machine = monitor->set->env.machine;
	int64_t size = json_object_get_int64(json_object_object_get(args, "size"));
	const char *node = get_str(args, "node-name");
	struct user_walk walk = {.device = get_str(args, "device")};

	if (!node == !walk.device)
		return ob_error_set(&err->text, -EINVAL,
		                    "one of the parameters 'device' and 'node-name' expected");
	if (size < 0)
		return ob_error_set(&err->text, -EINVAL,
		                    "Parameter 'size' expects a number of bytes, at least 0");
	if (!node) {
		machine_each_block(machine, find_used, &walk);
		node = walk.count == 1 ? walk.node : walk.device;
	}
	if (walk.count > 1)
		return ob_error_set(&err->text, -EINVAL,
		                    "device '%s' has %u block nodes: name one with node-name",
		                    walk.device, walk.count);
	return machine_resize_block(machine, node, (uint64_t)size, &monitor->waiter, &err->text);
}

static struct json_object *children_of(const struct machine_block_info *info)
{
	struct json_object *list = json_object_new_array();
	struct json_object *child;

	if (!info->below)
		return list;
	child = json_object_new_object();
	put_str(child, "child", "file");
	put_str(child, "node-name", info->below);
	json_object_array_add(list, child);
	return list;
}

static struct json_object *cache_of(const struct machine_block_info *info)
{
	struct json_object *cache = json_object_new_object();

	put_bool(cache, "writeback", info->options->writeback);
	put_bool(cache, "direct", info->direct);
	put_bool(cache, "no-flush", info->options->no_flush);
	return cache;
}

static struct json_object *node_info(const struct machine_block_info *info)
{
	static const char *const limits[] = {"bps",  "bps_rd",  "bps_wr",
	                                     "iops", "iops_rd", "iops_wr"};
	struct json_object *node = json_object_new_object();
	struct json_object *image = json_object_new_object();

	put_str(node, "file", info->filename);
	put_str(node, "node-name", info->node_name);
	put_bool(node, "ro", info->info->read_only);
	put_str(node, "drv", info->driver);
	put_int(node, "backing_file_depth", 0);
	put_bool(node, "encrypted", false);
	put_str(node, "detect_zeroes", block_detect_name(info->options));
	put_bool(node, "active", info->active);
	json_object_object_add(node, "children", children_of(info));
	json_object_object_add(node, "cache", cache_of(info));
	for (unsigned i = 0; i < ARRAY_SIZE(limits); i++)
		put_int(node, limits[i], 0);
	put_str(image, "filename", info->filename);
	put_str(image, "format", info->driver);
	put_int(image, "virtual-size", info->info->size);
	json_object_object_add(node, "image", image);
	put_int(node, "write_threshold", 0);
	return node;
}

static int add_node(void *context, const struct machine_block_info *info)
{
	json_object_array_add(context, node_info(info));
	return 0;
}

int qmp_query_named_block_nodes(struct monitor *monitor, struct json_object *args,
                                struct json_object **ret, struct qmp_error *err)
{
	*ret = json_object_new_array();
	return machine_each_block(monitor->set->env.machine, add_node, *ret);
}

static const char *io_status(const struct machine_block_info *info)
{
	static const char *const names[] = {[MACHINE_IO_OK] = "ok",
	                                    [MACHINE_IO_FAILED] = "failed",
	                                    [MACHINE_IO_NOSPACE] = "nospace"};

	return info->stops ? names[info->io_status] : NULL;
}

static int add_disk(void *context, const struct machine_block_info *info)
{
	struct json_object *disk;

	if (!info->user)
		return 0;
	disk = json_object_new_object();
	put_str(disk, "device", "");
	put_str(disk, "qdev", info->user_path);
	put_str(disk, "type", "unknown");
	put_bool(disk, "removable", false);
	put_bool(disk, "locked", false);
	put_str(disk, "io-status", io_status(info));
	json_object_object_add(disk, "inserted", node_info(info));
	json_object_array_add(context, disk);
	return 0;
}

int qmp_query_block(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                    struct qmp_error *err)
{
	*ret = json_object_new_array();
	return machine_each_block(monitor->set->env.machine, add_disk, *ret);
}

/* Members that clients of QEMU expect, and nothing is counted for. */
static const char *const uncounted[] = {
	"wr_highest_offset",
	"rd_merged",
	"wr_merged",
	"unmap_merged",
	"invalid_rd_operations",
	"invalid_wr_operations",
	"invalid_flush_operations",
	"invalid_unmap_operations",
	"zone_append_bytes",
	"zone_append_operations",
	"zone_append_total_time_ns",
	"zone_append_merged",
	"failed_zone_append_operations",
	"invalid_zone_append_operations",
};

static struct json_object *stats_of(const struct machine_block_info *info)
{
	const struct block_stats *stats = info->stats;
	const uint64_t *done = stats->requests, *bytes = stats->bytes, *errors = stats->errors;
	struct json_object *to = json_object_new_object();

	put_int(to, "rd_bytes", bytes[OB_BLOCK_READ]);
	put_int(to, "wr_bytes", bytes[OB_BLOCK_WRITE] + bytes[OB_BLOCK_WRITE_ZEROES]);
	put_int(to, "unmap_bytes", bytes[OB_BLOCK_DISCARD]);
	put_int(to, "rd_operations", done[OB_BLOCK_READ]);
	put_int(to, "wr_operations", done[OB_BLOCK_WRITE] + done[OB_BLOCK_WRITE_ZEROES]);
	put_int(to, "flush_operations", done[OB_BLOCK_FLUSH]);
	put_int(to, "unmap_operations", done[OB_BLOCK_DISCARD]);
	put_int(to, "rd_total_time_ns", block_stats_time(stats, OB_BLOCK_READ));
	put_int(to, "wr_total_time_ns",
	        block_stats_time(stats, OB_BLOCK_WRITE) +
	                block_stats_time(stats, OB_BLOCK_WRITE_ZEROES));
	put_int(to, "flush_total_time_ns", block_stats_time(stats, OB_BLOCK_FLUSH));
	put_int(to, "unmap_total_time_ns", block_stats_time(stats, OB_BLOCK_DISCARD));
	put_int(to, "failed_rd_operations", errors[OB_BLOCK_READ]);
	put_int(to, "failed_wr_operations", errors[OB_BLOCK_WRITE] + errors[OB_BLOCK_WRITE_ZEROES]);
	put_int(to, "failed_flush_operations", errors[OB_BLOCK_FLUSH]);
	put_int(to, "failed_unmap_operations", errors[OB_BLOCK_DISCARD]);
	for (unsigned i = 0; i < ARRAY_SIZE(uncounted); i++)
		put_int(to, uncounted[i], 0);
	put_bool(to, "account_invalid", false);
	put_bool(to, "account_failed", true);
	json_object_object_add(to, "timed_stats", json_object_new_array());
	put_int(to, "x-in-flight", info->in_flight);
	return to;
}

struct stats_walk {
	bool all;
	struct json_object *list;
};

static int add_stats(void *context, const struct machine_block_info *info)
{
	struct stats_walk *walk = context;
	struct json_object *entry;

	if (!info->user && !walk->all)
		return 0;
	entry = json_object_new_object();
	if (info->user) {
		put_str(entry, "device", "");
		put_str(entry, "qdev", info->user_path);
	}
	put_str(entry, "node-name", info->node_name);
	json_object_object_add(entry, "stats", stats_of(info));
	json_object_array_add(walk->list, entry);
	return 0;
}

int qmp_query_blockstats(struct monitor *monitor, struct json_object *args,
                         struct json_object **ret, struct qmp_error *err)
{
	struct stats_walk walk = {get_bool(args, "query-nodes"), json_object_new_array()};

	*ret = walk.list;
	return machine_each_block(monitor->set->env.machine, add_stats, &walk);
}
