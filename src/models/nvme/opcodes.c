/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of opcodes (NVMe 1.4, 5 and 6): for each the name that traces show, what the Commands
 * Supported and Effects log says of it, where its data goes, and what it does. Whatever asks
 * whether an opcode exists, asks here.
 */
#include "internal.h"

/* Commands Supported and Effects (5.14.1.5) */
enum {
	SUPPORTED = 1 << 0,
	CHANGES_BLOCKS = 1 << 1,
	CHANGES_NAMESPACE = 1 << 2,
	ALONE_IN_NAMESPACE = 1 << 16,
};

static const struct nvme_op admin_ops[] = {
	[NVME_ADMIN_DELETE_SQ] = {"Delete I/O Submission Queue", SUPPORTED,
                                  .finish = nvme_delete_sq},
	[NVME_ADMIN_CREATE_SQ] = {"Create I/O Submission Queue", SUPPORTED,
                                  .finish = nvme_create_sq},
	[NVME_ADMIN_GET_LOG] = {"Get Log Page", SUPPORTED, NVME_PAGE_TO_GUEST,
                                .check = nvme_get_log_check, .finish = nvme_get_log_finish,
                                .completed = nvme_get_log_completed},
	[NVME_ADMIN_DELETE_CQ] = {"Delete I/O Completion Queue", SUPPORTED,
                                  .finish = nvme_delete_cq},
	[NVME_ADMIN_CREATE_CQ] = {"Create I/O Completion Queue", SUPPORTED,
                                  .finish = nvme_create_cq},
	[NVME_ADMIN_IDENTIFY] = {"Identify", SUPPORTED, NVME_PAGE_TO_GUEST,
                                 .check = nvme_identify_check, .finish = nvme_identify_finish},
	[NVME_ADMIN_ABORT] = {"Abort", SUPPORTED, .finish = nvme_abort},
	[NVME_ADMIN_SET_FEATURES] = {"Set Features", SUPPORTED, NVME_PAGE_FROM_GUEST,
                                     .check = nvme_set_features_check,
                                     .finish = nvme_set_features_finish},
	[NVME_ADMIN_GET_FEATURES] = {"Get Features", SUPPORTED, NVME_PAGE_TO_GUEST,
                                     .check = nvme_get_features_check,
                                     .finish = nvme_get_features_finish},
	[NVME_ADMIN_ASYNC_EVENT] = {"Asynchronous Event Request", SUPPORTED,
                                    .finish = nvme_async_event},
	[NVME_ADMIN_DOORBELL_BUFFER] = {"Doorbell Buffer Config", SUPPORTED,
                                        .finish = nvme_doorbell_buffer},
	[NVME_ADMIN_FORMAT] = {"Format NVM",
                               SUPPORTED | CHANGES_BLOCKS | CHANGES_NAMESPACE | ALONE_IN_NAMESPACE,
                               .check = nvme_format_check, .work = nvme_format_work,
                               .completed = nvme_format_completed},
};

static const struct nvme_op io_ops[] = {
	[NVME_IO_FLUSH] = {"Flush", SUPPORTED, .any_nsid = true, .work = nvme_flush_work},
	[NVME_IO_WRITE] = {"Write", SUPPORTED | CHANGES_BLOCKS, NVME_DATA_FROM_GUEST,
                           OB_BLOCK_WRITE, .has_blocks = true, .check = nvme_write_check,
                           .finish = nvme_write_finish},
	[NVME_IO_READ] = {"Read", SUPPORTED, NVME_DATA_TO_GUEST, OB_BLOCK_READ, .has_blocks = true,
                          .check = nvme_read_check, .finish = nvme_read_finish},
	[NVME_IO_COMPARE] = {"Compare", SUPPORTED, NVME_DATA_FROM_GUEST, OB_BLOCK_READ,
                             .has_blocks = true, .check = nvme_read_check,
                             .finish = nvme_compare_finish},
	[NVME_IO_WRITE_ZEROES] = {"Write Zeroes", SUPPORTED | CHANGES_BLOCKS, .has_blocks = true,
                                  .check = nvme_write_zeroes_check, .work = nvme_sweep},
	[NVME_IO_DATASET] = {"Dataset Management", SUPPORTED | CHANGES_BLOCKS, NVME_PAGE_FROM_GUEST,
                             .check = nvme_dataset_check, .work = nvme_dataset_work},
	[NVME_IO_VERIFY] = {"Verify", SUPPORTED, .has_blocks = true, .check = nvme_verify_check,
                            .work = nvme_sweep},
};

#define COUNT(table) (sizeof(table) / sizeof(*(table)))

const struct nvme_op *nvme_op_find(bool io, unsigned opcode)
{
	const struct nvme_op *table = io ? io_ops : admin_ops;
	unsigned count = io ? COUNT(io_ops) : COUNT(admin_ops);

	return opcode < count && table[opcode].name ? &table[opcode] : NULL;
}
