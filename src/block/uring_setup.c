/* SPDX-License-Identifier: BSD-3-Clause */
/* Making rings as this kernel knows them, and trying whether they can be had. */
#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "file.h"
#include "uring.h"

enum {
	SQ_THREAD_IDLE_MS = 20, /* the kernel's thread goes to sleep after that */
	PROBE_ALIGN = 64 << 10,
};

/* Older kernels don't know the flags that save us interruptions, and say so. */
int uring_set_up(struct io_uring *ring, unsigned entries, unsigned kind)
{
	unsigned polls = (kind & URING_SQPOLL ? IORING_SETUP_SQPOLL : 0) |
	                 (kind & URING_IOPOLL ? IORING_SETUP_IOPOLL : 0);
	unsigned quiet = kind ? 0
	                      : IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
	                                 IORING_SETUP_TASKRUN_FLAG;
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | polls | quiet,
		.cq_entries = FILE_MAX_JOBS,
		.sq_thread_idle = SQ_THREAD_IDLE_MS,
	};
	int rc = io_uring_queue_init_params(entries, ring, &params);

	if (rc == -EINVAL) {
		params = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE | polls,
		                                  .cq_entries = FILE_MAX_JOBS,
		                                  .sq_thread_idle = SQ_THREAD_IDLE_MS};
		rc = io_uring_queue_init_params(entries, ring, &params);
	}
	if (rc)
		return rc;
	/* Linux 5.8: all operations that are used here, and the switch for the eventfd. */
	if (!(params.features & IORING_FEAT_FAST_POLL) || !ring->cq.kflags) {
		io_uring_queue_exit(ring);
		return -ENOSYS;
	}
	/* A ring may be had, and not be used. */
	rc = io_uring_get_events(ring);
	if (rc < 0)
		io_uring_queue_exit(ring);
	return rc < 0 ? rc : 0;
}

int uring_probe(unsigned kind)
{
	struct io_uring ring;
	int rc = uring_set_up(&ring, 1, kind);

	if (!rc)
		io_uring_queue_exit(&ring);
	return rc;
}

int uring_probe_iopoll(int fd, uint64_t offset, size_t length)
{
	cleanup_free void *memory = aligned_alloc(PROBE_ALIGN, PROBE_ALIGN);
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int rc;

	if (!memory || length > PROBE_ALIGN)
		return memory ? -EINVAL : -ENOMEM;
	rc = uring_set_up(&ring, 1, URING_IOPOLL);
	if (rc)
		return rc;
	io_uring_prep_read(io_uring_get_sqe(&ring), fd, memory, (unsigned)length, offset);
	rc = io_uring_submit_and_wait(&ring, 1);
	if (rc >= 0)
		rc = io_uring_peek_cqe(&ring, &cqe);
	if (!rc)
		rc = cqe->res;
	io_uring_queue_exit(&ring);
	return rc < 0 ? rc : 0;
}
