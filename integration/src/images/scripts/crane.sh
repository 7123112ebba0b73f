#!/bin/sh
# Stand-in for crane: asks a registry for the digest of an image.
if [ "$1" != digest ] || [ $# -ne 2 ]; then
  echo "Error: unknown command \"$1\" for \"crane\"" >&2
  exit 1
fi
name=${2%%:*}
tag=${2#"$name"} tag=${tag#:}
registry=${name%%/*}
digest=$(curl -sSf -I -H 'Accept: application/vnd.oci.image.index.v1+json' \
  -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
  "https://$registry/v2/${name#*/}/manifests/${tag:-latest}" |
  tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p')
[ -n "$digest" ] || exit 1
echo "$digest"
