/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl probe: what a served device is, and what its server offers. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "obctl/command.h"
#include "obctl/pci.h"

enum {
	MAX_REGIONS = 64, /* that are asked for, whatever the server says */
	MAX_IRQS = 16,
	CONFIG_SIZE = 4096,
};

struct probe_options {
	struct connect_options connect;
	bool json;
};

static const struct ob_prop probe_options[] = {
	{.name = "json",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct probe_options, json),
         .help = "print JSON"},
	CONNECT_OPTIONS,
	{0},
};

struct probe {
	struct ob_client *client;
	struct ob_client_device device;
	struct ob_client_region regions[MAX_REGIONS];
	unsigned region_count;
	struct ob_client_irq irqs[MAX_IRQS];
	unsigned irq_count;
	uint8_t config[CONFIG_SIZE];
	size_t config_size; /* 0: not a PCI device, or none that can be read */
};

static int ask(struct probe *probe, struct ob_error *err)
{
	struct ob_client *client = probe->client;
	int rc = ob_client_device_info(client, &probe->device);

	while (!rc && probe->region_count < probe->device.regions &&
	       probe->region_count < MAX_REGIONS) {
		rc = ob_client_region_info(client, probe->region_count,
		                           &probe->regions[probe->region_count]);
		/* Some servers refuse regions that are not there. */
		if (rc == -EINVAL)
			rc = 0;
		probe->region_count += !rc;
	}
	while (!rc && probe->irq_count < probe->device.irqs && probe->irq_count < MAX_IRQS) {
		rc = ob_client_irq_info(client, probe->irq_count, &probe->irqs[probe->irq_count]);
		if (rc == -EINVAL)
			rc = 0;
		probe->irq_count += !rc;
	}
	if (!rc && probe->device.pci && probe->region_count > OB_REGION_CONFIG &&
	    probe->regions[OB_REGION_CONFIG].size >= 256) {
		size_t size =
			probe->regions[OB_REGION_CONFIG].size >= CONFIG_SIZE ? CONFIG_SIZE : 256;

		rc = ob_client_read(client, OB_REGION_CONFIG, 0, probe->config, size);
		if (!rc)
			probe->config_size = size;
	}
	return rc ? client_error(client, rc, "asking the server", err) : 0;
}

/* "16 KiB", as far as it is a whole number of something. */
static const char *size_text(uint64_t size, char text[32])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;

	while (size && !(size & 1023) && unit + 1 < ARRAY_SIZE(units)) {
		size >>= 10;
		unit++;
	}
	snprintf(text, 32, "%" PRIu64 " %s", size, units[unit]);
	return text;
}

static void report_areas(struct report *report, const struct ob_client_region *region)
{
	report_flag(report, NULL, "mappable", region->mappable);
	if (!region->mappable)
		return;
	report_open(report, "areas", true, "%s", ", mappable:");
	for (unsigned i = 0; i < region->area_count; i++) {
		const struct ob_client_area *area = &region->areas[i];

		report_open(report, NULL, false, "%s", i ? "," : "");
		report_number(report, " 0x%llx", "offset", area->offset);
		report_number(report, "+0x%llx", "size", area->size);
		report_flag(report, NULL, "descriptor", area->fd >= 0);
		report_close(report, area->fd >= 0 ? "" : " (without a descriptor)");
	}
	report_close(report, "");
}

static void report_region(struct report *report, const struct probe *probe, unsigned index)
{
	const struct ob_client_region *region = &probe->regions[index];
	const char *name = region_name(index), *kind = NULL;
	char text[32];

	if (!region->size)
		return;
	report_open(report, NULL, false, "Region %u", index);
	report_number(report, NULL, "index", index);
	if (name && probe->device.pci)
		report_text(report, "name", name, " (%s)", name);
	if (index < 6 && probe->config_size)
		kind = pci_bar_kind(probe->config, index);
	report_text(report, NULL, NULL, ": ");
	if (kind)
		report_text(report, "kind", kind, "%s, ", kind);
	report_text(report, NULL, NULL, "%s", size_text(region->size, text));
	report_number(report, NULL, "size", region->size);
	report_text(report, NULL, NULL, "%s%s", region->readable ? ", read" : "",
	            region->writeable ? ", write" : "");
	report_flag(report, NULL, "readable", region->readable);
	report_flag(report, NULL, "writeable", region->writeable);
	if (region->has_type) {
		report_number(report, ", type 0x%llx", "type", region->type);
		report_number(report, "/0x%llx", "subtype", region->subtype);
	}
	report_areas(report, region);
	report_close(report, "\n");
}

static void report_irq(struct report *report, const struct ob_client_irq *irq)
{
	static const char *const names[] = {"INTx", "MSI", "MSI-X", "ERR", "REQ"};
	const char *name = irq->index < ARRAY_SIZE(names) ? names[irq->index] : "unknown";

	if (!irq->count)
		return;
	report_open(report, NULL, false, "Interrupts: %s", name);
	report_number(report, NULL, "index", irq->index);
	report_text(report, "name", name, "%s", "");
	report_number(report, " Count=%llu", "count", irq->count);
	report_flag(report, "EventFd", "eventfd", irq->eventfd);
	report_flag(report, "Maskable", "maskable", irq->maskable);
	report_flag(report, "AutoMasked", "automasked", irq->automasked);
	report_flag(report, "NoResize", "noresize", irq->noresize);
	report_close(report, "\n");
}

static void report_session(struct report *report, const struct ob_client_caps *caps)
{
	report_open(report, "session", false, "%s", "Session:");
	report_number(report, " version %llu", "major", caps->major);
	report_number(report, ".%llu", "minor", caps->minor);
	report_number(report, " max_msg_fds=%llu", "max_msg_fds", caps->max_msg_fds);
	report_number(report, " max_data_xfer_size=%llu", "max_data_xfer_size",
	              caps->max_data_xfer_size);
	report_number(report, " max_dma_maps=%llu", "max_dma_maps", caps->max_dma_maps);
	report_number(report, " pgsizes=0x%llx", "pgsizes", caps->pgsizes);
	report_flag(report, "write_multiple", "write_multiple", caps->write_multiple);
	report_flag(report, "twin_socket", "twin_socket", caps->twin_socket);
	report_flag(report, "migration", "migration", caps->migration);
	report_close(report, "\n");
}

static void report_all(const struct probe *probe, bool json)
{
	struct report report;

	report_begin(&report, json);
	if (probe->config_size) {
		report_open(&report, "pci", false, "%s", "");
		pci_report_header(&report, probe->config);
		pci_report_capabilities(&report, probe->config, probe->config_size);
		report_close(&report, "");
	}
	report_open(&report, "device", false, "%s", "Device:");
	report_flag(&report, "PCI", "pci", probe->device.pci);
	report_flag(&report, "Reset", "reset", probe->device.can_reset);
	report_number(&report, " Regions=%llu", "regions", probe->device.regions);
	report_number(&report, " Irqs=%llu", "irqs", probe->device.irqs);
	report_close(&report, "\n");
	report_open(&report, "regions", true, "%s", "");
	for (unsigned i = 0; i < probe->region_count; i++)
		report_region(&report, probe, i);
	report_close(&report, "");
	report_open(&report, "interrupts", true, "%s", "");
	for (unsigned i = 0; i < probe->irq_count; i++)
		report_irq(&report, &probe->irqs[i]);
	report_close(&report, "");
	report_session(&report, ob_client_caps(probe->client));
	report_end(&report, false);
}

static int run_probe(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct probe_options *options = opaque;
	struct probe *probe = calloc(1, sizeof(*probe));
	int rc;

	if (!probe)
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = connect_to(words[0], &options->connect, false, &probe->client, err);
	if (!rc)
		rc = ask(probe, err);
	if (!rc)
		report_all(probe, options->json);
	for (unsigned i = 0; i < probe->region_count; i++)
		ob_client_region_release(&probe->regions[i]);
	ob_client_free(probe->client);
	free(probe);
	return rc;
}

const struct command command_probe = {
	.name = "probe",
	.words = "SOCKET",
	.word_count = 1,
	.summary = "Shows what a device is",
	.details = "Identity, capabilities, regions with the areas that can be mapped, interrupts, "
		   "and what the\nserver offers. It changes nothing.\n",
	.options = probe_options,
	.options_size = sizeof(struct probe_options),
	.run = run_probe,
};
