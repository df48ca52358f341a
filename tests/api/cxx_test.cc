/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - operator new and delete in all forms
 */
#include <sys/auxv.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>
/* Only to see that C++ takes them. */
#include "ebb/ebb.h"

/* In C++17, but some compilers declare them only when asked for them. */
void operator delete(void *, std::size_t) noexcept;
void operator delete[](void *, std::size_t) noexcept;
void operator delete(void *, std::size_t, std::align_val_t) noexcept;
void operator delete[](void *, std::size_t, std::align_val_t) noexcept;

namespace {

int failures;

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		std::printf("# %s:%d: not so: %s\n", __FILE__, __LINE__, \
			    #condition);				\
		failures++;						\
	}								\
} while (0)

const std::size_t huge = static_cast<std::size_t>(PTRDIFF_MAX) - 100;

/* Keep the compiler from leaving allocations out. */
template <typename T> T *hide(T *p)
{
	asm volatile("" : "+r"(p) : : "memory");
	return p;
}

std::size_t hidden(std::size_t n)
{
	asm volatile("" : "+r"(n));
	return n;
}

void new_and_delete_of_any_size()
{
	for (std::size_t size = 0; size < 300000; size = size * 5 / 4 + 1) {
		char *p = static_cast<char *>(operator new(size));
		char *q = static_cast<char *>(operator new[](size));

		CHECK(p && q && p != q);
		std::memset(p, 1, size);
		std::memset(q, 2, size);
		operator delete(hide(p));
		operator delete[](hide(q));
	}
	operator delete(nullptr);
	operator delete[](nullptr);
}

void sized_delete()
{
	for (std::size_t size = 1; size < 300000; size = size * 5 / 4 + 1) {
		operator delete(hide(operator new(size)), size);
		operator delete[](hide(operator new[](size)), size);
	}
}

void aligned_new()
{
	for (std::size_t a = 1; a <= 65536; a *= 2) {
		std::align_val_t align{a};
		void *p[4] = {
			operator new(3 * a, align),
			operator new[](3 * a, align),
			operator new(a + 1, align, std::nothrow),
			operator new[](a + 1, align, std::nothrow),
		};

		for (void *q : p) {
			CHECK(q);
			CHECK(!(reinterpret_cast<std::uintptr_t>(q) &
				(a - 1)));
		}
		std::memset(p[0], 1, 3 * a);
		operator delete(hide(p[0]), align);
		operator delete[](hide(p[1]), 3 * a, align);
		operator delete(hide(p[2]), align, std::nothrow);
		operator delete[](hide(p[3]), align, std::nothrow);
	}
	std::align_val_t align{64};
	operator delete(hide(operator new(100, align)), 100, align);
	operator delete[](hide(operator new[](100, align)), align);
}

void nothrow_new_returns_null()
{
	void *p = operator new(100, std::nothrow);
	void *q = operator new[](100, std::nothrow);

	CHECK(p && q);
	operator delete(hide(p), std::nothrow);
	operator delete[](hide(q), std::nothrow);
	CHECK(!operator new(hidden(huge), std::nothrow));
	CHECK(!operator new[](hidden(huge), std::nothrow));
	CHECK(!operator new(hidden(huge), std::align_val_t{64}, std::nothrow));
	CHECK(!operator new[](hidden(huge), std::align_val_t{64},
			      std::nothrow));
}

template <typename F> bool throws_bad_alloc(F allocate)
{
	try {
		hide(allocate());
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

void new_throws_bad_alloc()
{
	const std::align_val_t align{256};

	CHECK(throws_bad_alloc([] { return operator new(hidden(huge)); }));
	CHECK(throws_bad_alloc([] { return operator new[](hidden(huge)); }));
	CHECK(throws_bad_alloc([=] {
		return operator new(hidden(huge), align);
	}));
	CHECK(throws_bad_alloc([=] {
		return operator new[](hidden(huge), align);
	}));
}

int handler_calls;

/* Gives up at the third call. */
void give_up_later()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

struct no_memory {
};

void throw_own()
{
	throw no_memory();
}

void new_handler_is_called_until_it_gives_up()
{
	handler_calls = 0;
	std::set_new_handler(give_up_later);
	CHECK(throws_bad_alloc([] { return operator new(hidden(huge)); }));
	CHECK(handler_calls == 3);
	/* In a static program nothrow forms ask no handler; src/api/cxx.c. */
	if (!getauxval(AT_BASE))
		return;
	handler_calls = 0;
	std::set_new_handler(give_up_later);
	CHECK(!operator new(hidden(huge), std::nothrow));
	CHECK(handler_calls == 3);
	CHECK(!std::get_new_handler());
}

void new_handler_may_throw()
{
	bool caught = false;

	std::set_new_handler(throw_own);
	try {
		hide(operator new(hidden(huge)));
	} catch (const no_memory &) {
		caught = true;
	}
	std::set_new_handler(nullptr);
	CHECK(caught);
}

/* nothrow means nothrow, also when the handler throws bad_alloc. */
void nothrow_new_swallows_bad_alloc_of_the_handler()
{
	std::set_new_handler([] { throw std::bad_alloc(); });
	CHECK(!operator new(hidden(huge), std::nothrow));
	CHECK(!operator new[](hidden(huge), std::nothrow));
	std::set_new_handler(nullptr);
}

struct alignas(128) overaligned {
	char bytes[200];
};

void types_with_large_alignment()
{
	std::vector<std::unique_ptr<overaligned>> all;

	for (int i = 0; i < 1000; i++) {
		all.push_back(std::make_unique<overaligned>());
		CHECK(!(reinterpret_cast<std::uintptr_t>(all.back().get()) &
			127));
	}
	std::unique_ptr<overaligned[]> array(new overaligned[10]);
	CHECK(!(reinterpret_cast<std::uintptr_t>(array.get()) & 127));
}

void fill_containers(int seed, int *ret_good)
{
	std::map<std::string, std::vector<int>> map;

	for (int i = 0; i < 5000; i++) {
		std::string key = "key " + std::to_string((i * seed) % 777);

		map[key].push_back(i);
		if (i % 10 == 9)
			map.erase(map.begin());
		if (i % 500 == 0) {
			try {
				throw std::string(1000, 'x');
			} catch (const std::string &s) {
				if (s.size() != 1000)
					return;
			}
		}
	}
	*ret_good = 1;
}

void containers_and_exceptions_in_threads()
{
	std::vector<std::thread> threads;
	int good[8] = {};

	for (int i = 0; i < 8; i++)
		threads.emplace_back(fill_containers, i * 2 + 3, &good[i]);
	for (int i = 0; i < 8; i++) {
		threads[static_cast<std::size_t>(i)].join();
		CHECK(good[i]);
	}
}

struct keeper {
	std::vector<std::string> strings;

	~keeper()
	{
		strings.clear();
		delete[] hide(new int[100]);
	}
};

thread_local keeper kept;

void thread_local_objects_are_destroyed()
{
	for (int i = 0; i < 50; i++)
		std::thread([] {
			for (int j = 0; j < 100; j++)
				kept.strings.emplace_back(200, 'y');
		}).join();
}

const struct {
	const char *name;
	void (*fn)();
} tests[] = {
#define TEST(fn) { #fn, fn }
	TEST(new_and_delete_of_any_size),
	TEST(sized_delete),
	TEST(aligned_new),
	TEST(nothrow_new_returns_null),
	TEST(new_throws_bad_alloc),
	TEST(new_handler_is_called_until_it_gives_up),
	TEST(new_handler_may_throw),
	TEST(nothrow_new_swallows_bad_alloc_of_the_handler),
	TEST(types_with_large_alignment),
	TEST(containers_and_exceptions_in_threads),
	TEST(thread_local_objects_are_destroyed),
};

}

int main()
{
	const int nr = sizeof(tests) / sizeof(tests[0]);
	int failed = 0;

	std::printf("TAP version 13\n1..%d\n", nr);
	for (int i = 0; i < nr; i++) {
		failures = 0;
		tests[i].fn();
		failed += failures != 0;
		std::printf("%s %d cxx.%s\n", failures ? "not ok" : "ok",
			    i + 1, tests[i].name);
		std::fflush(stdout);
	}
	return failed != 0;
}
