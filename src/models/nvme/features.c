/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Get and Set Features (NVMe 1.4, 5.13 and 5.21). Values are current or default; none can be saved,
 * so the saved ones are the defaults. Two carry their value in memory: Timestamp and Host Behavior
 * Support.
 */
#include <string.h>

#include "internal.h"

enum {
	SELECT_CURRENT = 0,
	SELECT_DEFAULT = 1,
	SELECT_SAVED = 2,
	SELECT_CAPABILITIES = 3,
	SAVE = 1u << 31,

	CAPABILITY_NAMESPACE = 1 << 1,
	CAPABILITY_CHANGEABLE = 1 << 2,

	TIMESTAMP_SIZE = 8,
	BEHAVIOR_SIZE = 512,
	THRESHOLD_UNDER = 1,  /* THSEL */
	TEMPERATURE_ALL = 15, /* TMPSEL */
};

static void set_defaults(const struct nvme *n, struct nvme_features *f)
{
	memset(f, 0, sizeof(*f));
	f->arbitration = 7; /* burst: no limit */
	f->temperature_over = NVME_TEMPERATURE_WARNING;
	f->write_cache = n->write_cache && n->props->write_cache != NVME_CACHE_OFF;
}

void nvme_features_reset(struct nvme *n)
{
	set_defaults(n, &n->state->features);
}

static bool is_known(const struct nvme *n, unsigned feature)
{
	switch (feature) {
	case NVME_FEAT_ARBITRATION:
	case NVME_FEAT_POWER:
	case NVME_FEAT_TEMPERATURE:
	case NVME_FEAT_ERROR_RECOVERY:
	case NVME_FEAT_QUEUES:
	case NVME_FEAT_COALESCING:
	case NVME_FEAT_VECTOR:
	case NVME_FEAT_ATOMICITY:
	case NVME_FEAT_ASYNC_EVENT:
	case NVME_FEAT_TIMESTAMP:
	case NVME_FEAT_HOST_BEHAVIOR:
		return true;
	case NVME_FEAT_WRITE_CACHE:
		return n->write_cache;
	default:
		return false;
	}
}

/* The threshold that CDW11 selects: there is one sensor, the composite temperature. */
static uint32_t *threshold(struct nvme_features *f, uint32_t dw11)
{
	unsigned kind = dw11 >> 20 & 3;

	if (kind > THRESHOLD_UNDER)
		return NULL;
	return kind == THRESHOLD_UNDER ? &f->temperature_under : &f->temperature_over;
}

/* Get */

static void fill_timestamp(struct nvme_cmd *cmd)
{
	const struct nvme_features *f = &cmd->nvme->state->features;
	uint64_t ms = f->timestamp + (ob_loop_now() - f->timestamp_at) / 1000000;

	ob_put_le64(cmd->page,
	            (ms & UINT64_C(0xffffffffffff)) | (uint64_t)f->timestamp_origin << 49);
}

static void fill_behavior(struct nvme_cmd *cmd)
{
	cmd->page[0] = cmd->nvme->state->features.host_behavior;
}

static int get_temperature(struct nvme_cmd *cmd, struct nvme_features *f)
{
	const uint32_t *value = threshold(f, cmd->dw[11]);

	if (!value || cmd->dw[11] >> 16 & 15)
		return NVME_INVALID_FIELD;
	cmd->result = *value;
	return 0;
}

static int get_vector(struct nvme_cmd *cmd, const struct nvme_features *f)
{
	unsigned vector = cmd->dw[11] & 0xffff;

	if (vector >= cmd->nvme->vectors)
		return NVME_INVALID_FIELD;
	cmd->result = vector | (uint32_t)f->no_coalescing[vector] << 16;
	return 0;
}

static int get_error_recovery(struct nvme_cmd *cmd, const struct nvme_features *f)
{
	const struct nvme_namespace *ns = nvme_namespace(cmd->nvme, cmd->dw[1]);

	if (!ns)
		return NVME_INVALID_NAMESPACE;
	cmd->result = f->error_recovery[ns->nsid - 1];
	return 0;
}

static uint32_t queue_counts(const struct nvme *n)
{
	return (n->props->num_queues - 1) | (n->props->num_queues - 1) << 16;
}

static int get_value(struct nvme_cmd *cmd, struct nvme_features *f)
{
	switch (cmd->dw[10] & 0xff) {
	case NVME_FEAT_ARBITRATION:
		cmd->result = f->arbitration;
		return 0;
	case NVME_FEAT_POWER:
		cmd->result = f->power;
		return 0;
	case NVME_FEAT_TEMPERATURE:
		return get_temperature(cmd, f);
	case NVME_FEAT_ERROR_RECOVERY:
		return get_error_recovery(cmd, f);
	case NVME_FEAT_WRITE_CACHE:
		cmd->result = f->write_cache;
		return 0;
	case NVME_FEAT_QUEUES:
		cmd->result = queue_counts(cmd->nvme);
		return 0;
	case NVME_FEAT_COALESCING:
		cmd->result = f->coalescing;
		return 0;
	case NVME_FEAT_VECTOR:
		return get_vector(cmd, f);
	case NVME_FEAT_ATOMICITY:
		cmd->result = f->atomicity;
		return 0;
	case NVME_FEAT_ASYNC_EVENT:
		cmd->result = f->async_event;
		return 0;
	case NVME_FEAT_TIMESTAMP:
		fill_timestamp(cmd);
		return 0;
	default:
		fill_behavior(cmd);
		return 0;
	}
}

static uint32_t feature_capabilities(unsigned feature)
{
	if (feature == NVME_FEAT_ERROR_RECOVERY)
		return CAPABILITY_CHANGEABLE | CAPABILITY_NAMESPACE;
	return CAPABILITY_CHANGEABLE;
}

/* Two features have their value in memory. */
static uint32_t data_length(const struct nvme_cmd *cmd)
{
	switch (cmd->dw[10] & 0xff) {
	case NVME_FEAT_TIMESTAMP:
		return TIMESTAMP_SIZE;
	case NVME_FEAT_HOST_BEHAVIOR:
		return BEHAVIOR_SIZE;
	default:
		return 0;
	}
}

int nvme_get_features_check(struct nvme_cmd *cmd)
{
	unsigned select = cmd->dw[10] >> 8 & 7;

	if (!is_known(cmd->nvme, cmd->dw[10] & 0xff) || select > SELECT_CAPABILITIES)
		return NVME_INVALID_FIELD;
	if (select != SELECT_CAPABILITIES)
		cmd->data_length = data_length(cmd);
	return 0;
}

int nvme_get_features_finish(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	struct nvme_features defaults;

	switch (cmd->dw[10] >> 8 & 7) {
	case SELECT_CURRENT:
		return get_value(cmd, &n->state->features);
	case SELECT_CAPABILITIES:
		cmd->result = feature_capabilities(cmd->dw[10] & 0xff);
		return 0;
	default:
		set_defaults(n, &defaults);
		return get_value(cmd, &defaults);
	}
}

/* Set */

static void set_timestamp(struct nvme_cmd *cmd)
{
	struct nvme_features *f = &cmd->nvme->state->features;

	f->timestamp = ob_get_le64(cmd->page) & UINT64_C(0xffffffffffff);
	f->timestamp_at = ob_loop_now();
	f->timestamp_origin = 1; /* set by the host */
}

static int set_temperature(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	uint32_t *value = threshold(&n->state->features, cmd->dw[11]);
	unsigned sensor = cmd->dw[11] >> 16 & 15;

	if (!value || (sensor && sensor != TEMPERATURE_ALL))
		return NVME_INVALID_FIELD;
	*value = cmd->dw[11] & 0xffff;
	if (nvme_critical_warning(n) && n->state->features.async_event & NVME_ASYNC_TEMPERATURE)
		nvme_event(n, NVME_EVENT_HEALTH, NVME_HEALTH_TEMPERATURE, NVME_LOG_SMART);
	return 0;
}

static int set_error_recovery(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->nvme;
	uint32_t nsid = cmd->dw[1];

	if (nsid != NVME_NSID_ALL && !nvme_namespace(n, nsid))
		return NVME_INVALID_NAMESPACE;
	/* Reads of deallocated blocks never fail here: bit 16 cannot be enabled. */
	if (cmd->dw[11] & 1 << 16)
		return NVME_INVALID_FIELD;
	for (unsigned i = 0; i < n->ns_count; i++) {
		if (nsid == NVME_NSID_ALL || nsid == i + 1)
			n->state->features.error_recovery[i] = cmd->dw[11] & 0xffff;
	}
	return 0;
}

/* What is asked for may be more or less: there are as many as there are (5.21.1.7). */
static int set_queues(struct nvme_cmd *cmd)
{
	const struct nvme *n = cmd->nvme;

	if ((cmd->dw[11] & 0xffff) == 0xffff || cmd->dw[11] >> 16 == 0xffff)
		return NVME_INVALID_FIELD;
	for (unsigned i = 1; i <= n->props->num_queues; i++) {
		if (n->state->sq[i].entries || n->state->cq[i].entries)
			return NVME_SEQUENCE_ERROR;
	}
	cmd->result = queue_counts(n);
	return 0;
}

static int set_vector(struct nvme_cmd *cmd)
{
	unsigned vector = cmd->dw[11] & 0xffff;

	if (vector >= cmd->nvme->vectors)
		return NVME_INVALID_FIELD;
	cmd->nvme->state->features.no_coalescing[vector] = cmd->dw[11] & 1 << 16;
	return 0;
}

int nvme_set_features_finish(struct nvme_cmd *cmd)
{
	struct nvme_features *f = &cmd->nvme->state->features;
	uint32_t value = cmd->dw[11];

	switch (cmd->dw[10] & 0xff) {
	case NVME_FEAT_ARBITRATION:
		f->arbitration = value & 0xffffff07;
		return 0;
	case NVME_FEAT_POWER:
		/* There is one power state, 0. */
		if (value & 0x1f)
			return NVME_INVALID_FIELD;
		f->power = value & 0xe0;
		return 0;
	case NVME_FEAT_TEMPERATURE:
		return set_temperature(cmd);
	case NVME_FEAT_ERROR_RECOVERY:
		return set_error_recovery(cmd);
	case NVME_FEAT_WRITE_CACHE:
		f->write_cache = value & 1;
		return 0;
	case NVME_FEAT_QUEUES:
		return set_queues(cmd);
	case NVME_FEAT_COALESCING:
		f->coalescing = value & 0xffff;
		return 0;
	case NVME_FEAT_VECTOR:
		return set_vector(cmd);
	case NVME_FEAT_ATOMICITY:
		f->atomicity = value & 1;
		return 0;
	case NVME_FEAT_ASYNC_EVENT:
		f->async_event = value & (0x1f | NVME_ASYNC_NAMESPACE);
		return 0;
	case NVME_FEAT_TIMESTAMP:
		set_timestamp(cmd);
		return 0;
	default:
		f->host_behavior = cmd->page[0] & 1;
		return 0;
	}
}

int nvme_set_features_check(struct nvme_cmd *cmd)
{
	unsigned feature = cmd->dw[10] & 0xff;
	uint32_t nsid = cmd->dw[1];

	if (!is_known(cmd->nvme, feature))
		return NVME_INVALID_FIELD;
	if (cmd->dw[10] & SAVE)
		return NVME_FEATURE_NOT_SAVEABLE;
	if (nsid && nsid != NVME_NSID_ALL && feature != NVME_FEAT_ERROR_RECOVERY)
		return nvme_namespace(cmd->nvme, nsid) ? NVME_FEATURE_NOT_NAMESPACE
		                                       : NVME_INVALID_NAMESPACE;
	cmd->data_length = data_length(cmd);
	return 0;
}
