#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - The protocols' models hold, and their mutants fail
#
# Each model is searched in full; a search that was cut short is a failure.
# A mutant is the model with one step done wrong: a model that does not find
# it proves nothing.  Headers of *.pml say what is modelled and claimed.
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

models=$EBB_TOP/tests/model
CC=${CC:-cc}
SPACE="-m4000000 -w23"	# steps in depth; hash table of 2^23

for command in spin "$CC"; do
	command -v "$command" >/dev/null ||
		skip_all "$command is not installed"
done

# search OPTIMISE MODEL [-DNAME...]: run the verifier; its words in out.  Safety
# only; states are compressed, not hashed.  What ends soon is not optimised,
# since that takes longer.
search()
{
	local optimise=$1 model=$2 dir

	shift 2
	dir=$(mktemp -d "$WORK/XXXXXX") && cd "$dir" || return
	spin -a "$@" "$models/$model.pml" >out 2>&1 &&
		"$CC" "$optimise" -w -DSAFETY -DCOLLAPSE -o pan pan.c >>out 2>&1 &&
		# shellcheck disable=SC2086 # two words
		./pan $SPACE >out 2>&1
}

holds()
{
	search -O1 "$@" || { cat out; return 1; }
	grep -E 'states, stored|depth reached' out
	grep -q 'errors: 0' out &&
		! grep -E 'max search depth|out of memory|Search not' out
}

# That the proof's own assertion fails, not that the model is no model.
fails()
{
	search -O0 "$@"
	grep -E 'assertion violated|errors:' out || cat out
	grep -q 'assertion violated' out
}

# all_fail MODEL MUTANT...: of each mutant a test point
all_fail()
{
	local model=$1 mutant

	shift
	for mutant; do
		# shellcheck disable=SC2086 # flags after the name
		check "$model: finds ${mutant%% *}" fails "$model" -D$mutant
	done
}

# Every mutant that a model's text has is named here, and none else.
all_named()
{
	local left status=0 name

	left=$(grep -ho '^#ifn\?def [A-Z_]*' "$models"/*.pml |
	       awk '{ print $2 }' | sort -u)
	for name in $left; do
		case $name in CLOSES|SHOOTDOWN) continue;; esac
		sed 's/[()"]\|$/ /g' "$0" | grep -q "[ =]$name " ||
			{ echo "$name is run nowhere"; status=1; }
	done
	return $status
}

slab=(COUNT_FIRST QUEUE_BY_LOOKING UNCLAIM_TELLS_NOBODY NO_GENERATION
      RETIRE_BY_BITS RETIRE_QUEUED KEEP_WHAT_WAS_READ ONE_LOOK
      FORGET_ASIDE "STACK_STAYS_OPEN -DCLOSES"
      "TAKE_OVER_BY_LOOKING -DCLOSES" "SHARE_ASIDE -DCLOSES")
claim=(PUBLISH_FIRST TOUCH_FIRST LAZY_IS_ZERO KEEP_MARKS PART_OF_A_PAGE
       PUSH_FIRST SEEN_LAST UNCLAIM_QUIETLY REFUSED_QUIETLY)
gate=(NO_BARRIER LOOK_FIRST LATE_BUSY NESTED_CLEARS NESTED_CACHES REOPEN_EARLY
      "SWITCH_DRAINS_NOTHING -DSHOOTDOWN")
sleep=(NO_SECOND_LOOK NO_FENCE_ASLEEP NO_FENCE_AWAKE NO_FENCE_LOOK LEVEL_LAST
       WANTED_LAST DRAIN_AFTER)
bin=(STORE_WITHOUT_FENCE LEAVE_LOOKING FORGET_HOLES LOOK_BEFORE HOLES_BEFORE
     HOLES_IF_SET HOLES_UNFENCED)

plan $((8 + ${#slab[@]} + ${#claim[@]} + ${#gate[@]} + ${#sleep[@]} +
	${#bin[@]}))
check "each mutant is run" all_named
check "slab: holds" holds slab
check "slab: holds where the owner ends" holds slab -DCLOSES
check "claim: holds" holds claim
check "gate: holds" holds gate
check "gate: holds with a shootdown" holds gate -DSHOOTDOWN
check "sleep: holds" holds sleep
check "bin: holds" holds bin
all_fail slab "${slab[@]}"
all_fail claim "${claim[@]}"
all_fail gate "${gate[@]}"
all_fail sleep "${sleep[@]}"
all_fail bin "${bin[@]}"
finish
