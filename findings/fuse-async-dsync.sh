#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# On a FUSE file system an asynchronous direct write with RWF_DSYNC is acknowledged without a sync.
#
# RWF_DSYNC (pwritev2(2): as O_DSYNC for this one write) says that the data is on storage when the
# write has ended. For pwritev2() on a FUSE file opened with O_DIRECT the kernel keeps that: it sends
# the write, then FSYNC, to the server. Given to io_uring, the same write is sent as an asynchronous
# request, and its completion reports success when the server has answered the write alone: FSYNC is
# never sent. Without O_DIRECT both send it. So a program that implements FUA by RWF_DSYNC through
# io_uring loses acknowledged data at a power cut; it has to follow the write with fdatasync().
#
# Source: what is seen below; in the kernel's fs/fuse/file.c the synchronous path syncs when the write
# has returned, and nothing does when an asynchronous request completes. The server is libnbd's nbdfuse
# in front of nbdkit's memory plugin, whose log filter tells what arrives. Needs root (or a machine that
# lets users mount FUSE) and a compiler with liburing.
#
# Expected by a reader of the manual pages: a flush after the write in all four cases.
# Seen (Linux 6.18): a flush in three of them; none for io_uring with O_DIRECT.

set -euo pipefail

packages=(nbdkit=1.32.5-1 libnbd-bin=1.14.2-1 libnbd0=1.14.2-1 libfuse3-3=3.14.0-4
	libxml2=2.9.14+dfsg-1.3~deb12u6)
dir=$(mktemp -d)
server=''

end_server() {
	[[ -z $server ]] || kill "$server" 2>/dev/null || :
	umount "$dir/mnt" 2>/dev/null || :
	[[ -z $server ]] || wait "$server" 2>/dev/null || :
	server=''
}
trap 'end_server; rm -rf "$dir"' EXIT

cd "$dir"
echo "fetching ${packages[*]}"
apt-get download "${packages[@]}" >apt.log 2>&1 || { cat apt.log && exit 1; }
for package in *.deb; do dpkg-deb -x "$package" root; done
lib=$dir/root/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$lib:$dir/root/lib/x86_64-linux-gnu

cat >write.c <<'END'
#define _GNU_SOURCE
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t write_by_ring(int fd, struct iovec *iov)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;

	if (io_uring_queue_init(4, &ring, 0))
		return -1;
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_writev(sqe, fd, iov, 1, 0);
	sqe->rw_flags = RWF_DSYNC;
	if (io_uring_submit_and_wait(&ring, 1) != 1 || io_uring_wait_cqe(&ring, &cqe))
		return -1;
	return cqe->res;
}

/* FILE ring|call direct|cached */
int main(int argc, char **argv)
{
	struct iovec iov = {aligned_alloc(4096, 4096), 4096};
	int fd = open(argv[1], O_RDWR | (strcmp(argv[3], "direct") ? 0 : O_DIRECT));
	ssize_t n;

	memset(iov.iov_base, 'x', iov.iov_len);
	n = strcmp(argv[2], "ring") ? pwritev2(fd, &iov, 1, 0, RWF_DSYNC) : write_by_ring(fd, &iov);
	/* What close() would have flushed is not to be counted: the server is asked before that. */
	if (write(STDOUT_FILENO, n == 4096 ? "ok\n" : "failed\n", n == 4096 ? 3 : 7) < 0)
		return 1;
	pause();
	return argc;
}
END
cc -O1 -o write write.c -luring

echo "Linux $(uname -r), $("$dir/root/usr/bin/nbdkit" --version), nbdfuse 1.14.2"
# Prints how many flushes the server saw before the write was acknowledged.
flushes() {
	local how=$1 cache=$2 writer answer
	mkdir -p mnt
	: >log
	"$dir/root/usr/bin/nbdfuse" mnt/disk --command "$dir/root/usr/bin/nbdkit" -s --exit-with-parent \
		--filter="$lib/nbdkit/filters/nbdkit-log-filter.so" \
		"$lib/nbdkit/plugins/nbdkit-memory-plugin.so" 1M logfile="$dir/log" >&2 &
	server=$!
	until [[ -e mnt/disk ]]; do
		kill -0 "$server" 2>/dev/null || { echo "nbdfuse did not start" >&2 && exit 1; }
		sleep 0.05
	done
	mkfifo said
	./write mnt/disk "$how" "$cache" >said &
	writer=$!
	read -r answer <said
	[[ $answer == ok ]] || { echo "the write failed" >&2 && exit 1; }
	grep -q 'Write id=' log || { echo "no write arrived" >&2 && exit 1; }
	grep -c 'Flush id=[0-9]* \.\.\.' log >count || :
	kill "$writer"
	wait "$writer" 2>/dev/null || :
	rm said
	end_server
}

status=0
for case in "call cached 1" "call direct 1" "ring cached 1" "ring direct 0"; do
	read -r how cache seen_before <<<"$case"
	flushes "$how" "$cache"
	printf '%-9s %-8s expected: 1 flush, seen: %s\n' \
		"$([[ $how == ring ]] && echo io_uring || echo pwritev2)" "$cache" "$(cat count)"
	[[ $(cat count) == "$seen_before" ]] || status=1
done
if ((status)); then
	echo "this is no longer what was seen: without a flush, io_uring with O_DIRECT alone"
else
	echo "as found: RWF_DSYNC by io_uring on a direct FUSE file is acknowledged without a sync"
fi
exit "$status"
