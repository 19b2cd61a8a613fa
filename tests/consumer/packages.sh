#!/bin/sh
# packages.sh SOURCE_DIR WORK: the Debian packages, from build to removal: lintian finds no error, and on a clean Debian 12 they install,
# run a packaged pipeline, build what `wayfarer new` writes, and leave nothing behind.
#
# WAYFARER_CLEAN_ROOT may name a root that debootstrap made (it is copied); without it one is made. Exit code 77: this part needs root
# and debootstrap, which are not here; the packages themselves were built and checked. WAYFARER_PACKAGES may name a folder with packages
# that were built before.
set -eu
source=$1 work=$2
unset WAYFARER_PLUGIN_PATH
# A developer's umask must not show in packages.
umask 022
deb=${WAYFARER_PACKAGES:-$work/deb}
if [ -z "${WAYFARER_PACKAGES:-}" ]; then
  rm -rf "$deb" && mkdir -p "$deb"
  cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr
  cmake --build "$work/build" -j "${WAYFARER_JOBS:-2}"
  (cd "$work/build" && cpack -B "$deb")
fi
mkdir -p "$work"
runtime=$(echo "$deb"/wayfarer_*.deb) dev=$(echo "$deb"/wayfarer-dev_*.deb) python=$(echo "$deb"/python3-wayfarer_*.deb)
dpkg-deb --info "$runtime" && dpkg-deb --info "$dev" && dpkg-deb --info "$python"
rm -rf "$work/unpacked" && dpkg-deb -x "$runtime" "$work/unpacked"
"$source/tests/consumer/search_paths.sh" "$work/unpacked"
if command -v lintian >/dev/null; then
  lintian --allow-root --fail-on error "$runtime" "$dev" "$python"
else
  echo "lintian is not installed: the packages were not checked"
  exit 1
fi

if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
  echo "a clean root needs root and debootstrap: installing was not tested"
  exit 77
fi
root=$work/root
sources=$(mktemp)
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root" "$sources"' EXIT
rm -rf "$root"
if [ -n "${WAYFARER_CLEAN_ROOT:-}" ]; then
  cp -a "$WAYFARER_CLEAN_ROOT" "$root"
else
  debootstrap --variant=minbase bookworm "$root" >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log"; exit 1; }
fi
mount -t proc proc "$root/proc" 2>/dev/null || true
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
cp "$runtime" "$dev" "$python" "$root/tmp/"
within() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive sh -euc "$1"; }
within 'find / -xdev -path /proc -prune -o -path "*wayfarer*" -print | sort' | grep -v '^/tmp/' > "$work/before.txt" || true

within 'apt-get update -qq && apt-get install -y -qq --no-install-recommends /tmp/wayfarer_*.deb >/dev/null'
within 'wayfarer --version && wayfarer doctor && wayfarer plugins list'
within 'wayfarer run /usr/share/wayfarer/runs/topic-theory.yaml --strict --quiet --out /tmp/theory.h5 && wayfarer show /tmp/theory.h5 | head -20'
within 'wayfarer run /usr/share/wayfarer/runs/gpt2-logit-lens.yaml --strict --quiet --out /tmp/lens.h5'
within 'apt-get install -y -qq --no-install-recommends /tmp/python3-wayfarer_*.deb python3-xarray >/dev/null'
within 'cd /tmp && python3 -B -c "import wayfarer; r = wayfarer.open(\"lens.h5\"); print(r, r[\"lens\"])"'
within 'cd /tmp && wayfarer init first && wayfarer run first/pipeline.yaml --strict --quiet --out first/first.h5'
within 'gzip -t /usr/share/man/man1/wayfarer.1.gz && test -s /usr/share/bash-completion/completions/wayfarer && test -s /usr/share/doc/wayfarer/plugins/index.md'

within 'apt-get install -y -qq --no-install-recommends /tmp/wayfarer-dev_*.deb g++ make cmake libgtest-dev libgmock-dev >/dev/null'
within 'cd /tmp && wayfarer new probe strange >new.txt && sed -n "/^Build it/,\$s/^  //p" new.txt >new.sh && sh -eux new.sh >/dev/null'
within 'wayfarer show /tmp/strange.h5 lengths | head'

within 'apt-get purge -y -qq wayfarer wayfarer-dev python3-wayfarer >/dev/null; ! command -v wayfarer'
within 'find / -xdev -path /proc -prune -o -path "*wayfarer*" -print | sort' | grep -v '^/tmp/' > "$work/after.txt" || true
diff "$work/before.txt" "$work/after.txt"
echo "installed, run and removed on a clean Debian"
