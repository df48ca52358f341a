#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - The library for arm64, built on another machine
#
# Needs a cross compiler (gcc-aarch64-linux-gnu); what is built is also run
# where there is an emulator for it (qemu-user-static).
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

cross=aarch64-linux-gnu
out=$EBB_BUILD/builds/arm64
emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64)

command -v $cross-gcc >/dev/null || skip_all "$cross-gcc is not installed"
[ "$(uname -m)" = aarch64 ] && skip_all "this is arm64"

build()
{
	make -s -C "$EBB_TOP" O="$out" CC=$cross-gcc LD=$cross-ld \
		AR=$cross-ar OBJCOPY=$cross-objcopy W=e \
		KSELFTEST_DIR="$EBB_BUILD/kselftest" lib "$@"
}

# The emulator keeps books of all address space: little is reserved
emulated()
{
	EBB_CONF=reserve=1G QEMU_LD_PREFIX=/usr/$cross timeout 60 \
		"$emulator" "$out/tests/$1" "${@:2}"
}

plan 3
check "library and tests build for arm64" \
	build tests/unit/page_test tests/stress/torture
if [ "$emulator" ]; then
	check "pages and slots, emulated" emulated unit/page_test
	check "torture, emulated" emulated stress/torture --seconds 3 \
		--threads 4 --seed 1
else
	skip "pages and slots, emulated" "no qemu-user-static"
	skip "torture, emulated" "no qemu-user-static"
fi
finish
