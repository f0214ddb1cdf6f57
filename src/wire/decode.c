/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Decoding: see wire.h for what all of these have in common. The order of checks is the same
 * everywhere: the payload is long enough for the fixed part, then each field, then what follows.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/list.h"
#include "wire/wire.h"

static const char *const command_names[WIRE_COMMANDS] = {
	[WIRE_VERSION] = "VERSION",
	[WIRE_DMA_MAP] = "DMA_MAP",
	[WIRE_DMA_UNMAP] = "DMA_UNMAP",
	[WIRE_GET_INFO] = "DEVICE_GET_INFO",
	[WIRE_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
	[WIRE_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
	[WIRE_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
	[WIRE_SET_IRQS] = "DEVICE_SET_IRQS",
	[WIRE_REGION_READ] = "REGION_READ",
	[WIRE_REGION_WRITE] = "REGION_WRITE",
	[WIRE_DMA_READ] = "DMA_READ",
	[WIRE_DMA_WRITE] = "DMA_WRITE",
	[WIRE_RESET] = "DEVICE_RESET",
	[WIRE_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
	[WIRE_DEVICE_FEATURE] = "DEVICE_FEATURE",
	[WIRE_MIG_DATA_READ] = "MIG_DATA_READ",
	[WIRE_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
};

const char *wire_command_name(unsigned command)
{
	if (command >= ARRAY_SIZE(command_names) || !command_names[command])
		return "unknown command";
	return command_names[command];
}

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

void wire_decode_header(const void *message, struct wire_header *header)
{
	memcpy(header, message, sizeof(*header));
}

int wire_decode_dma_map(const void *payload, size_t length, struct wire_dma_map *out,
                        const char **why)
{
	uint64_t end;

	if (length != sizeof(*out))
		return refuse(why, "message size: 16 + 32 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->argsz < sizeof(*out))
		return refuse(why, "argsz: at least 32 expected");
	if (out->flags & ~(uint32_t)(WIRE_DMA_READABLE | WIRE_DMA_WRITEABLE))
		return refuse(why, "flags: only bits 0 (readable) and 1 (writeable) are known");
	if (!out->size)
		return refuse(why, "size: more than 0 expected");
	if (!checked_add(out->address, out->size - 1, &end))
		return refuse(why, "address + size: at most 2^64 expected");
	return 0;
}

int wire_decode_dma_unmap(const void *payload, size_t length, struct wire_dma_unmap *out,
                          const char **why)
{
	if (length != sizeof(*out))
		return refuse(why, "message size: 16 + 24 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->argsz < sizeof(*out))
		return refuse(why, "argsz: at least 24 expected");
	if (out->flags & ~(uint32_t)WIRE_DMA_UNMAP_ALL)
		return refuse(why, "flags: only bit 1 (all) is known");
	if ((out->flags & WIRE_DMA_UNMAP_ALL) && (out->address || out->size))
		return refuse(why, "address and size: 0 expected with the flag `all`");
	if (!(out->flags & WIRE_DMA_UNMAP_ALL) && !out->size)
		return refuse(why, "size: more than 0 expected");
	return 0;
}

int wire_decode_get_info(const void *payload, size_t length, struct wire_device_info *out,
                         const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->argsz < sizeof(*out))
		return refuse(why, "argsz: at least 16 expected");
	return 0;
}

int wire_decode_get_region_info(const void *payload, size_t length, struct wire_region_info *out,
                                const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 32 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->argsz < sizeof(*out))
		return refuse(why, "argsz: at least 32 expected");
	return 0;
}

int wire_decode_get_region_io_fds(const void *payload, size_t length,
                                  struct wire_region_io_fds *out, const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->argsz < sizeof(*out))
		return refuse(why, "argsz: at least 16 expected");
	if (out->flags)
		return refuse(why, "flags: 0 expected");
	if (out->count)
		return refuse(why, "count: 0 expected");
	return 0;
}

int wire_decode_get_irq_info(const void *payload, size_t length, struct wire_irq_info *out,
                             const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->argsz < sizeof(*out))
		return refuse(why, "argsz: at least 16 expected");
	return 0;
}

/* What holds for every combination; flags have exactly one data bit and one action bit. */
static int check_irq_range(const struct wire_irq_set *set, const char **why)
{
	uint32_t end;

	if (__builtin_add_overflow(set->start, set->count, &end))
		return refuse(why, "start + count: at most 2^32 - 1 expected");
	if (set->count)
		return 0;
	if (set->flags != (WIRE_IRQ_DATA_NONE | WIRE_IRQ_ACTION_TRIGGER) || set->start)
		return refuse(why, "count: more than 0 expected (0 only with start 0, NONE and "
		                   "TRIGGER, to disable the index)");
	return 0;
}

int wire_decode_set_irqs(const void *payload, size_t length, struct wire_set_irqs *out,
                         const char **why)
{
	struct wire_irq_set set;
	int rc;

	if (length < sizeof(set))
		return refuse(why, "message size: at least 16 + 20 bytes expected");
	memcpy(&set, payload, sizeof(set));
	if (set.argsz < sizeof(set))
		return refuse(why, "argsz: at least 20 expected");
	if (set.flags & ~(uint32_t)(WIRE_IRQ_DATA_MASK | WIRE_IRQ_ACTIONS))
		return refuse(why, "flags: only bits 0 to 5 are known");
	if (!is_power_of_2(set.flags & WIRE_IRQ_DATA_MASK))
		return refuse(why, "flags: exactly one of NONE, BOOL, EVENTFD expected");
	if (!is_power_of_2(set.flags & WIRE_IRQ_ACTIONS))
		return refuse(why, "flags: exactly one of MASK, UNMASK, TRIGGER expected");
	rc = check_irq_range(&set, why);
	if (rc)
		return rc;
	if ((set.flags & WIRE_IRQ_DATA_BOOL) &&
	    (length - sizeof(set) < set.count || set.argsz - sizeof(set) < set.count))
		return refuse(why, "data: one byte for each interrupt expected");
	*out = (struct wire_set_irqs){
		.data = set.flags & WIRE_IRQ_DATA_MASK,
		.action = set.flags & WIRE_IRQ_ACTIONS,
		.index = set.index,
		.start = set.start,
		.count = set.count,
		.disable_all = !set.count,
		.bools = (const uint8_t *)payload + sizeof(set),
	};
	return 0;
}

int wire_decode_region_read(const void *payload, size_t length, uint32_t max_count,
                            struct wire_region_access *out, const char **why)
{
	if (length != sizeof(*out))
		return refuse(why, "message size: 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->count > max_count)
		return refuse(why, "count: at most max_data_xfer_size expected");
	return 0;
}

int wire_decode_region_write(const void *payload, size_t length, uint32_t max_count,
                             struct wire_region_access *out, const uint8_t **data, const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->count > max_count)
		return refuse(why, "count: at most max_data_xfer_size expected");
	if (length - sizeof(*out) != out->count)
		return refuse(why, "message size: 16 + 16 + count bytes expected");
	*data = (const uint8_t *)payload + sizeof(*out);
	return 0;
}

int wire_decode_region_write_multi(const void *payload, size_t length, uint64_t *count,
                                   const char **why)
{
	struct wire_small_write write;
	uint64_t n, size;

	if (length < sizeof(n))
		return refuse(why, "message size: at least 16 + 8 bytes expected");
	memcpy(&n, payload, sizeof(n));
	if (!checked_mul(n, sizeof(write), &size) || size != length - sizeof(n))
		return refuse(why, "wr_cnt: as many as the message holds writes expected");
	for (uint64_t i = 0; i < n; i++) {
		wire_small_write_at(payload, i, &write);
		if (write.count > sizeof(write.data))
			return refuse(why, "count: at most 8 expected");
	}
	*count = n;
	return 0;
}

void wire_small_write_at(const void *payload, uint64_t index, struct wire_small_write *out)
{
	memcpy(out, (const uint8_t *)payload + sizeof(uint64_t) + index * sizeof(*out),
	       sizeof(*out));
}

int wire_decode_reset(size_t length, const char **why)
{
	if (length)
		return refuse(why, "message size: 16 bytes expected");
	return 0;
}

int wire_decode_device_feature(const void *payload, size_t length, struct wire_device_feature *out,
                               const uint8_t **data, size_t *data_length, const char **why)
{
	const uint32_t methods = WIRE_FEATURE_GET | WIRE_FEATURE_SET;

	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 8 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->argsz < sizeof(*out))
		return refuse(why, "argsz: at least 8 expected");
	if (out->flags & ~(uint32_t)(WIRE_FEATURE_INDEX | methods | WIRE_FEATURE_PROBE))
		return refuse(why, "flags: only bits 0 to 18 are known");
	if (!(out->flags & (methods | WIRE_FEATURE_PROBE)))
		return refuse(why, "flags: GET, SET or PROBE expected");
	if ((out->flags & methods) == methods && !(out->flags & WIRE_FEATURE_PROBE))
		return refuse(why, "flags: only one of GET and SET expected without PROBE");
	*data = (const uint8_t *)payload + sizeof(*out);
	*data_length = length - sizeof(*out);
	return 0;
}

int wire_decode_mig_data_read(const void *payload, size_t length, uint32_t max_size,
                              struct wire_mig_data *out, const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 8 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->size > max_size)
		return refuse(why, "size: at most max_data_xfer_size expected");
	if (out->argsz < sizeof(*out) + out->size)
		return refuse(why, "argsz: at least 8 + size expected");
	return 0;
}

int wire_decode_mig_data_write(const void *payload, size_t length, uint32_t max_size,
                               struct wire_mig_data *out, const uint8_t **data, const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "message size: at least 16 + 8 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (out->argsz < sizeof(*out))
		return refuse(why, "argsz: at least 8 expected");
	if (out->size > max_size)
		return refuse(why, "size: at most max_data_xfer_size expected");
	if (length - sizeof(*out) != out->size)
		return refuse(why, "message size: 16 + 8 + size bytes expected");
	*data = (const uint8_t *)payload + sizeof(*out);
	return 0;
}

int wire_decode_dma_read_reply(const void *payload, size_t length, struct wire_dma_access *out,
                               const uint8_t **data, const char **why)
{
	if (length < sizeof(*out))
		return refuse(why, "reply size: at least 16 + 16 bytes expected");
	memcpy(out, payload, sizeof(*out));
	if (length - sizeof(*out) != out->count)
		return refuse(why, "reply size: 16 + 16 + count bytes expected");
	*data = (const uint8_t *)payload + sizeof(*out);
	return 0;
}

/* The specification gives count 4 bytes here, and 8 in the request; clients send either. */
int wire_decode_dma_write_reply(const void *payload, size_t length, struct wire_dma_access *out,
                                const char **why)
{
	uint32_t count;

	if (length == sizeof(*out)) {
		memcpy(out, payload, sizeof(*out));
		return 0;
	}
	if (length != sizeof(out->address) + sizeof(count))
		return refuse(why, "reply size: 16 + 12 or 16 + 16 bytes expected");
	memcpy(&out->address, payload, sizeof(out->address));
	memcpy(&count, (const uint8_t *)payload + sizeof(out->address), sizeof(count));
	out->count = count;
	return 0;
}
