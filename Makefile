# SPDX-License-Identifier: MIT
#
# ebbmalloc - Build
#
#   make [VARIABLE=VALUE ...] [TARGET ...]
#
# Build:
#   all             lib and tools; what `make` alone does
#   lib             lib/libebbmalloc.so.1 and lib/libebbmalloc.a
#   tools           bin/ebbctl
#   tests           the test programs
#   src/base/       one directory; src/base/lock.o, .i, .s: one file
#   tests/api/x     one test program
#   clean           remove the build directory
#
# Configure (writes .config, which may be edited; without one, def is taken):
#   defconfig       what the distributed library has
#   tinyconfig      no optional kernel facility
#   debugconfig     def, with assertions and injected failures
#   allconfig       everything
#
# Use:
#   setup           install what is missing, or only list it (SETUP=0)
#   check           set up, build, run all tests
#   check-fast      the same in under a minute, without the slow tests
#   demo            set up, build, run the demo
#   bench           set up, build, compare with other allocators
#                   (BENCH='--only density --runs 1': options of scripts/bench)
#   vmtest          set up, build, run the tests on cgroup v2 in a virtual
#                   machine: KERNEL=6.1|6.12|6.18|all (default: 6.1); with
#                   CMD='command' that instead of the tests
#   install         into DESTDIR PREFIX; uninstall removes it
#   help            this text
#
# Variables:
#   O=DIR           where everything made goes (default: build)
#   CC=clang        the compiler (default: gcc); CFLAGS= replaces -O2 -g
#   V=1             print whole commands; V=2: say why a file is made again
#   W=1             more warnings; W=e: warnings are errors; W=1e: both
#   D=asan|ubsan|tsan     build with sanitizers, or a comma list of them
#   PREFIX=DIR      (default: /usr/local)   LIBDIR=DIR  (PREFIX/lib)
#   KSELFTEST_DIR=DIR     where kselftest_harness.h is (default: $(O)/kselftest)
#   VM_DIR=DIR      where kernels for vmtest are (default: $(O)/vm)
#
# With D=asan or D=tsan the library exports ebb_malloc, ebb_free and so on:
# the sanitizer owns malloc itself.

.DEFAULT_GOAL := all

include scripts/include.mk
include Kbuild

O := $(patsubst %/,%,$(or $(O),build))
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
KSELFTEST_DIR ?= $(O)/kselftest
VM_DIR ?= $(O)/vm
KERNEL ?= 6.1
W ?=
D ?=
CFLAGS ?= -O2 -g

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC)),g++)
endif
ifeq ($(origin LD),default)
LD := ld
endif
ifeq ($(origin AR),default)
AR := ar
endif
OBJCOPY ?= objcopy

# Flags

comma := ,
sanitizers := $(subst $(comma), ,$(D))
bad_sanitizers := $(filter-out asan ubsan tsan,$(sanitizers))
ifneq ($(bad_sanitizers),)
$(error D=$(D): expected asan, ubsan, tsan or a comma list of them)
endif
ifneq ($(and $(filter asan,$(sanitizers)),$(filter tsan,$(sanitizers))),)
$(error D=$(D): asan and tsan exclude each other)
endif
ifneq ($(filter-out 0 1 e 1e e1,$(W)),)
$(error W=$(W): expected 1, e or 1e)
endif

sanitize_asan  := -fsanitize=address
sanitize_ubsan := -fsanitize=undefined -fno-sanitize-recover=undefined
sanitize_tsan  := -fsanitize=thread
sanitize_flags := $(foreach s,$(sanitizers),$(sanitize_$(s))) \
	$(if $(sanitizers),-fno-omit-frame-pointer) \
	$(if $(filter asan tsan,$(sanitizers)),-DEBB_SANITIZE=1)

warn_flags := -Wall -Wextra -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wundef -Wvla \
	$(if $(findstring 1,$(W)),-Wpointer-arith -Wwrite-strings \
		-Wformat-security -Wold-style-definition -Wimplicit-fallthrough \
		-Wnull-dereference) \
	$(if $(findstring e,$(W)),-Werror)

common_flags := -std=gnu11 $(warn_flags) -D_GNU_SOURCE \
	-I$(O)/include -include generated/autoconf.h

export src_CFLAGS := $(common_flags) -Isrc -Iuapi \
	-fPIC -fvisibility=hidden -fno-plt -ftls-model=initial-exec \
	-fno-builtin-malloc -fno-semantic-interposition \
	-fasynchronous-unwind-tables -fexceptions $(CFLAGS) $(sanitize_flags)
export tools_CFLAGS := $(common_flags) -Iuapi -DEBB_LIBDIR='"$(LIBDIR)"' \
	$(CFLAGS) $(sanitize_flags)
export tests_CFLAGS := $(common_flags) -fPIC -Isrc -Iuapi -Itests \
	-isystem $(KSELFTEST_DIR) $(CFLAGS) $(sanitize_flags)
export tests_LDFLAGS := $(LDFLAGS)

export O D CC CXX LD AR OBJCOPY KSELFTEST_DIR
export VM_DIR := $(abspath $(VM_DIR))
export CMD

# Configuration

config_outputs := $(O)/include/config/auto.conf
kconfigs := Kconfig $(wildcard src/*/Kconfig)

PHONY += defconfig tinyconfig debugconfig allconfig
defconfig tinyconfig debugconfig allconfig: %config:
	$(Q)scripts/kconf configs/$@ $(O)

$(O)/.config:
	$(Q)scripts/kconf configs/defconfig $(O)

$(config_outputs): $(O)/.config $(kconfigs) VERSION scripts/kconf
	$(Q)scripts/kconf $(O)/.config $(O)

# Library

so := $(O)/lib/libebbmalloc.so.1
map := $(O)/lib/libebbmalloc.map
layout := src/libebbmalloc.lds
# The C runtime's own does nothing, far from what is run beside it.
no_function := ebb_no_fini
src_in := $(O)/$(lib-y)/$(lib-y)-in.o

quiet_cmd_map   = GEN     $(@:$(O)/%=%)
      cmd_map   = sed '$(if $(filter -DEBB_SANITIZE=1,$(sanitize_flags)),$\
		  s/\<\([a-z][a-z0-9_]*;\)/ebb_\1/g; $\
		  s/ebb_ebb_/ebb_/g)' $< >$@
quiet_cmd_so    = LD      $(@:$(O)/%=%)
      cmd_so    = $(CC) -shared -o $@ $(src_in) $(LDFLAGS) $(sanitize_flags) \
		  -Wl,-soname,$(@F) -Wl,--version-script=$(map) \
		  -Wl,-z,relro,-z,now,-z,nodelete $(if $(sanitizers),,-Wl,-z,defs) \
		  -Wl,-T,$(layout) -Wl,-fini=$(no_function)

# Where sys/sdt.h is missing the library has no probes: not silently.
quiet_cmd_usdt  = CHECK   $(@:$(O)/%=%)
      cmd_usdt  = ! grep -qs '^CONFIG_USDT=y' $(O)/.config || \
		  grep -qs stapsdt $< || echo "NOTE: built without USDT probes:\
		  no sys/sdt.h (Debian: systemtap-sdt-dev)" >&2; touch $@

quiet_cmd_ln    = LN      $(@:$(O)/%=%)
      cmd_ln    = ln -sf $(<F) $@
quiet_cmd_local = OBJCOPY $(@:$(O)/%=%)
      cmd_local = $(OBJCOPY) --localize-hidden $< $@
quiet_cmd_ar    = AR      $(@:$(O)/%=%)
      cmd_ar    = rm -f $@ && $(AR) rcsD $@ $<

PHONY += all lib
all: lib tools
lib: $(so) $(O)/lib/.usdt $(O)/lib/libebbmalloc.so $(O)/lib/libebbmalloc.a

$(src_in): $(config_outputs) FORCE
	$(Q)$(MAKE) -f scripts/kbuild.mk dir=$(lib-y)

$(map): src/api/libebbmalloc.map FORCE | $(O)/lib
	$(call if_changed,map)

$(so): $(src_in) $(map) $(layout) FORCE
	$(call if_changed,so)

$(O)/lib/.usdt: $(so)
	$(call cmd,usdt)

$(O)/lib/libebbmalloc.so: $(so)
	$(call cmd,ln)

$(O)/lib/libebbmalloc.o: $(src_in) FORCE | $(O)/lib
	$(call if_changed,local)

$(O)/lib/libebbmalloc.a: $(O)/lib/libebbmalloc.o FORCE
	$(call if_changed,ar)

$(O)/lib $(O)/bin:
	@mkdir -p $@

# Tools

tools := $(tool-y:%=$(O)/bin/%)
tool_in = $(O)/tools/$(1)/$(1)-in.o
tool_ins := $(foreach t,$(tool-y),$(call tool_in,$(t)))

quiet_cmd_tool = LD      $(@:$(O)/%=%)
      cmd_tool = $(CC) -o $@ $(call tool_in,$(@F)) $(LDFLAGS) \
		 $(sanitize_flags) $(LDLIBS_$(@F))

PHONY += tools
tools: $(tools)

$(tool_ins): $(config_outputs) FORCE
	$(Q)$(MAKE) -f scripts/kbuild.mk dir=$(@D:$(O)/%=%)

$(foreach t,$(tool-y),$(eval $(O)/bin/$(t): $(call tool_in,$(t))))
$(tools): FORCE | $(O)/bin
	$(call if_changed,tool)

# Single directories and files

single := $(filter src/% tools/%,$(MAKECMDGOALS))
$(single): $(config_outputs) FORCE
	$(Q)$(MAKE) -f scripts/kbuild.mk dir=$(patsubst %/,%,$(dir $@)) \
		$(if $(notdir $@),$(O)/$@)

# Tests

PHONY += tests check check-fast demo bench setup
tests: lib tools
	$(Q)$(MAKE) -f scripts/tests.mk

single_tests := $(filter tests/%,$(MAKECMDGOALS))
$(single_tests): $(config_outputs) FORCE
	$(Q)$(MAKE) -f scripts/tests.mk $(O)/$@

setup:
	$(Q)O=$(O) scripts/setup

# A test that itself runs make is not part of this one.
alone := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL O=$(abspath $(O))

check check-fast:
	$(Q)O=$(O) scripts/setup
	$(Q)$(MAKE) tests
	$(Q)$(alone) scripts/run-tests $(if $(filter %-fast,$@),--fast)

demo:
	$(Q)O=$(O) scripts/setup
	$(Q)$(MAKE) tests
	$(Q)$(alone) scripts/demo

vm_kernels := $(if $(filter all,$(KERNEL)),6.1 6.12 6.18,$(KERNEL))

PHONY += vmtest
vmtest:
	$(Q)O=$(O) scripts/setup
	$(Q)$(MAKE) tests
	$(Q)status=0; for kernel in $(vm_kernels); do \
		$(alone) scripts/vmtest --kernel $$kernel \
			$${CMD:+--run "$$CMD"} || status=1; \
	done; exit $$status

bench:
	$(Q)O=$(O) scripts/setup
	$(Q)$(MAKE) tests
	$(Q)$(alone) scripts/bench $(BENCH)

# Installation

to := $(DESTDIR)$(PREFIX)
to_lib := $(DESTDIR)$(LIBDIR)
to_bash := $(to)/share/bash-completion/completions
to_zsh := $(to)/share/zsh/site-functions
uapi := $(wildcard uapi/ebb/*.h)
man := $(wildcard Documentation/man/*.[1-9])
man_dir = $(to)/share/man/man$(subst .,,$(suffix $(1)))

quiet_cmd_pc = GEN     $(@:$(O)/%=%)
      cmd_pc = sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; $\
	       s|@VERSION@|$(file <VERSION)|' $< >$@

$(O)/lib/ebbmalloc.pc: scripts/ebbmalloc.pc.in FORCE | $(O)/lib
	$(call if_changed,pc)

PHONY += install uninstall
install: all $(O)/lib/ebbmalloc.pc
	$(Q)install -d $(to_lib)/pkgconfig $(to)/bin $(to)/include/ebb
	$(Q)install -m 755 $(so) $(to_lib)
	$(Q)ln -sf $(notdir $(so)) $(to_lib)/libebbmalloc.so
	$(Q)install -m 644 $(O)/lib/libebbmalloc.a $(to_lib)
	$(Q)install -m 644 $(O)/lib/ebbmalloc.pc $(to_lib)/pkgconfig
	$(Q)install -m 755 $(tools) $(to)/bin
	$(Q)install -m 644 $(uapi) $(to)/include/ebb
	$(Q)install -d $(to)/lib/tmpfiles.d $(to_bash) $(to_zsh)
	$(Q)install -m 644 scripts/tmpfiles.conf \
		$(to)/lib/tmpfiles.d/ebbmalloc.conf
	$(Q)install -m 644 completion/ebbctl.bash $(to_bash)/ebbctl
	$(Q)install -m 644 completion/_ebbctl $(to_zsh)
	$(Q)$(foreach m,$(man),install -D -m 644 -t $(call man_dir,$(m)) $(m) &&) :

uninstall:
	$(Q)rm -f $(to_lib)/libebbmalloc.so.1 $(to_lib)/libebbmalloc.so \
		$(to_lib)/libebbmalloc.a $(to_lib)/pkgconfig/ebbmalloc.pc \
		$(tool-y:%=$(to)/bin/%) $(uapi:uapi/%=$(to)/include/%) \
		$(to)/lib/tmpfiles.d/ebbmalloc.conf $(to_bash)/ebbctl \
		$(to_zsh)/_ebbctl \
		$(foreach m,$(man),$(call man_dir,$(m))/$(notdir $(m)))
	$(Q)if [ -d $(to)/include/ebb ]; then \
		rmdir --ignore-fail-on-non-empty $(to)/include/ebb; fi

PHONY += clean help
clean:
	$(Q)rm -rf $(O)

help:
	@sed -n '3,/^$$/{ /^#/!q; s/^# \{0,1\}//; p; }' Makefile

-include $(call recorded,$(O)/lib $(O)/bin)

# The parts run one after the other; each of them uses all of -j.
.NOTPARALLEL:
.PHONY: $(PHONY)
