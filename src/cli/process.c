/* SPDX-License-Identifier: BSD-3-Clause */
/* The process and whoever started it; see process.h, and sd_listen_fds(3) and sd_notify(3). */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { FIRST_LISTEN_FD = 3, MAX_LISTEN_FDS = 1024, MMAP_THRESHOLD = 128 * 1024 };

static const int ending_signals[] = {SIGTERM, SIGINT};
enum { ENDING_SIGNALS = sizeof(ending_signals) / sizeof(ending_signals[0]) };

int process_fill_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest free number is this one. */
		if (open("/dev/null", O_RDWR) != fd)
			return -errno;
	}
	return 0;
}

void process_give_memory_back(void)
{
#ifdef M_MMAP_THRESHOLD
	/* Setting it keeps it where it is; malloc() would raise it with each large block that is
	 * freed. */
	mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
#endif
}

bool process_is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev;
	struct stat st;
	char *end;

	if (!stream || fstat(fd, &st))
		return false;
	dev = strtoull(stream, &end, 10);
	return *end == ':' && st.st_dev == dev && st.st_ino == strtoull(end + 1, NULL, 10);
}

bool process_ignores(int number)
{
	struct sigaction action;

	return !sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN;
}

int process_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	for (unsigned i = 0; i < ENDING_SIGNALS; i++) {
		if (ending_signals[i] == SIGTERM || !process_ignores(ending_signals[i]))
			sigaddset(&set, ending_signals[i]);
	}
	/* Both come back as errors: a client that is gone, a file at the process's limit of size.
	 */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	/* A child whose end is ignored could not be waited for. */
	signal(SIGCHLD, SIG_DFL);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

void process_signals_default(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (unsigned i = 0; i < ENDING_SIGNALS; i++)
		sigaddset(&set, ending_signals[i]);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int process_end_with_parent(pid_t parent, struct ob_error *err)
{
	if (prctl(PR_SET_PDEATHSIG, SIGTERM))
		return ob_error_set(err, -errno, "--exit-with-parent: %s", strerror(errno));
	/* The signal comes only for an end after the prctl(). */
	if (getppid() != parent)
		return ob_error_set(err, -ESRCH,
		                    "--exit-with-parent: the parent has ended already");
	return 0;
}

/* The number in an environment variable; 0 if there is none. */
static uint64_t number_from_environment(const char *name)
{
	const char *text = getenv(name);
	uint64_t number;

	return text && !parse_uint(name, text, 0, INT32_MAX, &number, NULL) ? number : 0;
}

int process_listen_fds(struct opts *named, struct ob_error *err)
{
	bool ours = number_from_environment("LISTEN_PID") == (uint64_t)getpid();
	uint64_t count = ours ? number_from_environment("LISTEN_FDS") : 0;
	const char *names = getenv("LISTEN_FDNAMES");
	cleanup_free char *left = strdup(names ? names : "");
	char *at = left, number[16];
	int rc = left ? 0 : -ENOMEM;

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (count > MAX_LISTEN_FDS)
		return ob_error_set(err, -EINVAL, "LISTEN_FDS is more than %d", MAX_LISTEN_FDS);
	for (int fd = FIRST_LISTEN_FD; fd < FIRST_LISTEN_FD + (int)count && !rc; fd++) {
		const char *name = at ? strsep(&at, ":") : "";

		snprintf(number, sizeof(number), "%d", fd);
		rc = opts_add(named, name, number);
	}
	return rc ? ob_error_set(err, rc, "out of memory") : 0;
}

void process_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = path ? strlen(path) : 0;
	cleanup_fd int fd = -1;

	if (length < 2 || length > sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, length);
	/* '@' stands for the NUL that begins an abstract name. */
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* Nobody is there to hear of a failure. */
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
	             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
}

void process_write_ready(int fd)
{
	/* Whoever waits sees the end of the file if this fails. */
	ssize_t written = write(fd, "\n", 1);

	(void)written;
	close(fd);
}

void process_raise_files(struct rlimit *before)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, before))
		*before = (struct rlimit){.rlim_cur = 1024, .rlim_max = 1024};
	limit = *before;
	limit.rlim_cur = limit.rlim_max;
	/* Without, there are fewer devices: nothing else is wrong. */
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void run_command(const char *command, pid_t parent)
{
	sigset_t none;

	/* What we ignore and block, it would inherit. */
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() == parent)
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

pid_t process_start_command(const char *command, const struct rlimit *files)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid == 0) {
		(void)setrlimit(RLIMIT_NOFILE, files);
		run_command(command, parent);
	}
	return pid < 0 ? -errno : pid;
}

int process_exit_status(int wait_status)
{
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}
