#!/bin/sh
# mmdebstrap customize hook: $1 is the new root. Leaves a Debian as a user expects it, with nothing of this machine in it.
# COVE_SOURCES holds Debian's public sources for this release.
set -eu
root=$1

# What belongs to this machine.
while read -r file; do rm -rf "$root$file"; done < "$root/etc/apt/machine-files"
rm -f "$root/etc/apt/machine-files" "$root/etc/apt/sources.list"
if [ -x "$root/usr/sbin/update-ca-certificates" ]; then chroot "$root" update-ca-certificates --fresh >/dev/null; fi
mkdir -p "$root/etc/apt/sources.list.d"
install -m 0644 "$COVE_SOURCES" "$root/etc/apt/sources.list.d/debian.sources"
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
: > "$root/etc/resolv.conf"
echo sandbox > "$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
: > "$root/etc/machine-id"

# Rules for packages that a user installs later: no documentation, no service starts.
if [ -e "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap" ]; then
    mv "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/01-no-documentation"
fi
mkdir -p "$root/usr/sbin"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"

# `python` and a pip that may install: the sandbox is the virtual environment.
if [ -x "$root/usr/bin/python3" ]; then
    ln -sf /usr/bin/python3 "$root/usr/local/bin/python"
    rm -f "$root"/usr/lib/python3.*/EXTERNALLY-MANAGED
    # Debian compiles most modules when it installs them; whatever has none would be compiled at each start of each sandbox.
    chroot "$root" python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.* >/dev/null || true
fi
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
mkdir -p "$root/var/log/apt"
