#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Pages that mean harm, read below ASan and UBSan
#
# HOSTILE_ROUNDS says how many; the build is made anew only where something
# changed.
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

needs python3
here=$EBB_TOP/tests/tool
out=$EBB_BUILD/builds/tool
export PYTHONDONTWRITEBYTECODE=1

build()
{
	make -s -C "$EBB_TOP" O="$out" W=e D=asan,ubsan tools
}

plan 3
check "ebbctl builds with ASan and UBSan" build || finish
check "pages of a library one ABI apart are read" \
	env EBB_BUILD="$out" python3 "$here/abi.py"
check "hostile pages do no harm" python3 "$here/hostile.py" \
	"$out/bin/ebbctl" "${HOSTILE_ROUNDS:-20}" "${HOSTILE_SEED:-1000}"
finish
