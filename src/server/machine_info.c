/* SPDX-License-Identifier: BSD-3-Clause */
/* What there is in a machine, as plain structs; see machine_info.h. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "client.h"
#include "objects.h"

int machine_each_root(const struct machine *machine,
                      int (*each)(void *context, const struct machine_root_info *info),
                      void *context)
{
	struct root *root;
	int rc = 0;

	list_for_each (root, &machine->roots, struct root, link) {
		char path[MACHINE_PATH_SIZE] = "";
		struct machine_root_info info = {
			.id = root->id,
			.path = root->own ? path : device_path(path, root->id),
			.own = root->own,
			.devices = root->count,
		};

		rc = each(context, &info);
		if (rc)
			break;
	}
	return rc;
}

int machine_each_device(const struct machine *machine,
                        int (*each)(void *context, const struct machine_device_info *info),
                        void *context)
{
	struct machine_device *device;
	int rc = 0;

	list_for_each (device, &machine->devices, struct machine_device, link) {
		const struct machine_server *server = device->server;
		char path[MACHINE_PATH_SIZE];
		struct machine_device_info info = {
			.id = device->id,
			.path = device_path(path, device->id),
			.model = device_model(device->dev),
			.root = device->place.root->id,
			.own_root = device->place.root->own,
			.slot = device->place.slot,
			.function = device->place.function,
			.server = server ? server->id : NULL,
			.connected = server && server->server && server_client(server->server),
			.removing = device->removing,
			.error = device_failure(device->dev),
		};

		rc = each(context, &info);
		if (rc)
			break;
	}
	return rc;
}

static void describe_client(const struct client *client, struct machine_client_info *info)
{
	const struct ucred *peer = client_peer(client);

	info->peer = (struct machine_peer){peer->pid, peer->uid, peer->gid};
	info->since = client_since(client);
	session_describe(client_session(client), &info->session);
}

static void describe_serving(const struct server *server, struct machine_server_info *info)
{
	const struct client *client = server_client(server);

	info->socket_path = server_path(server);
	info->socket_fd = server_fd(server);
	info->clients = server_clients(server);
	info->has_client = client;
	info->state = MACHINE_SERVER_LISTENING;
	if (!client)
		return;
	info->state = client_has_left(client) ? MACHINE_SERVER_LEAVING : MACHINE_SERVER_CONNECTED;
	describe_client(client, &info->client);
}

static int describe_server(const struct machine_server *server,
                           int (*each)(void *context, const struct machine_server_info *info),
                           void *context)
{
	char path[MACHINE_PATH_SIZE], of_device[MACHINE_PATH_SIZE];
	const char *given = opts_get(&server->opts, "path");
	struct machine_server_info info = {
		.id = server->id,
		.path = server_object_path(path, server->id),
		.type = server->type,
		.socket_path = given ? given : "",
		.socket_fd = -1,
	};

	if (server->device) {
		info.device = server->device->id;
		info.device_path = device_path(of_device, info.device);
		info.held_by = device_held_by(server->device->dev);
	}
	if (server->server)
		describe_serving(server->server, &info);
	else
		info.missing = server->device ? "socket" : "device";
	return each(context, &info);
}

int machine_each_server(const struct machine *machine,
                        int (*each)(void *context, const struct machine_server_info *info),
                        void *context)
{
	struct machine_server *server;
	int rc = 0;

	list_for_each (server, &machine->servers, struct machine_server, link) {
		if (!server->closing)
			rc = describe_server(server, each, context);
		if (rc)
			break;
	}
	return rc;
}

/* The value of a driver's property that is a file name, if it has one. */
static const char *filename_of(const struct ob_block *block)
{
	const struct ob_prop *prop = prop_find(block->driver->props, "filename");
	const char *name = NULL;

	if (prop && prop->type == OB_PROP_STRING)
		name = *(char **)((char *)block->props + prop->offset);
	return name ? name : "";
}

int machine_each_block(const struct machine *machine,
                       int (*each)(void *context, const struct machine_block_info *info),
                       void *context)
{
	struct machine_block *at;
	int rc = 0;

	list_for_each (at, &machine->blocks, struct machine_block, link) {
		const struct ob_block *block = at->block;
		char path[MACHINE_PATH_SIZE];
		struct machine_block_info info = {
			.node_name = ob_block_name(block),
			.driver = block->driver->name,
			.filename = filename_of(block_storage(at->block)),
			.user = at->user[0] ? at->user : NULL,
			.user_path = at->user[0] ? device_path(path, at->user) : NULL,
			.below = at->below ? ob_block_name(at->below->block) : NULL,
			.above = at->above ? ob_block_name(at->above->block) : NULL,
			.options = &block->options,
			.active = block_is_active(block),
			.direct = block_storage(at->block)->direct,
			.info = ob_block_info(block),
			.stats = &block->stats,
			.in_flight = block->in_flight,
			.removing = at->removing,
			.stops = block_stops(at),
			.io_status = at->io_status,
		};

		rc = each(context, &info);
		if (rc)
			break;
	}
	return rc;
}

/* PCI */

static uint32_t config_get(struct pci *pci, unsigned offset, unsigned size)
{
	uint8_t bytes[4] = {0};

	pci_config_read(pci, offset, bytes, size);
	return ob_get_le32(bytes);
}

static void describe_bars(struct pci *pci, struct machine_pci_info *info)
{
	const struct ob_layout *layout = pci_layout(pci);

	for (unsigned i = 0; i < ARRAY_SIZE(info->bars); i++) {
		bool is_rom = i == PCI_BARS;
		unsigned flags = is_rom ? 0 : layout->bars[i].flags;
		struct machine_bar_info bar = {
			.number = i,
			.size = is_rom ? pci_rom_size(pci) : layout->bars[i].size,
			.io = flags & OB_BAR_IO,
			.is_64 = flags & OB_BAR_64,
			.prefetch = flags & OB_BAR_PREFETCH,
		};

		bar.decodes = pci_bar_address(pci, i, &bar.address);
		if (bar.size)
			info->bars[info->bar_count++] = bar;
	}
}

int machine_pci_info(const struct machine *machine, const char *device,
                     struct machine_pci_info *info, struct ob_error *err)
{
	const struct machine_device *found = device_find(machine, device);
	struct pci *pci;

	if (!found)
		return device_refuse_id(machine, device, err);
	pci = device_pci(found->dev);
	*info = (struct machine_pci_info){
		.vendor = (uint16_t)config_get(pci, PCI_VENDOR_ID, 2),
		.device = (uint16_t)config_get(pci, PCI_DEVICE_ID, 2),
		.subsystem_vendor = (uint16_t)config_get(pci, PCI_SUBSYSTEM_VENDOR_ID, 2),
		.subsystem = (uint16_t)config_get(pci, PCI_SUBSYSTEM_ID, 2),
		.class_code = config_get(pci, PCI_CLASS_REVISION, 4) >> 8,
		.revision = (uint8_t)config_get(pci, PCI_REVISION_ID, 1),
		.interrupt_pin = (uint8_t)config_get(pci, PCI_INTERRUPT_PIN, 1),
		.interrupt_line = (uint8_t)config_get(pci, PCI_INTERRUPT_LINE, 1),
	};
	describe_bars(pci, info);
	return 0;
}

int machine_config_read(const struct machine *machine, const char *device, unsigned offset,
                        void *buffer, unsigned length, struct ob_error *err)
{
	const struct machine_device *found = device_find(machine, device);

	if (!found)
		return device_refuse_id(machine, device, err);
	pci_config_read(device_pci(found->dev), offset, buffer, length);
	return 0;
}
