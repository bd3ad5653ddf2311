#!/bin/busybox sh
# PID 1 of the initramfs: loads the modules, assembles the root from the host's folders, and hands
# over to guest_session.sh there. Runs in busybox alone.
#
# Kernel command line: vm.session=PATH (guest_session.sh), vm.mode=command|shell,
# vm.shares=TAG:PATH,… (folders mounted read-write at their own paths; paths are %-encoded).
export PATH=/bin
busybox mkdir -p /proc /sys /dev /lower /memory /system
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev

dev=/dev
note() {
    echo "stepscope: $*" >"$dev/kmsg"
}

die() {
    note "the virtual machine cannot start: $*"
    [ -c "$dev/vm-control" ] && echo "failed $*" >"$dev/vm-control"
    busybox sleep 1
    busybox poweroff -f
}

load() {
    while read -r module; do
        busybox insmod "/modules/$module" || die "the module $module cannot be loaded"
    done <"$1"
}

share() { # TAG MOUNTPOINT OPTIONS
    busybox mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2" ||
        die "the folder $2 cannot be mounted"
}

load /modules/order
for port in /sys/class/virtio-ports/*; do
    name=$(busybox cat "$port/name" 2>/dev/null)
    case $name in
    stepscope.*) busybox ln -s "${port##*/}" "/dev/vm-${name#stepscope.}" ;;
    esac
done
[ -c /dev/vm-control ] || die "there is no virtio port"
echo booted >/dev/vm-control

for word in $(busybox cat /proc/cmdline); do
    case $word in
    vm.session=*) session=${word#*=} ;;
    vm.mode=*) mode=${word#*=} ;;
    vm.shares=*) shares=${word#*=} ;;
    esac
done

note "devices are ready"

# The host's root cannot be written to: a layer of memory above it takes what is written.
share root /lower ro,cache=loose
busybox mount -t tmpfs -o mode=0755 tmpfs /memory
busybox mkdir /memory/upper /memory/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work root /system ||
    die "the root cannot be assembled"

note "the root is there"
cd /system || die "there is no root"
busybox mkdir -p dev proc sys run tmp var/tmp
busybox mount --move /proc proc
busybox mount --move /sys sys
busybox mount --move /dev dev
dev=/system/dev
busybox mkdir -p dev/pts dev/shm
busybox mount -t devpts -o mode=0620,gid=5,ptmxmode=0666 devpts dev/pts
busybox mount -t tmpfs -o mode=1777 tmpfs dev/shm
busybox mount -t cgroup2 cgroup2 sys/fs/cgroup
busybox mount -t tmpfs -o mode=0755 tmpfs run
busybox mount -t tmpfs -o mode=1777 tmpfs tmp
busybox ln -sfn /proc/self/fd dev/fd
busybox ln -sfn fd/0 dev/stdin
busybox ln -sfn fd/1 dev/stdout
busybox ln -sfn fd/2 dev/stderr
busybox ifconfig lo 127.0.0.1 up
busybox hostname stepscope-vm
busybox mkdir -p run/vm
busybox cp /bin/busybox run/vm/busybox

# Metadata is not cached in these: what the host changes meanwhile is seen.
busybox mkdir -p run/vm/job
share job run/vm/job cache=none
IFS=,
for entry in $shares; do
    path=$(busybox printf '%b' "$(echo "${entry#*:}" | busybox sed 's/%/\\x/g')")
    busybox mkdir -p ".$path"
    share "${entry%%:*}" ".$path" cache=mmap
done
unset IFS
note "the folders are there"
session=$(busybox printf '%b' "$(echo "$session" | busybox sed 's/%/\\x/g')")
exec busybox switch_root /system /bin/bash "$session" "$mode"
