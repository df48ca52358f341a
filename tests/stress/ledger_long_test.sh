#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - The same, for 10^8 operations
#
export LEDGER_MOST=${LEDGER_MOST:-100000000} LEDGER_OPS=${LEDGER_OPS:-4000000}
exec "$(dirname "$0")/ledger_test.sh"
