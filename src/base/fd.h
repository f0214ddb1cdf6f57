/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors and memory that close and free themselves at the end of their scope:
 *
 *	cleanup_fd int fd = open(...);
 *	...
 *	object->fd = take_fd(&fd);
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static inline void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void ptr_free(void *pointer)
{
	free(*(void **)pointer);
}

#define take_ptr(pointer)                                                                          \
	({                                                                                         \
		typeof(*(pointer)) taken_ = *(pointer);                                            \
		*(pointer) = NULL;                                                                 \
		taken_;                                                                            \
	})

#define cleanup_fd __attribute__((cleanup(fd_close)))
#define cleanup_free __attribute__((cleanup(ptr_free)))

/*
 * Whether a descriptor came from whoever started the process, and nobody here has it yet: what we
 * open, and what we have taken over, is closed on exec. So no two parts close the same one.
 */
static inline bool fd_is_inherited(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && !(flags & FD_CLOEXEC);
}

#endif
