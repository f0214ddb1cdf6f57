/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * edu: a device to learn from. It has the registers of QEMU's educational device (its
 * docs/specs/edu.rst), so that drivers written for that one run on this one.
 *
 *   0x00  ro  identification, 0xRRrr00ed
 *   0x04  rw  liveness check: reads back inverted
 *   0x08  rw  factorial: write n, wait for bit 0 of the status to clear, read n! modulo 2^32
 *   0x20  rw  status: bit 0 computing (ro), bit 7 interrupt when the factorial is done
 *   0x24  ro  interrupt status: what was raised and not acknowledged
 *   0x60  wo  interrupt raise: these bits are set in the interrupt status
 *   0x64  wo  interrupt acknowledge: these bits are cleared
 *   0x80  rw  DMA source, 0x88 destination, 0x90 count in bytes (4 or 8 bytes each)
 *   0x98  rw  DMA command: bit 0 start (clears itself), bit 1 direction (0: from the guest to
 *             the buffer, 1: from the buffer to the guest), bit 2 interrupt 0x100 when done
 *
 * The buffer of 4096 bytes stands at 0x40000 in the device's own address space: that is what the
 * DMA registers call it; the guest cannot reach it otherwise.
 */
#include <errno.h>

#include "outboard/device.h"

enum {
	REG_ID = 0x00,
	REG_LIVENESS = 0x04,
	REG_FACTORIAL = 0x08,
	REG_STATUS = 0x20,
	REG_IRQ_STATUS = 0x24,
	REG_IRQ_RAISE = 0x60,
	REG_IRQ_ACK = 0x64,
	REG_DMA_SOURCE = 0x80,
	REG_DMA_DESTINATION = 0x88,
	REG_DMA_COUNT = 0x90,
	REG_DMA_COMMAND = 0x98,

	IDENTIFICATION = 0x010000ed,
	STATUS_COMPUTING = 0x01,
	STATUS_IRQ_FACTORIAL = 0x80,
	IRQ_FACTORIAL = 0x001,
	IRQ_DMA = 0x100,
	DMA_START = 1,
	DMA_TO_GUEST = 2,
	DMA_IRQ = 4,

	BUFFER_ADDRESS = 0x40000,
	BUFFER_SIZE = 4096,
};

/* What the user configures. */
struct edu_props {
	uint64_t dma_mask;
};

/* What a real device would hold in registers and memory: plain data. */
struct edu_state {
	uint32_t liveness, factorial, status, irq_status;
	uint64_t dma_source, dma_destination, dma_count, dma_command;
	uint8_t buffer[BUFFER_SIZE];
};

/* What can be rebuilt: here, the work in flight. */
struct edu_runtime {
	struct ob_dev *dev;
	struct ob_task compute;
	struct ob_dma_op dma;
	bool dma_running;
	bool quiet; /* what is started waits for edu_resume() */
};

static void set_irq(struct ob_dev *dev, uint32_t bits)
{
	struct edu_state *s = ob_dev_state(dev);

	s->irq_status |= bits;
	if (s->irq_status)
		ob_irq_raise(dev, 0);
}

static void clear_irq(struct ob_dev *dev, uint32_t bits)
{
	struct edu_state *s = ob_dev_state(dev);

	s->irq_status &= ~bits;
	if (!s->irq_status)
		ob_irq_lower(dev, 0);
}

/* Runs from the event loop after the driver's write, so that a driver can see the computing bit. */
static void compute_factorial(struct ob_task *task)
{
	struct edu_runtime *rt = ob_container_of(task, struct edu_runtime, compute);
	struct edu_state *s = ob_dev_state(rt->dev);
	uint32_t product = 1;

	/* From 34! on, 2^32 divides it: the product reaches 0, and a guest's n bounds nothing. */
	for (uint32_t n = s->factorial; n > 1 && product; n--)
		product *= n;
	s->factorial = product;
	s->status &= ~(uint32_t)STATUS_COMPUTING;
	if (s->status & STATUS_IRQ_FACTORIAL)
		set_irq(rt->dev, IRQ_FACTORIAL);
}

/* Whether it worked or not: the driver waits for the end, and for the interrupt if it wants one. */
static void end_dma(struct edu_runtime *rt, int status)
{
	struct edu_state *s = ob_dev_state(rt->dev);
	bool irq = s->dma_command & DMA_IRQ;

	rt->dma_running = false;
	s->dma_command &= ~(uint64_t)DMA_START;
	if (status)
		ob_dev_guest_error(rt->dev, "DMA of %llu bytes failed: %s",
		                   (unsigned long long)s->dma_count,
		                   status == -ERANGE ? "outside of the buffer at 0x40000"
		                                     : "not mapped by the client?");
	if (irq)
		set_irq(rt->dev, IRQ_DMA);
}

static void dma_done(struct ob_dma_op *op, int status)
{
	end_dma(ob_container_of(op, struct edu_runtime, dma), status);
}

static void start_dma(struct ob_dev *dev)
{
	const struct edu_props *props = ob_dev_props(dev);
	struct edu_state *s = ob_dev_state(dev);
	struct edu_runtime *rt = ob_dev_runtime(dev);
	bool to_guest = s->dma_command & DMA_TO_GUEST;
	uint64_t inside = (to_guest ? s->dma_source : s->dma_destination) - BUFFER_ADDRESS;
	uint64_t guest = (to_guest ? s->dma_destination : s->dma_source) & props->dma_mask;
	int rc;

	rt->dma_running = true;
	if (inside > BUFFER_SIZE || s->dma_count > BUFFER_SIZE - inside) {
		end_dma(rt, -ERANGE);
		return;
	}
	if (to_guest)
		rc = ob_dma_write(dev, guest, s->buffer + inside, s->dma_count, &rt->dma);
	else
		rc = ob_dma_read(dev, guest, s->buffer + inside, s->dma_count, &rt->dma);
	/* In shared memory it is done by now. Otherwise the client's answer calls dma_done(). */
	if (rc != -EINPROGRESS)
		end_dma(rt, rc);
}

/* The driver acknowledges: until then it may not have heard. */
static void edu_irq_changed(struct ob_dev *dev, unsigned vector)
{
	const struct edu_state *s = ob_dev_state(dev);

	(void)vector; /* there is one */
	if (s->irq_status)
		ob_irq_raise(dev, 0);
}

/* For -trace. */
static const char *register_name(uint64_t offset)
{
	static const char *const names[] = {
		[REG_ID] = "id",
		[REG_LIVENESS] = "liveness",
		[REG_FACTORIAL] = "factorial",
		[REG_STATUS] = "status",
		[REG_IRQ_STATUS] = "irq status",
		[REG_IRQ_RAISE] = "irq raise",
		[REG_IRQ_ACK] = "irq acknowledge",
		[REG_DMA_SOURCE] = "dma source",
		[REG_DMA_DESTINATION] = "dma destination",
		[REG_DMA_COUNT] = "dma count",
		[REG_DMA_COMMAND] = "dma command",
	};
	const char *name = offset < sizeof(names) / sizeof(*names) ? names[offset] : NULL;

	return name ? name : "none";
}

static uint64_t read_register(const struct edu_state *s, uint64_t offset)
{
	switch (offset) {
	case REG_ID:
		return IDENTIFICATION;
	case REG_LIVENESS:
		return s->liveness;
	case REG_FACTORIAL:
		return s->factorial;
	case REG_STATUS:
		return s->status;
	case REG_IRQ_STATUS:
		return s->irq_status;
	case REG_DMA_SOURCE:
		return s->dma_source;
	case REG_DMA_DESTINATION:
		return s->dma_destination;
	case REG_DMA_COUNT:
		return s->dma_count;
	case REG_DMA_COMMAND:
		return s->dma_command;
	default:
		return 0;
	}
}

static uint64_t edu_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	uint64_t value;

	/* The registers below the DMA block are 4 bytes wide: 8 bytes are two of them. */
	if (size == 8 && offset < REG_DMA_SOURCE)
		return edu_read(dev, offset, 4) | edu_read(dev, offset + 4, 4) << 32;
	value = read_register(ob_dev_state(dev), offset);
	ob_dev_trace(dev, "register", "read %s (0x%llx) -> 0x%llx", register_name(offset),
	             (unsigned long long)offset, (unsigned long long)value);
	return value;
}

/* The DMA registers, which keep their values while a transfer runs. */
static void write_dma_register(struct ob_dev *dev, uint64_t offset, uint64_t value)
{
	struct edu_state *s = ob_dev_state(dev);
	const struct edu_runtime *rt = ob_dev_runtime(dev);

	if (s->dma_command & DMA_START)
		return;
	if (offset == REG_DMA_SOURCE)
		s->dma_source = value;
	else if (offset == REG_DMA_DESTINATION)
		s->dma_destination = value;
	else if (offset == REG_DMA_COUNT)
		s->dma_count = value;
	else if (offset == REG_DMA_COMMAND)
		s->dma_command = value & (DMA_START | DMA_TO_GUEST | DMA_IRQ);
	if (s->dma_command & DMA_START && !rt->quiet)
		start_dma(dev);
}

static void edu_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct edu_state *s = ob_dev_state(dev);
	struct edu_runtime *rt = ob_dev_runtime(dev);

	if (size == 8 && offset < REG_DMA_SOURCE) {
		edu_write(dev, offset, (uint32_t)value, 4);
		edu_write(dev, offset + 4, value >> 32, 4);
		return;
	}

	ob_dev_trace(dev, "register", "write %s (0x%llx) = 0x%llx", register_name(offset),
	             (unsigned long long)offset, (unsigned long long)value);
	switch (offset) {
	case REG_LIVENESS:
		s->liveness = ~(uint32_t)value;
		break;
	case REG_FACTORIAL:
		if (s->status & STATUS_COMPUTING)
			break;
		s->factorial = (uint32_t)value;
		s->status |= STATUS_COMPUTING;
		if (!rt->quiet)
			ob_task_schedule(ob_dev_loop(dev), &rt->compute);
		break;
	case REG_STATUS:
		s->status &= ~(uint32_t)STATUS_IRQ_FACTORIAL;
		s->status |= (uint32_t)value & STATUS_IRQ_FACTORIAL;
		break;
	case REG_IRQ_RAISE:
		set_irq(dev, (uint32_t)value);
		break;
	case REG_IRQ_ACK:
		clear_irq(dev, (uint32_t)value);
		break;
	default:
		write_dma_register(dev, offset, value);
	}
}

static int edu_start(struct ob_dev *dev, struct ob_error *err)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);

	rt->dev = dev;
	rt->compute.run = compute_factorial;
	rt->dma.done = dma_done;
	return 0;
}

static void edu_reset(struct ob_dev *dev)
{
	struct edu_state *s = ob_dev_state(dev);

	*s = (struct edu_state){0};
}

/* The work at hand is dropped: the state says that it was begun, so edu_resume() begins it again.
 */
static void edu_quiesce(struct ob_dev *dev)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);

	rt->quiet = true;
	ob_task_cancel(&rt->compute);
	if (rt->dma_running) {
		ob_dma_cancel(dev, &rt->dma);
		rt->dma_running = false;
	}
	ob_dev_quiet(dev);
}

static void edu_resume(struct ob_dev *dev)
{
	struct edu_state *s = ob_dev_state(dev);
	struct edu_runtime *rt = ob_dev_runtime(dev);

	rt->quiet = false;
	if (s->status & STATUS_COMPUTING)
		ob_task_schedule(ob_dev_loop(dev), &rt->compute);
	if (s->dma_command & DMA_START)
		start_dma(dev);
}

static const struct ob_prop edu_props[] = {
	{"dma-mask", OB_PROP_SIZE, offsetof(struct edu_props, dma_mask), .preset = "0xfffffff",
         .help = "address bits that the device can reach by DMA"},
	{NULL},
};

/* All of the state; the mask is the user's, and has to be the same where the device goes to. */
static const struct ob_field edu_fields[] = {
	OB_FIELD(U32, struct edu_state, liveness),
	OB_FIELD(U32, struct edu_state, factorial),
	OB_FIELD(U32, struct edu_state, status, .max = STATUS_COMPUTING | STATUS_IRQ_FACTORIAL),
	OB_FIELD(U32, struct edu_state, irq_status),
	OB_FIELD(U64, struct edu_state, dma_source),
	OB_FIELD(U64, struct edu_state, dma_destination),
	OB_FIELD(U64, struct edu_state, dma_count),
	OB_FIELD(U64, struct edu_state, dma_command, .max = DMA_START | DMA_TO_GUEST | DMA_IRQ),
	OB_FIELD_BLOB(struct edu_state, buffer),
	OB_FIELDS_END,
};

static const struct ob_field edu_props_fields[] = {
	OB_FIELD(U64, struct edu_props, dma_mask),
	OB_FIELDS_END,
};

static void edu_configuration(struct ob_dev *dev, void *configuration)
{
	*(struct edu_props *)configuration = *(const struct edu_props *)ob_dev_props(dev);
}

static const struct ob_migration edu_migration = {
	.version = 1,
	.fields = edu_fields,
	.configuration_fields = edu_props_fields,
	.configuration_size = sizeof(struct edu_props),
	.configuration = edu_configuration,
};

const struct ob_model edu_model = {
	.name = "edu",
	.summary = "educational device: factorial, DMA, interrupts",
	.props_size = sizeof(struct edu_props),
	.state_size = sizeof(struct edu_state),
	.runtime_size = sizeof(struct edu_runtime),
	.layout =
		{
			.ident = {.vendor = 0x1234,
                                  .device = 0x11e8,
                                  .class_code = 0x00ff00,
                                  .revision = 0x10},
			.bars = {{.size = 1 << 20,
                                  OB_WINDOWS({.max_access = 8,
                                              .read = edu_read,
                                              .write = edu_write})}},
			.irqs = {.intx = true, .msi_vectors = 1},
		},
	.props = edu_props,
	.start = edu_start,
	.reset = edu_reset,
	.quiesce = edu_quiesce,
	.resume = edu_resume,
	.irq_changed = edu_irq_changed,
	.migration = &edu_migration,
};
