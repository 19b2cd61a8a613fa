#!/bin/sh
# search_paths.sh FOLDER...: no program or library below the folders is searched for from the current folder: each entry of a RUNPATH
# (or RPATH) is absolute or begins with $ORIGIN. An empty entry means the current folder too.
set -eu
find "$@" -type f \( -perm -u+x -o -name '*.so*' \) | sort | while read -r file; do
  [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
  readelf -dW "$file" | sed -nE 's/.*\((RUNPATH|RPATH)\).*\[(.*)\]$/\2/p' | tr '\n' '\t'
  echo "$file"
done | awk -F '\t' '
  {
    for (i = 1; i < NF; ++i)
      for (n = split($i, entries, ":"); n > 0; --n)
        if (entries[n] !~ /^(\/|[$]ORIGIN$|[$]ORIGIN\/)/) {
          print $NF ": is searched for from the current folder: \"" $i "\""
          bad = 1
        }
  }
  END {
    print NR " programs and libraries"
    exit bad || NR == 0
  }'
