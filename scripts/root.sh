#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs a command in a bare Debian of its own: a folder that debootstrap makes once and that later
# calls use again.  What is built or tested there sees nothing that was installed on this machine.
#
#   scripts/root.sh [-r] [-p PACKAGES] [-b FROM:TO]... FOLDER SUITE [COMMAND [ARGUMENT...]]
#
#   -p PACKAGES  install these as well, where they are missing (words, quoted as one)
#   -b FROM:TO   show the folder FROM as TO in there, during this command
#   -r           make the root anew; so does another SUITE than the one it was made of
#
#   scripts/root.sh -p 'gcc libc6-dev' -b "$PWD:/source" /var/tmp/trixie trixie \
#       sh -c 'cd /source && gcc --version'
#
# It has the network, apt and pip as this machine has them: their settings, and the certificates
# that the machine trusts, are copied in.  MIRROR names another mirror for debootstrap.  Mounts
# are made in a namespace of the command's own, so that none outlives it and the folder can be
# removed with rm -rf at any time.  Needs root, and the package debootstrap.
set -euo pipefail

die()
{
    printf 'root.sh: %s\n' "$*" >&2
    exit 1
}

usage()
{
    sed -n 's/^# \{0,1\}//; 4,/^It has/p' "$0" | sed '$d' >&2
    exit 2
}

packages="" binds=() again=
while getopts p:b:r option; do
    case $option in
    p) packages=$OPTARG ;;
    b) binds+=("$OPTARG") ;;
    r) again=yes ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
root=$(realpath -m "$1")
suite=$2
shift 2

[ "$(id -u)" = 0 ] || die "needs root: chroot and mounts"
[ "$root" != / ] || die "FOLDER is this machine's own root"

# enter COMMAND...: run it in the root, as if after a login there.  Of the environment only what
# tells programs about the network goes in.
enter()
{
    local name settings=()

    while IFS= read -r name; do
        settings+=("$name=${!name}")
    done < <(compgen -e | grep -E '^(PIP_.*|SSL_CERT_.*|.*_CA_BUNDLE|.*_proxy|.*_PROXY)$' |
        grep -v '^PIP_FIND_LINKS$') # a folder of this machine
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --propagation private --pid --fork --kill-child bash -euc '
        root=$1 count=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/dev/shm"
        for ((; count > 0; count--)); do
            mkdir -p "$root${1#*:}"
            mount --bind "${1%%:*}" "$root${1#*:}"
            shift
        done
        exec chroot "$root" "$@"' bash "$root" ${#binds[@]} "${binds[@]}" \
        env -i HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive TERM="${TERM:-dumb}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${settings[@]}" "$@"
}

# The entries of this machine's apt for Debian itself, for another suite: with its updates and
# its security fixes.
sources()
{
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
        awk -v suite="$suite" '{ sub(/^[^-]*/, suite, $2) }
            suite != "sid" || $2 == suite { print "deb", $1, $2, $3 }' # sid is its own updates
}

# copy FILE...: those that are there, to the same place in the root.
copy()
{
    local file

    for file in "$@"; do
        [ ! -e "$file" ] || { mkdir -p "$root${file%/*}" && cp -rL "$file" "$root${file%/*}/"; }
    done
}

# The settings of this machine's apt, but for those of its packages: a package that is installed
# in there brings its own, and dpkg would ask which to keep.
apt_settings()
{
    local file

    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/* /etc/apt/auth.conf.d/*; do
        dpkg-query -S "$file" >/dev/null 2>&1 || printf '%s\n' "$file"
    done
}

make_root()
{
    local mirror settings

    command -v debootstrap >/dev/null || die "needs debootstrap: apt-get install debootstrap"
    printf '==> making a %s in %s\n' "$suite" "$root" >&2
    rm -rf "$root"
    mkdir -p "$(dirname "$root")"
    mirror=${MIRROR:-$(sources | awk 'NR == 1 { print $2 }')} # none: debootstrap's own
    debootstrap --variant=minbase "$suite" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
        { tail -n 20 "$root.log" >&2; die "debootstrap failed; see $root.log"; }

    copy /etc/resolv.conf /etc/hosts
    mapfile -t settings < <(apt_settings)
    copy "${settings[@]}"
    copy /etc/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf
    copy /usr/local/share/ca-certificates /etc/ssl/certs/ca-certificates.crt
    [ -z "$(sources)" ] || sources >"$root"/etc/apt/sources.list
    printf '#!/bin/sh\nexit 101\n' >"$root"/usr/sbin/policy-rc.d # no services in there
    chmod +x "$root"/usr/sbin/policy-rc.d
    enter sh -c 'apt-get update && apt-get -y upgrade' >>"$root.log" 2>&1 ||
        { tail -n 20 "$root.log" >&2; die "apt-get does not work in there; see $root.log"; }
    echo "$suite" >"$root"/.made
}

# Those of the packages that the root lacks.
missing()
{
    # shellcheck disable=SC2016,SC2086 # expanded in there; words on purpose
    [ -z "$packages" ] || enter sh -c 'for one; do
        [ "$(dpkg-query -W -f "\${db:Status-Status}" "$one" 2>/dev/null)" = installed ] ||
            printf " %s" "$one"
        done' sh $packages
}

if [ -e "$root" ] && [ ! -e "$root"/.made ] && [ ! -e "$root"/debootstrap ] &&
    [ -n "$(ls -A "$root")" ]; then
    die "$root is there and is not a root that this script made"
fi
if [ -n "$again" ] || [ "$(cat "$root"/.made 2>/dev/null)" != "$suite" ]; then
    make_root
fi
wanted=$(missing)
if [ -n "$wanted" ]; then
    printf '==> installing in %s:%s\n' "$root" "$wanted" >&2
    # shellcheck disable=SC2086 # words on purpose
    enter sh -c 'apt-get update && apt-get install -y --no-install-recommends "$@"' sh $wanted \
        >>"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; die "failed; see $root.log"; }
fi
[ $# = 0 ] || enter "$@"
