/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - A memory barrier in every running thread of this process
 *
 * Why write-protecting a page is one (x86): mprotect() takes a right away from
 * a present entry of the page table, so it returns only when no CPU uses the
 * old entry any more.  Of a thread of this process,
 *
 * - whose CPU runs it: the kernel interrupts that CPU and waits for the
 *   handler's answer.  The answer is a store, and stores reach memory in
 *   program order, so what the thread stored before is visible when the wait
 *   ends; its loads after the handler (IRET and ERETU are serializing) come
 *   after the mprotect() began.
 * - whose CPU runs something else, a kernel thread in lazy-TLB mode with this
 *   process's page tables still loaded included: the kernel leaves that CPU
 *   out.  The thread has been switched out since it last ran, which is a full
 *   barrier, and is switched in by another.
 * - that is being switched in just now: its CPU first marks itself as one to
 *   be interrupted (or as lazy no more), passes a full barrier, and looks
 *   whether translations have become old; mprotect() first makes them old,
 *   passes a full barrier, and looks whom to interrupt.  So either it is
 *   interrupted, or all its loads come after.
 *
 * The interrupt is no promise of the kernel's, though, and where something
 * else invalidates translations it is not sent:
 * - CPUs with INVLPGB, by which Linux 6.15 and later tell other CPUs without
 *   interrupting them;
 * - guests of Hyper-V, which has calls for this, and whose host may use it.
 * Both are seen by CPUID, and not used.  As a guest of KVM or Xen the kernel
 * interrupts virtual CPUs that run; those that do not have left the guest,
 * which is a full barrier.
 */
#include "base/atomic.h"
#include "base/sys.h"
#include "os/barrier.h"
#include "os/map.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/mman.h>
#endif

#define MEMBARRIER_QUERY		0
#define MEMBARRIER_GLOBAL		(1 << 0)
#define MEMBARRIER_EXPEDITED		(1 << 3)
#define MEMBARRIER_REGISTER_EXPEDITED	(1 << 4)

enum barrier_way {
	WAY_UNKNOWN,
	WAY_EXPEDITED,
	WAY_GLOBAL,
	WAY_SHOOTDOWN,
	WAY_NONE,
};

static uint32_t way;			/* enum barrier_way */
static int refusal;			/* -errno; set before WAY_NONE */
static const char *reason;		/* set before WAY_NONE */

#if defined(__x86_64__)

#define CPUID_HYPERVISOR	0x40000000
#define CPUID_CAPACITY		0x80000008
#define EBX_INVLPGB		(1u << 3)
#define ECX_HYPERVISOR		(1u << 31)
#define SIGNATURE_HYPERV	0x7263694d	/* "Micr" */

static volatile char *page;

static bool is_on_hyperv(void)
{
	unsigned int a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & ECX_HYPERVISOR))
		return false;
	__cpuid(CPUID_HYPERVISOR, a, b, c, d);
	return b == SIGNATURE_HYPERV;
}

static const char *shootdown_refused(void)
{
	unsigned int a, b, c, d;

	if (__get_cpuid(CPUID_CAPACITY, &a, &b, &c, &d) && b & EBX_INVLPGB)
		return "no membarrier(), and this CPU invalidates "
		       "translations without interrupts (INVLPGB)";
	if (is_on_hyperv())
		return "no membarrier(), and a guest of Hyper-V";
	return NULL;
}

static int shootdown_ready(void)
{
	long addr;

	if (page)
		return 0;
	addr = sys_mmap(NULL, map_page_size, PROT_READ,
			MAP_PRIVATE | MAP_ANONYMOUS);
	if (sys_is_err(addr))
		return (int)addr;
	page = (volatile char *)addr;
	return 0;
}

static int shootdown(void)
{
	void *start = (void *)(uintptr_t)page;
	int err;

	/* A fork may have left it shared: it is this process's once written. */
	err = sys_mprotect(start, map_page_size, PROT_READ | PROT_WRITE);
	if (err)
		return err;
	*page = 1;
	return sys_mprotect(start, map_page_size, PROT_READ);
}

#else

static const char *shootdown_refused(void)
{
	return "no membarrier(), and this machine invalidates translations "
	       "without interrupts";
}

static int shootdown_ready(void)
{
	return -EOPNOTSUPP;
}

static int shootdown(void)
{
	return -EOPNOTSUPP;
}

#endif

static int membarrier_way(enum barrier_way *ret_way)
{
	int ret;

	if (!IS_ENABLED(CONFIG_MEMBARRIER))
		return -EOPNOTSUPP;
	ret = sys_membarrier(MEMBARRIER_REGISTER_EXPEDITED);
	if (!ret) {
		*ret_way = WAY_EXPEDITED;
		return 0;
	}
	if (ret != -EINVAL)
		return ret;
	ret = sys_membarrier(MEMBARRIER_QUERY);
	*ret_way = WAY_GLOBAL;
	return ret > 0 && ret & MEMBARRIER_GLOBAL ? 0 : -EINVAL;
}

int barrier_ready(void)
{
	enum barrier_way found = WAY_SHOOTDOWN;
	int err;

	if (way == WAY_NONE)
		return refusal;
	if (way != WAY_UNKNOWN)
		return 0;
	err = membarrier_way(&found);
	if (err) {
		reason = shootdown_refused();
		refusal = err;
		if (reason) {
			found = WAY_NONE;
		} else {
			/* Memory may be short: the next call may find some. */
			err = shootdown_ready();
			if (err)
				return err;
		}
	}
	/* Pairs with barrier_unavailable(). */
	store_release(&way, (uint32_t)found);
	return found == WAY_NONE ? refusal : 0;
}

static int take_way(void)
{
	switch ((enum barrier_way)way) {
	case WAY_EXPEDITED:
		return sys_membarrier(MEMBARRIER_EXPEDITED);
	case WAY_GLOBAL:
		return sys_membarrier(MEMBARRIER_GLOBAL);
	case WAY_SHOOTDOWN:
		return shootdown();
	case WAY_UNKNOWN:
	case WAY_NONE:
		break;
	}
	return -EOPNOTSUPP;
}

int barrier_all(void)
{
	int err;

	/* Pairs with tcb_enter(): what the caller stored is seen by then. */
	fence_seq_cst();
	err = take_way();
	fence_seq_cst();
	/* A filter may have come since: another way may be left. */
	if (err && way != WAY_NONE)
		store_relaxed(&way, WAY_UNKNOWN);
	return err;
}

const char *barrier_unavailable(void)
{
	/* Pairs with barrier_ready(). */
	return load_acquire(&way) == WAY_NONE ? reason : NULL;
}

void barrier_after_fork(void)
{
	store_relaxed(&way, WAY_UNKNOWN);
}
