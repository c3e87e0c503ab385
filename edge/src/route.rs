//! Paths and methods. The table is what dispatch matches and what `/openapi.json` lists.

use http::Method;
use node::problem::Problem;

/// One endpoint, with the path's variable part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// `POST /v1/tokens/{profile}`
    Token(&'a str),
    /// `POST /v1/tokens/{profile}/batch`
    TokenBatch(&'a str),
    /// `POST /v1/signatures/{profile}`
    Signature(&'a str),
    /// `POST /v1/signatures/{profile}/batch`
    SignatureBatch(&'a str),
    /// `POST /v1/verify`
    Verify,
    /// `GET /v1/delegations/{kid}`
    Delegation(&'a str),
    /// `GET /v1/revocations`
    Revocations,
    /// `GET /i/{issuer}/.well-known/jwks.json`
    Jwks(&'a str),
    /// `GET /i/{issuer}/.well-known/openid-configuration`
    Discovery(&'a str),
    /// `GET /livez`
    Live,
    /// `GET /readyz`
    Ready,
    /// `GET /metrics`
    Metrics,
    /// `GET /openapi.json`
    OpenApi,
}

impl<'a> Route<'a> {
    /// The endpoint of a path, whatever the method.
    fn of(path: &'a str) -> Option<Route<'a>> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let parts = (
            segments.next()?,
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        );
        let route = match parts {
            ("v1", Some("tokens"), Some(profile), None, None) => Route::Token(profile),
            ("v1", Some("tokens"), Some(profile), Some("batch"), None) => Route::TokenBatch(profile),
            ("v1", Some("signatures"), Some(profile), None, None) => Route::Signature(profile),
            ("v1", Some("signatures"), Some(profile), Some("batch"), None) => Route::SignatureBatch(profile),
            ("v1", Some("verify"), None, None, None) => Route::Verify,
            ("v1", Some("delegations"), Some(kid), None, None) => Route::Delegation(kid),
            ("v1", Some("revocations"), None, None, None) => Route::Revocations,
            ("i", Some(issuer), Some(".well-known"), Some("jwks.json"), None) => Route::Jwks(issuer),
            ("i", Some(issuer), Some(".well-known"), Some("openid-configuration"), None) => Route::Discovery(issuer),
            ("livez", None, ..) => Route::Live,
            ("readyz", None, ..) => Route::Ready,
            ("metrics", None, ..) => Route::Metrics,
            ("openapi.json", None, ..) => Route::OpenApi,
            _ => return None,
        };
        Some(route)
    }

    /// Whether the endpoint takes a body with POST; the others answer GET and HEAD.
    pub fn is_post(&self) -> bool {
        matches!(
            self,
            Route::Token(_) | Route::TokenBatch(_) | Route::Signature(_) | Route::SignatureBatch(_) | Route::Verify
        )
    }

    /// The endpoint of a request, or a 404 or a 405 with `Allow`.
    pub fn find(method: &Method, path: &'a str) -> Result<Route<'a>, Problem> {
        let Some(route) = Route::of(path) else {
            return Err(Problem::new("not_found", "no such path; /openapi.json lists them"));
        };
        let allow = if route.is_post() { "POST" } else { "GET, HEAD" };
        let allowed = if route.is_post() {
            method == Method::POST
        } else {
            method == Method::GET || method == Method::HEAD
        };
        if allowed {
            return Ok(route);
        }
        Err(Problem::new("method_not_allowed", format!("this path answers {allow}"))
            .with_header(http::header::ALLOW, allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_whole() {
        assert_eq!(Route::of("/v1/tokens/api"), Some(Route::Token("api")));
        assert_eq!(Route::of("/v1/tokens/api/batch"), Some(Route::TokenBatch("api")));
        assert_eq!(Route::of("/i/dev/.well-known/jwks.json"), Some(Route::Jwks("dev")));
        assert_eq!(Route::of("/livez"), Some(Route::Live));
        for path in [
            "",
            "/",
            "v1/tokens/api",
            "/v1/tokens",
            "/v1/tokens/api/",
            "/v1/tokens/api/batch/x",
            "/livez/",
            "//livez",
            "/v1/tokens/api/batch/x/y/z",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    #[test]
    fn a_wrong_method_is_405() {
        assert!(Route::find(&Method::GET, "/v1/tokens/api").is_err());
        assert!(Route::find(&Method::HEAD, "/readyz").is_ok());
        assert!(Route::find(&Method::DELETE, "/readyz").is_err());
    }
}
