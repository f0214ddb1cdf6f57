/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who uses a file or block device keeps others out, and waits for one that is about to go.
 *
 * Locks are OFD locks, which belong to the open file and not to the process, so that two nodes of
 * one process keep each other out just as two processes do. The bytes are chosen such that QEMU's
 * file driver understands them too: it marks what it does at bytes from 100 and what it doesn't
 * want others to do at bytes from 200, with bit 1 for writing.
 *
 * A process that was killed goes on holding its locks and devices until its last request has ended:
 * that is what keeps old writes away from who comes next. So who finds a claim that nobody holds
 * who is to be seen waits for its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "file.h"

enum {
	LOCK_WRITES = 101,     /* held by who writes */
	LOCK_NO_WRITERS = 201, /* held by who can't have others write */
	WAIT_S = 5,            /* the most, for a claim to end */
	LOOK_MS = 10,          /* meanwhile it is looked at so often */
};

static int lock_bytes(int fd, int command, short type, off_t start, off_t length,
                      struct flock *found)
{
	*found = (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	return fcntl(fd, command, found) ? -errno : 0;
}

static void unlock_bytes(const struct file_node *node)
{
	struct flock unused;

	lock_bytes(node->fd, F_OFD_SETLK, F_UNLCK, 0, 0, &unused);
}

/*
 * Claims a block device for us, or gives it free: which of these, is a matter of how it was opened,
 * so the same descriptor is opened anew. Fails if a file system or the like has claimed it, or
 * another one of us.
 */
static int reopen(struct file_node *node, int exclusive, struct ob_error *err)
{
	int flags = fcntl(node->fd, F_GETFL) & (O_ACCMODE | O_DIRECT);
	cleanup_fd int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", node->fd);
	fd = open(path, flags | exclusive | O_CLOEXEC);
	if (fd < 0 && errno == EBUSY)
		return ob_error_set(
			err, -EBUSY,
			"is in use by this machine (mounted, or part of a volume), or by a "
			"process that has not ended yet");
	if (fd < 0 || dup3(fd, node->fd, O_CLOEXEC) < 0)
		return ob_error_set(err, -errno, "can't be claimed (%s): locking=off goes without",
		                    strerror(errno));
	return 0;
}

/* A writer locks all bytes. A reader marks that it can't have writers, then looks for one. */
static int lock_file(struct file_node *node, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	struct flock found;
	int rc;

	if (props->read_only) {
		rc = lock_bytes(node->fd, F_OFD_SETLK, F_RDLCK, LOCK_NO_WRITERS, 1, &found);
		if (!rc)
			rc = lock_bytes(node->fd, F_OFD_GETLK, F_WRLCK, LOCK_WRITES, 1, &found);
		/* A descriptor that is open for reading may ask about write locks, but not set
		 * them. */
		if (!rc && found.l_type != F_UNLCK)
			rc = -EAGAIN;
	} else {
		rc = lock_bytes(node->fd, F_OFD_SETLK, F_WRLCK, 0, 0, &found);
	}
	node->locked = !rc;
	if (rc)
		unlock_bytes(node);
	if (rc == -EAGAIN || rc == -EACCES)
		return ob_error_set(
			err, -EBUSY,
			props->read_only
				? "is in use by another writer (locked): read-only=on needs "
				  "everybody else to read only; locking=off takes the risk"
				: "is in use by another reader or writer (locked): several users "
				  "need read-only=on each; locking=off takes the risk");
	if (props->locking == FILE_LOCKING_AUTO &&
	    (rc == -ENOLCK || rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EINVAL)) {
		log_fact(&node->block.log, LOG_WARN,
		         "its file system has no locks (%s): nobody is kept out", strerror(-rc));
		return 0;
	}
	if (rc)
		return ob_error_set(err, rc, "can't be locked (%s): locking=off goes without",
		                    strerror(-rc));
	return 0;
}

/* One try. */
static int lock(struct file_node *node, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	int rc;

	if (props->locking == FILE_LOCKING_OFF)
		return 0;
	if (node->is_device && !props->read_only) {
		rc = reopen(node, O_EXCL, err);
		if (rc)
			return rc;
	}
	rc = lock_file(node, err);
	/* With its claim on a device: whoever has the lock may want that back. */
	if (rc)
		file_give_up(node);
	return rc;
}

/* The open file may live on in the kernel for a moment after its descriptor was closed. */
void file_unlock(struct file_node *node)
{
	if (node->locked)
		unlock_bytes(node);
	node->locked = false;
}

void file_give_up(struct file_node *node)
{
	const struct file_props *props = node->block.props;
	struct log log = log_copy(&node->block.log);
	struct ob_error err;

	file_unlock(node);
	if (!node->is_device || props->read_only || props->locking == FILE_LOCKING_OFF)
		return;
	if (reopen(node, 0, &err))
		log_error(&log, "cannot be given up: %s", err.message);
}

static void pause_ms(unsigned ms)
{
	struct timespec time = {.tv_nsec = ms * 1000000L};

	nanosleep(&time, NULL);
}

/* Whoever is to be seen is there to stay: says who it is. */
static bool is_held(const struct file_node *node, struct ob_error *err)
{
	struct ob_error why = *err;
	char who[192];

	if (!file_holder_find(node->fd, who, sizeof(who)))
		return false;
	ob_error_set(err, -EBUSY, "%s. Held by %s", why.message, who);
	return true;
}

int file_claim(struct file_node *node, const atomic_bool *stop, struct ob_error *err)
{
	const struct file_props *props = node->block.props;
	struct log log = log_copy(&node->block.log);
	int rc = lock(node, err);

	if (rc != -EBUSY || !stop || is_held(node, err))
		return rc;
	log_info(&log,
	         "'%s' is in use, and nobody is to be seen who uses it: waiting for up to %d s, as "
	         "after a process was killed for its last requests to end",
	         props->filename, WAIT_S);
	for (unsigned i = 0; i < WAIT_S * 1000 / LOOK_MS && rc == -EBUSY; i++) {
		if (atomic_load(stop))
			return rc;
		pause_ms(LOOK_MS);
		rc = lock(node, err);
	}
	if (rc == -EBUSY)
		is_held(node, err);
	return rc;
}

/* What stands in the page cache here may be older than what the other process wrote. */
int file_take_back(struct file_node *node, const atomic_bool *stop, struct ob_error *err)
{
	uint64_t size;
	int rc = file_size(node, &size, err);

	if (!rc && size < node->block.info.size)
		rc = ob_error_set(err, -EINVAL,
		                  "has shrunk to %" PRIu64 " bytes, and the disk has %" PRIu64,
		                  size, node->block.info.size);
	if (!rc)
		rc = file_claim(node, stop, err);
	if (!rc)
		posix_fadvise(node->fd, 0, 0, POSIX_FADV_DONTNEED);
	return rc;
}
