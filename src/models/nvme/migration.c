/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a controller moves to another process: its state, field by field, and what its runtime has
 * that state does not show: commands that were fetched and not completed, and completions that the
 * guest has not got.
 *
 * A device that is quiet has nothing in flight on its drives. What is left of a command is its
 * entry: it begins again on the other side, and nothing that it did so far has been seen by anybody
 * (see command.c). A command that is completed is a status and a result, which is posted there. So
 * each is done once.
 *
 * Nothing of what is loaded is trusted. Addresses are checked when they are used, as ever.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* State */

static const struct ob_field sq_fields[] = {
	OB_FIELD(U64, struct nvme_sq_state, base),
	OB_FIELD(U32, struct nvme_sq_state, entries, .max = 4096),
	OB_FIELD(U16, struct nvme_sq_state, head),
	OB_FIELD(U16, struct nvme_sq_state, tail),
	OB_FIELD(U16, struct nvme_sq_state, cqid, .max = NVME_MAX_PAIRS),
	OB_FIELD(BOOL, struct nvme_sq_state, deleting),
	OB_FIELD(BOOL, struct nvme_sq_state, fresh),
	OB_FIELDS_END,
};

static const struct ob_field cq_fields[] = {
	OB_FIELD(U64, struct nvme_cq_state, base),
	OB_FIELD(U32, struct nvme_cq_state, entries, .max = 4096),
	OB_FIELD(U16, struct nvme_cq_state, head),
	OB_FIELD(U16, struct nvme_cq_state, tail),
	OB_FIELD(U16, struct nvme_cq_state, vector, .max = NVME_MAX_VECTORS - 1),
	OB_FIELD(BOOL, struct nvme_cq_state, phase),
	OB_FIELD(BOOL, struct nvme_cq_state, irq),
	OB_FIELD(BOOL, struct nvme_cq_state, fresh),
	OB_FIELDS_END,
};

static const struct ob_field feature_fields[] = {
	OB_FIELD(U32, struct nvme_features, arbitration),
	OB_FIELD(U32, struct nvme_features, power),
	OB_FIELD(U32, struct nvme_features, temperature_over),
	OB_FIELD(U32, struct nvme_features, temperature_under),
	OB_FIELD(U32, struct nvme_features, write_cache, .max = 1),
	OB_FIELD(U32, struct nvme_features, coalescing, .max = 0xffff),
	OB_FIELD(U32, struct nvme_features, atomicity),
	OB_FIELD(U32, struct nvme_features, async_event),
	OB_FIELD_ARRAY(U32, struct nvme_features, error_recovery),
	OB_FIELD_ARRAY(BOOL, struct nvme_features, no_coalescing),
	OB_FIELD(U8, struct nvme_features, host_behavior),
	OB_FIELD(U8, struct nvme_features, timestamp_origin, .max = 1),
	OB_FIELD(U64, struct nvme_features, timestamp),
	OB_FIELD(U64, struct nvme_features, timestamp_age),
	OB_FIELDS_END,
};

static const struct ob_field event_fields[] = {
	OB_FIELD(U8, struct nvme_event, type, .max = 7),
	OB_FIELD(U8, struct nvme_event, info),
	OB_FIELD(U8, struct nvme_event, log),
	OB_FIELDS_END,
};

static const struct ob_field skip_fields[] = {
	OB_FIELD(U16, struct nvme_skip, sqid, .max = NVME_MAX_PAIRS),
	OB_FIELD(U16, struct nvme_skip, index),
	OB_FIELDS_END,
};

static const struct ob_field health_fields[] = {
	OB_FIELD(U64, struct nvme_health, bytes_read),
	OB_FIELD(U64, struct nvme_health, bytes_written),
	OB_FIELD(U64, struct nvme_health, reads),
	OB_FIELD(U64, struct nvme_health, writes),
	OB_FIELD(U64, struct nvme_health, media_errors),
	OB_FIELD(U64, struct nvme_health, error_count),
	OB_FIELD(U64, struct nvme_health, unsafe_shutdowns),
	OB_FIELD(U64, struct nvme_health, age),
	OB_FIELDS_END,
};

static const struct ob_field state_fields[] = {
	OB_FIELD(U32, struct nvme_state, intms),
	OB_FIELD(U32, struct nvme_state, cc),
	OB_FIELD(U32, struct nvme_state, csts,
                 .max = NVME_CSTS_RDY | NVME_CSTS_CFS | NVME_CSTS_SHST),
	OB_FIELD(U32, struct nvme_state, aqa),
	OB_FIELD(U64, struct nvme_state, asq),
	OB_FIELD(U64, struct nvme_state, acq),
	OB_FIELD_STRUCTS(struct nvme_state, sq, sq_fields),
	OB_FIELD_STRUCTS(struct nvme_state, cq, cq_fields),
	OB_FIELD(BOOL, struct nvme_state, shadow),
	OB_FIELD(U64, struct nvme_state, shadow_doorbells),
	OB_FIELD(U64, struct nvme_state, event_indices),
	OB_FIELD_NESTED(struct nvme_state, features, feature_fields),
	OB_FIELD(U8, struct nvme_state, async_count, .max = NVME_ASYNC_EVENTS),
	OB_FIELD(U8, struct nvme_state, event_count, .max = NVME_PENDING_EVENTS),
	OB_FIELD(U8, struct nvme_state, events_masked),
	OB_FIELD_ARRAY(U16, struct nvme_state, async_cids),
	OB_FIELD_STRUCTS(struct nvme_state, events, event_fields),
	OB_FIELD_BLOB(struct nvme_state, changed),
	OB_FIELD(U8, struct nvme_state, skip_count, .max = NVME_ABORTS),
	OB_FIELD_STRUCTS(struct nvme_state, skips, skip_fields),
	OB_FIELD_ARRAY(U8, struct nvme_state, lba_shift),
	OB_FIELD_BLOB(struct nvme_state, serial),
	OB_FIELD_NESTED(struct nvme_state, health, health_fields),
	OB_FIELD(U8, struct nvme_state, error_next, .max = NVME_ERROR_ENTRIES - 1),
	OB_FIELD_BLOB(struct nvme_state, errors),
	OB_FIELDS_END,
};

/* What the state does not have while the device runs. */
static void nvme_saving(struct ob_dev *dev)
{
	struct nvme *n = ob_dev_runtime(dev);
	struct nvme_state *s = n->state;
	uint64_t now = ob_loop_now();

	/* What a client has written to the page since. */
	if (n->page)
		nvme_doorbells_poll(&n->queues);
	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		s->sq[i].fresh = n->sqs[i].shadow.fresh;
		s->cq[i].fresh = n->cqs[i].shadow.fresh;
	}
	s->health.age = now - s->health.started;
	s->features.timestamp_age = now - s->features.timestamp_at;
}

static int check_registers(const struct nvme *n, struct ob_error *err)
{
	const struct nvme_state *s = n->state;
	unsigned mps = (s->cc & NVME_CC_MPS) >> NVME_CC_MPS_SHIFT;

	if (s->csts & NVME_CSTS_RDY &&
	    (!(s->cc & NVME_CC_EN) || mps > NVME_MAX_PAGE_SHIFT - 12 || !s->sq[0].entries))
		return ob_error_set(err, -EINVAL,
		                    "ready (CSTS 0x%x), and not enabled as it can be (CC 0x%x)",
		                    s->csts, s->cc);
	if (s->shadow && !(s->csts & NVME_CSTS_RDY))
		return ob_error_set(err, -EINVAL, "shadow doorbells of no controller");
	if (s->serial[NVME_SERIAL_LENGTH])
		return ob_error_set(err, -EINVAL, "the serial number has no end");
	for (unsigned i = 0; i < n->ns_count; i++) {
		if (n->ns[i].block && s->lba_shift[i] != 9 && s->lba_shift[i] != 12)
			return ob_error_set(err, -EINVAL, "namespace %u: blocks of 2^%u bytes",
			                    i + 1, s->lba_shift[i]);
	}
	return 0;
}

/* What both kinds of queues have in common. */
static int check_queue(const struct nvme *n, const char *kind, unsigned id, uint32_t entries,
                       uint16_t head, uint16_t tail, struct ob_error *err)
{
	uint32_t max = id ? NVME_MAX_ENTRIES : 4096;

	if (!entries)
		return 0;
	if (!(n->state->csts & NVME_CSTS_RDY) || id > n->props->num_queues)
		return ob_error_set(err, -EINVAL, "%s queue %u, which there cannot be", kind, id);
	if (entries < 2 || entries > max || head >= entries || tail >= entries)
		return ob_error_set(err, -EINVAL, "%s queue %u: %u entries, head %u, tail %u", kind,
		                    id, entries, head, tail);
	return 0;
}

static int check_queues(const struct nvme *n, struct ob_error *err)
{
	const struct nvme_state *s = n->state;
	int rc = 0;

	for (unsigned i = 0; !rc && i <= NVME_MAX_PAIRS; i++) {
		const struct nvme_sq_state *sq = &s->sq[i];
		const struct nvme_cq_state *cq = &s->cq[i];

		rc = check_queue(n, "submission", i, sq->entries, sq->head, sq->tail, err);
		if (!rc)
			rc = check_queue(n, "completion", i, cq->entries, cq->head, cq->tail, err);
		if (!rc && sq->entries && (!s->cq[sq->cqid].entries || !sq->cqid != !i))
			rc = ob_error_set(err, -EINVAL, "submission queue %u completes to queue %u",
			                  i, sq->cqid);
		if (!rc && cq->entries && cq->vector >= n->vectors)
			rc = ob_error_set(err, -EINVAL, "completion queue %u: vector %u of %u", i,
			                  cq->vector, n->vectors);
	}
	return rc;
}

static int nvme_loaded(struct ob_dev *dev, unsigned version, struct ob_error *err)
{
	struct nvme *n = ob_dev_runtime(dev);
	struct nvme_state *s = n->state;
	uint64_t now = ob_loop_now();
	int rc = check_registers(n, err);

	if (!rc)
		rc = check_queues(n, err);
	if (rc)
		return rc;
	ob_dev_set_serial(dev, s->serial);
	n->page_size = NVME_PAGE;
	if (s->csts & NVME_CSTS_RDY)
		n->page_size <<= (s->cc & NVME_CC_MPS) >> NVME_CC_MPS_SHIFT;
	s->health.started = now - s->health.age;
	s->features.timestamp_at = now - s->features.timestamp_age;
	nvme_queues_rebuild(n);
	n->flush_next = 0;
	/* If the pin is asserted, the core knows; nvme_resume() finds out whether it should be. */
	n->irq_raised = true;
	return 0;
}

/* Commands: fetched, or completed and not posted */

struct command_record {
	uint32_t dw[NVME_SQE_SIZE / 4];
	uint32_t result;
	uint16_t sqid, cqid, status;
	bool completed;
};

static const struct ob_field command_fields[] = {
	OB_FIELD_ARRAY(U32, struct command_record, dw),
	OB_FIELD(U32, struct command_record, result),
	OB_FIELD(U16, struct command_record, sqid, .max = NVME_MAX_PAIRS),
	OB_FIELD(U16, struct command_record, cqid, .max = NVME_MAX_PAIRS),
	OB_FIELD(U16, struct command_record, status, .max = 0x7fff),
	OB_FIELD(BOOL, struct command_record, completed),
	OB_FIELDS_END,
};

static void save_ring(const struct nvme_link *ring, bool completed, ob_emit *emit, void *context)
{
	for (const struct nvme_link *at = ring->next; at != ring; at = at->next) {
		const struct nvme_cmd *cmd = nvme_cmd_of(at);
		struct command_record record = {
			.sqid = cmd->sqid,
			.cqid = cmd->cqid,
			.completed = completed,
		};

		memcpy(record.dw, cmd->dw, sizeof(record.dw));
		if (completed) {
			record.status = cmd->status;
			record.result = cmd->result;
		}
		emit(context, &record);
	}
}

static void save_commands(struct ob_dev *dev, ob_emit *emit, void *context)
{
	const struct nvme *n = ob_dev_runtime(dev);

	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		save_ring(&n->sqs[i].commands, false, emit, context);
		save_ring(&n->cqs[i].pending, true, emit, context);
	}
}

static int add_command(struct ob_dev *dev, const void *bytes, struct ob_error *err)
{
	const struct command_record *record = bytes;
	struct nvme *n = ob_dev_runtime(dev);
	unsigned sqid = record->sqid, cqid = record->cqid;
	const struct nvme_state *s = n->state;
	struct nvme_cmd *cmd;

	/* The queue that a completed one came from may be gone by now. */
	if (sqid > n->props->num_queues || !s->cq[cqid].entries ||
	    (!record->completed && (!s->sq[sqid].entries || s->sq[sqid].cqid != cqid)))
		return ob_error_set(err, -EINVAL, "of submission queue %u, for completion queue %u",
		                    sqid, cqid);
	if (!nvme_cmd_available(n, 0))
		return ob_error_set(err, -ENOMEM, "out of memory");
	cmd = nvme_cmd_get(&n->sqs[sqid]);
	memcpy(cmd->dw, record->dw, sizeof(cmd->dw));
	cmd->wait = NVME_WAIT_RESUME;
	if (!record->completed)
		return 0;
	cmd->cqid = (uint16_t)cqid;
	cmd->wait = NVME_WAIT_POST;
	cmd->status = record->status;
	cmd->result = record->result;
	n->sqs[sqid].in_flight--;
	nvme_link_del(&cmd->link);
	nvme_link_add(&n->cqs[cqid].pending, &cmd->link);
	return 0;
}

/* Entries whose place in a completion queue is taken, and which may not have been written */

struct staged_record {
	uint16_t cqid, at;
	uint8_t count;
	uint8_t entries[NVME_POST_BATCH * NVME_CQE_SIZE];
};

static const struct ob_field staged_fields[] = {
	OB_FIELD(U16, struct staged_record, cqid, .max = NVME_MAX_PAIRS),
	OB_FIELD(U16, struct staged_record, at),
	OB_FIELD(U8, struct staged_record, count, .min = 1, .max = NVME_POST_BATCH),
	OB_FIELD_BLOB(struct staged_record, entries),
	OB_FIELDS_END,
};

static void save_staged(struct ob_dev *dev, ob_emit *emit, void *context)
{
	const struct nvme *n = ob_dev_runtime(dev);

	for (unsigned i = 0; i <= n->props->num_queues; i++) {
		const struct nvme_cq *cq = &n->cqs[i];
		struct staged_record record = {
			.cqid = cq->id, .at = cq->stage_at, .count = (uint8_t)cq->staged};

		if (!cq->staged)
			continue;
		memcpy(record.entries, cq->stage, (size_t)cq->staged * NVME_CQE_SIZE);
		emit(context, &record);
	}
}

static int add_staged(struct ob_dev *dev, const void *bytes, struct ob_error *err)
{
	const struct staged_record *record = bytes;
	struct nvme *n = ob_dev_runtime(dev);
	struct nvme_cq *cq = &n->cqs[record->cqid];
	const struct nvme_cq_state *st = &n->state->cq[record->cqid];
	uint32_t end = (uint32_t)record->at + record->count;

	/*
	 * They are the last ones of the queue, and follow each other in memory. The guest may have
	 * consumed some of them all the same: those whose write the client did not acknowledge.
	 */
	if (!st->entries || cq->staged || end > st->entries || end % st->entries != st->tail)
		return ob_error_set(err, -EINVAL, "%u entries at %u of completion queue %u",
		                    record->count, record->at, record->cqid);
	cq->stage_at = record->at;
	cq->staged = record->count;
	memcpy(cq->stage, record->entries, sizeof(cq->stage));
	return 0;
}

static const struct ob_records records[] = {
	{"commands", command_fields, sizeof(struct command_record), NVME_MAX_COMMANDS,
         save_commands, add_command},
	{"staged", staged_fields, sizeof(struct staged_record), NVME_MAX_PAIRS + 1, save_staged,
         add_staged},
	{NULL},
};

/* What has to be the same: all that a guest's driver has been told, and relies on */

struct configuration {
	uint32_t num_queues, namespaces, mdts;
	bool mmap_doorbells;
	char model[NVME_MODEL_LENGTH], firmware[NVME_FIRMWARE_LENGTH];
	uint8_t active[NVME_MAX_NAMESPACES / 8]; /* a bit for each namespace */
};

static const struct ob_field configuration_fields[] = {
	OB_FIELD(U32, struct configuration, num_queues),
	OB_FIELD(U32, struct configuration, namespaces),
	OB_FIELD(U32, struct configuration, mdts),
	OB_FIELD(BOOL, struct configuration, mmap_doorbells),
	OB_FIELD_BLOB(struct configuration, model),
	OB_FIELD_BLOB(struct configuration, firmware),
	OB_FIELD_BLOB(struct configuration, active, .optional = true),
	OB_FIELDS_END,
};

static void nvme_configuration(struct ob_dev *dev, void *out)
{
	const struct nvme_props *props = ob_dev_props(dev);
	const struct nvme *n = ob_dev_runtime(dev);
	struct configuration *configuration = out;

	*configuration = (struct configuration){
		.num_queues = props->num_queues,
		.namespaces = props->namespaces,
		.mdts = props->mdts,
		.mmap_doorbells = props->mmap_doorbells,
	};
	for (unsigned i = 0; i < n->ns_count; i++) {
		if (n->ns[i].block)
			configuration->active[i / 8] |= (uint8_t)(1u << i % 8);
	}
	memcpy(configuration->model, props->model, strnlen(props->model, NVME_MODEL_LENGTH));
	memcpy(configuration->firmware, props->firmware,
	       strnlen(props->firmware, NVME_FIRMWARE_LENGTH));
}

const struct ob_migration nvme_migration = {
	.version = 1,
	.fields = state_fields,
	.records = records,
	.configuration_fields = configuration_fields,
	.configuration_size = sizeof(struct configuration),
	.configuration = nvme_configuration,
	.saving = nvme_saving,
	.loaded = nvme_loaded,
};
