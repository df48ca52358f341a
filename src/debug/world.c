/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Stopping the other threads of the process for a moment
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <ucontext.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/sys.h"
#include "debug/world.h"
#include "heap/heap.h"
#include "os/map.h"

#define STOP_SIGNAL	33
#define LOOK_MS		1
#define FRAME_MOST	(64 * KIB)	/* of a signal, all registers included */
#define RED_ZONE	128u
#define ENTRIES_LEN	4096u

/* As the kernel has it. */
struct action {
	void (*handler)(int sig, siginfo_t *info, void *context);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

#define RESTORER_FLAG	0x04000000ul	/* SA_RESTORER, which has no name */

struct linux_dirent {
	uint64_t inode;
	int64_t offset;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* Tables in memory of their own: they are large, and rarely used. */
struct tables {
	int sent[WORLD_THREADS_MAX];	/* to whom */
	struct world_stack stacks[WORLD_THREADS_MAX];	/* who stopped */
	uint64_t entries[ENTRIES_LEN / sizeof(uint64_t)];
};

static struct tables *tables;
static unsigned int nr_sent;
static uint32_t nr_places;		/* atomic; stacks[] so far */
static uint32_t nr_stopped;		/* atomic; they are filled */
static uint32_t nr_left;		/* atomic; of them have gone on */
static uint32_t stopping;		/* futex; 0: go on */
static struct action old_action;
static uint64_t old_mask;

/* === In the threads ======================================================= */

static uintptr_t stack_pointer(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#else
	return (uintptr_t)context->uc_mcontext.sp;
#endif
}

/*
 * The signal's frame is below what was interrupted, with the registers in it,
 * or on a stack of its own, which is memory like any other.
 */
static uintptr_t lowest(const ucontext_t *context)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
	uintptr_t sp = stack_pointer(context);

	return sp - frame < FRAME_MOST ? frame : sp - RED_ZONE;
}

static void pass_on(int sig, siginfo_t *info, void *context)
{
	/* The default of a signal that nobody else sends: nothing. */
	if ((uintptr_t)old_action.handler > (uintptr_t)SIG_IGN)
		old_action.handler(sig, info, context);
}

static void on_stop(int sig, siginfo_t *info, void *context)
{
	uint32_t nth;

	if (info->si_code != SI_QUEUE || info->si_pid != sys_getpid() ||
	    info->si_value.sival_ptr != &stopping) {
		pass_on(sig, info, context);
		return;
	}
	/* Too late: who sent it has given up. */
	if (!load_acquire(&stopping))
		return;
	nth = add_relaxed(&nr_places, 1);
	if (nth < WORLD_THREADS_MAX)
		tables->stacks[nth] = (struct world_stack){
			lowest(context), (uintptr_t)&thread,
		};
	/* Pairs with wait_for_all(). */
	add_release(&nr_stopped, 1);
	/* Pairs with world_go(). */
	while (load_acquire(&stopping))
		sys_futex_wait(&stopping, 1, NULL);
	add_release(&nr_left, 1);
}

/* === In the one that stops them =========================================== */

#if defined(__x86_64__)
void world_restorer(void);
__asm__(".text\n"
	".hidden world_restorer\n"
	".type world_restorer, @function\n"
	".globl world_restorer\n"
	"world_restorer:\n"
	"	movq $15, %rax\n"	/* rt_sigreturn */
	"	syscall\n"
	".size world_restorer, . - world_restorer\n");
#endif

static int arm(void)
{
	struct action ours = {
		.handler = on_stop,
		.flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
		.mask = UINT64_MAX,
	}, now;
	int err;

#if defined(__x86_64__)
	ours.flags |= RESTORER_FLAG;
	ours.restorer = world_restorer;
#endif
	err = (int)sys_call4(SYS_rt_sigaction, STOP_SIGNAL, 0, (long)&now,
			     sizeof(now.mask));
	if (err || now.handler == on_stop)
		return err;
	/* glibc's comes with its second thread, and stays. */
	old_action = now;
	return (int)sys_call4(SYS_rt_sigaction, STOP_SIGNAL, (long)&ours, 0,
			      sizeof(ours.mask));
}

static bool was_sent(int tid)
{
	for (unsigned int i = 0; i < nr_sent; i++)
		if (tables->sent[i] == tid)
			return true;
	return false;
}

static int send_to(int tid)
{
	siginfo_t info = { .si_signo = STOP_SIGNAL, .si_code = SI_QUEUE };
	long err;

	info.si_pid = sys_getpid();
	info.si_value.sival_ptr = &stopping;
	if (nr_sent == WORLD_THREADS_MAX)
		return -ENOSPC;
	err = sys_call4(SYS_rt_tgsigqueueinfo, info.si_pid, tid, STOP_SIGNAL,
			(long)&info);
	/* It has ended. */
	if (err == -ESRCH)
		return 0;
	if (!err)
		tables->sent[nr_sent++] = tid;
	return (int)err;
}

/* Send to those who are new.  How many they were, or -errno. */
static int send_to_new(void)
{
	int fd = sys_open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC,
			  0);
	int self = sys_gettid(), err = fd < 0 ? fd : 0;
	unsigned int before = nr_sent;
	long got = 0;

	while (!err && (got = sys_call3(SYS_getdents64, fd,
					(long)tables->entries,
					ENTRIES_LEN)) > 0) {
		for (long at = 0; !err && at < got;) {
			const struct linux_dirent *entry =
				(void *)((char *)tables->entries + at);
			const char *name = entry->name;
			int tid = (int)number_or_0(&name, 10);

			if (tid && tid != self && !was_sent(tid))
				err = send_to(tid);
			at += entry->len;
		}
	}
	if (fd >= 0)
		sys_close(fd);
	if (err || got < 0)
		return err ?: (int)got;
	return (int)(nr_sent - before);
}

/* Whether the thread has ended: it is gone, or a zombie. */
static bool has_ended(int tid)
{
	char path[48], text[128];
	long got, at;
	int fd;

	fmt_line(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd == -ENOENT || fd == -ESRCH;
	got = sys_read(fd, text, sizeof(text));
	sys_close(fd);
	if (got <= 0)
		return got == -ESRCH;
	/* "TID (NAME) STATE ...", and the name may have all but a newline. */
	for (at = got - 1; at > 0 && text[at] != ')'; at--)
		;
	return at + 2 < got && (text[at + 2] == 'Z' || text[at + 2] == 'X');
}

static unsigned int count_ended(void)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < nr_sent; i++)
		nr += has_ended(tables->sent[i]);
	return nr;
}

/* Until each has stopped, or has ended. */
static int wait_for_all(uint64_t until_ms)
{
	static const struct timespec look = { 0, LOOK_MS * 1000000 };

	/* Pairs with on_stop(). */
	while (load_acquire(&nr_stopped) < nr_sent) {
		uint32_t seen = load_relaxed(&nr_stopped);

		if (clock_ms() > until_ms)
			return -EAGAIN;
		sys_futex_wait(&nr_stopped, seen, &look);
		if (load_relaxed(&nr_stopped) == seen &&
		    seen + count_ended() >= nr_sent &&
		    load_relaxed(&nr_stopped) + count_ended() >= nr_sent)
			return 0;
	}
	return 0;
}

static void set_mask(uint64_t mask, uint64_t *ret_old)
{
	sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, (long)ret_old,
		  sizeof(mask));
}

static int make_tables(void)
{
	size_t len = ALIGN_UP(sizeof(*tables), map_page_size);
	char *at;
	int err;

	if (tables)
		return 0;
	err = map_reserve(len, map_page_size, &at);
	if (!err)
		err = map_commit(at, len);
	if (!err)
		tables = (struct tables *)at;
	return err;
}

int world_stop(void)
{
	uint64_t until_ms = clock_ms() + WORLD_PATIENCE_MS;
	int err, nr;

	err = make_tables();
	if (!err)
		err = arm();
	if (err)
		return err;
	set_mask(UINT64_MAX, &old_mask);
	nr_sent = 0;
	store_relaxed(&nr_places, 0);
	store_relaxed(&nr_stopped, 0);
	store_relaxed(&nr_left, 0);
	/* Pairs with on_stop(). */
	store_release(&stopping, 1);
	/* One that was not stopped yet may have made another one. */
	while ((nr = send_to_new()) > 0 && !(err = wait_for_all(until_ms)))
		;
	err = nr < 0 ? nr : err;
	if (err)
		world_go();
	return err;
}

void world_go(void)
{
	uint64_t until_ms = clock_ms() + WORLD_PATIENCE_MS;

	/* Pairs with on_stop(). */
	store_release(&stopping, 0);
	sys_futex_wake(&stopping, INT32_MAX);
	/* The next one may not begin while some still read `stopping'. */
	while (load_acquire(&nr_left) < load_acquire(&nr_stopped) &&
	       clock_ms() < until_ms)
		sys_call0(SYS_sched_yield);
	set_mask(old_mask, NULL);
}

bool world_stack(unsigned int nth, struct world_stack *ret_stack)
{
	/* Pairs with on_stop(). */
	if (nth >= load_acquire(&nr_stopped))
		return false;
	*ret_stack = tables->stacks[nth];
	return true;
}
