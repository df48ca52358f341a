/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reclaim policy
 */
#ifndef EBB_RECLAIM_POLICY_H
#define EBB_RECLAIM_POLICY_H

#include "base/compiler.h"
#include "reclaim/purge.h"
#include "reclaim/source.h"

/* The options behind a decision, as bytes and milliseconds of this moment. */
struct policy_conf {
	int64_t decay_ms;	/* -1: never */
	int64_t lazy_ms;
	uint32_t over_part;	/* of decay_ms: the clean age when over */
	uint32_t young_ms;	/* spared though over, if headroom is plentiful */
	uint32_t drop_ms;	/* clean age at most, after a drop */
	uint32_t mild_ms;	/* the same, where memory is wanted */
	uint32_t tick_min_ms;	/* between two passes, at least */
	uint32_t tick_max_ms;	/* between two looks, at most */
	uint64_t tight;		/* headroom at which ages begin to shrink */
	uint64_t soft;		/* headroom at which they are least */
	uint64_t low;		/* headroom below which everything goes */
	uint64_t drop;		/* dirty bytes that make a drop */
	uint64_t dirty_min;	/* dirty bytes not worth a hurry */
	uint64_t dirty_max;	/* dirty bytes to give back at once; 0: none */
	uint64_t refault;	/* bytes a second retaken that are too many */
	uint32_t refault_max;	/* ages are raised this many times, at most */
};

/* What policy remembers from one decision to the next; all zero at first. */
struct policy_state {
	bool known;			/* a pass has run, so live is known */
	bool aging;			/* something free will be old enough */
	bool over;			/* it was run because of dirty_max */
	bool low_answered;		/* forced since headroom became low */
	enum pressure pending;		/* seen, and not yet answered */
	bool asked;			/* it is pending for who waits */
	uint32_t nr_empty;		/* passes in a row that found nothing */
	uint32_t forced_gap_ms;		/* until the next forced pass */
	uint64_t forced_after_ms;	/* none before this */
	uint64_t last_pass_ms;
	uint64_t dirty_left;		/* by that pass */
	uint64_t locked;		/* the kernel did not take; it may be all
					 * that there is */
	uint32_t raised;		/* ages are times this; 0 is 1 */
	uint64_t refault_ms;		/* when the window of retaken began */
	uint64_t refault_bytes;		/* retaken then */
	uint32_t nr_vain;		/* passes in a row whose yield was retaken */
	uint64_t vain_given;		/* by the last passes, older ones less */
	uint64_t vain_retaken;		/* the same, retaken */
	uint64_t pass_retaken;		/* all that was, at the last pass */
	uint64_t pass_headroom;		/* at the last pass */
};

struct policy_input {
	uint64_t now_ms;
	uint64_t limit;			/* CGROUP_NO_LIMIT: none known */
	uint64_t headroom;		/* below @limit */
	bool protected;			/* lazily freed memory is no net here */
	enum pressure pressure;		/* events since the last decision */
	bool asked;			/* one of them for somebody who waits */
	bool listened;			/* the program wants to be told */
	bool woken;			/* somebody freed memory since, or keeps
					 * more of it in caches */
	uint64_t dirty;			/* free and backed */
	uint64_t retaken;		/* given back and taken again, so far */
	struct policy_conf conf;
	struct policy_state state;
};

struct policy_decision {
	bool run;			/* a pass with @order, now */
	bool over;			/* because of dirty_max */
	enum pressure seen;		/* there is now; answered or not */
	struct purge_order order;
	uint32_t tick_ms;		/* else look again after this; 0: when
					 * woken */
	uint64_t wake_dirty;		/* and before that, above this much
					 * dirty memory; 0: at any free */
	struct policy_state state;
};

/* Pure: no clock, no counters, nothing remembered but in @state. */
struct policy_decision policy_decide(const struct policy_input *in);

/* The state after the pass that @decision asked for ended at @now_ms. */
struct policy_state policy_note(const struct policy_decision *decision,
				const struct policy_conf *conf,
				const struct purge_result *result,
				uint64_t now_ms);

#endif
