/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Traps: SIGSEGV and SIGBUS, ours and the program's
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <ucontext.h>

#include "base/atomic.h"
#include "base/sys.h"
#include "debug/trap.h"

#define NR_SOURCES	4u
#define ALL_SIGNALS	UINT64_MAX
#define PAGE_FAULT	14		/* x86: the only trap with an address */
#define ERROR_WRITE	2		/* of its error code */

typedef int (*sigaction_fn)(int sig, const struct sigaction *act,
			    struct sigaction *old);

/*
 * What the program wants.  Writers hold @changing; readers in a handler have
 * blocked all signals and hold it, too, since RESETHAND makes them writers.
 */
struct wanted {
	struct sigaction copies[2];
	uint32_t current;		/* which of them holds */
};

static const int trapped[] = { SIGSEGV, SIGBUS };
static struct wanted wanted[ARRAY_SIZE(trapped)];
static uint32_t changing;
static bool started;
static int home;		/* the process whose actions these are */

/* A report is told, and the program perhaps resumed: one at a time. */
static uint32_t telling;

static const struct trap_source *sources[NR_SOURCES];
static unsigned int nr_sources;

/* In the handler, and not yet in the program's. */
static __thread bool inside __attribute__((tls_model("initial-exec")));

/* === libc's functions ===================================================== */

/* Missing in other libcs. */
extern int __sigaction(int sig, const struct sigaction *act,
		       struct sigaction *old) __attribute__((weak));

/*
 * What comes after us: other libraries may stand in between.  A static program
 * has no next one, and would allocate to say so.
 */
static void *find_next(const char *name)
{
	return getauxval(AT_BASE) ? dlsym(RTLD_NEXT, name) : NULL;
}

static __startup_data sigaction_fn sigaction_next;
static __startup_data sighandler_t (*signal_next)(int sig,
						  sighandler_t handler);

__startup void trap_find_libc(void)
{
	if (!load_relaxed(&sigaction_next))
		store_relaxed(&sigaction_next,
			      (sigaction_fn)find_next("sigaction") ?:
			      __sigaction);
	if (!load_relaxed(&signal_next))
		store_relaxed(&signal_next, (sighandler_t (*)(int, sighandler_t))
					    find_next("signal"));
}

static int next_sigaction(int sig, const struct sigaction *act,
			  struct sigaction *old)
{
	sigaction_fn found = load_relaxed(&sigaction_next);

	if (unlikely(!found)) {
		trap_find_libc();
		found = load_relaxed(&sigaction_next);
	}
	if (likely(found))
		return found(sig, act, old);
	errno = ENOSYS;
	return -1;
}

static uint64_t block(uint64_t set)
{
	uint64_t old = 0;

	(void)sys_call4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&set, (long)&old,
			sizeof(set));
	return old;
}

static void restore_mask(uint64_t set)
{
	(void)sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&set, 0,
			sizeof(set));
}

/* The kernel's part of libc's larger set. */
static uint64_t mask_of(const sigset_t *set)
{
	uint64_t mask;

	memcpy(&mask, set, sizeof(mask));
	return mask;
}

/* === What the program wants =============================================== */

static int index_of(int sig)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(trapped); i++)
		if (trapped[i] == sig)
			return (int)i;
	return -1;
}

/* All signals are blocked meanwhile, so no handler of ours finds it held by
 * the thread it interrupted. */
static uint64_t hold(void)
{
	uint64_t mask = block(ALL_SIGNALS);

	/* Pairs with let_go(). */
	while (xchg_acquire(&changing, 1))
		cpu_relax();
	return mask;
}

static void let_go(uint64_t mask)
{
	/* Pairs with hold(). */
	store_release(&changing, 0);
	restore_mask(mask);
}

static const struct sigaction *current_of(const struct wanted *want)
{
	return &want->copies[load_relaxed(&want->current)];
}

/* By one store, so that a fork at any moment leaves one of them in force. */
static void switch_to(struct wanted *want, const struct sigaction *act)
{
	uint32_t other = !load_relaxed(&want->current);

	want->copies[other] = *act;
	/* Pairs with hold(), but for a child that was forked meanwhile. */
	store_release(&want->current, other);
}

static bool is_handler(const struct sigaction *act)
{
	return act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN;
}

static void on_trap(int sig, siginfo_t *info, void *context);

/* Our handler, where the program expects its own to run. */
static int install(int sig, const struct sigaction *want)
{
	struct sigaction act = {
		.sa_sigaction = on_trap,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
	};

	if (is_handler(want)) {
		act.sa_flags &= ~SA_ONSTACK;
		act.sa_flags |= want->sa_flags & (SA_ONSTACK | SA_RESTART);
	}
	return next_sigaction(sig, &act, NULL);
}

/*
 * The child of a vfork() shares what we know, but has actions of its own: they
 * are left to the kernel.
 */
static int child_sigaction(int sig, const struct sigaction *act,
			   struct sigaction *ret_old)
{
	struct sigaction old;
	uint64_t mask;

	if (next_sigaction(sig, act, &old))
		return -1;
	if (old.sa_sigaction == on_trap) {
		mask = hold();
		old = *current_of(&wanted[index_of(sig)]);
		let_go(mask);
	}
	if (ret_old)
		*ret_old = old;
	return 0;
}

int trap_sigaction(int sig, const struct sigaction *act,
		   struct sigaction *ret_old)
{
	int index = index_of(sig), err = 0;
	struct sigaction want, old;
	uint64_t mask;

	if (likely(index < 0 || !load_relaxed(&started)))
		return next_sigaction(sig, act, ret_old);
	if (sys_getpid() != load_relaxed(&home))
		return child_sigaction(sig, act, ret_old);
	/* They may be bad pointers: not with the word held. */
	if (act)
		want = *act;
	mask = hold();
	old = *current_of(&wanted[index]);
	if (act)
		err = install(sig, &want);
	if (act && !err)
		switch_to(&wanted[index], &want);
	let_go(mask);
	if (ret_old && !err)
		*ret_old = old;
	return err;
}

sighandler_t trap_signal(int sig, sighandler_t handler)
{
	struct sigaction act = { .sa_flags = SA_RESTART }, old;

	if (unlikely(!load_relaxed(&signal_next)))
		trap_find_libc();
	if (likely(index_of(sig) < 0 || !load_relaxed(&started)) && signal_next)
		return signal_next(sig, handler);
	act.sa_handler = handler;
	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&act.sa_mask);
	sigaddset(&act.sa_mask, sig);
	return trap_sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

/* === Handing on =========================================================== */

/* The action in force for a signal that is delivered now. */
static struct sigaction take_action(int index)
{
	struct wanted *want = &wanted[index];
	struct sigaction none = { .sa_handler = SIG_DFL };
	uint64_t mask = hold();
	struct sigaction act = *current_of(want);

	if (is_handler(&act) && act.sa_flags & (int)SA_RESETHAND)
		switch_to(want, &none);
	let_go(mask);
	return act;
}

/*
 * As the kernel would have it: the instruction faults again, or the signal
 * comes again as soon as it is not blocked.  Ignoring a fault is not possible.
 */
static void by_default(int sig, siginfo_t *info, bool ignored)
{
	struct sigaction none = { .sa_handler = SIG_DFL };
	bool sent = info->si_code <= 0;

	if (sent && ignored)
		return;
	if (next_sigaction(sig, &none, NULL))
		abort();
	if (sent)
		(void)sys_call4(SYS_rt_tgsigqueueinfo, sys_getpid(),
				sys_gettid(), sig, (long)info);
}

static void pass_on(int sig, siginfo_t *info, void *context)
{
	struct sigaction act = take_action(index_of(sig));
	uint64_t mask;

	if (!is_handler(&act)) {
		by_default(sig, info, act.sa_handler == SIG_IGN);
		return;
	}
	mask = mask_of(&act.sa_mask);
	if (!(act.sa_flags & (int)SA_NODEFER))
		mask |= 1ULL << (sig - 1);
	/* It ends with the handler, which restores the context's. */
	(void)block(mask);
	act.sa_sigaction(sig, info, context);
}

/* === Faults =============================================================== */

#if defined(__aarch64__)
#define SYNDROME_MAGIC	0x45535201u
#define SYNDROME_WRITE	(1u << 6)	/* the access was a write */

/* The record of the exception's syndrome, among those of the frame. */
static bool fault_is_write(const ucontext_t *context)
{
	const unsigned char *at = context->uc_mcontext.__reserved;
	const unsigned char *end = at + sizeof(context->uc_mcontext.__reserved);
	uint64_t esr;
	uint32_t head[2];

	for (; at + 16 <= end; at += head[1]) {
		memcpy(head, at, sizeof(head));
		if (!head[0] || head[1] < 16)
			return false;
		if (head[0] == SYNDROME_MAGIC) {
			memcpy(&esr, at + 8, sizeof(esr));
			return esr & SYNDROME_WRITE;
		}
	}
	return false;
}
#endif

/* False: it was sent, or there is no address. */
static bool decode(int sig, const siginfo_t *info, const ucontext_t *context,
		   struct trap_fault *ret_fault)
{
	const mcontext_t *regs = &context->uc_mcontext;

	if (info->si_code <= 0 || info->si_code == SI_KERNEL)
		return false;
	ret_fault->sig = sig;
	ret_fault->addr = (uintptr_t)info->si_addr;
#if defined(__x86_64__)
	if (regs->gregs[REG_TRAPNO] != PAGE_FAULT)
		return false;
	ret_fault->write = regs->gregs[REG_ERR] & ERROR_WRITE;
	ret_fault->pc = (uintptr_t)regs->gregs[REG_RIP];
	ret_fault->sp = (uintptr_t)regs->gregs[REG_RSP];
	ret_fault->fp = (uintptr_t)regs->gregs[REG_RBP];
#elif defined(__aarch64__)
	ret_fault->write = fault_is_write(context);
	ret_fault->pc = regs->pc;
	ret_fault->sp = regs->sp;
	ret_fault->fp = regs->regs[29];
#endif
	return true;
}

static enum trap_verdict ask(const struct trap_source *source,
			     const struct trap_fault *fault,
			     struct report *ret_report)
{
	*ret_report = (struct report){
		.call = fault->write ? "write" : "read",
		.ptr = fault->addr,
		.addr = fault->addr,
	};
	return source->explain(fault, ret_report);
}

/*
 * One thread at a time reports; where the program goes on after that, the next
 * one may find that what it fell over was made accessible.
 */
static void tell(const struct trap_source *source,
		 const struct trap_fault *fault)
{
	struct report report;

	while (xchg_acquire(&telling, 1))
		cpu_relax();
	if (ask(source, fault, &report) == TRAP_REPORT) {
		report_at(&report.use, fault->pc, fault->sp, fault->fp);
		if (!report_tell(&report) || !source->resume ||
		    !source->resume(fault))
			abort();
	}
	/* Pairs with tell(), in another thread. */
	store_release(&telling, 0);
}

/* Whether the instruction is to be tried again. */
static bool explain(const struct trap_fault *fault)
{
	for (unsigned int i = 0; i < nr_sources; i++) {
		struct report report;

		switch (ask(sources[i], fault, &report)) {
		case TRAP_RETRY:
			return true;
		case TRAP_REPORT:
			tell(sources[i], fault);
			return true;
		case TRAP_FOREIGN:
			break;
		}
	}
	return false;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	struct trap_fault fault;
	int saved = errno;
	bool again = false;

	/* A fault in what explains faults is nobody's to explain. */
	if (!inside && decode(sig, info, context, &fault)) {
		inside = true;
		again = explain(&fault);
		inside = false;
	}
	errno = saved;
	if (!again)
		pass_on(sig, info, context);
}

void trap_add(const struct trap_source *source)
{
	if (nr_sources < NR_SOURCES)
		sources[nr_sources++] = source;
}

int trap_start(void)
{
	if (started)
		return 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(trapped); i++) {
		struct sigaction *was = &wanted[i].copies[0];

		if (next_sigaction(trapped[i], NULL, was) ||
		    install(trapped[i], was))
			return -errno;
	}
	store_relaxed(&home, sys_getpid());
	/* Pairs with trap_sigaction(). */
	store_release(&started, true);
	return 0;
}

void trap_postfork_child(void)
{
	if (!load_relaxed(&started))
		return;
	store_relaxed(&telling, 0);
	store_relaxed(&changing, 0);
	store_relaxed(&home, sys_getpid());
}
