# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034,SC2154,SC2164
#
# Root folders with programs of a Debian that this machine need not be. Sourced, not run.
#
# The packages are resolved and fetched by apt with folders of its own, from the mirror that this
# machine's apt is set up with, and they are unpacked and not configured. No rights are needed.
#
# Who sources this runs with set -e, has say() and die(), and sets SUITE, PACKAGES and UNNEEDED (packages
# that others depend on, and that only matter when one is configured or run as a service). keep_root FOLDER
# does the rest. Or set dest (the folder in which root/ is made) and log, and call make_root if
# $dest/root.stamp is not what root_stamp says.

tmp='' ticker=''

# Says every ten seconds that a step still goes on; $1 is a command that prints how far it is.
tick() {
	exec 9>&-
	while :; do
		sleep 10 >/dev/null 2>&1
		say "    ... $("$1")"
	done
}

# Runs a step with its output in the log. The step is in the foreground, for ^C to reach it.
run_step() {
	tick "$1" &
	ticker=$!
	shift
	"$@" >>"$log" 2>&1
	kill "$ticker"
	ticker=
}

on_exit() {
	local status=$?
	[[ -z $ticker ]] || kill "$ticker"
	[[ -z $tmp ]] || rm -rf "$tmp"
	if ((status != 0)) && [[ -s $log ]]; then
		printf '%s: failed; the end of %s:\n' "${0##*/}" "$log" >&2
		tail -n 25 "$log" | sed 's/^/    /' >&2
	fi
}

# The places that this machine's apt has Debian from, likeliest first.
mirrors() {
	local codename
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt fills these in
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk -v c="$codename" '$2 == "main" && $3 !~ /^cdrom:/ && !seen[$3]++ {
			if ($1 == c) first = first $3 "\n"; else rest = rest $3 "\n"
		} END { printf "%s%s", first, rest }'
}

# An apt with its own state: the machine's proxies and credentials, none of its sources and hooks.
apt_config() {
	local mirror=$1
	mkdir -p "$apt"/{lists/partial,archives/partial,keys}
	: >"$apt/status"
	for key in /etc/apt/trusted.gpg.d/*.{asc,gpg} /usr/share/keyrings/debian-archive-*.gpg; do
		[[ ! -e $key ]] || ln -sf "$key" "$apt/keys/"
	done
	printf 'deb %s %s main\n' "$mirror" "$SUITE" "$mirror" "$SUITE-backports" >"$apt/sources"
	# The stable kernel and firmware do; what QEMU needs in newer versions comes with it.
	cat >"$apt/preferences" <<-END
		Package: linux-* ovmf
		Pin: release n=$SUITE-backports
		Pin-Priority: -1

		Package: *
		Pin: release n=$SUITE-backports
		Pin-Priority: 500
	END
	apt-config dump | grep '^Acquire::' >"$apt/conf" || true
	cat >>"$apt/conf" <<-END
		Dir::Etc::main "/dev/null";
		Dir::Etc::parts "/dev/null";
		Dir::Etc::sourcelist "$apt/sources";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "$apt/preferences";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::Etc::trustedparts "$apt/keys";
		Dir::State "$apt";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Install-Recommends "0";
		APT::Sandbox::User "root";
		APT::Update::Error-Mode "any";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Debug::NoLocking "1";
	END
}

update_lists() {
	local mirror
	for mirror in $(mirrors); do
		apt_config "$mirror"
		echo "trying $mirror"
		! APT_CONFIG=$apt/conf apt-get -q update || return 0
	done
	echo "apt has no mirror that $SUITE and $SUITE-backports can be had from"
	return 1
}

select_packages() {
	APT_CONFIG=$apt/conf apt-get -q -s install "${PACKAGES[@]}" >"$apt/plan" || {
		cat "$apt/plan"
		return 1
	}
	awk '$1 == "Inst" { print $2 }' "$apt/plan" | grep -Ev "$UNNEEDED" >"$apt/names"
}

fetch() (
	cd "$apt/archives"
	xargs env APT_CONFIG="$apt/conf" apt-get -q download <"$apt/names"
)

working() {
	echo working
}

fetched() {
	du -sm "$apt/archives" | awk '{ print $1 " MB so far" }'
}

unpack_one() {
	dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink --no-same-owner \
		--exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/info' \
		--exclude='./usr/share/locale' --exclude='./usr/share/bash-completion'
}

unpack() {
	local dir
	for dir in bin sbin lib lib64; do
		mkdir -p "$1/usr/$dir"
		ln -s "usr/$dir" "$1/$dir"
	done
	export -f unpack_one
	# shellcheck disable=SC2016 # the inner shell's
	find "$apt/archives" -name '*.deb' -print0 |
		xargs -0 -P "$(nproc)" -I{} bash -eo pipefail -c 'unpack_one "$1" "$2"' - {} "$1"
	rm "$apt"/archives/*.deb
}

make_root() {
	tmp=$(mktemp -d "$dest.tmp.XXXXXX")
	apt=$tmp/apt
	say "root: asking apt for a mirror of Debian $SUITE"
	run_step working update_lists
	run_step working select_packages
	say "root: fetching $(wc -l <"$apt/names") packages"
	run_step fetched fetch
	say "root: unpacking $(fetched | sed 's/ so far//')"
	mkdir -p "$tmp/root"
	run_step working unpack "$tmp/root"
	rm -rf "$apt"
	root_stamp >"$tmp/root.stamp"
	rm -rf "$dest"
	mv "$tmp" "$dest"
	chmod 755 "$dest"
	tmp=
}

root_stamp() {
	{
		declare -p SUITE PACKAGES UNNEEDED
		declare -f apt_config select_packages fetch unpack unpack_one
	} | sha256sum
}

# Makes the folder $1, if what is there is not what is wanted.
keep_root() {
	dest=$1
	log=$dest.log
	mkdir -p "${dest%/*}"
	exec 9>"$dest.lock"
	flock 9
	if [[ $(cat "$dest/root.stamp" 2>/dev/null) != "$(root_stamp)" ]]; then
		command -v apt-get >/dev/null || die "Debian $SUITE comes by apt, which is not here"
		: >"$log"
		trap on_exit EXIT
		rm -rf "$dest".tmp.*
		make_root
		trap - EXIT
	fi
	exec 9>&-
}
