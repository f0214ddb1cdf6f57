/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of QEMU's properties (11.1); see device_options.h. */
#include "device_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/suggest.h"

struct qemu_property {
	const char *name;
	const char *ours;  /* the property of ours that it is; NULL: none */
	const char *value; /* the one value that is so anyway; "*": any; NULL: none is */
	const char *why;
};

static const char at_client[] = "it is a property of the client's vfio-user-pci device";
static const char told[] = "the guest is told what the storage behind the disk is like";
static const char counted[] = "everything is counted anyway";
static const char fixed[] = "it is fixed here";
static const char functions[] = "there are no virtual functions";
static const char buffer[] = "there is no controller memory buffer";
static const char zones[] = "there are no zoned namespaces";

/* Of all PCI devices, and of all disks. */
static const struct qemu_property of_all[] = {
	{"bootindex", NULL, "*", at_client},
	{"acpi-index", NULL, "*", at_client},
	{"multifunction", NULL, "*", "addr=SLOT.FUNCTION on a common bus is enough"},
	{"rombar", NULL, "*", at_client},
	{"romfile", NULL, "", at_client},
	{"romsize", NULL, "*", at_client},
	{"failover_pair_id", NULL, NULL, "failover is for network devices"},
	{"share-rw", NULL, "off", "a disk has one device"},
	{"physical_block_size", NULL, "*", told},
	{"min_io_size", NULL, "*", told},
	{"opt_io_size", NULL, "*", told},
	{"discard_granularity", NULL, "*", told},
	{"account-failed", NULL, "*", counted},
	{"account-invalid", NULL, "*", counted},
	{"stats-intervals", NULL, NULL, "there are no intervals: query-blockstats has the totals"},
	{"backend_defaults", NULL, "*", told},
	{"x-max-bounce-buffer-size", NULL, "*", fixed},
	{"x-pcie-ari-nextfn-1", NULL, "off", fixed},
	{"x-pcie-err-unc-mask", NULL, "*", fixed},
	{"x-pcie-ext-tag", NULL, "*", fixed},
	{"x-pcie-lnksta-dllla", NULL, "*", fixed},
	{"spdm_port", NULL, "0", "there is no SPDM"},
	{"spdm_trans", NULL, "*", "there is no SPDM"},
	{"sriov-pf", NULL, NULL, functions},
	{.name = NULL},
};

static const struct qemu_property of_nvme[] = {
	{"max_ioqpairs", "num-queues", NULL, NULL},
	{"num_queues", NULL, "0", "say max_ioqpairs=, which does not count the admin queue"},
	{"msix_qsize", "msix-vectors", NULL, NULL},
	{"logical_block_size", "block-size", NULL, NULL},
	{"firmware-version", "firmware", NULL, NULL},
	{"ioeventfd", NULL, "*", "ioeventfds=on offers doorbells by eventfd"},
	{"msix-exclusive-bar", NULL, "*", "MSI-X has a BAR of its own"},
	{"aerl", NULL, "*", fixed},
	{"aer_max_queued", NULL, "*", fixed},
	{"mqes", NULL, "*", fixed},
	{"vsl", NULL, "*", "Verify has no limit"},
	{"dbcs", NULL, "on", "shadow doorbells are always offered"},
	{"ocp", NULL, "off", "there is no OCP log page"},
	{"use-intel-id", NULL, "off", "say vendor-id=0x8086,device-id=0x5845"},
	{"smart_critical_warning", NULL, "0", "the health log has no made-up warnings"},
	{"cmb_size_mb", NULL, "0", buffer},
	{"legacy-cmb", NULL, "off", buffer},
	{"pmrdev", NULL, NULL, "there is no persistent memory region"},
	{"ctratt.mem", NULL, "off", fixed},
	{"atomic.dn", NULL, "off", "atomic writes are of one block"},
	{"atomic.awun", NULL, "0", "atomic writes are of one block"},
	{"atomic.awupf", NULL, "0", "atomic writes are of one block"},
	{"zoned.zasl", NULL, "*", zones},
	{"zoned.auto_transition", NULL, "*", zones},
	{"sriov_max_vfs", NULL, "0", functions},
	{"sriov_max_vi_per_vf", NULL, "0", functions},
	{"sriov_max_vq_per_vf", NULL, "0", functions},
	{"sriov_vi_flexible", NULL, "0", functions},
	{"sriov_vq_flexible", NULL, "0", functions},
	{.name = NULL},
};

static const struct qemu_property of_serial[] = {
	{"prog_if", "prog-if", NULL, NULL},
	{.name = NULL},
};

static const char separate[] = "there is no metadata";
static const char placement[] = "there is no flexible data placement";
static const char copies[] = "there is no Copy command";

static const struct qemu_property of_namespace[] = {
	{"logical_block_size", "block-size", NULL, NULL},
	{"write-cache", NULL, "*", "it is a property of the controller's"},
	{"eui64-default", NULL, "off", "say eui64="},
	{"ms", NULL, "0", separate},
	{"mset", NULL, "0", separate},
	{"pi", NULL, "0", separate},
	{"pif", NULL, "0", separate},
	{"pil", NULL, "0", separate},
	{"mcl", NULL, "*", copies},
	{"mssrl", NULL, "*", copies},
	{"msrc", NULL, "*", copies},
	{"atomic.nabo", NULL, "0", "atomic writes are of one block"},
	{"atomic.nabsn", NULL, "0", "atomic writes are of one block"},
	{"atomic.nabspf", NULL, "0", "atomic writes are of one block"},
	{"atomic.nawun", NULL, "0", "atomic writes are of one block"},
	{"atomic.nawupf", NULL, "0", "atomic writes are of one block"},
	{"fdp.ruhs", NULL, NULL, placement},
	{"zoned", NULL, "off", zones},
	{"zoned.cross_read", NULL, "off", zones},
	{"zoned.descr_ext_size", NULL, "0", zones},
	{"zoned.max_active", NULL, "0", zones},
	{"zoned.max_open", NULL, "0", zones},
	{"zoned.numzrwa", NULL, "0", zones},
	{"zoned.zone_capacity", NULL, "*", zones},
	{"zoned.zone_size", NULL, "*", zones},
	{"zoned.zrwafg", NULL, "*", zones},
	{"zoned.zrwas", NULL, "0", zones},
	{.name = NULL},
};

static const struct qemu_property of_subsystem[] = {
	{"fdp", NULL, "off", placement},
	{"fdp.nrg", NULL, "1", placement},
	{"fdp.nruh", NULL, "0", placement},
	{"fdp.runs", NULL, "*", placement},
	{.name = NULL},
};

/* What QEMU's device of that name has beside what all have. */
static const struct {
	const char *driver;
	const struct qemu_property *table;
} tables[] = {{"nvme", of_nvme},
              {"nvme-ns", of_namespace},
              {"nvme-subsys", of_subsystem},
              {"pci-serial", of_serial}};

static const struct {
	const char *driver, *why;
} others[] = {
	{"vfio-user-pci", "that is the client's device: outboard serves what it connects to"},
};

static const struct qemu_property *find(const struct qemu_property *table, const char *name)
{
	for (; table && table->name; table++) {
		if (!strcmp(table->name, name))
			return table;
	}
	return NULL;
}

/* A value of the same meaning: 0, 0x0; off, false. */
static bool is_value(const char *given, const char *value)
{
	struct ob_error unused;
	uint64_t number;
	bool on;

	if (!strcmp(value, "0") && !parse_uint("", given, 0, 0, &number, &unused))
		return true;
	if ((!strcmp(value, "on") || !strcmp(value, "off")) && !parse_bool("", given, &on, &unused))
		return on == !strcmp(value, "on");
	return !strcmp(value, "*") || !strcmp(value, given);
}

/* Takes the pair out, and puts ours in its place. */
static int rename_option(struct opts *opts, const struct qemu_property *property,
                         struct ob_error *err)
{
	cleanup_free char *value = opts_take(opts, property->name);

	if (opts_get(opts, property->ours))
		return ob_error_set(err, -EINVAL, "%s= and %s= are the same: give one",
		                    property->name, property->ours);
	return opts_add(opts, property->ours, value) ? ob_error_set(err, -ENOMEM, "out of memory")
	                                             : 0;
}

static int apply(const char *driver, const struct qemu_property *property, struct opts *opts,
                 struct log *log, struct ob_error *err)
{
	cleanup_free char *value = NULL;

	if (property->ours)
		return rename_option(opts, property, err);
	value = opts_take(opts, property->name);
	if (!property->value || !is_value(value, property->value)) {
		ob_error_set(err, -EINVAL, "%s: %s=%s cannot be had: %s", driver, property->name,
		             value, property->why);
		return ob_error_key(err, -EINVAL, property->name);
	}
	if (!strcmp(property->value, "*"))
		log_info(log, "%s: %s=%s has no effect: %s", driver, property->name, value,
		         property->why);
	return 0;
}

static const struct qemu_property *table_of(const char *driver)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		if (!strcmp(tables[i].driver, driver))
			return tables[i].table;
	}
	return NULL;
}

int device_options_translate(const char *driver, const struct ob_prop *props, struct opts *opts,
                             struct log *log, struct ob_error *err)
{
	const struct qemu_property *own = table_of(driver);
	size_t i = 0;
	int rc;

	while (i < opts->count) {
		const char *name = opts->list[i].key;
		const struct qemu_property *property = NULL;

		if (!prop_find(props, name))
			property = find(own, name);
		if (!property && !prop_find(props, name))
			property = find(of_all, name);
		if (!property) {
			i++;
			continue;
		}
		rc = apply(driver, property, opts, log, err);
		if (rc)
			return rc;
	}
	return 0;
}

const char *device_options_why_not(const char *driver)
{
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (!strcmp(others[i].driver, driver))
			return others[i].why;
	}
	return NULL;
}
