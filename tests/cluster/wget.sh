#!/bin/bash
# As much of wget as the pods of `helm test` use: wget -q -T SECONDS -O FILE http://HOST:PORT/PATH
# Debian's smallest system has bash but no wget; busybox has one that ends of SIGSEGV when it is linked
# statically and the image has no C library.
while getopts qT:O: option; do
    case $option in
        T) seconds=$OPTARG ;;
        O) output=$OPTARG ;;
        *) ;;
    esac
done
shift $((OPTIND - 1))
rest=${1#http://}
server=${rest%%/*}
exec 3<>"/dev/tcp/${server%:*}/${server#*:}" || exit 4
# Not bash's own printf, which writes each line by itself: the server reads once
env printf 'GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${rest#*/}" "$server" >&3
answer=$(timeout "$seconds" cat <&3) || exit 4
[[ $output == - ]] && echo "$answer"
[[ $answer =~ ^HTTP/1\.[01]\ 2 ]]
