#!/bin/sh
# dpkg's purge takes what was remembered, too: it holds neither mail nor
# passwords. What root put into /etc/imapsyncd stays.
set -e
if [ "$1" = purge ]; then
    rm -rf /var/lib/imapsyncd
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
