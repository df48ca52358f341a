/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Claims of whole pages of a slab
 */

#include "heap/arena.h"
#include "heap/medium.h"
#include "heap/misuse.h"
#include "heap/slab.h"
#include "reclaim/claim.h"

/* The bits of @word that belong to slots on @pages. */
static uint64_t word_mask(const struct sizeclass *sc, unsigned int word,
			  unsigned int pages)
{
	uint64_t mask = 0;

	for (; pages; pages &= pages - 1) {
		unsigned int first, end;

		slab_slots_on_page(sc, bit_lowest(pages), &first, &end);
		if (end <= word * 64 || first >= word * 64 + 64)
			continue;
		first = first > word * 64 ? first - word * 64 : 0;
		end = min(end - word * 64, 64u);
		mask |= bits_range(first, end);
	}
	return mask;
}

/* Words that slots on @pages have bits in: [*@ret_first, *@ret_end). */
static void words_of(const struct sizeclass *sc, unsigned int pages,
		     unsigned int *ret_first, unsigned int *ret_end)
{
	unsigned int first, end, unused;

	slab_slots_on_page(sc, bit_lowest(pages), &first, &unused);
	slab_slots_on_page(sc, bit_highest(pages), &unused, &end);
	*ret_first = first / 64;
	*ret_end = (end + 63) / 64;
}

/* The pages of @pages whose slots are all in @got. */
static unsigned int pages_got(const struct sizeclass *sc, unsigned int pages,
			      const uint64_t *got)
{
	unsigned int whole = 0;

	for (unsigned int left = pages; left; left &= left - 1) {
		unsigned int page = left & -left;
		unsigned int word, end;
		bool all = true;

		words_of(sc, page, &word, &end);
		for (; all && word < end; word++) {
			uint64_t need = word_mask(sc, word, page);

			all = (got[word] & need) == need;
		}
		if (all)
			whole |= page;
	}
	return whole;
}

/* Who freed meanwhile took it for used: a chunk's arena has to hear. */
static void put_back(struct slab *slab, unsigned int word, uint64_t mask)
{
	if (medium_has(slab) && !word)
		arena_put_back(slab, mask);
	else
		slab_unclaim(slab, word, mask);
}

unsigned int claim_pages(const struct slab_life *life, unsigned int pages)
{
	struct slab *slab = life->slab;
	const struct sizeclass *sc = life->sc;
	uint64_t got[SLAB_WORDS] = { 0 };
	unsigned int word, first, end, whole, nr = 0;

	words_of(sc, pages, &first, &end);
	for (word = first; word < end; word++)
		got[word] = slab_claim(slab, word, word_mask(sc, word, pages));
	whole = pages_got(sc, pages, got);
	for (word = first; word < end; word++) {
		uint64_t keep = word_mask(sc, word, whole);

		if (got[word] & ~keep)
			put_back(slab, word, got[word] & ~keep);
		got[word] = keep;
		nr += bits_count(keep);
	}
	if (whole && slab_debit(slab, nr, life->gen)) {
		if (medium_has(slab))
			arena_claimed(slab);
		return whole;
	}
	for (word = first; whole && word < end; word++)
		if (got[word])
			put_back(slab, word, got[word]);
	return 0;
}

void publish_pages(struct slab *slab, unsigned int pages)
{
	const struct sizeclass *sc = &sizeclasses[slab_hot(slab)->class];
	/* Before it is anybody's: then it might become one. */
	bool medium = medium_has(slab);
	unsigned int word, end;

	words_of(sc, pages, &word, &end);
	for (; word < end; word++) {
		uint64_t mask = word_mask(sc, word, pages);
		uint64_t twice = 0;

		if (mask)
			twice = slab_publish(slab, word, mask, PUBLISH_QUIET);
		/* It was free before we claimed it, and was freed again. */
		if (twice)
			misuse_die(MISUSE_DOUBLE_FREE, "free", slab_base(slab) +
				   (word * 64 + bit_lowest(twice)) * sc->size,
				   NULL);
	}
	if (medium)
		arena_settled(slab, pages);
}
