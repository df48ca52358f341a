/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Call stacks of samples
 */
#include <execinfo.h>
#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>
#include <time.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/extent.h"
#include "base/sys.h"
#include "debug/stack.h"
#include "heap/heap.h"
#include "os/map.h"

#define FRAME_DISTANCE_MAX	MIB	/* from one frame to the next */
#define STACK_LEN_MAX		(64 * MIB)	/* others are not known */
#define OWN_FRAMES		12u	/* of ours, above the one wanted */

/* Weak: where it is missing a profile has less, and nothing fails. */
extern int backtrace(void **, int) __attribute__((weak));

static bool unwinding;		/* set once, at start */

/* Where libgcc's code is; it must not be entered again from inside. */
static struct extent libgcc;

/*
 * glibc's, since 2.35: which object an address belongs to, without locks.  Found
 * by name, or the library would not load with an older one.
 */
#ifdef DLFO_STRUCT_HAS_EH_DBASE
static __typeof__(_dl_find_object) *find_object;	/* set once, at start */
#endif

static bool is_code(uintptr_t pc)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
	struct dl_find_object found;

	if (find_object)
		return !find_object((void *)pc, &found);
#endif
	return pc >= map_page_size;
}

/*
 * Whether the page can be read, by a call that every filter allows: the kernel
 * compares a word with 0, and does not wait.
 */
static bool is_readable(uintptr_t page)
{
	static const struct timespec at_once;

	return sys_futex_wait((const uint32_t *)page, 0, &at_once) != -EFAULT;
}

/*
 * Where the stack ends that @frame lies on, as far as is known: below the
 * thread block, which glibc puts on top of a thread's stack, or below what the
 * kernel put on top of the first thread's.  0: it is neither of them.
 */
static uintptr_t end_of_stack(uintptr_t frame)
{
	uintptr_t block = (uintptr_t)&thread;
	uintptr_t first = getauxval(AT_RANDOM);

	if (block - frame < STACK_LEN_MAX)
		return block;
	return first - frame < STACK_LEN_MAX ? first : 0;
}

static bool is_next(uintptr_t frame, uintptr_t next)
{
	return next > frame && next - frame <= FRAME_DISTANCE_MAX &&
	       !(next & (sizeof(next) - 1));
}

/* Plainly read: the pages were tried, and nobody unmaps a stack in use. */
static __guesses __attribute__((no_sanitize("address")))
struct stack_frame read_frame(uintptr_t at)
{
	return *(const struct stack_frame *)at;
}

/* From where @frame returned to, on; it is in @pcs already. */
static unsigned int walk(struct stack_frame frame, uintptr_t at,
			 uintptr_t *pcs, unsigned int most)
{
	uintptr_t end = end_of_stack(at);
	uintptr_t readable = ALIGN_DOWN(at, map_page_size);
	unsigned int nr = 1;

	while (nr < most && is_next(at, (uintptr_t)frame.next) &&
	       (uintptr_t)frame.next + sizeof(frame) <= end) {
		uintptr_t last;

		at = (uintptr_t)frame.next;
		last = ALIGN_DOWN(at + sizeof(frame) - 1, map_page_size);
		if (ALIGN_DOWN(at, map_page_size) != readable &&
		    !is_readable(ALIGN_DOWN(at, map_page_size)))
			break;
		if (last != readable && !is_readable(last))
			break;
		readable = last;
		frame = read_frame(at);
		if (!is_code(stack_pc(&frame)))
			break;
		pcs[nr++] = stack_pc(&frame);
	}
	return nr;
}

unsigned int stack_unwind(uintptr_t pc, uintptr_t *pcs, unsigned int most)
{
	void *all[STACK_MAX + OWN_FRAMES];
	unsigned int found = 0;
	int nr;

	/* What it allocates itself, and handlers above it, do without. */
	if (!unwinding || thread.unwinding || extent_has(&libgcc, pc))
		return 0;
	thread.unwinding = true;
	nr = backtrace(all, (int)(most + OWN_FRAMES));
	thread.unwinding = false;

	for (int i = 0; i < nr && found < most; i++)
		if (found || (uintptr_t)all[i] == pc)
			pcs[found++] = (uintptr_t)all[i];
	return found;
}

unsigned int stack_take_top(const struct stack_frame *frame, uintptr_t *pcs,
			    unsigned int most)
{
	unsigned int nr;

	pcs[0] = stack_pc(frame);
	nr = stack_unwind(pcs[0], pcs, most);
	return nr ? nr : walk(*frame, (uintptr_t)frame, pcs, most);
}

unsigned int stack_take(const struct stack_frame *frame, uintptr_t *pcs)
{
	return stack_take_top(frame, pcs, STACK_MAX);
}

unsigned int stack_take_at(uintptr_t pc, uintptr_t sp, uintptr_t fp,
			   uintptr_t *pcs)
{
	struct stack_frame frame = { .next = (const struct stack_frame *)fp };
	unsigned int nr;

	pcs[0] = pc;
	nr = stack_unwind(pc, pcs, STACK_MAX);
	if (nr || !is_readable(ALIGN_DOWN(sp, map_page_size)))
		return max(nr, 1u);
	return walk(frame, sp, pcs, STACK_MAX);
}

/* dl_iterate_phdr callback: the object that has libgcc's name. */
static int find_libgcc(struct dl_phdr_info *info, size_t size, void *unused)
{
	static const char name[] = "/libgcc_s.so";

	(void)size;
	(void)unused;
	for (const char *at = info->dlpi_name; *at; at++) {
		size_t i = 0;

		while (name[i] && at[i] == name[i])
			i++;
		if (name[i])
			continue;
		libgcc = extent_of(info);
		return 1;
	}
	return 0;
}

void stack_init(bool want_unwind)
{
	void *first[2];

#ifdef DLFO_STRUCT_HAS_EH_DBASE
	find_object = (__typeof__(_dl_find_object) *)
		      dlsym(RTLD_DEFAULT, "_dl_find_object");
#endif
	if (!want_unwind || !backtrace)
		return;
	/* This loads libgcc, which takes locks and memory. */
	if (backtrace(first, ARRAY_SIZE(first)) <= 0)
		return;
	dl_iterate_phdr(find_libgcc, NULL);
	store_relaxed(&unwinding, true);
}

const char *stack_describe(void)
{
	if (load_relaxed(&unwinding))
		return "stacks by unwinding";
	return "stacks by frame pointers";
}
