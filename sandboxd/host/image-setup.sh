#!/bin/sh
# mmdebstrap setup hook: $1 is the new root, COVE_APT_CONF holds what this machine's apt needs to reach its mirror.
# Later downloads run inside the new root, so files that the configuration names come along. image-customize.sh takes all of it away.
set -eu
root=$1
machine_files=$root/etc/apt/machine-files

bring() { # a file or directory of this machine, to the same place inside
    if [ ! -e "$1" ] || [ -e "$root$1" ]; then return 0; fi
    mkdir -p "$root$(dirname "$1")"
    cp -rL "$1" "$root$1"
    echo "$1" >> "$machine_files"
}

install -m 0600 "$COVE_APT_CONF" "$root/etc/apt/apt.conf.d/00machine"
echo /etc/apt/apt.conf.d/00machine > "$machine_files"
bring /etc/apt/auth.conf
bring /etc/apt/auth.conf.d
bring /etc/ssl/certs/ca-certificates.crt
sed -nE 's/^Acquire::https?::(.*::)?(CaInfo|SslCert|SslKey) "(\/.*)";$/\3/p' "$COVE_APT_CONF" | while read -r file; do bring "$file"; done
