#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - perl
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs perl

cat >"$WORK/work.pl" <<'END'
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);

my (%hash, @list);
my $seed = 42;
sub draw { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed }
for my $i (1 .. 200000) {
	my $key = draw() % 20000;
	$hash{$key} .= chr(97 + $i % 26) x (draw() % 20);
	delete $hash{draw() % 20000} if $i % 3 == 0;
	push @list, [$i, "x" x ($i % 100), { n => $i }];
	splice @list, draw() % 1000, 500 if @list > 2000;
}
my $text = join ",", map { "$_=$hash{$_}" } sort { $a <=> $b } keys %hash;
$text =~ s/([aeiou]+)/<$1>/g;
my @sorted = sort { length $b->[1] <=> length $a->[1] || $a->[0] <=> $b->[0] }
	@list;
print md5_hex($text . join ",", map { $_->[0] } @sorted), "\n";
open my $maps, "<", "/proc/self/maps" or die;
my $mapped = grep { /\Q$ARGV[0]\E/ } <$maps>;
print $mapped ? "mapped\n" : "not mapped\n";
END

same()
{
	local got

	got=$(preloaded perl "$WORK/work.pl" "$(basename "$EBB_LIB")") ||
		return 1
	echo "without: $expected, with: ${got/$'\n'/ }"
	[ "$got" = "$expected"$'\n'mapped ]
}

plan 2
expected=$(perl "$WORK/work.pl" none | head -1)
check "computes something without the library" test -n "$expected"
check "computes the same on ebbmalloc, which is mapped" same
finish
