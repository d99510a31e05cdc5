#!/bin/sh
# dpkg says "remove", rpm 0; at an upgrade they say something else.
set -e
case "$1" in
remove | 0)
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now imapsyncd.service
    fi
    ;;
esac
