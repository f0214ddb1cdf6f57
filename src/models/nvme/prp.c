/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Physical Region Pages (NVMe 1.4, 4.3): PRP entry 1 may begin anywhere in a page, in steps of 4
 * bytes. Entry 2 is the rest when that is at most a page, and otherwise the address of a list of
 * pages. A list ends with its page; if it has more entries than fit there, the last one is the
 * address of the next list.
 */
#include "internal.h"

/* Entries of the list page from walk.address on. */
static uint64_t entries_in_page(const struct nvme_cmd *cmd)
{
	uint32_t page = cmd->nvme->page_size;

	return (page - (cmd->walk.address & (page - 1))) / 8;
}

static uint64_t entries_needed(const struct nvme_cmd *cmd)
{
	uint32_t page = cmd->nvme->page_size;

	return (cmd->walk.left + page - 1) / page;
}

/* Asks for what is left of the list page, as far as it is needed and the buffer goes. */
static int fetch(struct nvme_cmd *cmd)
{
	uint64_t count = entries_needed(cmd);

	if (count > entries_in_page(cmd))
		count = entries_in_page(cmd);
	if (count > NVME_PAGE / 8)
		count = NVME_PAGE / 8;
	cmd->walk.fetch = (uint32_t)count * 8;
	return NVME_FETCH;
}

int nvme_prp_begin(struct nvme_cmd *cmd)
{
	uint64_t prp1 = nvme_dw64(cmd, 6), prp2 = nvme_dw64(cmd, 8);
	uint32_t page = cmd->nvme->page_size;
	uint64_t first = page - (prp1 & (page - 1));
	int status;

	if (prp1 & 3)
		return NVME_INVALID_PRP_OFFSET;
	if (first > cmd->walk.left)
		first = cmd->walk.left;
	status = nvme_add_range(cmd, prp1, first);
	cmd->walk.left -= first;
	if (status || !cmd->walk.left)
		return status;
	if (cmd->walk.left <= page) {
		if (prp2 & (page - 1))
			return NVME_INVALID_PRP_OFFSET;
		return nvme_add_range(cmd, prp2, cmd->walk.left);
	}
	if (prp2 & 7)
		return NVME_INVALID_PRP_OFFSET;
	cmd->walk.address = prp2;
	return fetch(cmd);
}

int nvme_prp_more(struct nvme_cmd *cmd)
{
	uint32_t page = cmd->nvme->page_size;

	for (uint32_t at = 0; at < cmd->walk.fetch; at += 8) {
		uint64_t entry = ob_get_le64(cmd->page + at);
		uint64_t length = cmd->walk.left < page ? cmd->walk.left : page;
		int status;

		/* Page or next list: neither has an offset. */
		if (entry & (page - 1))
			return NVME_INVALID_PRP_OFFSET;
		if (entries_in_page(cmd) == 1 && entries_needed(cmd) > 1) {
			cmd->walk.address = entry;
			return fetch(cmd);
		}
		status = nvme_add_range(cmd, entry, length);
		if (status)
			return status;
		cmd->walk.left -= length;
		cmd->walk.address += 8;
	}
	return cmd->walk.left ? fetch(cmd) : 0;
}
