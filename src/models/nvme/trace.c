/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a controller does, in lines that -trace asks for: each command when it begins and when it
 * has completed, and each register that is read or written, by the specification's names.
 */
#include <stdio.h>

#include "internal.h"

static void trace_command(const struct nvme_cmd *cmd)
{
	const struct nvme_op *op = nvme_op_find(cmd->sqid, nvme_opcode(cmd));
	const char *unknown = cmd->sqid ? "unknown command" : "unknown admin command";
	struct ob_dev *dev = cmd->nvme->dev;
	const char *name = op ? op->name : unknown;
	const uint32_t *dw = cmd->dw;

	if (op && op->has_blocks)
		ob_dev_trace(dev, "command",
		             "SQ %u CID 0x%04x: %s (0x%02x) NSID 0x%x SLBA 0x%llx "
		             "NLB %u CDW12 0x%x",
		             cmd->sqid, nvme_cid(cmd), name, nvme_opcode(cmd), dw[1],
		             (unsigned long long)nvme_dw64(cmd, 10), (dw[12] & 0xffff) + 1, dw[12]);
	else
		ob_dev_trace(dev, "command",
		             "SQ %u CID 0x%04x: %s (0x%02x) NSID 0x%x CDW10 0x%x "
		             "CDW11 0x%x",
		             cmd->sqid, nvme_cid(cmd), name, nvme_opcode(cmd), dw[1], dw[10],
		             dw[11]);
}

void nvme_trace_entry(struct nvme_sq *sq, const uint8_t *entry)
{
	struct nvme_cmd cmd = {.nvme = sq->nvme, .sqid = sq->id};

	for (unsigned i = 0; i < NVME_SQE_SIZE / 4; i++)
		cmd.dw[i] = ob_get_le32(entry + (size_t)i * 4);
	trace_command(&cmd);
}

void nvme_trace_completion(const struct nvme_cmd *cmd)
{
	ob_dev_trace(cmd->nvme->dev, "command",
	             "SQ %u CID 0x%04x: completed with status 0x%03x, "
	             "result 0x%x",
	             cmd->sqid, nvme_cid(cmd), cmd->status, cmd->result);
}

static const char *register_name(uint64_t offset)
{
	switch (offset) {
	case NVME_REG_CAP:
		return "CAP";
	case NVME_REG_CAP + 4:
		return "CAP (upper half)";
	case NVME_REG_VS:
		return "VS";
	case NVME_REG_INTMS:
		return "INTMS";
	case NVME_REG_INTMC:
		return "INTMC";
	case NVME_REG_CC:
		return "CC";
	case NVME_REG_CSTS:
		return "CSTS";
	case NVME_REG_NSSR:
		return "NSSR";
	case NVME_REG_AQA:
		return "AQA";
	case NVME_REG_ASQ:
		return "ASQ";
	case NVME_REG_ASQ + 4:
		return "ASQ (upper half)";
	case NVME_REG_ACQ:
		return "ACQ";
	case NVME_REG_ACQ + 4:
		return "ACQ (upper half)";
	default:
		return NULL;
	}
}

void nvme_trace_register(struct ob_dev *dev, bool write, uint64_t offset, uint64_t value)
{
	const char *known = register_name(offset);
	unsigned index = (unsigned)(offset - NVME_DOORBELLS) / 4;
	char name[32];

	if (known)
		snprintf(name, sizeof(name), "%s", known);
	else if (offset >= NVME_DOORBELLS)
		snprintf(name, sizeof(name), "%cQ%u%cDBL", index & 1 ? 'C' : 'S', index / 2,
		         index & 1 ? 'H' : 'T');
	else
		snprintf(name, sizeof(name), "reserved 0x%llx", (unsigned long long)offset);
	ob_dev_trace(dev, "register", "%s %s %s 0x%llx", write ? "write" : "read", name,
	             write ? "=" : "->", (unsigned long long)value);
}
