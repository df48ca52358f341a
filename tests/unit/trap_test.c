// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Traps: what is reported, and what the program gets
 *
 * Each test arms the traps in a child, with one page that a source of ours
 * explains, has it do something, and looks at how it ended and what it said.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "base/atomic.h"
#include "debug/trap.h"
#include "os/map.h"
#include "harness.h"
#include "match.h"

#define OUTPUT_MAX	16384
#define OBJECT_SIZE	24u
#define NR_TURNS	300u
#define STACK_SIZE	(64 * KIB)

static char *ours, *foreign;	/* pages that nobody may touch */
static bool may_resume;
static char output[OUTPUT_MAX];

static enum trap_verdict explain(const struct trap_fault *fault,
				 struct report *report)
{
	if (fault->addr - (uintptr_t)ours >= map_page_size)
		return TRAP_FOREIGN;
	report->kind = REPORT_OVERFLOW;
	report->object = (uintptr_t)ours - OBJECT_SIZE;
	report->size = OBJECT_SIZE;
	report->alloc.tid = getpid();
	report->alloc.ms = 1;
	report->alloc.pcs[0] = 0x1000;
	report->alloc.nr_pcs = 1;
	return TRAP_REPORT;
}

static bool resume(const struct trap_fault *fault)
{
	(void)fault;
	return may_resume && !mprotect(ours, map_page_size, PROT_READ);
}

static const struct trap_source source = {
	.explain = explain,
	.resume = resume,
};

static void arm(void)
{
	trap_add(&source);
	if (trap_start())
		_exit(99);
}

/* Run @fn in a child with traps; returns how it ended, 256 + its signal. */
static int run_in_child(void (*fn)(void))
{
	size_t len = 0;
	int fds[2], status;
	ssize_t got;
	pid_t pid;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		arm();
		fn();
		_exit(0);
	}
	close(fds[1]);
	while (len < OUTPUT_MAX - 1 &&
	       (got = read(fds[0], output + len, OUTPUT_MAX - 1 - len)) > 0)
		len += (size_t)got;
	output[len] = '\0';
	close(fds[0]);
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

static bool said(const char *pattern)
{
	return text_fits(output, pattern, REG_NEWLINE);
}

FIXTURE(trap) {
	char unused;
};

FIXTURE_SETUP(trap)
{
	map_init();
	ours = mmap(NULL, map_page_size, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	foreign = mmap(NULL, map_page_size, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, ours);
	ASSERT_NE(MAP_FAILED, foreign);
}

FIXTURE_TEARDOWN(trap)
{
}

/* === Reports ============================================================== */

static noinline void write_ours(void)
{
	*(volatile char *)(ours + 7) = 1;
}

static noinline void read_ours(void)
{
	(void)*(volatile char *)ours;
}

TEST_F(trap, report_says_what_where_and_who)
{
	EXPECT_EQ(256 + SIGABRT, run_in_child(write_ours));
	EXPECT_TRUE(said("^ebbmalloc\\[[0-9]+\\]: write\\(0x[0-9a-f]+\\): "
			 "overflow: 8 bytes after the object of 24 bytes at "
			 "0x[0-9a-f]+$"));
	EXPECT_TRUE(said("^ebbmalloc\\[[0-9]+\\]:   use by thread [0-9]+ "
			 "\\(trap_test\\)$"));
	EXPECT_TRUE(said("^ebbmalloc\\[[0-9]+\\]:     #0 0x[0-9a-f]+ in "
			 "write_ours\\+0x[0-9a-f]+ "
			 "\\(/.*trap_test\\+0x[0-9a-f]+\\)$"));
	EXPECT_TRUE(said("^ebbmalloc\\[[0-9]+\\]:   allocated by thread [0-9]+ "
			 "\\(trap_test\\), [0-9]+ ms before$"));
	EXPECT_TRUE(said("^ebbmalloc\\[[0-9]+\\]:     #0 0x1000$"));
	EXPECT_FALSE(said("  freed by"));
	EXPECT_TRUE(said("^ebbmalloc\\[[0-9]+\\]:   end of report 1$"))
		TH_LOG("it said: %s", output);
}

TEST_F(trap, report_tells_reads_from_writes)
{
	EXPECT_EQ(256 + SIGABRT, run_in_child(read_ours));
	EXPECT_TRUE(said("read\\(0x[0-9a-f]+\\): overflow: 1 byte after"))
		TH_LOG("it said: %s", output);
}

static void read_twice(void)
{
	may_resume = true;
	read_ours();
	read_ours();
}

TEST_F(trap, program_goes_on_where_the_source_resumes)
{
	EXPECT_EQ(0, run_in_child(read_twice));
	EXPECT_TRUE(said("end of report 1$"));
	EXPECT_FALSE(said("end of report 2$"));
}

static enum trap_verdict open_and_retry(const struct trap_fault *fault,
					struct report *report)
{
	(void)report;
	if (fault->addr - (uintptr_t)foreign >= map_page_size)
		return TRAP_FOREIGN;
	return mprotect(foreign, map_page_size, PROT_READ | PROT_WRITE) ?
	       TRAP_FOREIGN : TRAP_RETRY;
}

static void retry(void)
{
	static const struct trap_source second = { .explain = open_and_retry };

	trap_add(&second);
	*(volatile char *)foreign = 5;
	if (*foreign != 5)
		_exit(1);
}

TEST_F(trap, retry_repeats_the_access)
{
	EXPECT_EQ(0, run_in_child(retry));
	EXPECT_EQ(0, strlen(output));
}

/* A source that faults itself: the second fault is not explained. */
static enum trap_verdict fault_again(const struct trap_fault *fault,
				     struct report *report)
{
	(void)report;
	if (fault->addr - (uintptr_t)foreign < map_page_size)
		*(volatile char *)foreign = 1;
	return TRAP_FOREIGN;
}

static void fault_inside(void)
{
	static const struct trap_source second = { .explain = fault_again };

	trap_add(&second);
	*(volatile char *)foreign = 5;
}

TEST_F(trap, fault_inside_of_a_source_ends_the_process)
{
	EXPECT_EQ(256 + SIGSEGV, run_in_child(fault_inside));
}

/* === The program's own ==================================================== */

static volatile sig_atomic_t nr_handled;
static siginfo_t handled_info;
static sigset_t handled_mask;
static void *handled_sp;
static sigjmp_buf back;

static void handle(int sig, siginfo_t *info, void *context)
{
	(void)context;
	nr_handled++;
	handled_info = *info;
	handled_sp = __builtin_frame_address(0);
	sigprocmask(SIG_BLOCK, NULL, &handled_mask);
	if (info->si_code > 0)
		siglongjmp(back, sig);
}

static void set_handler(int flags)
{
	struct sigaction act = {
		.sa_sigaction = handle,
		.sa_flags = SA_SIGINFO | flags,
	};

	sigemptyset(&act.sa_mask);
	sigaddset(&act.sa_mask, SIGUSR2);
	if (trap_sigaction(SIGSEGV, &act, NULL))
		_exit(98);
}

/* Whether touching the foreign page comes to the program's handler. */
static bool is_handled(void)
{
	int before = nr_handled;

	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign = 1;
	return nr_handled == before + 1 &&
	       handled_info.si_addr == foreign &&
	       handled_info.si_signo == SIGSEGV &&
	       handled_info.si_code == SEGV_ACCERR;
}

static void foreign_fault(void)
{
	*(volatile char *)foreign = 1;
}

TEST_F(trap, foreign_fault_kills_as_ever)
{
	EXPECT_EQ(256 + SIGSEGV, run_in_child(foreign_fault));
	EXPECT_EQ(0, strlen(output));
}

static void handle_foreign(void)
{
	set_handler(0);
	for (int i = 0; i < 3; i++)
		if (!is_handled())
			_exit(1);
	if (!sigismember(&handled_mask, SIGSEGV) ||
	    !sigismember(&handled_mask, SIGUSR2) ||
	    sigismember(&handled_mask, SIGUSR1))
		_exit(2);
	/* sigsetjmp() had it saved. */
	sigprocmask(SIG_BLOCK, NULL, &handled_mask);
	_exit(sigismember(&handled_mask, SIGSEGV) ||
	      sigismember(&handled_mask, SIGUSR2) ? 3 : 0);
}

TEST_F(trap, program_handler_gets_foreign_faults_with_its_mask)
{
	EXPECT_EQ(0, run_in_child(handle_foreign));
}

static void handle_nodefer(void)
{
	set_handler(SA_NODEFER);
	if (!is_handled())
		_exit(1);
	_exit(sigismember(&handled_mask, SIGSEGV) ||
	      !sigismember(&handled_mask, SIGUSR2) ? 2 : 0);
}

TEST_F(trap, program_handler_gets_its_nodefer)
{
	EXPECT_EQ(0, run_in_child(handle_nodefer));
}

static void handle_once(void)
{
	struct sigaction now;

	set_handler((int)SA_RESETHAND);
	if (!is_handled() || trap_sigaction(SIGSEGV, NULL, &now) ||
	    now.sa_handler != SIG_DFL)
		_exit(1);
	foreign_fault();
}

TEST_F(trap, program_handler_is_reset_if_it_asked_for_that)
{
	EXPECT_EQ(256 + SIGSEGV, run_in_child(handle_once));
}

static void report_with_handler(void)
{
	set_handler(0);
	if (!is_handled())
		_exit(1);
	write_ours();
}

TEST_F(trap, program_handler_set_later_does_not_end_the_traps)
{
	EXPECT_EQ(256 + SIGABRT, run_in_child(report_with_handler));
	EXPECT_TRUE(said("overflow: 8 bytes after"));
}

static void ask_for_old(void)
{
	struct sigaction old;

	if (trap_sigaction(SIGSEGV, NULL, &old) || old.sa_handler != SIG_DFL)
		_exit(1);
	set_handler(SA_NODEFER);
	if (trap_sigaction(SIGSEGV, NULL, &old) || old.sa_sigaction != handle)
		_exit(2);
	if (!(old.sa_flags & SA_NODEFER) ||
	    !sigismember(&old.sa_mask, SIGUSR2))
		_exit(3);
	if (trap_signal(SIGSEGV, SIG_IGN) != (sighandler_t)(void *)handle)
		_exit(4);
	if (trap_signal(SIGSEGV, SIG_DFL) != SIG_IGN)
		_exit(5);
	/* Others are not ours to keep. */
	if (trap_signal(SIGUSR1, SIG_IGN) != SIG_DFL ||
	    sigaction(SIGUSR1, NULL, &old) || old.sa_handler != SIG_IGN)
		_exit(6);
}

TEST_F(trap, program_is_told_its_own_action)
{
	EXPECT_EQ(0, run_in_child(ask_for_old));
}

static void send_and_handle(void)
{
	set_handler(0);
	kill(getpid(), SIGSEGV);
	_exit(nr_handled == 1 && handled_info.si_code == SI_USER &&
	      handled_info.si_pid == getpid() ? 0 : 1);
}

TEST_F(trap, sent_signal_comes_as_it_was_sent)
{
	EXPECT_EQ(0, run_in_child(send_and_handle));
}

static void send(void)
{
	kill(getpid(), SIGBUS);
}

static void send_ignored(void)
{
	trap_signal(SIGBUS, SIG_IGN);
	kill(getpid(), SIGBUS);
}

TEST_F(trap, sent_signal_kills_or_is_ignored_by_default)
{
	EXPECT_EQ(256 + SIGBUS, run_in_child(send));
	EXPECT_EQ(0, run_in_child(send_ignored));
}

static char alternate[STACK_SIZE];

static bool on_alternate(void)
{
	return (size_t)((char *)handled_sp - alternate) < sizeof(alternate);
}

static void use_alternate(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	if (sigaltstack(&stack, NULL))
		_exit(1);
	set_handler(0);
	if (!is_handled() || on_alternate())
		_exit(2);
	set_handler(SA_ONSTACK);
	if (!is_handled() || !on_alternate())
		_exit(3);
	write_ours();
}

TEST_F(trap, alternate_stack_is_used_where_the_program_wants_it)
{
	EXPECT_EQ(256 + SIGABRT, run_in_child(use_alternate));
	EXPECT_TRUE(said("#0 0x[0-9a-f]+ in write_ours"));
}

/* A stack that is all used up: only the alternate one is left. */
static noinline int overflow_stack(volatile int depth)
{
	volatile char much[4096];

	much[0] = (char)depth;
	return (depth < 0 ? 0 : overflow_stack(depth + 1)) + much[0];
}

static void use_up_stack(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	if (sigaltstack(&stack, NULL))
		_exit(1);
	set_handler(SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		overflow_stack(0);
	_exit(nr_handled == 1 ? 0 : 2);
}

TEST_F(trap, overflow_of_the_stack_comes_to_the_program)
{
	EXPECT_EQ(0, run_in_child(use_up_stack));
}

/* === Threads ============================================================== */

static __thread sigjmp_buf thread_back;
static __thread unsigned int thread_handled;
static bool stop;

static void handle_in_thread(int sig)
{
	thread_handled++;
	siglongjmp(thread_back, sig);
}

static void *fault_often(void *unused)
{
	for (unsigned int i = 0; i < NR_TURNS; i++)
		if (!sigsetjmp(thread_back, 1))
			*(volatile char *)foreign = 1;
	return unused ? NULL : (void *)(uintptr_t)thread_handled;
}

/* Changes the action all the time, between two that handle. */
static void *change_often(void *unused)
{
	struct sigaction act = { .sa_handler = handle_in_thread }, old;

	for (unsigned int i = 0; !load_relaxed(&stop); i++) {
		act.sa_flags = i & 1 ? SA_NODEFER : SA_RESTART;
		if (trap_sigaction(SIGSEGV, &act, &old) ||
		    old.sa_handler != handle_in_thread)
			_exit(97);
	}
	return unused;
}

static void fault_in_threads(void)
{
	pthread_t faulting[3], changing;
	uintptr_t sum = 0;
	void *handled;

	trap_signal(SIGSEGV, handle_in_thread);
	pthread_create(&changing, NULL, change_often, NULL);
	for (unsigned int i = 0; i < ARRAY_LEN(faulting); i++)
		pthread_create(&faulting[i], NULL, fault_often, NULL);
	for (unsigned int i = 0; i < ARRAY_LEN(faulting); i++) {
		pthread_join(faulting[i], &handled);
		sum += (uintptr_t)handled;
	}
	store_relaxed(&stop, true);
	pthread_join(changing, NULL);
	_exit(sum == ARRAY_LEN(faulting) * NR_TURNS ? 0 : 1);
}

TEST_F(trap, threads_fault_while_the_action_changes)
{
	EXPECT_EQ(0, run_in_child(fault_in_threads));
}

static void *write_in_thread(void *unused)
{
	write_ours();
	return unused;
}

static void report_in_threads(void)
{
	pthread_t threads[4];

	for (unsigned int i = 0; i < ARRAY_LEN(threads); i++)
		pthread_create(&threads[i], NULL, write_in_thread, NULL);
	for (unsigned int i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
}

/* Several at once: one report, whole. */
TEST_F(trap, threads_report_one_at_a_time)
{
	EXPECT_EQ(256 + SIGABRT, run_in_child(report_in_threads));
	EXPECT_TRUE(said("end of report 1$"));
	EXPECT_FALSE(said("end of report 2$"));
}

TEST_HARNESS_MAIN
