#!/usr/bin/env bash
# Builds the read-only root of the nodes that boot with systemd: Debian 12 with Docker. Prints the path of the root.
#
# It takes about two minutes and is done once: the result stays in a cache outside the repository, under a name that is the
# hash of this script, so that another recipe gets another root. Remove the cache to build it anew. Packages come from the
# mirror that apt uses on this machine.
set -euo pipefail
# debootstrap lies where a user's PATH often does not look.
PATH=$PATH:/usr/sbin:/sbin
umask 022

readonly SUITE=bookworm
# What every node boots with.
readonly BASE=systemd,systemd-sysv,dbus,udev,kmod,iproute2,iputils-ping,procps,iptables,nftables,adduser,bash-completion
# What an operator installs, and what our package recommends or its documentation speaks of.
readonly SOFTWARE=(docker.io containernetworking-plugins network-manager etcd-server etcd-client busybox-static
    firewalld ufw)

cache=${FLANNELD_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flanneld-lab}
root=$cache/node-$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
log=$root.log

say() { echo "node-image: $*" >&2; }

# An index that apt knows: its signed Release file stands for the mirror.
mirror() {
    apt-get indextargets --format '$(SITE) $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$SUITE" '$3 == suite && $4 == "main" { print $2; exit }'
}

bootstrap() {
    local uri
    uri=$(mirror)
    if [[ -z $uri ]]; then
        say "apt on this machine has no source with the suite $SUITE; add one and run apt-get update"
        exit 1
    fi
    debootstrap --variant=minbase --include="$BASE" "$SUITE" "$1" "$uri"
}

# With the sources, keys and settings of this machine's apt; they do not stay in the image.
install_software() {
    local new=$1
    cp -a "$new/etc/apt" "$new/etc/apt.of-debian"
    cp -aT /etc/apt "$new/etc/apt"
    cp -aLT /usr/share/keyrings "$new/usr/share/keyrings"
    cp -L /etc/resolv.conf "$new/etc/resolv.conf"
    # Nothing is started in here, and nobody needs this root on a disk that survives a power cut.
    printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
    chmod 0755 "$new/usr/sbin/policy-rc.d"
    echo force-unsafe-io >"$new/etc/dpkg/dpkg.cfg.d/lab"
    chroot "$new" apt-get update
    chroot "$new" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${SOFTWARE[@]}"
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
