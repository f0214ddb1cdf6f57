/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Controller Fatal Status (NVMe 1.4, 3.1.6 and 9.5): the controller stops until it is reset. The
 * guest has told it to use memory that cannot be reached, or registers make no sense.
 */
#include "internal.h"

void nvme_fatal(struct nvme *n, const char *what, uint64_t where)
{
	if (n->state->csts & NVME_CSTS_CFS)
		return;
	n->state->csts |= NVME_CSTS_CFS;
	/* No turn comes any more: the guest is notified now of completions that were posted. */
	ob_queues_stop(&n->queues, true);
	ob_dev_failed(n->dev, "controller fatal status: %s (0x%llx)", what,
	              (unsigned long long)where);
}
