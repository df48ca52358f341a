# SPDX-License-Identifier: MIT
#
# ebbmalloc - Build of the test programs
#
#	make -f scripts/tests.mk [target ...]
#
# tests/Kbuild is a table; a name is a path below tests/ without its suffix,
# made from NAME.c or NAME.cc:
#
#	test-y += unit/lock_test	a program, alone
#	libtest-y += api/malloc_test	a program linked with libebbmalloc.so
#	prog-y += stress/torture	a program that is no test by itself
#	shared-y += floor/recorder	floor/recorder.so
#	OBJS_unit/lock_test := src/base/lock.o tests/unit/fake.o
#					what to link, below $(O)
#	CFLAGS_NAME, LDLIBS_NAME	more flags, more libraries
#	ccflags-y			more flags for all
#
# NAME-plain and NAME-static are made from NAME's source, with NAME's OBJS_,
# CFLAGS_ and LDLIBS_ and those of their own; -static also links statically,
# with libebbmalloc.a (left out of builds with a sanitizer, which cannot).

.DEFAULT_GOAL := tests

include scripts/include.mk
include $(O)/include/config/auto.conf

test-y :=
libtest-y :=
prog-y :=
shared-y :=
ccflags-y :=
dir := tests
include tests/Kbuild

out := $(O)/tests
area := tests
include scripts/compile.mk

names := $(sort $(test-y) $(libtest-y) $(prog-y))
names := $(filter-out $(if $(D),%-static),$(names))
programs := $(names:%=$(out)/%)
libraries := $(patsubst %,$(out)/%.so,$(sort $(shared-y)))
harness := $(KSELFTEST_DIR)/kselftest_harness.h

# The name and its source's name, of which it is a variant or which it is
name = $(patsubst $(out)/%,%,$(@:.so=))
base_of = $(patsubst %-static,%,$(patsubst %-plain,%,$(1)))
named = $(foreach n,$(sort $(call base_of,$(2)) $(2)),$($(1)_$(n)))
source_of = $(firstword $(wildcard $(patsubst %,tests/$(call base_of,$(1))%,\
	.c .cc)) tests/$(call base_of,$(1)).c)
objs_of = $(addprefix $(O)/,$(call named,OBJS,$(1)) $(if $(filter \
	$(1),$(libtest-y)),lib/libebbmalloc.so) $(if $(filter \
	%-static,$(1)),lib/libebbmalloc.a))

link = $(if $(filter %.cc,$<),$(CXX) $(cxx_flags),$(CC) $(c_flags)) \
	$(call named,CFLAGS,$(name)) -o $@ $< $(call objs_of,$(name)) \
	$(tests_LDFLAGS) -Wl,-rpath,$(abspath $(O)/lib) -pthread -ldl \
	$(call named,LDLIBS,$(name))

quiet_cmd_program = TEST    $(@:$(O)/%=%)
      cmd_program = $(link) $(if $(filter %-static,$@),-static)
quiet_cmd_shared  = SHARED  $(@:$(O)/%=%)
      cmd_shared  = $(link) -shared

PHONY += tests
tests: $(programs) $(libraries)

define prerequisites
$(1): $(call source_of,$(2)) $(call objs_of,$(2)) FORCE | $(harness)
endef
$(foreach n,$(names),$(eval $(call prerequisites,$(out)/$(n),$(n))))
$(foreach n,$(shared-y),$(eval $(call prerequisites,$(out)/$(n).so,$(n))))

$(programs):
	$(call if_changed,program)

$(libraries):
	$(call if_changed,shared)

# Objects of the library: one make for each directory, so that no two of them
# make the same object.
src_objs := $(sort $(filter $(O)/src/%,$(foreach n,$(names) \
	$(shared-y),$(call objs_of,$(n)))))

define directory
$(filter $(1)%,$(src_objs)) &: FORCE
	$$(Q)$$(MAKE) -f scripts/kbuild.mk dir=$(patsubst $(O)/%/,%,$(1)) \
		$(filter $(1)%,$(src_objs))
endef
$(foreach d,$(sort $(dir $(src_objs))),$(eval $(call directory,$(d))))

$(O)/lib/%:
	@echo "$@ is missing: run make lib first" >&2; false

$(harness):
	@echo "$@ is missing: run make setup first" >&2; false

dirs := $(sort $(patsubst %/,%,$(dir $(programs) $(libraries) \
	$(filter $(out)/%,$(foreach n,$(names) $(shared-y),$(call \
	objs_of,$(n)))))))
$(shell mkdir -p $(out) $(dirs))
-include $(call recorded,$(dirs))
.PHONY: $(PHONY)
