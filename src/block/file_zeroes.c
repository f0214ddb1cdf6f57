/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a file makes zeroes, and whether what is a hole already is passed over: questions that all
 * parts of a file node ask before a request is begun.
 */
#include <fcntl.h>

#include "base/list.h"
#include "drivers.h"
#include "file.h"

int file_zero_mode(const struct file_node *node, const struct ob_block_request *request)
{
	const struct file_props *props = node->block.props;

	if (request->flags & OB_BLOCK_UNMAP && props->discard == FILE_DISCARD_UNMAP &&
	    node->can_punch)
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	return node->can_zero ? FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE : 0;
}

bool file_range_looks(const struct file_node *node, const struct ob_block_request *request)
{
	bool zeroes = request->op == OB_BLOCK_WRITE_ZEROES;

	if (!node->knows_holes || (!zeroes && request->op != OB_BLOCK_DISCARD))
		return false;
	if (zeroes && !(file_zero_mode(node, request) & FALLOC_FL_PUNCH_HOLE))
		return request->flags & (OB_BLOCK_UNMAP | OB_BLOCK_HOLES);
	return request->flags & OB_BLOCK_PARTLY && request->length > FILE_FREED_MAX;
}
