# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Completion of obctl's command line. It knows no names but those of regions: commands, options and
# choices are what obctl itself prints with --help.

_obctl_commands() {
	"$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\)  *[A-Z].*/\1/p'
}

_obctl_options() {
	"$1" "$2" --help 2>/dev/null | grep -o '^  --[a-z-]*'
}

# The choices of an option, where it has some.
_obctl_values() {
	"$1" "$2" --help 2>/dev/null | sed -n "s/^  $3=\([a-z|]*\) .*/\1/p" | tr '|' '\n'
}

# How many words that are no options stand between the command and the cursor.
_obctl_place() {
	local i place=0
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-* | =) ;;
		*)
			[[ ${COMP_WORDS[i - 1]} == = || ${COMP_WORDS[i - 1]} == --* ]] || ((++place))
			;;
		esac
	done
	printf '%s\n' "$place"
}

_obctl() {
	local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]}
	local before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]-} values=
	COMPREPLY=()

	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$(_obctl_commands "$program") --help --version" -- "$word")
		return
	fi
	# bash makes words of "--option", "=" and "value".
	if [[ $word == = ]]; then
		word=
	elif [[ $before == = ]]; then
		before=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	[[ $before != --* ]] || values=$(_obctl_values "$program" "$command" "$before")
	if [[ -n $values ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_obctl_options "$program" "$command") --help" -- "$word")
	elif [[ $command == @(read|write) && $(_obctl_place) == 1 ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'bar0 bar1 bar2 bar3 bar4 bar5 rom config' -- "$word")
	elif [[ $command == migrate && $(_obctl_place) == 0 ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'dump save load' -- "$word"; compgen -f -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}

complete -o filenames -F _obctl obctl
