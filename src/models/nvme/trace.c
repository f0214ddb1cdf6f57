/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a controller does, in lines that -trace asks for: each command when it begins and when it
 * has completed, and each register that is read or written, by the specification's names.
 */
#include <stdio.h>

#include "internal.h"

static const char *admin_name(unsigned opcode)
{
	switch (opcode) {
	case NVME_ADMIN_DELETE_SQ:
		return "Delete I/O Submission Queue";
	case NVME_ADMIN_CREATE_SQ:
		return "Create I/O Submission Queue";
	case NVME_ADMIN_GET_LOG:
		return "Get Log Page";
	case NVME_ADMIN_DELETE_CQ:
		return "Delete I/O Completion Queue";
	case NVME_ADMIN_CREATE_CQ:
		return "Create I/O Completion Queue";
	case NVME_ADMIN_IDENTIFY:
		return "Identify";
	case NVME_ADMIN_ABORT:
		return "Abort";
	case NVME_ADMIN_SET_FEATURES:
		return "Set Features";
	case NVME_ADMIN_GET_FEATURES:
		return "Get Features";
	case NVME_ADMIN_ASYNC_EVENT:
		return "Asynchronous Event Request";
	case NVME_ADMIN_DOORBELL_BUFFER:
		return "Doorbell Buffer Config";
	case NVME_ADMIN_FORMAT:
		return "Format NVM";
	default:
		return "unknown admin command";
	}
}

static const char *io_name(unsigned opcode)
{
	switch (opcode) {
	case NVME_IO_FLUSH:
		return "Flush";
	case NVME_IO_WRITE:
		return "Write";
	case NVME_IO_READ:
		return "Read";
	case NVME_IO_COMPARE:
		return "Compare";
	case NVME_IO_WRITE_ZEROES:
		return "Write Zeroes";
	case NVME_IO_DATASET:
		return "Dataset Management";
	case NVME_IO_VERIFY:
		return "Verify";
	default:
		return "unknown command";
	}
}

/* Commands that name blocks by SLBA and NLB. */
static bool has_blocks(unsigned opcode)
{
	return opcode == NVME_IO_WRITE || opcode == NVME_IO_READ || opcode == NVME_IO_COMPARE ||
	       opcode == NVME_IO_WRITE_ZEROES || opcode == NVME_IO_VERIFY;
}

void nvme_trace_command(const struct nvme_cmd *cmd)
{
	struct ob_dev *dev = cmd->nvme->dev;
	unsigned opcode = nvme_opcode(cmd);
	const uint32_t *dw = cmd->dw;

	if (!cmd->sqid)
		ob_dev_trace(dev, "command",
		             "SQ 0 CID 0x%04x: %s (0x%02x) NSID 0x%x CDW10 0x%x "
		             "CDW11 0x%x",
		             nvme_cid(cmd), admin_name(opcode), opcode, dw[1], dw[10], dw[11]);
	else if (has_blocks(opcode))
		ob_dev_trace(dev, "command",
		             "SQ %u CID 0x%04x: %s (0x%02x) NSID 0x%x SLBA 0x%llx "
		             "NLB %u CDW12 0x%x",
		             cmd->sqid, nvme_cid(cmd), io_name(opcode), opcode, dw[1],
		             (unsigned long long)nvme_dw64(cmd, 10), (dw[12] & 0xffff) + 1, dw[12]);
	else
		ob_dev_trace(dev, "command",
		             "SQ %u CID 0x%04x: %s (0x%02x) NSID 0x%x CDW10 0x%x "
		             "CDW11 0x%x",
		             cmd->sqid, nvme_cid(cmd), io_name(opcode), opcode, dw[1], dw[10],
		             dw[11]);
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

static void trace_register(struct ob_dev *dev, bool write, uint64_t offset, uint64_t value)
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

uint64_t nvme_traced_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	uint64_t value = nvme_read(dev, offset, size);

	trace_register(dev, false, offset, value);
	return value;
}

void nvme_traced_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	trace_register(dev, true, offset, value);
	nvme_write(dev, offset, value, size);
}
