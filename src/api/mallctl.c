/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - jemalloc's extended names: asking by name
 *
 * What it is: names to rows of the table (api/mallstats.c), and values in and
 * out, with the checks and the errors that jemalloc's documentation lists.
 *
 * Model: a MIB has a number for each part of a name.  For a part that is a
 * number it is that; for another the first row whose name begins like this one
 * up to and with that part.  So the last one is the row, and the others check
 * that the caller means what it says.
 */
#include <errno.h>
#include <string.h>

#include "api/init.h"
#include "api/mallctl.h"
#include "base/lock.h"
#include "base/number.h"
#include "ebb/jemalloc.h"
#include "heap/heap.h"

/* === Names ================================================================ */

/* The part of @name behind @part, or NULL. */
static const char *next_part(const char *part)
{
	const char *dot = strchr(part, '.');

	return dot ? dot + 1 : NULL;
}

static size_t part_len(const char *part)
{
	return strcspn(part, ".");
}

/* @part, of @len digits and nothing else, as a number. */
static bool parse_index(const char *part, size_t len, size_t *ret_index)
{
	const char *end = part;
	uint64_t index;

	if (len > 9 || number_take(&end, 10, &index) || end != part + len)
		return false;
	*ret_index = index;
	return true;
}

static bool row_has_name(const struct mallctl_row *row, const char *name,
			 size_t *ret_index)
{
	const char *part = row->name;

	while (part && name) {
		size_t len = part_len(name);

		if (*part == '#' ? !parse_index(name, len, ret_index) :
				   len != part_len(part) ||
				   memcmp(name, part, len))
			return false;
		part = next_part(part);
		name = next_part(name);
	}
	return !part && !name;
}

static int find_name(const char *name, struct mallctl_ref *ret_ref)
{
	struct mallctl_ref ref = { 0 };

	for (size_t i = 0; (ref.row = mallctl_row(i)); i++)
		if (row_has_name(ref.row, name, &ref.index))
			break;
	if (!ref.row || !mallctl_ref_is_valid(&ref))
		return -ENOENT;
	*ret_ref = ref;
	return 0;
}

/* === MIBs ================================================================= */

/* The first row that begins like @row up to the end of @part. */
static size_t number_of(const struct mallctl_row *row, const char *part)
{
	size_t len = (size_t)(part - row->name) + part_len(part);
	size_t i = 0;

	while (strncmp(mallctl_row(i)->name, row->name, len) ||
	       (mallctl_row(i)->name[len] && mallctl_row(i)->name[len] != '.'))
		i++;
	return i;
}

__export int mallctlnametomib(const char *name, size_t *mibp, size_t *miblenp)
{
	struct mallctl_ref ref;
	size_t nr = 0;

	if (!name || !mibp || !miblenp || find_name(name, &ref))
		return ENOENT;
	for (const char *part = ref.row->name; part && nr < *miblenp;
	     part = next_part(part))
		mibp[nr++] = *part == '#' ? ref.index :
			     number_of(ref.row, part);
	*miblenp = nr;
	return 0;
}

static size_t nr_rows(void)
{
	size_t nr = 0;

	while (mallctl_row(nr))
		nr++;
	return nr;
}

static int find_mib(const size_t *mib, size_t len, struct mallctl_ref *ret_ref)
{
	struct mallctl_ref ref = { 0 };
	const char *part;
	size_t nr = 0;

	if (!mib || !len || len > MALLCTL_DEPTH_MAX || mib[len - 1] >= nr_rows())
		return -ENOENT;
	ref.row = mallctl_row(mib[len - 1]);
	for (part = ref.row->name; part && nr < len; part = next_part(part)) {
		if (*part == '#')
			ref.index = mib[nr];
		else if (mib[nr] != number_of(ref.row, part))
			return -ENOENT;
		nr++;
	}
	if (part || nr != len || !mallctl_ref_is_valid(&ref))
		return -ENOENT;
	*ret_ref = ref;
	return 0;
}

/* === Values =============================================================== */

/* Any of them, as bytes. */
union value {
	bool truth;
	unsigned int number;
	uint32_t u32;
	size_t size;
	uint64_t u64;
	const char *text;
};

static size_t size_of(const struct mallctl_row *row)
{
	static const uint8_t sizes[] = {
		[MALLCTL_VOID] = 0,
		[MALLCTL_BOOL] = sizeof(bool),
		[MALLCTL_UNSIGNED] = sizeof(unsigned int),
		[MALLCTL_U32] = sizeof(uint32_t),
		[MALLCTL_SIZE] = sizeof(size_t),
		[MALLCTL_SSIZE] = sizeof(size_t),
		[MALLCTL_U64] = sizeof(uint64_t),
		[MALLCTL_POINTER] = sizeof(void *),
		[MALLCTL_TEXT] = sizeof(const char *),
	};

	return sizes[row->type];
}

static void pack(const struct mallctl_row *row, uint64_t from,
		 union value *ret_value)
{
	*ret_value = (union value){ .u64 = from };
	if (row->type == MALLCTL_BOOL)
		ret_value->truth = from;
	else if (row->type == MALLCTL_UNSIGNED || row->type == MALLCTL_U32)
		ret_value->u32 = (uint32_t)from;
}

static uint64_t unpack(const struct mallctl_row *row,
		       const union value *value)
{
	if (row->type == MALLCTL_BOOL)
		return value->truth;
	if (row->type == MALLCTL_UNSIGNED || row->type == MALLCTL_U32)
		return value->u32;
	return value->u64;
}

static void get(const struct mallctl_ref *ref, union value *ret_value)
{
	if (ref->row->type == MALLCTL_TEXT)
		ret_value->text = mallctl_get_text(ref);
	else
		pack(ref->row, mallctl_get(ref), ret_value);
}

/* What a call brings: places for the old value and the new one. */
struct call {
	void *oldp;
	size_t *oldlenp;
	const void *newp;
	size_t newlen;
};

/* Of a wrong size as much as fits is stored, and it is an error. */
static int give(const struct call *call, const struct mallctl_row *row,
		const union value *value)
{
	size_t len = size_of(row);
	size_t room;

	if (!call->oldp || !call->oldlenp)
		return 0;
	room = *call->oldlenp;
	memcpy(call->oldp, value, min(len, room));
	*call->oldlenp = min(len, room);
	return room == len ? 0 : -EINVAL;
}

static int ask(const struct call *call, const struct mallctl_ref *ref)
{
	union value value;
	const void *ptr;
	uint64_t answer;
	int err;

	if (!call->newp || call->newlen != sizeof(ptr))
		return -EINVAL;
	memcpy(&ptr, call->newp, sizeof(ptr));
	err = mallctl_ask(ptr, &answer);
	if (err)
		return err;
	pack(ref->row, answer, &value);
	return give(call, ref->row, &value);
}

static int put(const struct call *call, const struct mallctl_ref *ref)
{
	const struct mallctl_row *row = ref->row;
	union value now = { 0 }, value = { 0 };

	if (row->mode == MALLCTL_READ)
		return -EPERM;
	if (!call->newp || call->newlen != size_of(row))
		return -EINVAL;
	memcpy(&value, call->newp, call->newlen);
	if (row->mode == MALLCTL_WRITE)
		return mallctl_set(ref, unpack(row, &value));
	get(ref, &now);
	if (row->type == MALLCTL_TEXT)
		return value.text && !strcmp(value.text, now.text) ? 0 :
								     -EFAULT;
	/* Options are the admin's: see tunables.rst. */
	return unpack(row, &value) == unpack(row, &now) ? 0 : -EFAULT;
}

/* As jemalloc does it: what is set first shows in what is read. */
static int serve(const struct call *call, const struct mallctl_ref *ref)
{
	bool sets = call->newp || call->newlen;
	union value value;
	int err = 0;

	if (ref->row->type == MALLCTL_VOID)
		return sets || call->oldp || call->oldlenp ? -EPERM :
							     mallctl_do(ref);
	if (ref->row->mode == MALLCTL_ASK)
		return ask(call, ref);
	if (sets)
		err = put(call, ref);
	if (err)
		return err;
	get(ref, &value);
	return give(call, ref->row, &value);
}

/* In a handler above an interrupted malloc there may be locks held. */
static int may_serve(void)
{
	if (tcb.busy || lock_holds_any() || !init_ready())
		return -EAGAIN;
	return 0;
}

__export int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp,
		     size_t newlen)
{
	const struct call call = { oldp, oldlenp, newp, newlen };
	struct mallctl_ref ref;
	int err = may_serve();

	if (!err)
		err = name ? find_name(name, &ref) : -ENOENT;
	if (!err)
		err = serve(&call, &ref);
	return -err;
}

__export int mallctlbymib(const size_t *mib, size_t miblen, void *oldp,
			  size_t *oldlenp, void *newp, size_t newlen)
{
	const struct call call = { oldp, oldlenp, newp, newlen };
	struct mallctl_ref ref;
	int err = may_serve();

	if (!err)
		err = find_mib(mib, miblen, &ref);
	if (!err)
		err = serve(&call, &ref);
	return -err;
}
