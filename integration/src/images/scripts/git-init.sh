#!/bin/sh
# Stand-in for the program of the git-clone image: one revision of a repository into a folder.
set -e
url= revision= refspec= path=. depth=1 submodules=true verify=true
while [ $# -gt 0 ]; do
  flag=${1#-} flag=${flag#-}
  case "$flag" in
  *=*) value=${flag#*=} flag=${flag%%=*} && shift ;;
  *) value=$2 && shift 2 ;;
  esac
  case "$flag" in
  url) url=$value ;;
  revision) revision=$value ;;
  refspec) refspec=$value ;;
  path) path=$value ;;
  depth) depth=$value ;;
  submodules) submodules=$value ;;
  sslVerify) verify=$value ;;
  *) echo "git-init: unknown flag -$flag" >&2 && exit 2 ;;
  esac
done
: "${url:?git-init: -url is needed}"
mkdir -p "$path" && cd "$path"
git init --quiet
git config http.sslVerify "$verify"
git remote add origin "$url"
shallow=
[ "$depth" = 0 ] || shallow="--depth=$depth"
git fetch --quiet $shallow origin ${refspec:-${revision:-HEAD}}
if [ -n "$refspec" ] && [ -n "$revision" ]; then
  git checkout --quiet --force "$revision"
else
  git checkout --quiet --force FETCH_HEAD
fi
[ "$submodules" != true ] || git submodule update --quiet --init --recursive $shallow
echo "cloned $url at $(git rev-parse HEAD) into $path"
