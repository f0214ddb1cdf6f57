# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# What the scripts share: saying what goes on and how far it is, and packages. Sourced, not run.

repo=$(readlink -f "${BASH_SOURCE[0]%/*}/..")
began=$SECONDS

# What is being done, with the time since the start.
say() {
	printf '%s: [%4ds] %s\n' "${0##*/}" $((SECONDS - began)) "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

as_root() {
	if ((EUID == 0)); then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "root's rights are needed to run: $* (run this as root, or install sudo)"
	fi
}

# Installs those of the named Debian packages that are missing.
need_packages() {
	local missing=() package
	for package; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
			missing+=("$package")
	done
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null || die "install these yourself, as this is no Debian: ${missing[*]}"
	say "installing ${#missing[@]} packages: ${missing[*]}"
	local log
	log=$(mktemp)
	if ! {
		as_root apt-get update &&
			as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
				"${missing[@]}"
	} >"$log" 2>&1 </dev/null; then
		tail -n 25 "$log" >&2
		rm -f "$log"
		die "apt-get failed; its last lines are above"
	fi
	rm -f "$log"
}

# Unpacks the Debian package $1 into the folder $2, without what it depends on, and once.
unpack_package() {
	local name=$1 folder=$2 log
	[[ ! -e $folder/unpacked ]] || return 0
	say "unpacking $name"
	log=$(mktemp)
	rm -rf "$folder"
	mkdir -p "$folder"
	if ! (
		cd "$folder"
		apt-get download "$name" || { as_root apt-get update && apt-get download "$name"; }
		dpkg-deb -x "$name"_*.deb .
		touch unpacked
	) >"$log" 2>&1 </dev/null; then
		tail -n 25 "$log" >&2
		rm -f "$log"
		die "$name could not be unpacked; the last lines are above"
	fi
	rm -f "$log"
}

# shellcheck disable=SC2034 # for those who source this
BUILD_PACKAGES=(gcc libc6-dev meson ninja-build pkg-config liburing-dev libjson-c-dev python3-docutils)
# shellcheck disable=SC2034
TEST_PACKAGES=(g++ clang libclang-rt-14-dev lld llvm clang-tidy clang-format shellcheck libcmocka-dev python3
	python3-pytest e2fsprogs systemd-container
	python3-bitarray python3-openssl python3-simplejson) # for a QMP client of others

# Builds the folder $1 with meson options $2...; what the compiler said is shown when it fails.
build() {
	local folder=$1 log
	shift
	log=$folder/build.log
	mkdir -p "$folder"
	{
		if [[ ! -e $folder/build.ninja ]]; then
			meson setup "$folder" "$repo" "$@"
		elif (($#)); then
			meson configure "$folder" "$@"
		fi
	} >"$log" 2>&1 || {
		tail -n 40 "$log" >&2
		die "meson failed; the whole log is $log"
	}
	ninja -C "$folder" >"$log" 2>&1 || {
		grep -A 12 -E 'error|FAILED' "$log" >&2 || tail -n 40 "$log" >&2
		die "the build failed; the whole log is $log"
	}
}
