#!/bin/bash
# PID 1 of the virtual machine's userland: runs the job's command, reports how it ended, and turns
# the machine off. Started by guest_init.sh with "command" or "shell".
mode=$1
job=/run/vm/job
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/games:/usr/sbin:/sbin
exec 3>/dev/vm-control
install -d -m 0700 /run/user/0 /tmp/home
echo ready >&3
echo "stepscope: the command starts" >/dev/kmsg

# Copies a fifo into a port of the host. (A port cannot be opened twice, as /dev/stdout would.)
forward() { # FIFO PORT
    mkfifo "$1"
    /run/vm/busybox cat "$1" >"$2" 3>&- &
}

status=0
if [[ $mode == shell ]]; then
    setsid --ctty --wait bash "$job/command" <>/dev/hvc0 >&0 2>&1 3>&- || status=$?
else
    forward /run/vm/stdout /dev/vm-stdout
    output=$!
    forward /run/vm/stderr /dev/vm-stderr
    errors=$!
    setsid --wait bash "$job/command" </dev/null >/run/vm/stdout 2>/run/vm/stderr 3>&- || status=$?
    # What is still in the pipes; a program left in the background would hold them for ever.
    for _ in {1..50}; do
        kill -0 "$output" 2>/dev/null || kill -0 "$errors" 2>/dev/null || break
        sleep 0.1
    done
fi

echo "stepscope: the command ended with $status" >/dev/kmsg
cd /
sync
# Nothing may still be on its way to the host's folders.
while read -r _ mountpoint type _; do
    [[ $type == 9p && $mountpoint != "$job" ]] && /run/vm/busybox umount -l "$mountpoint" 2>/dev/null
done </proc/mounts
sync
echo "exit $status" >&3
/run/vm/busybox poweroff -f
