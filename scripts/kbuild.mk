# SPDX-License-Identifier: MIT
#
# ebbmalloc - Build of one directory and those below it
#
#	make -f scripts/kbuild.mk dir=src/base [target ...]
#
# The directory's Kbuild is a table:
#
#	obj-y += lock.o			lock.o from lock.c (or lock.cc)
#	obj-$(CONFIG_PSI) += psi.o	only where the configuration says so
#	obj-y += base/			a directory, with a Kbuild of its own
#	hot-y += lock.o			of these, those whose code is linked first
#	CFLAGS_lock.o := -O3		more flags for one object
#	ccflags-y := -I...		more flags for all objects here
#
# All objects together become $(O)/DIR/NAME-in.o, in the order of the table.
# Flags come from the top Makefile, by the first part of the directory's name.

.DEFAULT_GOAL := in

include scripts/include.mk
include $(O)/include/config/auto.conf

obj-y :=
hot-y :=
ccflags-y :=
include $(dir)/Kbuild

out := $(O)/$(dir)
area := $(firstword $(subst /, ,$(dir)))
in := $(out)/$(notdir $(dir))-in.o
in_of = $(out)/$(1)/$(notdir $(1))-in.o
subdir_in := $(foreach d,$(filter %/,$(obj-y)),$(call in_of,$(d:/=)))
objs := $(foreach o,$(obj-y),$(if $(filter %/,$(o)),$(call \
	in_of,$(o:/=)),$(out)/$(o)))

$(shell mkdir -p $(out))

include scripts/compile.mk

quiet_cmd_ld_in_o  = LD      $(@:$(O)/%=%)
      cmd_ld_in_o  = $(LD) -r -o $@ $(objs)

PHONY += in
in: $(in)

$(in): $(objs) FORCE
	$(call if_changed,ld_in_o)

$(subdir_in): $(out)/%-in.o: FORCE
	$(Q)$(MAKE) -f scripts/kbuild.mk dir=$(dir)/$(*D)

-include $(call recorded,$(out))
.PHONY: $(PHONY)
