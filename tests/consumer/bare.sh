#!/bin/sh
# bare.sh SOURCE_DIR WORK [user] [root]: both README commands on a fresh Debian 12. Run by ./dev bare, as root.
#
# debootstrap makes a root with git and sudo and without a compiler; a clone of the last commit goes into it; an ordinary user with sudo
# (user), then root in a second fresh root (root), run ./dev demo and ./dev test there, then the demo once more. Uncommitted changes
# are not tested. A root whose run failed is kept, to be looked at.
set -eu
source=$1 work=$2
shift 2
[ $# -gt 0 ] || set -- user root
if [ "$(id -u)" != 0 ]; then
  echo "a bare root needs chroot: run ./dev bare as root" >&2
  exit 5
fi
mkdir -p "$work"
[ -z "$(git -C "$source" status --porcelain -uno)" ] || echo "note: uncommitted changes are not part of the clone" >&2
if [ ! -e "$work/fresh/made" ]; then
  rm -rf "$work/fresh"
  debootstrap --variant=minbase --include=ca-certificates,git,sudo bookworm "$work/fresh" >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log"; exit 1; }
  touch "$work/fresh/made"
fi

root=$work/root
leave() {
  for place in dev/shm dev/pts proc; do umount "$root/$place" 2>/dev/null || true; done
}
trap leave EXIT
enter() {  # enter USER COMMAND
  chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 NO_COLOR=1 su -l "$1" -c "$2"
}

for who in "$@"; do
  leave
  rm -rf "$root"
  cp -a "$work/fresh" "$root"
  mount -t proc proc "$root/proc"
  mkdir -p "$root/dev/shm" && mount -t tmpfs tmpfs "$root/dev/shm"
  mkdir -p "$root/dev/pts" && mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
  home=/root name=root
  if [ "$who" = user ]; then
    name=walker home=/home/walker
    chroot "$root" useradd --create-home --shell /bin/bash "$name"
    echo "$name ALL=(ALL) NOPASSWD: ALL" > "$root/etc/sudoers.d/$name"
  elif [ "$who" != root ]; then
    echo "bare.sh: '$who' is neither user nor root" >&2
    exit 2
  fi
  git clone --quiet --no-hardlinks "$source" "$root$home/wayfarer"
  chroot "$root" chown -R "$name:" "$home/wayfarer"
  for verb in demo test demo; do
    start=$(date +%s)
    enter "$name" "cd wayfarer && ./dev $verb" >"$work/$who-$verb.log" 2>&1 || {
      tail -n 60 "$work/$who-$verb.log"
      echo "./dev $verb as $who failed after $(($(date +%s) - start)) s; the log is $work/$who-$verb.log, the root $root"
      exit 1
    }
    # The demo configures without MPI; its tests are skipped where it was not found after `./dev test` has installed it.
    if [ "$verb" = test ] && [ ! -e "$root$home/wayfarer/build/dev/lib/wayfarer/wayfarer_mpi.so" ]; then
      echo "./dev test as $who installed MPI, but what the demo had configured did not find it; the root is $root"
      exit 1
    fi
    tail -n 4 "$work/$who-$verb.log"
    echo "./dev $verb as $who: $(($(date +%s) - start)) s"
  done
done
leave
rm -rf "$root"
