#!/usr/bin/env bash
# The first process of a node, in a mount and a pid namespace of its own: when it ends, the kernel ends all that was started
# here, containers included, and takes every mount back. Nothing is written outside the work folder, save the cgroup.
#
# usage: init.sh CGROUP WORK KUBELET [FLAG…]
set -euo pipefail
readonly cgroup=$1 work=$2 kubelet=$3
shift 3

# What has fixed places on a machine gets them in the work folder.
mount -t tmpfs node /run
mkdir -p "$work/logs"
mount --bind "$work/logs" /var/log

# The kubelet sets these for the whole machine; let it set copies.
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
  kernel/keys/root_maxbytes; do
  mkdir -p "$(dirname "$work/sys/$name")"
  cat "/proc/sys/$name" >"$work/sys/$name"
  mount --bind "$work/sys/$name" "/proc/sys/$name"
done

# One folder for each controller, or with cgroup v2 one for all.
if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
  sed 's/\(^\| \)/ +/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
  mkdir "/sys/fs/cgroup/$cgroup"
else
  for controller in /sys/fs/cgroup/*/; do mkdir "$controller/$cgroup"; done
fi

containerd --config "$work/containerd.toml" &
until ctr version >/dev/null 2>&1; do
  kill -0 $! # it ended: so do we
  sleep 0.1
done
ctr --namespace k8s.io images import "$work/image.tar"
"$kubelet" "$@" &

# As the first process we inherit whoever loses its parent, and wait for them all; the node is one of both.
wait -n
