/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who keeps us from a file or block device: a process that holds a lock, or this machine, which has
 * mounted a device or built another one upon it.
 *
 * The kernel does not say whose an OFD lock is: F_OFD_GETLK and /proc/locks name no process. But
 * each descriptor's fdinfo (proc_pid_fdinfo(5)) lists the locks of its open file. It is read from
 * memory, and touches no file that might make us wait. A process that ends may still be found
 * there; that it ends is seen from its status.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "file.h"

/* Numbers in the kernel's own tables fit; what is not there is seen by the count.
 * NOLINTBEGIN(cert-err34-c) */

enum {
	TEXT_MAX = 4096, /* of a file in /proc that is read whole */
	PF_EXITING = 0x4,
};

/* Where a file is, as fdinfo's lock lines and mountinfo have it: not always what stat() says. */
struct place {
	unsigned major, minor;
	uint64_t inode;
};

static bool read_text(const char *path, char text[TEXT_MAX])
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT_MAX - 1);

	if (n < 0)
		return false;
	text[n] = '\0';
	return true;
}

static FILE *open_mounts(void)
{
	return fopen("/proc/self/mountinfo", "re");
}

/* The file system's own number is found by the mount that the descriptor came from. */
static bool find_place(int fd, const struct stat *st, struct place *place)
{
	char path[64], text[TEXT_MAX], *line = NULL;
	FILE *mounts = open_mounts();
	size_t room = 0;
	const char *at;
	int wanted = 0;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	at = read_text(path, text) ? strstr(text, "mnt_id:") : NULL;
	if (at)
		wanted = atoi(at + strlen("mnt_id:"));
	while (at && mounts && !found && getline(&line, &room, mounts) > 0) {
		int id;

		found = sscanf(line, "%d %*d %u:%u", &id, &place->major, &place->minor) == 3 &&
		        id == wanted;
	}
	place->inode = st->st_ino;
	free(line);
	if (mounts)
		fclose(mounts);
	return found;
}

/* "lock:\t1: OFDLCK  ADVISORY  WRITE -1 08:02:1234 0 EOF" */
static bool names_place(const char *text, const struct place *place)
{
	const char *at = text;

	while ((at = strstr(at, "lock:\t"))) {
		unsigned major, minor;
		uint64_t inode;

		at += strlen("lock:\t");
		if (sscanf(at, "%*s %*s %*s %*s %*s %x:%x:%" SCNu64, &major, &minor, &inode) == 3 &&
		    major == place->major && minor == place->minor && inode == place->inode)
			return true;
	}
	return false;
}

static bool holds_lock(const char *pid, const struct place *place)
{
	char folder[64], path[128], text[TEXT_MAX];
	const struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%.20s/fdinfo", pid);
	dir = opendir(folder);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%.20s", folder, entry->d_name);
		found = entry->d_name[0] != '.' && read_text(path, text) &&
		        names_place(text, place);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Exits, dumps core, or was killed and has not noticed yet. name: of the program, if it lives. */
static bool is_ending(const char *pid, char name[32])
{
	char path[64], text[TEXT_MAX], state = 'X';
	unsigned flags = PF_EXITING;
	uint64_t pending = 0;
	const char *at;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	if (!read_text(path, text) || !(at = strrchr(text, ')')) ||
	    sscanf(at + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2)
		return true;
	snprintf(path, sizeof(path), "/proc/%.20s/status", pid);
	if (!read_text(path, text))
		return true;
	at = strstr(text, "\nShdPnd:");
	if (at)
		sscanf(at, "\nShdPnd: %" SCNx64, &pending);
	snprintf(name, 32, "?");
	sscanf(text, "Name: %31[^\n]", name);
	return state == 'Z' || state == 'X' || flags & PF_EXITING ||
	       pending & 1u << (SIGKILL - 1) || strstr(text, "\nCoreDumping:\t1");
}

static bool find_process(const struct place *place, char *text, size_t room)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	bool found = holds_lock("self", place);
	char name[32];

	if (found)
		snprintf(text, room, "this process");
	while (dir && !found && (entry = readdir(dir))) {
		const char *pid = entry->d_name;

		if (pid[0] < '1' || pid[0] > '9' || !holds_lock(pid, place))
			continue;
		found = !is_ending(pid, name);
		if (found)
			snprintf(text, room, "process %.20s (%s)", pid, name);
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool find_mount(unsigned major, unsigned minor, char *text, size_t room)
{
	FILE *mounts = open_mounts();
	char *line = NULL, where[128];
	size_t length = 0;
	bool found = false;

	while (mounts && !found && getline(&line, &length, mounts) > 0) {
		unsigned device[2];

		found = sscanf(line, "%*d %*d %u:%u %*s %127s", &device[0], &device[1], where) ==
		                3 &&
		        device[0] == major && device[1] == minor;
	}
	if (found)
		snprintf(text, room, "this machine, which has it mounted at %s", where);
	free(line);
	if (mounts)
		fclose(mounts);
	return found;
}

/* A volume, an array, a crypt device: what stands upon this one. */
static bool find_upper(unsigned major, unsigned minor, char *text, size_t room)
{
	const struct dirent *entry;
	bool found = false;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major, minor);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		found = entry->d_name[0] != '.';
		if (found)
			snprintf(text, room, "this machine: %.60s is built upon it", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

bool file_holder_find(int fd, char *text, size_t room)
{
	struct place place;
	struct stat st;

	if (fstat(fd, &st))
		return false;
	if (S_ISBLK(st.st_mode) && (find_mount(major(st.st_rdev), minor(st.st_rdev), text, room) ||
	                            find_upper(major(st.st_rdev), minor(st.st_rdev), text, room)))
		return true;
	return find_place(fd, &st, &place) && find_process(&place, text, room);
}

/* NOLINTEND(cert-err34-c) */
