/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asynchronous events (NVMe 1.4, 5.2). An event waits for a request of the guest's; one that was
 * reported keeps others of its type back until the guest has read the log page that it leads to.
 */
#include <string.h>

#include "internal.h"

static int find_event(const struct nvme_state *s)
{
	for (int i = 0; i < s->event_count; i++) {
		if (!(s->events_masked & 1u << s->events[i].type))
			return i;
	}
	return -1;
}

static void report(struct nvme *n, const struct nvme_event *event)
{
	struct nvme_state *s = n->state;
	struct nvme_cmd *cmd = nvme_cmd_get(&n->sqs[0]);

	memset(cmd->dw, 0, sizeof(cmd->dw));
	cmd->dw[0] = (uint32_t)s->async_cids[0] << 16 | NVME_ADMIN_ASYNC_EVENT;
	cmd->result = event->type | (uint32_t)event->info << 8 | (uint32_t)event->log << 16;
	s->async_count--;
	memmove(s->async_cids, s->async_cids + 1, s->async_count * sizeof(*s->async_cids));
	nvme_complete(cmd, 0);
}

void nvme_events_post(struct nvme *n)
{
	struct nvme_state *s = n->state;
	int at;

	while (s->sq[0].entries && s->async_count && (at = find_event(s)) >= 0 &&
	       nvme_cmd_available(n, 0)) {
		struct nvme_event event = s->events[at];

		s->event_count--;
		memmove(s->events + at, s->events + at + 1,
		        (size_t)(s->event_count - at) * sizeof(*s->events));
		s->events_masked |= (uint8_t)(1u << event.type);
		report(n, &event);
	}
}

void nvme_event(struct nvme *n, uint8_t type, uint8_t info, uint8_t log)
{
	struct nvme_state *s = n->state;

	for (unsigned i = 0; i < s->event_count; i++) {
		if (s->events[i].type == type && s->events[i].info == info)
			return;
	}
	/* There are fewer kinds of events than places. */
	if (s->event_count < NVME_PENDING_EVENTS)
		s->events[s->event_count++] = (struct nvme_event){type, info, log};
	nvme_events_post(n);
}

int nvme_async_event(struct nvme_cmd *cmd)
{
	struct nvme_state *s = cmd->nvme->state;

	if (s->async_count == NVME_ASYNC_EVENTS)
		return NVME_ASYNC_EVENT_LIMIT;
	s->async_cids[s->async_count++] = nvme_cid(cmd);
	return NVME_KEPT;
}

void nvme_namespace_changed(struct nvme *n, uint32_t nsid)
{
	struct nvme_state *s = n->state;

	if (!(s->features.async_event & NVME_ASYNC_NAMESPACE))
		return;
	s->changed[(nsid - 1) / 8] |= (uint8_t)(1u << (nsid - 1) % 8);
	nvme_event(n, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE, NVME_LOG_CHANGED);
}

/* SMART, byte 0: bit 1, temperature at or over, or at or under, a threshold. */
uint8_t nvme_critical_warning(const struct nvme *n)
{
	const struct nvme_features *f = &n->state->features;

	return NVME_TEMPERATURE >= f->temperature_over || NVME_TEMPERATURE <= f->temperature_under
	               ? 1 << 1
	               : 0;
}
