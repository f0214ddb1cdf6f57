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
 *	the same with file.node-name=N              left: block_options_split()
 *	driver=raw, file=N                          left: a filter over node N
 *	driver=host_device                          driver=file
 *	driver=null-co                              driver=null
 *	aio=native                                  nothing: the best way that there is
 *	cache.direct, of driver=raw                 nothing: what is below has the cache
 *	auto-read-only, force-share=off             nothing
 *	driver=file without discard                 discard=ignore
 *
 * 0, or -EINVAL or -ENOMEM with a message, about what cannot be turned on.
 */
int block_options_translate(struct opts *opts, struct ob_error *err);

/*
 * Where opts (translated) describe two nodes, one inside of the other: moves what is about the
 * lower one there, also translated, and has file= name it. Otherwise lower stays empty. -EINVAL
 * or -ENOMEM with a message.
 */
int block_options_split(struct opts *opts, struct opts *lower, struct ob_error *err);

#endif
