/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Format NVM (NVMe 1.4, 5.23): erases a namespace, or all of them, and sets its block size to 512
 * or 4096 bytes. There is no metadata and no protection information. Other commands for a namespace
 * that is being formatted fail; how far it is survives nothing: a format that is interrupted by a
 * reset has erased some blocks and changed no block size.
 */
#include <errno.h>

#include "internal.h"

static const uint8_t shifts[] = {9, 12}; /* of the LBA formats that Identify Namespace shows */

#define NS_PER_S UINT64_C(1000000000)

static const uint64_t tell_every = 10 * NS_PER_S;

static void next_namespace(struct nvme_cmd *cmd);

static unsigned new_shift(const struct nvme_cmd *cmd)
{
	return shifts[cmd->dw[10] & 15];
}

static bool is_meant(const struct nvme_cmd *cmd, const struct nvme_namespace *ns)
{
	return cmd->dw[1] == NVME_NSID_ALL || cmd->dw[1] == ns->nsid;
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

/* What lasts for seconds is told; and when that ends, that it has. */
void nvme_format_progress(struct nvme_cmd *cmd, uint64_t now)
{
	if (now - cmd->told < tell_every)
		return;
	cmd->told = now;
	ob_dev_warn(cmd->nvme->dev, "format of namespace %u goes on: %u %% are left after %llu s",
	            cmd->ns->nsid, nvme_format_left(cmd->ns),
	            (unsigned long long)((now - cmd->begun) / NS_PER_S));
}

static void tell_end(const struct nvme_cmd *cmd)
{
	uint64_t took = ob_loop_now() - cmd->begun;

	if (took >= tell_every)
		ob_dev_warn(cmd->nvme->dev, "format of namespace %u ended after %llu s",
		            cmd->ns->nsid, (unsigned long long)(took / NS_PER_S));
}

static void erased(struct nvme_cmd *cmd, int error)
{
	struct nvme *n = cmd->nvme;
	bool changed = nvme_lba_shift(n, cmd->ns) != new_shift(cmd);
	uint32_t nsid = cmd->ns->nsid;

	if (error) {
		nvme_complete(cmd, nvme_block_status(cmd, error, true));
		return;
	}
	tell_end(cmd);
	n->state->lba_shift[nsid - 1] = (uint8_t)new_shift(cmd);
	if (changed)
		nvme_warn_of_tail(n, cmd->ns, ob_block_info(cmd->ns->block)->size);
	next_namespace(cmd);
	if (changed)
		nvme_namespace_changed(n, nsid);
}

static void next_namespace(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	const struct ob_block_info *info;

	while (cmd->step < n->ns_count && !is_meant(cmd, &n->ns[cmd->step]))
		cmd->step++;
	if (cmd->step == n->ns_count) {
		nvme_complete(cmd, 0);
		return;
	}
	cmd->ns = &n->ns[cmd->step++];
	cmd->offset = cmd->ns->offset;
	cmd->length = cmd->ns->size;
	cmd->begun = cmd->told = ob_loop_now();
	info = ob_block_info(cmd->ns->block);
	if (info->discard && info->discard_zeroes)
		nvme_sweep_paced(cmd, OB_BLOCK_DISCARD, 0, erased);
	else
		nvme_sweep_paced(cmd, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, erased);
}

/* 0 or a status: whether each namespace that is meant can be formatted now. */
static int check(const struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;

	if (cmd->dw[1] != NVME_NSID_ALL && !nvme_namespace(n, cmd->dw[1]))
		return NVME_INVALID_NAMESPACE;
	for (unsigned i = 0; i < n->ns_count; i++) {
		if (!is_meant(cmd, &n->ns[i]))
			continue;
		if (n->ns[i].formatting)
			return NVME_FORMAT_IN_PROGRESS;
		if (ob_block_info(n->ns[i].block)->read_only)
			return NVME_WRITE_PROTECTED;
	}
	return 0;
}

void nvme_format_release(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;

	for (unsigned i = 0; i < n->ns_count; i++) {
		if (n->ns[i].formatting == cmd)
			n->ns[i].formatting = NULL;
	}
}

int nvme_format(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	uint32_t dw = cmd->dw[10];
	int status = check(cmd);

	if (status)
		return status;
	/* Metadata settings and protection information need metadata. */
	if ((dw & 15) >= sizeof(shifts) || dw >> 4 & 15)
		return NVME_INVALID_FORMAT;
	/* Secure erase: none, or user data, which is what happens anyway; not by cryptography. */
	if ((dw >> 9 & 7) > 1)
		return NVME_INVALID_FIELD;
	for (unsigned i = 0; i < n->ns_count; i++) {
		if (is_meant(cmd, &n->ns[i]))
			n->ns[i].formatting = cmd;
	}
	next_namespace(cmd);
	return NVME_PENDING;
}
