/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user client: what a VMM does, without a VMM. For tests, benchmarks, simulators, and people
 * who write devices. Section names in these comments are those of the vfio-user specification
 * (QEMU's docs/interop/vfio-user.rst).
 *
 * Functions return 0 or -errno unless they say otherwise, and leave out parameters alone when they
 * fail. What is said of errors below holds for all of them:
 *
 *	-ETIMEDOUT      the server did not answer (or not read) in time; later calls may go on
 *	-ECONNRESET     the server hung up, now or earlier
 *	-EPROTO         the server broke the protocol: the connection is given up
 *	-EMSGSIZE       it sent a message longer than we said we take: likewise
 *	-ENOMEM
 *	other           the error that the server answered with (-EREMOTEIO where it named none)
 *
 * Once the connection is given up every call returns the error that ended it. ob_client_message()
 * has a line that says more.
 *
 * The server is not trusted. Replies are checked before anything of them is used, what it may make
 * us hold is bounded, and it reaches only memory that was mapped for it. What no check can prevent:
 * a server that shrinks a file that we have mapped (ob_client_area_map()) ends us with SIGBUS.
 *
 * One thread at a time per client. Nothing here looks at other threads or installs handlers.
 */
#ifndef OUTBOARD_CLIENT_H
#define OUTBOARD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ob_client;

/* Regions and interrupts of a PCI device, by index (VFIO_PCI_*_REGION_INDEX, _IRQ_INDEX). */
enum {
	OB_REGION_BAR0 = 0,
	OB_REGION_ROM = 6,
	OB_REGION_CONFIG = 7,
	OB_REGION_VGA = 8,

	OB_IRQ_INTX = 0,
	OB_IRQ_MSI = 1,
	OB_IRQ_MSIX = 2,
	OB_IRQ_ERR = 3,
	OB_IRQ_REQ = 4,
};

/* For DMA maps. */
enum {
	OB_CLIENT_READ = 1u << 0,     /* the device may read */
	OB_CLIENT_WRITE = 1u << 1,    /* the device may write */
	OB_CLIENT_UNSHARED = 1u << 2, /* no descriptor is sent: the device asks us by message */
};

/*
 * Called for the server's DMA_READ and DMA_WRITE requests to addresses that no map with memory of
 * ours covers, from within whatever call is waiting or polling. They return 0, or -errno, which
 * becomes the error reply. They must not call functions of this header.
 */
struct ob_client_dma_ops {
	int (*read)(void *context, uint64_t address, void *data, size_t length);
	int (*write)(void *context, uint64_t address, const void *data, size_t length);
};

/* All fields may be 0. */
struct ob_client_config {
	unsigned timeout_ms;         /* for each call that waits; 0: 5000 */
	bool twin_socket;            /* ask for a socket of its own for the server's requests */
	bool busy;                   /* wait by looking again and again instead of sleeping */
	uint32_t max_data_xfer_size; /* bytes that one message may transfer; 0: 1 MiB */
	const struct ob_client_dma_ops *dma; /* NULL: such requests are answered with EFAULT */
	void *context;                       /* for dma */
};

/* What was agreed on (section VERSION). Where the server said nothing, the protocol's default. */
struct ob_client_caps {
	uint16_t major, minor;
	uint32_t max_msg_fds;        /* descriptors that the server takes in a message */
	uint32_t max_data_xfer_size; /* bytes; the server's */
	uint32_t max_dma_maps;
	uint64_t pgsizes; /* sizes or'ed together */
	bool write_multiple;
	bool twin_socket; /* in use */
	bool migration;
	uint64_t migration_pgsize, migration_max_bitmap_size; /* 0: not said */
	const char *json; /* what the server sent, NUL-terminated; owned by the client */
};

/*
 * Connects to a socket by its path and negotiates. *out is the caller's to free. Also returns what
 * connect() fails with. err (may be NULL) has a line for a person.
 */
int ob_client_connect(const char *path, const struct ob_client_config *config,
                      struct ob_client **out, struct ob_error *err);

/* The same over a connected stream socket, which is taken over even on failure. */
int ob_client_new(int fd, const struct ob_client_config *config, struct ob_client **out,
                  struct ob_error *err);

/* Hangs up. Operations under way end without a callback. NULL is fine. */
void ob_client_free(struct ob_client *client);

const struct ob_client_caps *ob_client_caps(const struct ob_client *client);

/* What the last failure was, in a line. Never NULL; "" if nothing failed yet. */
const char *ob_client_message(const struct ob_client *client);

/*
 * Descriptors to poll for input (POLLIN) before ob_client_poll(): the socket, and the twin socket
 * or -1. They stay the client's.
 */
void ob_client_fds(const struct ob_client *client, int fds[2]);

/*
 * Handles what has arrived, without waiting: the server's requests, and replies to operations. Also
 * sends what was posted. 0, or what ended the connection.
 */
int ob_client_poll(struct ob_client *client);

/* The same, but waits up to timeout_ms for something to arrive. -ETIMEDOUT if nothing did. */
int ob_client_wait(struct ob_client *client, unsigned timeout_ms);

/* Section DEVICE_GET_INFO. */
struct ob_client_device {
	bool pci, can_reset;
	uint32_t regions, irqs; /* numbers of region and interrupt indexes */
};
int ob_client_device_info(struct ob_client *client, struct ob_client_device *out);

/*
 * Section DEVICE_GET_REGION_INFO. A part of a region that can be mapped; fd stays the region's.
 */
struct ob_client_area {
	uint64_t offset, size; /* in the region; always within it */
	int fd;                /* -1: the server said mappable, but sent no descriptor */
};

struct ob_client_region {
	uint32_t index;
	bool readable, writeable, mappable;
	uint64_t size;        /* bytes; 0: the device has no such region */
	uint64_t file_offset; /* what an area's offset is added to for mmap() */
	bool has_type;        /* a device-specific region, of this type */
	uint32_t type, subtype;
	bool sparse;         /* the areas are listed by the server, and are not all of the region */
	unsigned area_count; /* none unless mappable */
	struct ob_client_area *areas;
	unsigned fd_count;
	int *fds; /* all that came with the reply */
};

/* The region's arrays and descriptors are the caller's, who gives them to _release(). */
int ob_client_region_info(struct ob_client *client, uint32_t index, struct ob_client_region *out);
void ob_client_region_release(struct ob_client_region *region);

/*
 * Maps an area (MAP_SHARED, read and write as the region allows); munmap() it with the area's size.
 * -ENXIO if the file is shorter than the area, -EINVAL if there is no such area, or what mmap()
 * fails with.
 */
int ob_client_area_map(const struct ob_client_region *region, unsigned area, void **out);

/* Section DEVICE_GET_REGION_IO_FDS. */
struct ob_client_io_fd {
	uint64_t offset, size; /* in the region; size 0: of any size */
	int fd;                /* an element of fds, or shared with another entry; see release */
	uint32_t type;         /* 0: ioeventfd, 1: ioregionfd */
	uint32_t flags;
	uint64_t datamatch; /* user_data for an ioregionfd */
};

struct ob_client_io_fds {
	unsigned count, fd_count;
	struct ob_client_io_fd *entries;
	int *fds;
};
int ob_client_region_io_fds(struct ob_client *client, uint32_t index, struct ob_client_io_fds *out);
void ob_client_io_fds_release(struct ob_client_io_fds *io_fds);

/* Section DEVICE_GET_IRQ_INFO. */
struct ob_client_irq {
	uint32_t index, count; /* count: interrupts of this kind */
	bool eventfd, maskable, automasked, noresize;
};
int ob_client_irq_info(struct ob_client *client, uint32_t index, struct ob_client_irq *out);

/*
 * Section DEVICE_SET_IRQS. Has interrupts start to start + count - 1 of an index signal these
 * eventfds, which stay the caller's; fds NULL: none any more. More than the server takes in one
 * message are sent in several.
 */
int ob_client_irq_eventfds(struct ob_client *client, uint32_t index, uint32_t start, uint32_t count,
                           const int *fds);

enum ob_client_irq_action {
	OB_CLIENT_IRQ_MASK,
	OB_CLIENT_IRQ_UNMASK,
	OB_CLIENT_IRQ_TRIGGER,
};

/* Does it to all of the range, or to those with a byte other than 0 in which (count bytes). */
int ob_client_irq_act(struct ob_client *client, uint32_t index, uint32_t start, uint32_t count,
                      enum ob_client_irq_action action, const uint8_t *which);

/* Nothing of the index is used any more. */
int ob_client_irq_disable(struct ob_client *client, uint32_t index);

/*
 * Client memory: shareable, page-aligned, zeroed. size is rounded up to pages. To be freed after it
 * is unmapped from every client; a server that still has it mapped keeps it alive for itself only.
 */
struct ob_client_memory {
	uint8_t *data;
	size_t size;
	int fd;
};
int ob_client_memory_new(size_t size, struct ob_client_memory **out);
void ob_client_memory_free(struct ob_client_memory *memory);

/*
 * Section DMA_MAP. Lets the device use length bytes of memory from offset on at DMA address.
 * flags: OB_CLIENT_*. The server's requests to that range are answered from the memory, whether a
 * descriptor was sent or not. -EEXIST if it overlaps another map, -EINVAL.
 */
int ob_client_map(struct ob_client *client, uint64_t address, struct ob_client_memory *memory,
                  size_t offset, size_t length, unsigned flags);

/*
 * The same with any descriptor (-1: none, then file_offset is 0) and with memory of any kind: data
 * is where the server's requests are answered from; NULL: they go to the callbacks.
 */
struct ob_client_map {
	uint64_t address, length;
	unsigned flags; /* OB_CLIENT_READ and OB_CLIENT_WRITE */
	int fd;         /* stays the caller's */
	uint64_t file_offset;
	void *data; /* length bytes that stay the caller's */
};
int ob_client_map_raw(struct ob_client *client, const struct ob_client_map *map);

/*
 * Section DMA_UNMAP. All maps that lie in the range; none is fine as well, and a range that cuts
 * one is refused. (Servers other than outboard may want exactly a map that was made.) When it
 * returns 0 the device does not touch that memory any more. It stays served while the server has
 * not answered.
 */
int ob_client_unmap(struct ob_client *client, uint64_t address, uint64_t length);
int ob_client_unmap_all(struct ob_client *client);

/*
 * Sections REGION_READ, REGION_WRITE. Any length: what is longer than one message may transfer goes
 * in several. -EIO if the server transferred less.
 */
int ob_client_read(struct ob_client *client, uint32_t region, uint64_t offset, void *data,
                   size_t length);
int ob_client_write(struct ob_client *client, uint32_t region, uint64_t offset, const void *data,
                    size_t length);

/*
 * Registers: size is 1, 2, 4 or 8 bytes, little-endian as PCI has them.
 */
int ob_client_read_value(struct ob_client *client, uint32_t region, uint64_t offset, unsigned size,
                         uint64_t *value);
int ob_client_write_value(struct ob_client *client, uint32_t region, uint64_t offset, unsigned size,
                          uint64_t value);

/*
 * A posted write (flag No_reply): nobody learns whether it failed. It is sent with the next call
 * that sends, waits or polls, or with ob_client_flush(). length: at most one message's.
 */
int ob_client_post(struct ob_client *client, uint32_t region, uint64_t offset, const void *data,
                   size_t length);
int ob_client_flush(struct ob_client *client);

/* Section REGION_WRITE_MULTI: several small writes in one message, at least one. */
struct ob_client_small_write {
	uint64_t offset;
	uint32_t region;
	uint32_t size;  /* bytes, at most 8 */
	uint64_t value; /* little-endian on the wire */
};
/*
 * -EOPNOTSUPP if the server does not offer write_multiple. posted: as ob_client_post(). Otherwise
 * *done (may be NULL) is how many of them the server did.
 */
int ob_client_write_multi(struct ob_client *client, const struct ob_client_small_write *writes,
                          unsigned count, bool posted, uint64_t *done);

/* Section DEVICE_RESET. */
int ob_client_reset(struct ob_client *client);

/*
 * Section DEVICE_FEATURE. flags: index and GET, SET, PROBE as the specification has them. The
 * reply's data (behind argsz and flags) is put into reply, at most *reply_size bytes; *reply_size
 * becomes its length, or what it would need if -ENOSPC is returned. reply may be NULL with
 * *reply_size 0.
 */
int ob_client_feature(struct ob_client *client, uint32_t flags, const void *data, size_t length,
                      void *reply, size_t *reply_size);

/*
 * Whether the device has a feature by its index with these methods. 0, or -ENOTTY if it has no
 * such feature, -EINVAL if not that method.
 */
int ob_client_feature_probe(struct ob_client *client, unsigned feature, bool get, bool set);

/* Section VFIO_DEVICE_FEATURE_MIGRATION. -ENOTTY: the device does not migrate. */
struct ob_client_migration {
	bool stop_copy, p2p, pre_copy;
};
int ob_client_migration(struct ob_client *client, struct ob_client_migration *out);

/* Section VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE. */
enum ob_client_state {
	OB_CLIENT_STATE_ERROR,
	OB_CLIENT_STATE_STOP,
	OB_CLIENT_STATE_RUNNING,
	OB_CLIENT_STATE_STOP_COPY,
	OB_CLIENT_STATE_RESUMING,
	OB_CLIENT_STATE_RUNNING_P2P,
	OB_CLIENT_STATE_PRE_COPY,
	OB_CLIENT_STATE_PRE_COPY_P2P,
};
int ob_client_state(struct ob_client *client, enum ob_client_state *out);

/*
 * When it returns 0, the device is in that state. After an error it may be in another one: its own
 * before, one on the way, or ERROR; ob_client_state() tells. ob_client_reset() leads out of ERROR.
 */
int ob_client_set_state(struct ob_client *client, enum ob_client_state state);

/* "RUNNING" and so on; "unknown". */
const char *ob_client_state_name(enum ob_client_state state);

/*
 * Sections VFIO_DEVICE_FEATURE_DMA_LOGGING_*. Has the device note which pages it writes in these
 * ranges of DMA addresses (count 0: in all; outboard takes 256 at most). *page_size is the wish,
 * and becomes what the device chose.
 */
struct ob_client_range {
	uint64_t address, length;
};
int ob_client_dirty_start(struct ob_client *client, uint64_t *page_size,
                          const struct ob_client_range *ranges, unsigned count);
int ob_client_dirty_stop(struct ob_client *client);

/*
 * Adds to bitmap what was written since the last report in a range, and has the device forget it:
 * bit n of word n / 64 stands for the nth page_size bytes of the range. bitmap has a bit for each,
 * in whole words. page_size: a power of two; the range is made of such pages. In several messages
 * if it is long; if one fails, what the others said is in the bitmap.
 */
int ob_client_dirty_report(struct ob_client *client, struct ob_client_range range,
                           uint64_t page_size, uint64_t *bitmap);

/* Sections MIG_DATA_READ, MIG_DATA_WRITE. *got less than length: that was the last. */
int ob_client_mig_read(struct ob_client *client, void *data, uint32_t length, uint32_t *got);
int ob_client_mig_write(struct ob_client *client, const void *data, uint32_t length);

/*
 * Operations that do not wait: many may be under way, and they end from within ob_client_poll() or
 * any call that waits. An operation belongs to the library from _start() until status is not
 * -EINPROGRESS any more. done (may be NULL) is called then; it may start operations, and reuse or
 * free its own, but not wait. Zero the rest before the first use.
 */
struct ob_client_message;
struct ob_client_op {
	void (*done)(struct ob_client_op *op);
	int status;    /* 0 or -errno */
	uint16_t slot; /* from here on the library's own */

	int (*take)(struct ob_client *client, struct ob_client_op *op,
	            struct ob_client_message *reply);
	void *data;
	uint64_t offset;
	uint32_t region, count;
};

enum { OB_CLIENT_MAX_OPS = 256 }; /* under way at a time, those of calls that wait included */

/*
 * length: at most what one message may transfer. -EAGAIN if OB_CLIENT_MAX_OPS are under way. What
 * is written is copied before the call returns; data to read into must stay valid until the end.
 */
int ob_client_read_start(struct ob_client *client, struct ob_client_op *op, uint32_t region,
                         uint64_t offset, void *data, uint32_t length);
int ob_client_write_start(struct ob_client *client, struct ob_client_op *op, uint32_t region,
                          uint64_t offset, const void *data, uint32_t length);

#ifdef __cplusplus
}
#endif

#endif
