/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What nodes of every driver can be told, and what that makes of a request before a driver sees it:
 * the cache mode, and whether writes of zeroes are looked for. What each mode promises is said in
 * docs/data.md; this is the one place that carries it out.
 */
#include <errno.h>
#include <string.h>

#include "block.h"
#include "drivers.h"

static const char *const detect_choices[] = {
	[BLOCK_DETECT_OFF] = "off", [BLOCK_DETECT_ON] = "on", [BLOCK_DETECT_UNMAP] = "unmap", NULL};

const char *const ob_on_read_error[] = {[OB_ON_ERROR_AUTO] = "auto",
                                        [OB_ON_ERROR_REPORT] = "report",
                                        [OB_ON_ERROR_IGNORE] = "ignore",
                                        [OB_ON_ERROR_STOP] = "stop",
                                        NULL};
const char *const ob_on_write_error[] = {
	[OB_ON_ERROR_AUTO] = "auto",     [OB_ON_ERROR_REPORT] = "report",
	[OB_ON_ERROR_IGNORE] = "ignore", [OB_ON_ERROR_STOP] = "stop",
	[OB_ON_ERROR_ENOSPC] = "enospc", NULL};

const struct ob_prop block_node_props[] = {
	{"cache.writeback", OB_PROP_BOOL, offsetof(struct block_options, writeback), .preset = "on",
         .help = "off: a write is done when it is on stable storage (cache=writethrough)"},
	{"cache.no-flush", OB_PROP_BOOL, offsetof(struct block_options, no_flush), .preset = "off",
         .help = "on: flushes do nothing (cache=unsafe): a crash of the host loses data"},
	{"detect-zeroes", OB_PROP_ENUM, offsetof(struct block_options, detect_zeroes),
         .preset = "off", .choices = detect_choices,
         .help = "on: write zeroes without their bytes; unmap: give the space back as well"},
	{"rerror", OB_PROP_ENUM, offsetof(struct block_options, rerror), .preset = "auto",
         .choices = ob_on_read_error, .help = "for devices that leave their rerror to the node"},
	{"werror", OB_PROP_ENUM, offsetof(struct block_options, werror), .preset = "auto",
         .choices = ob_on_write_error, .help = "for devices that leave their werror to the node"},
	{.name = NULL},
};

const char *block_detect_name(const struct block_options *options)
{
	return detect_choices[options->detect_zeroes];
}

int block_options_apply(struct ob_block *block, struct ob_error *err)
{
	struct block_options *options = &block->options;

	if (options->no_flush && !options->writeback)
		return ob_error_set(err, -EINVAL,
		                    "cache.no-flush=on and cache.writeback=off contradict each "
		                    "other: choose one");
	if (options->detect_zeroes == BLOCK_DETECT_UNMAP && !block->info.discard &&
	    !block->info.read_only)
		return ob_error_set(err, -EINVAL,
		                    "detect-zeroes=unmap needs a node that gives space back: add "
		                    "discard=unmap, or say detect-zeroes=on");
	if (options->no_flush)
		log_fact(&block->log, LOG_WARN,
		         "cache.no-flush=on: nothing is flushed, so a crash of the "
		         "host loses what was written");
	if (!options->writeback)
		block->info.volatile_cache = false;
	block->info.rerror = (uint8_t)options->rerror;
	block->info.werror = (uint8_t)options->werror;
	block->adjusts = options->no_flush || !options->writeback || options->detect_zeroes ||
	                 block->keeps_space;
	return 0;
}

static bool is_zero(const void *memory, size_t length)
{
	const char *bytes = memory;
	size_t head = length < 16 ? length : 16;

	/* The bytes are zero if the first few are, and each equals the one so far before it. */
	for (size_t i = 0; i < head; i++) {
		if (bytes[i])
			return false;
	}
	return !memcmp(bytes, bytes + head, length - head);
}

/* A guest may change its memory meanwhile: then it wrote both, and gets one of them. */
static bool writes_zeroes(const struct ob_block_request *request)
{
	for (unsigned i = 0; i < request->iovcnt; i++) {
		if (!is_zero(request->iov[i].iov_base, request->iov[i].iov_len))
			return false;
	}
	return true;
}

bool block_adjust(struct ob_block *block, struct ob_block_request *request)
{
	const struct block_options *options = &block->options;

	switch (request->op) {
	case OB_BLOCK_READ:
		return false;
	case OB_BLOCK_FLUSH:
		return options->no_flush;
	case OB_BLOCK_DISCARD:
		return block->keeps_space;
	case OB_BLOCK_WRITE:
		if (options->detect_zeroes && writes_zeroes(request)) {
			request->op = OB_BLOCK_WRITE_ZEROES;
			if (options->detect_zeroes == BLOCK_DETECT_UNMAP)
				request->flags |= OB_BLOCK_UNMAP;
		}
		break;
	case OB_BLOCK_WRITE_ZEROES:
		break;
	}
	if (!options->writeback)
		request->flags |= OB_BLOCK_FUA;
	if (options->no_flush)
		request->flags &= ~(unsigned)OB_BLOCK_FUA;
	if (block->keeps_space && request->flags & OB_BLOCK_UNMAP)
		request->flags ^= OB_BLOCK_UNMAP | OB_BLOCK_HOLES;
	return false;
}
