//! Answers of both protocols: never cached, and each with its request id.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use node::problem::Problem;
use serde_json::{Value, json};
use uuid::Uuid;

use super::refusal::Refusal;
use super::xml::Element;

/// The header that SDKs read a request's id from.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const XML: HeaderValue = HeaderValue::from_static("text/xml");
/// The namespace of STS's answers.
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// What KMS answers.
pub(super) fn json(answer: &Value, id: Uuid) -> Response<Bytes> {
    respond(StatusCode::OK, JSON, answer.to_string(), id)
}

/// What KMS refuses with.
pub(super) fn json_refusal(refusal: &Refusal, id: Uuid) -> Response<Bytes> {
    // Some of the service's errors have no message, and then no member for one.
    let body = match refusal.message.as_ref() {
        "" => json!({ "__type": refusal.code }),
        message => json!({ "__type": refusal.code, "message": message }),
    };
    respond(refusal.status, JSON, body.to_string(), id)
}

/// What the listener refuses with before a request is read, as its status and fields are.
pub(super) fn unread(problem: Problem, id: &str) -> Response<Bytes> {
    let code = match problem.status() {
        StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLargeException",
        StatusCode::REQUEST_TIMEOUT => "RequestTimeoutException",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableException",
        status if status.is_client_error() => "SerializationException",
        _ => "KMSInternalException",
    };
    let body = json!({ "__type": code, "message": problem.detail() }).to_string();
    let mut response = problem.into_response(id);
    *response.body_mut() = Bytes::from(body);
    mark(response.headers_mut(), JSON, id);
    response
}

/// What STS answers to `action`: `result` in its envelope.
pub(super) fn query(action: &str, result: Vec<Element>, id: Uuid) -> Response<Bytes> {
    let metadata = Element::text("RequestId", &id.to_string());
    let root = Element::parent(
        format!("{action}Response"),
        vec![
            Element::parent(format!("{action}Result"), result),
            Element::parent("ResponseMetadata", vec![metadata]),
        ],
    );
    respond(StatusCode::OK, XML, root.document(NAMESPACE), id)
}

/// What STS refuses with.
pub(super) fn query_refusal(refusal: &Refusal, id: Uuid) -> Response<Bytes> {
    let at_fault = if refusal.status.is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    let error = vec![
        Element::text("Type", at_fault),
        Element::text("Code", refusal.code),
        Element::text("Message", &refusal.message),
    ];
    let root = Element::parent(
        "ErrorResponse",
        vec![
            Element::parent("Error", error),
            Element::text("RequestId", &id.to_string()),
        ],
    );
    respond(refusal.status, XML, root.document(NAMESPACE), id)
}

fn respond(status: StatusCode, media_type: HeaderValue, body: String, id: Uuid) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    mark(response.headers_mut(), media_type, &id.to_string());
    response
}

fn mark(headers: &mut HeaderMap, media_type: HeaderValue, id: &str) {
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response<Bytes>) -> String {
        String::from_utf8(response.body().to_vec()).unwrap()
    }

    #[test]
    fn errors_have_the_form_of_their_protocol() {
        let refusal = Refusal::new("AccessDenied", "not `<you>`").status(StatusCode::FORBIDDEN);
        let response = json_refusal(&refusal, Uuid::nil());
        assert_eq!(body(&response), r#"{"__type":"AccessDenied","message":"not `<you>`"}"#);
        assert_eq!(response.headers()[REQUEST_ID], Uuid::nil().to_string());
        let silent = json_refusal(&Refusal::new("InvalidCiphertextException", ""), Uuid::nil());
        assert_eq!(body(&silent), r#"{"__type":"InvalidCiphertextException"}"#);
        let response = query_refusal(&refusal, Uuid::nil());
        assert_eq!(response.status(), 403);
        assert_eq!(
            body(&response),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not `&lt;you&gt;`</Message></Error>\
             <RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
        );
    }

    #[test]
    fn what_the_listener_refuses_is_an_error_of_the_protocol() {
        let overloaded = Problem::new("overloaded", "try again").with_header(http::header::RETRY_AFTER, "1");
        let response = unread(overloaded, "abc");
        assert_eq!(
            (response.status().as_u16(), &response.headers()[REQUEST_ID]),
            (503, &HeaderValue::from_static("abc"))
        );
        assert_eq!(response.headers()[http::header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], JSON);
        assert_eq!(
            body(&response),
            r#"{"__type":"ServiceUnavailableException","message":"try again"}"#
        );
        for (code, name) in [
            ("body_too_large", "RequestEntityTooLargeException"),
            ("request_timeout", "RequestTimeoutException"),
            ("length_required", "SerializationException"),
            ("headers_too_large", "SerializationException"),
        ] {
            let problem = Problem::new(code, "x");
            let status = problem.status();
            let response = unread(problem, "abc");
            assert_eq!(response.status(), status);
            assert!(body(&response).contains(name), "{code}");
        }
    }

    #[test]
    fn an_answer_of_sts_is_in_its_envelope() {
        let response = query("GetCallerIdentity", vec![Element::text("Account", "1")], Uuid::nil());
        let body = body(&response);
        assert!(
            body.contains("<GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult><ResponseMetadata>"),
            "{body}"
        );
        assert!(
            body.ends_with("</ResponseMetadata></GetCallerIdentityResponse>"),
            "{body}"
        );
    }
}
