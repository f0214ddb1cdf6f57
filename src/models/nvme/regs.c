/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registers in BAR 0 (NVMe 1.4, 3.1): controller registers in the first 4 KiB, doorbells after
 * them. They are 4 bytes wide here; an access of 8 bytes is two of them, the lower one first.
 * Controller memory buffer, persistent memory, boot partitions and subsystem reset do not exist:
 * their registers read as zeroes, which says so.
 */
#include "internal.h"

enum { TIMEOUT = 60 }; /* CAP.TO: half seconds; what a drive with much in flight may take */

static uint64_t capabilities(void)
{
	return (uint64_t)(NVME_MAX_ENTRIES - 1) << NVME_CAP_MQES | UINT64_C(1) << NVME_CAP_CQR |
	       (uint64_t)TIMEOUT << NVME_CAP_TO | UINT64_C(1) << NVME_CAP_CSS_NVM |
	       (uint64_t)(NVME_MAX_PAGE_SHIFT - 12) << NVME_CAP_MPSMAX;
}

static uint32_t read_register(const struct nvme *n, uint64_t offset)
{
	const struct nvme_state *s = n->state;

	switch (offset) {
	case NVME_REG_CAP:
		return (uint32_t)capabilities();
	case NVME_REG_CAP + 4:
		return (uint32_t)(capabilities() >> 32);
	case NVME_REG_VS:
		return NVME_VERSION;
	case NVME_REG_INTMS:
	case NVME_REG_INTMC:
		return s->intms;
	case NVME_REG_CC:
		return s->cc;
	case NVME_REG_CSTS:
		return s->csts;
	case NVME_REG_AQA:
		return s->aqa;
	case NVME_REG_ASQ:
		return (uint32_t)s->asq;
	case NVME_REG_ASQ + 4:
		return (uint32_t)(s->asq >> 32);
	case NVME_REG_ACQ:
		return (uint32_t)s->acq;
	case NVME_REG_ACQ + 4:
		return (uint32_t)(s->acq >> 32);
	default:
		return 0; /* reserved, and the doorbells */
	}
}

uint64_t nvme_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	const struct nvme *n = ob_dev_runtime(dev);
	uint64_t value = read_register(n, offset);

	if (size == 8)
		value |= (uint64_t)read_register(n, offset + 4) << 32;
	return value;
}

static void set_half(uint64_t *reg, bool high, uint32_t value)
{
	if (high)
		*reg = (uint32_t)*reg | (uint64_t)value << 32;
	else
		*reg = (*reg & ~UINT64_C(0xffffffff)) | (value & ~UINT32_C(0xfff));
}

/* Where the admin queue is: not while it is in use (3.1.9). */
static void write_admin_queue(struct nvme *n, uint64_t offset, uint32_t value)
{
	struct nvme_state *s = n->state;

	if (s->cc & NVME_CC_EN) {
		ob_dev_guest_error(n->dev, "AQA, ASQ or ACQ written while the controller is on");
		return;
	}
	if (offset == NVME_REG_AQA)
		s->aqa = value & 0x0fff0fff;
	else if (offset < NVME_REG_ACQ)
		set_half(&s->asq, offset & 4, value);
	else
		set_half(&s->acq, offset & 4, value);
}

static void write_register(struct nvme *n, uint64_t offset, uint32_t value)
{
	struct nvme_state *s = n->state;

	if (offset >= NVME_DOORBELLS) {
		nvme_doorbell(n, (unsigned)(offset - NVME_DOORBELLS) / 4, value);
		return;
	}
	switch (offset) {
	case NVME_REG_INTMS:
		s->intms |= value;
		nvme_irq_update(n);
		break;
	case NVME_REG_INTMC:
		s->intms &= ~value;
		nvme_irq_update(n);
		break;
	case NVME_REG_CC:
		nvme_set_cc(n, value);
		break;
	case NVME_REG_AQA:
	case NVME_REG_ASQ:
	case NVME_REG_ASQ + 4:
	case NVME_REG_ACQ:
	case NVME_REG_ACQ + 4:
		write_admin_queue(n, offset, value);
		break;
	default:
		ob_dev_guest_error(n->dev, "write of 0x%x to register 0x%llx, which is read-only",
		                   value, (unsigned long long)offset);
	}
}

void nvme_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	struct nvme *n = ob_dev_runtime(dev);

	write_register(n, offset, (uint32_t)value);
	if (size == 8)
		write_register(n, offset + 4, (uint32_t)(value >> 32));
}

uint64_t nvme_traced_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	uint64_t value = nvme_read(dev, offset, size);

	nvme_trace_register(dev, false, offset, value);
	return value;
}

void nvme_traced_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	nvme_trace_register(dev, true, offset, value);
	nvme_write(dev, offset, value, size);
}
