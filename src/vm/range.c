/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The window of address space and its slab descriptors
 *
 * Without a limit on address space the whole window, tables included, is one
 * reservation.  Under RLIMIT_AS only positions are chosen, in a part of the
 * address space where nothing else goes by itself, and pieces are reserved at
 * them as they are needed, each at most a quarter of what is left.
 */
#include <sys/auxv.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/sys.h"
#include "os/huge.h"
#include "os/map.h"
#include "os/name.h"
#include "vm/range.h"
#include "vm/zone.h"

struct range range;

#define PIECE_MIN	(1 * MIB)	/* committed at once */
#define PIECE_MAX	(64 * MIB)
#define AHEAD		(2 * MIB)	/* kept for handlers, see take_fresh */
#define NAME_FROM	(16 * MIB)	/* in use, before it gets a name */
#define TABLE_STEP	((size_t)64 * KIB)
#define WINDOW_ALIGN	(2 * MIB)
#define RESERVE_MIN	(64 * MIB)
#define PLACE_LOW	((uint64_t)16 << 40)
#define PLACE_MASK	(((uint64_t)32 << 40) - 1)
#define PLACE_TRIES	16

/* How much of each table is committed, in bytes from its start. */
static size_t hot_committed, cold_committed;

static size_t hot_len(size_t span)
{
	return ALIGN_UP((span >> SLAB_SHIFT) * sizeof(struct slab_hot),
			TABLE_STEP);
}

static size_t cold_len(size_t span)
{
	return ALIGN_UP((span >> SLAB_SHIFT) * sizeof(struct slab),
			TABLE_STEP);
}

static size_t tables_len(size_t span)
{
	return ALIGN_UP(cold_len(span) + hot_len(span), WINDOW_ALIGN);
}

static uint64_t random_bits(void)
{
	const uint64_t *seed = (const uint64_t *)getauxval(AT_RANDOM);
	uint64_t bits;

	if (sys_call3(SYS_getrandom, (long)&bits, sizeof(bits),
		      GRND_NONBLOCK) == sizeof(bits))
		return bits;
	return seed ? seed[0] ^ (seed[1] << 7) : (uintptr_t)&bits << 13;
}

static void place_window(char *start, size_t span)
{
	range.base = start + tables_len(span);
	range.slabs = (struct slab *)start;
	range.span = span;
}

/* Invariant: the quarter rule of range.h holds for this first piece, too. */
static int init_pieces(size_t reserve)
{
	size_t first = ALIGN_DOWN(min(map_space_left() / 4, reserve),
				  PIECE_MIN);
	int err = -ENOMEM;

	if (first < 2 * PIECE_MIN)
		first = 2 * PIECE_MIN;
	range.pieces = true;
	for (int i = 0; i < PLACE_TRIES && err; i++) {
		uint64_t at = PLACE_LOW + (random_bits() & PLACE_MASK);

		place_window((char *)ALIGN_DOWN(at, GIB), reserve);
		err = map_reserve_at(range.base, first - PIECE_MIN);
	}
	if (!err)
		range.reserved = first - PIECE_MIN;
	return err;
}

static int init_whole(size_t reserve)
{
	char *start;
	int err = -ENOMEM;

	for (; reserve >= RESERVE_MIN; reserve /= 2) {
		err = map_reserve(tables_len(reserve) + reserve, WINDOW_ALIGN,
				  &start);
		if (!err)
			break;
	}
	if (err)
		return err;
	place_window(start, reserve);
	range.reserved = reserve;
	/* Of tables a little here and there is written. */
	if (huge_folio())
		map_no_huge(start, tables_len(reserve));
	return 0;
}

int range_init(size_t reserve)
{
	range.secret = random_bits() | 1;
	/* In a table that is not written to as a whole, but for this. */
	zone_first->lock = (struct lock)LOCK_INIT(2);
	if (map_space_left() != SIZE_MAX)
		return init_pieces(reserve);
	return init_whole(reserve);
}

/* More of a window that is reserved in pieces. */
static int reserve_piece(char *at, size_t len)
{
	int err = map_reserve_at(at, len);

	if (!err)
		name_renewed(at, len);
	return err;
}

/* Commit [@have, @need) of a table whose byte 0 is at @start (or grows down). */
static int commit_table(char *start, bool down, size_t *have, size_t need)
{
	size_t more;
	char *at;
	int err;

	need = ALIGN_UP(need, TABLE_STEP);
	if (need <= *have)
		return 0;
	more = need - *have;
	at = down ? start - need : start + *have;
	if (range.pieces) {
		err = reserve_piece(at, more);
		if (err)
			return err;
	}
	err = map_commit(at, more);
	if (err) {
		if (range.pieces)
			sys_munmap(at, more);
		return err;
	}
	*have = need;
	range.meta_bytes += more;
	return 0;
}

static int commit_tables(size_t upto)
{
	size_t nr = upto >> SLAB_SHIFT;
	int err;

	err = commit_table(range.base, true, &hot_committed,
			   nr * sizeof(struct slab_hot));
	if (err)
		return err;
	return commit_table((char *)range.slabs, false, &cold_committed,
			    nr * sizeof(struct slab));
}

/* Have [0, @upto) of the window reserved; in pieces of a quarter of the rest. */
static int reserve_upto(size_t upto)
{
	size_t need, piece;
	int err;

	if (upto <= range.reserved)
		return 0;
	if (!range.pieces || upto > range.span)
		return -ENOMEM;
	need = upto - range.reserved;
	piece = ALIGN_DOWN(min(map_space_left() / 4, PIECE_MAX), SLAB_SIZE);
	piece = min(max(piece, need), range.span - range.reserved);
	err = reserve_piece(range.base + range.reserved, piece);
	if (err && piece > need) {
		piece = need;
		err = reserve_piece(range.base + range.reserved, piece);
	}
	if (!err)
		range.reserved += piece;
	return err;
}

/*
 * All of it, tables and what is only reserved included, so that what merges
 * without names does so with them.  Not at once: many processes end before
 * anybody looks.
 */
static void name_window(void)
{
	static bool named;
	char *start = (char *)range.slabs;

	if (!IS_ENABLED(CONFIG_VMA_NAME) || named || range.used < NAME_FROM)
		return;
	named = true;
	if (!range.pieces) {
		name_give(start, (size_t)(range.base - start) + range.reserved);
		return;
	}
	/* Between the pieces may be what is somebody else's. */
	name_give(start, cold_committed);
	name_give(range.base - hot_committed, hot_committed + range.reserved);
}

/* Take at least @need more bytes into use. */
static int grow(size_t need)
{
	size_t piece = ALIGN_UP(range.used / 8, PIECE_MIN);
	size_t upto;
	int err;

	lock_assert_held(&zone_first->lock);
	piece = min(max(piece, PIECE_MIN), PIECE_MAX);
	upto = range.used + max(piece, need);
	if (upto > range.reserved) {
		if (range.used + need > range.reserved) {
			err = reserve_upto(range.used + need);
			if (err)
				return err;
		}
		upto = range.used + need;
	}
	err = commit_tables(upto);
	if (err)
		return err;
	err = map_commit(range.base + range.used, upto - range.used);
	if (err && upto > range.used + need) {
		upto = range.used + need;
		err = map_commit(range.base + range.used, upto - range.used);
	}
	if (err)
		return err;
	/* Pairs with range_take_fresh(): descriptors first, then the bound. */
	store_release(&range.used, upto);
	name_window();
	return 0;
}

/*
 * A signal handler that interrupted the holder of the lock cannot grow: it
 * lives on what is committed, so a little more than is needed always is.
 */
static void keep_ahead(void)
{
	size_t ahead = range.used - load_relaxed(&range.fresh);

	/* Not to be had (RLIMIT_AS): then such a handler gets ENOMEM. */
	if (ahead < AHEAD && grow(AHEAD - ahead))
		return;
}

struct slab *range_take_fresh(size_t nr, bool may_grow)
{
	size_t len = nr << SLAB_SHIFT;
	size_t at = load_relaxed(&range.fresh);

	do {
		/* Pairs with grow(). */
		size_t used = load_acquire(&range.used);

		if (len > range.span - at)
			return NULL;
		if (at + len > used &&
		    (!may_grow || grow(at + len - used)))
			return NULL;
	} while (!cas_relaxed(&range.fresh, &at, at + len));
	if (may_grow)
		keep_ahead();
	return range.slabs + (at >> SLAB_SHIFT);
}
