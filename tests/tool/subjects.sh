# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# ebbmalloc tests - Processes for ebbctl to look at; to be sourced after tap.sh
#
#	subject NAME [WORD...]	start one on ebbmalloc, below WORD...
#	tell NAME LINE		have it do what tests/tool/subject.c says
#	seen NAME		wait until it has a control directory
#
# Where $SUBJECT_CONF is set it has those options, too.
#
# ${subject_pid[NAME]} is its number.  Control directories are in $CONTROL, of
# this test alone, where the tool looks first.

ebbctl=$EBB_BUILD/bin/ebbctl
CONTROL=$WORK/control
declare -A subject_pid subject_answers
mkdir -m 700 "$CONTROL"
export EBB_CONTROL_DIR=$CONTROL

subject()
{
	local name=$1

	shift
	mkfifo "$WORK/$name.in"
	# shellcheck disable=SC2154 # of tap.sh
	EBB_CONF=accounts=live,control_dir=$CONTROL,debounce_ms=0${SUBJECT_CONF:+,$SUBJECT_CONF} \
		"${preload[@]}" "$@" "$EBB_BUILD/tests/tool/subject" \
		<"$WORK/$name.in" >"$WORK/$name.out" &
	subject_pid[$name]=$!
	subject_answers[$name]=0
	PROGRAM_PIDS+=($!)
	# Kept open, both ways: else its end would be ours to wait for.
	eval "exec $((20 + ${#subject_pid[@]}))<>\"$WORK/$name.in\""
}

answered()
{
	[ "$(grep -c ok "$WORK/$1.out")" -ge "$2" ]
}

tell()
{
	echo "$2" >"$WORK/$1.in"
	case $2 in
	grow | crash | misuse | exit) return ;;
	esac
	subject_answers[$1]=$((subject_answers[$1] + 1))
	wait_until 60 answered "$1" "${subject_answers[$1]}"
}

# After a second it shows itself when its thread runs, or it needs a slab.
seen_once()
{
	tell "$1" "small 100 1000"
	"$ebbctl" status "${subject_pid[$1]}"
}

seen()
{
	wait_until 30 seen_once "$1"
}

# Of "misuse", the first line of the report
# shellcheck disable=SC2034
misused='read\(0x[0-9a-f]+\): use after free: 10 bytes into the object of 5000 bytes at 0x[0-9a-f]+'

# misuser NAME MODE: a subject in that guard mode, with the log $WORK/NAME.log
misuser()
{
	SUBJECT_CONF=guard=$2,log=$WORK/$1.log subject "$1"
	seen "$1"
}

# reported NAME: the first line of its last report
reported()
{
	sed -nE 's/^ebbmalloc\[[0-9]+\]: ([a-z_]+\(0x)/\1/p' "$WORK/$1.log" |
		tail -n 1
}

# blames NAME WORDS FUNCTION: in its log the stack below WORDS begins there
blames()
{
	grep -E -A 1 "^ebbmalloc\[[0-9]+\]:   $2" "$WORK/$1.log" | tail -n 1 |
		grep -qE "#0 0x[0-9a-f]+ in $3\+0x[0-9a-f]+ \(" && return
	cat "$WORK/$1.log"
	return 1
}

# blames_all NAME: its log says of "misuse" who did what
blames_all()
{
	blames "$1" "use by thread ${subject_pid[$1]} \(subject\)$" \
		misuse_reads &&
		blames "$1" "allocated by thread ${subject_pid[$1]} \(subject\), \
[0-9]+ ms before$" misuse_allocates &&
		blames "$1" "freed by thread ${subject_pid[$1]} \(subject\), \
[0-9]+ ms before$" misuse_frees
}

# fails STATUS COMMAND...: it ends with just that
fails()
{
	local want=$1 status

	shift
	"$@"
	status=$?
	[ $status = "$want" ] && return
	echo "exit status $status, not $want: $*"
	return 1
}

# says PATTERN COMMAND...: a line of its output matches
says()
{
	local pattern=$1 out

	shift
	out=$("$@" 2>&1)
	grep -qE -- "$pattern" <<<"$out" && return
	echo "no \"$pattern\" in:"
	echo "$out"
	return 1
}

# is_json COMMAND...: its output is JSON
is_json()
{
	"$@" >"$WORK/json" && python3 -m json.tool "$WORK/json" /dev/null
}

# json EXPRESSION COMMAND...: what the expression, of j, is true of its output
json()
{
	local expression=$1

	shift
	"$@" >"$WORK/json" || return 1
	python3 - "$expression" "$WORK/json" <<-'END'
		import json, sys
		with open(sys.argv[2]) as file:
		    j = json.load(file)
		if not eval(f"({sys.argv[1]})"):
		    sys.exit(f"{sys.argv[1]} does not hold for {j}")
	END
}
