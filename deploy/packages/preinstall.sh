#!/bin/sh
# Files of the package belong to the user, so it has to be there first. The
# line is that of deploy/systemd/sysusers.conf.
set -e
systemd-sysusers --inline 'u imapsyncd - "imapsyncd mailbox migration" /var/lib/imapsyncd -'
