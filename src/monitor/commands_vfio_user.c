/* SPDX-License-Identifier: BSD-3-Clause */
/* query-vfio-user: servers, their clients, and what passed between them. */
#include <errno.h>
#include <string.h>

#include "commands_made.h"
#include "internal.h"

static struct json_object *capabilities_of(const struct session_info *session)
{
	struct json_object *caps = json_object_new_object();

	put_int(caps, "major", session->major);
	put_int(caps, "minor", session->minor);
	put_int(caps, "max-msg-fds", session->max_msg_fds);
	put_int(caps, "max-data-xfer-size", session->max_data_xfer_size);
	put_int(caps, "max-dma-maps", session->max_dma_maps);
	put_int(caps, "pgsizes", session->pgsizes);
	put_bool(caps, "write-multiple", session->write_multiple);
	put_bool(caps, "twin-socket", session->twin_socket);
	return caps;
}

static struct json_object *irqs_of(const struct session_info *session)
{
	static const char *const kinds[SESSION_STAT_IRQS] = {"intx", "msi", "msix", "err", "req"};
	struct json_object *list = json_object_new_array();
	struct json_object *irqs;

	for (unsigned i = 0; i < SESSION_STAT_IRQS; i++) {
		irqs = json_object_new_object();
		put_str(irqs, "kind", kinds[i]);
		put_int(irqs, "wired", session->irqs_wired[i]);
		put_int(irqs, "signalled", session->stats->irqs[i]);
		json_object_array_add(list, irqs);
	}
	return list;
}

static struct json_object *command_of(unsigned number, const struct session_command_stats *stats)
{
	struct json_object *command = json_object_new_object();
	struct json_object *latency = json_object_new_array();
	unsigned buckets = SESSION_LATENCY_BUCKETS;

	put_str(command, "command", session_command_name(number));
	put_int(command, "messages", stats->messages);
	put_int(command, "bytes", stats->bytes);
	put_int(command, "errors", stats->errors);
	put_int(command, "timed", stats->timed);
	put_int(command, "total-ns", stats->total_ns);
	put_int(command, "max-ns", stats->max_ns);
	while (buckets && !stats->latency[buckets - 1])
		buckets--;
	for (unsigned i = 0; i < buckets; i++)
		json_object_array_add(latency, json_object_new_uint64(stats->latency[i]));
	json_object_object_add(command, "latency", latency);
	return command;
}

static struct json_object *commands_of(const struct session_stats *stats)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < SESSION_STAT_COMMANDS; i++) {
		if (stats->command[i].messages && session_command_name(i))
			json_object_array_add(list, command_of(i, &stats->command[i]));
	}
	return list;
}

static struct json_object *dma_of(const struct session_dma_stats *stats)
{
	struct json_object *dma = json_object_new_object();

	put_int(dma, "reads", stats->reads);
	put_int(dma, "read-bytes", stats->read_bytes);
	put_int(dma, "writes", stats->writes);
	put_int(dma, "write-bytes", stats->write_bytes);
	put_int(dma, "errors", stats->errors);
	return dma;
}

static struct json_object *client_of(const struct machine_client_info *info)
{
	const struct session_info *session = &info->session;
	struct json_object *client = json_object_new_object();

	put_int(client, "pid", (uint64_t)info->peer.pid);
	put_int(client, "uid", info->peer.uid);
	put_int(client, "gid", info->peer.gid);
	put_int(client, "since", info->since);
	if (session->negotiated)
		json_object_object_add(client, "capabilities", capabilities_of(session));
	put_int(client, "dma-maps", session->maps);
	put_int(client, "dma-map-fds", session->map_fds);
	json_object_object_add(client, "irqs", irqs_of(session));
	json_object_object_add(client, "commands", commands_of(session->stats));
	json_object_object_add(client, "dma", dma_of(&session->stats->dma));
	return client;
}

struct walk {
	const char *id; /* NULL: all */
	struct json_object *list;
};

static struct json_object *held_by(const struct device_held_by *by)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; by->names[i]; i++)
		json_object_array_add(list, json_object_new_string(by->names[i]));
	return list;
}

static int add_server(void *context, const struct machine_server_info *info)
{
	static const char *const states[] = {
		[MACHINE_SERVER_WAITING] = "waiting",
		[MACHINE_SERVER_LISTENING] = "listening",
		[MACHINE_SERVER_CONNECTED] = "connected",
		[MACHINE_SERVER_LEAVING] = "leaving",
	};
	struct walk *walk = context;
	struct json_object *server;

	if (walk->id && strcmp(walk->id, info->id) != 0)
		return 0;
	server = json_object_new_object();
	put_str(server, "id", info->id);
	put_str(server, "qom-path", info->path);
	put_str(server, "socket", info->socket_path);
	put_str(server, "state", states[info->state]);
	put_str(server, "missing", info->missing);
	put_str(server, "dev-id", info->device);
	put_str(server, "dev-qom-path", info->device_path);
	if (info->device)
		json_object_object_add(server, "held-by", held_by(&info->held_by));
	put_int(server, "clients", info->clients);
	if (info->has_client)
		json_object_object_add(server, "client", client_of(&info->client));
	json_object_array_add(walk->list, server);
	return 0;
}

int qmp_query_vfio_user(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                        struct qmp_error *err)
{
	struct walk walk = {get_str(args, "id"), json_object_new_array()};

	machine_each_server(monitor->set->env.machine, add_server, &walk);
	if (walk.id && !json_object_array_length(walk.list)) {
		json_object_put(walk.list);
		err->class = "DeviceNotFound";
		return ob_error_set(&err->text, -ENOENT, "object '%s' not found", walk.id);
	}
	*ret = walk.list;
	return 0;
}
