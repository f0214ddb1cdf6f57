/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Identify (NVMe 1.4, 5.15): the controller, namespaces, and lists of them. Beside what 1.4
 * demands, a few structures of 2.0 that drivers ask for whatever the version register says.
 */
#include <string.h>

#include "internal.h"

static void put_text(uint8_t *field, size_t size, const char *text)
{
	size_t length = strlen(text);

	memset(field, ' ', size);
	memcpy(field, text, length < size ? length : size);
}

static void fill_capabilities(const struct nvme *n, uint8_t *id)
{
	ob_put_le16(id + NVME_IDCTRL_OACS,
	            NVME_OACS_FORMAT | (nvme_may_shadow(n) ? NVME_OACS_DOORBELL_BUFFER : 0));
	id[NVME_IDCTRL_ACL] = NVME_ABORTS - 1;
	id[NVME_IDCTRL_AERL] = NVME_ASYNC_EVENTS - 1;
	id[NVME_IDCTRL_FRMW] = 1 << 1 | 1; /* one slot, read-only */
	id[NVME_IDCTRL_LPA] = NVME_LPA_EFFECTS | NVME_LPA_EXTENDED;
	id[NVME_IDCTRL_ELPE] = NVME_ERROR_ENTRIES - 1;
	ob_put_le16(id + NVME_IDCTRL_WCTEMP, NVME_TEMPERATURE_WARNING);
	ob_put_le16(id + NVME_IDCTRL_CCTEMP, NVME_TEMPERATURE_CRITICAL);
	id[NVME_IDCTRL_SQES] = NVME_SQES << 4 | NVME_SQES;
	id[NVME_IDCTRL_CQES] = NVME_CQES << 4 | NVME_CQES;
	ob_put_le32(id + NVME_IDCTRL_NN, n->ns_count);
	ob_put_le16(id + NVME_IDCTRL_ONCS, NVME_ONCS_COMPARE | NVME_ONCS_DATASET |
	                                           NVME_ONCS_WRITE_ZEROES | NVME_ONCS_SAVE_SELECT |
	                                           NVME_ONCS_TIMESTAMP | NVME_ONCS_VERIFY);
	id[NVME_IDCTRL_VWC] = NVME_VWC_FLUSH_ALL | (n->write_cache ? NVME_VWC_PRESENT : 0);
	ob_put_le32(id + NVME_IDCTRL_SGLS, NVME_SGLS_SUPPORTED | NVME_SGLS_BIT_BUCKET);
}

/* FNV-1a. A name has to be told from others, not to be kept secret. */
static uint64_t hash(uint64_t seed, const char *text, uint32_t nsid)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	for (unsigned i = 0; i < 4; i++)
		h = (h ^ (nsid >> i * 8 & 0xff)) * UINT64_C(0x100000001b3);
	return h;
}

/*
 * A UUID made from the serial number, so that a namespace (or with 0, the subsystem) keeps its name
 * (RFC 9562: version 8, what each implementation makes of it).
 */
static void make_uuid(const struct nvme *n, uint32_t nsid, uint8_t *uuid)
{
	ob_put_le64(uuid, hash(1, n->state->serial, nsid));
	ob_put_le64(uuid + 8, hash(2, n->state->serial, nsid));
	uuid[6] = (uint8_t)(0x80 | (uuid[6] & 0x0f));
	uuid[8] = (uint8_t)(0x80 | (uuid[8] & 0x3f));
}

static void fill_qualified_name(const struct nvme *n, uint8_t *field)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t uuid[16];
	char *at;

	if (n->props->subnqn) {
		memcpy(field, n->props->subnqn, strlen(n->props->subnqn));
		return;
	}
	at = stpcpy((char *)field, "nqn.2014-08.org.nvmexpress:uuid:");
	make_uuid(n, 0, uuid);
	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = hex[uuid[i] >> 4];
		*at++ = hex[uuid[i] & 15];
	}
}

static void fill_controller(struct nvme_cmd *cmd)
{
	const struct nvme *n = cmd->nvme;
	const struct ob_pci_ident *ident = ob_dev_ident(n->dev);
	uint8_t *id = cmd->page;

	ob_put_le16(id + NVME_IDCTRL_VID, ident->vendor);
	ob_put_le16(id + NVME_IDCTRL_SSVID, ident->subsystem_vendor);
	put_text(id + NVME_IDCTRL_SN, NVME_SERIAL_LENGTH, n->state->serial);
	put_text(id + NVME_IDCTRL_MN, NVME_MODEL_LENGTH, n->props->model);
	put_text(id + NVME_IDCTRL_FR, NVME_FIRMWARE_LENGTH, n->props->firmware);
	id[NVME_IDCTRL_RAB] = 6;
	id[NVME_IDCTRL_MDTS] = (uint8_t)n->props->mdts;
	ob_put_le32(id + NVME_IDCTRL_VER, NVME_VERSION);
	ob_put_le32(id + NVME_IDCTRL_OAES, NVME_OAES_NAMESPACE);
	id[NVME_IDCTRL_CNTRLTYPE] = 1; /* I/O controller */
	fill_capabilities(n, id);
	fill_qualified_name(n, id + NVME_IDCTRL_SUBNQN);
	ob_put_le16(id + NVME_IDCTRL_PSD0, 1000); /* 10 W, in 0.01 W */
}

static uint16_t zero_based(uint32_t bytes, unsigned shift)
{
	uint32_t blocks = bytes >> shift;

	return (uint16_t)(blocks ? (blocks > 65536 ? 65535 : blocks - 1) : 0);
}

static void fill_namespace(struct nvme_cmd *cmd)
{
	const struct nvme *n = cmd->nvme;
	const struct ob_block_info *info = ob_block_info(cmd->ns->block);
	unsigned shift = nvme_lba_shift(n, cmd->ns);
	uint16_t preferred = zero_based(info->optimal_io, shift);
	uint8_t *id = cmd->page;

	ob_put_le64(id + NVME_IDNS_NSZE, nvme_blocks(n, cmd->ns));
	ob_put_le64(id + NVME_IDNS_NCAP, nvme_blocks(n, cmd->ns));
	ob_put_le64(id + NVME_IDNS_NUSE, nvme_blocks(n, cmd->ns));
	id[NVME_IDNS_NSFEAT] = NVME_NSFEAT_OPTPERF;
	id[NVME_IDNS_NLBAF] = 1; /* the second */
	id[NVME_IDNS_FLBAS] = shift == 12;
	id[NVME_IDNS_FPI] = (uint8_t)(NVME_FPI_SUPPORTED | nvme_format_left(cmd->ns));
	id[NVME_IDNS_DLFEAT] = NVME_DLFEAT_DEAC | (info->discard_zeroes ? NVME_DLFEAT_ZEROES : 0);
	ob_put_le16(id + NVME_IDNS_NPWG, preferred);
	ob_put_le16(id + NVME_IDNS_NPWA, preferred);
	ob_put_le16(id + NVME_IDNS_NPDG, preferred);
	ob_put_le16(id + NVME_IDNS_NPDA, preferred);
	id[NVME_IDNS_NSATTR] = info->read_only ? NVME_NSATTR_WRITE_PROTECTED : 0;
	memcpy(id + NVME_IDNS_NGUID, cmd->ns->names.nguid, sizeof(cmd->ns->names.nguid));
	memcpy(id + NVME_IDNS_EUI64, cmd->ns->names.eui64, sizeof(cmd->ns->names.eui64));
	id[NVME_IDNS_LBAF0 + 2] = 9;
	id[NVME_IDNS_LBAF0 + 6] = 12;
}

static bool is_set(const uint8_t *name, size_t size)
{
	return name[0] || memcmp(name, name + 1, size - 1) != 0;
}

static uint8_t *put_descriptor(uint8_t *at, uint8_t type, const uint8_t *name, uint8_t size)
{
	if (!is_set(name, size))
		return at;
	at[0] = type;
	at[1] = size;
	memcpy(at + 4, name, size);
	return at + 4 + size;
}

static void fill_descriptors(struct nvme_cmd *cmd)
{
	struct nvme_names names = cmd->ns->names;
	uint8_t *at = cmd->page;

	if (!is_set(names.uuid, sizeof(names.uuid)))
		make_uuid(cmd->nvme, cmd->ns->nsid, names.uuid);
	at = put_descriptor(at, NVME_NIDT_EUI64, names.eui64, sizeof(names.eui64));
	at = put_descriptor(at, NVME_NIDT_NGUID, names.nguid, sizeof(names.nguid));
	put_descriptor(at, NVME_NIDT_UUID, names.uuid, sizeof(names.uuid));
	/* A type of 0 ends the list. */
}

/* All zeroes: no formats with more than a size. */
static void fill_nothing(struct nvme_cmd *cmd)
{
}

/*
 * WZSL says how much Write Zeroes takes, in pages and as a power of two. Without it Linux takes
 * MDTS for the limit. The others stay 0, no limit: Verify and Dataset Management take whatever
 * their fields can say, and Write Uncorrectable there is none.
 */
static void fill_nvm_controller(struct nvme_cmd *cmd)
{
	cmd->page[NVME_IDCTRL_NVM_WZSL] = NVME_ZEROES_PAGES_SHIFT;
}

/* NVMe 2.0, 5.17.2.8: what is the same for all command sets. */
static void fill_any_namespace(struct nvme_cmd *cmd)
{
	cmd->page[3] = ob_block_info(cmd->ns->block)->read_only ? NVME_NSATTR_WRITE_PROTECTED : 0;
	cmd->page[14] = 1; /* NSTAT: ready */
}

/* Ids greater than NSID, at most 1024 of them. */
static void fill_namespace_list(struct nvme_cmd *cmd)
{
	uint32_t nsid = cmd->dw[1];

	for (unsigned i = 0; i < NVME_PAGE / 4 && nsid < cmd->nvme->ns_count;) {
		if (cmd->nvme->ns[nsid++].block)
			ob_put_le32(cmd->page + (size_t)i++ * 4, nsid);
	}
}

/* There is one controller, number 0; the list has those from CNTID on. */
static void fill_controller_list(struct nvme_cmd *cmd)
{
	ob_put_le16(cmd->page, cmd->dw[10] >> 16 == 0);
}

/* What CNS names (5.15.1): of a namespace that there is, of a command set, or else. */
enum { OF_NAMESPACE = 1 << 0, OF_COMMAND_SET = 1 << 1, OF_LIST = 1 << 2 };

struct structure {
	void (*fill)(struct nvme_cmd *cmd);
	unsigned of;
};

static const struct structure *find_structure(const struct nvme_cmd *cmd)
{
	static const struct structure structures[] = {
		[NVME_CNS_NAMESPACE] = {fill_namespace, OF_NAMESPACE},
		[NVME_CNS_CONTROLLER] = {fill_controller, 0},
		[NVME_CNS_ACTIVE_LIST] = {fill_namespace_list, OF_LIST},
		[NVME_CNS_DESCRIPTORS] = {fill_descriptors, OF_NAMESPACE},
		[NVME_CNS_NVM_NAMESPACE] = {fill_nothing, OF_NAMESPACE | OF_COMMAND_SET},
		[NVME_CNS_NVM_CONTROLLER] = {fill_nvm_controller, OF_COMMAND_SET},
		[NVME_CNS_NVM_ACTIVE_LIST] = {fill_namespace_list, OF_LIST | OF_COMMAND_SET},
		[NVME_CNS_ANY_NAMESPACE] = {fill_any_namespace, OF_NAMESPACE},
		[NVME_CNS_ALLOCATED_LIST] = {fill_namespace_list, OF_LIST},
		[NVME_CNS_ALLOCATED_NAMESPACE] = {fill_namespace, OF_NAMESPACE},
		[NVME_CNS_NAMESPACE_CONTROLLERS] = {fill_controller_list, OF_NAMESPACE},
		[NVME_CNS_CONTROLLERS] = {fill_controller_list, 0},
	};
	unsigned cns = cmd->dw[10] & 0xff;

	return cns < sizeof(structures) / sizeof(*structures) && structures[cns].fill
	               ? &structures[cns]
	               : NULL;
}

int nvme_identify_check(struct nvme_cmd *cmd)
{
	const struct structure *structure = find_structure(cmd);
	int status;

	if (!structure)
		return NVME_INVALID_FIELD;
	/* CSI in bits 31:24 says which command set, and there is only the NVM one, 0. */
	if (structure->of & OF_COMMAND_SET && cmd->dw[11] >> 24)
		return NVME_INVALID_FIELD;
	if (structure->of & OF_LIST && cmd->dw[1] >= NVME_NSID_ALL - 1)
		return NVME_INVALID_NAMESPACE;
	cmd->data_length = NVME_PAGE;
	if (!(structure->of & OF_NAMESPACE))
		return 0;
	cmd->ns = nvme_namespace(cmd->nvme, cmd->dw[1]);
	if (cmd->ns)
		return 0;
	status = nvme_namespace_status(cmd->nvme, cmd->dw[1]);
	/* Of a number that is not in use, Identify Namespace returns zeroes (5.15.2.1). */
	return status == NVME_INVALID_FIELD && structure->fill == fill_namespace ? 0 : status;
}

int nvme_identify_finish(struct nvme_cmd *cmd)
{
	const struct structure *structure = find_structure(cmd);

	if (cmd->ns || !(structure->of & OF_NAMESPACE))
		structure->fill(cmd);
	return 0;
}
