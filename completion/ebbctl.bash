# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# ebbctl - Completion for bash
#
# Commands, options, keys and numbers are those that the tool itself tells:
# nothing here is to be kept in step with it.

_ebbctl_commands()
{
	"$1" --help 2>/dev/null |
		sed -nE 's/^  ([a-z]+) +.*/\1/p'
}

# Options of command $2, one a line: the name, and that of its argument
_ebbctl_options()
{
	"$1" "$2" --help 2>/dev/null |
		sed -nE 's/^ +(-[a-z], )?(--[a-z-]+)( [A-Z]+)?( .*|$)/\2\3/p'
}

_ebbctl_pids()
{
	"$1" list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_ebbctl_keys()
{
	"$1" top --sort= 2>&1 | sed -n 's/.*accepts //; s/,\| or / /gp'
}

# What the argument of the option before the word is, or what the command takes
_ebbctl_kind()
{
	local tool=$1 command=$2 before=$3 kind=

	[[ $before != -* ]] ||
		kind=$(_ebbctl_options "$tool" "$command" |
			awk -v "name=$before" '$1 == name { print $2 }')
	if [ -z "$kind" ]; then
		kind=$("$tool" "$command" --help 2>/dev/null |
			sed -nE '1s/.*[^A-Z](PID|COMMAND)([^A-Z].*)?$/\1/p')
	fi
	echo "$kind"
}

_ebbctl()
{
	local tool=$1 word=$2 before=$3 command=${COMP_WORDS[1]} words=

	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		words="$(_ebbctl_commands "$tool") --help --version"
	elif [[ $word == -* ]]; then
		words=$(_ebbctl_options "$tool" "$command" | cut -d' ' -f1)
	else
		case $(_ebbctl_kind "$tool" "$command" "$before"):$command in
		KEY:*) words=$(_ebbctl_keys "$tool") ;;
		PID:postmortem) words=$("$tool" postmortem --list 2>/dev/null |
			awk 'NR > 1 { print $3 }') ;;
		PID:[gs]et) if [[ $before == [0-9]* ]]; then
				words=$("$tool" get "$before" 2>/dev/null |
					cut -d= -f1)
			else
				words=$(_ebbctl_pids "$tool")
			fi ;;
		PID:*) words=$(_ebbctl_pids "$tool") ;;
		COMMAND:*) mapfile -t COMPREPLY < <(compgen -c -f -- "$word")
			return ;;
		FILE:* | PATH:*) mapfile -t COMPREPLY < <(compgen -f -- "$word")
			return ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _ebbctl ebbctl
