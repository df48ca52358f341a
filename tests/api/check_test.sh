#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Programs without a mistake also pass with check=1
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

export EBB_CONF=check=1
tests=(malloc realloc align large thread cxx)

plan ${#tests[@]}
for name in "${tests[@]}"; do
	check "${name}_test passes with check=1" \
		"$EBB_BUILD/tests/api/${name}_test"
done
finish
