#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Programs do the same where objects are cut to measure
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

grep -qs '^CONFIG_MEDIUM=y' "$EBB_BUILD/.config" ||
	skip_all "built without CONFIG_MEDIUM"

export EBB_CONF=frugal=100%
tests=(account align context fork given info large leak limit malloc mallctl
	mallocx meter pool profile purge realloc signal snapshot thread)

plan ${#tests[@]}
for name in "${tests[@]}"; do
	check "${name}_test passes with frugal=100%" \
		"$EBB_BUILD/tests/api/${name}_test"
done
finish
