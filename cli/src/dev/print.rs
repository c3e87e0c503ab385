//! What `signet dev` prints for a person: commands that work as they stand.

use serde_json::Value;

/// The text, given the JSON that `--json` would print and the data directory.
pub fn commands(info: &Value, data: &str, program: &str) -> String {
    let text = |pointer: &str| info.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (https, http, admin) = (text("/edge/https"), text("/edge/http"), text("/authority/admin"));
    let (ca, token) = (text("/ca_file"), text("/token"));
    let post = "-H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json'";
    format!(
        r#"
signet is ready. State is in {data}; Ctrl-C drains and stops, the next start finds it again.

  edge       {https}   (HTTP/1.1, HTTP/2, HTTP/3)   {http}   (cleartext, this machine only)
  authority  {admin}   (admin API; the CLI finds it with --data {data})

Paste these into another terminal. The token is good for a day.

export TOKEN={token}
export CA={ca}

# mint a token: HTTP/1.1, HTTP/2, HTTP/3
curl --cacert $CA --http1.1 {post} -d '{{"subject":"alice"}}' {https}/v1/tokens/api
curl --cacert $CA --http2 {post} -d '{{"subject":"alice","claims":{{"scope":"read"}}}}' {https}/v1/tokens/api
{program} mint --data {data} --http3 api --subject alice

# the issuer's public keys; check a token
curl --cacert $CA {https}/i/dev/.well-known/jwks.json
{program} mint --data {data} api --subject alice | {program} verify --data {data} -

# sign a file's digest (ES256); openssl verifies it, and the chain up to the delegation root
echo "release 1.0" > artifact
{program} sign --data {data} release artifact --out artifact.sig --chain artifact.pem
openssl x509 -in artifact.pem -pubkey -noout > artifact.pub
openssl dgst -sha256 -verify artifact.pub -signature artifact.sig artifact

# be refused: by a Cedar policy, by a Wasm rule, by a quota (the fourth time)
curl --cacert $CA {post} -d '{{"subject":"root"}}' {https}/v1/tokens/api
curl --cacert $CA {post} -d '{{"subject":"alice","claims":{{"role":"admin"}}}}' {https}/v1/tokens/api
for i in 1 2 3 4; do curl --cacert $CA {post} -d '{{"subject":"alice"}}' {https}/v1/tokens/limited; echo; done

# look around, and stop a key everywhere
{program} keys list --data {data}
{program} audit tail --data {data}
{program} keys disable alias/dev-api --data {data}
"#
    )
}
