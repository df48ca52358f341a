#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - gcc compiles this project to the same assembly
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs gcc
cd "$EBB_TOP" || exit 1
[ -r "$EBB_BUILD/include/generated/autoconf.h" ] ||
	skip_all "no generated/autoconf.h in $EBB_BUILD"

# compile OUT RUNNER: all sources of the library, as it is configured
compile()
{
	local out=$1 file config=$EBB_BUILD/include/generated/autoconf.h

	shift
	mkdir -p "$out"
	for file in src/*/*.c; do
		# What an earlier configuration has left is older.
		[ "$EBB_BUILD/${file%.c}.o" -nt "$config" ] || continue
		"$@" gcc -std=gnu11 -O2 -fPIC -D_GNU_SOURCE -Isrc -Iuapi \
			-I"$EBB_BUILD/include" -include generated/autoconf.h \
			-fno-builtin-malloc -S -o "$out/${file//\//_}.s" \
			"$file" || return 1
	done
	[ "$(find "$out" -name '*.s' | wc -l)" -gt 10 ]
}

one_file()
{
	loaded gcc -O2 -x c -c -o /dev/null - <<<'int main(void) { return 0; }'
	wc -l <"$WORK/.loaded"
	# The driver, the compiler proper and the assembler at least.
	[ "$(grep -c ebbmalloc "$WORK/.loaded")" -ge 3 ]
}

plan 4
check "loads the library into the driver and the compiler" one_file
check "compiles without the library" compile "$WORK/without" env
check "compiles on ebbmalloc" compile "$WORK/with" preloaded
check "makes the same assembly" diff -r "$WORK/without" "$WORK/with"
finish
