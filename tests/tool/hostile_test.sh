#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Pages that mean harm, and pages of another ABI
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

needs python3
here=$EBB_TOP/tests/tool
export PYTHONDONTWRITEBYTECODE=1

plan 2
check "pages of a library one ABI apart are read" python3 "$here/abi.py"
check "hostile pages do no harm" \
	python3 "$here/hostile.py" "$EBB_BUILD/bin/ebbctl" 6 "${HOSTILE_SEED:-1}"
finish
