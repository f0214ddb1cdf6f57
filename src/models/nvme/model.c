/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme: an NVM Express 1.4 controller with one or more namespaces (NVM Express Base Specification,
 * revision 1.4). This file is the model as the core sees it: properties, what the function looks
 * like, and its life. internal.h says how the rest hangs together.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "internal.h"

enum {
	DEFAULT_VECTORS = 64, /* Windows' driver fails with hundreds; each costs the client an fd */
	MSI_VECTORS = 32,
};

static unsigned vector_count(const struct nvme_props *props)
{
	unsigned useful = props->num_queues + 1;
	unsigned count = props->msix_vectors ? props->msix_vectors : DEFAULT_VECTORS;

	if (props->interrupts == NVME_INTX)
		return 1;
	if (count > useful)
		count = useful;
	if (props->interrupts == NVME_MSIX)
		return count;
	for (useful = 1; useful < count && useful < MSI_VECTORS;)
		useful *= 2;
	return useful;
}

static void choose_interrupts(const struct nvme_props *props, struct ob_irqs *irqs)
{
	uint16_t count = (uint16_t)vector_count(props);

	if (props->interrupts == NVME_MSIX)
		irqs->msix_vectors = count;
	else if (props->interrupts == NVME_MSI)
		irqs->msi_vectors = count;
}

static int nvme_configure(struct ob_dev *dev, struct ob_layout *layout, struct ob_error *err)
{
	const struct nvme_props *props = ob_dev_props(dev);

	choose_interrupts(props, &layout->irqs);
	if (props->bar_size)
		layout->bars[0].size = 0x2000;
	nvme_windows_make(dev, props, &layout->bars[0]);
	return nvme_namespaces_check(props, err);
}

/*
 * Without a serial number from the user, one of the id and the storage: a guest finds its disk
 * again after a restart, and refuses a second disk with the same number. Storage that is gone with
 * the process gets a random one.
 */
static int make_serial(struct ob_dev *dev, struct ob_error *err)
{
	const struct nvme_props *props = ob_dev_props(dev);
	struct nvme_state *s = ob_dev_state(dev);
	uint64_t identity, number;

	if (props->serial) {
		snprintf(s->serial, sizeof(s->serial), "%s", props->serial);
		ob_dev_set_serial(dev, s->serial);
		return 0;
	}
	identity = ob_block_info(props->drives.nodes[0])->identity;
	number = identity >> 16;
	if (!identity && getrandom(&number, sizeof(number), 0) != sizeof(number))
		return ob_error_set(err, -EIO, "no random number for a serial; give serial=");
	number &= (UINT64_C(1) << 48) - 1;
	snprintf(s->serial, sizeof(s->serial), "%.7s-%012" PRIx64, ob_dev_id(dev), number);
	ob_dev_set_serial(dev, s->serial);
	return 0;
}

static int nvme_start(struct ob_dev *dev, struct ob_error *err)
{
	struct nvme *n = ob_dev_runtime(dev);
	int error;

	n->dev = dev;
	n->props = ob_dev_props(dev);
	n->state = ob_dev_state(dev);
	n->page_size = NVME_PAGE;
	n->max_data = (uint32_t)NVME_PAGE << n->props->mdts;
	n->vectors = vector_count(n->props);
	n->trace = ob_dev_traces(dev, "command");
	nvme_link_init(&n->yielded);
	error = make_serial(dev, err);
	if (!error)
		error = nvme_namespaces_make(n, err);
	if (error)
		return error;
	if (nvme_pool_init(n, &nvme_waits)) {
		nvme_pool_free(n);
		free(n->ns);
		n->ns = NULL;
		return ob_error_set(err, -ENOMEM, "out of memory");
	}
	n->page = n->props->mmap_doorbells ? ob_dev_memory(dev, 0, NVME_DOORBELLS) : NULL;
	nvme_queues_init(n);
	nvme_features_reset(n);
	n->state->health.started = ob_loop_now();
	return 0;
}

static void nvme_stop(struct ob_dev *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	nvme_queues_clear(n);
	ob_queue_interrupts_drop(&n->queues);
	nvme_pool_free(n);
	free(n->ns);
}

static void nvme_reset(struct ob_dev *dev)
{
	struct nvme *n = ob_dev_runtime(dev);
	struct nvme_state *s = n->state;

	if (s->cc & NVME_CC_EN && (s->csts & NVME_CSTS_SHST) != NVME_CSTS_SHST_DONE)
		s->health.unsafe_shutdowns++;
	nvme_queues_clear(n);
	ob_queue_interrupts_drop(&n->queues);
	n->irq_raised = false; /* the core lowered it */
	n->disabling = false;
	memset(s, 0, offsetof(struct nvme_state, lba_shift));
	nvme_page_clear_all(n);
	nvme_features_reset(n);
}

static void nvme_quiesce(struct ob_dev *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	/* What stands in the page does not move with the state: tails that were read do. */
	if (n->page && nvme_running(n))
		nvme_doorbells_poll(&n->queues);
	n->quiescing = true;
	nvme_queues_stop(n);
	nvme_request_ended(n);
}

static void nvme_resume(struct ob_dev *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	n->quiescing = false;
	nvme_queues_resume(n);
	nvme_irq_update(n);
	nvme_shutdown_continue(n);
	ob_queues_schedule(&n->queues);
}

static const char *const interrupt_kinds[] = {"msix", "msi", "intx", NULL};

/*
 * Where a drive is divided, a new size would move all namespaces but the first. Commands in flight
 * were checked against the old size; the drive refuses those that are too far now.
 */
static int nvme_resize(struct ob_dev *dev, struct ob_block *block, uint64_t size,
                       struct ob_error *err)
{
	struct nvme *n = ob_dev_runtime(dev);

	if (nvme_namespace_size(1, size) < NVME_PAGE)
		return ob_error_set(err, -EINVAL, "a namespace needs %u bytes", NVME_PAGE);
	for (unsigned i = 0; i < n->ns_count; i++) {
		struct nvme_namespace *ns = &n->ns[i];

		if (ns->block != block || ns->size == nvme_namespace_size(1, size))
			continue;
		if (ns->share > 1)
			return ob_error_set(err, -ENOTSUP,
			                    "device '%s' divides its drive into %u namespaces: it "
			                    "can't change its size",
			                    ob_dev_id(dev), ns->share);
		ns->size = nvme_namespace_size(1, size);
		nvme_warn_of_tail(n, ns, size);
		nvme_namespace_changed(n, ns->nsid);
	}
	return 0;
}

static const char *const polling[] = {"off", "on", "adaptive", NULL};
static const char *const write_caches[] = {"auto", "on", "off", NULL};
static const char *const bar_sizes[] = {"16k", "8k", NULL};

static const struct ob_prop nvme_prop_table[] = {
	{"drive", OB_PROP_BLOCKS, offsetof(struct nvme_props, drives),
         .help = "block node behind it; may be given several times"},
	{"serial", OB_PROP_STRING, offsetof(struct nvme_props, serial), .max = NVME_SERIAL_LENGTH,
         .help = "serial number (default: made of the id and the identity of the storage)"},
	{"model", OB_PROP_STRING, offsetof(struct nvme_props, model), .max = NVME_MODEL_LENGTH,
         .preset = "outboard NVMe", .help = "model number that the guest sees"},
	{"firmware", OB_PROP_STRING, offsetof(struct nvme_props, firmware),
         .max = NVME_FIRMWARE_LENGTH, .preset = "1.0", .help = "firmware revision"},
	{"subnqn", OB_PROP_STRING, offsetof(struct nvme_props, subnqn), .max = NVME_NQN_LENGTH,
         .help = "qualified name of the subsystem (default: made of the serial number)"},
	{"write-cache", OB_PROP_ENUM, offsetof(struct nvme_props, write_cache), .preset = "auto",
         .choices = write_caches,
         .help = "whether the guest finds its write cache on; off: writes are done when they are "
                 "on stable storage, until it turns it on"},
	OB_ERROR_PROPS(struct nvme_props, rerror, werror),
	{"namespaces", OB_PROP_UINT32, offsetof(struct nvme_props, namespaces), .min = 1,
         .max = NVME_MAX_NAMESPACES, .preset = "1",
         .help = "namespaces of equal size that each drive is divided into"},
	{"num-queues", OB_PROP_UINT32, offsetof(struct nvme_props, num_queues), .min = 1,
         .max = NVME_MAX_PAIRS, .preset = "15", .help = "I/O queue pairs; some firmware needs two"},
	{"msix-vectors", OB_PROP_UINT32, offsetof(struct nvme_props, msix_vectors), .min = 0,
         .max = 2048, .preset = "0",
         .help = "interrupt vectors; 0: one for each queue, at most 64 (MSI: 32)"},
	{"interrupts", OB_PROP_ENUM, offsetof(struct nvme_props, interrupts), .preset = "msix",
         .choices = interrupt_kinds,
         .help = "the best kind that the guest may use; the pin is always there"},
	{"block-size", OB_PROP_ENUM, offsetof(struct nvme_props, block_size), .preset = "512",
         .choices = nvme_block_sizes, .help = "logical block size in bytes"},
	{"tail", OB_PROP_ENUM, offsetof(struct nvme_props, tail), .preset = "refuse",
         .choices = nvme_tails,
         .help = "what becomes of the end of an image that makes no whole block or namespace; "
                 "leave: it is out of the guest's reach"},
	{"bar-size", OB_PROP_ENUM, offsetof(struct nvme_props, bar_size), .preset = "16k",
         .choices = bar_sizes,
         .help = "size of BAR 0; 8k, with which Windows fails, is for guests that come from "
                 "versions "
                 "that had that"},
	{"mdts", OB_PROP_UINT32, offsetof(struct nvme_props, mdts), .min = 1, .max = 9,
         .preset = "7", .help = "largest transfer: 4 KiB times 2 to the power of this"},
	{"ioeventfds", OB_PROP_BOOL, offsetof(struct nvme_props, ioeventfds), .preset = "off",
         .help = "doorbells by eventfd for clients that ask; the guest must use shadow doorbells"},
	{"mmap-doorbells", OB_PROP_BOOL, offsetof(struct nvme_props, mmap_doorbells),
         .preset = "off",
         .help = "doorbells in a page that clients may map: for clients that never wait, as "
                 "nothing "
                 "tells of what is written there"},
	{"poll", OB_PROP_ENUM, offsetof(struct nvme_props, poll), .preset = "adaptive",
         .choices = polling,
         .help = "look for commands in memory: never, always (all of a core), or while they keep "
                 "coming"},
	{"poll-max-us", OB_PROP_UINT32, offsetof(struct nvme_props, poll_max_us), .max = 1000,
         .preset = "50",
         .help = "how long to look for more commands before sleeping, in microseconds; 0: not at "
                 "all"},
	{"idle-poll-us", OB_PROP_UINT32, offsetof(struct nvme_props, idle_poll_us), .max = 1000000,
         .preset = "1000",
         .help = "how often to look at the doorbells' page while not polling, in microseconds; 0: "
                 "not at all"},
	{NULL},
};

/*
 * Drivers find an NVMe controller by its class. Of 1b36:0010, which QEMU's controller has, Linux
 * believes no UUID, NGUID and EUI64, since early ones all had the same: docs/guests.md says how
 * ours was chosen.
 */
static const struct ob_pci_ident qemu_ident = {
	.vendor = 0x1b36, .device = 0x0010, .class_code = 0x010802, .revision = 2};

const struct ob_model nvme_model = {
	.name = "nvme",
	.summary = "NVM Express controller: a disk",
	.qemu_ident = &qemu_ident,
	.props_size = sizeof(struct nvme_props),
	.state_size = sizeof(struct nvme_state),
	.runtime_size = sizeof(struct nvme),
	.layout =
		{
			.ident = {.vendor = 0x1af4,
                                  .device = 0x10f0,
                                  .class_code = 0x010802,
                                  .revision = 2},
			.bars = {[0] = {.size = 0x4000, .flags = OB_BAR_64}},
			.irqs = {.intx = true, .msix_bar = 4},
			.pcie = true,
		},
	.props = nvme_prop_table,
	.configure = nvme_configure,
	.start = nvme_start,
	.stop = nvme_stop,
	.reset = nvme_reset,
	.quiesce = nvme_quiesce,
	.resume = nvme_resume,
	.resize = nvme_resize,
	.irq_changed = nvme_irq_changed,
	.part = &nvme_namespace_part,
	.migration = &nvme_migration,
};
