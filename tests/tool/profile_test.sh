#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl profile
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tests/tool/subjects.sh
. "$(dirname "$0")/subjects.sh"

for part in PROFILE CONTROL; do
	grep -q "^CONFIG_$part=y" "$EBB_BUILD/.config" ||
		skip_all "built without CONFIG_$part"
done

SUBJECT_CONF=profile=4K subject one
SUBJECT_CONF='' subject none
one=${subject_pid[one]}
# So that a background thread answers.
tell one "press 1"
tell none "press 1"

# live FILE: bytes that live, as pprof counts samples up by its mean
live()
{
	google-pprof --text --show_bytes --inuse_space \
		"$EBB_BUILD/tests/tool/subject" "$1" 2>/dev/null |
		awk '$NF == "keep" { print $1 }'
}

# 20,000 objects of 1 KiB; the sigma of the estimate is 1.3 % of that.
says_what_lives()
{
	local bytes

	tell one free && tell one "small 20000 1000" || return 1
	"$ebbctl" profile "$one" >"$WORK/now" || return 1
	head -n 1 "$WORK/now"
	grep -q '^heap profile: .* heap_v2/4096$' "$WORK/now" &&
		grep -q '^MAPPED_LIBRARIES:' "$WORK/now" || return 1
	command -v google-pprof >/dev/null || return 0
	bytes=$(live "$WORK/now")
	echo "${bytes:-no} bytes by keep()"
	[ "${bytes:-0}" -gt 18000000 ] && [ "$bytes" -lt 23000000 ]
}

# What has been freed lived in the first one only.
says_it_again_later()
{
	local before after

	tell one free && "$ebbctl" profile "$one" >"$WORK/later" || return 1
	before=$(awk '/^heap profile/ { print $4 + 0 }' "$WORK/now")
	after=$(awk '/^heap profile/ { print $4 + 0 }' "$WORK/later")
	echo "$before, then $after bytes of samples"
	[ "$after" -lt $((before / 10)) ]
}

puts_a_file()
{
	local file=$WORK/kept

	echo mine >"$WORK/other"
	ln -s "$WORK/other" "$file"
	"$ebbctl" profile -o "$file" "$one" >"$WORK/out" || return 1
	[ ! -s "$WORK/out" ] && [ ! -L "$file" ] &&
		[ "$(stat -c %a "$file")" = 600 ] &&
		[ "$(cat "$WORK/other")" = mine ] &&
		cmp "$file" "$CONTROL/$one/heap_profile" &&
		[ "$(cat "$CONTROL/$one/dump")" = "$(stat -c %s "$file")" ]
}

refuses_what_cannot_be()
{
	local none=${subject_pid[none]}

	fails 1 "$ebbctl" profile "$none" &&
		says 'profile.* was 0 at start' "$ebbctl" profile "$none" &&
		[ ! -s "$CONTROL/$none/heap_profile" ] &&
		fails 2 "$ebbctl" profile &&
		fails 2 "$ebbctl" profile "$one" "$none" &&
		fails 2 "$ebbctl" profile --wait x "$one" &&
		fails 3 "$ebbctl" profile 4194304 &&
		fails 125 "$ebbctl" profile -o "$WORK/no/such" "$one"
}

# Whatever lies there, only a file of the process's user is copied.
copies_no_other_file()
{
	rm "$CONTROL/$one/heap_profile"
	mkdir -m 0 "$CONTROL/$one/heap_profile"
	"$ebbctl" profile "$one" >"$WORK/again" || return 1
	grep -q '^heap profile: ' "$WORK/again"
}

plan 7
check "the process shows itself" seen one
check "so does one without a profile" seen none
check "profile says what lives, and who allocated it" says_what_lives
check "what was freed is gone from the next" says_it_again_later
check "a file is made anew, for its user alone" puts_a_file
check "what cannot be is refused, with the reason" refuses_what_cannot_be
check "a directory in the profile's place is replaced" copies_no_other_file
finish
