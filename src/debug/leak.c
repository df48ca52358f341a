/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Leak levels of pools: who has which buffer
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "debug/leak.h"
#include "ebb/ebb.h"
#include "heap/large.h"
#include "os/map.h"

#define COMMIT_STEP	MIB
#define POISON		0xd5
#define POISON_MOST	(4 * KIB)	/* of a buffer, from its start */
#define KEPT_BYTES_MOST	(256 * KIB)	/* larger ones are not kept */
#define PAST_MOST	1024u
#define DETAIL_LEN	80u

_Static_assert(sizeof(struct leak_record) == 336, "as the header says");

struct lock leak_lock = LOCK_INIT(4);

__startup_data struct leak_area *leak_area;
uint32_t leak_nr_records;
struct leak_exit leak_exits[LEAK_EXITS];

/* All under leak_lock. */
static size_t committed;		/* bytes of *leak_area */
static uint32_t free_records;		/* linked by next */
static uint32_t past[PAST_MOST];	/* records; a ring */
static uint32_t past_at;
static uint32_t last_turn;		/* even */

static uint32_t next_exit;		/* atomic */
static bool lock_taken;			/* the one who forks */

static __thread uintptr_t exit_mark __attribute__((tls_model("initial-exec")));

/* === The table ============================================================ */

/* Have the area be usable up to @len. */
static bool commit_upto(size_t len)
{
	size_t want = ALIGN_UP(len, COMMIT_STEP) - committed;

	if (len <= committed)
		return true;
	if (map_commit((char *)leak_area + committed, want))
		return false;
	committed += want;
	return true;
}

int leak_init(void)
{
	size_t len = ALIGN_UP(sizeof(*leak_area), COMMIT_STEP);
	char *at;
	int err = 0;

	lock_take(&leak_lock);
	if (!leak_area) {
		err = map_reserve(len, map_page_size, &at);
		if (!err)
			err = map_commit(at, COMMIT_STEP);
		if (!err) {
			committed = COMMIT_STEP;
			map_note_private(at, len);
			map_note_private(&leak_exits, sizeof(leak_exits));
			large_note_private();
			/* Pairs with leak_note_exit(). */
			store_release(&leak_area, (struct leak_area *)at);
		}
	}
	lock_release(&leak_lock);
	return err;
}

static uint32_t *head_of(const void *buf)
{
	uint64_t hash = ((uintptr_t)buf >> 4) * 0x9e3779b97f4a7c15ULL;

	return &leak_area->heads[hash >> 48];
}

struct leak_record *leak_lookup(const void *buf)
{
	for (uint32_t at = *head_of(buf); at; at = leak_area->records[at].next)
		if (leak_area->records[at].buf == buf)
			return &leak_area->records[at];
	return NULL;
}

static uint32_t index_of(const struct leak_record *record)
{
	return (uint32_t)(record - leak_area->records);
}

static void forget(struct leak_record *record)
{
	uint32_t *at = head_of(record->buf), index = index_of(record);

	while (*at != index)
		at = &leak_area->records[*at].next;
	*at = record->next;
	record->state = RECORD_FREE;
	record->buf = NULL;
	record->next = free_records;
	free_records = index;
}

static struct leak_record *new_record(void *buf)
{
	uint32_t index = free_records, *head = head_of(buf);
	struct leak_record *record;

	if (index) {
		free_records = leak_area->records[index].next;
	} else {
		index = leak_nr_records + 1;
		if (index >= LEAK_RECORDS_MAX ||
		    !commit_upto((size_t)((char *)&leak_area->records[index + 1]
					  - (char *)leak_area)))
			return NULL;
		leak_nr_records = index;
	}
	record = &leak_area->records[index];
	record->buf = buf;
	record->next = *head;
	*head = index;
	return record;
}

/* === Reports ============================================================== */

/* @pool's name may be gone with it; then it is said that it is. */
static const char *name_of(uint64_t key)
{
	struct ebb_pool *pool = pool_at(key & (POOL_PLACES - 1));

	return pool && pool->key == key ? pool->wish.name : "(destroyed)";
}

/* An error with what is known of the record, if there is one; then the end. */
static void tell(struct ebb_pool *pool, struct report *report,
		 const struct leak_record *record)
{
	char detail[DETAIL_LEN];

	if (record) {
		report->object = (uintptr_t)record->buf;
		report->size = record->size;
		report->alloc = record->take;
		if (record->state != RECORD_OUT)
			report->free = record->last;
		fmt_line(detail, sizeof(detail), "taken from pool %s",
			 name_of(record->key));
	} else {
		fmt_line(detail, sizeof(detail),
			 "taken from no pool that remembers it");
	}
	report->detail = detail;
	if (pool->wish.level == EBB_POOL_LEAK_STRICT)
		report_die(report);
	(void)report_tell(report);
}

static void tell_return(struct ebb_pool *pool, enum report_kind kind, void *buf,
			const struct stack_frame *frame)
{
	const struct leak_record *record = leak_lookup(buf);
	struct report report = {
		.kind = kind, .call = "ebb_pool_return",
		.ptr = (uintptr_t)buf, .addr = (uintptr_t)buf,
	};

	report_here(&report.use, frame);
	tell(pool, &report, record);
}

/* === What was returned ==================================================== */

static size_t poisoned(const struct leak_record *record)
{
	return min(record->bytes, POISON_MOST);
}

/* Whether somebody has written to it since it was returned. */
static void check_kept(struct ebb_pool *pool, struct leak_record *record)
{
	const unsigned char *bytes = record->buf;
	size_t len = poisoned(record), at = 0;
	struct report report = {
		.kind = REPORT_USE_AFTER_RETURN, .call = "write",
	};

	if (bytes[0] == POISON && !memcmp(bytes, bytes + 1, len - 1))
		return;
	while (bytes[at] == POISON)
		at++;
	report.ptr = report.addr = (uintptr_t)(bytes + at);
	tell(pool, &report, record);
	/* It is not said again. */
	memset(record->buf, POISON, len);
}

static void check_all_kept(struct ebb_pool *pool)
{
	for (unsigned int i = 0; i < POOL_KEPT; i++)
		if (pool->kept[i])
			check_kept(pool, &leak_area->records[pool->kept[i]]);
}

/* It is freed by the caller; known for a while. */
static void *make_past(struct ebb_pool *pool, struct leak_record *record)
{
	struct leak_record *oldest = &leak_area->records[past[past_at]];

	check_kept(pool, record);
	if (past[past_at] && oldest->state == RECORD_PAST)
		forget(oldest);
	record->state = RECORD_PAST;
	past[past_at] = index_of(record);
	past_at = (past_at + 1) % PAST_MOST;
	return record->buf;
}

/* Returns what has to make room. */
static void *keep(struct ebb_pool *pool, struct leak_record *record)
{
	uint32_t *place = &pool->kept[pool->kept_at];
	void *evicted = NULL;

	record->state = RECORD_KEPT;
	memset(record->buf, POISON, poisoned(record));
	if (*place)
		evicted = make_past(pool, &leak_area->records[*place]);
	*place = index_of(record);
	pool->kept_at = (pool->kept_at + 1) % POOL_KEPT;
	return evicted;
}

/* === Taking and returning ================================================= */

static bool is_sampled(struct ebb_pool *pool)
{
	return pool->wish.level != EBB_POOL_LEAK_SAMPLED ||
	       load_relaxed(&pool->nr_takes) % pool->wish.sample == 0;
}

/* Of an earlier life of the address, which a plain free() has ended. */
static void forget_stale(struct leak_record *record)
{
	struct ebb_pool *pool = pool_at(record->key & (POOL_PLACES - 1));

	for (unsigned int i = 0; i < POOL_KEPT; i++)
		if (pool->kept[i] == index_of(record))
			pool->kept[i] = 0;
	forget(record);
}

void leak_take(struct ebb_pool *pool, void *buf, size_t size, size_t bytes,
	       const struct stack_frame *frame)
{
	struct report_event take = { 0 };
	struct leak_record *record;
	bool wanted = is_sampled(pool);

	if (wanted) {
		report_here(&take, frame);
		take.ms = clock_ms();
	}
	lock_take(&leak_lock);
	check_all_kept(pool);
	record = leak_lookup(buf);
	if (record)
		forget_stale(record);
	record = wanted ? new_record(buf) : NULL;
	if (record) {
		record->key = pool->key;
		record->size = size;
		record->bytes = bytes;
		record->seen = 0;
		record->take = take;
		record->last.tid = 0;
		record->state = RECORD_OUT;
	} else if (wanted) {
		pool->nr_unknown++;
	}
	store_relaxed(&pool->nr_takes, pool->nr_takes + 1);
	lock_release(&leak_lock);
}

/* Of what is not OUT of this pool: whether that is an error. */
static enum leak_verdict judge(struct ebb_pool *pool,
			       const struct leak_record *record, void *buf,
			       const struct stack_frame *frame)
{
	bool sampled = pool->wish.level == EBB_POOL_LEAK_SAMPLED;

	if (record && record->state == RECORD_OUT)
		tell_return(pool, REPORT_FOREIGN_RETURN, buf, frame);
	else if (record && (record->state == RECORD_KEPT || !sampled))
		tell_return(pool, record->key == pool->key ?
				  REPORT_DOUBLE_RETURN : REPORT_FOREIGN_RETURN,
			    buf, frame);
	else if (sampled || pool->nr_unknown)
		return LEAK_FREE;
	else
		tell_return(pool, REPORT_FOREIGN_RETURN, buf, frame);
	return LEAK_REFUSED;
}

static bool is_to_be_kept(const struct ebb_pool *pool,
			  const struct leak_record *record)
{
	return pool->wish.level != EBB_POOL_LEAK_SAMPLED &&
	       record->bytes <= KEPT_BYTES_MOST;
}

enum leak_verdict leak_return(struct ebb_pool *pool, void *buf,
			      const struct stack_frame *frame,
			      struct leak_return *ret)
{
	enum leak_verdict verdict = LEAK_FREE;
	struct leak_record *record;

	*ret = (struct leak_return){ 0 };
	lock_take(&leak_lock);
	record = leak_lookup(buf);
	if (!record || record->state != RECORD_OUT ||
	    record->key != pool->key) {
		verdict = judge(pool, record, buf, frame);
	} else if (is_to_be_kept(pool, record)) {
		report_here(&record->last, frame);
		record->last.ms = clock_ms();
		ret->bytes = record->bytes;
		ret->evicted = keep(pool, record);
		verdict = LEAK_KEPT;
	} else {
		ret->bytes = record->bytes;
		forget(record);
	}
	lock_release(&leak_lock);
	return verdict;
}

int leak_touch(struct ebb_pool *pool, void *buf,
	       const struct stack_frame *frame)
{
	struct report_event touch;
	struct leak_record *record;
	int err = -ENOENT;

	report_here(&touch, frame);
	touch.ms = clock_ms();
	lock_take(&leak_lock);
	record = leak_lookup(buf);
	if (record && record->state == RECORD_OUT && record->key == pool->key) {
		record->last = touch;
		err = 0;
	}
	lock_release(&leak_lock);
	return err;
}

void leak_forget(uint64_t key, void (*fn)(void *buf))
{
	for (uint32_t i = 1; i <= load_relaxed(&leak_nr_records); i++) {
		struct leak_record *record = &leak_area->records[i];
		void *kept = NULL;

		lock_take(&leak_lock);
		if (record->state != RECORD_FREE && record->key == key) {
			if (record->state == RECORD_KEPT)
				kept = record->buf;
			forget(record);
		}
		lock_release(&leak_lock);
		if (kept)
			fn(kept);
	}
}

bool leak_is_due(struct ebb_pool *pool)
{
	bool due;

	if (pool->wish.level != EBB_POOL_LEAK_STRICT)
		return false;
	lock_take(&leak_lock);
	due = !pool->next_scan--;
	if (due)
		pool->next_scan = pool->wish.leak_scan - 1;
	lock_release(&leak_lock);
	return due;
}

/* === Searches ============================================================= */

/* The first leak after record @from that the search @turn did not reach. */
static bool next_leak(uint64_t key, uint32_t turn, uint32_t *from,
		      struct leak_found *found)
{
	uint64_t now_ms = clock_ms();

	for (uint32_t i = *from + 1; i <= leak_nr_records; i++) {
		const struct leak_record *record = &leak_area->records[i];

		/* What was taken since has another turn. */
		if (record->state != RECORD_OUT || record->seen != turn - 1 ||
		    (key && record->key != key))
			continue;
		*from = i;
		*found = (struct leak_found){
			.buf = record->buf,
			.size = record->size,
			.age_ms = now_ms - record->take.ms,
			.take = record->take,
			.touch = record->last,
		};
		fmt_line(found->pool, POOL_NAME_MAX, "%s",
			 name_of(record->key));
		return true;
	}
	return false;
}

/* What is not reached keeps the turn before; see next_leak(). */
static int search(uint32_t turn, uintptr_t stack)
{
	for (uint32_t i = 1; i <= leak_nr_records; i++)
		if (leak_area->records[i].state == RECORD_OUT)
			leak_area->records[i].seen = turn - 1;
	return leak_scan(turn, stack);
}

long leak_find(uint64_t key, uintptr_t stack,
	       void (*fn)(const struct leak_found *found, void *arg), void *arg)
{
	struct leak_found found;
	uint32_t turn, from = 0;
	long nr = 0;
	bool more;
	int err;

	lock_take(&leak_lock);
	last_turn += 2;
	turn = last_turn;
	err = search(turn, stack);
	lock_release(&leak_lock);
	if (err)
		return err;
	for (;;) {
		lock_take(&leak_lock);
		more = last_turn == turn &&
		       next_leak(key, turn, &from, &found);
		lock_release(&leak_lock);
		if (!more)
			return nr;
		fn(&found, arg);
		nr++;
	}
}

void leak_tell(const struct leak_found *found, const char *call)
{
	char detail[DETAIL_LEN];
	struct report report = {
		.kind = REPORT_LEAK,
		.call = call,
		.ptr = (uintptr_t)found->buf,
		.addr = (uintptr_t)found->buf,
		.object = (uintptr_t)found->buf,
		.size = found->size,
		.alloc = found->take,
		.touch = found->touch,
		.detail = detail,
	};

	fmt_line(detail, sizeof(detail), "taken from pool %s, %llu ms old",
		 found->pool, (unsigned long long)found->age_ms);
	(void)report_tell(&report);
}

/* === Threads and forks ==================================================== */

/* On x86-64 all thread variables lie below the thread pointer. */
static uintptr_t end_of_own_block(void)
{
#if defined(__x86_64__)
	uintptr_t pointer;

	__asm__("movq %%fs:0, %0" : "=r"(pointer));
	return pointer;
#else
	return (uintptr_t)&exit_mark;
#endif
}

void leak_note_exit(void)
{
	uint32_t nth;

	/* Pairs with leak_init(). */
	if (!load_acquire(&leak_area))
		return;
	nth = add_relaxed(&next_exit, 1) % LEAK_EXITS;
	exit_mark = leak_exit_mark(&exit_mark);
	store_relaxed(&leak_exits[nth].end, end_of_own_block());
	store_relaxed(&leak_exits[nth].mark, (uintptr_t)&exit_mark);
}

void leak_prefork(bool may_wait)
{
	lock_taken = lock_take_for_fork(&leak_lock, may_wait);
}

void leak_postfork(void)
{
	if (lock_taken)
		lock_release(&leak_lock);
	lock_taken = false;
}

void leak_postfork_child(void)
{
	/* Of who is not here. */
	if (!lock_taken && !lock_is_mine(&leak_lock))
		lock_reset(&leak_lock);
	leak_postfork();
}
