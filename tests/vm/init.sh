#!/bin/sh
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - First process of the virtual machine
#
# Mounts what a Debian system has, with the memory controller on cgroup v2, and
# runs what /vm/mode says.  The console, ttyS0, is the kernel's alone; ttyS1 is
# for output and, at the very end, the status.

export PATH=/usr/bin:/usr/sbin:/bin:/sbin:/o/bin HOME=/root
export O=/o EBB_BUILD=/o EBB_LIB=/o/lib/libebbmalloc.so.1
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
chmod 1777 /tmp
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
ln -s /proc/self/fd /dev/fd
hostname guest
ifconfig lo up 2>/dev/null

exec </dev/null >/dev/ttyS1 2>&1
cd /tmp || poweroff -f
if [ "$(cat /vm/mode)" = shell ]; then
	stty sane </dev/ttyS1
	setsid -c bash -i </dev/ttyS1
	poweroff -f
fi
stty raw -echo </dev/ttyS1
echo "vmtest: begin" >/dev/kmsg
case $(cat /vm/mode) in
tests) setsid bash /vm/top/tests/vm/guest.sh;;
*) bash /vm/command;;
esac
echo "vmtest-status: $?"
# Until the last byte is out
stty -F /dev/ttyS1 raw
poweroff -f
