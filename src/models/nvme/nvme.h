/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVM Express by numbers: registers, opcodes, status codes, layouts, as NVMe Base 1.4 has them
 * (with the few things of 2.0 that drivers ask for). Names follow the specification's
 * abbreviations; offsets are bytes, as its figures print them. No code of ours depends on anything
 * but these.
 */
#ifndef NVME_NVME_H
#define NVME_NVME_H

#include <stdint.h>

/* Controller registers (3.1). */
enum {
	NVME_REG_CAP = 0x00, /* 8 bytes */
	NVME_REG_VS = 0x08,
	NVME_REG_INTMS = 0x0c,
	NVME_REG_INTMC = 0x10,
	NVME_REG_CC = 0x14,
	NVME_REG_CSTS = 0x1c,
	NVME_REG_NSSR = 0x20,
	NVME_REG_AQA = 0x24,
	NVME_REG_ASQ = 0x28, /* 8 bytes */
	NVME_REG_ACQ = 0x30, /* 8 bytes */
	NVME_DOORBELLS = 0x1000,
};

/* CAP (3.1.1): where its fields begin. */
enum {
	NVME_CAP_MQES = 0,
	NVME_CAP_CQR = 16,
	NVME_CAP_TO = 24,
	NVME_CAP_CSS_NVM = 37,
	NVME_CAP_MPSMAX = 52,
};

/* CC (3.1.5). */
enum {
	NVME_CC_EN = 1 << 0,
	NVME_CC_CSS = 7 << 4,
	NVME_CC_MPS = 15 << 7,
	NVME_CC_MPS_SHIFT = 7,
	NVME_CC_AMS = 7 << 11,
	NVME_CC_SHN = 3 << 14,
	NVME_CC_IOSQES = 15 << 16,
	NVME_CC_IOSQES_SHIFT = 16,
	NVME_CC_IOCQES = 15 << 20,
	NVME_CC_IOCQES_SHIFT = 20,
};

/* CSTS (3.1.6). */
enum {
	NVME_CSTS_RDY = 1 << 0,
	NVME_CSTS_CFS = 1 << 1,
	NVME_CSTS_SHST = 3 << 2,
	NVME_CSTS_SHST_BUSY = 1 << 2,
	NVME_CSTS_SHST_DONE = 2 << 2,
};

enum {
	NVME_VERSION = 0x00010400,
	NVME_SQES = 6, /* log2 of an entry's size; the only one that the NVM command set has */
	NVME_CQES = 4,
	NVME_SQE_SIZE = 1 << NVME_SQES,
	NVME_CQE_SIZE = 1 << NVME_CQES,
};

/* Namespace id: all of them, where a command says so. */
#define NVME_NSID_ALL UINT32_C(0xffffffff)

enum nvme_admin_opcode {
	NVME_ADMIN_DELETE_SQ = 0x00,
	NVME_ADMIN_CREATE_SQ = 0x01,
	NVME_ADMIN_GET_LOG = 0x02,
	NVME_ADMIN_DELETE_CQ = 0x04,
	NVME_ADMIN_CREATE_CQ = 0x05,
	NVME_ADMIN_IDENTIFY = 0x06,
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09,
	NVME_ADMIN_GET_FEATURES = 0x0a,
	NVME_ADMIN_ASYNC_EVENT = 0x0c,
	NVME_ADMIN_DOORBELL_BUFFER = 0x7c,
	NVME_ADMIN_FABRICS = 0x7f, /* over PCI Express there is none */
	NVME_ADMIN_FORMAT = 0x80,
	NVME_ADMIN_LAST = 0x84, /* of the standard's: Sanitize */
};

enum nvme_io_opcode {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
	NVME_IO_COMPARE = 0x05,
	NVME_IO_WRITE_ZEROES = 0x08,
	NVME_IO_DATASET = 0x09,
	NVME_IO_VERIFY = 0x0c,
	NVME_IO_LAST = 0x19, /* of the standard's: Copy */
};

/* CDW0 (4.2). */
enum {
	NVME_CDW0_FUSE = 3 << 8,
	NVME_CDW0_PSDT = 3 << 14,
	NVME_CDW0_PSDT_SHIFT = 14,
};

/* CDW12 and CDW11 of the NVM command set (6). */
enum {
	NVME_RW_FUA = 1 << 30,
	NVME_ZEROES_DEAC = 1 << 25,
	NVME_DATASET_DEALLOCATE = 1 << 2,
};

/*
 * Status field of a completion, without the phase bit (4.6.1): status code in bits 7:0, its type in
 * 10:8, "more" (the error log has an entry) in 13, "do not retry" in 14.
 */
enum nvme_status {
	NVME_SUCCESS = 0x000,
	NVME_INVALID_OPCODE = 0x001,
	NVME_INVALID_FIELD = 0x002,
	NVME_DATA_TRANSFER_ERROR = 0x004,
	NVME_INTERNAL_ERROR = 0x006,
	NVME_ABORT_REQUESTED = 0x007,
	NVME_ABORT_SQ_DELETION = 0x008,
	NVME_INVALID_NAMESPACE = 0x00b,
	NVME_SEQUENCE_ERROR = 0x00c,
	NVME_INVALID_SGL_SEGMENT = 0x00d,
	NVME_INVALID_SGL_COUNT = 0x00e,
	NVME_DATA_SGL_LENGTH = 0x00f,
	NVME_SGL_TYPE = 0x011,
	NVME_INVALID_PRP_OFFSET = 0x013,
	NVME_WRITE_PROTECTED = 0x020,
	NVME_LBA_RANGE = 0x080,
	NVME_CAPACITY_EXCEEDED = 0x081,
	NVME_FORMAT_IN_PROGRESS = 0x084,
	NVME_INVALID_CQ = 0x100,
	NVME_INVALID_QID = 0x101,
	NVME_INVALID_QSIZE = 0x102,
	NVME_ABORT_LIMIT = 0x103,
	NVME_ASYNC_EVENT_LIMIT = 0x105,
	NVME_INVALID_VECTOR = 0x108,
	NVME_INVALID_LOG_PAGE = 0x109,
	NVME_INVALID_FORMAT = 0x10a,
	NVME_INVALID_QUEUE_DELETION = 0x10c,
	NVME_FEATURE_NOT_SAVEABLE = 0x10d,
	NVME_FEATURE_NOT_CHANGEABLE = 0x10e,
	NVME_FEATURE_NOT_NAMESPACE = 0x10f,
	NVME_READ_ONLY_RANGE = 0x182,
	NVME_WRITE_FAULT = 0x280,
	NVME_READ_ERROR = 0x281,
	NVME_COMPARE_FAILURE = 0x285,
	NVME_MORE = 1 << 13,
	NVME_DNR = 1 << 14,
};

/* Identify (5.15): CNS values, and where the fields are in what they return. */
enum {
	NVME_CNS_NAMESPACE = 0x00,
	NVME_CNS_CONTROLLER = 0x01,
	NVME_CNS_ACTIVE_LIST = 0x02,
	NVME_CNS_DESCRIPTORS = 0x03,
	NVME_CNS_NVM_NAMESPACE = 0x05,
	NVME_CNS_NVM_CONTROLLER = 0x06,
	NVME_CNS_NVM_ACTIVE_LIST = 0x07,
	NVME_CNS_ANY_NAMESPACE = 0x08,
	NVME_CNS_ALLOCATED_LIST = 0x10,
	NVME_CNS_ALLOCATED_NAMESPACE = 0x11,
	NVME_CNS_NAMESPACE_CONTROLLERS = 0x12,
	NVME_CNS_CONTROLLERS = 0x13,
};

enum {
	NVME_IDCTRL_VID = 0,
	NVME_IDCTRL_SSVID = 2,
	NVME_IDCTRL_SN = 4,
	NVME_IDCTRL_MN = 24,
	NVME_IDCTRL_FR = 64,
	NVME_IDCTRL_RAB = 72,
	NVME_IDCTRL_MDTS = 77,
	NVME_IDCTRL_CNTLID = 78,
	NVME_IDCTRL_VER = 80,
	NVME_IDCTRL_OAES = 92,
	NVME_IDCTRL_CNTRLTYPE = 111,
	NVME_IDCTRL_OACS = 256,
	NVME_IDCTRL_ACL = 258,
	NVME_IDCTRL_AERL = 259,
	NVME_IDCTRL_FRMW = 260,
	NVME_IDCTRL_LPA = 261,
	NVME_IDCTRL_ELPE = 262,
	NVME_IDCTRL_WCTEMP = 266,
	NVME_IDCTRL_CCTEMP = 268,
	NVME_IDCTRL_FNA = 524,
	NVME_IDCTRL_SQES = 512,
	NVME_IDCTRL_CQES = 513,
	NVME_IDCTRL_MAXCMD = 514,
	NVME_IDCTRL_NN = 516,
	NVME_IDCTRL_ONCS = 520,
	NVME_IDCTRL_VWC = 525,
	NVME_IDCTRL_AWUN = 526,
	NVME_IDCTRL_AWUPF = 528,
	NVME_IDCTRL_SGLS = 536,
	NVME_IDCTRL_SUBNQN = 768,
	NVME_IDCTRL_PSD0 = 2048,

	NVME_OAES_NAMESPACE = 1 << 8,
	NVME_OACS_FORMAT = 1 << 1,
	NVME_OACS_DOORBELL_BUFFER = 1 << 8,
	NVME_LPA_EFFECTS = 1 << 1,
	NVME_LPA_EXTENDED = 1 << 2,
	NVME_ONCS_COMPARE = 1 << 0,
	NVME_ONCS_DATASET = 1 << 2,
	NVME_ONCS_WRITE_ZEROES = 1 << 3,
	NVME_ONCS_SAVE_SELECT = 1 << 4,
	NVME_ONCS_TIMESTAMP = 1 << 6,
	NVME_ONCS_VERIFY = 1 << 7,
	NVME_VWC_PRESENT = 1 << 0,
	NVME_VWC_FLUSH_ALL = 3 << 1,
	NVME_SGLS_SUPPORTED = 1 << 0,
	NVME_SGLS_BIT_BUCKET = 1 << 16,
};

enum {
	NVME_IDNS_NSZE = 0,
	NVME_IDNS_NCAP = 8,
	NVME_IDNS_NUSE = 16,
	NVME_IDNS_NSFEAT = 24,
	NVME_IDNS_NLBAF = 25,
	NVME_IDNS_FLBAS = 26,
	NVME_IDNS_FPI = 32,
	NVME_IDNS_DLFEAT = 33,
	NVME_IDNS_NPWG = 64,
	NVME_IDNS_NPWA = 66,
	NVME_IDNS_NPDG = 68,
	NVME_IDNS_NPDA = 70,
	NVME_IDNS_NSATTR = 99,
	NVME_IDNS_NGUID = 104,
	NVME_IDNS_EUI64 = 120,
	NVME_IDNS_LBAF0 = 128,

	NVME_FPI_SUPPORTED = 1 << 7,
	NVME_NSFEAT_OPTPERF = 1 << 4,
	NVME_DLFEAT_ZEROES = 1 << 0,
	NVME_DLFEAT_DEAC = 1 << 3,
	NVME_NSATTR_WRITE_PROTECTED = 1 << 0,
	NVME_NIDT_EUI64 = 1,
	NVME_NIDT_NGUID = 2,
	NVME_NIDT_UUID = 3,
};

/* What CNS 06h has for the NVM command set (NVM Command Set 1.0, 4.1.5.2). */
enum {
	NVME_IDCTRL_NVM_VSL = 0,
	NVME_IDCTRL_NVM_WZSL = 1,
	NVME_IDCTRL_NVM_WUSL = 2,
	NVME_IDCTRL_NVM_DMRL = 3,
	NVME_IDCTRL_NVM_DMRSL = 4, /* 4 bytes */
	NVME_IDCTRL_NVM_DMSL = 8,  /* 8 bytes */
};

/* Features (5.21.1). */
enum nvme_feature {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER = 0x02,
	NVME_FEAT_TEMPERATURE = 0x04,
	NVME_FEAT_ERROR_RECOVERY = 0x05,
	NVME_FEAT_WRITE_CACHE = 0x06,
	NVME_FEAT_QUEUES = 0x07,
	NVME_FEAT_COALESCING = 0x08,
	NVME_FEAT_VECTOR = 0x09,
	NVME_FEAT_ATOMICITY = 0x0a,
	NVME_FEAT_ASYNC_EVENT = 0x0b,
	NVME_FEAT_TIMESTAMP = 0x0e,
	NVME_FEAT_HOST_BEHAVIOR = 0x16,
};

/* Log pages (5.14.1). */
enum nvme_log {
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED = 0x04,
	NVME_LOG_EFFECTS = 0x05,
};

/* Asynchronous events (5.2.1): type, then information of each type. */
enum {
	NVME_EVENT_ERROR = 0,
	NVME_EVENT_HEALTH = 1,
	NVME_EVENT_NOTICE = 2,

	NVME_ERROR_DOORBELL_REGISTER = 0,
	NVME_ERROR_DOORBELL_VALUE = 1,
	NVME_HEALTH_TEMPERATURE = 1,
	NVME_NOTICE_NAMESPACE = 0,

	NVME_ASYNC_TEMPERATURE = 1 << 1,
	NVME_ASYNC_NAMESPACE = 1 << 8,
};

/* SGL descriptors (4.4.1). */
enum {
	NVME_SGL_DESCRIPTOR = 16, /* size */
	NVME_SGL_DATA = 0,        /* types, in bits 7:4 of the last byte; subtype in 3:0 */
	NVME_SGL_BIT_BUCKET = 1,
	NVME_SGL_SEGMENT = 2,
	NVME_SGL_LAST_SEGMENT = 3,
};

/* An entry of the error information log (5.14.1.1), all little-endian. */
struct nvme_error_entry {
	uint64_t count;
	uint16_t sqid, cid, status, location;
	uint64_t lba;
	uint32_t nsid;
	uint8_t vendor, transport, reserved[2];
	uint64_t specific;
	uint16_t transport_specific;
	uint8_t reserved2[22];
};
_Static_assert(sizeof(struct nvme_error_entry) == 64, "NVMe 1.4, 5.14.1.1");

/* A range of Dataset Management (6.7), all little-endian. */
struct nvme_dataset_range {
	uint32_t attributes, blocks;
	uint64_t lba;
};
_Static_assert(sizeof(struct nvme_dataset_range) == 16, "NVMe 1.4, 6.7");

#endif
