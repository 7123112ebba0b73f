#!/bin/bash
# Stand-in for an image builder: the build context as one layer, pushed to a registry. Of the Dockerfile it knows
# COPY (into a folder) and ENTRYPOINT or CMD in the form of a list.
set -eo pipefail
dockerfile=Dockerfile context=. destination= digest_file=
for word in "$@"; do
  case "$word" in
  --dockerfile=*) dockerfile=${word#*=} ;;
  --context=*) context=${word#*=} ;;
  --destination=*) destination=${word#*=} ;;
  --digest-file=*) digest_file=${word#*=} ;;
  --ignore-path=*) ;;
  *) echo "executor: unknown flag $word" >&2 && exit 1 ;;
  esac
done
: "${destination:?executor: --destination is needed}"
registry=${destination%%/*} repository=${destination#*/}
root=$(mktemp -d)
command='["/bin/sh"]'
while read -r instruction rest; do
  case "$instruction" in
  COPY)
    set -- $rest
    to=$root/${*: -1} && mkdir -p "$to"
    for from in "${@:1:$#-1}"; do cp -r "$context/$from" "$to"; done
    ;;
  CMD | ENTRYPOINT) command=$rest ;;
  esac
done <"$dockerfile"
digest() { echo "sha256:$(sha256sum "$1" | cut -d' ' -f1)"; }
push() { # file
  curl -sSf -o /dev/null -X POST --data-binary "@$1" -H 'Content-Type: application/octet-stream' \
    "https://$registry/v2/$repository/blobs/uploads/?digest=$(digest "$1")"
}
work=$(mktemp -d)
tar -C "$root" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$work/plain" .
gzip -n -c "$work/plain" >"$work/layer"
printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":%s},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
  "$command" "$(digest "$work/plain")" >"$work/config"
described() { # media type, file
  printf '{"mediaType":"%s","digest":"%s","size":%s}' "$1" "$(digest "$2")" "$(stat -c %s "$2")"
}
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
  "$(described application/vnd.oci.image.config.v1+json "$work/config")" \
  "$(described application/vnd.oci.image.layer.v1.tar+gzip "$work/layer")" >"$work/manifest"
push "$work/layer"
push "$work/config"
curl -sSf -o /dev/null -X PUT --data-binary "@$work/manifest" \
  -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' "https://$registry/v2/$repository/manifests/latest"
[ -z "$digest_file" ] || printf %s "$(digest "$work/manifest")" >"$digest_file"
echo "pushed $destination@$(digest "$work/manifest")"
