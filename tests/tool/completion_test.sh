#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Completion, against what the tool says and does; what is
# installed beside it
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tests/tool/subjects.sh
. "$EBB_TOP/tests/tool/subjects.sh"

needs python3
# shellcheck source=completion/ebbctl.bash
. "$EBB_TOP/completion/ebbctl.bash"

commands=$("$ebbctl" --help | sed -nE 's/^  ([a-z]+) .*/\1/p')

# bash_words WORD...: what bash offers for the last of them, one a line
bash_words()
{
	# shellcheck disable=SC2034 # read by the function
	COMP_WORDS=(ebbctl "$@")
	# shellcheck disable=SC2034
	COMP_CWORD=$#
	_ebbctl "$ebbctl" "${@: -1}" "${COMP_WORDS[COMP_CWORD - 1]}"
	printf '%s\n' "${COMPREPLY[@]}"
}

# zsh_words WORD...: the same of zsh, whose own functions are replaced
zsh_words()
{
	zsh -f -c 'file=$1; shift
compadd() { [[ $1 != -- ]] || shift; print -l -- "$@" }
_describe() { print -l -- "${(@)${(@P)2}%%:*}" }
_files() { print FILES }
_command_names() { print COMMANDS }
words=("$@"); CURRENT=$#
complete_it() { source $file }
complete_it' zsh "$EBB_TOP/completion/_ebbctl" "$ebbctl" "$@"
}

# equal EXPECTED GOT: as sets of lines
equal()
{
	diff <(sort -u <<<"$1") <(sort -u <<<"$2")
}

options_of()
{
	"$ebbctl" "$1" --help | grep -E '^ +-' | grep -oE -- '--[a-z-]+' |
		sort -u
}

# Those that getopt_long(3) takes are those that are in some help.
every_option_is_explained()
{
	local taken

	taken=$(sed -nE 's/^\t+\{ "([a-z-]+)", [a-z]+_argument.*/--\1/p' \
		"$EBB_TOP"/tools/ebbctl/*.c)
	[ -n "$taken" ] && equal "$taken" "$all_options"
}

commands_complete()
{
	[ "$(wc -w <<<"$commands")" -ge 13 ] &&
		equal "$commands
--help
--version" "$("$1" "")"
}

options_complete()
{
	local command

	for command in $commands; do
		echo "$command"
		[ -n "$(options_of "$command")" ] || return
		equal "$(options_of "$command")" "$("$1" "$command" --)" ||
			return
	done
}

values_complete()
{
	local key

	"$1" status "" | grep -qx "$one" &&
		"$1" trim --all "" | grep -qx "$one" &&
		"$1" get "$one" "" | grep -qx decay_ms || return
	for key in $("$1" top --sort ""); do
		"$ebbctl" top --once --delay 0.1 --sort "$key" >/dev/null ||
			return
	done
	[ "$("$1" top --sort "" | wc -l)" -ge 11 ]
}

bash_files_complete()
{
	cd "$EBB_TOP" &&
		equal completion "$(bash_words metrics --output comple)"
}

zsh_files_complete()
{
	equal FILES "$(zsh_words metrics --output comple)" &&
		equal COMMANDS "$(zsh_words run "")"
}

# What is not run is only looked at: the build may have been another one.
installs()
{
	local lines

	lines=$(make -n -C "$EBB_TOP" O="$EBB_BUILD" DESTDIR=/nowhere PREFIX=/p \
		install 2>/dev/null | tr -s ' \t\\\n' ' ')
	local path
	for path in lib/tmpfiles.d/ebbmalloc.conf \
		share/bash-completion/completions/ebbctl \
		share/zsh/site-functions bin; do
		[[ $lines == *"/nowhere/p/$path"* ]] ||
			{ echo "not installed: $path"; return 1; }
	done
}

tmpfiles_is_right()
{
	[ "$(grep -v '^#' "$EBB_TOP/scripts/tmpfiles.conf")" = \
		"d /run/ebb 1777 root root -" ] || return
	command -v systemd-tmpfiles >/dev/null || return 0
	systemd-tmpfiles --create --root="$WORK/root" \
		"$EBB_TOP/scripts/tmpfiles.conf" &&
		[ "$(stat -c %a "$WORK/root/run/ebb")" = 1777 ]
}

help_fits()
{
	local command

	for command in $commands; do
		echo "$command"
		says '^usage: ebbctl '"$command" "$ebbctl" "$command" --help &&
			says '^Exit status: ' "$ebbctl" "$command" --help ||
			return
		[ -z "$("$ebbctl" "$command" --help | awk 'length > 80')" ] ||
			return
	done
}

all_options=$(for command in $commands; do options_of "$command"; done)
subject one
one=${subject_pid[one]}
tell one "press 1"
seen one

plan 12
check "every command explains itself in 80 columns" help_fits
check "every option is explained" every_option_is_explained
check "bash completes commands" commands_complete bash_words
check "bash completes the options of each" options_complete bash_words
check "bash completes processes, names and keys" values_complete bash_words
check "bash completes files" bash_files_complete
if command -v zsh >/dev/null; then
	check "zsh completes commands" commands_complete zsh_words
	check "zsh completes the options of each" options_complete zsh_words
	check "zsh completes processes, names and keys" \
		values_complete zsh_words
	check "zsh completes files" zsh_files_complete
else
	for what in "commands" "the options of each" \
		"processes, names and keys" "files"; do
		skip "zsh completes $what" "zsh is not installed"
	done
fi
check "what belongs to it is installed" installs
check "systemd-tmpfiles takes its file" tmpfiles_is_right
finish
