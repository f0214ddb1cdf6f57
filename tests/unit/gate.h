/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Has the kernel refuse a system call, for as long as a test likes: a filter asks a thread of the
 * test what to say to each (seccomp_unotify(2)).
 */
#ifndef TESTS_GATE_H
#define TESTS_GATE_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Between the tested threads and the one that answers for the kernel. */
struct gate {
	atomic_int listener; /* -1: not there yet */
	atomic_int number;   /* of the two that were given, the one that is refused */
	atomic_int refuse;   /* what it ends with; 0: what the kernel says */
	atomic_uint refused; /* so often */
};

static inline void *gate_keep(void *argument)
{
	struct gate *gate = argument;
	int listener;

	while ((listener = atomic_load(&gate->listener)) < 0)
		sched_yield();
	for (;;) {
		struct seccomp_notif asked = {0};
		struct seccomp_notif_resp answer = {0};

		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked))
			continue;
		answer.id = asked.id;
		if (asked.data.nr == atomic_load(&gate->number))
			answer.error = -atomic_load(&gate->refuse);
		if (answer.error)
			atomic_fetch_add(&gate->refused, 1);
		else
			answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
	return NULL;
}

/*
 * For this thread and those that it makes from now on, to the end of the process. The gate begins
 * with the first number, and refuses nothing. 0, or -errno: the kernel has no such filters.
 */
static inline int gate_raise(struct gate *gate, int number, int other)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)other, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	pthread_t thread;
	int listener, rc;

	*gate = (struct gate){.listener = -1, .number = number};
	rc = -pthread_create(&thread, NULL, gate_keep, gate);
	if (rc)
		return rc;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	                        SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (listener < 0)
		return -errno;
	atomic_store(&gate->listener, listener);
	return 0;
}

#endif
