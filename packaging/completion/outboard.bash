# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Completion of outboard's command line. It knows no names: models, drivers, options and properties
# are what outboard itself prints with --list and --help.

# The names that outboard lists below a heading.
_outboard_listed() {
	"$1" --list 2>/dev/null | awk -v heading="$2" '
		/^[^ ]/ { inside = $0 == heading }
		/^  / && inside { print $1 }'
}

# The properties of a model, its disks and its socket, with the "=" behind them.
_outboard_properties() {
	"$1" "$2" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z0-9.-]*=\).*/\1/p'
	printf '%s\n' id= bus= addr= socket=
}

# The choices of a property, where it has some.
_outboard_values() {
	"$1" "$2" --help 2>/dev/null |
		sed -n "s/^  $3=\([a-z0-9|-]*\) .*/\1/p" | tr '|' '\n' | sort -u
}

# The options that take an argument, as ":name:name:".
_outboard_with_argument() {
	"$1" --help 2>/dev/null | sed -nE 's/^  --([a-z-]*)(, -([A-Za-z]))? [^ ].*/\1:\3/p' |
		tr '\n' ':' | sed 's/^/:/'
}

# The options whose argument is a file, as ":--name:-name:-X:".
_outboard_of_file() {
	"$1" --help 2>/dev/null | sed -nE 's/^  --([a-z-]*)(, (-[A-Za-z]))? (FILE|PATH)$/:--\1:-\1:\3:/p' | tr -d '\n'
}

# The first word of the device that the cursor is in: behind the last "--", no option, and no option's.
_outboard_model() {
	local i model='' before='' takers
	takers=$(_outboard_with_argument "$1")
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--) model= ;;
		-*) before=${COMP_WORDS[i]#-} before=${before#-} && continue ;;
		=) continue ;;
		*) [[ -n $before && $takers == *":$before:"* ]] || model=${model:-${COMP_WORDS[i]}} ;;
		esac
		before=
	done
	printf '%s\n' "$model"
}

_outboard() {
	local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} model key
	COMPREPLY=()

	# bash makes words of "key", "=" and "value".
	if [[ $word == = ]]; then
		key=${COMP_WORDS[COMP_CWORD - 1]}
		word=
	elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
		key=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	model=$(_outboard_model "$program")

	if [[ -n ${key-} ]]; then
		[[ -z $model ]] ||
			mapfile -t COMPREPLY < <(compgen -W "$(_outboard_values "$program" "$model" "$key")" -- "$word")
		((${#COMPREPLY[@]})) || mapfile -t COMPREPLY < <(compgen -f -- "$word")
	elif [[ $(_outboard_of_file "$program") == *":${COMP_WORDS[COMP_CWORD - 1]}:"* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$("$program" --help 2>/dev/null |
			grep -o '^  --[a-z-]*')" -- "$word")
	elif [[ -z $model ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_outboard_listed "$program" 'Device models:')" -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -W "$(_outboard_properties "$program" "$model")" -- "$word" &&
			compgen -f -- "$word")
		[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
	fi
}

complete -o filenames -F _outboard outboard
