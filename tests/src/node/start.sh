#!/usr/bin/env bash
# Starts a node's first process in namespaces of its own and becomes what waits for it. Its cgroup outlives it: somebody who
# belongs to nobody removes it, however we end.
#
# usage: start.sh INIT CGROUP WORK KUBELET [FLAG…]
set -euo pipefail
readonly cgroup=$2

# remove_cgroup PROCESS: once the process is gone.
remove_cgroup() {
  while kill -0 "$1" 2>/dev/null; do sleep 0.2; done
  for _ in {1..50}; do
    find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
    [[ -n $(find /sys/fs/cgroup -maxdepth 2 -type d -name "$cgroup") ]] || return 0
    sleep 0.2
  done
}
export -f remove_cgroup
export cgroup
setsid bash -c "remove_cgroup $$" >/dev/null 2>&1 &

exec unshare --mount --pid --mount-proc --fork --kill-child bash "$@"
