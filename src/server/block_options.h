/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block nodes as QEMU's users and tools write them, where that means one of ours: the format raw on
 * top of a file, in one node, and options that ask for what is so anyway.
 */
#ifndef SERVER_BLOCK_OPTIONS_H
#define SERVER_BLOCK_OPTIONS_H

#include "base/opts.h"

/*
 * Translates opts in place; what is none of QEMU's stays as it is.
 *
 *	driver=raw, file.driver=D, file.KEY=VALUE   driver=D, KEY=VALUE; a KEY of the node's own
 *	                                            goes before that of its file
 *	driver=host_device                          driver=file
 *	driver=null-co                              driver=null
 *	aio=native                                  nothing: the best way that there is
 *	auto-read-only, cache.no-flush=off,
 *	detect-zeroes=off, force-share=off          nothing
 *
 * 0, or -EINVAL or -ENOMEM with a message: another node as file=, what cannot be turned on.
 */
int block_options_translate(struct opts *opts, struct ob_error *err);

#endif
