# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Completion of obctl's command line. It knows no names but those of regions: commands, options and
# choices are what obctl itself prints with --help.

_obctl_commands() {
	"$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'
}

# A column of what `obctl list` says; nothing if the monitor does not answer soon.
_obctl_devices() {
	[[ -z $2 ]] || "$1" -s "$2" list --timeout=1000 2>/dev/null | awk '!NF { exit } NR > 1 && $1 != "-" { print $1 }'
}

# The properties of a model, its disks and its socket, if outboard is there too.
_obctl_properties() {
	outboard "$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z0-9.-]*=\).*/\1/p'
	printf '%s\n' id= socket=
}

_obctl_models() {
	outboard --list 2>/dev/null | awk '/^[^ ]/ { inside = /^Device/ } /^  / && inside { print $1 }'
}

# Behind the monitor's socket: $1 program, $2 socket, $3 command, $4 the word, $5 how many stand before.
_obctl_monitor() {
	case $3:$5 in
	info:0 | del:0 | stats:0 | resize:0) compgen -W "$(_obctl_devices "$1" "$2")" -- "$4" ;;
	add:0) compgen -W "$(_obctl_models)" -- "$4" ;;
	add:*) compgen -W "$(_obctl_properties "${COMP_WORDS[COMP_CWORD - $5]}")" -- "$4" && compgen -f -- "$4" ;;
	qmp:0) compgen -W "$("$1" -s "$2" qmp query-commands --timeout=1000 2>/dev/null |
		sed -n 's/.*"name": "\([^"]*\)".*/\1/p')" -- "$4" ;;
	esac
}

_obctl_options() {
	"$1" "$2" --help 2>/dev/null | grep -o '^  --[a-z-]*'
}

# The choices of an option, where it has some.
_obctl_values() {
	"$1" "$2" --help 2>/dev/null | sed -n "s/^  $3=\([a-z|-]*\) .*/\1/p" | tr '|' '\n'
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
	local monitor=''
	COMPREPLY=()

	# "-s MONITOR" in front of the command is taken away.
	if [[ $command == -s ]] && ((COMP_CWORD > 2)); then
		monitor=${COMP_WORDS[2]}
		COMP_WORDS=("$program" "${COMP_WORDS[@]:3}")
		((COMP_CWORD -= 2)) || true
		command=${COMP_WORDS[1]-} before=${COMP_WORDS[COMP_CWORD - 1]}
	fi
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$(_obctl_commands "$program") -s --help --version" -- "$word")
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
	elif [[ -n $monitor ]]; then
		mapfile -t COMPREPLY < <(_obctl_monitor "$program" "$monitor" "$command" "$word" "$(_obctl_place)")
		[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
	elif [[ $command == migrate && $(_obctl_place) == 0 ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'dump save load' -- "$word"; compgen -f -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}

complete -o filenames -F _obctl obctl
