/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Namespaces (NVMe 1.4, 1.6.24): equal parts of drives, in order; their sizes, and which of them a
 * Format NVM command has a claim on.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "internal.h"

enum { SECTOR = 512 };

/* Each namespace is an equal part of its drive, in whole pages if there are several. */
uint64_t nvme_namespace_size(const struct nvme_props *props, uint64_t size)
{
	if (props->namespaces <= 1)
		return size / SECTOR * SECTOR;
	return size / props->namespaces / NVME_PAGE * NVME_PAGE;
}

/* What of a drive of so many bytes no namespace has, with blocks of 1 << shift bytes. */
static uint64_t tail_of(const struct nvme_props *props, uint64_t size, unsigned shift)
{
	return size - props->namespaces * (nvme_namespace_size(props, size) >> shift << shift);
}

/* Data at the end of an image that no guest could reach: somebody has to have meant that. */
static int check_tail(const struct nvme_props *props, const struct ob_block *drive,
                      struct ob_error *err)
{
	const struct ob_block_info *info = ob_block_info(drive);
	unsigned shift = props->block_size ? 12 : 9;
	uint64_t tail = tail_of(props, info->size, shift);
	unsigned unit = props->namespaces > 1 ? props->namespaces * NVME_PAGE : 1u << shift;

	if (!tail || info->size_given || props->tail == NVME_TAIL_LEAVE)
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
	uint64_t tail = tail_of(n->props, size, nvme_lba_shift(n, ns));

	if (tail)
		ob_dev_warn(n->dev,
		            "drive %s: its last %" PRIu64 " bytes are out of reach: %u namespace%s "
		            "with blocks of %u bytes",
		            ob_block_name(ns->block), tail, n->props->namespaces,
		            n->props->namespaces > 1 ? "s" : "", 1u << nvme_lba_shift(n, ns));
}

int nvme_namespaces_check(const struct nvme_props *props, struct ob_error *err)
{
	const struct ob_block_list *drives = &props->drives;

	if (!drives->count)
		return ob_error_set(err, -EINVAL,
		                    "nvme needs a drive: say drive=NODE-NAME of a block node");
	if (drives->count * props->namespaces > NVME_MAX_NAMESPACES)
		return ob_error_set(err, -EINVAL,
		                    "%u drives with namespaces=%u are more than %u namespaces",
		                    drives->count, props->namespaces, NVME_MAX_NAMESPACES);
	for (unsigned i = 0; i < drives->count; i++) {
		int rc;

		if (nvme_namespace_size(props, ob_block_info(drives->nodes[i])->size) < NVME_PAGE)
			return ob_error_set(err, -EINVAL,
			                    "drive %s is too small: each namespace needs %u bytes",
			                    ob_block_name(drives->nodes[i]), NVME_PAGE);
		rc = check_tail(props, drives->nodes[i], err);
		if (rc)
			return rc;
	}
	return 0;
}

int nvme_namespaces_make(struct nvme *n, struct ob_error *err)
{
	const struct nvme_props *props = n->props;

	n->ns_count = props->drives.count * props->namespaces;
	n->ns = calloc(n->ns_count, sizeof(*n->ns));
	if (!n->ns)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < n->ns_count; i++) {
		struct ob_block *block = props->drives.nodes[i / props->namespaces];
		uint64_t size = nvme_namespace_size(props, ob_block_info(block)->size);

		n->ns[i] = (struct nvme_namespace){.block = block,
		                                   .offset = i % props->namespaces * size,
		                                   .size = size,
		                                   .nsid = i + 1};
		n->state->lba_shift[i] = props->block_size ? 12 : 9;
		n->write_cache |= ob_block_info(block)->volatile_cache;
		if (i % props->namespaces == 0)
			nvme_warn_of_tail(n, &n->ns[i], ob_block_info(block)->size);
	}
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
