/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens when a client cuts a file that it shared as memory.
 *
 * Touching a page that its file no longer covers is SIGBUS, wherever that happens: in a copy, in a
 * model that got a pointer, in a block node that fills an iovec. So there is a handler for it. It
 * looks for the map that the address lies in, puts anonymous memory in the place of all of that
 * map, so that the access goes on, and marks the map as lost: from then on it is as good as not
 * mapped. The space's watcher is told later, from the event loop, and gives the client up.
 *
 * A handler has no argument that leads to our objects, so this is the one thing in the process that
 * is global: the list of DMA spaces, and the handler's eventfd. It belongs to the thread that runs
 * the loop; no other one may touch clients' memory. (System calls may, from any thread: where the
 * kernel finds no page, they fail with EFAULT.)
 *
 * A SIGBUS that has nothing to do with clients' memory has the effect that it had before.
 */
#ifndef DMA_GUARD_H
#define DMA_GUARD_H

/*
 * Installs the handler, for the whole process: the program does this, once. Returns a descriptor
 * that is readable when there is something to tell, and stays the guard's; or -errno (-EALREADY:
 * it is installed).
 */
int dma_guard_install(void);

/* Puts back what was there before. */
void dma_guard_remove(void);

/* Tells the watchers of all spaces that lost memory. Only from the event loop. */
void dma_guard_tell(void);

#endif
