//! `/openapi.json`: OpenAPI 3.1, made from the table below and held by a golden file (`edge/openapi.json`).

use serde_json::{Map, Value, json};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// The document, pretty-printed.
pub fn document() -> String {
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Signet edge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Signs tokens and artifacts for authenticated callers. Every refusal is an RFC 9457 problem document with a stable `code`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"clientCertificate": []}],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "a token of a configured OIDC issuer"},
                "clientCertificate": {"type": "mutualTLS", "description": "a client certificate with a SPIFFE ID"},
            },
            "schemas": schemas(),
        },
    });
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn paths() -> Value {
    let profile = parameter("profile", "a profile of the bundle");
    let issuer = parameter("issuer", "an issuer of the bundle");
    let none = json!([]);
    let missing = ("404", refusal(404).1);
    let unchanged = json!({"description": "what If-None-Match names is still current"});
    let health_or_problem = json!({JSON: {"schema": reference("Health")}, PROBLEM: {"schema": reference("Problem")}});
    let not_ready = json!({"description": "not ready, or overloaded", "content": health_or_problem});
    json!({
        "/v1/tokens/{profile}": {"post": post("mintToken", "Mint a JWT", &profile, "TokenRequest", "201", "Token")},
        "/v1/tokens/{profile}/batch": {"post": post("mintTokens", "Mint up to 1,000 JWTs, each with its own result", &profile, "TokenBatch", "200", "TokenResults")},
        "/v1/signatures/{profile}": {"post": post("signArtifact", "Sign a digest or a message", &profile, "SignatureRequest", "201", "Signature")},
        "/v1/signatures/{profile}/batch": {"post": post("signArtifacts", "Sign up to 1,000 digests or messages, each with its own result", &profile, "SignatureBatch", "200", "SignatureResults")},
        "/v1/verify": {"post": post("verify", "Check a token or an artifact's signature", &json!([]), "VerifyRequest", "200", "Verification")},
        "/v1/delegations/{kid}": read("Delegation", "The certificate chain or the public key of a key that this edge signs with, and whether it does", &parameter("kid", "RFC 7638 thumbprint"), content(JSON, "Delegation"), std::slice::from_ref(&missing)),
        "/v1/revocations": read("Revocations", "What offline verifiers are to refuse: a JWS, good for minutes", &none, content("application/jwt", "Text"), &[("503", refusal(503).1)]),
        "/i/{issuer}/.well-known/jwks.json": read("Jwks", "The issuer's public keys (RFC 7517)", &issuer, content(JSON, "Jwks"), &[("304", unchanged), missing.clone()]),
        "/i/{issuer}/.well-known/openid-configuration": read("Discovery", "The issuer's discovery document", &issuer, content(JSON, "Discovery"), std::slice::from_ref(&missing)),
        "/livez": read("Liveness", "Whether the process runs", &none, content(JSON, "Health"), &[]),
        "/readyz": read("Readiness", "Whether this edge can sign, and what it waits for", &none, content(JSON, "Health"), &[("503", not_ready)]),
        "/metrics": read("Metrics", "Prometheus metrics", &none, content("application/openmetrics-text", "Text"), &[]),
        "/openapi.json": read("OpenApi", "This document", &none, content(JSON, "Object"), &[]),
    })
}

fn parameter(name: &str, description: &str) -> Value {
    json!([{"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string"}}])
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn content(media_type: &str, schema: &str) -> Value {
    json!({media_type: {"schema": reference(schema)}})
}

fn post(id: &str, summary: &str, parameters: &Value, request: &str, status: &str, answer: &str) -> Value {
    let refusals = [
        400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 415, 422, 429, 431, 500, 503,
    ];
    let mut responses: Map<String, Value> = refusals.into_iter().map(refusal).collect();
    responses.insert(
        status.to_owned(),
        json!({"description": "done", "content": content(JSON, answer)}),
    );
    json!({
        "operationId": id,
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": true, "content": content(JSON, request)},
        "responses": responses,
    })
}

/// GET and HEAD of one path, which need no credentials.
fn read(name: &str, summary: &str, parameters: &Value, answer: Value, further: &[(&str, Value)]) -> Value {
    let refusals = [400, 405, 408, 411, 413, 414, 429, 431, 500, 503];
    let mut responses: Map<String, Value> = refusals.into_iter().map(refusal).collect();
    responses.extend(
        further
            .iter()
            .map(|(status, answer)| ((*status).to_owned(), answer.clone())),
    );
    responses.insert("200".to_owned(), json!({"description": "done", "content": answer}));
    let get = json!({
        "operationId": format!("get{name}"),
        "summary": summary,
        "parameters": parameters,
        "security": [],
        "responses": responses,
    });
    let mut head = get.clone();
    if let Some(head) = head.as_object_mut() {
        head.insert("operationId".to_owned(), json!(format!("head{name}")));
        let bare = responses.into_iter().map(|(status, mut response)| {
            response.as_object_mut().map(|response| response.remove("content"));
            (status, response)
        });
        head.insert("responses".to_owned(), Value::Object(bare.collect()));
    }
    json!({"get": get, "head": head})
}

fn refusal(status: u16) -> (String, Value) {
    let description = match status {
        400 => "not well-formed HTTP, not JSON, wrong types or unknown fields",
        401 => "no or bad credentials",
        403 => "refused by policy or by a rule",
        404 => "no such profile, issuer or key",
        405 => "the path answers other methods; see Allow",
        408 => "the body did not arrive in time",
        409 => "the key is disabled",
        411 => "Transfer-Encoding is not taken; send a Content-Length",
        413 => "the body is too large",
        414 => "the request target is too long",
        415 => "the body is not application/json",
        422 => "understood, but the profile does not allow it",
        429 => "a limit or quota is spent; see Retry-After",
        431 => "the header fields are too large",
        500 => "a failure of this side",
        _ => "no key, no audit, a failed rule or overload; see code",
    };
    (
        status.to_string(),
        json!({"description": description, "content": content(PROBLEM, "Problem")}),
    )
}

fn schemas() -> Value {
    json!({
        "TokenRequest": object(&[], json!({
            "subject": {"type": "string", "minLength": 1, "maxLength": 512, "description": "`sub`"},
            "audience": {"description": "`aud`; the profile's first audience if absent", "oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "maxItems": 16, "uniqueItems": true, "items": {"type": "string"}}]},
            "claims": {"type": "object", "description": "further claims, never registered ones", "additionalProperties": true},
            "lifetime": {"type": "integer", "minimum": 1, "description": "seconds; the profile's default if absent"},
        })),
        "Token": object(&["token", "kid", "expires_at", "id"], json!({
            "token": {"type": "string", "description": "JWS compact serialization (RFC 7515)"},
            "kid": {"type": "string"},
            "expires_at": {"type": "string", "format": "date-time"},
            "id": {"type": "string", "description": "`jti`, and the id in the audit record"},
            "proof": reference("Proof"),
        })),
        "SignatureRequest": object(&[], json!({
            "digest": {"type": "string", "description": "`sha256:HEX` for ES256, `sha384:HEX` for ES384", "pattern": "^sha(256|384|512):[0-9a-fA-F]+$"},
            "message": {"type": "string", "contentEncoding": "base64", "description": "up to 64 KiB; the only form for Ed25519"},
        })),
        "Signature": object(&["signature", "algorithm", "kid", "certificates", "id"], json!({
            "signature": {"type": "string", "contentEncoding": "base64"},
            "algorithm": {"type": "string"},
            "kid": {"type": "string"},
            "certificates": {"type": "array", "items": {"type": "string"}, "description": "PEM, leaf first, the delegation root last; empty where the authority signed"},
            "public_key": {"type": "string", "description": "PEM, where the authority signed (delegation `none`): nothing but its id vouches for it, so compare `kid` with one that you trust"},
            "id": {"type": "string"},
            "proof": reference("Proof"),
        })),
        "Proof": proof(),
        "TokenBatch": batch("TokenRequest"),
        "SignatureBatch": batch("SignatureRequest"),
        "TokenResults": results("Token"),
        "SignatureResults": results("Signature"),
        "VerifyRequest": object(&[], json!({
            "profile": {"type": "string", "description": "the profile it must be of; found by the key if absent"},
            "token": {"type": "string", "description": "a JWT of one of this edge's issuers"},
            "audience": {"type": "string", "description": "with `token`: the audience it must carry"},
            "signature": {"type": "string", "contentEncoding": "base64"},
            "digest": {"type": "string"},
            "message": {"type": "string", "contentEncoding": "base64"},
            "certificates": {"type": "array", "items": {"type": "string"}, "description": "with `signature`: the chain, PEM, leaf first"},
        })),
        "Verification": object(&["valid"], json!({
            "valid": {"type": "boolean"},
            "code": {"type": "string", "description": "why not"},
            "detail": {"type": "string"},
            "kid": {"type": "string"},
            "algorithm": {"type": "string"},
            "profile": {"type": "string"},
            "expires_at": {"type": "string", "format": "date-time", "description": "with `signature`: when the chain ends"},
            "claims": {"type": "object", "additionalProperties": true},
            "delegation": {"type": "string", "description": "the name in the certificate, signet://…"},
        })),
        "Delegation": object(&["kid", "state", "certificates"], json!({
            "kid": {"type": "string"},
            "state": {"type": "string", "enum": ["active", "stopped"], "description": "whether its key signs"},
            "certificates": {"type": "array", "items": {"type": "string"}},
            "public_key": {"type": "string", "description": "PEM, of a key that is shared or signs at the authority: it has no chain"},
        })),
        "Jwks": object(&["keys"], json!({"keys": {"type": "array", "items": {"type": "object", "additionalProperties": true}}})),
        "Discovery": object(&["issuer", "jwks_uri"], json!({
            "issuer": {"type": "string", "format": "uri"},
            "jwks_uri": {"type": "string", "format": "uri"},
            "id_token_signing_alg_values_supported": {"type": "array", "items": {"type": "string"}},
            "response_types_supported": {"type": "array", "items": {"type": "string"}},
            "subject_types_supported": {"type": "array", "items": {"type": "string"}},
        })),
        "Health": object(&["status"], json!({
            "status": {"type": "string"},
            "authority": object(&["connected"], json!({
                "connected": {"type": "boolean"},
                "leases_end_in_seconds": {"type": "integer", "description": "how long the edge goes on if the authority stays away"},
            })),
            "stopped": object(&["everything", "tenants", "callers", "keys"], json!({
                "everything": {"type": "boolean"},
                "tenants": {"type": "integer"},
                "callers": {"type": "integer"},
                "keys": {"type": "integer", "description": "whose delegation to this edge was withdrawn"},
            })),
            "waiting_for": {"type": "array", "items": {"type": "string"}},
            "seconds_left": {"type": "object", "additionalProperties": {"type": "integer"}, "description": "of each key, by its id: for how long its delegation runs"},
        })),
        "Problem": object(&["type", "title", "status", "code", "request_id"], json!({
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string"},
            "detail": {"type": "string"},
            "request_id": {"type": "string"},
            "pointer": {"type": "string", "description": "with 400 and 422: the member that is wrong (RFC 6901)"},
            "policies": {"type": "array", "items": {"type": "string"}, "description": "with 403: the policies that decided"},
            "rule": {"type": "string", "description": "with `rule_refused` and `rule_failed`: which rule"},
            "rule_code": {"type": "string", "description": "with `rule_refused`: the rule's own code"},
        })),
        "Text": {"type": "string"},
        "Object": {"type": "object", "additionalProperties": true},
    })
}

fn proof() -> Value {
    let base64 = json!({"type": "string", "contentEncoding": "base64"});
    let hashes = json!({"type": "array", "maxItems": 64, "items": base64});
    let mut proof = object(
        &[
            "format",
            "record",
            "record_path",
            "leaf",
            "leaf_index",
            "leaf_path",
            "checkpoint",
        ],
        json!({
            "format": {"const": "signet-audit-proof-v1"},
            "record": base64,
            "record_path": hashes,
            "leaf": base64,
            "leaf_index": {"type": "integer"},
            "leaf_path": hashes,
            "checkpoint": {"type": "string", "description": "the audit log's, a signed note with what witnesses have cosigned by now"},
        }),
    );
    if let Some(proof) = proof.as_object_mut() {
        let description = "in audit mode `witness` only: that the record is in the authority's audit log";
        proof.insert("description".to_owned(), json!(description));
    }
    proof
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

fn batch(item: &str) -> Value {
    object(
        &["requests"],
        json!({"requests": {"type": "array", "minItems": 1, "maxItems": 1000, "items": reference(item)}}),
    )
}

fn results(item: &str) -> Value {
    let either = json!({"oneOf": [reference(item), reference("Problem")]});
    object(&["results"], json!({"results": {"type": "array", "items": either}}))
}

#[cfg(test)]
mod tests {
    /// Regenerate with `UPDATE_GOLDEN=1 cargo nextest run -p edge openapi`.
    #[test]
    fn the_golden_file_holds_the_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let document = super::document();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &document).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            document,
            "the API changed; see the comment above this test"
        );
    }
}
