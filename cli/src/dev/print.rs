//! What `signet dev` prints for a person: commands that work as they stand, each said to do what it does.

use serde_json::Value;

/// The text, given the JSON that `--json` would print, the data directory and this program.
pub fn commands(info: &Value, data: &str, program: &str) -> String {
    let text = |pointer: &str| info.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (https, http, admin) = (text("/edge/https"), text("/edge/http"), text("/authority/admin"));
    let (ca, token) = (quoted(text("/ca_file")), text("/token"));
    let root = quoted(&text("/ca_file").replace("ca.pem", "delegation-root.pem"));
    let (quoted_data, program) = (quoted(data), quoted(program));
    let (kms, kms_http) = (text("/kms"), text("/kms_http"));
    let (key_id, key_secret) = (
        text("/kms_credentials/access_key_id"),
        text("/kms_credentials/secret_access_key"),
    );
    let (account, region) = (text("/kms_credentials/account"), super::kms::REGION);
    let post = "-H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json'";
    format!(
        r#"
signet is ready. State is in {data}; Ctrl-C drains and stops, the next start finds it again.

  edge       {https}   (HTTP/1.1, HTTP/2, HTTP/3)   {http}   (cleartext, this machine only)
  authority  {admin}   (admin API; the commands below find it with --data)
  kms        {kms}   (AWS KMS clients, account {account}, any region)   {kms_http}   (cleartext, this machine only)

Paste these into another terminal. The token is good for a day.

export TOKEN={token}
export CA={ca} DATA={quoted_data}

# mint a token: HTTP/1.1, HTTP/2, HTTP/3
curl -sS -w '\n' --cacert "$CA" --http1.1 {post} -d '{{"subject":"alice"}}' {https}/v1/tokens/api
curl -sS -w '\n' --cacert "$CA" --http2 {post} -d '{{"subject":"alice","claims":{{"scope":"read"}}}}' {https}/v1/tokens/api
{program} mint --data "$DATA" --http3 api --subject alice

# the issuer's public keys; a token's claims, once its signature is verified
curl -sS -w '\n' --cacert "$CA" {https}/i/dev/.well-known/jwks.json
{program} mint --data "$DATA" api --subject alice | {program} verify --data "$DATA" -

# sign a file's digest (ES256); openssl verifies the signature, and the chain up to the authority's delegation root
echo "release 1.0" > artifact
{program} sign --data "$DATA" release artifact --out artifact.sig --chain artifact.pem
openssl x509 -in artifact.pem -pubkey -noout > artifact.pub
openssl dgst -sha256 -verify artifact.pub -signature artifact.sig artifact
openssl verify -x509_strict -CAfile {root} -untrusted artifact.pem artifact.pem

# be refused: by a Cedar policy, by a Wasm rule, by a quota (the fourth time)
curl -sS -w '\n' --cacert "$CA" {post} -d '{{"subject":"root"}}' {https}/v1/tokens/api
curl -sS -w '\n' --cacert "$CA" {post} -d '{{"subject":"alice","claims":{{"role":"admin"}}}}' {https}/v1/tokens/api
for i in 1 2 3 4; do curl -sS -w '\n' --cacert "$CA" {post} -d '{{"subject":"alice"}}' {https}/v1/tokens/limited; done

# look around: keys, and what the edge has on record
{program} keys list --data "$DATA"
{program} audit tail --data "$DATA"

# AWS KMS clients: the AWS CLI, boto3 and every tool with a KMS endpoint setting
export AWS_ENDPOINT_URL_KMS={kms} AWS_ENDPOINT_URL_STS={kms}
export AWS_REGION={region} AWS_DEFAULT_REGION={region}
export AWS_ACCESS_KEY_ID={key_id} AWS_SECRET_ACCESS_KEY={key_secret} AWS_CA_BUNDLE="$CA"
aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY
aws kms list-keys
aws sts get-caller-identity
{program} audit tail --authority --data "$DATA"

# stop a key everywhere, be refused, and start it again
{program} keys disable alias/dev-api --data "$DATA"
curl -sS -w '\n' --cacert "$CA" {post} -d '{{"subject":"alice"}}' {https}/v1/tokens/api
{program} keys enable alias/dev-api --data "$DATA"
"#
    )
}

/// As one word for a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_or_expand_them() {
        assert_eq!(quoted("/home/a-b/signet_1"), "/home/a-b/signet_1");
        assert_eq!(quoted("/my data/$x"), "'/my data/$x'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
