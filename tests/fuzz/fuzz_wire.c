/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes the decoders, of requests and replies on both sides, and of the JSON in VERSION. What a
 * decoder accepts is checked: nothing points outside of the payload, and what is encoded again is
 * decoded to the same.
 *
 * An input: which decoder (a byte), then the payload; its header too, if the byte's highest bit is
 * set.
 */
#include <errno.h>

#include "input.h"
#include "wire/client.h"
#include "wire/version.h"
#include "wire/wire.h"

enum { MOST = 1 << 20, MAX_INPUT = 1 << 16 };

struct payload {
	const uint8_t *bytes;
	size_t length;
};

static const char *why;

static void check_within(const struct payload *in, const void *data, uint64_t length)
{
	const uint8_t *at = data;

	must(!length || (at >= in->bytes && length <= in->length &&
	                 (size_t)(at - in->bytes) <= in->length - length));
}

/* A refusal says why. */
static bool accepted(int rc)
{
	must(rc == 0 || ((rc == -EINVAL || rc == -ENOMEM) && why));
	return !rc;
}

static void maps(const struct payload *in)
{
	struct wire_dma_map map;
	struct wire_dma_unmap unmap;

	if (accepted(wire_decode_dma_map(in->bytes, in->length, &map, &why)))
		must(in->length == sizeof(map) && !(map.flags & ~3u));
	accepted(wire_decode_dma_unmap(in->bytes, in->length, &unmap, &why));
}

static void infos(const struct payload *in)
{
	struct wire_device_info device;
	struct wire_region_info region;
	struct wire_region_io_fds fds;
	struct wire_irq_info irq;

	accepted(wire_decode_get_info(in->bytes, in->length, &device, &why));
	accepted(wire_decode_get_region_info(in->bytes, in->length, &region, &why));
	if (accepted(wire_decode_get_region_io_fds(in->bytes, in->length, &fds, &why)))
		must(fds.argsz >= sizeof(fds));
	accepted(wire_decode_get_irq_info(in->bytes, in->length, &irq, &why));
	accepted(wire_decode_reset(in->length, &why));
}

static void set_irqs(const struct payload *in)
{
	struct wire_set_irqs set;

	if (!accepted(wire_decode_set_irqs(in->bytes, in->length, &set, &why)))
		return;
	must(!(set.data & (set.data - 1)) && !(set.action & (set.action - 1)));
	must(set.start + set.count >= set.start);
	if (set.data == WIRE_IRQ_DATA_BOOL && !set.disable_all)
		check_within(in, set.bools, set.count);
}

static void accesses(const struct payload *in)
{
	struct wire_region_access access;
	struct wire_small_write one;
	const uint8_t *data;
	uint64_t count;

	if (accepted(wire_decode_region_read(in->bytes, in->length, MOST, &access, &why)))
		must(access.count <= MOST);
	if (accepted(wire_decode_region_write(in->bytes, in->length, MOST, &access, &data, &why)))
		check_within(in, data, access.count);
	if (!accepted(wire_decode_region_write_multi(in->bytes, in->length, &count, &why)))
		return;
	for (uint64_t i = 0; i < count; i++) {
		wire_small_write_at(in->bytes, i, &one);
		must(one.count <= sizeof(one.data));
	}
}

static void features(const struct payload *in)
{
	struct wire_device_feature feature;
	struct wire_mig_data mig;
	const uint8_t *data;
	size_t length;

	if (accepted(wire_decode_device_feature(in->bytes, in->length, &feature, &data, &length,
	                                        &why)))
		check_within(in, data, length);
	accepted(wire_decode_mig_data_read(in->bytes, in->length, MOST, &mig, &why));
	if (accepted(wire_decode_mig_data_write(in->bytes, in->length, MOST, &mig, &data, &why)))
		check_within(in, data, mig.size);
}

static void dma_replies(const struct payload *in)
{
	struct wire_dma_access access;
	const uint8_t *data;

	if (accepted(wire_decode_dma_read_reply(in->bytes, in->length, &access, &data, &why)))
		check_within(in, data, access.count);
	accepted(wire_decode_dma_write_reply(in->bytes, in->length, &access, &why));
	accepted(wire_decode_dma_read(in->bytes, in->length, MOST, &access, &why));
	if (accepted(wire_decode_dma_write(in->bytes, in->length, MOST, &access, &data, &why)))
		check_within(in, data, access.count);
}

/* What was understood is encoded, and understood the same way. */
static void version(const struct payload *in)
{
	const struct wire_migration_caps migration = {UINT64_MAX, UINT64_MAX};
	struct wire_version first, again;
	uint8_t payload[WIRE_VERSION_REQUEST_ROOM];
	size_t length;

	if (!accepted(wire_decode_version(in->bytes, in->length, &first, &why)))
		return;
	must(first.capabilities.max_data_xfer_size && first.capabilities.pgsizes);
	length = wire_encode_version(payload, &first);
	must(length <= WIRE_VERSION_REPLY_ROOM);
	length = wire_encode_version_request(payload, &first, &migration);
	must(length <= WIRE_VERSION_REQUEST_ROOM);
	must(!wire_decode_version(payload, length, &again, &why));
	must(first.major == again.major && first.minor == again.minor);
	must(first.capabilities.max_data_xfer_size == again.capabilities.max_data_xfer_size &&
	     first.capabilities.max_dma_maps == again.capabilities.max_dma_maps &&
	     first.capabilities.pgsizes == again.capabilities.pgsizes &&
	     first.capabilities.twin_socket == again.capabilities.twin_socket);
}

static void version_reply(const struct payload *in)
{
	struct wire_version_reply reply;

	if (accepted(wire_decode_version_reply(in->bytes, in->length, &reply, &why)))
		check_within(in, reply.json, reply.json_length);
}

static void region_reply(const struct payload *in)
{
	struct wire_region_reply reply;
	struct wire_sparse_area area;

	if (!accepted(wire_decode_region_info_reply(in->bytes, in->length, &reply, &why)))
		return;
	check_within(in, reply.areas, (uint64_t)reply.area_count * sizeof(area));
	for (uint32_t i = 0; i < reply.area_count; i++) {
		wire_area_at(&reply, i, &area);
		must(area.size <= reply.info.size && area.offset <= reply.info.size - area.size);
	}
}

static void info_replies(const struct payload *in)
{
	struct wire_region_io_fds fds;
	struct wire_io_fd fd;
	struct wire_device_info device;
	struct wire_irq_info irq;
	bool incomplete;

	if (accepted(wire_decode_io_fds_reply(in->bytes, in->length, &fds, &incomplete, &why))) {
		for (uint32_t i = 0; !incomplete && i < fds.count; i++)
			wire_io_fd_at(in->bytes, i, &fd);
	}
	accepted(wire_decode_device_info_reply(in->bytes, in->length, &device, &why));
	accepted(wire_decode_irq_info_reply(in->bytes, in->length, &irq, &why));
}

/* The request that the reply is compared with is the input's first part. */
static void access_replies(const struct payload *in)
{
	struct wire_region_access request, access;
	struct payload rest = *in;
	const uint8_t *data;
	uint64_t count;

	if (in->length < sizeof(request))
		return;
	memcpy(&request, in->bytes, sizeof(request));
	rest.bytes += sizeof(request);
	rest.length -= sizeof(request);
	if (accepted(wire_decode_region_read_reply(rest.bytes, rest.length, &request, &access,
	                                           &data, &why)))
		check_within(&rest, data, access.count);
	if (accepted(wire_decode_region_write_reply(rest.bytes, rest.length, &request, &access,
	                                            &why)))
		must(access.count <= request.count);
	if (accepted(wire_decode_write_multi_reply(rest.bytes, rest.length, request.count, &count,
	                                           &why)))
		must(count <= request.count);
}

/* The other way: capabilities out of the input are encoded, and decoded to the same. */
static void encode_region(const struct payload *in)
{
	struct input stream = {in->bytes, in->length};
	struct wire_region_caps caps = {.area_count = input_u8(&stream) % (WIRE_MAX_AREAS + 1)};
	struct wire_region_info info = {.size = UINT64_MAX, .flags = WIRE_REGION_READABLE};
	struct wire_region_reply reply;
	uint8_t payload[WIRE_REGION_INFO_ROOM];
	size_t length;

	caps.typed = input_u8(&stream) & 1;
	caps.type = input_u32(&stream);
	caps.subtype = input_u32(&stream);
	for (unsigned i = 0; i < caps.area_count; i++)
		caps.areas[i] = (struct wire_sparse_area){.offset = 4096 * (i + 1), .size = 4096};
	length = wire_encode_region_info(payload, &info, &caps);
	must(length == wire_region_info_size(&caps) && length <= sizeof(payload));
	must(!wire_decode_region_info_reply(payload, length, &reply, &why));
	must(reply.has_type == caps.typed && reply.area_count == caps.area_count);
	must(!caps.typed || (reply.type == caps.type && reply.subtype == caps.subtype));
}

static void header(struct payload *in)
{
	struct wire_header header, reply;
	uint8_t message[sizeof(header)];

	if (in->length < sizeof(header))
		return;
	wire_decode_header(in->bytes, &header);
	must(wire_command_name(header.command)[0]);
	wire_encode_error(message, &header, -EINVAL);
	wire_decode_header(message, &reply);
	must(reply.id == header.id && reply.error == EINVAL && reply.size == sizeof(header));
	in->bytes += sizeof(header);
	in->length -= sizeof(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const decoders[])(const struct payload *in) = {
		maps,         infos,          set_irqs,     accesses,      features,
		dma_replies,  version,        version,      version_reply, region_reply,
		info_replies, access_replies, encode_region};
	const unsigned count = sizeof(decoders) / sizeof(*decoders);
	struct payload in;
	uint8_t *copy;

	if (!size || size > MAX_INPUT)
		return 0;
	in = (struct payload){data + 1, size - 1};
	if (data[0] & 0x80)
		header(&in);
	/* Exactly as long as it is, and not aligned more than a message would be. */
	copy = malloc(in.length + 1);
	if (in.length)
		memcpy(copy + 1, in.bytes, in.length);
	in.bytes = copy + 1;
	why = NULL;
	decoders[(data[0] & 0x7f) % count](&in);
	free(copy);
	return 0;
}
