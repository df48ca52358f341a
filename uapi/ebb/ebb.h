/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The interface beyond malloc
 *
 * For programs that are linked with the library, and for those that look with
 * dlsym(3) whether it was preloaded.  C and C++.
 */
#ifndef EBB_EBB_H
#define EBB_EBB_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* === What the heap is made of ============================================= */

/**
 * struct ebb_heap_counts - What the heap is made of at one moment
 * @live_bytes:		handed to the program, in usable bytes
 * @cached_bytes:	free slots in the caches of threads
 * @dirty_bytes:	pages that are wholly free and backed
 * @lazy_bytes:		pages that are wholly free and advised MADV_FREE
 * @clean_bytes:	pages that are wholly free and not backed
 * @meta_bytes:		what the allocator keeps for itself
 * @locked_bytes:	pages the kernel refused to take at the last try
 * @mapped_bytes:	address space in use
 * @slabs:		slabs of 64 KiB that serve objects of up to 64 KiB
 * @free_blocks:	blocks of 1 KiB in those that no slot in use touches
 * @stranded_blocks:	those of them whose page has a slot in use
 *
 * Slots in caches count as in use for pages and blocks.
 */
struct ebb_heap_counts {
	uint64_t live_bytes;
	uint64_t cached_bytes;
	uint64_t dirty_bytes;
	uint64_t lazy_bytes;
	uint64_t clean_bytes;
	uint64_t meta_bytes;
	uint64_t locked_bytes;
	uint64_t mapped_bytes;
	uint64_t slabs;
	uint64_t free_blocks;
	uint64_t stranded_blocks;
};

/**
 * ebb_heap_count() - Count the heap
 * @ret_counts: where the counts are stored
 *
 * Walks over all slabs without stopping anyone: exact when no other thread
 * allocates meanwhile.  Costs about a microsecond for each slab.
 *
 * Context: any thread.
 * Return: 0, or -1 with errno set and nothing stored.
 * Errors:
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * - %ENOMEM: there is no heap.
 * Since: 0.1
 */
int ebb_heap_count(struct ebb_heap_counts *ret_counts);

/* === Whose memory it is =================================================== */

/* The thread has ended; what it allocated has not been freed yet. */
#define EBB_THREAD_ENDED	1u

/* @allocated and @freed_self are totals: see struct ebb_thread_counts. */
#define EBB_THREAD_TOTALS	2u

/**
 * struct ebb_thread_counts - The account of a thread
 * @size:		bytes of this structure that were filled in
 * @flags:		EBB_THREAD_*
 * @tid:		of the thread; 0: of none, for what no account could be
 *			had for
 * @reserved:		0
 * @name:		of the thread, or empty
 * @live:		bytes that it has allocated and nobody has freed
 * @allocated:		bytes that it has allocated
 * @freed_self:		of them, freed by itself
 * @freed_by_others:	of them, freed by other threads
 * @freed_for_others:	bytes of other threads' that it has freed
 * @cached:		bytes that are free, in its caches
 *
 * All in usable bytes (malloc_usable_size(3)), from the start of the thread.
 * It is always
 *
 *	allocated = live + freed_self + freed_by_others
 *
 * What a thread frees and allocates again out of its own cache counts neither
 * as allocated nor as freed, since nothing is counted there, unless the option
 * accounts is totals: then both are, and %EBB_THREAD_TOTALS is set.  The other
 * figures are exact either way.
 *
 * An object is charged to the thread that allocated it.  realloc(3) is an
 * allocation by its caller if the object moves; what stays in its place keeps
 * its account, whoever changes its size.
 *
 * Later releases may add members at the end.
 */
struct ebb_thread_counts {
	uint32_t size;
	uint32_t flags;
	int32_t tid;
	uint32_t reserved;
	char name[16];
	uint64_t live;
	uint64_t allocated;
	uint64_t freed_self;
	uint64_t freed_by_others;
	uint64_t freed_for_others;
	uint64_t cached;
};

/**
 * ebb_thread_stats() - Read the account of one thread
 * @tid:	as of gettid(2); 0: the calling thread's
 * @ret_stats:	where it is stored
 * @size:	bytes there, sizeof(struct ebb_thread_counts) as the program was
 *		compiled; a library that knows less sets @ret_stats->size so
 *
 * Exact if no thread allocates or frees what is the thread's meanwhile; else it
 * may be off by what was under way.  Nobody is stopped.  Costs some microseconds
 * for each thread that has allocated.
 *
 * A thread that has ended has an account as long as something of it is in use;
 * of several with one @tid the living thread is meant.
 *
 * Context: any thread; not signal handlers.
 * Return: 0, or -1 with errno set.
 * Errors:
 * - %ESRCH: no such thread has allocated.
 * - %EINVAL: @size is less than the first release had.
 * - %EOPNOTSUPP: the option accounts is off, or CONFIG_ACCOUNTS is not set.
 * - %ENOMEM: there is no heap.
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * - %EAGAIN: another thread was stopped while it held a lock that is needed.
 * Since: 0.1
 */
int ebb_thread_stats(int tid, struct ebb_thread_counts *ret_stats, size_t size);

/**
 * ebb_thread_stats_all() - Read the accounts of all threads
 * @ret_rows:	where they are stored, those with most live bytes first
 * @size:	bytes of a row, as for ebb_thread_stats()
 * @max:	rows there is room for; 0: they are only counted
 *
 * Threads that live and have allocated, and those that have ended of whose
 * objects some are in use.
 *
 * Context: any thread; not signal handlers.
 * Return: the number of accounts, which may be more than @max; or -1 with errno
 * set as by ebb_thread_stats().
 * Since: 0.1
 */
int ebb_thread_stats_all(struct ebb_thread_counts *ret_rows, size_t size,
			 unsigned int max);

/**
 * typedef ebb_thread_hook_fn - Called in a thread that has much in use
 * @counts:	its account
 * @arg:	as given to ebb_thread_hook()
 */
typedef void (*ebb_thread_hook_fn)(const struct ebb_thread_counts *counts,
				   void *arg);

/**
 * ebb_thread_hook() - Be told of threads that have much in use
 * @bytes:	live bytes of a thread; 0: remove the hook
 * @fn:		what to call
 * @arg:	passed on to it
 *
 * @fn is called by the thread itself, once when its live bytes have reached
 * @bytes, and again after they have been below half of it.  It is told late by
 * what lies in the thread's cache, and only when that is used up: in a call of
 * malloc(3) or the like that does not come from the cache.
 *
 * @fn runs inside that call, but outside of the allocator: it may allocate and
 * free, and is not called again meanwhile.  The program, or libc, may hold locks
 * around the call: so @fn must not take any that are held where something is
 * allocated, which goes for stdio and the dynamic linker.  It may read accounts,
 * note what it saw, and wake somebody who does more.  It must return; errno is
 * kept.
 *
 * There is one hook; another one replaces it, and a call of the first may still
 * be under way then.  As long as there is one, calls that do not come from a
 * cache take a few nanoseconds longer.
 *
 * Context: any thread.
 * Return: 0, or -1 with errno set.
 * Errors:
 * - %EINVAL: @bytes without @fn.
 * - %EAGAIN: another thread is changing it at this moment.
 * - %EOPNOTSUPP: the option accounts is off, or CONFIG_ACCOUNTS is not set.
 * Since: 0.1
 */
int ebb_thread_hook(uint64_t bytes, ebb_thread_hook_fn fn, void *arg);

/* === Snapshots ============================================================ */

/* Threads did not pause long enough to count it twice with one result. */
#define EBB_STATS_MOVING	1u

/**
 * struct ebb_stats - The heap at one moment, as a sum
 * @version:		EBB_ABI_VERSION of the library (ebb/abi.h)
 * @size:		bytes of this structure that were filled in
 * @flags:		EBB_STATS_*
 * @nr_counters:	of @counters those that mean something
 * @time_ms:		when, milliseconds since 1970
 * @mapped:		address space in use, without the allocator's own
 * @live:		of it, handed to the program, in usable bytes
 * @cached:		of it, free slots in the caches of threads
 * @dirty:		of it, free and backed by memory
 * @lazy:		of it, free, and the kernel may take it when it likes
 * @clean:		of it, free and not backed by memory
 * @stranded:		of @dirty, what is on a page with a slot in use, and the
 *			few bytes at the end of a slab
 * @metadata:		what the allocator keeps for itself
 * @counters:		all counters, by enum ebb_counter of ebb/stat_page.h;
 *			those named above without what is stranded, as in `stat'
 *
 * In every one
 *
 *	mapped = live + cached + dirty + lazy + clean
 *
 * Later releases may add members at the end.
 */
struct ebb_stats {
	uint32_t version;
	uint32_t size;
	uint32_t flags;
	uint32_t nr_counters;
	uint64_t time_ms;
	uint64_t mapped;
	uint64_t live;
	uint64_t cached;
	uint64_t dirty;
	uint64_t lazy;
	uint64_t clean;
	uint64_t stranded;
	uint64_t metadata;
	uint64_t counters[64];
};

/**
 * ebb_stats_snapshot() - Take a snapshot of the heap
 * @ret_stats:	where it is stored
 * @size:	bytes there, sizeof(struct ebb_stats) as the program was compiled;
 *		at least up to @counters
 *
 * Stops no thread.  Live is what is left of the sum, and is counted as well:
 * where both differ, something was under way, and it is done again up to 16
 * times; after that %EBB_STATS_MOVING is set, and @live may be off by what
 * threads took and returned meanwhile.  Costs about a microsecond for each slab
 * of 64 KiB, each time.
 *
 * Context: any thread; not signal handlers.  Waits for a pass of the background
 * thread that is in progress.
 * Return: 0, or -1 with errno set.
 * Errors:
 * - %EINVAL: @size is too small.
 * - %ENOMEM: there is no heap.
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * Since: 0.1
 */
int ebb_stats_snapshot(struct ebb_stats *ret_stats, size_t size);

/**
 * ebb_stats_json() - The same as JSON, with the accounts of threads
 * @buf:	where it is stored, with a final zero byte
 * @size:	bytes there; what does not fit is left out
 *
 * An object with the members of struct ebb_stats, the counters by name, and an
 * array of the 64 accounts with most live bytes.
 *
 * Context: as ebb_stats_snapshot().  Nothing is allocated.
 * Return: the bytes of all of it without the final zero byte, which may be more
 * than @size holds; or -1 with errno set.
 * Errors:
 * - %ENOMEM: there is no heap.
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * Since: 0.1
 */
int ebb_stats_json(char *buf, size_t size);

/* === Reclaim ============================================================== */

/**
 * enum ebb_pressure_level - How much memory is wanted
 * @EBB_PRESSURE_NONE:		none any more
 * @EBB_PRESSURE_MILD:		what has been free for some milliseconds
 * @EBB_PRESSURE_SEVERE:	all that is free, the caches of threads included
 */
enum ebb_pressure_level {
	EBB_PRESSURE_NONE,
	EBB_PRESSURE_MILD,
	EBB_PRESSURE_SEVERE,
};

/**
 * ebb_pressure() - Say that memory is wanted
 * @level: how much
 *
 * Has the background thread give free memory back now, for a reason that the
 * kernel does not know of.  It returns at once; of several calls before the
 * thread looks the greatest level counts, and %EBB_PRESSURE_NONE takes back
 * what it has not looked at yet.  The thread is started if it does not run,
 * or, where that is not possible in this call, by a later one of malloc().
 *
 * Context: any thread.  Once the background thread runs, also signal handlers
 * (starting it calls pthread_create()).
 * Return: 0, or -1 with errno set and nothing done.
 * Errors:
 * - %EINVAL: @level is none of the above.
 * - %EOPNOTSUPP: there is no background thread to be told (reclaim=off), or
 *   the library was built without CONFIG_APP_CALL.
 * - %ENOMEM: there is no heap.
 * - %EAGAIN: the background thread cannot be started; ebb_purge() gives
 *   memory back without it.
 * Since: 0.1
 */
int ebb_pressure(enum ebb_pressure_level level);

/* === Being told of pressure =============================================== */

/* Functions that may be registered at a time. */
#define EBB_PRESSURE_LISTENERS	16

/**
 * typedef ebb_pressure_fn - A function that gives up what the program can spare
 * @arg: what it was registered with
 * @level: how much memory is wanted, at least what it was registered for
 */
typedef void (*ebb_pressure_fn)(void *arg, enum ebb_pressure_level level);

/**
 * ebb_pressure_register() - Be told when memory is wanted
 * @fn: called then
 * @arg: its first argument
 * @level: the least pressure to be told of: MILD or SEVERE
 *
 * A program that keeps memory it could do without, a cache, lets go of it when
 * the allocator sees pressure: the kernel's, that of the service manager, too
 * little headroom below the limit, or ebb_pressure().  What it frees goes back
 * as all free memory does; ebb_purge() at the end of @fn makes that now.
 *
 * @fn is called by a thread of its own, "ebb-pressure", with all signals
 * blocked, without any lock of the allocator, one function after the other.  It
 * may allocate and free, wait, and register and unregister, itself included;
 * it must return.  It is not called again within notify_ms, but for greater
 * pressure; what comes meanwhile is told then.
 *
 * The first registration starts that thread and the background thread.  In the
 * child of a fork registrations hold, and the threads are started when there
 * is pressure, by the child's next call of malloc() or free() that is no fast
 * one.
 *
 * Context: any thread that is not in a signal handler.
 * Return: 0, or -1 with errno set and nothing done.
 * Errors:
 * - %EAGAIN: a thread cannot be started.
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * - %EEXIST: @fn is registered with @arg already.
 * - %EINVAL: @fn is NULL, or @level neither MILD nor SEVERE.
 * - %ENOMEM: there is no heap.
 * - %ENOSPC: there are %EBB_PRESSURE_LISTENERS already.
 * - %EOPNOTSUPP: nobody would see pressure (reclaim=off).
 * Since: 0.1
 */
int ebb_pressure_register(ebb_pressure_fn fn, void *arg,
			  enum ebb_pressure_level level);

/**
 * ebb_pressure_unregister() - Do not be told any more
 * @fn: registered
 * @arg: with this
 *
 * When it returns @fn does not run and is not called with @arg again.  It waits
 * for a call in progress, unless it is called from within that: so it must not
 * be called with a lock that @fn takes.
 *
 * Context: any thread that is not in a signal handler; may wait as long as @fn
 * takes.
 * Return: 0, or -1 with errno set.
 * Errors:
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * - %EINVAL: @fn is NULL.
 * - %ENOENT: it is not registered with @arg.
 * - %ENOMEM: there is no heap.
 * Since: 0.1
 */
int ebb_pressure_unregister(ebb_pressure_fn fn, void *arg);

/* === Giving back ========================================================== */

/**
 * struct ebb_purge_result - What ebb_purge() came to
 * @given_bytes:	given back; where the kernel could not tell, with what
 *			had not been backed
 * @refused_bytes:	the kernel refused to take, since it is locked
 *			(mlock(2), mlockall(2))
 * @left_bytes:		free and backed after it: what was refused, and what
 *			other threads freed meanwhile
 * @cached_bytes:	in the caches of threads after it: of those that were
 *			inside the allocator, or, where the kernel offers no
 *			barrier, of all others
 */
struct ebb_purge_result {
	uint64_t given_bytes;
	uint64_t refused_bytes;
	uint64_t left_bytes;
	uint64_t cached_bytes;
};

/**
 * ebb_purge() - Give all free memory back to the kernel, now
 * @ret_result: what it came to; may be NULL
 *
 * Everything that was freed before the call and can be given back is, the
 * caches of threads included, whatever the options say of ages.  Waits for
 * the pass of the background thread that may be in progress; other threads
 * allocate meanwhile.  It costs what the kernel takes for it.
 *
 * Context: any thread; takes locks that malloc() does not wait for.
 * Return: 0, whether there was anything to give or not; -1 with errno set and
 * nothing done.
 * Errors:
 * - %EDEADLK: in a signal handler that interrupted the allocator.
 * - %ENOMEM: there is no heap.
 * Since: 0.1
 */
int ebb_purge(struct ebb_purge_result *ret_result);
/* === Contexts ============================================================= */

/**
 * struct ebb_context - A place to allocate from that ends all at once
 * @next:	the library's own
 * @end:	the library's own
 *
 * An arena for work of bounded scope, a request for instance: what is allocated
 * from it lies one behind the other, and is freed all together.  It is one
 * thread's at a time, handed on by ebb_context_transfer().
 *
 * Only the library makes, reads and changes one; @next and @end stand here for
 * what ebb_context_alloc() does in line, and more follows them.
 */
struct ebb_context {
	char *next;
	char *end;
};

/* Flag of ebb_context_open(): see there. */
#define EBB_CONTEXT_CHECK	1u

/**
 * ebb_context_open() - Open a context
 * @parent: a context that it is closed with, or NULL
 * @expect: bytes that will be allocated from it, about; 0: not known
 * @flags: 0 or %EBB_CONTEXT_CHECK
 *
 * Its memory comes from the calling thread's caches, and goes back to those of
 * the thread that closes it.  Accounts charge it to the thread that opened it,
 * wherever it is used.  With @parent it is closed when that is closed or reset,
 * and is the same thread's.
 *
 * With %EBB_CONTEXT_CHECK, which holds for what is opened within it, too, or
 * the option context_check=on, the process is stopped with a line that says why
 * when the context is used by a second thread without ebb_context_transfer();
 * when it turns out, at a later call, that an object was written beyond its end,
 * or after it was freed or reset; and when something is freed twice or is of
 * another context.
 *
 * Context: any thread, not signal handlers.
 * Return: the context; NULL with errno set.
 * Errors:
 * - %EINVAL: unknown @flags.
 * - %ENOMEM: no memory.
 * Since: 0.1
 */
struct ebb_context *ebb_context_open(struct ebb_context *parent, size_t expect,
				     unsigned int flags);

/**
 * ebb_context_close() - Close a context
 * @context: the context; NULL: nothing is done
 *
 * Frees all that was allocated from it, closes those that were opened within
 * it, and ends it.  errno is kept.
 *
 * Context: the context's thread.
 * Since: 0.1
 */
void ebb_context_close(struct ebb_context *context);

/**
 * ebb_context_reset() - Free all that was allocated from a context
 * @context: the context
 *
 * As closing and opening it, but for less: it keeps the memory that it began
 * with.  Those that were opened within it are closed.  errno is kept.
 *
 * Context: the context's thread.
 * Since: 0.1
 */
void ebb_context_reset(struct ebb_context *context);

/**
 * ebb_context_transfer() - Hand a context to another thread
 * @context: the context, with all that were opened within it
 *
 * To be called by the thread that has it, before it gives the pointer away: the
 * next thread that uses the context has it from then on.  That the other thread
 * sees what was written here is up to the queue, lock or pipe by which the
 * pointer goes.  The accounts go on charging the thread that opened it.
 *
 * Context: the context's thread.
 * Return: 0, or -1 with errno set and nothing done.
 * Errors:
 * - %EINVAL: @context was opened within another one.
 * Since: 0.1
 */
int ebb_context_transfer(struct ebb_context *context);

/**
 * ebb_context_alloc() - Allocate from a context
 * @context: the context
 * @size: bytes
 *
 * In line, a dozen instructions, where the context's memory has room; programs
 * that define EBB_NO_INLINE call the library instead.
 *
 * Context: the context's thread.
 * Return: memory aligned to 16 bytes, of undefined content, also for 0 bytes;
 * NULL with errno %ENOMEM.
 * Since: 0.1
 */
void *ebb_context_alloc(struct ebb_context *context, size_t size)
	__attribute__((__malloc__, __alloc_size__(2), __warn_unused_result__));

/**
 * ebb_context_alloc_aligned() - Allocate aligned memory from a context
 * @context: the context
 * @align: a power of two
 * @size: bytes
 *
 * Context: the context's thread.
 * Return: memory aligned to @align and 16 bytes; NULL with errno set.
 * Errors:
 * - %EINVAL: @align is not a power of two.
 * - %ENOMEM: no memory.
 * Since: 0.1
 */
void *ebb_context_alloc_aligned(struct ebb_context *context, size_t align,
				size_t size)
	__attribute__((__alloc_size__(3), __warn_unused_result__));

/**
 * ebb_context_calloc() - Allocate an array of zeroes from a context
 * @context: the context
 * @nr: elements
 * @size: bytes of each
 *
 * Context: the context's thread.
 * Return: as ebb_context_alloc(); %ENOMEM also where @nr times @size overflows.
 * Since: 0.1
 */
void *ebb_context_calloc(struct ebb_context *context, size_t nr, size_t size)
	__attribute__((__malloc__, __alloc_size__(2, 3), __warn_unused_result__));

/**
 * ebb_context_realloc() - Change the size of what was allocated from a context
 * @context: the context
 * @ptr: what was allocated; NULL: as ebb_context_alloc()
 * @size: bytes; 0 is a size like any other
 *
 * What was allocated last grows where it is, as long as there is room.  What
 * moves is aligned to 16 bytes, whatever it was before.
 *
 * Context: the context's thread.
 * Return: where it is now; NULL with errno %ENOMEM, and @ptr is as it was.
 * Since: 0.1
 */
void *ebb_context_realloc(struct ebb_context *context, void *ptr, size_t size)
	__attribute__((__alloc_size__(3), __warn_unused_result__));

/**
 * ebb_context_free() - Free what was allocated from a context, early
 * @context: the context
 * @ptr: what was allocated; NULL: nothing is done
 *
 * The memory is used again at once if it was allocated last of what has not
 * been freed like that: so what is freed in reverse order is.  Large objects
 * are freed at once, too.  The rest waits for ebb_context_reset() or
 * ebb_context_close(), which need no free before them.  errno is kept.
 *
 * Context: the context's thread.
 * Since: 0.1
 */
void ebb_context_free(struct ebb_context *context, void *ptr);

/**
 * ebb_context_strdup() - Copy a string into a context
 * @context: the context
 * @text: the string
 *
 * Context: the context's thread.
 * Return: the copy; NULL with errno %ENOMEM.
 * Since: 0.1
 */
char *ebb_context_strdup(struct ebb_context *context, const char *text)
	__attribute__((__malloc__, __warn_unused_result__));

/**
 * ebb_context_strndup() - Copy the begin of a string into a context
 * @context: the context
 * @text: the string
 * @max: bytes of it at most, without the final zero byte
 *
 * Context: the context's thread.
 * Return: the copy, always terminated; NULL with errno %ENOMEM.
 * Since: 0.1
 */
char *ebb_context_strndup(struct ebb_context *context, const char *text,
			  size_t max)
	__attribute__((__malloc__, __warn_unused_result__));

/**
 * ebb_context_printf() - Print into memory from a context
 * @context: the context
 * @format: as for printf(3)
 *
 * Context: the context's thread.
 * Return: the text; NULL with errno set.
 * Errors:
 * - %ENOMEM: no memory.
 * - what vsnprintf(3) fails with.
 * Since: 0.1
 */
char *ebb_context_printf(struct ebb_context *context, const char *format, ...)
	__attribute__((__format__(__printf__, 2, 3), __warn_unused_result__));

/**
 * ebb_context_vprintf() - The same with arguments as a list
 * @context: the context
 * @format: as for printf(3)
 * @args: as for vprintf(3)
 *
 * Context: the context's thread.
 * Return: as ebb_context_printf().
 * Since: 0.1
 */
char *ebb_context_vprintf(struct ebb_context *context, const char *format,
			  va_list args)
	__attribute__((__format__(__printf__, 2, 0), __warn_unused_result__));

#ifndef EBB_NO_INLINE
/*
 * Before each object is a word, its size, so that objects begin at 16 n + 8
 * behind one another.  @size itself counts, too: what is added to it may wrap.
 * Both are compared at once; what only their union does not fit, the library's
 * function does, which is also called where this is not inlined.
 */
extern __inline__ __attribute__((__gnu_inline__))
void *ebb_context_alloc(struct ebb_context *context, size_t size)
{
	extern void *ebb_context_call(struct ebb_context *, size_t)
		__asm__("ebb_context_alloc");
	char *object = context->next;
	size_t room = (size_t)(context->end - object);
	size_t need = ((size + 7) & ~(size_t)15) + 16;

	if (__builtin_expect((size | need) > room, 0))
		return ebb_context_call(context, size);
	context->next = object + need;
	__builtin_memcpy(object, &size, sizeof(size));
	return object + sizeof(size);
}
#endif
/* === Pools ================================================================ */

/* The functions below are new in release 0.1. */

/**
 * enum ebb_pool_flags - Of struct ebb_pool_options, and of ebb_pool_destroy()
 * @EBB_POOL_ZERO:	buffers read as zero when they are taken
 * @EBB_POOL_FORCE:	destroy it although buffers are out, or threads wait
 */
enum ebb_pool_flags {
	EBB_POOL_ZERO = 1,
	EBB_POOL_FORCE = 2,
};

/**
 * enum ebb_pool_leak_level - How closely a pool looks after its buffers
 * @EBB_POOL_LEAK_OFF:		not at all, at no cost
 * @EBB_POOL_LEAK_SAMPLED:	one take in @leak_sample is remembered
 * @EBB_POOL_LEAK_FULL:		each take is; misuse is reported, and refused
 * @EBB_POOL_LEAK_STRICT:	the same, and a leak or a misuse ends the process
 */
enum ebb_pool_leak_level {
	EBB_POOL_LEAK_OFF,
	EBB_POOL_LEAK_SAMPLED,
	EBB_POOL_LEAK_FULL,
	EBB_POOL_LEAK_STRICT,
};

#define EBB_POOL_FOR_EVER	(-1)

/**
 * struct ebb_pool_options - What a pool is like
 * @size:	sizeof(struct ebb_pool_options), set by the caller: so a program
 *		may be older or newer than the library
 * @flags:	0 or %EBB_POOL_ZERO
 * @align:	of each buffer, a power of two; 0: 16
 * @timeout_ms:	where there is too little room: 0, fail at once; milliseconds to
 *		wait; %EBB_POOL_FOR_EVER
 * @leak_level:	enum ebb_pool_leak_level
 * @leak_sample: %EBB_POOL_LEAK_SAMPLED: one take in so many; 0: 64
 * @leak_scan:	%EBB_POOL_LEAK_STRICT: takes between two searches for leaks;
 *		0: 1000
 * @reserved:	0
 * @name:	for reports, up to 23 characters of it; NULL: "pool"
 *
 * What is 0 has its default, so { .size = sizeof(...) } is a good start.
 */
struct ebb_pool_options {
	uint32_t size;
	uint32_t flags;
	uint64_t align;
	int64_t timeout_ms;
	uint32_t leak_level;
	uint32_t leak_sample;
	uint32_t leak_scan;
	uint32_t reserved;
	const char *name;
};

/**
 * struct ebb_pool_counts - What a pool is at
 * @size:	sizeof(struct ebb_pool_counts), set by the caller
 * @nr_waiting:	threads that wait for room
 * @bytes_out:	usable bytes of the buffers that are out
 * @nr_out:	their number
 * @nr_waits:	takes that had to wait, so far
 */
struct ebb_pool_counts {
	uint32_t size;
	uint32_t nr_waiting;
	uint64_t bytes_out;
	uint64_t nr_out;
	uint64_t nr_waits;
};

struct ebb_pool;

/**
 * ebb_pool_create() - Make a pool of buffers
 * @max_bytes:	bytes that may be out at a time; 0: no bound
 * @max_buffer:	bytes of the largest buffer
 * @options:	NULL: the defaults
 *
 * The buffers come from malloc()'s heap when they are taken, so an empty pool
 * takes up no memory, and what was returned is cached and given back as all free
 * memory is.  @max_bytes counts usable bytes: sizes are rounded up as those
 * of malloc() are.
 *
 * Context: any thread, no signal handlers.
 * Return: the pool, or NULL with errno set.
 * Errors:
 * - %EINVAL: @max_buffer is 0, or does not fit into @max_bytes; an option is
 *   none of what it may be.
 * - %E2BIG: @options is larger than the library knows, and not 0 there.
 * - %EOPNOTSUPP: the library was built without CONFIG_LEAK.
 * - %ENOMEM: no memory, or there are 4096 pools.
 * - %EDEADLK: called in a signal handler, above the allocator.
 * Since: 0.1
 */
struct ebb_pool *ebb_pool_create(size_t max_bytes, size_t max_buffer,
				 const struct ebb_pool_options *options);

/**
 * ebb_pool_take() - Take a buffer
 * @pool: where from
 * @size: bytes, 1 to the pool's max_buffer
 *
 * Where the pool has too little room left the call fails, or waits, as the
 * pool's timeout_ms says.  Threads that wait are served in the order they came,
 * whatever they want.
 *
 * Context: any thread.  In a signal handler above a call for the same pool it
 * may fail, and where it would have to wait it does.
 * Return: the buffer, or NULL with errno set.
 * Errors:
 * - %EINVAL: @size is 0 or larger than max_buffer, or @pool was destroyed.
 * - %EAGAIN: there is too little room, and the pool does not wait.
 * - %ETIMEDOUT: there was too little room all the time.
 * - %ECANCELED: the pool was destroyed meanwhile.
 * - %ENOMEM: malloc() has no memory.
 * - %EDEADLK: called in a signal handler, see above.
 * Since: 0.1
 */
void *ebb_pool_take(struct ebb_pool *pool, size_t size);

/**
 * ebb_pool_return() - Return a buffer
 * @pool: where it was taken from
 * @buf:  the buffer, as it was taken
 *
 * Any thread may return it.  Without a leak level a buffer that is not of this
 * pool, or was returned already, is found as far as free() finds it, which ends
 * the process; and what is not found leaves the pool's account wrong.
 *
 * Context: any thread; signal handlers as for ebb_pool_take().
 * Return: 0, or -1 with errno set and the buffer still out.
 * Errors:
 * - %EINVAL: @pool was destroyed, or @buf is NULL.  At %EBB_POOL_LEAK_FULL also: @buf
 *   is not out; a report says what it is.
 * - %EDEADLK: called in a signal handler, see above.
 * Since: 0.1
 */
int ebb_pool_return(struct ebb_pool *pool, void *buf);

/**
 * ebb_pool_destroy() - End a pool
 * @pool:	the pool; no thread may use it from now on
 * @flags:	0 or %EBB_POOL_FORCE
 * @ret_out:	where the number of buffers that are out is stored, also on
 *		%EBUSY; or NULL
 *
 * With %EBB_POOL_FORCE threads that wait for room get %ECANCELED, and buffers
 * that are out become plain memory of malloc(), to be freed with free().
 *
 * Context: any thread, no signal handlers.
 * Return: 0, or -1 with errno set and the pool as it was.
 * Errors:
 * - %EBUSY: buffers are out, or threads wait, and %EBB_POOL_FORCE is not given.
 * - %EINVAL: @pool was destroyed, or @flags are others.
 * - %EDEADLK: called in a signal handler, above the allocator.
 * Since: 0.1
 */
int ebb_pool_destroy(struct ebb_pool *pool, unsigned int flags,
		     uint64_t *ret_out);

/**
 * ebb_pool_count() - What a pool is at
 * @pool:	the pool
 * @ret_counts:	where it is stored; its @size says how much of it
 *
 * Exact where no other thread takes or returns meanwhile.
 *
 * Context: any thread, no signal handlers.
 * Return: 0, or -1 with errno set.
 * Errors:
 * - %EINVAL: @pool was destroyed, or @size is less than that of release 0.1.
 * - %EAGAIN: some thread is stopped where it cannot be counted; try again.
 * - %EDEADLK: called in a signal handler, above the allocator.
 * Since: 0.1
 */
int ebb_pool_count(struct ebb_pool *pool, struct ebb_pool_counts *ret_counts);

/**
 * ebb_pool_touch() - Remember who has a buffer
 * @pool: a pool with a leak level
 * @buf:  a buffer of its that is out
 *
 * Reports about the buffer then also have the stack and thread of this call, the
 * last one if there are several.
 *
 * Context: any thread, no signal handlers.
 * Return: 0, or -1 with errno set.
 * Errors:
 * - %EINVAL: @pool was destroyed, or has no leak level.
 * - %ENOENT: @buf is not known to be out; with %EBB_POOL_LEAK_SAMPLED most are not.
 * - %EDEADLK: called in a signal handler, above the allocator.
 * Since: 0.1
 */
int ebb_pool_touch(struct ebb_pool *pool, void *buf);

/**
 * struct ebb_pool_leak - A buffer that nothing refers to
 * @size:	sizeof(struct ebb_pool_leak) of the library
 * @tid:	thread that took it
 * @buf:	the buffer
 * @bytes:	as asked for
 * @age_ms:	since when it is out
 * @pool:	name of its pool
 * @taken:	call stack that took it: return addresses, the innermost first
 * @touched:	that of the last ebb_pool_touch()
 * @nr_taken:	number of @taken
 * @nr_touched:	number of @touched; 0: there was none
 *
 * What it points to is valid during the call it is passed to.
 */
struct ebb_pool_leak {
	uint32_t size;
	int32_t tid;
	const void *buf;
	uint64_t bytes;
	uint64_t age_ms;
	const char *pool;
	const uintptr_t *taken;
	const uintptr_t *touched;
	uint32_t nr_taken;
	uint32_t nr_touched;
};

/**
 * ebb_pool_leaks() - Find leaked buffers
 * @pool: where from, with a leak level; NULL: all that have one
 * @fn:   called with each; NULL: it is reported on standard error
 * @arg:  passed on to @fn
 *
 * A buffer has leaked when it is out and nothing refers to it: no word in what
 * the program can write to (globals, stacks, registers, the heap, other
 * mappings) is an address in it, but for such in other leaked buffers.  All
 * other threads are stopped meanwhile, by a signal that is glibc's own; calls
 * that are not restarted after signals return EINTR.  It takes about as long as
 * reading all that memory.
 *
 * Context: any thread, no signal handlers; @fn may call anything.
 * Return: how many there are, or -1 with errno set.
 * Errors:
 * - %EINVAL: @pool was destroyed, or has no leak level.
 * - %EAGAIN: a thread did not stop within two seconds.
 * - %EDEADLK: called in a signal handler, above the allocator.
 * - what opening /proc/self/maps or /proc/self/pagemap said.
 * Since: 0.1
 */
int ebb_pool_leaks(struct ebb_pool *pool,
		   void (*fn)(const struct ebb_pool_leak *leak, void *arg),
		   void *arg);

#ifdef __cplusplus
}
#endif

#endif
