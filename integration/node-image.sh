#!/usr/bin/env bash
# Builds the read-only root of the nodes that boot with systemd: a suite of Debian with its Docker. Prints the path of the
# root.
#
#   node-image.sh [SUITE]      bookworm (the default) has Docker 20.10, trixie 26.1, sid whatever is new
#
# It takes about two minutes and is done once for each suite: the result stays in a cache outside the repository, under the
# name of the suite and the hash of this script, so a changed script builds a new image. Remove the cache to rebuild,
# for instance for a newer sid. Packages come from the mirror that apt uses on this machine.
set -euo pipefail
# debootstrap lies where a user's PATH often does not look.
PATH=$PATH:/usr/sbin:/sbin
umask 022

readonly SUITE=${1:-bookworm}
# What every node boots with.
readonly BASE=systemd,systemd-sysv,dbus,udev,kmod,iproute2,iputils-ping,procps,iptables,nftables,adduser,bash-completion
# Not all suites have these as packages of their own; without them, something is missing in those that do.
readonly WHERE_SPLIT=(docker-cli)
# What an operator installs, and what our package recommends or its documentation speaks of.
readonly SOFTWARE=(docker.io docker-compose containernetworking-plugins network-manager etcd-server etcd-client
    busybox-static firewalld ufw)

cache=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flanneld-lab}
root=$cache/node-$SUITE-$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
log=$root.log

say() { echo "node-image: $*" >&2; }

# An index that apt knows: its signed Release file stands for the mirror. A mirror of Debian has all suites.
mirror() {
    apt-get indextargets --format '$(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "main" { print $3; exit }'
}

bootstrap() {
    local uri
    uri=$(mirror)
    if [[ -z $uri ]]; then
        say "apt on this machine has no source of Debian; add one and run apt-get update"
        exit 1
    fi
    debootstrap --variant=minbase --include="$BASE" "$SUITE" "$1" "$uri"
}

# The sources, keys and settings of this machine's apt are for its own suite. Others get the mirror, which debootstrap has
# noted, with the settings alone.
lend_apt() {
    local new=$1
    cp -a "$new/etc/apt" "$new/etc/apt.of-debian"
    if [[ $SUITE == $(. /etc/os-release && echo "$VERSION_CODENAME") ]]; then
        cp -aT /etc/apt "$new/etc/apt"
        cp -aLT /usr/share/keyrings "$new/usr/share/keyrings"
    else
        cp -aT /etc/apt/apt.conf.d "$new/etc/apt/apt.conf.d"
    fi
    cp -L /etc/resolv.conf "$new/etc/resolv.conf"
}

# What apt was lent does not stay in the image.
install_software() {
    local new=$1 name
    local software=("${SOFTWARE[@]}")
    lend_apt "$new"
    # Nothing is started in here, and nobody needs this root on a disk that survives a power cut.
    printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
    chmod 0755 "$new/usr/sbin/policy-rc.d"
    echo force-unsafe-io >"$new/etc/dpkg/dpkg.cfg.d/lab"
    chroot "$new" apt-get update
    for name in "${WHERE_SPLIT[@]}"; do
        if [[ -n $(chroot "$new" apt-cache madison "$name") ]]; then software+=("$name"); fi
    done
    chroot "$new" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${software[@]}"
    chroot "$new" apt-get clean
    rm -rf "$new/etc/apt" "$new/etc/resolv.conf" "$new/usr/sbin/policy-rc.d" "$new"/var/lib/apt/lists/*
    mv "$new/etc/apt.of-debian" "$new/etc/apt"
}

# As an image for virtual machines has it: no identity yet, nothing running that was not asked for.
finish() {
    local new=$1
    : >"$new/etc/machine-id"
    rm -f "$new/etc/hostname"
    systemctl --root="$new" --quiet disable docker.service docker.socket containerd.service etcd.service \
        NetworkManager.service nftables.service firewalld.service ufw.service apt-daily.timer apt-daily-upgrade.timer
    systemctl --root="$new" --quiet enable systemd-networkd.service
    systemctl --root="$new" --quiet mask getty.target console-getty.service
}

build() {
    local new=$root.new
    say "building $root; takes some minutes, once; its log is $log"
    rm -rf --one-file-system "$new"
    mkdir -p "$new"
    if ! { bootstrap "$new" && install_software "$new" && finish "$new"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        say "failed; the whole log is $log"
        exit 1
    fi
    mv "$new" "$root"
}

mkdir -p "$cache"
# Tests run beside one another: the first builds, the others wait for it.
exec 9>"$cache/lock"
flock 9
[[ -d $root ]] || build
echo "$root"
