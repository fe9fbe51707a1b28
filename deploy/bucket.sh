#!/bin/sh
# Make the bucket unless it is there, and let it say yes to an object only when that is on the disk.
set -eu

shell() {
    weed shell -master="$MASTER" -filer="$FILER"
}

echo "s3.bucket.list" | shell | grep -qw filmroom || echo "s3.bucket.create -name filmroom" | shell
echo "fs.configure -locationPrefix=/buckets/filmroom/ -fsync -apply" | shell
