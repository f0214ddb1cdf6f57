/* SPDX-License-Identifier: BSD-3-Clause */
/* What a model may ask of the core (outboard/device.h, outboard/dma.h), but for transfers: xfer.c.
 */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

void *ob_dev_props(struct ob_dev *dev)
{
	return dev->props;
}

void *ob_dev_state(struct ob_dev *dev)
{
	return dev->state;
}

void *ob_dev_runtime(struct ob_dev *dev)
{
	return dev->runtime;
}

const struct ob_pci_ident *ob_dev_ident(struct ob_dev *dev)
{
	return &pci_layout(dev->pci)->ident;
}

struct ob_loop *ob_dev_loop(struct ob_dev *dev)
{
	return dev->env.loop;
}

const char *ob_dev_id(const struct ob_dev *dev)
{
	return dev->id;
}

void ob_dev_set_serial(struct ob_dev *dev, const char *serial)
{
	snprintf(dev->serial, sizeof(dev->serial), "%s", serial);
}

const char *device_serial(const struct ob_dev *dev)
{
	return dev->serial;
}

void ob_irq_raise(struct ob_dev *dev, unsigned vector)
{
	pci_irq_raise(dev->pci, vector);
}

void ob_irq_lower(struct ob_dev *dev, unsigned vector)
{
	pci_irq_lower(dev->pci, vector);
}

bool ob_irq_is_message(struct ob_dev *dev)
{
	return pci_irq_is_message(dev->pci);
}

bool ob_irq_is_pin(struct ob_dev *dev)
{
	return pci_irq_is_pin(dev->pci);
}

int ob_dma_read(struct ob_dev *dev, uint64_t address, void *buffer, size_t length,
                struct ob_dma_op *op)
{
	return dma_read(dev->dma, address, buffer, length, op);
}

int ob_dma_write(struct ob_dev *dev, uint64_t address, const void *buffer, size_t length,
                 struct ob_dma_op *op)
{
	return dma_write(dev->dma, address, buffer, length, op);
}

int ob_dma_doubt(struct ob_dev *dev, uint64_t address, void *buffer, size_t length,
                 struct ob_dma_op *op)
{
	return dma_doubt(dev->dma, address, buffer, length, op);
}

void ob_dma_cancel(struct ob_dev *dev, struct ob_dma_op *op)
{
	dma_cancel(dev->dma, op);
}

void *ob_dma_direct(struct ob_dev *dev, uint64_t address, size_t length, enum ob_dma_dir dir)
{
	return dma_direct(dev->dma, address, length, dir);
}

void ob_dev_guest_error(struct ob_dev *dev, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_vline(&dev->guest_log, LOG_WARN, format, args);
	va_end(args);
}

void ob_dev_failed(struct ob_dev *dev, const char *format, ...)
{
	va_list args;

	if (dev->failure[0])
		return;
	va_start(args, format);
	vsnprintf(dev->failure, sizeof(dev->failure), format, args);
	va_end(args);
	log_fact(&dev->log, LOG_ERROR, "failed: %s", dev->failure);
	if (dev->env.failed)
		dev->env.failed(dev->env.context, dev, dev->failure);
}

void ob_dev_recovered(struct ob_dev *dev)
{
	dev->failure[0] = '\0';
}

bool ob_dev_traces(const struct ob_dev *dev, const char *kind)
{
	return log_is_traced(&dev->log, kind);
}

void ob_dev_trace(struct ob_dev *dev, const char *kind, const char *format, ...)
{
	enum log_level level = dev->log.level;
	unsigned per_second = dev->log.per_second;
	va_list args;

	if (!ob_dev_traces(dev, kind))
		return;
	/* Not a copy: the sink keeps a log that a line of was dropped. */
	dev->log.level = LOG_TRACE;
	dev->log.per_second = 0;
	va_start(args, format);
	log_vline(&dev->log, LOG_TRACE, format, args);
	va_end(args);
	dev->log.level = level;
	dev->log.per_second = per_second;
}

void ob_dev_warn(struct ob_dev *dev, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_vline(&dev->log, LOG_WARN, format, args);
	va_end(args);
}
