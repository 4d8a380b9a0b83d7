#!/usr/bin/env bash
# check_docs.sh DOXYFILE WARNINGS HEADER...: makes the reference and fails where a public name has
# no comment, or a comment is not understood.
set -euo pipefail
doxyfile=$1 warnings=$2
shift 2
mkdir -p "$(dirname "$warnings")"
doxygen "$doxyfile"

# What the language fixes, or the base class, needs no words: copying, moving, comparing,
# overriding, what makes an iterator, an awaitable or a coroutine. Names that end in an underscore
# are for derived classes.
fixed='operator(=|==|<=>|\*|\+\+)\(.*is not documented'
fixed+='|Member ([a-z_0-9]+)\((const )?\2 ?&&?[a-z]*\).*is not documented'
fixed+='|\) [a-z ]*override \(function\).*is not documented'
fixed+='|(iterator_category|value_type|difference_type|pointer|reference) \(typedef\)'
fixed+='|(promise_type|result_type) \(typedef\)'
fixed+='|Member await_(ready|suspend|resume)\('
fixed+='|[a-z]_ \(variable\)'
found=$(grep -vE "$fixed" "$warnings" | sort -u || true)

# Doxygen says nothing about the functions of a namespace that it has no words for.
for name in $(awk '/^namespace / && before !~ /^\/\/\// { print $2 } { before = $0 }' "$@" |
  sort -u); do
  case "$name::" in *detail* | *internal*) continue ;; esac
  grep -qxE "/// @namespace $name" "$(dirname "$0")/../docs/namespaces.dox" ||
    found+=$'\n'"docs/namespaces.dox: the namespace $name has no words there"
done
if [ -n "$found" ]; then
  printf '%s\n' "$found"
  exit 1
fi
