use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use roadbed_http::Routes;

const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS];
/// `*` stands for bytes of the input, `@` for the last lock.
const PATHS: [&str; 10] = [
    "/v1/messages/queues/q",
    "/v1/messages/a/b",
    "/v1/messages/*",
    "/v1/locks/@",
    "/v1/locks/@/*",
    "/v1/locks/*",
    "/v1/subscriptions/q",
    "/v1/queues/*",
    "/v1",
    "*",
];
const BODIES: [&str; 5] =
    ["x", "", "{\"filters\":[\"a/#\"]}", "{\"filters\":[{\"filter\":\"+\",\"qos\":2}],\"qos\":1}", "*"];
const HEADERS: [(&str, &str); 5] = [
    ("roadbed-qos", "0"),
    ("idempotency-key", "k"),
    ("prefer", "wait=5"),
    ("roadbed-ttl", "3"),
    ("roadbed-subject", "*"),
];

/// A request, of whatever can be sent at all.
pub(super) fn read(u: &mut Unstructured<'_>, token: &str) -> Result<Request<Full<Bytes>>> {
    let (what, with) = (u.arbitrary::<u8>()?, u.arbitrary::<u8>()?);
    let len = if with & 128 == 0 { 0 } else { u.arbitrary::<u8>()? };
    let free = u.bytes(len.into())?;
    let path = PATHS[usize::from(what) % PATHS.len()].replace('@', token);
    let path = splice(path.as_bytes(), free);
    let body = splice(BODIES[usize::from(with) % BODIES.len()].as_bytes(), free);
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = METHODS[usize::from(what >> 5) % METHODS.len()].clone();
    if let Ok(uri) = Uri::try_from(path) {
        *request.uri_mut() = uri;
    }
    for (n, (name, value)) in HEADERS.iter().enumerate() {
        let value = HeaderValue::from_bytes(&splice(value.as_bytes(), free));
        if let (true, Ok(value)) = (with >> 3 & 1 << n != 0, value) {
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    Ok(request)
}

/// The lock that the answer gives, if it gives one.
pub(super) async fn respond(routes: Routes, request: Request<Full<Bytes>>) -> Option<String> {
    let (head, body) = routes.respond(request).await.into_parts();
    let body = body.collect().await.expect("a body that does not fail").to_bytes();
    assert_ne!(head.status, StatusCode::INTERNAL_SERVER_ERROR, "{body:?}");
    let token = head.headers.get(header::ETAG)?.to_str().expect("a token is ASCII");
    Some(token.trim_matches('"').to_owned())
}

fn splice(text: &[u8], free: &[u8]) -> Vec<u8> {
    match text.iter().position(|&byte| byte == b'*') {
        Some(at) => [&text[..at], free, &text[at + 1..]].concat(),
        None => text.to_vec(),
    }
}
