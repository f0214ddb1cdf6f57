/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Namespaces that are configured like devices of their own (nvme-ns, as QEMU has it): each with a
 * drive and names. They come and go while the controller works; a guest hears of that by an
 * asynchronous event, and finds them in the lists that it asks for then.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct ns_props {
	struct ob_block_list drive;
	uint32_t nsid; /* 0: the first that is free */
	char *uuid, *nguid, *eui64;
	uint32_t block_size, tail;
	bool shared, detached;
};

static const struct ob_prop ns_prop_table[] = {
	{"drive", OB_PROP_BLOCKS, offsetof(struct ns_props, drive), .help = "block node behind it"},
	{"nsid", OB_PROP_UINT32, offsetof(struct ns_props, nsid), .max = NVME_MAX_NAMESPACES,
         .preset = "0",
         .help = "its number; 0: the first that is free, and by which no guest still knows a disk "
                 "that went"},
	{"uuid", OB_PROP_STRING, offsetof(struct ns_props, uuid), .preset = "auto",
         .help = "its UUID; auto: made of the controller's serial number and nsid"},
	{"nguid", OB_PROP_STRING, offsetof(struct ns_props, nguid),
         .help = "its NGUID, 32 hexadecimal digits (default: none)"},
	{"eui64", OB_PROP_STRING, offsetof(struct ns_props, eui64),
         .help = "its EUI-64, a number (default: none)"},
	{"block-size", OB_PROP_ENUM, offsetof(struct ns_props, block_size), .preset = "512",
         .choices = nvme_block_sizes, .help = "logical block size in bytes"},
	{"tail", OB_PROP_ENUM, offsetof(struct ns_props, tail), .preset = "refuse",
         .choices = nvme_tails, .help = "as of nvme"},
	{"shared", OB_PROP_BOOL, offsetof(struct ns_props, shared), .preset = "on",
         .help = "taken; a subsystem has one controller"},
	{"detached", OB_PROP_BOOL, offsetof(struct ns_props, detached), .preset = "off",
         .help = "off: namespaces are attached by being made"},
	{NULL},
};

/* Digits of bytes, with dashes or colons anywhere between them. */
static bool parse_bytes(const char *text, uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char digits[3] = "";

		while (i && (*text == '-' || *text == ':'))
			text++;
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]))
			return false;
		memcpy(digits, text, 2);
		bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
		text += 2;
	}
	return !*text;
}

static int parse_names(const struct ns_props *props, struct nvme_names *names, struct ob_error *err)
{
	unsigned long long number = 0;
	char *end = NULL;

	if (props->uuid && strcmp(props->uuid, "auto") != 0 &&
	    !parse_bytes(props->uuid, names->uuid, sizeof(names->uuid)))
		return ob_error_set(err, -EINVAL,
		                    "uuid=%s: expected 32 hexadecimal digits, or auto",
		                    props->uuid);
	if (props->nguid && !parse_bytes(props->nguid, names->nguid, sizeof(names->nguid)))
		return ob_error_set(err, -EINVAL,
		                    "nguid=%s: expected 32 hexadecimal digits. A random one would "
		                    "be another one after each start",
		                    props->nguid);
	if (!props->eui64)
		return 0;
	errno = 0;
	number = strtoull(props->eui64, &end, 0);
	if (!isdigit((unsigned char)props->eui64[0]) || *end || errno)
		return ob_error_set(err, -EINVAL, "eui64=%s: expected a number of 64 bits",
		                    props->eui64);
	for (unsigned i = 0; i < sizeof(names->eui64); i++)
		names->eui64[i] = (uint8_t)(number >> (56 - 8 * i));
	return 0;
}

/* The first number that nothing has; NVME_MAX_NAMESPACES + 1: there is none. */
static uint32_t first_free(const struct nvme *n, bool known)
{
	const uint8_t *changed = n->state->changed;
	uint32_t i = 0;

	while (i < NVME_MAX_NAMESPACES &&
	       (n->ns[i].block || (known && changed[i / 8] & 1u << i % 8)))
		i++;
	return i + 1;
}

/*
 * A guest that has not looked since another disk had the number would take the new one for that,
 * with all that it remembers of it: the name is made of the number. So such numbers come last.
 */
static int choose_number(const struct nvme *n, uint32_t wanted, uint32_t *nsid,
                         struct ob_error *err)
{
	*nsid = wanted ? wanted : first_free(n, true);
	if (*nsid > NVME_MAX_NAMESPACES)
		*nsid = first_free(n, false);
	if (*nsid > NVME_MAX_NAMESPACES)
		return ob_error_set(err, -ENOSPC, "device '%s' has %u namespaces already",
		                    ob_dev_id(n->dev), NVME_MAX_NAMESPACES);
	if (n->ns[*nsid - 1].block)
		return ob_error_set(err, -EEXIST,
		                    "nsid=%u: device '%s' has such a namespace already", wanted,
		                    ob_dev_id(n->dev));
	return 0;
}

static int check_ns(const struct ns_props *props, struct ob_error *err)
{
	if (props->drive.count != 1)
		return ob_error_set(err, -EINVAL, "nvme-ns needs one drive=NODE-NAME");
	if (props->detached)
		return ob_error_set(
			err, -EINVAL,
			"detached=on cannot be had: guests can't attach namespaces here. "
			"One that is not wanted yet is added later (device_add)");
	return nvme_namespace_check(props->drive.nodes[0], 1, nvme_shift_of(props->block_size),
	                            props->tail == NVME_TAIL_LEAVE, err);
}

static int ns_add(struct ob_dev *dev, const void *values, unsigned *number, struct ob_error *err)
{
	struct nvme *n = ob_dev_runtime(dev);
	const struct ns_props *props = values;
	struct nvme_namespace ns = {.share = 1};
	int rc = check_ns(props, err);

	if (!rc)
		rc = parse_names(props, &ns.names, err);
	if (!rc)
		rc = choose_number(n, props->nsid, &ns.nsid, err);
	if (rc)
		return rc;
	ns.block = props->drive.nodes[0];
	ns.size = nvme_namespace_size(1, ob_block_info(ns.block)->size);
	nvme_namespace_add(n, &ns, nvme_shift_of(props->block_size));
	nvme_namespace_changed(n, ns.nsid);
	*number = ns.nsid;
	return 0;
}

static void ns_remove(struct ob_dev *dev, unsigned number)
{
	struct nvme *n = ob_dev_runtime(dev);

	n->ns[number - 1] = (struct nvme_namespace){0};
	while (n->ns_count && !n->ns[n->ns_count - 1].block)
		n->ns_count--;
	nvme_namespace_changed(n, number);
}

const struct ob_part nvme_namespace_part = {
	.name = "nvme-ns",
	.summary = "NVM Express namespace: a disk of a controller's",
	.props_size = sizeof(struct ns_props),
	.props = ns_prop_table,
	.add = ns_add,
	.remove = ns_remove,
};
