#!/bin/sh
# Makes the certificates of this folder anew (openssl 3). The keys of the roots are not kept: tests only verify.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '%s\n' "[ca]" "default_ca=a" "[a]" "database=$work/index" "new_certs_dir=$work" "rand_serial=yes" \
  "default_md=sha256" "policy=p" "unique_subject=no" "crlnumber=$work/number" "crl_extensions=x" \
  "[p]" "commonName=supplied" "[x]" "authorityKeyIdentifier=keyid" > "$work/ca.cnf"
touch "$work/index"
echo 01 > "$work/number"

request() { # name
  openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$work/$1.key"
  openssl req -new -key "$work/$1.key" -subj "/CN=$1" -out "$work/$1.csr"
}

sign() { # name, first day, last day, extensions (one a line), who signs
  printf '%s\n' "$4" "subjectKeyIdentifier=hash" > "$work/$1.ext"
  openssl ca -batch -notext -config "$work/ca.cnf" -in "$work/$1.csr" -out "$1.pem" -extfile "$work/$1.ext" \
    -startdate "$2000000Z" -enddate "$3000000Z" $5 2>/dev/null
}

root() { # name
  request "$1"
  sign "$1" 20200101 21200101 "basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign" "-selfsign -keyfile $work/$1.key"
}

issue() { # name, issuer, extensions, last day
  request "$1"
  sign "$1" 20200101 "${4:-21100101}" "$3
authorityKeyIdentifier=keyid" "-cert $2.pem -keyfile $work/$2.key"
}

leaf() { # name, issuer, subjectAltName
  issue "$1" "$2" "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth,serverAuth
subjectAltName=$3"
}

root root-a
root root-b

leaf build root-a "URI:spiffe://example.org/ci/build"
leaf build-and-dns root-a "URI:spiffe://example.org/ci/build,DNS:build.example.org"
leaf build-by-b root-b "URI:spiffe://example.org/ci/build"
leaf other-domain root-a "URI:spiffe://other.example/ci/build"
leaf other-path root-a "URI:spiffe://example.org/prod/build"
leaf two-uris root-a "URI:spiffe://example.org/ci/build,URI:spiffe://example.org/ci/other"
leaf no-uri root-a "DNS:build.example.org"
leaf https-uri root-a "URI:https://example.org/ci/build"
leaf trailing-slash root-a "URI:spiffe://example.org/ci/build/"
leaf dot-segments root-a "URI:spiffe://example.org/ci/../prod"
leaf no-path root-a "URI:spiffe://example.org"
leaf server root-a "DNS:localhost,IP:127.0.0.1"

issue server-usage root-a "keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=URI:spiffe://example.org/ci/build"
issue no-usage root-a "subjectAltName=URI:spiffe://example.org/ci/build"
issue signs-certificates root-a "keyUsage=critical,digitalSignature,keyCertSign
extendedKeyUsage=clientAuth
subjectAltName=URI:spiffe://example.org/ci/build"
issue is-a-ca root-a "basicConstraints=critical,CA:TRUE
keyUsage=critical,digitalSignature,keyCertSign
extendedKeyUsage=clientAuth
subjectAltName=URI:spiffe://example.org/ci/build"
issue intermediate root-a "basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign,cRLSign" 20300101
leaf build-by-intermediate intermediate "URI:spiffe://example.org/ci/build"

# A list in which nothing is revoked, and one in which `build` is.
authority="-config $work/ca.cnf -keyfile $work/root-a.key -cert root-a.pem"
crl() { # output
  openssl ca -gencrl $authority -crl_lastupdate 20200101000000Z -crl_nextupdate 21000101000000Z -out "$1" 2>/dev/null
}
crl nothing-revoked.crl
openssl ca $authority -revoke build.pem 2>/dev/null
crl build-revoked.crl

cp "$work/server.key" server.key
cp "$work/build.key" build.key
