/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Namespaces (NVMe 1.4, 1.6.24): equal parts of drives, or parts that are configured like devices
 * (namespace_part.c); their sizes, and which of them a Format NVM command has a claim on. A number
 * that nothing has is inactive (6.1.4): all that look at a namespace ask nvme_namespace() first.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "internal.h"

enum { SECTOR = 512 };

const char *const nvme_tails[] = {"refuse", "leave", NULL};
const char *const nvme_block_sizes[] = {"512", "4096", NULL};

/* Each namespace is an equal part of its drive, in whole pages if there are several. */
uint64_t nvme_namespace_size(uint32_t share, uint64_t size)
{
	if (share <= 1)
		return size / SECTOR * SECTOR;
	return size / share / NVME_PAGE * NVME_PAGE;
}

/* What of a drive of so many bytes no namespace has, with blocks of 1 << shift bytes. */
static uint64_t tail_of(uint32_t share, uint64_t size, unsigned shift)
{
	return size - share * (nvme_namespace_size(share, size) >> shift << shift);
}

/* Data at the end of an image that no guest could reach: somebody has to have meant that. */
int nvme_namespace_check(const struct ob_block *drive, uint32_t share, unsigned shift, bool leave,
                         struct ob_error *err)
{
	const struct ob_block_info *info = ob_block_info(drive);
	uint64_t tail = tail_of(share, info->size, shift);
	unsigned unit = share > 1 ? share * NVME_PAGE : 1u << shift;

	if (nvme_namespace_size(share, info->size) < NVME_PAGE)
		return ob_error_set(err, -EINVAL,
		                    "drive %s is too small: each namespace needs %u bytes",
		                    ob_block_name(drive), NVME_PAGE);
	if (!tail || info->size_given || leave)
		return 0;
	return ob_error_set(
		err, -EINVAL,
		"drive %s: its last %" PRIu64 " bytes would be out of reach, as %" PRIu64
		" is no multiple of %u (block-size, namespaces): 'truncate -s %%%u FILE' "
		"makes it one, or tail=leave leaves them",
		ob_block_name(drive), tail, info->size, unit, unit);
}

void nvme_warn_of_tail(const struct nvme *n, const struct nvme_namespace *ns, uint64_t size)
{
	uint64_t tail = tail_of(ns->share, size, nvme_lba_shift(n, ns));

	if (tail)
		ob_dev_warn(n->dev,
		            "drive %s: its last %" PRIu64 " bytes are out of reach: %u namespace%s "
		            "with blocks of %u bytes",
		            ob_block_name(ns->block), tail, ns->share, ns->share > 1 ? "s" : "",
		            1u << nvme_lba_shift(n, ns));
}

int nvme_namespaces_check(const struct nvme_props *props, struct ob_error *err)
{
	const struct ob_block_list *drives = &props->drives;
	int rc = 0;

	if (!drives->count && !props->serial)
		return ob_error_set(err, -EINVAL,
		                    "nvme needs a drive: say drive=NODE-NAME of a block node, or "
		                    "serial= if its namespaces come as devices nvme-ns");
	if (drives->count * props->namespaces > NVME_MAX_NAMESPACES)
		return ob_error_set(err, -EINVAL,
		                    "%u drives with namespaces=%u are more than %u namespaces",
		                    drives->count, props->namespaces, NVME_MAX_NAMESPACES);
	for (unsigned i = 0; i < drives->count && !rc; i++)
		rc = nvme_namespace_check(drives->nodes[i], props->namespaces,
		                          nvme_shift_of(props->block_size),
		                          props->tail == NVME_TAIL_LEAVE, err);
	return rc;
}

void nvme_namespace_add(struct nvme *n, const struct nvme_namespace *ns, unsigned shift)
{
	n->ns[ns->nsid - 1] = *ns;
	n->state->lba_shift[ns->nsid - 1] = (uint8_t)shift;
	n->write_cache |= ob_block_info(ns->block)->volatile_cache;
	if (n->ns_count < ns->nsid)
		n->ns_count = ns->nsid;
	if (!ns->offset)
		nvme_warn_of_tail(n, ns, ob_block_info(ns->block)->size);
}

/* Its namespaces, after the number `before`. */
static void divide_drive(struct nvme *n, struct ob_block *block, unsigned before)
{
	const struct nvme_props *props = n->props;
	uint32_t share = props->namespaces;
	uint64_t size = nvme_namespace_size(share, ob_block_info(block)->size);

	for (uint32_t i = 0; i < share; i++) {
		struct nvme_namespace ns = {.block = block,
		                            .offset = i * size,
		                            .size = size,
		                            .nsid = before + i + 1,
		                            .share = share};

		nvme_namespace_add(n, &ns, nvme_shift_of(props->block_size));
	}
}

int nvme_namespaces_make(struct nvme *n, struct ob_error *err)
{
	const struct nvme_props *props = n->props;

	n->ns = calloc(NVME_MAX_NAMESPACES, sizeof(*n->ns));
	if (!n->ns)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < props->drives.count; i++)
		divide_drive(n, props->drives.nodes[i], i * props->namespaces);
	/* Whether there is a cache is asked once: what comes later is to be used with it. */
	n->write_cache |= !props->drives.count;
	return 0;
}

void nvme_namespaces_release(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;

	for (unsigned i = 0; i < n->ns_count; i++) {
		if (n->ns[i].formatting == cmd)
			n->ns[i].formatting = NULL;
	}
	cmd->claims = false;
}

unsigned nvme_format_left(const struct nvme_namespace *ns)
{
	const struct nvme_cmd *cmd = ns->formatting;
	uint64_t left = ns->size;

	if (!cmd)
		return 0;
	if (ns == cmd->ns)
		left = cmd->length;
	else if (ns->nsid <= cmd->step)
		left = 0; /* it waits for others of the same command */
	/* 0 is what is left when it has ended. */
	left = left / (ns->size / 100 + 1);
	return left < 99 ? (unsigned)left + 1 : 100;
}
