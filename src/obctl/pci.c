/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Explains a configuration space. It comes from a stranger: every offset is checked, every walk has
 * a bound.
 */
#include "obctl/pci.h"

#include "base/list.h"
#include "outboard/endian.h"

enum {
	CAP_PM = 0x01,
	CAP_MSI = 0x05,
	CAP_VENDOR = 0x09,
	CAP_EXPRESS = 0x10,
	CAP_MSIX = 0x11,
	MAX_CAPS = 48, /* as many as fit */
	MAX_EXT_CAPS = 480,
};

struct bit {
	unsigned bit;
	const char *label, *key;
};

static const struct bit command_bits[] = {
	{0, "I/O", "io"},        {1, "Mem", "memory"}, {2, "BusMaster", "bus_master"},
	{6, "ParErr", "parity"}, {8, "SERR", "serr"},  {10, "DisINTx", "intx_disabled"},
};

static const struct bit status_bits[] = {
	{3, "INTx", "intx"},
	{4, "Cap", "capabilities"},
	{8, "MParErr", "master_parity_error"},
	{11, "TAbort-s", "signaled_target_abort"},
	{12, "TAbort-r", "received_target_abort"},
	{13, "MAbort", "received_master_abort"},
	{14, "SERR", "signaled_system_error"},
	{15, "PERR", "parity_error"},
};

static const struct {
	uint32_t mask, code; /* class, subclass, interface */
	const char *name;
} classes[] = {
	{0xffffff, 0x010802, "NVM Express controller"},
	{0xffff00, 0x010800, "Non-Volatile memory controller"},
	{0xffff00, 0x010600, "SATA controller"},
	{0xffff00, 0x010000, "SCSI storage controller"},
	{0xff0000, 0x010000, "Mass storage controller"},
	{0xffff00, 0x020000, "Ethernet controller"},
	{0xff0000, 0x020000, "Network controller"},
	{0xff0000, 0x030000, "Display controller"},
	{0xff0000, 0x040000, "Multimedia controller"},
	{0xff0000, 0x050000, "Memory controller"},
	{0xff0000, 0x060000, "Bridge"},
	{0xff0000, 0x070000, "Communication controller"},
	{0xffff00, 0x0c0300, "USB controller"},
	{0xff0000, 0x0c0000, "Serial bus controller"},
	{0xffff00, 0x00ff00, "Unclassified device"},
	{0xff0000, 0x120000, "Processing accelerator"},
	{0xff0000, 0xff0000, "Unassigned class"},
};

static const struct {
	uint8_t id;
	const char *name;
} names[] = {
	{CAP_PM, "Power Management"},
	{0x03, "Vital Product Data"},
	{CAP_MSI, "MSI"},
	{CAP_VENDOR, "Vendor Specific"},
	{0x0d, "Subsystem"},
	{CAP_EXPRESS, "Express"},
	{CAP_MSIX, "MSI-X"},
	{0x13, "Advanced Features"},
	{0x14, "Enhanced Allocation"},
};

static const struct {
	uint16_t id;
	const char *name;
} extended_names[] = {
	{0x01, "Advanced Error Reporting"},
	{0x03, "Device Serial Number"},
	{0x0b, "Vendor Specific"},
	{0x0d, "Access Control Services"},
	{0x0e, "Alternative Routing-ID"},
	{0x0f, "Address Translation Service"},
	{0x10, "SR-IOV"},
	{0x15, "Resizable BAR"},
	{0x18, "Latency Tolerance Reporting"},
	{0x19, "Secondary PCI Express"},
	{0x1b, "PASID"},
	{0x1e, "L1 PM Substates"},
	{0x23, "Designated Vendor Specific"},
};

static uint32_t class_of(const uint8_t *config)
{
	return ob_get_le32(config + 8) >> 8;
}

const char *pci_class_name(const uint8_t *config)
{
	uint32_t code = class_of(config);

	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		if ((code & classes[i].mask) == classes[i].code)
			return classes[i].name;
	}
	return "unknown class";
}

static void report_bits(struct report *report, const char *key, const char *label,
                        const struct bit *bits, size_t count, uint32_t value)
{
	report_open(report, key, false, "%s:", label);
	for (size_t i = 0; i < count; i++)
		report_flag(report, bits[i].label, bits[i].key, value >> bits[i].bit & 1);
	report_close(report, "\n");
}

void pci_report_header(struct report *report, const uint8_t *config)
{
	const char *class_name = pci_class_name(config);

	report_text(report, "class_name", class_name, "%s", class_name);
	report_number(report, " [%06llx]", "class", class_of(config));
	report_number(report, ": %04llx", "vendor", ob_get_le16(config));
	report_number(report, ":%04llx", "device", ob_get_le16(config + 2));
	report_number(report, " (rev %02llx)\n", "revision", config[8]);
	report_number(report, "Subsystem: %04llx", "subsystem_vendor", ob_get_le16(config + 0x2c));
	report_number(report, ":%04llx\n", "subsystem_device", ob_get_le16(config + 0x2e));
	report_bits(report, "command", "Command", command_bits, ARRAY_SIZE(command_bits),
	            ob_get_le16(config + 4));
	report_bits(report, "status", "Status", status_bits, ARRAY_SIZE(status_bits),
	            ob_get_le16(config + 6));
	if (config[0x3d] >= 1 && config[0x3d] <= 4) {
		const char pin[] = {(char)('A' + config[0x3d] - 1), 0};

		report_text(report, "interrupt_pin", pin, "Interrupt: pin %s\n", pin);
	}
}

const char *pci_bar_kind(const uint8_t *config, unsigned bar)
{
	const uint8_t *bars = config + 0x10;
	uint32_t value = ob_get_le32(bars + (size_t)4 * bar);
	bool upper = false;

	/* Pairs begin at the first BAR: a 64-bit one takes the next with it. */
	for (size_t i = 0; i < bar; i++)
		upper = !upper && (ob_get_le32(bars + 4 * i) & 7) == 4;
	if (upper)
		return NULL;
	if (value & 1)
		return "I/O";
	if ((value & 6) == 4)
		return value & 8 ? "memory, 64-bit, prefetchable"
		                 : "memory, 64-bit, non-prefetchable";
	return value & 8 ? "memory, 32-bit, prefetchable" : "memory, 32-bit, non-prefetchable";
}

/* Capabilities. at: its offset, with at least 64 bytes from the space's end unless said. */

static void report_pm(struct report *report, const uint8_t *cap)
{
	uint16_t features = ob_get_le16(cap + 2), control = ob_get_le16(cap + 4);

	report_number(report, " version %llu", "version", features & 7);
	report_flag(report, "D1", "d1", features >> 9 & 1);
	report_flag(report, "D2", "d2", features >> 10 & 1);
	report_number(report, " PME=0x%02llx", "pme_support", features >> 11);
	report_number(report, " Status=D%llu", "state", control & 3);
	report_flag(report, "NoSoftRst", "no_soft_reset", control >> 3 & 1);
	report_flag(report, "PME-Enable", "pme_enabled", control >> 8 & 1);
}

static void report_msi(struct report *report, const uint8_t *cap)
{
	uint16_t control = ob_get_le16(cap + 2);
	bool wide = control >> 7 & 1;
	uint64_t address = ob_get_le32(cap + 4);

	if (wide)
		address |= (uint64_t)ob_get_le32(cap + 8) << 32;
	report_flag(report, "Enable", "enabled", control & 1);
	report_number(report, " Count=%llu", "enabled_vectors", UINT64_C(1) << (control >> 4 & 7));
	report_number(report, "/%llu", "vectors", UINT64_C(1) << (control >> 1 & 7));
	report_flag(report, "Maskable", "maskable", control >> 8 & 1);
	report_flag(report, "64bit", "address64", wide);
	report_number(report, " Address=0x%llx", "address", address);
	report_number(report, " Data=0x%04llx", "data", ob_get_le16(cap + (wide ? 12 : 8)));
}

static void report_msix(struct report *report, const uint8_t *cap)
{
	uint16_t control = ob_get_le16(cap + 2);
	uint32_t table = ob_get_le32(cap + 4), pba = ob_get_le32(cap + 8);

	report_flag(report, "Enable", "enabled", control >> 15);
	report_number(report, " Count=%llu", "vectors", (control & 0x7ffu) + 1);
	report_flag(report, "Masked", "masked", control >> 14 & 1);
	report_number(report, " Table=bar%llu", "table_bar", table & 7);
	report_number(report, "+0x%llx", "table_offset", table & ~7u);
	report_number(report, " PBA=bar%llu", "pba_bar", pba & 7);
	report_number(report, "+0x%llx", "pba_offset", pba & ~7u);
}

static void report_express(struct report *report, const uint8_t *cap)
{
	static const char *const types[16] = {
		[0] = "Endpoint",           [1] = "Legacy Endpoint",
		[4] = "Root Port",          [5] = "Upstream Port",
		[6] = "Downstream Port",    [7] = "PCIe-to-PCI Bridge",
		[8] = "PCI-to-PCIe Bridge", [9] = "Root Complex Endpoint",
		[10] = "Event Collector",
	};
	uint16_t flags = ob_get_le16(cap + 2), control = ob_get_le16(cap + 8);
	uint32_t device = ob_get_le32(cap + 4);
	uint32_t link = ob_get_le32(cap + 12);
	uint16_t link_status = ob_get_le16(cap + 18);
	const char *type = types[flags >> 4 & 15];

	report_number(report, " version %llu", "version", flags & 15);
	report_text(report, "type", type ? type : "unknown", ", %s,", type ? type : "unknown type");
	report_number(report, " MaxPayload=%llu", "max_payload",
	              UINT64_C(128) << (control >> 5 & 7));
	report_number(report, "/%llu", "max_payload_supported", UINT64_C(128) << (device & 7));
	report_number(report, " MaxReadReq=%llu", "max_read_request",
	              UINT64_C(128) << (control >> 12 & 7));
	report_flag(report, "FLReset", "function_reset", device >> 28 & 1);
	report_flag(report, "ExtTag", "extended_tags", device >> 5 & 1);
	report_number(report, " LinkCap=gen%llu", "link_speed_max", link & 15);
	report_number(report, " x%llu", "link_width_max", link >> 4 & 63);
	report_number(report, " LinkSta=gen%llu", "link_speed", link_status & 15);
	report_number(report, " x%llu", "link_width", link_status >> 4 & 63);
}

static const char *capability_name(uint8_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].id == id)
			return names[i].name;
	}
	return "unknown";
}

static void report_capability(struct report *report, const uint8_t *config, unsigned at)
{
	uint8_t id = config[at];
	/* Copied out, so that no decoder reads past the end of the space. */
	uint8_t cap[64] = {0};

	memcpy(cap, config + at, 256 - at < sizeof(cap) ? 256 - at : sizeof(cap));
	report_open(report, NULL, false, "Capabilities: [%02x] %s:", at, capability_name(id));
	report_number(report, NULL, "offset", at);
	report_number(report, NULL, "id", id);
	report_text(report, "name", capability_name(id), "%s", "");
	if (id == CAP_PM)
		report_pm(report, cap);
	else if (id == CAP_MSI)
		report_msi(report, cap);
	else if (id == CAP_MSIX)
		report_msix(report, cap);
	else if (id == CAP_EXPRESS)
		report_express(report, cap);
	else if (id == CAP_VENDOR)
		report_number(report, " Len=%llu", "length", cap[2]);
	report_close(report, "\n");
}

static void report_extended(struct report *report, const uint8_t *config)
{
	unsigned at = 0x100;

	for (unsigned n = 0; at >= 0x100 && at <= 4092 && n < MAX_EXT_CAPS; n++) {
		uint32_t header = ob_get_le32(config + at);
		const char *name = "unknown";

		if (!header || header == UINT32_MAX)
			return;
		for (size_t i = 0; i < ARRAY_SIZE(extended_names); i++) {
			if (extended_names[i].id == (header & 0xffff))
				name = extended_names[i].name;
		}
		report_open(report, NULL, false, "Capabilities: [%03x] %s:", at, name);
		report_number(report, NULL, "offset", at);
		report_number(report, NULL, "extended_id", header & 0xffff);
		report_text(report, "name", name, "%s", "");
		report_number(report, " version %llu", "version", header >> 16 & 15);
		report_close(report, "\n");
		at = header >> 20 & 0xffc;
	}
}

void pci_report_capabilities(struct report *report, const uint8_t *config, size_t size)
{
	unsigned at = config[0x34] & 0xfc;

	report_open(report, "capabilities", true, "%s", "");
	if (!(config[6] & 0x10))
		at = 0;
	for (unsigned n = 0; at >= 0x40 && n < MAX_CAPS; n++) {
		report_capability(report, config, at);
		at = config[at + 1] & 0xfc;
	}
	if (size >= 4096)
		report_extended(report, config);
	report_close(report, "");
}
