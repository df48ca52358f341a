/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - jemalloc's names, called from C++
 */
#include "ebb/ebb.h"
#include "ebb/jemalloc.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

/* What programs do with it: a container that knows its real size. */
template <typename T> struct allocator {
	using value_type = T;

	allocator() = default;
	template <typename U> allocator(const allocator<U> &)
	{
	}

	T *allocate(std::size_t nr)
	{
		void *p = mallocx(nr * sizeof(T), MALLOCX_ALIGN(alignof(T)) |
						  MALLOCX_ZERO);

		if (!p)
			std::abort();
		return static_cast<T *>(p);
	}

	void deallocate(T *p, std::size_t nr)
	{
		sdallocx(p, nr * sizeof(T), MALLOCX_ALIGN(alignof(T)));
	}
};

template <typename T, typename U>
bool operator==(const allocator<T> &, const allocator<U> &)
{
	return true;
}

template <typename T, typename U>
bool operator!=(const allocator<T> &, const allocator<U> &)
{
	return false;
}

struct alignas(128) line {
	int nr;
	char more[124];
};

bool a_vector_grows()
{
	std::vector<line, allocator<line>> lines;

	for (int i = 0; i < 5000; i++) {
		lines.push_back(line{ i, { 0 } });
		if (reinterpret_cast<std::uintptr_t>(lines.data()) % 128)
			return false;
	}
	for (int i = 0; i < 5000; i++)
		if (lines[static_cast<std::size_t>(i)].nr != i)
			return false;
	return sallocx(lines.data(), 0) >= 5000 * sizeof(line);
}

bool names_are_answered()
{
	std::size_t allocated = 0, len = sizeof(allocated);

	return !mallctl("stats.allocated", &allocated, &len, nullptr, 0) &&
	       mallctl("nonsense", &allocated, &len, nullptr, 0);
}

} // namespace

int main()
{
	bool grows = a_vector_grows(), answered = names_are_answered();

	std::printf("TAP version 13\n1..2\n");
	std::printf("%sok 1 - a vector grows\n", grows ? "" : "not ");
	std::printf("%sok 2 - names are answered\n", answered ? "" : "not ");
	return !grows || !answered;
}
