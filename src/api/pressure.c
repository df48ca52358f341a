/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The application says that memory is wanted
 */
#include <errno.h>

#include "acct/account.h"
#include "api/init.h"
#include "base/param.h"
#include "ebb/ebb.h"
#include "heap/heap.h"
#include "reclaim/app.h"
#include "reclaim/reclaimer.h"

/*
 * Not from inside malloc, which a handler may have interrupted; then, and
 * between fork handlers, it is left to the next slow path.
 */
static void start_reclaimer(void)
{
	or_relaxed(&account.wanted, WANTED_PASS);
	if (!tcb.busy && !load_relaxed(&init_forking))
		reclaimer_start();
}

static int say(enum pressure pressure)
{
	if (!init_ready())
		return -ENOMEM;
	/* A constructor before ours: options and environment are not read. */
	if (!load_acquire(&heap_for_all))
		return -EAGAIN;
	if (!IS_ENABLED(CONFIG_APP_CALL) || !param_int(EBB_ATTR_RECLAIM))
		return -EOPNOTSUPP;
	if (pressure > PRESSURE_NONE && !reclaimer_running())
		start_reclaimer();
	if (!reclaimer_possible())
		return -EAGAIN;
	app_say(pressure);
	if (pressure > PRESSURE_NONE)
		reclaimer_alarm();
	return 0;
}

__export int ebb_pressure(enum ebb_pressure_level level)
{
	static const enum pressure levels[] = {
		[EBB_PRESSURE_NONE] = PRESSURE_NONE,
		[EBB_PRESSURE_MILD] = PRESSURE_MILD,
		[EBB_PRESSURE_SEVERE] = PRESSURE_SEVERE,
	};
	int err = -EINVAL;

	if ((unsigned int)level < ARRAY_SIZE(levels))
		err = say(levels[level]);
	if (!err)
		return 0;
	errno = -err;
	return -1;
}
