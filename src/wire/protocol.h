/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What vfio-user messages look like: commands, flags, and the structs that follow the header, byte
 * for byte. Names and numbers come from the vfio-user specification and, where that refers to it,
 * from the Linux VFIO interface (VFIO_* in linux/vfio.h). The structs are ours because
 * distributions' headers lag behind.
 *
 * All fields are in the host's byte order, as the specification says for UNIX sockets. Messages are
 * not aligned: copy a struct out of the bytes, never point into them.
 */
#ifndef WIRE_PROTOCOL_H
#define WIRE_PROTOCOL_H

#include <stdint.h>

enum wire_command {
	WIRE_VERSION = 1,
	WIRE_DMA_MAP = 2,
	WIRE_DMA_UNMAP = 3,
	WIRE_GET_INFO = 4,
	WIRE_GET_REGION_INFO = 5,
	WIRE_GET_REGION_IO_FDS = 6,
	WIRE_GET_IRQ_INFO = 7,
	WIRE_SET_IRQS = 8,
	WIRE_REGION_READ = 9,
	WIRE_REGION_WRITE = 10,
	WIRE_DMA_READ = 11,  /* server to client */
	WIRE_DMA_WRITE = 12, /* server to client */
	WIRE_RESET = 13,
	/* 14 was withdrawn from the specification. */
	WIRE_REGION_WRITE_MULTI = 15,
	WIRE_DEVICE_FEATURE = 16,
	WIRE_MIG_DATA_READ = 17,
	WIRE_MIG_DATA_WRITE = 18,
	WIRE_COMMANDS = 19,
};

/* Header flags. */
enum {
	WIRE_TYPE_MASK = 0xf,
	WIRE_TYPE_COMMAND = 0,
	WIRE_TYPE_REPLY = 1,
	WIRE_NO_REPLY = 1u << 4,
	WIRE_ERROR = 1u << 5,
};

struct wire_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* of the whole message, header included */
	uint32_t flags;
	uint32_t error; /* a positive errno value in replies with WIRE_ERROR */
};
_Static_assert(sizeof(struct wire_header) == 16, "header");

enum {
	WIRE_MAJOR = 0,
	WIRE_MINOR = 1,
};

/* VERSION, followed by JSON. */
struct wire_version_header {
	uint16_t major;
	uint16_t minor;
};
_Static_assert(sizeof(struct wire_version_header) == 4, "VERSION");

enum { WIRE_DMA_READABLE = 1u << 0, WIRE_DMA_WRITEABLE = 1u << 1 };

struct wire_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset;
	uint64_t address;
	uint64_t size;
};
_Static_assert(sizeof(struct wire_dma_map) == 32, "DMA_MAP");

/* VFIO_DMA_UNMAP_FLAG_ALL; address and size are 0 then. */
enum { WIRE_DMA_UNMAP_ALL = 1u << 1 };

struct wire_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t address;
	uint64_t size;
};
_Static_assert(sizeof(struct wire_dma_unmap) == 24, "DMA_UNMAP");

/* VFIO_DEVICE_FLAGS_* */
enum { WIRE_DEVICE_RESET = 1u << 0, WIRE_DEVICE_PCI = 1u << 1 };

struct wire_device_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
};
_Static_assert(sizeof(struct wire_device_info) == 16, "GET_INFO");

/* VFIO_REGION_INFO_FLAG_* */
enum {
	WIRE_REGION_READABLE = 1u << 0,
	WIRE_REGION_WRITEABLE = 1u << 1,
	WIRE_REGION_MMAP = 1u << 2,
	WIRE_REGION_CAPS = 1u << 3,
};

struct wire_region_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t cap_offset;
	uint64_t size;
	uint64_t offset; /* for mmap() */
};
_Static_assert(sizeof(struct wire_region_info) == 32, "GET_REGION_INFO");

/* VFIO_REGION_INFO_CAP_* */
enum { WIRE_REGION_CAP_SPARSE_MMAP = 1, WIRE_REGION_CAP_TYPE = 2 };

struct wire_cap_header {
	uint16_t id;
	uint16_t version;
	uint32_t next;
};
_Static_assert(sizeof(struct wire_cap_header) == 8, "region capability");

struct wire_cap_sparse_mmap {
	struct wire_cap_header header;
	uint32_t nr_areas;
	uint32_t reserved;
};
_Static_assert(sizeof(struct wire_cap_sparse_mmap) == 16, "sparse mmap capability");

struct wire_cap_type {
	struct wire_cap_header header;
	uint32_t type;
	uint32_t subtype;
};
_Static_assert(sizeof(struct wire_cap_type) == 16, "region type capability");

struct wire_sparse_area {
	uint64_t offset;
	uint64_t size;
};
_Static_assert(sizeof(struct wire_sparse_area) == 16, "sparse mmap area");

struct wire_region_io_fds {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};
_Static_assert(sizeof(struct wire_region_io_fds) == 16, "GET_REGION_IO_FDS");

enum { WIRE_IO_FD_IOEVENTFD = 0, WIRE_IO_FD_IOREGIONFD = 1 };

/* KVM_IOEVENTFD_FLAG_* */
enum { WIRE_IOEVENTFD_DATAMATCH = 1u << 0, WIRE_IOEVENTFD_PIO = 1u << 1 };

struct wire_io_fd {
	uint64_t offset;
	uint64_t size;
	uint32_t fd_index;
	uint32_t type;
	uint32_t flags;
	uint32_t padding;
	uint64_t datamatch; /* user_data for an ioregionfd */
};
_Static_assert(sizeof(struct wire_io_fd) == 40, "sub-region");

/* VFIO_IRQ_INFO_* */
enum {
	WIRE_IRQ_EVENTFD = 1u << 0,
	WIRE_IRQ_MASKABLE = 1u << 1,
	WIRE_IRQ_AUTOMASKED = 1u << 2,
	WIRE_IRQ_NORESIZE = 1u << 3,
};

struct wire_irq_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};
_Static_assert(sizeof(struct wire_irq_info) == 16, "GET_IRQ_INFO");

/* VFIO_IRQ_SET_*: one of the first three, and one of the last three */
enum {
	WIRE_IRQ_DATA_NONE = 1u << 0,
	WIRE_IRQ_DATA_BOOL = 1u << 1,
	WIRE_IRQ_DATA_EVENTFD = 1u << 2,
	WIRE_IRQ_DATA_MASK = 7u << 0,
	WIRE_IRQ_ACTION_MASK = 1u << 3,
	WIRE_IRQ_ACTION_UNMASK = 1u << 4,
	WIRE_IRQ_ACTION_TRIGGER = 1u << 5,
	WIRE_IRQ_ACTIONS = 7u << 3,
};

/* SET_IRQS, followed by count bytes with DATA_BOOL. */
struct wire_irq_set {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t start;
	uint32_t count;
};
_Static_assert(sizeof(struct wire_irq_set) == 20, "SET_IRQS");

/* REGION_READ and REGION_WRITE; data follows in the reply of one, the request of the other. */
struct wire_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};
_Static_assert(sizeof(struct wire_region_access) == 16, "REGION_READ, REGION_WRITE");

/* DMA_READ and DMA_WRITE; data likewise. */
struct wire_dma_access {
	uint64_t address;
	uint64_t count;
};
_Static_assert(sizeof(struct wire_dma_access) == 16, "DMA_READ, DMA_WRITE");

/* REGION_WRITE_MULTI: a 64-bit number of these, then so many of them. */
struct wire_small_write {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
	uint8_t data[8];
};
_Static_assert(sizeof(struct wire_small_write) == 24, "REGION_WRITE_MULTI");

/* VFIO_DEVICE_FEATURE_*: the index in the low half of flags, methods in the high one. */
enum {
	WIRE_FEATURE_INDEX = 0xffff,
	WIRE_FEATURE_GET = 1u << 16,
	WIRE_FEATURE_SET = 1u << 17,
	WIRE_FEATURE_PROBE = 1u << 18,
};

enum wire_feature {
	WIRE_FEATURE_MIGRATION = 1,
	WIRE_FEATURE_MIG_DEVICE_STATE = 2,
	WIRE_FEATURE_DMA_LOGGING_START = 6,
	WIRE_FEATURE_DMA_LOGGING_STOP = 7,
	WIRE_FEATURE_DMA_LOGGING_REPORT = 8,
	WIRE_FEATURE_MIG_DATA_SIZE = 9, /* Linux's; vfio-user does not list it */
};

/* DEVICE_FEATURE, followed by the feature's data. */
struct wire_device_feature {
	uint32_t argsz;
	uint32_t flags;
};
_Static_assert(sizeof(struct wire_device_feature) == 8, "DEVICE_FEATURE");

/* FEATURE_MIGRATION: VFIO_MIGRATION_* */
enum {
	WIRE_MIGRATION_STOP_COPY = 1u << 0,
	WIRE_MIGRATION_P2P = 1u << 1,
	WIRE_MIGRATION_PRE_COPY = 1u << 2,
};

struct wire_migration {
	uint64_t flags;
};
_Static_assert(sizeof(struct wire_migration) == 8, "FEATURE_MIGRATION");

/* VFIO_DEVICE_STATE_*; those with P2P are not used. */
enum wire_mig_state {
	WIRE_STATE_ERROR = 0,
	WIRE_STATE_STOP = 1,
	WIRE_STATE_RUNNING = 2,
	WIRE_STATE_STOP_COPY = 3,
	WIRE_STATE_RESUMING = 4,
	WIRE_STATE_RUNNING_P2P = 5,
	WIRE_STATE_PRE_COPY = 6,
	WIRE_STATE_PRE_COPY_P2P = 7,
	WIRE_STATES,
};

struct wire_mig_device_state {
	uint32_t device_state;
	uint32_t data_fd; /* not used */
};
_Static_assert(sizeof(struct wire_mig_device_state) == 8, "FEATURE_MIG_DEVICE_STATE");

/* FEATURE_DMA_LOGGING_START, followed by num_ranges of the next. */
struct wire_dma_logging {
	uint64_t page_size;
	uint32_t num_ranges;
	uint32_t reserved;
};
_Static_assert(sizeof(struct wire_dma_logging) == 16, "FEATURE_DMA_LOGGING_START");

struct wire_dma_range {
	uint64_t iova;
	uint64_t length;
};
_Static_assert(sizeof(struct wire_dma_range) == 16, "range of FEATURE_DMA_LOGGING_START");

/* FEATURE_DMA_LOGGING_REPORT; in the reply a bitmap of 64-bit words follows. */
struct wire_dma_report {
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
};
_Static_assert(sizeof(struct wire_dma_report) == 24, "FEATURE_DMA_LOGGING_REPORT");

/* MIG_DATA_READ and MIG_DATA_WRITE; data follows in the reply of one, the request of the other. */
struct wire_mig_data {
	uint32_t argsz;
	uint32_t size;
};
_Static_assert(sizeof(struct wire_mig_data) == 8, "MIG_DATA_READ, MIG_DATA_WRITE");

#endif
