/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The null driver: a disk of any size that keeps nothing. Writes are dropped and reads give zeroes,
 * so that what is left of a device's speed is the device. With read-zeroes=off reads leave memory
 * as it is, which takes even the memset out of a measurement.
 */
#include <stddef.h>
#include <string.h>

#include "drivers.h"

struct null_props {
	uint64_t size;
	bool read_zeroes;
};

static int null_open(struct ob_block *block, struct ob_error *err)
{
	const struct null_props *props = block->props;

	block->info = (struct ob_block_info){
		.size = props->size,
		.size_given = true,
		.block_size = BLOCK_SECTOR,
		.optimal_io = 4096,
		.discard = true,
		.discard_zeroes = true,
	};
	return block_check_size(props->size, err);
}

static void null_close(struct ob_block *block)
{
}

static int null_submit(struct ob_block *block, struct ob_block_request *request)
{
	const struct null_props *props = block->props;

	if (request->op == OB_BLOCK_READ && props->read_zeroes) {
		for (unsigned i = 0; i < request->iovcnt; i++) {
			if (request->iov[i].iov_len)
				memset(request->iov[i].iov_base, 0, request->iov[i].iov_len);
		}
	}
	return 0;
}

static int null_resize(struct ob_block *block, uint64_t size, struct ob_error *err)
{
	return 0;
}

static const struct ob_prop null_table[] = {
	{"size", OB_PROP_SIZE, offsetof(struct null_props, size), .min = BLOCK_SECTOR,
         .max = INT64_MAX, .preset = "1G", .help = "size in bytes, a multiple of 512"},
	{"read-zeroes", OB_PROP_BOOL, offsetof(struct null_props, read_zeroes), .preset = "on",
         .help = "reads give zeroes; off: they leave memory as it is"},
	{.name = NULL},
};

const struct block_driver block_null = {
	.name = "null",
	.summary = "keeps nothing, for measurements",
	.node_size = sizeof(struct ob_block),
	.props_size = sizeof(struct null_props),
	.props = null_table,
	.open = null_open,
	.close = null_close,
	.submit = null_submit,
	.resize = null_resize,
};
