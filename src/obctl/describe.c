/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages explained by tables: where each field of a payload is, for commands and for replies.
 * What a payload is too short for is left out, so there is nothing to validate.
 */
#include "obctl/describe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/list.h"
#include "obctl/command.h"
#include "outboard/endian.h"
#include "wire/client.h"

enum { SHOWN_DATA = 16, SHOWN_TEXT = 512, SHOWN_WRITES = 4 };

enum kind { DECIMAL, HEX, REGION, END = -1 };

struct field {
	uint8_t offset, size;
	enum kind kind;
	const char *key;
};

#define FIELDS(...)                                                                                \
	(const struct field[])                                                                     \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			.kind = END                                                                \
		}                                                                                  \
	}

#define ACCESS                                                                                     \
	{8, 4, REGION, "region"}, {0, 8, HEX, "offset"},                                           \
	{                                                                                          \
		12, 4, DECIMAL, "count"                                                            \
	}
#define DMA                                                                                        \
	{0, 8, HEX, "address"},                                                                    \
	{                                                                                          \
		8, 8, DECIMAL, "count"                                                             \
	}
#define UNMAP                                                                                      \
	{4, 4, HEX, "flags"}, {8, 8, HEX, "address"},                                              \
	{                                                                                          \
		16, 8, HEX, "size"                                                                 \
	}
#define IRQ_INFO                                                                                   \
	{8, 4, DECIMAL, "index"}, {4, 4, HEX, "flags"},                                            \
	{                                                                                          \
		12, 4, DECIMAL, "count"                                                            \
	}
#define FEATURE                                                                                    \
	{0, 4, DECIMAL, "argsz"},                                                                  \
	{                                                                                          \
		4, 4, HEX, "flags"                                                                 \
	}
#define MIG_DATA                                                                                   \
	{0, 4, DECIMAL, "argsz"},                                                                  \
	{                                                                                          \
		4, 4, DECIMAL, "size"                                                              \
	}

/* data: where data begins that is shown as bytes; 0: there is none. */
static const struct layout {
	const struct field *fields;
	uint8_t data;
} layouts[WIRE_COMMANDS][2] = {
	[WIRE_DMA_MAP] = {{FIELDS({4, 4, HEX, "flags"}, {16, 8, HEX, "address"},
                                  {24, 8, HEX, "size"}, {8, 8, HEX, "offset"}),
                           0}},
	[WIRE_DMA_UNMAP] = {{FIELDS(UNMAP), 0}, {FIELDS(UNMAP), 0}},
	[WIRE_GET_INFO] = {{FIELDS({0, 4, DECIMAL, "argsz"}), 0},
                           {FIELDS({4, 4, HEX, "flags"}, {8, 4, DECIMAL, "num_regions"},
                                   {12, 4, DECIMAL, "num_irqs"}),
                            0}},
	[WIRE_GET_REGION_INFO] = {{FIELDS({8, 4, REGION, "index"}, {0, 4, DECIMAL, "argsz"}), 0},
                                  {FIELDS({8, 4, REGION, "index"}, {4, 4, HEX, "flags"},
                                          {16, 8, HEX, "size"}, {24, 8, HEX, "offset"},
                                          {12, 4, DECIMAL, "cap_offset"}, {0, 4, DECIMAL, "argsz"}),
                                   0}},
	[WIRE_GET_REGION_IO_FDS] = {{FIELDS({8, 4, REGION, "index"}, {0, 4, DECIMAL, "argsz"}), 0},
                                    {FIELDS({8, 4, REGION, "index"}, {12, 4, DECIMAL, "count"}),
                                     0}},
	[WIRE_GET_IRQ_INFO] = {{FIELDS({8, 4, DECIMAL, "index"}), 0}, {FIELDS(IRQ_INFO), 0}},
	[WIRE_SET_IRQS] = {{FIELDS({8, 4, DECIMAL, "index"}, {12, 4, DECIMAL, "start"},
                                   {16, 4, DECIMAL, "count"}, {4, 4, HEX, "flags"}),
                            20}},
	[WIRE_REGION_READ] = {{FIELDS(ACCESS), 0}, {FIELDS(ACCESS), 16}},
	[WIRE_REGION_WRITE] = {{FIELDS(ACCESS), 16}, {FIELDS(ACCESS), 0}},
	[WIRE_DMA_READ] = {{FIELDS(DMA), 0}, {FIELDS(DMA), 16}},
	/* A reply's count has 4 or 8 bytes; the lower 4 are enough. */
	[WIRE_DMA_WRITE] = {{FIELDS(DMA), 16},
                            {FIELDS({0, 8, HEX, "address"}, {8, 4, DECIMAL, "count"}), 0}},
	[WIRE_REGION_WRITE_MULTI] = {{FIELDS({0, 8, DECIMAL, "wr_cnt"}), 0},
                                     {FIELDS({0, 8, DECIMAL, "wr_cnt"}), 0}},
	[WIRE_DEVICE_FEATURE] = {{FIELDS(FEATURE), 8}, {FIELDS(FEATURE), 8}},
	[WIRE_MIG_DATA_READ] = {{FIELDS(MIG_DATA), 0}, {FIELDS(MIG_DATA), 8}},
	[WIRE_MIG_DATA_WRITE] = {{FIELDS(MIG_DATA), 8}, {FIELDS(MIG_DATA), 0}},
};

static void describe_number(struct report *report, const struct field *field, uint64_t value)
{
	const char *name = field->kind == REGION ? region_name((unsigned)value) : NULL;
	char format[48];

	snprintf(format, sizeof(format), field->kind == HEX ? " %s=0x%%llx" : " %s=%%llu",
	         field->key);
	if (name && value < WIRE_COMMANDS)
		report_text(report, NULL, NULL, " %s=%s", field->key, name);
	report_number(report, name ? NULL : format, field->key, value);
}

static void describe_data(struct report *report, const uint8_t *data, size_t length)
{
	size_t shown = length < SHOWN_DATA ? length : SHOWN_DATA;
	char hex[2 * SHOWN_DATA + 1] = "";

	if (!length)
		return;
	for (size_t i = 0; i < shown; i++)
		snprintf(hex + 2 * i, 3, "%02x", data[i]);
	report_text(report, "data", hex, " data=%s%s", hex, shown < length ? "..." : "");
}

/* JSON of a stranger, as text: what could harm a terminal or a log is not shown. */
static void describe_version(struct report *report, const uint8_t *payload, size_t length)
{
	char text[SHOWN_TEXT + 1];
	size_t n = 0;

	if (length < sizeof(struct wire_version_header))
		return;
	report_number(report, " major=%llu", "major", ob_get_le16(payload));
	report_number(report, " minor=%llu", "minor", ob_get_le16(payload + 2));
	for (size_t i = sizeof(struct wire_version_header); i < length && payload[i]; i++) {
		if (n < SHOWN_TEXT)
			text[n++] =
				(char)(payload[i] >= ' ' && payload[i] < 0x7f ? payload[i] : '?');
	}
	text[n] = 0;
	if (n)
		report_text(report, "version_data", text, " %s", text);
}

/* The areas of a sparse mmap capability that comes first, as it does. */
static void describe_areas(struct report *report, const struct ob_client_message *message)
{
	struct wire_region_reply reply;
	struct wire_sparse_area area;
	const char *why;

	if (wire_decode_region_info_reply(message->payload, message->length, &reply, &why) ||
	    !reply.sparse)
		return;
	report_open(report, "areas", true, "%s", " areas=");
	for (uint32_t i = 0; i < reply.area_count && i < SHOWN_DATA; i++) {
		wire_area_at(&reply, i, &area);
		report_open(report, NULL, false, "%s", i ? "," : "");
		report_number(report, "0x%llx", "offset", area.offset);
		report_number(report, "+0x%llx", "size", area.size);
		report_close(report, "");
	}
	report_close(report, "");
}

static void describe_writes(struct report *report, const struct ob_client_message *message)
{
	struct wire_small_write write;
	const char *why;
	uint64_t count;

	if (wire_decode_region_write_multi(message->payload, message->length, &count, &why))
		return;
	report_open(report, "writes", true, "%s", "");
	for (uint64_t i = 0; i < count && i < SHOWN_WRITES; i++) {
		wire_small_write_at(message->payload, i, &write);
		report_open(report, NULL, false, "%s", " [");
		report_number(report, "%llu:", "region", write.region);
		report_number(report, "0x%llx", "offset", write.offset);
		describe_data(report, write.data, write.count);
		report_close(report, "]");
	}
	report_close(report, count > SHOWN_WRITES ? " ..." : "");
}

static void describe_payload(struct report *report, const struct ob_client_message *message,
                             bool reply)
{
	const struct layout *layout = &layouts[message->header.command][reply];
	const struct field *field = layout->fields;

	if (message->header.command == WIRE_VERSION)
		describe_version(report, message->payload, message->length);
	for (; field && field->kind != END; field++) {
		if ((size_t)field->offset + field->size <= message->length)
			describe_number(report, field,
			                ob_get_le(message->payload + field->offset, field->size));
	}
	if (message->header.command == WIRE_GET_REGION_INFO && reply)
		describe_areas(report, message);
	if (message->header.command == WIRE_REGION_WRITE_MULTI && !reply)
		describe_writes(report, message);
	if (layout->data && message->length > layout->data)
		describe_data(report, message->payload + layout->data,
		              message->length - layout->data);
}

void describe_message(struct report *report, const struct ob_client_message *message)
{
	const struct wire_header *header = &message->header;
	unsigned type = header->flags & WIRE_TYPE_MASK;
	const char *what = type == WIRE_TYPE_COMMAND ? "command"
	                   : type == WIRE_TYPE_REPLY ? "reply"
	                                             : "neither";

	report_number(report, " #%llu", "id", header->id);
	report_text(report, "command", wire_command_name(header->command), " %s",
	            wire_command_name(header->command));
	report_number(report, header->command < WIRE_COMMANDS ? NULL : " (%llu)", "command_number",
	              header->command);
	report_text(report, "type", what, "%s%s", type == WIRE_TYPE_COMMAND ? "" : " ",
	            type == WIRE_TYPE_COMMAND ? "" : what);
	report_number(report, NULL, "size", header->size);
	if (header->flags & WIRE_NO_REPLY) {
		report_text(report, NULL, NULL, " no_reply");
		report_flag(report, NULL, "no_reply", true);
	}
	if (header->flags & WIRE_ERROR) {
		report_number(report, " error=%llu", "error", header->error);
		report_text(report, "error_text", NULL, "%s%s%s", report->here ? "" : " (",
		            strerror(header->error < 4096 ? (int)header->error : EREMOTEIO),
		            report->here ? "" : ")");
	}
	if (message->fd_count)
		report_number(report, " fds=%llu", "fds", message->fd_count);
	if (header->command < WIRE_COMMANDS && type <= WIRE_TYPE_REPLY)
		describe_payload(report, message, type == WIRE_TYPE_REPLY);
	else
		describe_data(report, message->payload, message->length);
}
