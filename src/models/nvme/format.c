/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Format NVM (NVMe 1.4, 5.23): erases a namespace, or all of them, and sets its block size to 512
 * or 4096 bytes. There is no metadata and no protection information. Other commands for a namespace
 * that is being formatted fail; how far it is survives nothing: a format that is interrupted by a
 * reset has erased some blocks and changed no block size.
 */
#include "internal.h"

static const uint8_t shifts[] = {9, 12}; /* of the LBA formats that Identify Namespace shows */

#define NS_PER_S UINT64_C(1000000000)

static const uint64_t report_every = 10 * NS_PER_S;

static unsigned new_shift(const struct nvme_cmd *cmd)
{
	return shifts[cmd->dw[10] & 15];
}

static bool is_meant(const struct nvme_cmd *cmd, const struct nvme_namespace *ns)
{
	return ns->block && (cmd->dw[1] == NVME_NSID_ALL || cmd->dw[1] == ns->nsid);
}

/* What lasts for seconds is reported; and when that ends, that it has. */
static void report_progress(struct nvme_cmd *cmd)
{
	uint64_t now = ob_loop_now();

	if (now - cmd->reported < report_every)
		return;
	cmd->reported = now;
	ob_dev_warn(cmd->nvme->dev, "format of namespace %u goes on: %u %% are left after %llu s",
	            cmd->ns->nsid, nvme_format_left(cmd->ns),
	            (unsigned long long)((now - cmd->begun) / NS_PER_S));
}

static void report_end(const struct nvme_cmd *cmd)
{
	uint64_t took = ob_loop_now() - cmd->begun;

	if (took >= report_every)
		ob_dev_warn(cmd->nvme->dev, "format of namespace %u ended after %llu s",
		            cmd->ns->nsid, (unsigned long long)(took / NS_PER_S));
}

/* The namespace at hand is erased: its number if it has another block size now, or 0. */
static uint32_t namespace_erased(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	bool changed = nvme_lba_shift(n, cmd->ns) != new_shift(cmd);

	report_end(cmd);
	n->state->lba_shift[cmd->ns->nsid - 1] = (uint8_t)new_shift(cmd);
	if (!changed)
		return 0;
	nvme_warn_of_tail(n, cmd->ns, ob_block_info(cmd->ns->block)->size);
	return cmd->ns->nsid;
}

/* Begins with the next namespace of those that were claimed: one that came since then is not meant.
 * False: there are no more. */
static bool next_namespace(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	const struct ob_block_info *info;

	while (cmd->step < n->ns_count && n->ns[cmd->step].formatting != cmd)
		cmd->step++;
	if (cmd->step == n->ns_count)
		return false;
	cmd->ns = &n->ns[cmd->step++];
	cmd->offset = cmd->ns->offset;
	cmd->length = cmd->ns->size;
	cmd->begun = cmd->reported = ob_loop_now();
	info = ob_block_info(cmd->ns->block);
	if (info->discard && info->discard_zeroes)
		nvme_sweep_begin_paced(cmd, OB_BLOCK_DISCARD, 0);
	else
		nvme_sweep_begin_paced(cmd, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP);
	return true;
}

/* 0 or a status: whether each namespace that is meant can be formatted now. */
static int check_namespaces(const struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;

	if (cmd->dw[1] != NVME_NSID_ALL && !nvme_namespace(n, cmd->dw[1]))
		return nvme_namespace_status(n, cmd->dw[1]);
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

int nvme_format_check(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	uint32_t dw = cmd->dw[10];
	int status = check_namespaces(cmd);

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
	cmd->claims = true;
	cmd->ns = NULL;
	cmd->changed = 0;
	return 0;
}

int nvme_format_work(struct nvme_cmd *cmd, int error)
{
	struct nvme *n = cmd->nvme;
	int status = cmd->ns ? nvme_sweep(cmd, error) : 0;

	while (!status) {
		uint32_t changed = cmd->ns ? namespace_erased(cmd) : 0;

		/* After the last one, the guest hears first that the command has completed. */
		if (!next_namespace(cmd)) {
			cmd->changed = changed;
			return 0;
		}
		status = nvme_sweep(cmd, 0);
		if (changed)
			nvme_namespace_changed(n, changed);
	}
	if (status == NVME_PENDING || status == NVME_YIELD)
		report_progress(cmd);
	return status;
}

void nvme_format_completed(struct nvme_cmd *cmd)
{
	if (cmd->changed)
		nvme_namespace_changed(cmd->nvme, cmd->changed);
}
