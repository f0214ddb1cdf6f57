/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's access to its client's memory ("DMA": with vfio-user, memory that the client mapped
 * with VFIO_USER_DMA_MAP).
 *
 * Memory comes in two kinds. What the client shared by descriptor is mapped here and is accessed
 * at once. What it did not share is reached by messages, and takes a round trip to the client. A
 * model does not ask which it is: every access either finishes at once, or says -EINPROGRESS and
 * calls back later.
 *
 * Guest memory changes while we look at it: copy what decides something once, validate the copy,
 * and use only the copy.
 */
#ifndef OUTBOARD_DMA_H
#define OUTBOARD_DMA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct ob_dev;

/*
 * An access under way. Zero it and set the callback before the first use; the rest belongs to the
 * core. done is called from the event loop, exactly once, never from within the call that returned
 * -EINPROGRESS, and not at all after ob_dma_cancel(). From within done the operation may be used
 * again or freed. status: 0, -EFAULT (address not mapped, or no longer), -EIO (the client answered
 * with an error), -ECANCELED (the client is gone).
 */
struct ob_dma_op {
	void (*done)(struct ob_dma_op *op, int status);
	struct ob_dma_op *next, *prev;
	uint64_t address;
	void *buffer;
	size_t length, transferred;
	size_t piece; /* what is asked of the client now: src/dma/dma.h, struct dma_remote */
	uint16_t message_id;
	uint8_t write, state, doubt;
	void *owner;
};

/*
 * Copies length bytes from the client's memory at address to buffer, or from buffer to the
 * client's memory. buffer must stay valid until the operation has ended. A length of 0 succeeds.
 *
 * Returns 0 (done, done() will not be called), -EINPROGRESS, -EFAULT (some byte of the range is not
 * mapped, or not for this direction, or there is no client; nothing was transferred), -EIO (the
 * client's file failed).
 */
int ob_dma_read(struct ob_dev *dev, uint64_t address, void *buffer, size_t length,
                struct ob_dma_op *op);
int ob_dma_write(struct ob_dev *dev, uint64_t address, const void *buffer, size_t length,
                 struct ob_dma_op *op);

/*
 * Ends interest in an operation that returned -EINPROGRESS and has not called back: done will not
 * be called and buffer is not touched any more. What was on its way to the client may still arrive
 * there. Nothing happens if the operation is not under way.
 */
void ob_dma_cancel(struct ob_dev *dev, struct ob_dma_op *op);

/*
 * A pointer to length bytes at address when they lie in one piece of directly mapped memory, valid
 * until control returns to the event loop; NULL otherwise. For hot paths that would otherwise copy.
 * A caller that writes through it must have passed OB_DMA_TO_CLIENT. Others may change the bytes
 * at any time: read each once.
 */
enum ob_dma_dir {
	OB_DMA_FROM_CLIENT, /* the device reads the client's memory */
	OB_DMA_TO_CLIENT,   /* the device writes the client's memory */
};
void *ob_dma_direct(struct ob_dev *dev, uint64_t address, size_t length, enum ob_dma_dir dir);

/*
 * For a model that has read something at address which makes no sense, such as a command of zeroes:
 * perhaps the client gave a descriptor of memory that it does not share, where nothing that the
 * guest writes appears. Then the client is asked, once for each such memory, for the same bytes,
 * into buffer. If they differ, the client's memory is reached by messages from then on, and the log
 * says so. length is at most 64.
 *
 * Returns 0 (there is nothing to ask: the bytes are what the guest wrote), or -EINPROGRESS: done
 * will be called, whatever the status, when what stands at address should be read again.
 */
int ob_dma_doubt(struct ob_dev *dev, uint64_t address, void *buffer, size_t length,
                 struct ob_dma_op *op);

/* A piece of the client's address space. */
struct ob_dma_range {
	uint64_t address;
	uint64_t length;
};

enum { OB_XFER_INLINE_IOV = 16 };

/*
 * A transfer between ranges of the client's memory and something else (a block node): it turns the
 * ranges into iovecs that point into the client's memory where that is mapped, and into a bounce
 * buffer where it is not. Zero it and set ready before the first use; it may be used again after
 * ob_xfer_end().
 *
 * ob_xfer_begin() pins directly mapped memory: DMA_UNMAP waits until ob_xfer_end(). So between the
 * two there must be nothing that waits for the client.
 */
struct ob_xfer {
	/* Called when a begin or an end that returned -EINPROGRESS has finished. status as there.
	 */
	void (*ready)(struct ob_xfer *xfer, int status);

	/*
	 * Optional: room for so many iovecs, for transfers that need more than OB_XFER_INLINE_IOV.
	 * It is the caller's, and spares an allocation for each of them.
	 */
	struct iovec *room;
	unsigned room_count;

	/* Valid between begin and end. May be changed by whoever does the I/O. */
	struct iovec *iov;
	unsigned iovcnt;
	uint64_t length; /* sum of the ranges */

	/* The core's. */
	struct ob_dev *dev;
	const struct ob_dma_range *ranges;
	unsigned nranges, next_range, iov_capacity;
	uint64_t offset;
	enum ob_dma_dir dir;
	uint8_t active, ending, waiting;
	struct ob_xfer *next_waiting, *prev_waiting;
	uint8_t *bounce;
	struct ob_dma_op op;
	struct iovec inline_iov[OB_XFER_INLINE_IOV];
};

/*
 * Starts a transfer over nranges ranges, which must stay valid and unchanged until the end. For
 * OB_DMA_FROM_CLIENT the client's bytes stand in iov once this has finished; for OB_DMA_TO_CLIENT
 * the caller fills iov before ob_xfer_end().
 *
 * Returns 0, -EINPROGRESS, -EFAULT (not mapped for this direction), -ENOMEM, -E2BIG (more than 1024
 * iovecs would be needed). After an error there is nothing to end. What is held for memory that is
 * reached by messages has a bound, and a transfer past it waits for its turn, in either direction.
 */
int ob_xfer_begin(struct ob_dev *dev, struct ob_xfer *xfer, const struct ob_dma_range *ranges,
                  unsigned nranges, enum ob_dma_dir dir);

/*
 * Ends a transfer: brings bounced bytes to the client (OB_DMA_TO_CLIENT, and only if keep is not 0)
 * and unpins. iov is invalid afterwards. Returns 0, -EINPROGRESS or -errno.
 */
int ob_xfer_end(struct ob_xfer *xfer, int keep);

/* Ends a transfer in whatever state it is, at once, without a callback. For reset. */
void ob_xfer_abort(struct ob_xfer *xfer);

#endif
