#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - git: the same hashes, and a sound repository
#
# shellcheck source=tests/tap.sh disable=SC2317,SC2086
. "$(dirname "$0")/../tap.sh"

needs git
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=c
export GIT_COMMITTER_EMAIL=c@d GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_DATE='1700000000 +0000'
git='git -c init.defaultBranch=main -c gc.auto=0 -c pack.threads=2'

# history DIR RUNNER: twenty commits of files that change
history()
{
	local dir=$1 run=$2 i

	mkdir "$dir" && cd "$dir" || return 1
	$run $git init -q . || return 1
	for i in $(seq 20); do
		mkdir -p "d$((i % 4))"
		seq $((i * 100)) $((i * 400)) >"d$((i % 4))/f$((i % 7))"
		seq -f "line %g of $i" 2000 >common
		$run $git add . && $run $git commit -q -m "commit $i" ||
			return 1
	done
	$run $git branch other HEAD~7
	$run $git checkout -q other
	echo "other" >other && $run $git add . &&
		$run $git commit -q -m other &&
		$run $git checkout -q main &&
		$run $git merge -q -m merge other
}

commits()
{
	git -C "$1" log --all --format='%H %T' | sort
}

same_commits()
{
	commits "$WORK/with" | tail -1
	[ "$(commits "$WORK/with")" = "$(commits "$WORK/without")" ]
}

same_text()
{
	(cd "$WORK/with" && preloaded $git log -p --stat --all) |
		cmp - <(cd "$WORK/without" && $git log -p --stat --all)
}

plan 6
check "makes a history without the library" history "$WORK/without" ""
check "makes a history on ebbmalloc" history "$WORK/with" preloaded
check "makes the same commits" same_commits
check "shows the same differences" same_text
check "packs, with the library loaded" loaded git -C "$WORK/with" gc -q \
	--aggressive
check "finds the repository sound" preloaded git -C "$WORK/with" fsck --full \
	--strict
finish
