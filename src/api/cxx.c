/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - operator new and delete
 *
 * Written in C under their mangled names (Itanium C++ ABI), so that C
 * programs need no libstdc++.  Only a failing throwing new needs it.
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "api/fast.h"
#include "base/err.h"

struct nothrow;	/* std::nothrow_t, an empty tag passed by reference */

typedef void (*new_handler)(void);

/*
 * std::get_new_handler() and std::__throw_bad_alloc(): weak, for a program
 * linked with libstdc++, statically too; by dlsym where it came later.
 */
extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

static new_handler current_handler(void)
{
	new_handler (*get)(void) = _ZSt15get_new_handlerv;

	if (!get)
		get = (new_handler (*)(void))
			dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv");
	return get ? get() : NULL;
}

static cold void throw_bad_alloc(size_t size)
{
	void (*throw)(void) = _ZSt17__throw_bad_allocv;

	if (!throw)
		throw = (void (*)(void))
			dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv");
	if (throw)
		throw();
	ebb_bug("new: no memory for %zu bytes, and no libstdc++ to throw "
		"std::bad_alloc", size);
}

/*
 * The loop that the C++ standard wants: ask the handler, try again.  The
 * handler may throw.  A nothrow form has to catch that, which C cannot, so it
 * goes on in libstdc++'s own form, which calls our throwing one.  A static
 * program has no other form, so there a nothrow one asks no handler.
 */
static cold void *new_failed(size_t align, size_t size)
{
	for (;;) {
		new_handler handler = current_handler();
		void *ptr;

		if (!handler)
			throw_bad_alloc(size);
		handler();
		ptr = alloc_aligned(align, size);
		if (ptr)
			return ptr;
	}
}

static cold void *nothrow_failed(const char *name, size_t size,
				 const struct nothrow *tag)
{
	void *(*next)(size_t, const struct nothrow *) =
		(void *(*)(size_t, const struct nothrow *))
		dlsym(RTLD_NEXT, name);

	return current_handler() && next ? next(size, tag) : NULL;
}

static cold void *nothrow_aligned_failed(const char *name, size_t size,
					 size_t align,
					 const struct nothrow *tag)
{
	void *(*next)(size_t, size_t, const struct nothrow *) =
		(void *(*)(size_t, size_t, const struct nothrow *))
		dlsym(RTLD_NEXT, name);

	return current_handler() && next ? next(size, align, tag) : NULL;
}

/*
 * Each form: the fast path, and its two ways out.  @args: as written; @size and
 * @align are what is asked for; @failed is what comes of having no memory.
 */
#define DEFINE_FORM(name, fast, align, failed, args, passed)		\
static noinline void *name##_slow args					\
{									\
	void *ptr = alloc_rest(align, size, FRAME);			\
									\
	return likely(ptr) ? ptr : failed;				\
}									\
									\
static cold void *name##_nested args					\
{									\
	void *ptr = alloc_above(align, size, FRAME);			\
									\
	return likely(ptr) ? ptr : failed;				\
}									\
									\
__export void *name args;						\
__export void *name args						\
{									\
	void *ptr;							\
									\
	if (unlikely(tcb.busy))						\
		return name##_nested passed;				\
	tcb_enter(&tcb);						\
	ptr = fast;							\
	return likely(ptr) ? ptr : name##_slow passed;			\
}

#define DEFINE_NEW(plain, plain_nothrow, aligned, aligned_nothrow)	\
DEFINE_FORM(plain, fast_alloc(size), ALIGN_ANY, new_failed(1, size),	\
	    (size_t size), (size))					\
DEFINE_FORM(plain_nothrow, fast_alloc(size), ALIGN_ANY,			\
	    nothrow_failed(#plain_nothrow, size, tag),			\
	    (size_t size, const struct nothrow *tag), (size, tag))	\
DEFINE_FORM(aligned, fast_aligned(align, size), align,			\
	    new_failed(align, size),					\
	    (size_t size, size_t align), (size, align))			\
DEFINE_FORM(aligned_nothrow, fast_aligned(align, size), align,		\
	    nothrow_aligned_failed(#aligned_nothrow, size, align, tag),	\
	    (size_t size, size_t align, const struct nothrow *tag),	\
	    (size, align, tag))

/* new and new[] */
DEFINE_NEW(_Znwm, _ZnwmRKSt9nothrow_t, _ZnwmSt11align_val_t,
	   _ZnwmSt11align_val_tRKSt9nothrow_t)
DEFINE_NEW(_Znam, _ZnamRKSt9nothrow_t, _ZnamSt11align_val_t,
	   _ZnamSt11align_val_tRKSt9nothrow_t)

#define DEFINE_DELETE(name, ...)					\
__export void name(void *ptr, ##__VA_ARGS__);				\
__export void name(void *ptr, ##__VA_ARGS__)

#define DELETE_FORMS(op)						\
DEFINE_DELETE(op##Pv)							\
{									\
	free(ptr);							\
}									\
DEFINE_DELETE(op##PvRKSt9nothrow_t, const struct nothrow *tag)		\
{									\
	(void)tag;							\
	free(ptr);							\
}									\
DEFINE_DELETE(op##PvSt11align_val_t, size_t align)			\
{									\
	(void)align;							\
	free(ptr);							\
}									\
DEFINE_DELETE(op##PvSt11align_val_tRKSt9nothrow_t, size_t align,	\
	      const struct nothrow *tag)				\
{									\
	(void)align;							\
	(void)tag;							\
	free(ptr);							\
}									\
DEFINE_DELETE(op##Pvm, size_t size)					\
{									\
	alloc_check_size(ptr, size, "delete");				\
	free(ptr);							\
}									\
DEFINE_DELETE(op##PvmSt11align_val_t, size_t size, size_t align)	\
{									\
	(void)align;							\
	alloc_check_size(ptr, size, "delete");				\
	free(ptr);							\
}

/* delete and delete[] */
DELETE_FORMS(_Zdl)
DELETE_FORMS(_Zda)
