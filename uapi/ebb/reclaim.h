/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - What a program tells the reclaimer
 */
#ifndef EBB_RECLAIM_H
#define EBB_RECLAIM_H

#ifdef __cplusplus
extern "C" {
#endif

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
 * - %EAGAIN: the background thread cannot be started; malloc_trim() gives
 *   memory back without it.
 * Since: 0.1
 */
int ebb_pressure(enum ebb_pressure_level level);

#ifdef __cplusplus
}
#endif

#endif
