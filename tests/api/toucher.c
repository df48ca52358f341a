// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - A program that touches memory it has freed
 *
 * toucher HOW: one of the names in the table below.  With the library
 * preloaded and guard=decommitted; says "alive" where it is still there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "common.h"

#define NR_SLOTS	300u
#define SLOT		3000u
#define LARGE		(100 * KIB)

static char *slots[NR_SLOTS];
static char *large;

/* Every 30th slot stays, so that its slab does. */
static void give_back(void)
{
	for (unsigned int i = 0; i < NR_SLOTS; i++)
		memset(slots[i] = hide(malloc(SLOT)), 1, SLOT);
	memset(large = hide(malloc(LARGE)), 1, LARGE);
	for (unsigned int i = 0; i < NR_SLOTS; i++)
		if (i % 30)
			free(slots[i]);
	free(large);
	malloc_trim(0);
}

static __attribute__((noinline)) char peek(volatile char *at)
{
	return *at;
}

static void read_slot(void)
{
	(void)peek(slots[15] + 100);
}

static void write_slot(void)
{
	*(volatile char *)(slots[15] + 100) = 1;
}

static void free_slot(void)
{
	free(hide(slots[15]));
}

/* Twice, with more than a cache of others between. */
static void free_twice(void)
{
	for (unsigned int i = 0; i < NR_SLOTS; i++)
		slots[i] = hide(malloc(100));
	free(hide(slots[3]));
	for (unsigned int i = 4; i < NR_SLOTS; i++)
		free(slots[i]);
	free(hide(slots[3]));
}

static void read_large(void)
{
	(void)peek(large + 50000);
}

static void on_fault(int sig)
{
	(void)sig;
	if (write(1, "handler\n", 8) < 0)
		_exit(9);
	_exit(7);
}

/* A handler of the program's own, set after the library's, changes nothing. */
static void read_with_handler(void)
{
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	read_slot();
}

/* The handler that the kernel has. */
static void *handler_of(int sig)
{
	void *action[8] = { NULL };

	if (syscall(SYS_rt_sigaction, sig, NULL, action, 8))
		_exit(8);
	return action[0];
}

/* The same by functions that few still call. */
static void read_with_old_handlers(void)
{
	static const char *const names[] = {
		"ssignal", "bsd_signal", "__sysv_signal", "sysv_signal",
		"sigset",
	};
	void *ours = handler_of(SIGSEGV);
	sighandler_t before = SIG_DFL, (*set)(int, sighandler_t) = NULL;
	int (*ignore)(int sig);
	struct sigaction now;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bool bsd = i < 2, once = strstr(names[i], "sysv");

		*(void **)&set = dlsym(RTLD_DEFAULT, names[i]);
		if (!set || set(SIGSEGV, on_fault) != before ||
		    sigaction(SIGSEGV, NULL, &now) ||
		    now.sa_handler != on_fault ||
		    bsd != !!(now.sa_flags & SA_RESTART) ||
		    once != !!(now.sa_flags & (int)SA_RESETHAND) ||
		    handler_of(SIGSEGV) != ours)
			_exit(8);
		before = on_fault;
	}
	/* sigset(), with a mask; 2 is SIG_HOLD. */
	if (set(SIGSEGV, (sighandler_t)2) != on_fault ||
	    set(SIGSEGV, SIG_DFL) != (sighandler_t)2 ||
	    set(SIGSEGV, on_fault) != SIG_DFL)
		_exit(8);
	*(void **)&ignore = dlsym(RTLD_DEFAULT, "sigignore");
	if (!ignore || ignore(SIGBUS) || sigaction(SIGBUS, NULL, &now) ||
	    now.sa_handler != SIG_IGN || handler_of(SIGBUS) != ours)
		_exit(8);
	read_slot();
}

/* A fault that has nothing to do with it is the program's. */
static void fault_elsewhere(void)
{
	signal(SIGSEGV, on_fault);
	(void)peek(mmap(NULL, page_size(), PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* The same in memory of malloc's, which the program protects. */
static void fault_in_own(void)
{
	char *p = hide(aligned_alloc(page_size(), page_size()));

	signal(SIGSEGV, on_fault);
	mprotect(p, page_size(), PROT_NONE);
	(void)peek(p);
}

/* A program may give back what it has, and finds zeros. */
static void advise_own(void)
{
	size_t len = 16 * page_size();
	char *p = hide(aligned_alloc(page_size(), len));

	memset(p, 1, len);
	if (madvise(p, len, MADV_DONTNEED) || !all_zero(p, len))
		_exit(8);
	memset(p, 2, len);
	free(p);
}

static unsigned int nr_mappings(void)
{
	static char text[65536];
	ssize_t len = read_file("/proc/self/maps", text, sizeof(text));
	unsigned int nr = 0;

	for (ssize_t i = 0; i < len; i++)
		nr += text[i] == '\n';
	return nr;
}

/* Thousands of pages that trap, each beside one that does not. */
static void count_mappings(void)
{
	enum { NR = 8000 };
	static char *p[NR];
	size_t size = page_size();
	unsigned int before;

	for (unsigned int i = 0; i < NR; i++)
		memset(p[i] = hide(aligned_alloc(size, size)), 1, size);
	before = nr_mappings();
	for (unsigned int i = 0; i < NR; i += 2)
		free(p[i]);
	malloc_trim(0);
	if (!before || nr_mappings() > before)
		_exit(8);
	for (unsigned int i = 0; i < NR; i += 2)
		memset(p[i] = hide(malloc(size)), 1, size);
	if (nr_mappings() > before)
		_exit(8);
}

/* What trapped is not backed, and neither is what was handed out untouched. */
static void count_resident(void)
{
	size_t len = 64 * MIB, before = status_bytes("RssAnon:");
	char *p = hide(malloc(len));

	if (status_bytes("RssAnon:") > before + MIB)
		_exit(8);
	memset(p, 1, len);
	free(p);
	malloc_trim(0);
	if (status_bytes("RssAnon:") > before + MIB)
		_exit(8);
	p = hide(malloc(len));
	if (status_bytes("RssAnon:") > before + MIB || !all_zero(p, len))
		_exit(8);
	free(p);
}

/* The kernel's touch is no fault: it says EFAULT, and all goes on. */
static void read_into(void)
{
	int fds[2];

	if (pipe(fds) || write(fds[1], "x", 1) != 1 ||
	    read(fds[0], slots[15] + 100, 1) != -1 || errno != EFAULT)
		_exit(8);
}

/* Grows into its tail, which was given back, and into what is behind it. */
static void grow(void)
{
	char *p = hide(malloc(600 * KIB)), *q;

	memset(p, 1, 600 * KIB);
	free(p);
	p = hide(malloc(520 * KIB + 1));
	memset(p, 2, 520 * KIB + 1);
	malloc_trim(0);
	for (size_t size = 530 * KIB; size < 2 * MIB; size += 10 * KIB) {
		q = hide(realloc(p, size));
		if (!q || q[0] != 2)
			_exit(8);
		p = q;
		memset(p, 2, size);
		malloc_trim(0);
	}
	/* Moved by its pages, where it is large enough. */
	p = hide(realloc(p, 5 * MIB));
	memset(p, 2, 5 * MIB);
	malloc_trim(0);
	p = hide(realloc(p, 40 * MIB));
	memset(p, 2, 40 * MIB);
	free(p);
}

static const struct how {
	const char *name;
	void (*run)(void);
} hows[] = {
	{ "read-slot", read_slot },
	{ "write-slot", write_slot },
	{ "free-slot", free_slot },
	{ "free-twice", free_twice },
	{ "read-large", read_large },
	{ "read-with-handler", read_with_handler },
	{ "read-with-old-handlers", read_with_old_handlers },
	{ "fault-elsewhere", fault_elsewhere },
	{ "fault-in-own", fault_in_own },
	{ "advise-own", advise_own },
	{ "count-mappings", count_mappings },
	{ "count-resident", count_resident },
	{ "read-into", read_into },
	{ "grow", grow },
};

static void run(const char *name)
{
	for (size_t i = 0; i < sizeof(hows) / sizeof(hows[0]); i++)
		if (!strcmp(hows[i].name, name)) {
			hows[i].run();
			return;
		}
	_exit(2);
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	if (argc < 2)
		return 2;
	give_back();
	if (argc == 2) {
		run(argv[1]);
	} else {
		/* toucher HOW in-child */
		pid = fork();
		if (!pid)
			run(argv[1]);
		else if (waitpid(pid, &status, 0) != pid)
			return 2;
		else
			return WIFSIGNALED(status) ? 100 + WTERMSIG(status) :
						     WEXITSTATUS(status);
	}
	malloc_stats();
	puts("alive");
	return 0;
}
