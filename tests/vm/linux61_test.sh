#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - On cgroup v2 under Linux 6.1, see scripts/vmtest

exec "${EBB_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}/scripts/vmtest" \
	--kernel 6.1 --boot default --boot nopsi
