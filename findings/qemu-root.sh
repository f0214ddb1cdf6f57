# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154
#
# Debian's QEMU in a folder, for the findings about it. Sourced, not run: get_qemu FOLDER VERSION leaves
# a program FOLDER/qemu, and ends the script if it is not of that version. Backports keep one version
# only, so an older one cannot be had; what was seen then has to be looked at again by a person.

SUITE=trixie
PACKAGES=(qemu-system-x86 seabios)
UNNEEDED='^(adduser|coreutils|debconf|dpkg|init-system-helpers|libpam.*|libpython3.*|passwd|perl.*'
UNNEEDED+='|python3.*|systemd|tar|tzdata|udev|uuid-runtime)$'
# shellcheck source=scripts/debian-root.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../scripts/debian-root.sh"

say() {
	echo "$*"
}

die() {
	echo "$*" >&2
	exit 1
}

get_qemu() {
	local folder=$1 wanted=$2 root=$1/debian/root lib=$1/debian/root/usr/lib/x86_64-linux-gnu seen
	keep_root "$folder/debian"
	cat >"$folder/qemu" <<-END_OF_WRAPPER
		#!/bin/bash
		export QEMU_MODULE_DIR=$lib/qemu
		exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib" \\
			"$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/seabios" \\
			-L "$root/usr/share/qemu" "\$@"
	END_OF_WRAPPER
	chmod 755 "$folder/qemu"
	seen=$("$folder/qemu" --version | head -n 1)
	echo "$seen"
	[[ $seen == *" version $wanted "* ]] || die "this was seen with QEMU $wanted: look at it again"
}
